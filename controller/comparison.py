"""Meters compared: with the boards below them, with what our own orders did, guard with consumer.

A single reading is judged in `controller.trust`. Here two that must fit together do not: then the larger load
counts and a person is told. Nothing is ever corrected (docs/control.md 7).
"""

from __future__ import annotations

from typing import Any

from controller.defaults import (
    CYCLE_MS,
    METER_APART_MS,
    METER_FRESH_MS,
    METERS_DISAGREE_MS,
    NEVER,
    PHASE_IDLE_MA,
    RESPONSE_CLEARS,
    RESPONSE_MIN_MA,
    RESPONSE_SOON_MS,
    RESPONSE_STORAGE_MA,
    RESPONSE_SURE,
    RESPONSE_WITHIN_MS,
)
from controller.kernel import kernel
from controller.storage import has_shown
from controller.topology import CONSUMER, CURRENTS
from controller.trust import EVERY_PHASE
from controller.work import Cycle

BY_CARS, BY_STORAGE = 1, 2  # whose orders were on their way since the last calm look, as bits


@kernel
def compare_meters(cy: Cycle) -> None:
    """What the boards measure against their feeder, and how every guard answers our own steps."""
    for g in range(len(cy.grids)):
        if cy.grids[g]["guarded"] == 1 and cy.grids[g]["ageing"] == 0:
            _watch_response(cy, g)
    for g in range(len(cy.grids)):
        _compare_with_below(cy, g)


@kernel
def _compare_with_below(cy: Cycle, g: int) -> None:
    """Boards or cars that surely take more than their feeder shows for longer than samples are apart.

    The larger load counts. A car of unknown phases is sure on none of them. Where something may feed in that
    none of these meters shows, nothing can be told.
    """
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    if grid["guarded"] == 0 or cy.built_grids[g]["feeds_in"] == 1:
        return
    if cy.built_grids[g]["sourceless"] == 0 and _is_fed_unseen(cy, g):
        kept["apart_since_ms"] = NEVER
        return
    apart = False
    for p in range(3):
        below = 0
        boards = 0
        for child in range(len(cy.grids)):
            if cy.built_grids[child]["parent"] == g and cy.grids[child]["guarded"] == 1:
                boards += 1
                below += cy.grids[child]["measured_ma"][p]
        if boards == 0:
            below = grid["measured_ma"][p]
        cars = grid["low_ma"][p] - grid["phantom_ma"][p]
        if cy.built_grids[g]["sourceless"] == 1 and cars > 0:
            below = max(below, cars)
        grid["below_ma"][p] = below
        apart = apart or below > grid["measured_ma"][p] + cy.built_grids[g]["margin_ma"][p]
    if not apart:
        kept["apart_since_ms"] = NEVER
        return
    if kept["apart_since_ms"] == NEVER:
        kept["apart_since_ms"] = now
    if now - kept["apart_since_ms"] >= METER_APART_MS:
        grid["implausible"] = 1
        grid["undirected"] = EVERY_PHASE
        for p in range(3):
            grid["measured_ma"][p] = max(grid["measured_ma"][p], grid["below_ma"][p])


@kernel
def _is_fed_unseen(cy: Cycle, g: int) -> bool:
    """Whether something may feed in on a board of this grid that has no meter now."""
    for child in range(len(cy.grids)):
        unseen = cy.built_grids[child]["parent"] == g and cy.grids[child]["guarded"] == 0
        if unseen and cy.built_grids[child]["sourceless"] == 0:
            return True
    return False


# -- how a guard answers our own steps -----------------------------------------------------------------


@kernel
def stir(cy: Cycle, c: int) -> None:
    """What hangs above an order that has not been seen to act is not calm; without readings nothing is."""
    kept = cy.kept[c]
    if cy.work[c]["active"] == 0 and kept["observed"] == 1:
        return
    stepping = kept["observed"] == 0 or kept["closed"] == 0 or kept["falls_due_ms"] != NEVER
    blind = cy.work[c]["fresh"] == 0
    astray = kept["known"] == 0 and cy.work[c]["draw_ma"] > 0
    if not stepping and not blind and not astray:
        return
    for d in range(cy.built[c]["depth"]):
        g = cy.built[c]["path"][d]
        cy.grids[g]["stirred"] = 1
        if stepping:
            cy.kept_grids[g]["stepped"] |= BY_CARS
        if blind:
            cy.kept_grids[g]["looked_at_ms"] = NEVER


@kernel
def stir_by_storage(cy: Cycle) -> None:
    """The same for batteries and inverters, which are read each second; what is out of reach stands still."""
    for b in range(len(cy.built_batteries)):
        kept = cy.kept_batteries[b]
        stepping = kept["closed"] == 0 or not has_shown(cy, kept, cy.built_batteries[b])
        _stir(cy, cy.built_batteries[b], kept, cy.batteries[b]["fresh"], stepping)
    for i in range(len(cy.built_inverters)):
        kept = cy.kept_inverters[i]
        stepping = not has_shown(cy, kept, cy.built_inverters[i])
        _stir(cy, cy.built_inverters[i], kept, cy.inverters[i]["fresh"], stepping)


@kernel
def _stir(cy: Cycle, built: Any, kept: Any, fresh: int, stepping: bool) -> None:
    changed = kept["heard"] != fresh
    kept["heard"] = fresh
    for d in range(built["depth"]):
        g = built["path"][d]
        if changed:
            cy.kept_grids[g]["looked_at_ms"] = NEVER
        if stepping and fresh == 1:
            cy.grids[g]["unshown"] = 1
            cy.kept_grids[g]["stepped"] |= BY_STORAGE


@kernel
def shows_direction(cy: Cycle, built: Any, g: int) -> bool:
    """Whether a guard has last answered own steps the right way round, on every phase that a device uses."""
    m = cy.built_grids[g]["guard"]
    for p in range(3):
        if built["uses"][p] == 1 and cy.kept_meters[m]["wrong_way"][p] >= 0:
            return False
    return True


@kernel
def _watch_response(cy: Cycle, g: int) -> None:
    """From one calm look to the next, our own orders between them: the guard must show what the cars did."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    m = cy.built_grids[g]["guard"]
    if grid["stirred"] == 1:
        kept["calm_since_ms"] = NEVER
        return
    if kept["calm_since_ms"] == NEVER:
        kept["calm_since_ms"] = now
    if now - kept["calm_since_ms"] <= grid["blind_ms"] + CYCLE_MS:
        return  # the extremes over T_G still hold what was before
    if grid["unshown"] == 1:
        return
    looked = kept["looked_at_ms"]
    if kept["stepped"] != 0 and looked != NEVER and now - looked <= RESPONSE_WITHIN_MS:
        _judge_response(cy, g, m)
    kept["stepped"] = 0
    kept["looked_at_ms"] = now
    for p in range(3):
        kept["looked_measured_ma"][p] = cy.kept_meters[m]["current_ma"][p]
        kept["looked_drawn_ma"][p] = grid["high_ma"][p] - grid["feeds_ma"][p]


@kernel
def _judge_response(cy: Cycle, g: int, m: int) -> None:
    """One step: on every phase the guard follows it, answers the wrong way round, or on another phase."""
    kept = cy.kept_grids[g]
    meter = cy.kept_meters[m]
    largest = 0
    lost = 0
    astray = 0
    strayed = 0
    lone = kept["stepped"] == BY_STORAGE
    least = RESPONSE_STORAGE_MA if lone else RESPONSE_MIN_MA
    soon = cy.clock[0]["now_ms"] - kept["looked_at_ms"] <= RESPONSE_SOON_MS
    for p in range(3):
        step = cy.grids[g]["high_ma"][p] - cy.grids[g]["feeds_ma"][p] - kept["looked_drawn_ma"][p]
        shown = meter["current_ma"][p] - kept["looked_measured_ma"][p]
        if step < 0:
            step, shown = -step, -shown
        if step >= least:
            largest = max(largest, step)
            lost += int(abs(shown) * 4 <= step)
            if cy.built_meters[m]["measures"] == CURRENTS:
                _judge_sign(meter, p, step, shown, lone, soon)
        elif step < PHASE_IDLE_MA:
            strayed = max(strayed, abs(shown))
    if largest == 0 or lone:
        return
    astray = int(strayed * 4 >= largest * 3 and strayed * 4 <= largest * 5)
    if lost > 0 and astray == 1:
        meter["wrong_phase"] = max(meter["wrong_phase"], 0) + 1
        if meter["wrong_phase"] >= RESPONSE_SURE:
            meter["swapped"] = 1
    elif lost == 0 and strayed * 2 < largest:
        meter["wrong_phase"] = min(meter["wrong_phase"], 0) - 1
        if meter["wrong_phase"] <= -RESPONSE_CLEARS:
            meter["swapped"] = 0


@kernel
def _judge_sign(meter: Any, p: int, step: int, shown: int, lone: bool, soon: bool) -> None:
    """`step` is positive: between half and one and a half of it is an answer, of either sign.

    Batteries step all day, so that of theirs a few right ones outweigh a wrong one, and a late one is none.
    """
    answers = abs(shown) * 2 >= step and abs(shown) * 2 <= step * 3
    if answers and shown < 0:
        if lone and not soon:
            return
        meter["wrong_way"][p] = max(meter["wrong_way"][p], -RESPONSE_CLEARS if lone else 0) + 1
        if meter["wrong_way"][p] >= RESPONSE_SURE:
            meter["reversed"] |= 1 << p
    elif answers:
        meter["wrong_way"][p] = min(meter["wrong_way"][p], 0) - 1
        if meter["wrong_way"][p] <= -RESPONSE_CLEARS:
            meter["reversed"] &= ~(1 << p)


# -- consumer meters beside a guard ----------------------------------------------------------------------


@kernel
def consult_consumers(cy: Cycle, g: int) -> None:
    """Consumer meters beside a guard show the load itself: taken between U_lo and the guard's estimate.

    They may free at once what the guard's estimate would hold for a round of readings. Where they stay
    outside of what the guard allows they help nobody, and the larger of both loads counts.
    """
    if cy.built_grids[g]["beside"] == 0:
        return
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    known = grid["guarded"] == 1 and grid["ageing"] == 0
    outside = False
    for p in range(3):
        load = 0
        for m in range(len(cy.built_meters)):
            if cy.built_meters[m]["grid"] != g or cy.built_meters[m]["role"] != CONSUMER:
                continue
            meter = cy.kept_meters[m]
            heard = meter["at_ms"] != NEVER and now - meter["at_ms"] <= METER_FRESH_MS
            known = known and heard and meter["absurd"] == 0
            load += meter["current_ma"][p] + cy.built_meters[m]["error_ma"]
        grid["beside_ma"][p] = load
        low = grid["measured_ma"][p] - grid["high_ma"][p]
        high = max(grid["measured_ma"][p] - grid["low_ma"][p], kept["estimate_ma"][p])
        margin = cy.built_grids[g]["margin_ma"][p]
        outside = outside or load > high + margin or load < low - margin
    if not known:
        return
    if not outside:
        kept["disagree_since_ms"] = NEVER
    elif kept["disagree_since_ms"] == NEVER:
        kept["disagree_since_ms"] = now
    grid["disagrees"] = int(outside and now - kept["disagree_since_ms"] >= METERS_DISAGREE_MS)
    for p in range(3):
        load = grid["beside_ma"][p]
        if grid["disagrees"] == 1:
            grid["load_ma"][p] = max(grid["load_ma"][p], load)
        elif not outside:
            low = grid["measured_ma"][p] - grid["high_ma"][p]
            grid["load_ma"][p] = min(grid["load_ma"][p], max(load, low))
