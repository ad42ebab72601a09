"""How much of what fits is used, how calm the orders are, and what overshot with nothing to excuse it.

An onlooker. *Use* is what the cars draw over the best weighted max-min filling of the truth: limit less
margin less the true load, true phases, what every car takes at this instant, minimums, no delay of any kind.
Who gets the minimums where not all fit is asked in the order in which they have current now. *Reversals* are
changes of direction of the limits sent to one car, 1 A or more. *Short* is own-caused overshoot in the window
T_R instead of T_B; it counts while nothing hid the load from the controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from controller.commitments import tolerance_ma
from controller.decision import Alarm, Decision
from controller.defaults import NEVER, SAMPLE_GRACE_MS, UP_MS
from controller.image import Image, Status
from controller.kernel import kernel
from controller.table import Table
from scenarios.figures import TALLY, count_interval, true_delays
from scenarios.scenario import Story
from twin import curves
from twin.world import World

TURN_MA: Final = 1_000
HIDDEN_MA: Final = 1_000  # a reading that far above the truth hides as much of a rise
CALM_MS: Final = 60_000  # so long after the best filling last moved, orders can be compared with it
MOVED_MA: Final = 1_000
QUIET: Final = [int(status) for status in (Status.AVAILABLE, Status.PREPARING, Status.SUSPENDED_EV)] + [
    int(status) for status in (Status.SUSPENDED_EVSE, Status.FINISHING)
]

BEST = np.dtype(
    [
        ("most_ma", "i8"),  # what the car takes now, whole tenths of an ampere
        ("min_ma", "i8"),
        ("weight", "i8"),
        ("phases", "i8"),  # how many it draws on
        ("has", "i8"),  # 1: it has current now
        ("ma", "f8"),  # its share of the best filling
        ("rising", "i8"),
    ]
)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What an onlooker has found. Use is 0..1, A s are sums over grids and phases."""

    use: float
    reversals_mean: float  # per connector and hour with a car
    reversals_most: float
    churn: float  # ordered changes over those of the best filling
    gap_steps: float  # furthest an order was below the best filling when nothing had moved for 60 s
    short_as: float  # unmasked
    short_all_as: float
    longest_over_s: float
    car_hours: float


@kernel
def _see_cars(best: Table, outlets: Table, connectors: Table) -> bool:
    """What every car takes at this instant; True when anything changed by a tenth of an ampere."""
    changed = False
    for c in range(len(best)):
        outlet = outlets[c]
        most = 0
        if outlet["transaction"] != 0 and outlet["powered"] != 0 and outlet["paused"] == 0:
            ceiling = min(outlet["car_max_ma"], curves.ceiling_ma(outlet, outlet["need_wh"]))
            if outlet["need_wh"] > 0.0:
                most = int(ceiling) // 100 * 100
        changed = changed or most != best[c]["most_ma"]
        best[c]["most_ma"] = most
        best[c]["phases"] = outlet["car_phases"]
        best[c]["min_ma"] = connectors[c]["min_ma"]
        best[c]["weight"] = connectors[c]["weight"]
        best[c]["has"] = int(outlet["draw_ma"][0] > 0)
    return changed


@kernel
def _see_room(room: Any, boards: Table, grids: Table) -> bool:
    """Limit less margin less true load of every grid and phase, mA; True when it changed."""
    changed = False
    for g in range(len(boards)):
        for p in range(3):
            now = grids[g]["limit_ma"][p] - grids[g]["margin_ma"][p] - boards[g]["load_ma"][p]
            changed = changed or now != room[g][p]
            room[g][p] = now
    return changed


@kernel
def _least_room(c: int, best: Table, left: Any, connectors: Table) -> float:
    least = 1e12
    for own in range(best[c]["phases"]):
        p = connectors[c]["phase"][own]
        for d in range(connectors[c]["depth"]):
            least = min(least, left[connectors[c]["path"][d]][p])
    return least


@kernel
def _use(c: int, best: Table, left: Any, connectors: Table, ma: float) -> None:
    for own in range(best[c]["phases"]):
        p = connectors[c]["phase"][own]
        for d in range(connectors[c]["depth"]):
            left[connectors[c]["path"][d]][p] -= ma


@kernel
def fill(best: Table, room: Any, left: Any, slope: Any, connectors: Table) -> float:
    """Weighted max-min filling of `room` [grid, phase] from the minimums up; returns mA over all phases."""
    for g in range(len(room)):
        for p in range(3):
            left[g][p] = room[g][p]
    for turn in range(2):
        for c in range(len(best)):
            row = best[c]
            if row["has"] != 1 - turn:
                continue
            row["ma"] = 0.0
            row["rising"] = 0
            # A car in its taper takes less than its minimum: that is what it costs.
            first = min(row["min_ma"], row["most_ma"])
            if first > 0 and _least_room(c, best, left, connectors) >= first:
                row["ma"] = first
                row["rising"] = int(row["most_ma"] > first)
                _use(c, best, left, connectors, first)
    level = 0.0
    while True:
        step = 1e12
        for g in range(len(room)):
            for p in range(3):
                slope[g][p] = 0.0
        rising = 0
        for c in range(len(best)):
            row = best[c]
            if row["rising"] == 0:
                continue
            rising += 1
            begins = row["min_ma"] / row["weight"]
            if level < begins:
                step = min(step, begins - level)
            else:
                step = min(step, row["most_ma"] / row["weight"] - level)
                _use(c, best, slope, connectors, -row["weight"])
        if rising == 0:
            break
        for g in range(len(room)):
            for p in range(3):
                if slope[g][p] > 0.0:
                    step = min(step, max(left[g][p], 0.0) / slope[g][p])
        for c in range(len(best)):
            row = best[c]
            if row["rising"] == 1 and level >= row["min_ma"] / row["weight"]:
                row["ma"] += row["weight"] * step
                _use(c, best, left, connectors, row["weight"] * step)
        level += step
        for c in range(len(best)):
            row = best[c]
            full = row["ma"] >= row["most_ma"] - 0.01 or _least_room(c, best, left, connectors) < 0.01
            if row["rising"] == 1 and (full or level >= 1e11):
                row["rising"] = 0
    total = 0.0
    for c in range(len(best)):
        total += best[c]["ma"] * best[c]["phases"]
    return total


class Calm:
    """Looks on at one run; `found` sums it up. What happens before `from_ms` is start-up and not counted."""

    def __init__(self, story: Story, from_ms: int = 300_000) -> None:
        self._story, self._from_ms = story, from_ms
        self._delays = true_delays(story)
        count, grids = len(story.topology.connectors), len(story.topology.grids)
        self._best = np.zeros(count, BEST)
        self._room, self._left, self._slope = (np.zeros((grids, 3)) for _ in range(3))
        self._best_ma = self._used_mas = self._best_mas = 0.0
        self._best_was = np.zeros(count)
        self._moved_ms = 0
        self._tally = np.zeros(grids, TALLY)
        self._buckets = np.zeros((1, grids, 3))
        self._starts = np.zeros((count, 2), "i8")
        self._masked_ms = np.zeros(grids, "i8")  # until then nothing is held against the controller
        self._short_as = 0.0
        self._target, self._last, self._way = (np.zeros(count, "i8") for _ in range(3))
        self._transaction = np.zeros(count, "i8")
        self._turns = np.zeros(count, "i8")
        self._car_ms = np.zeros(count, "i8")
        self._before_ms = 0
        self._ordered_ma = self._wanted_ma = 0.0
        self._raised_ms = np.full(count, NEVER, "i8")
        self._raise_seq = np.zeros(count, "i8")
        self._gap = 0.0
        self._image: Image | None = None

    def begin(self, world: World) -> None:
        """Take the seat."""
        self._world = world
        self._under = np.zeros((len(world.boards), len(world.outlets)), dtype=bool)
        for c, row in enumerate(world.topology.connectors):
            self._under[row["path"][: row["depth"]], c] = True
        self._tally["load_ma"] = world.boards["load_ma"]

    def instant(self, span_ms: int) -> None:
        """Nothing changes in kind for `span_ms` from now."""
        world, built = self._world, self._world.built
        if self._image is None:
            return
        short_as = self._tally["own_as"].sum(axis=1)
        count_interval(
            self._tally,
            world.boards,
            built.grids,
            world.outlets,
            built.connectors,
            self._image.connectors,
            self._buckets,
            self._starts,
            world.now_ms,
            span_ms,
            self._delays.reaction_ms,
            self._delays.reading_ms,
        )
        more = self._tally["own_as"].sum(axis=1) - short_as
        self._short_as += float(more[self._masked_ms < world.now_ms].sum())
        cars = _see_cars(self._best, world.outlets, built.connectors)
        if _see_room(self._room, world.boards, built.grids) or cars:
            self._best_ma = fill(self._best, self._room, self._left, self._slope, built.connectors)
            moves = np.abs(self._best["ma"] - self._best_was)
            if world.now_ms >= self._from_ms:
                self._wanted_ma += float(moves.sum())
            if (moves > MOVED_MA).any():
                self._moved_ms = world.now_ms
            self._best_was = self._best["ma"].copy()
        if world.now_ms >= self._from_ms:
            self._used_mas += float(world.outlets["draw_ma"].sum()) * span_ms
            self._best_mas += self._best_ma * span_ms

    def cycle(self, image: Image, decision: Decision) -> None:
        """What the controller saw and what it wants."""
        self._image = image
        now_ms, rows = self._world.now_ms, decision.connectors
        put, target = rows["put"] == 1, rows["target_ma"]
        raised = put & (target > self._target)
        self._raised_ms[raised] = now_ms
        self._raise_seq[raised] = rows["order_seq"][raised]
        self._mask(image, decision)
        self._count_turns(image, target)
        if now_ms >= self._from_ms:
            self._ordered_ma += float(np.abs(target - self._target)[put].sum())
            self._compare(image, decision)
        self._target = target.copy()
        self._before_ms = now_ms

    def _mask(self, image: Image, decision: Decision) -> None:
        """Grids in which something hides the load from anybody: for T_R nothing short is held against it."""
        now_ms, seen, outlets = self._world.now_ms, image.connectors, self._world.outlets
        draw = outlets["draw_ma"].max(axis=1)
        reading = seen["current_ma"].max(axis=1)
        said_ms = np.maximum(seen["status_at_ms"], seen["transaction_at_ms"])
        silent = (said_ms > seen["reading_at_ms"]) & np.isin(seen["status"], QUIET)
        reading = np.where(silent | (seen["transaction"] == 0), 0, reading)
        committed = decision.connectors["committed_ma"]
        reached = np.array([ma - tolerance_ma(int(ma)) for ma in committed])
        answered = np.where(seen["answered_seq"] >= self._raise_seq, seen["answered_at_ms"], now_ms)
        shown = (seen["reading_at_ms"] > self._raised_ms) & (reading >= reached)
        waited = seen["reading_at_ms"] >= answered + UP_MS
        self._raised_ms[shown | waited | (seen["transaction"] == 0)] = NEVER
        sample_ms = self._world.topology.connectors["sample_ms"]
        stale = (seen["transaction"] != 0) & (
            now_ms - np.maximum(seen["reading_at_ms"], said_ms) > sample_ms + SAMPLE_GRACE_MS
        )
        liars = (outlets["deaf"] != 0) | (decision.connectors["alarm"] & int(Alarm.NOT_OBEYING) != 0)
        hides = (self._raised_ms != NEVER) | (reading > draw + HIDDEN_MA) | stale | liars
        hides |= outlets["offline"] != 0
        self._masked_ms[(self._under & hides).any(axis=1)] = now_ms + self._delays.reaction_ms

    def _count_turns(self, image: Image, target: Any) -> None:
        now_ms, transaction = self._world.now_ms, image.connectors["transaction"]
        if now_ms >= self._from_ms:
            self._car_ms[transaction != 0] += now_ms - self._before_ms
        fresh = transaction != self._transaction
        self._transaction = transaction.copy()
        self._last[fresh], self._way[fresh] = target[fresh], 0
        change = target - self._last
        moved = np.abs(change) >= TURN_MA
        if now_ms >= self._from_ms:
            self._turns[moved & (self._way * change < 0)] += 1
        self._way[moved] = np.sign(change[moved])
        self._last[moved] = target[moved]

    def _compare(self, image: Image, decision: Decision) -> None:
        """How far orders are below the best filling, once nothing has moved for a minute."""
        if self._world.now_ms - self._moved_ms < CALM_MS:
            return
        fallen = np.floor(self._best["ma"] / self._world.topology.connectors["step_ma"])
        has = np.floor(decision.connectors["target_ma"] / self._world.topology.connectors["step_ma"])
        able = (decision.connectors["alarm"] == 0) & (image.connectors["transaction"] != 0)
        self._gap = max(self._gap, float(np.where(able, fallen - has, 0).max(initial=0)))

    def found(self) -> Steadiness:
        """All figures of the run so far."""
        hours = self._car_ms / 3_600_000
        rates = self._turns / np.maximum(hours, 0.1)
        return Steadiness(
            use=self._used_mas / self._best_mas if self._best_mas else 1.0,
            reversals_mean=float(self._turns.sum() / max(hours.sum(), 0.01)),
            reversals_most=float(rates.max(initial=0)),
            churn=self._ordered_ma / self._wanted_ma if self._wanted_ma else float(self._ordered_ma > 0),
            gap_steps=self._gap,
            short_as=self._short_as,
            short_all_as=float(self._tally["own_as"].sum()),
            longest_over_s=int(self._tally["longest_ms"].max()) / 1000,
            car_hours=float(hours.sum()),
        )
