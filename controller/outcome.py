"""The rows of the decision: sums, reasons, alarms, and when to look again."""

from __future__ import annotations

from typing import Any

from controller.alone import spare_alone_ma
from controller.commitments import answer_wait_ms
from controller.decision import Alarm, Because
from controller.defaults import (
    ASK_EVERY_MS,
    CYCLE_MS,
    DOWN_MS,
    ESTIMATE_STEP_MA,
    FULL_PROBE_EVERY_MS,
    LINES,
    NEVER,
    RECLAIM_AFTER_MS,
    RENEWAL_SLACK_PER_MILLE,
    SETTLED_MS,
    SLOT_MS,
    SMALL_RAISE_MS,
    TOGETHER,
    UP_MS,
)
from controller.demand import worth_ma
from controller.image import Source
from controller.kernel import kernel
from controller.phases import order_phases
from controller.raises import is_spared, next_round_ms, wants_raise
from controller.sun import change_due_ms, sun_due_ms
from controller.topology import PANIC
from controller.waking import next_look_ms
from controller.work import Cycle

B_IDLE = int(Because.IDLE)
B_OFFLINE = int(Because.OFFLINE)
B_NOT_OBEYING = int(Because.NOT_OBEYING)
B_REFUSED = int(Because.REFUSED)
B_WAIT_READING = int(Because.WAIT_READING)
B_METER_LOST_SAFE = int(Because.METER_LOST_SAFE)
B_METER_LOST_PANIC = int(Because.METER_LOST_PANIC)
B_METER_AGEING = int(Because.METER_AGEING)
B_PANIC = int(Because.PANIC)
B_CHECK = int(Because.CHECK)
B_ROUND = int(Because.ROUND)
B_SPARED = int(Because.SPARED)
B_NOT_WORTH = int(Because.NOT_WORTH)
B_MAINTENANCE = int(Because.MAINTENANCE)
B_EMERGENCY_STOP = int(Because.EMERGENCY_STOP)
B_OUT_OF_SERVICE = int(Because.OUT_OF_SERVICE)
B_NO_LEASE = int(Because.NO_LEASE)
SOURCE_EMERGENCY_STOP = int(Source.EMERGENCY_STOP)
B_WAIT_CONFIRMATION = int(Because.WAIT_CONFIRMATION)

A_METER_LOST = int(Alarm.METER_LOST)
A_METER_AGEING = int(Alarm.METER_AGEING)
A_METER_ABSURD = int(Alarm.METER_ABSURD)
A_METER_FROZEN = int(Alarm.METER_FROZEN)
A_METER_REVERSED = int(Alarm.METER_REVERSED)
A_METER_SWAPPED = int(Alarm.METER_SWAPPED)
A_METER_IMPLAUSIBLE = int(Alarm.METER_IMPLAUSIBLE)
A_METERS_DISAGREE = int(Alarm.METERS_DISAGREE)
A_OVER_LIMIT = int(Alarm.OVER_LIMIT)
A_UNCONTROLLED = int(Alarm.UNCONTROLLED_ABOVE_LIMIT)
A_PANIC = int(Alarm.PANIC)
A_NOT_OBEYING = int(Alarm.NOT_OBEYING)
A_REFUSED = int(Alarm.REFUSED)
A_OFFLINE = int(Alarm.OFFLINE)
A_OUT_OF_SERVICE = int(Alarm.OUT_OF_SERVICE)
A_STALE = int(Alarm.READINGS_STALE)


@kernel
def ask_for_reading(cy: Cycle, c: int) -> None:
    """An ask that is due, or the stale reading of a connector that may draw."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    # A box that has lied is believed at rest only by a reading.
    unsure = work["active"] == 0 and kept["ignored"] == 1
    if (work["active"] == 0 and not unsure) or cy.seen[c]["online"] == 0:
        return
    due = kept["ask_due_ms"] != NEVER and now >= kept["ask_due_ms"]
    asked = kept["asked_at_ms"]
    rested = asked == NEVER or now - asked >= ASK_EVERY_MS
    stale = work["fresh"] == 0 or unsure
    if due or (rested and (stale or _is_asked_for(cy, c) or now >= _look_from_ms(cy, c))):
        cy.wanted[c]["ask"] = 1
        kept["asked_at_ms"] = now
        kept["ask_due_ms"] = NEVER


@kernel
def _is_asked_for(cy: Cycle, c: int) -> bool:
    """Whether the estimate of a grid above waits for readings on a phase that it is booked on."""
    if cy.work[c]["active"] == 0:
        return False
    for d in range(cy.built[c]["depth"]):
        if cy.grids[cy.built[c]["path"][d]]["asks"] & cy.work[c]["line_bits"] != 0:
            return True
    return False


@kernel
def _look_from_ms(cy: Cycle, c: int) -> int:
    """From when on a reading may show what all wait for: that a lowering is done, or a raise."""
    kept = cy.kept[c]
    look = 2**62
    if kept["observed"] == 0 and kept["answer_at_ms"] != NEVER and kept["target_ma"] < kept["committed_ma"]:
        look = kept["answer_at_ms"] + DOWN_MS
    if kept["closed"] == 0 and kept["raise_answer_ms"] != NEVER:
        look = min(look, kept["raise_answer_ms"] + ASK_EVERY_MS)
    return int(look)


@kernel
def report_grids(cy: Cycle) -> None:
    """Rows of the grids, what concerns the whole site, and when a grid needs another look."""
    now = cy.clock[0]["now_ms"]
    site = cy.wanted_site[0]
    cy.kept_site[0]["now_ms"] = now
    site["now_ms"] = now
    site["settled"] = int(cy.kept_site[0]["round_open"] == 0)
    site["next_ms"] = now + SETTLED_MS
    if cy.kept_site[0]["lone"] > 0:
        _look_soon(cy)
    for g in range(len(cy.grids)):
        _report_grid(cy, g)
        _look_at_grid(cy, g)


@kernel
def _look_soon(cy: Cycle) -> None:
    cy.wanted_site[0]["settled"] = 0
    cy.wanted_site[0]["next_ms"] = cy.clock[0]["now_ms"] + CYCLE_MS


@kernel
def _look_at_grid(cy: Cycle, g: int) -> None:
    grid = cy.grids[g]
    site = cy.wanted_site[0]
    if cy.kept_grids[g]["left_until_ms"] > cy.clock[0]["now_ms"]:
        site["next_ms"] = min(site["next_ms"], cy.kept_grids[g]["left_until_ms"])
    if grid["held"] == 1 or grid["lost"] == 1 or grid["panic"] == 1 or grid["falling"] == 1:
        _look_soon(cy)
    for line in range(grid["lines"]):
        if grid["guarded"] == 1 and grid["measured_ma"][line] > grid["limit_ma"][line]:
            _look_soon(cy)
        if grid["pending_ma"][line] > 0 or grid["cut_ma"][line] > 0:
            site["settled"] = 0


@kernel
def _report_grid(cy: Cycle, g: int) -> None:
    grid = cy.grids[g]
    wanted = cy.wanted_grids[g]
    alarm = 0
    for line in range(LINES):
        wanted["source"][line] = grid["source"][line]
    wanted["lines"] = grid["lines"]
    if grid["lines"] == LINES:
        wanted["sum_limit_ma"] = grid["limit_ma"][TOGETHER]
        wanted["sum_margin_ma"] = grid["margin_ma"][TOGETHER]
        wanted["sum_measured_ma"] = grid["measured_ma"][TOGETHER]
        wanted["sum_estimate_ma"] = grid["load_ma"][TOGETHER]
        wanted["sum_committed_ma"] = grid["committed_ma"][TOGETHER]
        wanted["sum_targets_ma"] = grid["targets_ma"][TOGETHER]
    for p in range(3):
        wanted["limit_ma"][p] = grid["limit_ma"][p]
        wanted["margin_ma"][p] = grid["margin_ma"][p]
        wanted["measured_ma"][p] = grid["measured_ma"][p]
        wanted["estimate_ma"][p] = grid["load_ma"][p]
        wanted["committed_ma"][p] = grid["committed_ma"][p]
        wanted["targets_ma"][p] = grid["targets_ma"][p]
        if grid["guarded"] == 1 and grid["measured_ma"][p] > grid["firm_ma"][p]:
            alarm |= A_OVER_LIMIT
        line = grid["firm_ma"][p] - grid["margin_ma"][p] // 2
        if grid["lost"] == 0 and grid["load_ma"][p] + grid["targets_ma"][p] > line:
            alarm |= A_UNCONTROLLED
        wanted["alone_ma"][p] = grid["alone_ma"][p]
        wanted["dead_load_ma"][p] = max(cy.built_grids[g]["dead_load_ma"][p], grid["load_ma"][p])
        if grid["alone_ma"][p] > cy.built_grids[g]["limit_ma"][p]:
            cy.wanted_site[0]["unsafe_alone"] = 1
    if grid["lost"] == 1:
        alarm |= A_METER_LOST
    elif grid["ageing"] == 1:
        alarm |= A_METER_AGEING
    if grid["panic"] == 1:
        alarm |= A_PANIC
    for m in range(len(cy.built_meters)):
        if cy.built_meters[m]["grid"] == g:
            alarm |= _meter_alarm(cy.kept_meters[m])
    if grid["implausible"] == 1:
        alarm |= A_METER_IMPLAUSIBLE
    if grid["disagrees"] == 1:
        alarm |= A_METERS_DISAGREE
    wanted["lost"] = grid["lost"]
    wanted["alarm"] = alarm
    cy.wanted_site[0]["alarm"] |= alarm


@kernel
def _meter_alarm(kept: Any) -> int:
    """What is wrong with one meter, whatever its grid does about it."""
    alarm = 0
    if kept["absurd"] == 1:
        alarm |= A_METER_ABSURD
    if kept["frozen"] == 1:
        alarm |= A_METER_FROZEN
    if kept["reversed"] != 0:
        alarm |= A_METER_REVERSED
    if kept["swapped"] == 1:
        alarm |= A_METER_SWAPPED
    return alarm


@kernel
def report_connector(cy: Cycle, c: int) -> None:
    """Its row, but for what is put, asked and noted."""
    kept = cy.kept[c]
    work = cy.work[c]
    wanted = cy.wanted[c]
    wanted["wish_ma"] = work["wish_ma"]
    wanted["target_ma"] = kept["target_ma"]
    wanted["committed_ma"] = kept["committed_ma"]
    wanted["known"] = kept["known"]
    for p in range(3):
        wanted["phases"][p] = kept["phases"][p]
    wanted["order_seq"] = kept["order_seq"]
    wanted["lease_until_ms"] = kept["lease_until_ms"]
    wanted["order_phases"] = order_phases(cy, c)
    alarm = 0
    if kept["ignored"] == 1:
        alarm |= A_NOT_OBEYING
    if kept["refused_at_ms"] != NEVER:
        alarm |= A_REFUSED
    if cy.seen[c]["online"] == 0:
        alarm |= A_OFFLINE
    elif work["active"] == 1 and work["fresh"] == 0:
        alarm |= A_STALE
    if kept["barred"] == 1:
        alarm |= A_OUT_OF_SERVICE
        wanted["unavailable"] = 1
        wanted["stop_transaction"] = work["active"]
    wanted["alarm"] = alarm
    cy.wanted_site[0]["alarm"] |= alarm
    _report_reason(cy, c)


@kernel
def _report_reason(cy: Cycle, c: int) -> None:
    """The strongest reason first: what cannot be commanded, what is lost, what waits, what binds."""
    kept = cy.kept[c]
    work = cy.work[c]
    wanted = cy.wanted[c]
    wanted["because_grid"] = work["why_grid"]
    wanted["because_phase"] = work["why_phase"]
    g = _troubled_grid(cy, c)
    if cy.seen[c]["online"] == 0:
        _because(cy, c, B_OFFLINE, -1)
    elif kept["barred"] == 1:
        _because(cy, c, B_OUT_OF_SERVICE, -1)
    elif kept["ignored"] == 1:
        _because(cy, c, B_NOT_OBEYING, -1)
    elif kept["refused_at_ms"] != NEVER:
        _because(cy, c, B_REFUSED, -1)
    elif work["stop"] != 0:
        stop = B_EMERGENCY_STOP if work["stop"] == SOURCE_EMERGENCY_STOP else B_MAINTENANCE
        _because(cy, c, stop, -1)
    elif work["active"] == 0:
        _because(cy, c, B_IDLE, -1)
    elif g >= 0:
        trouble = B_PANIC
        if cy.grids[g]["lost"] == 1:
            trouble = B_METER_LOST_PANIC if cy.grids[g]["safe_ma"] == PANIC else B_METER_LOST_SAFE
        elif cy.grids[g]["panic"] == 0:
            trouble = B_METER_AGEING
        _because(cy, c, trouble, g)
    elif kept["seen"] == 0 or kept["limit_known"] == 0:
        _because(cy, c, B_WAIT_READING, -1)
    elif work["raised"] == 2:
        wanted["because"] = B_CHECK
    elif kept["proven"] == 1 and work["wish_ma"] > kept["target_ma"]:
        wanted["because"] = _why_not_yet(cy, c)
    else:
        wanted["because"] = work["why"]


@kernel
def _because(cy: Cycle, c: int, because: int, g: int) -> None:
    cy.wanted[c]["because"] = because
    cy.wanted[c]["because_grid"] = g
    cy.wanted[c]["because_phase"] = -1


@kernel
def _troubled_grid(cy: Cycle, c: int) -> int:
    """Nearest grid above whose meter is lost, that is in panic, or that may not raise."""
    for d in range(cy.built[c]["depth"]):
        g = cy.built[c]["path"][d]
        grid = cy.grids[g]
        if grid["lost"] == 1 or grid["panic"] == 1:
            return g
        if grid["ageing"] == 1 and cy.work[c]["wish_ma"] > cy.kept[c]["target_ma"]:
            return g
    return -1


@kernel
def _why_not_yet(cy: Cycle, c: int) -> int:
    target = cy.kept[c]["target_ma"]
    if is_spared(cy, c):
        return B_SPARED
    if spare_alone_ma(cy, c) < worth_ma(target) and wants_raise(cy, c):
        return B_NO_LEASE
    if not wants_raise(cy, c) and cy.kept[c]["observed"] == 1 and cy.kept[c]["closed"] == 1:
        return B_NOT_WORTH if target > 0 else B_WAIT_CONFIRMATION
    return B_ROUND if cy.kept_site[0]["round_open"] == 1 else B_WAIT_CONFIRMATION


@kernel
def somebody_waits(cy: Cycle) -> bool:
    """Whether a car gets nothing until others make room."""
    for c in range(len(cy.built)):
        work = cy.work[c]
        waits = work["commandable"] == 1 and work["last"] == 0 and work["wish_ma"] == 0
        if waits and cy.kept[c]["target_ma"] == 0:
            return True
    return False


@kernel
def look_again(cy: Cycle, c: int, waiting: bool, closed: bool) -> None:
    """Whether anything of it is on its way, and when to look next if nothing that is seen changes.

    `waiting`: a car gets nothing until others make room; `closed`: no round of raises may begin yet.
    """
    now = cy.clock[0]["now_ms"]
    site = cy.wanted_site[0]
    due = _connector_due(cy, c, waiting)
    if not _connector_settled(cy, c):
        site["settled"] = 0
    if closed and wants_raise(cy, c):
        site["settled"] = 0
        due = _sooner(now, due, next_round_ms(cy))
    sun = sun_due_ms(cy, c)
    if sun != NEVER:
        due = min(due, sun)
    change = change_due_ms(cy, c)
    if change != NEVER:
        due = min(due, change)
    site["next_ms"] = min(site["next_ms"], max(due, now + CYCLE_MS))


@kernel
def _connector_settled(cy: Cycle, c: int) -> bool:
    """The renewal of a lease is on its way too, but moves no current."""
    kept = cy.kept[c]
    work = cy.work[c]
    if kept["falls_due_ms"] != NEVER:
        return False
    if cy.seen[c]["online"] == 1 and kept["committed_ma"] > kept["target_ma"]:
        return False
    if work["active"] == 0 or cy.seen[c]["online"] == 0:
        return True
    return kept["closed"] == 1 and not _restless(cy, c)


@kernel
def _restless(cy: Cycle, c: int) -> bool:
    """Whether the next reading counts even if it says what the last one said."""
    kept = cy.kept[c]
    work = cy.work[c]
    learning = kept["known"] == 0 and kept["evidence_count"] > 0
    proving = work["proof"] == 1 or (kept["proven"] == 0 and kept["target_ma"] > 0)
    return bool(learning or proving or kept["limit_known"] == 0 or work["fresh"] == 0)


@kernel
def _connector_due(cy: Cycle, c: int, waiting: bool) -> int:
    """The earliest timer of a connector."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    due = now + SETTLED_MS
    if cy.seen[c]["online"] == 1:
        due = _order_due(cy, c)
    if cy.work[c]["active"] == 0:
        return due
    if cy.seen[c]["online"] == 1 and _restless(cy, c):
        return now + CYCLE_MS
    if kept["slack_since_ms"] != NEVER and kept["cap_ma"] > cy.work[c]["draw_ma"]:
        due = _sooner(now, due, kept["slack_since_ms"] + RECLAIM_AFTER_MS)
    if kept["lease_until_ms"] != NEVER and kept["target_ma"] != cy.built[c]["fallback_ma"]:
        slack = cy.built[c]["lease_ms"] * RENEWAL_SLACK_PER_MILLE // 1000
        due = _sooner(now, due, kept["lease_until_ms"] - cy.built[c]["lease_ms"] // 2 + slack)
    if kept["ask_due_ms"] != NEVER:
        due = _sooner(now, due, kept["ask_due_ms"])
    if kept["small_since_ms"] != NEVER:
        due = _sooner(now, due, kept["small_since_ms"] + SMALL_RAISE_MS)
    if cy.seen[c]["online"] == 1 and _look_from_ms(cy, c) < now + SETTLED_MS:
        due = _from_then_on(now, due, max(_look_from_ms(cy, c), kept["asked_at_ms"] + ASK_EVERY_MS))
    if waiting and kept["on_since_ms"] != NEVER:
        due = _from_then_on(now, due, kept["on_since_ms"] + SLOT_MS)
    wakes = next_look_ms(kept)
    if wakes != NEVER:
        due = _sooner(now, due, wakes)
    if kept["full"] == 1:
        due = _sooner(now, due, kept["probe_at_ms"] + FULL_PROBE_EVERY_MS)
        if kept["off_since_ms"] != NEVER:
            due = _sooner(now, due, kept["off_since_ms"] + SLOT_MS)
    for p in range(3):
        low, low_until = kept["low_ma"][p], kept["low_until_ms"][p]
        high, high_until = kept["high_ma"][p], kept["high_until_ms"][p]
        if kept["low_count"][p] > 1 and low[0] - low[kept["low_count"][p] - 1] > ESTIMATE_STEP_MA:
            due = _sooner(now, due, low_until[0] + cy.work[c]["blind_ms"] + 1)
        if kept["high_count"][p] > 1 and high[0] - high[kept["high_count"][p] - 1] > ESTIMATE_STEP_MA:
            due = _sooner(now, due, high_until[0] + cy.work[c]["blind_ms"] + 1)
    return due


@kernel
def _order_due(cy: Cycle, c: int) -> int:
    """When an order on its way needs a look if no answer comes, and from when on any reading may end it."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    due = now + SETTLED_MS
    if kept["falls_due_ms"] != NEVER:
        due = _sooner(now, due, kept["falls_due_ms"])
    if kept["observed"] == 0 and kept["answer_at_ms"] == NEVER:
        due = _sooner(now, due, kept["put_at_ms"] + answer_wait_ms(cy, c))
    elif kept["observed"] == 0:
        due = _from_then_on(now, due, kept["answer_at_ms"] + DOWN_MS)
    if kept["closed"] == 0 and kept["raise_answer_ms"] != NEVER:
        due = _from_then_on(now, due, kept["raise_answer_ms"] + UP_MS)
    return due


@kernel
def _sooner(now: int, due: int, timer: int) -> int:
    return min(due, timer) if timer > now else due


@kernel
def _from_then_on(now: int, due: int, timer: int) -> int:
    return min(due, max(timer, now + CYCLE_MS))
