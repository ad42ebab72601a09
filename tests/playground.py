"""A twin that a test plays with second by second, judged from the truth after every cycle.

The controller thinks once a second; between two cycles a test may change the world: loads, cars, boxes,
meters, links, instructions. Everything random follows from the numbers it was made with.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from controller.cycle import calculate
from controller.decision import Decision, first_memory
from controller.defaults import UNLIMITED_MA
from controller.image import Image, Source
from controller.topology import compile_site
from scenarios.figures import Tally
from scenarios.generate import START, draw_loads, draw_site, meter_lag_s, own_loads_a
from scenarios.judge import Judge
from scenarios.regress import OWN_AS
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.instruments import SimulatedPlant
from twin.sessions import Session, draw_car
from twin.streams import stream
from twin.world import World

LATE_S = 20.0  # most that a box is late with its answers
LENGTH_S = 1_000
HEAVY = "20 connectors or more, 3 levels or more, unreported pauses, lost messages, an active fault"
cycles: Counter[str] = Counter()
"""How many cycles were played, by what was true in them."""


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
    ) -> None:
        site = draw_site(seed, connectors, levels, storage=False)
        conditions = Conditions.model_validate(
            {
                "meters": {"delay_s": meter_lag_s(seed)},
                "links": {"latency_s": latency_s, "loss": loss},
                "proven": proven,
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
            loads=draw_loads(seed, site, LENGTH_S),
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
        self._steps: dict[str, Any] = {}
        self._ignored: list[str] = []
        self._cars = 0
        self.levels = int(story.topology.connectors["depth"].max())
        for connector in range(len(story.topology.connectors)):
            if stream(seed, "playground", str(connector)).random() < 0.8:
                self.car_comes(connector)

    def _watch(self, span_ms: int) -> None:
        self.tally.interval(span_ms)
        self.judge.instant(span_ms)

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

    def _judge_told(self, image: Image, decision: Decision) -> None:
        """What is told from outside only narrows, and does so in the cycle in which it is seen."""
        fuse_ma = self.story.topology.grids["limit_ma"]
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
        return found + [f"meter {name}" for name in ("silent", "nan") if gauges[name].any()]

    # -- time --------------------------------------------------------------------------------------

    def run(self, seconds: int) -> list[str]:
        """So many cycles; returns what broke."""
        faults = self.faults()
        conditions = self.story.conditions
        lost, pauses = conditions.links.loss > 0, conditions.pauses is not None
        big = len(self.world.outlets) >= 20 and self.levels >= 3
        for _ in range(seconds):
            image = self.plant.measure()
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
        for name, is_so in (("lost messages", lost), ("pauses", pauses), ("no fault", not faults)):
            cycles[name] += seconds * is_so
        for name in faults:
            cycles[name] += seconds
        cycles[HEAVY] += seconds * bool(big and lost and pauses and faults)
        return self.broken()

    def think(self, image: Image) -> Decision:
        """One cycle of the controller."""
        decision, self.memory = calculate(self.story.topology, image, self.memory)
        return decision

    def broken(self) -> list[str]:
        """Every rule that has been broken so far."""
        found = [*self.judge.broken, *self._ignored[:3]]
        own_as = float(self.tally.rows["own_as"].sum())
        if own_as > OWN_AS:
            worst = int(self.tally.rows["own_as"].sum(axis=1).argmax())
            found.append(
                f"own-caused overshoot of {own_as:.2f} A s until {self.world.now_ms / 1000:g} s,"
                f" most of it in {self.story.topology.grid_names[worst]}"
            )
        return found
