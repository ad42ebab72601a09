"""Bounds of the uncontrolled load and what is left under every grid and phase (docs/control.md 2-4, 7).

The guard meter measures everything, the readings of the connectors are older: so a connector's draw at the
moment of the meter's sample is an interval [lo, hi], the uncontrolled load lies in [G - sum hi, G - sum lo],
and the estimate stays put until the readings exclude it.
"""

from __future__ import annotations

from controller.comparison import consult_consumers
from controller.defaults import (
    ASK_FALL_MA,
    CONSUMER_FALL_MS,
    DOWN_MS,
    DRAWING_MA,
    ESTIMATE_STEP_MA,
    LINK_MS,
    METER_PEAK_MS,
    METER_ROUND_MS,
    NEVER,
    PHASE_IDLE_MA,
    PHASE_IN_USE_MA,
    PHASE_READINGS,
    POOLED_TOLERANCE_MA,
    PV_CREDIT_PER_MILLE,
    TOGETHER,
    WAKING_PATIENCE_MS,
    WAKING_SLACK_MA,
)
from controller.kernel import kernel
from controller.session import occupied
from controller.topology import CONSUMER, GUARD, NO_METER, PANIC
from controller.window import highest, push
from controller.work import Cycle

ESTIMATE_KEEP_MS = METER_ROUND_MS + 60_000


@kernel
def bound_draw(cy: Cycle, c: int) -> None:
    """Least and most that a connector is held to have drawn when the meters were sampled."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    _learn_phases(cy, c)
    # Nobody charges without a transaction; to hold an idle outlet's default for drawn would let a rise of
    # the building hide behind it for hours.
    idle = work["active"] == 0 and cy.seen[c]["online"] == 1 and not occupied(cy.seen[c])
    certain = idle or (work["fresh"] == 1 and kept["closed"] == 1 and work["active"] == 1)
    ceiling = min(kept["target_ma"], kept["lowest_ma"])
    unordered = kept["limit_known"] == 0 and kept["fall_since_ms"] == NEVER
    if kept["ignored"] == 1 or unordered:
        ceiling = work["draw_ma"]
    lows = kept["low_ma"]
    lows_until = kept["low_until_ms"]
    highs = kept["high_ma"]
    highs_until = kept["high_until_ms"]
    for p in range(3):
        draw = work["reading_ma"][p]
        least = draw if kept["spread"] == 0 else draw * kept["spread"] // 3  # total power: evenly
        low = min(least, ceiling) * work["fresh"] * kept["phases"][p]
        high = draw
        if cy.seen[c]["online"] == 0:
            high = kept["committed_ma"]  # where its lease has ended, less than it was last seen to draw
        elif not certain:
            high = max(kept["committed_ma"], draw)
        high *= kept["phases"][p]
        keep_ms = work["blind_ms"]
        kept["low_count"][p] = push(lows[p], lows_until[p], kept["low_count"][p], now, -low, keep_ms)
        kept["high_count"][p] = push(highs[p], highs_until[p], kept["high_count"][p], now, high, keep_ms)
        # Nothing older is kept, so the extreme of the window stands in front.
        work["low_ma"][p] = -lows[p][0]
        work["high_ma"][p] = highs[p][0]


@kernel
def _learn_phases(cy: Cycle, c: int) -> None:
    """Phases become known by two fresh readings in a row: all three, or fewer with a confirmed rotation."""
    kept = cy.kept[c]
    work = cy.work[c]
    if kept["known"] == 1 or work["news"] == 0 or work["fresh"] == 0 or kept["closed"] == 0:
        return
    if kept["spread"] != 0:
        return  # nobody says on which phases it flows
    bits = 0
    used = 0
    idle = 0
    for p in range(3):
        reading = kept["reading_ma"][p]
        if reading >= PHASE_IN_USE_MA:
            bits |= 1 << p
            used += 1
        elif reading < PHASE_IDLE_MA:
            idle += 1
    clear = used == 3 or (used > 0 and used + idle == 3 and cy.built[c]["confirmed"] == 1)
    if not clear:
        kept["evidence_count"] = 0
        return
    kept["evidence_count"] = kept["evidence_count"] + 1 if bits == kept["evidence"] else 1
    kept["evidence"] = bits
    if kept["evidence_count"] < PHASE_READINGS:
        return
    kept["known"] = 1
    for p in range(3):
        work["reading_ma"][p] = kept["reading_ma"][p]
        if kept["phases"][p] == 1 and bits & (1 << p) == 0:
            kept["phases"][p] = 0
            take_phase_off(cy, c, p)


@kernel
def take_phase_off(cy: Cycle, c: int, p: int) -> None:
    """The estimate was lower by what the connector was wrongly held to draw there: put it back."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    count = kept["high_count"][p]
    if count == 0:
        return
    since = now - cy.work[c]["blind_ms"]
    shift = highest(kept["high_ma"][p], kept["high_until_ms"][p], count, since)
    kept["high_count"][p] = 0
    kept["low_count"][p] = 0
    for d in range(cy.built[c]["depth"]):
        grid = cy.kept_grids[cy.built[c]["path"][d]]
        grid["estimate_ma"][p] += shift
        for slot in range(grid["high_count"][p]):
            grid["high_ma"][p][slot] += shift


@kernel
def open_book(cy: Cycle) -> None:
    """No draw is older than now until one is entered; what is left of an earlier site file stands in it."""
    now = cy.clock[0]["now_ms"]
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        left = int(now < cy.kept_grids[g]["left_until_ms"])
        for p in range(3):
            grid["oldest_ms"][p] = now
            grid["left_ma"][p] = left * cy.kept_grids[g]["left_ma"][p]
            grid["committed_ma"][p] = grid["left_ma"][p]
            grid["targets_ma"][p] = grid["left_ma"][p]


@kernel
def enter_in_book(cy: Cycle, c: int) -> None:
    """Add a connector to the book of its board, on the phases it is booked on."""
    kept = cy.kept[c]
    work = cy.work[c]
    board = cy.grids[cy.built[c]["path"][0]]
    falls = kept["fall_since_ms"] != NEVER and work["commandable"] == 1
    for p in range(3):
        if kept["phases"][p] == 0:
            continue
        work["load"][p] = 1
        work["load"][TOGETHER] += 1
        work["line_bits"] |= 1 << p | 1 << TOGETHER
        high = work["high_ma"][p]
        board["committed_ma"][p] += kept["committed_ma"]
        board["targets_ma"][p] += work["book_target_ma"]
        board["low_ma"][p] += work["low_ma"][p]
        board["high_ma"][p] += high
        board["slack_ma"][p] += max(kept["committed_ma"] - high, 0)
        board["phantom_ma"][p] += high * (1 - kept["known"])
        board["drawing"][p] += int(work["reading_ma"][p] >= DRAWING_MA)
        if falls or work["low_ma"][p] != 0:
            for d in range(cy.built[c]["depth"]):
                _date(cy, c, cy.built[c]["path"][d], p)


@kernel
def _date(cy: Cycle, c: int, g: int, p: int) -> None:
    """What of its draw and of its falls a grid can see depends on when the grid's guard was read."""
    kept = cy.kept[c]
    work = cy.work[c]
    grid = cy.grids[g]
    if work["low_ma"][p] != 0:
        heard = work["heard_ms"]
        if grid["measured_at_ms"] < heard and kept["previous_at_ms"] != NEVER:
            heard = min(heard, kept["previous_at_ms"])
        grid["oldest_ms"][p] = min(grid["oldest_ms"][p], heard)
    grid["pending_ma"][p] += _invisible_fall(cy, c, g, p)


@kernel
def close_book(cy: Cycle) -> None:
    """Every grid on its feeder, leaves first; then its three phases together."""
    for i in range(len(cy.leaves_first)):
        g = cy.leaves_first[i]
        grid = cy.grids[g]
        if cy.built_grids[g]["parent"] >= 0:
            feeder = cy.grids[cy.built_grids[g]["parent"]]
            for p in range(3):
                feeder["left_ma"][p] += grid["left_ma"][p]
                feeder["committed_ma"][p] += grid["committed_ma"][p]
                feeder["targets_ma"][p] += grid["targets_ma"][p]
                feeder["low_ma"][p] += grid["low_ma"][p]
                feeder["high_ma"][p] += grid["high_ma"][p]
                feeder["slack_ma"][p] += grid["slack_ma"][p]
                feeder["phantom_ma"][p] += grid["phantom_ma"][p]
                feeder["drawing"][p] += grid["drawing"][p]
        for p in range(3):
            grid["left_ma"][TOGETHER] += grid["left_ma"][p]
            grid["committed_ma"][TOGETHER] += grid["committed_ma"][p]
            grid["targets_ma"][TOGETHER] += grid["targets_ma"][p]
            grid["pending_ma"][TOGETHER] += grid["pending_ma"][p]


@kernel
def _invisible_fall(cy: Cycle, c: int, g: int, p: int) -> int:
    """What an ordered lowering will still take off the reading of this grid's guard meter."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    grid = cy.grids[g]
    if kept["fall_since_ms"] == NEVER or cy.work[c]["commandable"] == 0:
        return 0
    if now - kept["fall_since_ms"] > grid["blind_ms"] + LINK_MS + DOWN_MS:
        return 0
    seen = kept["observed"] == 1 and grid["measured_at_ms"] > kept["reading_at_ms"]
    if seen:
        return 0
    fall = max(kept["fall_from_ma"][p] - kept["target_ma"], 0)
    return fall if kept["known"] == 1 else fall // 3


@kernel
def estimate_loads(cy: Cycle) -> None:
    """Uncontrolled load of every grid, leaves first; then what of it counts against the limit."""
    for i in range(len(cy.leaves_first)):
        g = cy.leaves_first[i]
        kind = cy.built_grids[g]["kind"]
        ageing = cy.grids[g]["ageing"] == 1
        if kind == GUARD and cy.grids[g]["guarded"] == 1 and not ageing:
            for p in range(3):
                _estimate_behind_guard(cy, g, p)
        elif kind == CONSUMER:
            for p in range(3):
                _estimate_from_consumers(cy, g, p)
        elif kind == NO_METER:
            for p in range(3):
                load = cy.built_grids[g]["uncontrolled_ma"][p] + _children_load(cy, g, p, 0)
                cy.kept_grids[g]["estimate_ma"][p] = load
        for p in range(3):
            cy.grids[g]["load_ma"][p] = cy.kept_grids[g]["estimate_ma"][p]
        consult_consumers(cy, g)
        for p in range(3):
            _follow_age(cy, g, p)
            _floor_feed_in(cy, g, p)


@kernel
def _children_load(cy: Cycle, g: int, p: int, excluded_only: int) -> int:
    load = 0
    for child in range(len(cy.built_grids)):
        if cy.built_grids[child]["parent"] != g:
            continue
        if excluded_only == 1 and cy.built_grids[child]["excluded"] == 0:
            continue
        if cy.grids[child]["lost"] == 1:
            load += cy.built_grids[child]["worst_load_ma"][p]
        else:
            load += max(cy.kept_grids[child]["estimate_ma"][p], 0)
    return load


@kernel
def _pooled_ma(cars: int, most: int) -> int:
    """By how much so many readings together may be wrong, at most `most`: it grows with the root of them."""
    square = POOLED_TOLERANCE_MA * POOLED_TOLERANCE_MA * cars
    if square == 0:
        return 0
    if most * most <= square:
        return most
    guess = most
    better = (guess + square // guess) // 2
    while better < guess:  # Newton, from above: ends at the root, rounded down
        guess = better
        better = (guess + square // guess) // 2
    return guess


@kernel
def _estimate_behind_guard(cy: Cycle, g: int, p: int) -> None:
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    measured = grid["measured_ma"][p]
    pooled = _pooled_ma(grid["drawing"][p], grid["margin_ma"][p] // 4)
    most = measured - grid["low_ma"][p]
    least = measured - grid["high_ma"][p] - pooled
    kept["high_count"][p] = push(
        kept["high_ma"][p], kept["high_until_ms"][p], kept["high_count"][p], now, most, ESTIMATE_KEEP_MS
    )
    if kept["started"] & (1 << p) == 0:
        kept["started"] |= 1 << p
        # A battery that discharges hides load: the reading alone would credit it.
        kept["estimate_ma"][p] = measured - grid["gives_ma"][p]
    if least > kept["estimate_ma"][p] + ESTIMATE_STEP_MA:
        _believe_rise(cy, g, p, least)
        return
    kept["waking_since_ms"][p] = NEVER
    blind = grid["blind_ms"]
    window = min(now - grid["oldest_ms"][p] + blind + 2_000, METER_ROUND_MS + blind + DOWN_MS + 2_000)
    outlived = highest(kept["high_ma"][p], kept["high_until_ms"][p], kept["high_count"][p], now - window)
    if most < kept["estimate_ma"][p] - ASK_FALL_MA:
        grid["asks"] |= 1 << p
    kept["estimate_ma"][p] = min(kept["estimate_ma"][p], outlived)
    if most < kept["estimate_ma"][p] - ESTIMATE_STEP_MA:
        grid["falling"] = 1


@kernel
def _believe_rise(cy: Cycle, g: int, p: int, least: int) -> None:
    """A rise counts at once, unless it fits under the limit and a waking car may explain it."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    fits = grid["measured_ma"][p] <= grid["limit_ma"][p] - grid["margin_ma"][p]
    if fits and grid["slack_ma"][p] > WAKING_SLACK_MA:
        if kept["waking_since_ms"][p] == NEVER:
            kept["waking_since_ms"][p] = now
        grid["held"] = 1
        grid["asks"] |= 1 << p
        if now - kept["waking_since_ms"][p] < WAKING_PATIENCE_MS:
            return
    kept["estimate_ma"][p] = least
    kept["waking_since_ms"][p] = NEVER


@kernel
def _estimate_from_consumers(cy: Cycle, g: int, p: int) -> None:
    """The meters show the uncontrolled load itself; its falls are held for some seconds."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept_grids[g]
    load = _children_load(cy, g, p, 1)
    for m in range(len(cy.built_meters)):
        built = cy.built_meters[m]
        if built["grid"] == g and cy.kept_meters[m]["at_ms"] != NEVER:
            load += cy.kept_meters[m]["current_ma"][p] + built["error_ma"]
    kept["high_count"][p] = push(
        kept["high_ma"][p], kept["high_until_ms"][p], kept["high_count"][p], now, load, CONSUMER_FALL_MS
    )
    kept["estimate_ma"][p] = highest(
        kept["high_ma"][p], kept["high_until_ms"][p], kept["high_count"][p], now - CONSUMER_FALL_MS
    )
    if load < kept["estimate_ma"][p]:
        cy.grids[g]["falling"] = 1


@kernel
def _follow_age(cy: Cycle, g: int, p: int) -> None:
    """An ageing meter counts with its highest estimate of 15 min; a lost one gives safe current or panic."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    if cy.built_grids[g]["kind"] == NO_METER:
        return
    if grid["lost"] == 1:
        grid["limit_ma"][p] = min(max(grid["safe_ma"], 0), grid["limit_ma"][p])
        grid["margin_ma"][p] = 0
        grid["load_ma"][p] = 0
        grid["panic"] = int(grid["safe_ma"] == PANIC)
        grid["held"] = grid["panic"]
        return
    if grid["ageing"] == 0:
        kept["peak_count"][p] = push(
            kept["peak_ma"][p],
            kept["peak_until_ms"][p],
            kept["peak_count"][p],
            now,
            kept["estimate_ma"][p],
            METER_PEAK_MS,
        )
    elif kept["peak_count"][p] > 0:
        peak = highest(
            kept["peak_ma"][p], kept["peak_until_ms"][p], kept["peak_count"][p], now - METER_PEAK_MS
        )
        grid["load_ma"][p] = max(grid["load_ma"][p], peak)


@kernel
def _floor_feed_in(cy: Cycle, g: int, p: int) -> None:
    """Feed-in can vanish in seconds: against a fuse only part of it is credited."""
    grid = cy.grids[g]
    credit = grid["limit_ma"][p] * PV_CREDIT_PER_MILLE // 1000
    floor = -credit - grid["phantom_ma"][p]
    if grid["feeds_ma"][p] > 0 and cy.built_grids[g]["kind"] == GUARD:
        floor = max(floor, cy.kept_grids[g]["estimate_ma"][p] + grid["feeds_ma"][p] - credit)
    grid["load_ma"][p] = max(grid["load_ma"][p], floor)
