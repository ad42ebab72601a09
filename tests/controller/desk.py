"""The core on a desk: every reading, answer and clock set by hand, one cycle at a time."""

from __future__ import annotations

from typing import Any

from controller.cycle import calculate
from controller.decision import Alarm, Because, Decision, Memory, empty_decision, first_memory
from controller.defaults import TOGETHER
from controller.image import Answer, Image, Source, Status, blank_image, frozen
from controller.site import Site, build
from controller.topology import compile_site

Amps = float | tuple[float, float, float]


def drawn(
    grids: dict[str, dict[str, Any]] | None = None,
    outlets: list[dict[str, Any]] | None = None,
    meters: dict[str, dict[str, Any]] | None = None,
    sharing: str = "minimum for all first",
    **chargepoint: Any,
) -> Site:
    """A site of few words: `outlets` mix the keys of a chargepoint and of its only connector."""
    grids = grids or {"main": {}}
    connection = next(name for name, grid in grids.items() if "fed_by" not in grid)
    own = ("fed_by", "fallback_a", "lease_s", "sample_interval_s", "writes_per_day")
    chargepoints = {}
    for n, words in enumerate(outlets or [{}]):
        outlet = chargepoint | words
        box = {"sample_interval_s": 30, "fed_by": connection} | {k: v for k, v in outlet.items() if k in own}
        rating = {} if outlet.get("kind") == "dc" else {"max_current_a": 32}
        connector = {"number": 1} | rating | {k: v for k, v in outlet.items() if k not in own}
        chargepoints[f"bay_{n}"] = box | {"identity": f"B{n}", "connector": [connector]}
    guard = {connection: {"grid": connection, "role": "guard", "delay_s": 1.0}}
    return build(
        {
            "name": "Desk",
            "timezone": "UTC",
            "sharing": sharing,
            "accept_unsafe_fallback": "a desk, test",
            "grid": {
                name: {"id": n, "max_current_a": 100, "margin_a": 3} | grid
                for n, (name, grid) in enumerate(grids.items())
            },
            "meter": guard if meters is None else meters,
            "chargepoint": chargepoints,
        },
        "desk",
    )


class Desk:
    """A site, what its instruments say, and the controller's memory."""

    def __init__(self, site: Site, *, proven: bool = True, now_s: float = 0) -> None:
        self.topology = compile_site(site)
        self.image: Image = blank_image(self.topology)
        self.memory: Memory = first_memory(self.topology, proven=proven)
        self.decision: Decision = empty_decision(self.topology)
        self.now_s = now_s
        self.started_utc_s: float | None = None
        self.load_a: dict[str, Amps] = dict.fromkeys(self.topology.meter_names, 0.0)
        self.silent: set[str] = set()
        self.answering = True
        self.answered = [0] * len(self.topology.connectors)
        self.settled: tuple[Amps, Amps] = 0.0, 0.0  # other load, and with the cars on top
        self.puts: list[tuple[float, int, float]] = []  # (s, connector, A)
        rows = self.image.connectors
        rows["online"] = 1
        rows["firmware"] = 1
        rows["default_ma"] = self.topology.connectors["fallback_ma"]
        rows["status"] = Status.AVAILABLE
        rows["status_at_ms"] = 1

    # -- the world, set by hand -----------------------------------------------------------------

    def plug(self, *connectors: int) -> None:
        """Cars come and a transaction begins."""
        for c in connectors:
            row = self.image.connectors[c]
            row["transaction"] += 1
            row["transaction_at_ms"] = row["status_at_ms"] = round(self.now_s * 1000)
            row["status"] = Status.CHARGING

    def stop(self, c: int, status: Status = Status.AVAILABLE) -> None:
        """The transaction ends; with AVAILABLE the car has left."""
        row = self.image.connectors[c]
        row["transaction"] = 0
        row["transaction_at_ms"] = row["status_at_ms"] = round(self.now_s * 1000)
        row["status"] = status

    def says(self, c: int, status: Status) -> None:
        """A StatusNotification now."""
        row = self.image.connectors[c]
        row["status"], row["status_at_ms"] = status, round(self.now_s * 1000)

    def draws(self, c: int, amps: Amps, *, at_s: float | None = None) -> None:
        """MeterValues, taken `at_s`; a number is the same on the connector's own three phases."""
        row = self.image.connectors[c]
        row["reading_at_ms"] = round((self.now_s if at_s is None else at_s) * 1000)
        row["current_ma"] = [round(a * 1000) for a in (amps if isinstance(amps, tuple) else (amps,) * 3)]

    def answers(self, c: int, answer: Answer = Answer.ACCEPTED) -> None:
        """The box answers the newest order now."""
        row = self.image.connectors[c]
        row["answered_seq"] = self.memory.connectors[c]["order_seq"]
        row["answer"] = answer
        row["answered_at_ms"] = round(self.now_s * 1000)

    def told(self, grid: int = 0, **rows: Any) -> None:
        """Instructions from outside, as fields of `Image.grids`."""
        for field, value in rows.items():
            self.image.grids[field][grid] = value

    # -- cycles ----------------------------------------------------------------------------------

    def cycle(self, seconds: float = 1, *, step_s: float = 1) -> Decision:
        """Cycles of one second; meters that are not silent are read just before each."""
        end = self.now_s + seconds
        while self.now_s < end - 1e-9:
            self.now_s += min(step_s, end - self.now_s)
            self.think()
        return self.decision

    def think(self) -> Decision:
        """One cycle at this very instant."""
        now_ms = round(self.now_s * 1000)
        self.image.clock["now_ms"] = now_ms
        if self.started_utc_s is not None:
            self.image.clock["utc_ms"] = now_ms + round(self.started_utc_s * 1000)
            self.image.clock["utc_trusted"] = 1
        for m, name in enumerate(self.topology.meter_names):
            if name not in self.silent:
                amps = self.load_a[name]
                self.image.meters[m]["at_ms"] = now_ms
                self.image.meters[m]["current_ma"] = [
                    round(a * 1000) for a in (amps if isinstance(amps, tuple) else (amps,) * 3)
                ]
        if self.answering:
            for c, row in enumerate(self.memory.connectors):
                if row["order_seq"] > self.answered[c] and self.image.connectors[c]["online"]:
                    self.answered[c] = int(row["order_seq"])
                    self.answers(c)
        self.decision, self.memory = calculate(self.topology, frozen(self.image), self.memory)
        for c, row in enumerate(self.decision.connectors):
            if row["put"]:
                self.puts.append((self.now_s, c, int(row["target_ma"]) / 1000))
        return self.decision

    def settle(self, draw_a: dict[int, Amps], seconds: float = 60) -> Decision:
        """Let connectors draw what they may, at most `draw_a`; the first meter shows it on top of its load.

        Every connector is read each 5 s. Its load is what `load_a` says, or said before the last settling.
        """
        name = self.topology.meter_names[0]
        base, shown = self.settled
        if shown != self.load_a[name]:
            base = self.load_a[name]
        other = base if isinstance(base, tuple) else (base,) * 3
        start = self.now_s
        while self.now_s < start + seconds:
            flowing = list(other)
            for c, most in draw_a.items():
                wanted = most if isinstance(most, tuple) else (most,) * 3
                limit = int(self.memory.connectors[c]["target_ma"]) / 1000
                own = tuple(min(a, limit) for a in wanted)
                for i in range(3):
                    flowing[int(self.topology.connectors[c]["phase"][i])] += own[i]
                if (self.now_s - start) % 5 == 0:
                    self.draws(c, own)
            self.load_a[name] = (flowing[0], flowing[1], flowing[2])
            self.settled = base, self.load_a[name]
            self.cycle()
        return self.decision

    # -- what came out -----------------------------------------------------------------------------

    def target_a(self, c: int) -> float:
        return int(self.decision.connectors[c]["target_ma"]) / 1000

    def targets_a(self) -> list[float]:
        return [ma / 1000 for ma in self.decision.connectors["target_ma"].tolist()]

    def committed_a(self, c: int) -> float:
        return int(self.decision.connectors[c]["committed_ma"]) / 1000

    def commitments_a(self) -> list[float]:
        return [ma / 1000 for ma in self.decision.connectors["committed_ma"].tolist()]

    def estimate_a(self, grid: int = 0) -> list[float]:
        return [ma / 1000 for ma in self.decision.grids["estimate_ma"][grid].tolist()]

    def limit_a(self, line: int = 0, grid: int = 0) -> float:
        row = self.decision.grids[grid]
        return int(row["sum_limit_ma"] if line == TOGETHER else row["limit_ma"][line]) / 1000

    def source(self, line: int = 0, grid: int = 0) -> Source:
        return Source(int(self.decision.grids[grid]["source"][line]))

    def because(self, c: int) -> Because:
        return Because(int(self.decision.connectors[c]["because"]))

    def grid_alarm(self, grid: int = 0) -> Alarm:
        return Alarm(int(self.decision.grids[grid]["alarm"]))

    def alarm(self, c: int) -> Alarm:
        return Alarm(int(self.decision.connectors[c]["alarm"]))
