"""The rules that no run may break, held against the twin's truth at every instant and every cycle.

A judge sees what no controller can: what every outlet and battery really draws on which phase, and what
flows back that should not. It keeps the first few sentences of every rule that was broken, with the time,
so that a replay can be stopped there.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from controller.decision import Alarm, Decision, StorageBecause
from controller.defaults import NEVER, SOC_BAND
from controller.electrical import PHASES
from controller.image import Image
from controller.topology import PANIC
from scenarios.feed_in import FeedIn
from twin.world import World

COVER_MA = 100  # a box rounds to tenths of an ampere
EXPORT_MA = 100
TELL = 3  # sentences per rule
LIES = ("deaf", "resumes_full", "extra_permille", "slow_ms")
UNCOMMANDABLE = Alarm.NOT_OBEYING | Alarm.REFUSED | Alarm.OFFLINE
UNHEARD = int(Alarm.NOT_OBEYING | Alarm.OFFLINE | Alarm.READINGS_STALE)
CANNOT_GIVE = (
    StorageBecause.EMPTY,
    StorageBecause.UNHEARD,
    StorageBecause.NOT_OBEYING,
    StorageBecause.STOPPED,
)
"""Why a battery may stop to give although others rest on it."""

Table = NDArray[np.int64]


class Judge:
    """Looks on at one run; `broken` has what it saw, `counts` how often per rule."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._decision: Decision | None = None
        self._targets: Table | None = None
        self._setpoints: Table | None = None

    def begin(self, world: World) -> None:
        """Take the seat."""
        self.world = world
        self._liars = np.zeros(len(world.outlets), dtype=bool)
        built = world.topology
        self._under = _under(built.grids, built.connectors)
        self._batteries = _under(built.grids, built.batteries)
        self._stores = len(built.batteries) > 0
        self._feed_in = FeedIn(world) if self._stores or len(built.inverters) else None
        self._tripped = np.zeros(len(built.grids), dtype=bool)
        self.blind = np.zeros(len(built.grids), dtype=bool)
        """Grids whose meter is frozen, or was lately: what happens there nobody can see."""
        self.grown = np.zeros(len(built.connectors), dtype=bool)
        """Cars on more phases than any reading has shown yet."""
        self._out, self._anew = self.grown.copy(), self.grown.copy()

    @property
    def patience_ms(self) -> int:
        """How long what flows back may need to fall under its limit."""
        return self._feed_in.patience_ms if self._feed_in else 0

    def edited(self, out: NDArray[np.bool_]) -> None:
        """The site file is another one now, without these outlets, and the site may be wired otherwise."""
        built = self.world.built
        self._out, self._setpoints = out, None
        self._anew[:] = True
        self._under = _under(built.grids, built.connectors)

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
        if self._stores:
            self._cover_batteries(self._decision)
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
        over = (drawn > booked + COVER_MA).any(axis=1) & ~self._liars & ~self.grown & ~self._out
        for c in np.flatnonzero(over):
            name = self.world.topology.connector_names[c]
            self._fault(
                "more drawn than booked",
                f"{name} draws {_amps(drawn[c])} A, booked {_amps(booked[c])} A on its phases",
            )

    def _cover_batteries(self, decision: Decision) -> None:
        """No battery takes more than is booked for it, unless it follows no order."""
        cells, booked = self.world.cells, np.maximum(decision.batteries["committed_ma"], 0)
        for b in np.flatnonzero((cells["flow_ma"] > booked + COVER_MA) & (cells["deaf"] == 0)):
            name = self.world.topology.battery_names[b]
            self._fault(
                "more taken than booked",
                f"{name} takes {cells[b]['flow_ma'] / 1000:g} A, booked {booked[b] / 1000:g} A",
            )

    def _fuses(self) -> None:
        """A fuse opens only when what cannot be commanded is too much for it."""
        opened = (self.world.boards["tripped"] != 0) & ~self._tripped & ~self.blind
        self._tripped |= opened
        for g in np.flatnonzero(opened):
            limit = self.world.built.grids[g]["limit_ma"]
            board = self.world.boards[g]
            alone = board["own_ma"] + board["wild_ma"] + self._uncommandable_ma(int(g))
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
        self._raises(image, decision)
        self._cuts(image, decision)
        if self._feed_in:
            self._exports(self._feed_in.own_ma(image, decision))
        if decision.site["alarm"][0] & Alarm.CHECK_FAILED:
            self._fault("last check", "the controller found its own decision unsound")
        self._decision = decision
        self._targets = decision.connectors["target_ma"].copy()
        self._setpoints = decision.batteries["target_ma"].copy()

    def _exports(self, own: Table) -> None:
        """What is fed in on order flows back beyond a limit of export no longer than it takes to see it."""
        for g, line in np.argwhere((own > EXPORT_MA) & ~self.blind[:, None]):
            name = self.world.topology.grid_names[g]
            self._fault("export", f"{name} {(*PHASES, 'sum')[line]}: {own[g, line] / 1000:g} A too much")

    def _orders(self, decision: Decision) -> None:
        """An order is 0 or between the minimum and the rating."""
        rows, built = decision.connectors, self.world.topology.connectors
        target = rows["target_ma"]
        between = (target != 0) & ((target < built["min_ma"]) | (target > built["max_ma"]))
        for c in np.flatnonzero((rows["put"] == 1) & between):
            name = self.world.topology.connector_names[c]
            self._fault("0 or the minimum", f"{name} is ordered {target[c] / 1000:g} A")

    def _raises(self, image: Image, decision: Decision) -> None:
        """(b) Whoever was raised: load and commitments stay under limit less margin in every grid above."""
        if self._targets is None or self._setpoints is None:
            return
        rows, stores = decision.connectors, decision.batteries
        # Of a box whose limit nobody knows since a restart all is booked: a proof adds nothing to that.
        self._anew &= rows["committed_ma"] >= self.world.topology.connectors["max_ma"]
        raised = (rows["put"] == 1) & (rows["target_ma"] > self._targets) & ~self._anew
        taking = (stores["put"] == 1) & (stores["target_ma"] > self._setpoints)
        taking &= ~np.isin(stores["because"], CANNOT_GIVE) & self._can_give(image)
        counted = np.where(taking, stores["target_ma"], stores["committed_ma"])
        for g in np.flatnonzero((self._under & raised).any(axis=1) | (self._batteries & taking).any(axis=1)):
            grid = decision.grids[g]
            booked = (rows["phases"] * rows["committed_ma"][:, None])[self._under[g]].sum(axis=0)
            booked += self._stored(int(g), counted)
            if grid["lost"]:
                fits = booked <= self._safe_ma(int(g))
            else:
                fits = grid["estimate_ma"] + booked <= grid["limit_ma"] - grid["margin_ma"]
            touched = rows["phases"][self._under[g] & raised].any(axis=0)
            touched |= self._stored(int(g), taking * np.where(stores["target_ma"] > 0, 1, -1)) != 0
            for p in np.flatnonzero(touched & ~fits):
                name = self.world.topology.grid_names[g]
                self._fault(
                    "raise without room",
                    f"{name} {PHASES[p]}: load {grid['estimate_ma'][p] / 1000:g} A"
                    f" and booked {booked[p] / 1000:g} A",
                )

    def _can_give(self, image: Image) -> NDArray[np.bool_]:
        """Batteries that know their charge and are not at the lower end of their window."""
        empty = self.world.topology.batteries["soc_min"] + SOC_BAND
        return np.asarray(image.batteries["soc"] > empty)

    def _stored(self, g: int, currents_ma: Table) -> Table:
        """What batteries under a grid count with on its phases: giving only where the site file says so."""
        built = self.world.topology.batteries
        counted = np.where(built["counts_for_fuse"] == 1, currents_ma, np.maximum(currents_ma, 0))
        return np.asarray(((counted * self._batteries[g])[:, None] * built["uses"]).sum(axis=0))

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
        stores = decision.batteries
        heard = stores["alarm"] & UNHEARD == 0
        wanted = np.where(heard, np.maximum(stores["target_ma"], 0), stores["committed_ma"])
        counted = np.where(stores["committed_ma"] < 0, stores["committed_ma"], wanted)
        counted = np.minimum(counted, np.abs(stores["committed_ma"]))
        takes = (heard & (stores["target_ma"] > 0)).astype("i8")
        # Where nobody knows the limit since a restart, what is drawn stands in the load.
        target = np.where(self._anew, 0, rows["target_ma"])
        for g, grid in enumerate(decision.grids):
            if grid["lost"]:
                continue
            targets = (rows["phases"] * target[:, None])[self._under[g]].sum(axis=0)
            targets += self._stored(g, counted)
            over = grid["estimate_ma"] + targets > grid["limit_ma"] - grid["margin_ma"] // 2
            left = rows["phases"][self._under[g] & lowerable].any(axis=0) | (self._stored(g, takes) > 0)
            for p in np.flatnonzero(over & left):
                name = self.world.topology.grid_names[g]
                self._fault(
                    "nothing lowered",
                    f"{name} {PHASES[p]}: load {grid['estimate_ma'][p] / 1000:g} A and targets"
                    f" {targets[p] / 1000:g} A on {grid['limit_ma'][p] / 1000:g} A",
                )


def _amps(currents_ma: Table) -> str:
    return "/".join(f"{current / 1000:.1f}" for current in currents_ma)


def _under(grids: Table, rows: Table) -> NDArray[np.bool_]:
    """`[grid, row]`: it hangs under it."""
    table = np.zeros((len(grids), len(rows)), dtype=bool)
    for n, row in enumerate(rows):
        table[row["path"][: row["depth"]], n] = True
    return table
