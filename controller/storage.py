"""Batteries in the book, and inverters beside it (docs/control.md 15).

A guard meter shows the discharge of a battery as lower load; not subtracted it would become headroom. So a
battery stands in the book like a car: lo is what was measured, negative when it discharges, K the charge
that may be in force, at least 0. What it surely gives counts on the line of powers, and on fuses only where
the site file says so. It moves by itself, so its reading is as young as a cycle or it is lost.
"""

from __future__ import annotations

from typing import Any

from controller.commitments import backoff_ms, tolerance_ma
from controller.decision import Alarm
from controller.defaults import (
    ANSWER_MS,
    CLOCK_ERROR_MS,
    CYCLE_MS,
    GIVES_AFTER_MS,
    GIVES_MIN_MA,
    GIVES_PER_MILLE,
    LINES,
    LINK_MS,
    NEVER,
    SOC_BAND,
    STORAGE_GRACE_MS,
    TOGETHER,
    UNKNOWN,
)
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.image import Answer
from controller.kernel import kernel
from controller.trust import TOO_MUCH
from controller.window import push
from controller.work import Cycle

ACCEPTED = int(Answer.ACCEPTED)
A_NOT_OBEYING = int(Alarm.NOT_OBEYING)
A_OFFLINE = int(Alarm.OFFLINE)
A_STALE = int(Alarm.READINGS_STALE)


@kernel
def believe_storage(cy: Cycle) -> None:
    """Newest readings of batteries and inverters in the phases of the site, and whether they are fresh."""
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        kept = cy.kept_batteries[b]
        work = cy.batteries[b]
        most = TOO_MUCH * max(built["charge_ma"], built["discharge_ma"])
        work["news"] = _take_reading(cy.seen_batteries[b], kept, built, most)
        work["fresh"] = _is_fresh(cy, cy.seen_batteries[b], kept, built)
        work["draw_ma"] = -most
        for p in range(3):
            if built["uses"][p] == 1:
                work["draw_ma"] = max(work["draw_ma"], kept["reading_ma"][p])
        work["blind_ms"] = CYCLE_MS
        for d in range(built["depth"]):
            work["blind_ms"] = max(work["blind_ms"], cy.grids[built["path"][d]]["blind_ms"])
        _follow_charge(cy, b)
    for i in range(len(cy.built_inverters)):
        built = cy.built_inverters[i]
        kept = cy.kept_inverters[i]
        work = cy.inverters[i]
        _take_reading(cy.seen_inverters[i], kept, built, TOO_MUCH * built["max_ma"])
        work["fresh"] = _is_fresh(cy, cy.seen_inverters[i], kept, built)
        for p in range(3):
            work["feeds_ma"] = max(work["feeds_ma"], -kept["reading_ma"][p])
        if work["fresh"] == 0 and (work["feeds_ma"] >= GIVES_MIN_MA or kept["reading_at_ms"] == NEVER):
            work["feeds_ma"] = built["max_ma"]  # it was not asleep: nobody knows what it feeds in
        for d in range(built["depth"]):
            feeds = cy.grids[built["path"][d]]["feeds_ma"]
            for p in range(3):
                feeds[p] += work["feeds_ma"] * built["uses"][p]


@kernel
def _take_reading(seen: Any, kept: Any, built: Any, most: int) -> int:
    """Take over a new plausible reading; 1 if there is one."""
    if seen["at_ms"] <= kept["reading_at_ms"]:
        return 0
    for own in range(3):
        value = seen["current_ma"][own]
        if built["uses"][built["phase"][own]] == 1 and (value == UNKNOWN or abs(value) > most):
            return 0
    kept["reading_at_ms"] = seen["at_ms"]
    for own in range(3):
        p = built["phase"][own]
        kept["reading_ma"][p] = seen["current_ma"][own] * built["uses"][p]
    return 1


@kernel
def _is_fresh(cy: Cycle, seen: Any, kept: Any, built: Any) -> int:
    age = cy.clock[0]["now_ms"] - kept["reading_at_ms"]
    heard = seen["online"] == 1 and kept["reading_at_ms"] != NEVER
    return int(heard and age <= built["sample_ms"] + STORAGE_GRACE_MS)


@kernel
def _follow_charge(cy: Cycle, b: int) -> None:
    """The windows of its state of charge, each left only when it is SOC_BAND away from its end."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    soc = cy.seen_batteries[b]["soc"]
    kept["soc"] = soc if cy.batteries[b]["fresh"] == 1 else UNKNOWN
    if kept["soc"] == UNKNOWN:
        return
    kept["empty"] = int(soc <= built["soc_min"] + SOC_BAND * kept["empty"])
    kept["spent"] = int(soc <= built["reserve"] + SOC_BAND * kept["spent"])
    kept["full"] = int(soc >= built["soc_max"] - SOC_BAND * kept["full"])


@kernel
def follow_setpoints(cy: Cycle) -> None:
    """Bring what each battery may do up to date with answers, readings and clocks."""
    for b in range(len(cy.built_batteries)):
        kept = cy.kept_batteries[b]
        work = cy.batteries[b]
        seen = cy.seen_batteries[b]
        hear_answer(seen, kept)
        _observe(cy, b)
        _follow_revert(cy, b)
        work["commandable"] = int(seen["online"] == 1 and work["fresh"] == 1 and kept["ignored"] == 0)
        _count_on(cy, b)
        charge = kept["charge_ma"]
        target = max(kept["target_ma"], 0) if work["commandable"] == 1 and kept["order_seq"] > 0 else charge
        work["book_target_ma"] = kept["committed_ma"] if kept["committed_ma"] < 0 else min(target, charge)


@kernel
def hear_answer(seen: Any, kept: Any) -> None:
    """Note when the newest order was accepted."""
    newest = seen["answered_seq"] == kept["order_seq"] and kept["order_seq"] > 0
    if kept["answer_at_ms"] == NEVER and newest and seen["answer"] == ACCEPTED:
        kept["answer_at_ms"] = seen["answered_at_ms"]


@kernel
def wants_resend(cy: Cycle, kept: Any, revert_ms: int) -> bool:
    """Whether an order got no answer for too long, or is half through its time."""
    now = cy.clock[0]["now_ms"]
    if kept["order_seq"] == 0:
        return False
    if kept["answer_at_ms"] == NEVER:
        return bool(now >= kept["put_at_ms"] + ANSWER_MS + backoff_ms(kept["sends"]))
    return bool(kept["until_ms"] != NEVER and now >= kept["until_ms"] - revert_ms // 2)


@kernel
def _observe(cy: Cycle, b: int) -> None:
    """An order holds when a reading after its answer and the response of the device shows no more."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    if work["fresh"] == 0 or kept["reading_at_ms"] == NEVER:
        return
    draw = work["draw_ma"]
    most = max(kept["target_ma"], 0)
    kept_to = draw <= most + tolerance_ma(most)
    answered = kept["answer_at_ms"] != NEVER
    settled = answered and kept["reading_at_ms"] >= kept["answer_at_ms"] + built["response_ms"]
    if settled and kept_to:
        kept["observed"] = 1
        kept["closed"] = 1
        kept["ignored"] = 0
        kept["lowest_ma"] = kept["target_ma"]
        kept["charge_ma"] = max(most, built["fallback_ma"])
    late = settled and kept["reading_at_ms"] >= kept["answer_at_ms"] + built["response_ms"] + STORAGE_GRACE_MS
    above = draw > kept["charge_ma"] + tolerance_ma(kept["charge_ma"])
    if (late and not kept_to) or above:
        kept["ignored"] = 1
        kept["charge_ma"] = max(built["charge_ma"], draw)


@kernel
def _follow_revert(cy: Cycle, b: int) -> None:
    """A battery that is out of reach falls back by itself once its last order has surely ended."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    if kept["until_ms"] == NEVER or kept["ignored"] == 1:
        return
    if cy.clock[0]["now_ms"] >= kept["until_ms"] + CLOCK_ERROR_MS + built["response_ms"]:
        kept["target_ma"] = built["fallback_ma"]
        kept["lowest_ma"] = built["fallback_ma"]
        kept["charge_ma"] = built["fallback_ma"]
        kept["until_ms"] = NEVER


@kernel
def _count_on(cy: Cycle, b: int) -> None:
    """K: the charge that may be in force, or, surely discharging for a while, a part of what it gives."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    now = cy.clock[0]["now_ms"]
    kept["committed_ma"] = kept["charge_ma"]
    ordered = work["commandable"] == 1 and kept["target_ma"] < 0
    if not ordered or work["draw_ma"] > -GIVES_MIN_MA:
        kept["gives_since_ms"] = NEVER
        return
    if kept["gives_since_ms"] == NEVER:
        kept["gives_since_ms"] = now
    trusted = kept["soc"] != UNKNOWN and kept["spent"] == 0 and kept["charge_ma"] == 0
    if trusted and now - kept["gives_since_ms"] >= GIVES_AFTER_MS:
        kept["committed_ma"] = -(min(-kept["target_ma"], -work["draw_ma"]) * GIVES_PER_MILLE // 1000)
    # What counts for less than a fuse is no promise either while the order may end before its renewal.
    if built["revert_ms"] > 0 and kept["until_ms"] != NEVER and now >= kept["until_ms"] - CLOCK_ERROR_MS:
        kept["committed_ma"] = kept["charge_ma"]


@kernel
def bound_storage(cy: Cycle) -> None:
    """Least and most that each battery is held to have taken when the meters were sampled."""
    now = cy.clock[0]["now_ms"]
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        kept = cy.kept_batteries[b]
        work = cy.batteries[b]
        keep_ms = work["blind_ms"]
        for p in range(3):
            reverted = built["revert_ms"] > 0 and kept["until_ms"] == NEVER and kept["order_seq"] > 0
            low = 0 if reverted else -built["discharge_ma"]
            high = kept["charge_ma"]
            if work["fresh"] == 1:
                low = kept["reading_ma"][p]
                if kept["observed"] == 0:
                    low = min(low, kept["target_ma"], kept["lowest_ma"])
                high = kept["reading_ma"][p]
                if kept["closed"] == 0:
                    high = max(high, kept["charge_ma"])
            low *= built["uses"][p]
            high *= built["uses"][p]
            lows, lows_until = kept["low_ma"][p], kept["low_until_ms"][p]
            highs, highs_until = kept["high_ma"][p], kept["high_until_ms"][p]
            kept["low_count"][p] = push(lows, lows_until, kept["low_count"][p], now, -low, keep_ms)
            kept["high_count"][p] = push(highs, highs_until, kept["high_count"][p], now, high, keep_ms)
            work["low_ma"][p] = -lows[0]
            work["high_ma"][p] = highs[0]


@kernel
def sum_storage(cy: Cycle) -> None:
    """Add every battery to the book of every grid above it."""
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        kept = cy.kept_batteries[b]
        work = cy.batteries[b]
        move_book(cy, b, work["book_target_ma"], kept["committed_ma"])
        for d in range(built["depth"]):
            g = built["path"][d]
            grid = cy.grids[g]
            heard = kept["reading_at_ms"]
            if grid["measured_at_ms"] < heard:
                heard = max(heard - built["sample_ms"], 0)
            for p in range(3):
                if built["uses"][p] == 0:
                    continue
                low, high = work["low_ma"][p], work["high_ma"][p]
                grid["low_ma"][p] += low
                grid["high_ma"][p] += high
                grid["gives_ma"][p] += min(low, 0)
                grid["slack_ma"][p] += max(kept["charge_ma"] - high, 0)
                grid["oldest_ms"][p] = min(grid["oldest_ms"][p], heard)
                fall = _invisible_fall(cy, b, g, p)
                grid["pending_ma"][p] += fall
                grid["pending_ma"][TOGETHER] += fall


@kernel
def open_storage_room(cy: Cycle) -> None:
    """What batteries surely give is room to share; what cannot be commanded takes room; charging yields."""
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        booked = cy.kept_batteries[b]["committed_ma"]
        if cy.batteries[b]["commandable"] == 1:
            booked = min(booked, 0)
        for d in range(built["depth"]):
            spare = cy.grids[built["path"][d]]["spare_ma"]
            for line in range(LINES):
                spare[line] -= _booked(built, line, booked)


@kernel
def loads(built: Any, line: int) -> int:
    """What one ampere per phase of a battery puts on a line."""
    return int(built["phases"] if line == TOGETHER else built["uses"][line])


@kernel
def _booked(built: Any, line: int, current_ma: int) -> int:
    """What it counts with on a line: giving counts for powers, and for fuses where the site says so."""
    if line != TOGETHER and built["counts_for_fuse"] == 0:
        current_ma = max(current_ma, 0)
    return current_ma * loads(built, line)


@kernel
def move_book(cy: Cycle, b: int, target_ma: int, committed_ma: int) -> None:
    """Add to the targets and commitments above it."""
    built = cy.built_batteries[b]
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(LINES):
            grid["targets_ma"][line] += _booked(built, line, target_ma)
            grid["committed_ma"][line] += _booked(built, line, committed_ma)


@kernel
def _invisible_fall(cy: Cycle, b: int, g: int, p: int) -> int:
    """Charging that was ordered off and that the guard meter still shows."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept_batteries[b]
    grid = cy.grids[g]
    if kept["fall_since_ms"] == NEVER or cy.batteries[b]["commandable"] == 0:
        return 0
    if now - kept["fall_since_ms"] > grid["blind_ms"] + LINK_MS + cy.built_batteries[b]["response_ms"]:
        return 0
    if kept["observed"] == 1 and grid["measured_at_ms"] > kept["reading_at_ms"]:
        return 0
    return max(kept["fall_from_ma"][p] - max(kept["target_ma"], 0), 0)


@kernel
def put_battery(cy: Cycle, b: int, target: int) -> None:
    """Put a set-point down: what it may charge with rises now and falls only when it is observed."""
    now = cy.clock[0]["now_ms"]
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    before = kept["committed_ma"]
    book_before = work["book_target_ma"]
    if target > kept["target_ma"]:
        kept["closed"] = 0
        kept["raise_at_ms"] = now
        kept["fall_since_ms"] = NEVER
    elif target < kept["target_ma"]:
        _note_fall(cy, b, target)
    if max(target, 0) > kept["charge_ma"]:
        work["raised"] = 1
        work["raised_from_ma"] = kept["charge_ma"]
        kept["charge_ma"] = target
    kept["committed_ma"] = kept["charge_ma"] if target >= 0 else before
    work["book_target_ma"] = max(target, 0) if kept["committed_ma"] >= 0 else kept["committed_ma"]
    kept["lowest_ma"] = min(kept["lowest_ma"], target) if kept["observed"] == 0 else target
    kept["target_ma"] = target
    kept["observed"] = 0
    look_anew(cy, built)
    send_device(cy, kept, built["revert_ms"])
    cy.wanted_batteries[b]["put"] = 1
    _rebook(cy, b, book_before, before)


@kernel
def _rebook(cy: Cycle, b: int, target_before: int, committed_before: int) -> None:
    """Keep the books above in step with a change of its target and of its commitment."""
    built = cy.built_batteries[b]
    target = cy.batteries[b]["book_target_ma"]
    committed = cy.kept_batteries[b]["committed_ma"]
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(LINES):
            more = _booked(built, line, target) - _booked(built, line, target_before)
            grid["targets_ma"][line] += more
            more = _booked(built, line, committed) - _booked(built, line, committed_before)
            grid["committed_ma"][line] += more


@kernel
def take_back_setpoint(cy: Cycle, b: int) -> None:
    """Undo a raise that has not left yet."""
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    committed, booked = kept["committed_ma"], work["book_target_ma"]
    kept["charge_ma"] = work["raised_from_ma"]
    kept["committed_ma"] = kept["charge_ma"]
    kept["target_ma"] = min(kept["target_ma"], kept["charge_ma"])
    kept["order_seq"] -= 1
    work["book_target_ma"] = max(kept["target_ma"], 0)
    work["raised"] = 0
    cy.wanted_batteries[b]["put"] = 0
    _rebook(cy, b, booked, committed)


@kernel
def send_device(cy: Cycle, kept: Any, revert_ms: int) -> None:
    """A new number and a new life for the order in `target_ma`."""
    now = cy.clock[0]["now_ms"]
    kept["order_seq"] += 1
    kept["put_at_ms"] = now
    kept["answer_at_ms"] = NEVER
    kept["sends"] = 1
    kept["until_ms"] = now + revert_ms if revert_ms > 0 else NEVER


@kernel
def _note_fall(cy: Cycle, b: int, target: int) -> None:
    """Charging that the guard meter will lose and cannot show yet."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    first = kept["observed"] == 1 or kept["fall_since_ms"] == NEVER
    if first:
        kept["fall_since_ms"] = cy.clock[0]["now_ms"]
    for p in range(3):
        if first:
            kept["fall_from_ma"][p] = work["low_ma"][p]
        fall = max(work["low_ma"][p] - max(target, 0), 0)
        work["low_ma"][p] = min(work["low_ma"][p], target)
        for d in range(built["depth"]):
            cut = cy.grids[built["path"][d]]["cut_ma"]
            cut[p] += fall
            cut[TOGETHER] += fall


@kernel
def resend_device(cy: Cycle, kept: Any, revert_ms: int) -> None:
    """The same order once more, under a new number."""
    unanswered = kept["answer_at_ms"] == NEVER
    sends = kept["sends"]
    send_device(cy, kept, revert_ms)
    if unanswered:
        kept["sends"] = sends + 1


@kernel
def yield_charging(cy: Cycle) -> None:
    """Over a limit at the meter: batteries stop charging before any car is cut."""
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        if cy.kept_batteries[b]["target_ma"] <= 0 or cy.batteries[b]["commandable"] == 0:
            continue
        for d in range(built["depth"]):
            g = built["path"][d]
            grid = cy.grids[g]
            for line in range(grid["lines"]):
                loaded = line == TOGETHER or built["uses"][line] == 1
                coming = grid["measured_ma"][line] - grid["pending_ma"][line] - grid["cut_ma"][line]
                over = grid["guarded"] == 1 and coming > grid["limit_ma"][line]
                if loaded and (over or grid["panic"] == 1) and cy.kept_batteries[b]["target_ma"] > 0:
                    cy.batteries[b]["why_grid"] = g
                    cy.batteries[b]["why_phase"] = line
                    put_battery(cy, b, 0)


@kernel
def has_shown(cy: Cycle, kept: Any, built: Any) -> bool:
    """Whether the newest order of a device has had the time to show in its readings and at the meter."""
    blind = CYCLE_MS
    for d in range(built["depth"]):
        blind = max(blind, cy.grids[built["path"][d]]["blind_ms"])
    shows = kept["put_at_ms"] + built["response_ms"] + built["sample_ms"] + blind
    return bool(kept["put_at_ms"] == NEVER or cy.clock[0]["now_ms"] >= shows)


@kernel
def look_anew(cy: Cycle, built: Any) -> None:
    """An order answers the building: only a look at the guard of this very cycle may judge its step.

    An older one would hold the change of the building that the order is the answer to.
    """
    for d in range(built["depth"]):
        kept = cy.kept_grids[built["path"][d]]
        if kept["looked_at_ms"] != cy.clock[0]["now_ms"]:
            kept["looked_at_ms"] = NEVER


@kernel
def report_device(seen: Any, kept: Any, work: Any, wanted: Any, phases: int) -> None:
    """What batteries and inverters have in common."""
    wanted["target_ma"] = kept["target_ma"]
    power = kept["target_ma"] * NOMINAL_VOLTAGE_V * phases
    wanted["power_w"] = power // 1000 if power >= 0 else -(-power // 1000)
    wanted["order_seq"] = kept["order_seq"]
    wanted["until_ms"] = kept["until_ms"]
    wanted["because"] = work["why"]
    wanted["because_grid"] = work["why_grid"]
    wanted["because_phase"] = work["why_phase"]
    alarm = 0
    if kept["ignored"] == 1:
        alarm |= A_NOT_OBEYING
    if seen["online"] == 0:
        alarm |= A_OFFLINE
    elif work["fresh"] == 0:
        alarm |= A_STALE
    wanted["alarm"] = alarm
