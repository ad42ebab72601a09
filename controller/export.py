"""Export limits: what may flow back, and the inverters that are curtailed when nobody absorbs it.

The mirror of import: what cars and batteries do not take is curtailed, in one order down to what fits and
back up as far as room shows, since an inverter never feeds in more than its limit. A charging car is no
guaranteed sink: it may stop, and then inverters bring the export down. Where nobody measures, inverters may
together feed in no more than the limit.
"""

from __future__ import annotations

from typing import Any

from controller.commitments import tolerance_ma
from controller.decision import Alarm, StorageBecause
from controller.defaults import (
    CURTAIL_EVERY_MS,
    CYCLE_MS,
    EXPORT_BAND_MA,
    EXPORT_PANIC_MIN_MA,
    GUESS_EVERY_MS,
    GUESS_PER_MILLE,
    LINES,
    LINK_MS,
    MARGIN_PER_MILLE,
    NEVER,
    PANIC_HOLD_MS,
    PANIC_PENDING_MS,
    PANIC_PER_MILLE,
    SETPOINT_STEP_MA,
    STORAGE_LOOK_MS,
    TOGETHER,
    UNKNOWN,
    UNLIMITED_MA,
)
from controller.kernel import kernel
from controller.limits import is_hot
from controller.storage import (
    has_shown,
    hear_answer,
    loads,
    look_anew,
    report_device,
    resend_device,
    send_device,
    wants_resend,
)
from controller.work import Cycle

A_OVER_EXPORT = int(Alarm.OVER_EXPORT)
A_EXPORT_PANIC = int(Alarm.EXPORT_PANIC)
W_FREE = int(StorageBecause.FREE)
W_EXPORT = int(StorageBecause.EXPORT)
W_EXPORT_PANIC = int(StorageBecause.EXPORT_PANIC)
W_UNHEARD = int(StorageBecause.UNHEARD)
W_DIRECTION = int(StorageBecause.DIRECTION)
W_STOPPED = int(StorageBecause.STOPPED)


@kernel
def watch_export(cy: Cycle) -> None:
    """Limits of export, what flows back beyond them, and whether that has lasted for too long."""
    devices = len(cy.built_batteries) + len(cy.built_inverters) > 0
    for i in range(len(cy.built_inverters)):
        hear_answer(cy.seen_inverters[i], cy.kept_inverters[i])
        _guess_sun(cy, i)
        if not _can_curtail(cy, i):
            count_unseen(cy, cy.built_inverters[i], cy.built_inverters[i]["max_ma"])
    for g in range(len(cy.grids)):
        if devices or _flows_back_at_all(cy, g):
            _watch_grid(cy, g)


@kernel
def _flows_back_at_all(cy: Cycle, g: int) -> bool:
    """Whether there is anything to watch where nothing can be steered."""
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    if kept["export_since_ms"] != NEVER or kept["export_panic_ms"] != NEVER:
        return True
    if grid["guarded"] == 0:
        return False
    measured = grid["measured_ma"]
    return bool(measured[0] < 0 or measured[1] < 0 or measured[2] < 0)


@kernel
def _watch_grid(cy: Cycle, g: int) -> None:
    """A fuse does not know the direction: beyond it its heat and its line of panic count backwards too."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    far = False
    hot = False
    for line in range(LINES):
        limit = _limit(cy, g, line)
        grid["excess_ma"][line] = -UNLIMITED_MA
        if limit >= UNLIMITED_MA:
            continue
        grid["excess_ma"][line] = UNKNOWN
        flows_back = _flows_back(cy, g, line)
        if flows_back == UNKNOWN:
            continue
        grid["excess_ma"][line] = flows_back - limit + _margin(cy, g, limit)
        if flows_back > limit:
            grid["over_export"] = 1
        far = far or flows_back > _panic_line(cy, g, line, limit)
        if line < TOGETHER:
            hot = hot or (flows_back > cy.built_grids[g]["limit_ma"][line] and is_hot(cy, g, line))
    if not far:
        kept["export_since_ms"] = NEVER
    elif kept["export_since_ms"] == NEVER:
        kept["export_since_ms"] = now
    patience = grid["blind_ms"] + LINK_MS + _slowest_ms(cy) + PANIC_PENDING_MS
    if hot or (far and now - kept["export_since_ms"] >= patience):
        kept["export_panic_ms"] = now + PANIC_HOLD_MS
    elif kept["export_panic_ms"] <= now:
        kept["export_panic_ms"] = NEVER
    grid["export_panic"] = int(kept["export_panic_ms"] != NEVER)


@kernel
def _margin(cy: Cycle, g: int, limit: int) -> int:
    """By how much what flows back is kept under a limit: as the site file says, else a little."""
    built = cy.built_grids[g]
    if built["export_margin_ma"] < UNLIMITED_MA:
        return int(min(built["export_margin_ma"], limit))
    return int(min(built["margin_ma"][0], limit * MARGIN_PER_MILLE // 1000 + EXPORT_BAND_MA))


@kernel
def _panic_line(cy: Cycle, g: int, line: int, limit: int) -> int:
    """Beyond it whatever feeds in goes off; on a phase never above the line of panic of its fuse."""
    built = cy.built_grids[g]
    beyond = max(limit * PANIC_PER_MILLE // 1000, limit + EXPORT_PANIC_MIN_MA)
    if built["export_panic_ma"] < UNLIMITED_MA:
        beyond = limit + built["export_panic_ma"]
    return int(beyond if line == TOGETHER else min(beyond, built["panic_ma"][line]))


@kernel
def _can_curtail(cy: Cycle, i: int) -> bool:
    """Whether it hears limits and has not been seen to ignore them."""
    online = cy.seen_inverters[i]["online"] == 1
    return bool(cy.built_inverters[i]["curtailable"] == 1 and online and cy.kept_inverters[i]["ignored"] == 0)


@kernel
def _guess_sun(cy: Cycle, i: int) -> None:
    """What a curtailed inverter hides: what it gave before, and after a while a little more on trial."""
    now = cy.clock[0]["now_ms"]
    built = cy.built_inverters[i]
    kept = cy.kept_inverters[i]
    work = cy.inverters[i]
    if work["fresh"] == 0:
        kept["sun_ma"] = 0
        return
    feeds = work["feeds_ma"]
    bound = kept["target_ma"] < built["max_ma"] and feeds >= kept["target_ma"] - EXPORT_BAND_MA
    waits = kept["eased_at_ms"] != NEVER and now - kept["eased_at_ms"] < CURTAIL_EVERY_MS
    if not bound and not waits:
        kept["sun_ma"] = feeds
        kept["guessed_at_ms"] = now
    elif feeds > kept["sun_ma"]:
        kept["sun_ma"] = feeds
    elif bound and now - kept["guessed_at_ms"] >= GUESS_EVERY_MS:
        step = max(built["max_ma"] * GUESS_PER_MILLE // 1000, EXPORT_PANIC_MIN_MA)
        kept["sun_ma"] = min(max(kept["sun_ma"], feeds + step), built["max_ma"])
        kept["guessed_at_ms"] = now
    root = cy.leaves_first[len(cy.leaves_first) - 1]
    if cy.grids[root]["undirected"] == 0:  # else what is hidden might be no surplus at all
        cy.grids[root]["hidden_ma"] += max(kept["sun_ma"] - feeds, 0) * built["phases"]


@kernel
def _limit(cy: Cycle, g: int, line: int) -> int:
    built = cy.built_grids[g]
    seen = cy.seen_grids[g]
    if line == TOGETHER:
        return int(min(built["export_sum_ma"], seen["export_sum_ma"]))
    return int(min(built["export_ma"][line], seen["export_ma"][line]))


@kernel
def _flows_back(cy: Cycle, g: int, line: int) -> int:
    """What flows back at the guard meter; UNKNOWN where nobody measures, or not in which direction."""
    grid = cy.grids[g]
    if grid["guarded"] == 0 or grid["ageing"] == 1:
        return UNKNOWN
    if grid["undirected"] != 0 and (line == TOGETHER or grid["undirected"] & (1 << line) != 0):
        return UNKNOWN
    if line < TOGETHER:
        return int(-grid["measured_ma"][line])
    return int(-grid["measured_ma"][0] - grid["measured_ma"][1] - grid["measured_ma"][2])


@kernel
def _slowest_ms(cy: Cycle) -> int:
    slowest = 0
    for i in range(len(cy.built_inverters)):
        slowest = max(slowest, cy.built_inverters[i]["response_ms"])
    for b in range(len(cy.built_batteries)):
        slowest = max(slowest, cy.built_batteries[b]["response_ms"])
    return slowest


@kernel
def steer_inverters(cy: Cycle) -> None:
    """Curtail what nobody absorbs, ease what has room, after the batteries have their orders."""
    if len(cy.built_inverters) == 0:
        return
    _count_absorbed(cy)
    for i in range(len(cy.built_inverters)):
        _observe(cy, i)
        target = _target(cy, i)
        _order(cy, i, target)
        left = cy.inverters[i]["feeds_ma"] - cy.kept_inverters[i]["target_ma"]
        if left > 0:
            _count_down(cy, cy.built_inverters[i], left)
        if _can_curtail(cy, i):
            count_unseen(cy, cy.built_inverters[i], cy.kept_inverters[i]["target_ma"])


@kernel
def _count_absorbed(cy: Cycle) -> None:
    """Batteries that are on their way to take more leave less to curtail."""
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        work = cy.batteries[b]
        if work["commandable"] == 1 and cy.kept_batteries[b]["observed"] == 0:
            more = cy.kept_batteries[b]["target_ma"] - work["draw_ma"]
            if more > 0:
                _count_down(cy, built, more)


@kernel
def _count_down(cy: Cycle, built: Any, current_ma: int) -> None:
    for d in range(built["depth"]):
        excess = cy.grids[built["path"][d]]["excess_ma"]
        for line in range(LINES):
            if excess[line] != UNKNOWN and excess[line] > -UNLIMITED_MA:
                excess[line] -= current_ma * loads(built, line)


@kernel
def _observe(cy: Cycle, i: int) -> None:
    """Whether a limit is kept: a reading after its answer and the response of the inverter."""
    built = cy.built_inverters[i]
    kept = cy.kept_inverters[i]
    work = cy.inverters[i]
    if work["fresh"] == 0 or kept["answer_at_ms"] == NEVER:
        return
    if kept["reading_at_ms"] < kept["answer_at_ms"] + built["response_ms"]:
        return
    keeps_to = work["feeds_ma"] <= kept["target_ma"] + tolerance_ma(kept["target_ma"])
    kept["ignored"] = int(not keeps_to)
    kept["observed"] = int(keeps_to)


@kernel
def _target(cy: Cycle, i: int) -> int:
    """Most that it may feed in, per phase; notes why."""
    built = cy.built_inverters[i]
    work = cy.inverters[i]
    kept = cy.kept_inverters[i]
    most = built["max_ma"]
    free = UNLIMITED_MA
    work["why"] = W_FREE
    work["why_grid"] = -1
    work["why_phase"] = -1
    if cy.seen_inverters[i]["stop"] != 0:
        work["why"] = W_STOPPED
        return 0
    for d in range(built["depth"]):
        g = built["path"][d]
        grid = cy.grids[g]
        if grid["export_panic"] == 1:
            _because(work, W_EXPORT_PANIC, g, -1)
            return 0
        for line in range(LINES):
            load = loads(built, line)
            excess = grid["excess_ma"][line]
            if load == 0 or excess == -UNLIMITED_MA:
                continue
            if excess == UNKNOWN or (excess > 0 and work["fresh"] == 0):
                alone = max(_limit(cy, g, line) - grid["unseen_ma"][line], 0) // load
                if alone < most:
                    most = alone
                    blind = grid["guarded"] == 0 or grid["ageing"] == 1 or excess != UNKNOWN
                    _because(work, W_UNHEARD if blind else W_DIRECTION, g, line)
            elif -excess // load < free:
                free = -excess // load
                if work["feeds_ma"] + free < built["max_ma"]:
                    _because(work, W_EXPORT, g, line)
    if free == UNLIMITED_MA:
        return int(most)
    if work["fresh"] == 0:  # nobody knows what it feeds in: it is not eased
        return int(min(most, kept["target_ma"]))
    if free >= 0:  # there is room: what it feeds in now and that, never less than it may already
        return int(min(most, max(kept["target_ma"], work["feeds_ma"] + free)))
    wanted = max(work["feeds_ma"] + free, _needed_for_fuses(cy, i), 0)
    return int(min(most, wanted, kept["target_ma"]))


@kernel
def count_unseen(cy: Cycle, built: Any, feeds_ma: int) -> None:
    """What one may feed in where nobody measures is not left for the next one."""
    for d in range(built["depth"]):
        unseen = cy.grids[built["path"][d]]["unseen_ma"]
        for line in range(LINES):
            unseen[line] += feeds_ma * loads(built, line)


@kernel
def _needed_for_fuses(cy: Cycle, i: int) -> int:
    """What it must go on to feed in for no phase to import more than its limit: the fuse wins."""
    built = cy.built_inverters[i]
    needed = 0
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for p in range(3):
            if grid["guarded"] == 1 and built["uses"][p] == 1:
                room = max(grid["limit_ma"][p] - grid["measured_ma"][p], 0)
                needed = max(needed, cy.inverters[i]["feeds_ma"] - room)
    return int(needed)


@kernel
def _because(work: Any, why: int, g: int, line: int) -> None:
    work["why"] = why
    work["why_grid"] = g
    work["why_phase"] = line


@kernel
def _order(cy: Cycle, i: int, target: int) -> None:
    """A lower limit when the last order has shown, a higher one rarely; the same again before it ends."""
    built = cy.built_inverters[i]
    kept = cy.kept_inverters[i]
    work = cy.inverters[i]
    now = cy.clock[0]["now_ms"]
    if built["curtailable"] == 0 or cy.seen_inverters[i]["online"] == 0:
        return
    shown = has_shown(cy, kept, built)
    at_once = work["why"] == W_EXPORT_PANIC or work["why"] == W_STOPPED
    at_once = at_once or work["why"] == W_UNHEARD or work["why"] == W_DIRECTION
    lower = target < kept["target_ma"] - SETPOINT_STEP_MA or (target == 0 and kept["target_ma"] > 0)
    rested = kept["eased_at_ms"] == NEVER or now - kept["eased_at_ms"] >= CURTAIL_EVERY_MS
    for b in range(len(cy.built_batteries)):
        rested = rested and has_shown(cy, cy.kept_batteries[b], cy.built_batteries[b])
    higher = target > kept["target_ma"] + SETPOINT_STEP_MA or (
        target == built["max_ma"] and kept["target_ma"] < target
    )
    if (lower and (shown or at_once)) or (higher and shown and rested):
        kept["eased_at_ms"] = now
        kept["target_ma"] = target
        kept["observed"] = 0
        look_anew(cy, built)
        send_device(cy, kept, built["revert_ms"])
        cy.wanted_inverters[i]["put"] = 1
    elif kept["target_ma"] < built["max_ma"] and wants_resend(cy, kept, built["revert_ms"]):
        resend_device(cy, kept, built["revert_ms"])
        cy.wanted_inverters[i]["put"] = 1


@kernel
def export_room(cy: Cycle, built: Any, gives_ma: int) -> int:
    """Most that a battery may give, per phase, before more flows back than may; it gives `gives_ma` now."""
    room = UNLIMITED_MA
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(LINES):
            load = loads(built, line)
            excess = grid["excess_ma"][line]
            if load == 0 or excess == -UNLIMITED_MA:
                continue
            if excess == UNKNOWN:
                room = min(room, (_limit(cy, built["path"][d], line) - grid["unseen_ma"][line]) // load)
            else:
                room = min(room, -excess // load + gives_ma)
        if grid["export_panic"] == 1:
            return 0
    return int(max(room, 0))


@kernel
def report_export(cy: Cycle) -> None:
    """Rows of the inverters and alarms of the grids."""
    site = cy.wanted_site[0]
    for i in range(len(cy.built_inverters)):
        work = cy.inverters[i]
        wanted = cy.wanted_inverters[i]
        kept = cy.kept_inverters[i]
        report_device(cy.seen_inverters[i], kept, work, wanted, cy.built_inverters[i]["phases"])
        site["alarm"] |= wanted["alarm"]
        if wanted["put"] == 1 or (kept["observed"] == 0 and kept["order_seq"] > 0):
            site["settled"] = 0
        site["next_ms"] = min(site["next_ms"], cy.clock[0]["now_ms"] + STORAGE_LOOK_MS)
    for g in range(len(cy.grids)):
        alarm = 0
        if cy.grids[g]["over_export"] == 1:
            alarm |= A_OVER_EXPORT
        if cy.grids[g]["export_panic"] == 1:
            alarm |= A_EXPORT_PANIC
        if alarm != 0:
            site["next_ms"] = min(site["next_ms"], cy.clock[0]["now_ms"] + CYCLE_MS)
        cy.wanted_grids[g]["alarm"] |= alarm
        site["alarm"] |= alarm
