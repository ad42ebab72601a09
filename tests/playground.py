"""A twin that a test plays with second by second, judged from the truth after every cycle.

The controller thinks once a second; between two cycles a test may change the world: loads, cars, boxes,
meters, links, instructions. Everything random follows from the numbers it was made with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from controller.cycle import calculate
from controller.decision import Decision, first_memory
from controller.defaults import UNLIMITED_MA
from controller.image import Image, Source
from controller.restart import pages
from controller.topology import CONSUMER, GUARD, compile_site
from scenarios.figures import Tally
from scenarios.generate import START, draw_loads, draw_site, meter_lag_s, own_loads_a
from scenarios.generate_storage import draw_sun
from scenarios.judge import Judge
from scenarios.regress import OWN_AS
from scenarios.scenario import Story
from tests.edits import Book, SiteFile
from twin.conditions import Conditions
from twin.instruments import SimulatedPlant
from twin.sessions import Session, draw_car
from twin.storage import goes_its_own_way
from twin.streams import stream
from twin.world import World

LATE_S = 20.0  # most that a box is late with its answers
LENGTH_S = 1_000
HEAVY = "20 connectors or more, 3 levels or more, unreported pauses, lost messages, an active fault"
OWN = ("own_as", "leaned_as")
RETURN_MS = 10_000  # a meter that shows the truth again counts after some good readings
SHOWN_MA = 1_000  # more than tolerance: a reading shows that a phase is in use
cycles: Counter[str] = Counter()
"""How many cycles were played, by what was true in them."""
excused_as: Counter[str] = Counter()
"""Own parts while the assumptions did not hold: a frozen meter, a car on phases that nobody has seen."""


class Playground:
    """One site; `broken` says what went wrong."""

    def __init__(
        self,
        seed: int,
        connectors: int,
        levels: int,
        *,
        loss: float,
        latency_s: float,
        pauses: bool,
        proven: bool,
        storage: bool,
    ) -> None:
        site = draw_site(seed, connectors, levels, storage=storage)
        conditions = Conditions.model_validate(
            {
                "meters": {"delay_s": meter_lag_s(seed)},
                "links": {"latency_s": latency_s, "loss": loss},
                "proven": proven,
                "battery_soc": float(stream(seed, "playground", "soc").uniform(0.05, 1.0)),
                "pauses": {"share": 0.4, "every_s": 120.0, "for_s": 25.0} if pauses else None,
                # Not now, but it may come: the window T_B of the figures must know.
                "fault": [
                    {
                        "kind": "answers_late",
                        "chargepoint": next(iter(site.chargepoint)),
                        "at_s": 2 * LENGTH_S,
                        "late_s": LATE_S,
                    }
                ],
            }
        )
        self.story = Story(
            name=site.name,
            site=site,
            topology=compile_site(site),
            conditions=conditions,
            sessions=(),
            loads=(*draw_loads(seed, site, LENGTH_S), *draw_sun(seed, site, LENGTH_S, START)),
            start_utc=START,
            length_ms=LENGTH_S * 1000,
            seed=seed,
        )
        story = self.story
        self.world = World(
            site, story.topology, conditions, (), seed, START, story.loads, story.length_ms * 10
        )
        self.plant = SimulatedPlant(self.world)
        self.tally = Tally(story, self.world, self.plant.seen.connectors)
        self.judge = Judge()
        self.judge.begin(self.world)
        self.world.watch = self._watch
        self.memory = first_memory(story.topology, proven=proven)
        self.own_load_a = own_loads_a(site)
        self.file, self._book, self._restarted = SiteFile(site), Book(), False
        self._steps: dict[str, Any] = {}
        self._ignored: list[str] = []
        self._excused_until_ms = np.zeros(len(self.world.boards), "i8")
        self._blind_until_ms = self._excused_until_ms.copy()
        self._grown_at_ms: dict[int, int] = {}
        self._cars = 0
        self.levels = int(story.topology.connectors["depth"].max())
        for connector in range(len(story.topology.connectors)):
            if stream(seed, "playground", str(connector)).random() < 0.8:
                self.car_comes(connector)

    def _watch(self, span_ms: int) -> None:
        excused = self._excused_until_ms > self.world.now_ms
        if excused.any():
            before = {name: self.tally.rows[name].copy() for name in OWN}
        self.tally.interval(span_ms)
        if excused.any():
            for name, kept in before.items():
                excused_as[name] += float((self.tally.rows[name] - kept)[excused].sum())
                self.tally.rows[name][excused] = kept[excused]
        self.judge.instant(span_ms)

    def _excuse(self, grids: Iterable[int], for_ms: int) -> None:
        """Nobody can promise anything about own parts there for a while: the assumptions do not hold."""
        rows = list(grids)
        until_ms = self.world.now_ms + for_ms
        self._excused_until_ms[rows] = np.maximum(self._excused_until_ms[rows], until_ms)

    # -- what may happen ---------------------------------------------------------------------------

    def car_comes(self, connector: int) -> None:
        """Another car, with a need that lasts from minutes to hours."""
        self._cars += 1
        key = f"car {self._cars}"
        energy_wh = float(stream(self.story.seed, "need", key).choice([300, 3_000, 30_000]))
        self.world.bring(
            Session(
                key=key,
                connector=connector,
                plug_in_ms=self.world.now_ms,
                plug_out_ms=10 * LENGTH_S * 1000,
                energy_wh=energy_wh,
                car=draw_car(self.story.seed, key, energy_wh, 7_200.0),
                card_after_ms=500,
            )
        )

    def transaction_ends(self, connector: int) -> None:
        """Its driver stops it."""
        self.world.stop_transaction(connector, "Local")

    def load_steps(self, grid: str, parts: tuple[float, float, float]) -> None:
        """A machine on a board, in parts of 60 % of what the board declares; 0 ends it."""
        board = self.story.topology.grid_names.index(grid)
        phases = self.world.board_phases(board)
        amps = np.array([round(600 * self.own_load_a[grid] * part) for part in parts])
        for own, change_ma in enumerate(amps - self._steps.get(grid, 0)):
            self.world.boards[board]["own_ma"][phases[own]] += change_ma
        self._steps[grid] = amps
        self.world.touch()

    def meter(self, m: int, field: str, value: int) -> None:
        """A meter falls silent, tells no numbers, or says the same for ever."""
        self.world.gauges[m][field] = value

    def _excuse_frozen(self) -> None:
        """What a frozen meter does not show nobody knows: nor do grids above that rest on its estimate."""
        built = self.story.topology
        for m in np.flatnonzero(self.world.gauges["frozen"]):
            g = int(built.meters[m]["grid"])
            blind = [g]
            while (g := int(built.grids[g]["parent"])) >= 0 and built.grids[g]["kind"] != GUARD:
                blind.append(g)
            lasts_ms = self.tally.delays.blind_ms + RETURN_MS
            self._excuse(blind, lasts_ms)
            self._blind_until_ms[blind] = self.world.now_ms + lasts_ms + self.judge.patience_ms
        self.judge.blind[:] = self._blind_until_ms > self.world.now_ms

    def car_changes_phases(self, connector: int, phases: int) -> None:
        """A car goes to another number of phases while it charges."""
        outlet = self.world.outlets[connector]
        if not outlet["plugged"] or self.world.topology.connectors[connector]["balanced"]:
            return
        phases = min(phases, self.world.phases_of_car(connector))
        if phases > outlet["car_phases"]:
            self._grown_at_ms[connector] = self.world.now_ms
            self.judge.grown[connector] = True
        outlet["car_phases"] = phases
        self.world.touch()

    def _excuse_grown(self, image: Image) -> None:
        """Until a reading has shown on which phases a car charges now, and for a reaction after that."""
        for c, grown_ms in list(self._grown_at_ms.items()):
            row, built, outlet = image.connectors[c], self.story.topology.connectors[c], self.world.outlets[c]
            self._excuse(built["path"][: built["depth"]], self.tally.delays.reaction_ms)
            taken_ms = row["reading_at_ms"] - self.plant.latency_ms - outlet["late_ms"] - 1_000
            shown = (row["current_ma"][: outlet["car_phases"]] > SHOWN_MA).all()
            if not outlet["plugged"] or (taken_ms > grown_ms and shown):
                del self._grown_at_ms[c]
                self.judge.grown[c] = False

    def edit(self, what: str, number: int) -> bool:
        """The site file is edited: the controller starts anew with it, while the cars go on charging."""
        names, old = self.file.topology.connector_names, pages(self.file.topology, self.memory)
        before = set(self.file.site.chargepoint)
        limits = self.file.topology.grids["limit_ma"]
        if not self.file.edit(what, number):
            return False
        world, built, new = self.world, self.world.built, self.file.topology
        for c, row in zip(self.file.rows, new.connectors, strict=True):
            if built.connectors[c]["path"][0] != row["path"][0]:
                for field in ("path", "depth", "phase"):
                    built.connectors[c][field] = row[field]
        for field in ("limit_ma", "margin_ma", "panic_ma"):
            built.grids[field] = new.grids[field]
        self._excuse(
            np.flatnonzero((new.grids["limit_ma"] < limits).any(axis=1)), self.tally.delays.reaction_ms
        )
        out = np.ones(len(world.outlets), dtype=bool)
        out[self.file.rows] = False
        for name in {world.topology.connector_names[c].rpartition("/")[0] for c in np.flatnonzero(out)}:
            world.set_offline(name, offline=True)
        for name in set(self.file.site.chargepoint) - before:
            world.set_offline(self.file.box(name), offline=False)
        self.judge.edited(out)
        self.memory = self._book.resumed(names, old, self.file, world.now_ms)
        told = self.plant.seen
        self.plant = SimulatedPlant(world)
        self.plant.seen.grids[:] = told.grids
        self.plant.seen.connectors["stop"] = told.connectors["stop"]
        for field in ("strategy", "setpoint_ma"):
            self.plant.seen.batteries[field] = told.batteries[field]
        self.tally._seen = self.plant.seen.connectors
        world.touch()
        self._restarted = True
        return True

    def rewire(self, connector: int, phase: int) -> None:
        """An electrician hangs an outlet that nobody has confirmed on other phases, while nothing charges."""
        built = self.world.built.connectors[connector]
        if not built["confirmed"] and not self.world.outlets[connector]["transaction"]:
            built["phase"] = np.roll(built["phase"], phase)

    def box(self, chargepoint: str, field: str, value: int) -> None:
        """Set a fault of all outlets of a chargepoint: deaf, refusing, late_ms, step_ma."""
        self.world.outlets[field][self.world.rows_of(chargepoint)] = value

    def tell(self, grid: int, kind: str, percent: int | None) -> None:
        """Limit a grid to a part of its fuse from outside; None lifts that."""
        fuse_ma = self.story.topology.grids[grid]["limit_ma"]
        told = UNLIMITED_MA if percent is None else fuse_ma * percent // 100
        self.plant.seen.grids[f"{kind}_ma"][grid] = told
        self.plant.seen.grids[f"{kind}_source"][grid] = Source.API

    def stop(self, connector: int, *, on: bool) -> None:
        """Take an outlet out of service, or back."""
        self.plant.seen.connectors["stop"][connector] = int(Source.MAINTENANCE) if on else 0

    def tell_export(self, grid: int, percent: int | None) -> None:
        """Limit what a grid may send back to a part of its fuse; None lifts that."""
        fuse_ma = self.story.topology.grids[grid]["limit_ma"]
        told = UNLIMITED_MA if percent is None else fuse_ma * percent // 100
        self.plant.seen.grids["export_ma"][grid] = told

    def battery(self, b: int, what: str) -> None:
        """A battery dies, falls silent, forgets its charge, fights with all it has; or all is well again."""
        cell, built = self.world.cells[b], self.world.built.batteries[b]
        for field in ("dead", "silent", "soc_lost"):
            cell[field] = int(what == field)
        fights = {"takes all": built["charge_ma"], "gives all": -built["discharge_ma"], "does nothing": 0}
        if what in fights:
            goes_its_own_way(cell, int(fights[what]))
        elif cell["deaf"]:
            goes_its_own_way(cell, None)
        self.world.touch()

    def tell_battery(self, b: int, strategy: int, percent: int) -> None:
        """Somebody outside says what it should do; a set-point in parts of its rating, below 0 it gives."""
        seen, built = self.plant.seen.batteries[b], self.story.topology.batteries[b]
        rated_ma = built["charge_ma"] if percent > 0 else built["discharge_ma"]
        seen["strategy"], seen["setpoint_ma"] = strategy, int(rated_ma) * percent // 100

    def inverter(self, i: int, what: str) -> None:
        """An inverter dies, falls silent, ignores its limits; or all is well again."""
        for field in ("dead", "silent", "deaf"):
            self.world.panels[i][field] = int(what == field)
        self.world.touch()

    def cloud(self, i: int, percent: int) -> None:
        """What the sky lets through from now on."""
        self.world.panels[i]["cloud"] = 10 * percent
        self.world.touch()

    def _judge_told(self, image: Image, decision: Decision) -> None:
        """What is told from outside only narrows, and does so in the cycle in which it is seen."""
        fuse_ma = self.file.topology.grids["limit_ma"]
        told_ma = np.minimum(fuse_ma, np.minimum(image.grids["hard_ma"], image.grids["soft_ma"]))
        for g in np.flatnonzero((decision.grids["limit_ma"][:, :3] > told_ma).any(axis=1)):
            self._ignored.append(f"{self.story.topology.grid_names[g]} is told a limit and has a higher one")
        rows, seen = decision.connectors, image.connectors
        able = (seen["online"] == 1) & (seen["transaction"] != 0) & (rows["alarm"] == 0)
        for c in np.flatnonzero(able & (seen["stop"] != 0) & (rows["target_ma"] > 0)):
            self._ignored.append(f"{self.story.topology.connector_names[c]} is stopped and has an order")

    def faults(self) -> list[str]:
        """What is wrong now."""
        outlets, gauges = self.world.outlets, self.world.gauges
        found = [
            name for name in ("offline", "deaf", "refusing", "late_ms", "step_ma") if outlets[name].any()
        ]
        found += [f"meter {name}" for name in ("silent", "nan", "frozen") if gauges[name].any()]
        consumers = self.story.topology.meters["role"] == CONSUMER
        if any(gauges[name][consumers].any() for name in ("silent", "nan", "frozen")):
            found.append("of a consumer meter")
        if self._grown_at_ms:
            found.append("a car on more phases than anybody has seen")
        cells, panels = self.world.cells, self.world.panels
        found += [f"battery {name}" for name in ("dead", "silent", "soc_lost", "deaf") if cells[name].any()]
        return found + [f"inverter {name}" for name in ("dead", "silent", "deaf") if panels[name].any()]

    # -- time --------------------------------------------------------------------------------------

    def run(self, seconds: int) -> list[str]:
        """So many cycles; returns what broke."""
        faults = self.faults()
        conditions = self.story.conditions
        lost, pauses = conditions.links.loss > 0, conditions.pauses is not None
        big = len(self.world.outlets) >= 20 and self.levels >= 3
        for _ in range(seconds):
            image = self.plant.measure()
            if self._grown_at_ms:
                self._excuse_grown(image)
            self._excuse_frozen()
            decision = self.think(image)
            self.plant.distribute(decision)
            self.judge.cycle(image, decision)
            self._judge_told(image, decision)
            self.plant.advance(self.world.now_ms + 1_000)
        grids = self.plant.seen.grids
        told = any((grids[f"{kind}_ma"] < UNLIMITED_MA).any() for kind in ("hard", "soft", "charging"))
        cycles["limits from outside"] += seconds * bool(told)
        cycles["in all"] += seconds
        cycles[f"{self.levels} levels"] += seconds
        fewest = len(self.world.outlets) // 20 * 20
        cycles[f"{fewest or 1} to {fewest + 19} connectors"] += seconds
        built, boards = self.story.topology, self.world.boards
        for name, is_so in (
            ("lost messages", lost),
            ("pauses", pauses),
            ("no fault", not faults),
            ("batteries", len(built.batteries) > 0),
            ("batteries that count for fuses", bool(built.batteries["counts_for_fuse"].any())),
            ("they give now", bool(boards["relied_ma"].any())),
            ("an edited site file", self._restarted),
            ("inverters", len(built.inverters) > 0),
            (
                "inverters curtailed",
                bool((self.memory.inverters["target_ma"] < built.inverters["max_ma"]).any()),
            ),
        ):
            cycles[name] += seconds * is_so
        for name in faults:
            cycles[name] += seconds
        cycles[HEAVY] += seconds * bool(big and lost and pauses and faults)
        return self.broken()

    def think(self, image: Image) -> Decision:
        """One cycle of the controller."""
        decision, self.memory = calculate(self.file.topology, self.file.seen(image), self.memory)
        return self.file.told(decision, self.story.topology)

    def broken(self) -> list[str]:
        """Every rule that has been broken so far."""
        found = [*self.judge.broken, *self._ignored[:3]]
        for field, words in (("own_as", ""), ("leaned_as", ", hidden by batteries that count for no fuse,")):
            own_as = float(self.tally.rows[field].sum())
            if own_as > OWN_AS:
                worst = int(self.tally.rows[field].sum(axis=1).argmax())
                found.append(
                    f"own-caused overshoot{words} of {own_as:.2f} A s until {self.world.now_ms / 1000:g} s,"
                    f" most of it in {self.story.topology.grid_names[worst]}"
                )
        return found
