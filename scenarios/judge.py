"""The rules that no run may break, held against the twin's truth at every instant and every cycle.

A judge sees what no controller can: what every outlet really draws on which phase. It keeps the first few
sentences of every rule that was broken, with the time, so that a replay can be stopped there.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from controller.decision import Alarm, Decision
from controller.defaults import NEVER
from controller.electrical import PHASES
from controller.image import Image
from controller.topology import PANIC, Topology
from twin.world import World

COVER_MA = 100  # a box rounds to tenths of an ampere
TELL = 3  # sentences per rule
LIES = ("deaf", "resumes_full", "extra_permille", "slow_ms")
UNCOMMANDABLE = Alarm.NOT_OBEYING | Alarm.REFUSED | Alarm.OFFLINE

Table = NDArray[np.int64]


class Judge:
    """Looks on at one run; `broken` has what it saw, `counts` how often per rule."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._decision: Decision | None = None
        self._targets: Table | None = None

    def begin(self, world: World) -> None:
        """Take the seat."""
        self.world = world
        self._liars = np.zeros(len(world.outlets), dtype=bool)
        self._under = _under(world.topology)
        self._tripped = np.zeros(len(world.topology.grids), dtype=bool)

    def _lying(self) -> NDArray[np.bool_]:
        """Outlets whose box disobeys now: nobody can promise anything about them, nor about what they did."""
        outlets = self.world.outlets
        flags = [outlets[name] != 0 for name in LIES]
        return np.asarray(np.any(flags, axis=0) | (outlets["step_ma"] > 0))

    def _fault(self, rule: str, words: str) -> None:
        self.counts[rule] += 1
        if self.counts[rule] <= TELL:
            self.broken.append(f"{rule} at {self.world.now_ms / 1000:.1f} s: {words}")

    # -- every instant -----------------------------------------------------------------------------

    def instant(self, _span_ms: int) -> None:
        """Called before every step of the physics: nothing changes in kind within."""
        self._liars |= self._lying()
        if self._decision is None:
            return
        self._cover(self._decision)
        self._fuses()

    def _cover(self, decision: Decision) -> None:
        """No outlet draws more than is booked for it, nor on a phase where nothing is booked."""
        drawn = self.world.outlets["draw_ma"]
        if not drawn.any():
            return
        rows = decision.connectors
        booked = np.zeros_like(drawn)
        built = self.world.built.connectors["phase"]
        for own in range(3):
            on_phase = np.take_along_axis(rows["phases"], built[:, own : own + 1], axis=1)[:, 0]
            booked[:, own] = rows["committed_ma"] * on_phase
        over = (drawn > booked + COVER_MA).any(axis=1) & ~self._liars
        for c in np.flatnonzero(over):
            name = self.world.topology.connector_names[c]
            self._fault(
                "more drawn than booked",
                f"{name} draws {_amps(drawn[c])} A, booked {_amps(booked[c])} A on its phases",
            )

    def _fuses(self) -> None:
        """A fuse opens only when what cannot be commanded is too much for it."""
        opened = (self.world.boards["tripped"] != 0) & ~self._tripped
        self._tripped |= opened
        for g in np.flatnonzero(opened):
            limit = self.world.built.grids[g]["limit_ma"]
            alone = self.world.boards[g]["own_ma"] + self._uncommandable_ma(int(g))
            if (alone <= limit).all():
                self._fault("fuse", f"{self.world.topology.grid_names[g]} tripped")

    def _uncommandable_ma(self, g: int) -> Table:
        outlets = self.world.outlets
        free = self._liars | (outlets["offline"] != 0) | (outlets["refusing"] != 0)
        return np.full(3, int(outlets["car_max_ma"][free & self._under[g]].sum()))

    # -- every cycle -------------------------------------------------------------------------------

    def cycle(self, image: Image, decision: Decision) -> None:
        """Called after every cycle with what the controller saw and what it wants."""
        self._orders(decision)
        self._raises(decision)
        self._cuts(image, decision)
        if decision.site["alarm"][0] & Alarm.CHECK_FAILED:
            self._fault("last check", "the controller found its own decision unsound")
        self._decision = decision
        self._targets = decision.connectors["target_ma"].copy()

    def _orders(self, decision: Decision) -> None:
        """An order is 0 or between the minimum and the rating."""
        rows, built = decision.connectors, self.world.topology.connectors
        target = rows["target_ma"]
        between = (target != 0) & ((target < built["min_ma"]) | (target > built["max_ma"]))
        for c in np.flatnonzero((rows["put"] == 1) & between):
            name = self.world.topology.connector_names[c]
            self._fault("0 or the minimum", f"{name} is ordered {target[c] / 1000:g} A")

    def _raises(self, decision: Decision) -> None:
        """(b) Whoever was raised: load and commitments stay under limit less margin in every grid above."""
        if self._targets is None:
            return
        rows = decision.connectors
        raised = (rows["put"] == 1) & (rows["target_ma"] > self._targets)
        for g in np.flatnonzero((self._under & raised).any(axis=1)):
            grid = decision.grids[g]
            booked = (rows["phases"] * rows["committed_ma"][:, None])[self._under[g]].sum(axis=0)
            if grid["lost"]:
                fits = booked <= self._safe_ma(int(g))
            else:
                fits = grid["estimate_ma"] + booked <= grid["limit_ma"] - grid["margin_ma"]
            touched = rows["phases"][self._under[g] & raised].any(axis=0)
            for p in np.flatnonzero(touched & ~fits):
                name = self.world.topology.grid_names[g]
                self._fault(
                    "raise without room",
                    f"{name} {PHASES[p]}: load {grid['estimate_ma'][p] / 1000:g} A"
                    f" and booked {booked[p] / 1000:g} A",
                )

    def _safe_ma(self, g: int) -> int:
        safe = [int(m["safe_ma"]) for m in self.world.topology.meters if m["grid"] == g]
        return min((0 if ma == PANIC else ma for ma in safe), default=0)

    def _cuts(self, image: Image, decision: Decision) -> None:
        """(a) Load and targets stay under limit less half the margin, or nothing is left to lower."""
        rows, seen = decision.connectors, image.connectors
        lowerable = (
            (rows["target_ma"] > 0)
            & (rows["alarm"] & int(UNCOMMANDABLE) == 0)
            & (seen["transaction"] != 0)
            & (seen["transaction_at_ms"] != NEVER)
        )
        for g, grid in enumerate(decision.grids):
            if grid["lost"]:
                continue
            targets = (rows["phases"] * rows["target_ma"][:, None])[self._under[g]].sum(axis=0)
            over = grid["estimate_ma"] + targets > grid["limit_ma"] - grid["margin_ma"] // 2
            left = rows["phases"][self._under[g] & lowerable].any(axis=0)
            for p in np.flatnonzero(over & left):
                name = self.world.topology.grid_names[g]
                self._fault(
                    "nothing lowered",
                    f"{name} {PHASES[p]}: load {grid['estimate_ma'][p] / 1000:g} A and targets"
                    f" {targets[p] / 1000:g} A on {grid['limit_ma'][p] / 1000:g} A",
                )


def _amps(currents_ma: Table) -> str:
    return "/".join(f"{current / 1000:.1f}" for current in currents_ma)


def _under(topology: Topology) -> NDArray[np.bool_]:
    """`[grid, connector]`: it hangs under it."""
    table = np.zeros((len(topology.grids), len(topology.connectors)), dtype=bool)
    for c, row in enumerate(topology.connectors):
        table[row["path"][: row["depth"]], c] = True
    return table
