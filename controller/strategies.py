"""What each battery should do now: its strategy, the window of its charge, and the room that cars leave.

The connection without its batteries is what its guard meter shows less what they are seen to take; an order
is only changed when the last one has had the time to show there, so that no battery chases itself. Cars go
first: a battery charges in the room that their wishes leave, and stops before one is cut.
"""

from __future__ import annotations

from typing import Any

from controller.comparison import shows_direction
from controller.decision import StorageBecause
from controller.defaults import (
    DEAD_BAND_MA,
    LINES,
    NEVER,
    PEAK_BAND_MA,
    QUARTER_MS,
    SETPOINT_STEP_MA,
    SETTLED_MS,
    SIGN_PATIENCE_MS,
    SIGN_TRIAL_MA,
    SIGN_TRIAL_MS,
    STORAGE_LOOK_MS,
    TOGETHER,
    UNKNOWN,
    UNLIMITED_MA,
)
from controller.export import count_unseen, export_room
from controller.kernel import kernel
from controller.storage import has_shown, loads, put_battery, report_device, resend_device, wants_resend
from controller.topology import MANUAL, PEAK_SHAVING, STANDBY
from controller.work import Cycle

W_STANDBY = int(StorageBecause.STANDBY)
W_SURPLUS = int(StorageBecause.SURPLUS)
W_LOAD = int(StorageBecause.LOAD)
W_PEAK = int(StorageBecause.PEAK)
W_RECHARGE = int(StorageBecause.RECHARGE)
W_SETPOINT = int(StorageBecause.SETPOINT)
W_BRIDGE = int(StorageBecause.BRIDGE)
W_EMPTY = int(StorageBecause.EMPTY)
W_FULL = int(StorageBecause.FULL)
W_NO_ROOM = int(StorageBecause.NO_ROOM)
W_UNHEARD = int(StorageBecause.UNHEARD)
W_NOT_OBEYING = int(StorageBecause.NOT_OBEYING)
W_STOPPED = int(StorageBecause.STOPPED)
W_DIRECTION = int(StorageBecause.DIRECTION)
W_TRIAL = int(StorageBecause.TRIAL)


@kernel
def steer_batteries(cy: Cycle) -> None:
    """Orders of all batteries for this cycle, after those of the cars."""
    if len(cy.built_batteries) == 0:
        return
    _sum_unmet(cy)
    root = cy.leaves_first[len(cy.leaves_first) - 1]
    net = _net_without_batteries(cy, root)
    base = 0
    for p in range(3):
        base += cy.kept_grids[root]["estimate_ma"][p]
    for b in range(len(cy.built_batteries)):
        _follow_peak(cy, b, root)
        work = cy.batteries[b]
        work["wish_ma"] = _wish(cy, b, net, base)
        _try_direction(cy, b, root)
        _narrow_to_charge(cy, b)
        _narrow_to_room(cy, b)
        _order(cy, b)
        kept = cy.kept_batteries[b]
        count_unseen(cy, cy.built_batteries[b], max(-kept["target_ma"], -kept["lowest_ma"], 0))
        given = work["wish_ma"] * cy.built_batteries[b]["phases"]
        if net != UNKNOWN:
            net += given
        base += given


@kernel
def _net_without_batteries(cy: Cycle, root: int) -> int:
    """What the connection would take over its phases without batteries and with the sun it curtails.

    UNKNOWN when nobody measures, or not in which direction.
    """
    grid = cy.grids[root]
    if grid["guarded"] == 0 or grid["ageing"] == 1 or grid["undirected"] != 0:
        return UNKNOWN
    net = 0
    for p in range(3):
        net += grid["measured_ma"][p]
        for b in range(len(cy.built_batteries)):
            net -= cy.kept_batteries[b]["reading_ma"][p]
    return net - grid["hidden_ma"]


@kernel
def _sum_unmet(cy: Cycle) -> None:
    """What cars could use beyond every line, above the load and what cannot be commanded."""
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(LINES):
            grid["unmet_ma"][line] = -UNLIMITED_MA
        for line in range(grid["lines"]):
            most = grid["limit_ma"][line] - grid["margin_ma"][line]
            grid["unmet_ma"][line] = grid["load_ma"][line] - most
    for c in range(len(cy.built)):
        work = cy.work[c]
        could = work["book_target_ma"]
        if work["commandable"] == 1 and work["last"] == 0 and work["cap_ma"] >= work["min_ma"]:
            could = work["cap_ma"]
        for d in range(cy.built[c]["depth"]):
            unmet = cy.grids[cy.built[c]["path"][d]]["unmet_ma"]
            for line in range(LINES):
                unmet[line] += could * work["load"][line]


@kernel
def _follow_peak(cy: Cycle, b: int, root: int) -> None:
    """The highest quarter of an hour of the month: below it nothing is saved any more."""
    kept = cy.kept_batteries[b]
    clock = cy.clock[0]
    passed = min(max(clock["now_ms"] - cy.kept_site[0]["now_ms"], 0), SETTLED_MS)
    quarter = clock["utc_ms"] // QUARTER_MS
    if kept["quarter"] != quarter:
        if kept["quarter"] + 1 == quarter and clock["utc_trusted"] == 1:
            kept["peak_ma"] = max(kept["peak_ma"], kept["quarter_mas"] * 1000 // QUARTER_MS)
        kept["quarter"] = quarter
        kept["quarter_mas"] = 0
    month = _month(clock["utc_ms"] // 86_400_000)
    if kept["month"] != month:
        kept["month"] = month
        kept["peak_ma"] = 0
    grid = cy.grids[root]
    if grid["guarded"] == 1:
        for p in range(3):
            kept["quarter_mas"] += grid["measured_ma"][p] * passed // 1000


@kernel
def _month(day: int) -> int:
    """Months since the year 0 of a day since 1970 (Hinnant, chrono-compatible low-level date algorithms)."""
    shifted = day + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    march_based = (5 * of_year + 2) // 153
    return int((year + era * 400) * 12 + march_based)


@kernel
def _wish(cy: Cycle, b: int, net: int, base: int) -> int:
    """What its strategy asks for, per phase; notes why."""
    built = cy.built_batteries[b]
    seen = cy.seen_batteries[b]
    work = cy.batteries[b]
    phases = built["phases"]
    strategy = seen["strategy"] if seen["strategy"] > 0 else built["strategy"]
    cy.wanted_batteries[b]["strategy"] = strategy
    work["why"] = W_STANDBY
    work["why_grid"] = -1
    work["why_phase"] = -1
    if seen["stop"] != 0:
        work["why"] = W_STOPPED
        return 0
    if strategy == STANDBY:
        return 0
    if strategy == MANUAL:
        work["why"] = W_SETPOINT
        return int(seen["setpoint_ma"])
    if net == UNKNOWN or work["commandable"] == 0:
        work["why"] = W_UNHEARD
        root = cy.leaves_first[len(cy.leaves_first) - 1]
        if cy.grids[root]["undirected"] != 0 and cy.grids[root]["ageing"] == 0:
            work["why"] = W_DIRECTION
        return 0
    if strategy == PEAK_SHAVING:
        return _shave(cy, b, net)
    need = 0
    if built["feeds_cars"] == 1:
        need = _bridge(cy, b)
    load = net if built["feeds_cars"] == 1 else min(net, base)
    work["why"] = W_BRIDGE
    if load > DEAD_BAND_MA and load > need * phases:
        work["why"] = W_LOAD
        need = -(-load // phases)
    if need > 0:
        return -need
    work["why"] = W_STANDBY
    return _take_surplus(work, net, phases)


@kernel
def _try_direction(cy: Cycle, b: int, root: int) -> None:
    """What follows the net of the connection begins with small steps, on and off, which its guard must show.

    On a guard that is mounted backwards, surplus would be what the battery itself takes. A step is made in a
    calm moment and held until the next one, where it is judged; without an answer the next one waits.
    """
    now = cy.clock[0]["now_ms"]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    follows = work["why"] != W_SETPOINT and work["wish_ma"] != 0
    if not follows or shows_direction(cy, cy.built_batteries[b], root):
        return
    wish = max(min(work["wish_ma"], SIGN_TRIAL_MA), -SIGN_TRIAL_MA)
    held_ms = now - kept["put_at_ms"]
    rested = kept["order_seq"] <= 2 or held_ms >= SIGN_TRIAL_MS
    calm = cy.kept_grids[root]["looked_at_ms"] == now
    if not (calm and rested) and held_ms < SIGN_PATIENCE_MS:
        wish = max(min(kept["target_ma"], SIGN_TRIAL_MA), -SIGN_TRIAL_MA)
    elif kept["target_ma"] != 0:
        wish = 0
    work["wish_ma"] = wish if kept["order_seq"] > 0 else 0
    work["why"] = W_TRIAL
    work["why_grid"] = root


@kernel
def _take_surplus(work: Any, net: int, phases: int) -> int:
    """What would flow back over the connection after the cars have taken theirs."""
    if net >= -DEAD_BAND_MA:
        return 0
    work["why"] = W_SURPLUS
    return int(-net // phases)


@kernel
def _shave(cy: Cycle, b: int, net: int) -> int:
    """Hold the import of the connection, make room for cars under limits, recharge in between."""
    built = cy.built_batteries[b]
    work = cy.batteries[b]
    phases = built["phases"]
    planned = min(cy.seen_batteries[b]["target_ma"], built["target_ma"])
    line = max(planned, cy.kept_batteries[b]["peak_ma"])
    need = max(_bridge(cy, b), _above_fuses(cy, b))
    work["why"] = W_BRIDGE
    if net - line > need * phases:
        work["why"] = W_PEAK
        need = -(-(net - line) // phases)
    if need > 0:
        return -need
    work["why"] = W_STANDBY
    told = planned < UNLIMITED_MA  # else nobody has said what to hold, and there is nothing to recharge for
    if told and built["grid_charging"] == 1 and net < line - PEAK_BAND_MA:
        work["why"] = W_RECHARGE
        return int((line - PEAK_BAND_MA - net) // phases)
    return _take_surplus(work, net, phases)


@kernel
def _bridge(cy: Cycle, b: int) -> int:
    """What it would have to give for the cars to get what they could use, where its help counts."""
    built = cy.built_batteries[b]
    if cy.kept_batteries[b]["spent"] == 1:
        return 0
    need = 0
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(grid["lines"]):
            if line == TOGETHER:
                need = max(need, -(-grid["unmet_ma"][line] // built["phases"]))
            elif built["uses"][line] == 1 and built["counts_for_fuse"] == 1:
                need = max(need, grid["unmet_ma"][line])
    return int(need)


@kernel
def _above_fuses(cy: Cycle, b: int) -> int:
    """What a grid above would carry beyond its limit without this battery, on a phase that it feeds."""
    built = cy.built_batteries[b]
    need = 0
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for p in range(3):
            if grid["guarded"] == 1 and built["uses"][p] == 1:
                without = grid["measured_ma"][p] - cy.kept_batteries[b]["reading_ma"][p]
                need = max(need, without - (grid["limit_ma"][p] - grid["margin_ma"][p]))
    return int(need)


@kernel
def _narrow_to_charge(cy: Cycle, b: int) -> None:
    """Ratings, what it says it can do, and the window of its state of charge."""
    built = cy.built_batteries[b]
    seen = cy.seen_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    wish = work["wish_ma"]
    most = min(built["charge_ma"], max(seen["charge_ma"], 0))
    least = -min(built["discharge_ma"], max(seen["discharge_ma"], 0))
    if wish < 0:
        least = max(least, -export_room(cy, built, -work["draw_ma"]))
    if wish > 0 and kept["full"] == 1:
        work["why"] = W_FULL
        most = 0
    shaves = work["why"] == W_PEAK or work["why"] == W_BRIDGE or work["why"] == W_SETPOINT
    if wish < 0 and (kept["empty"] == 1 or (kept["spent"] == 1 and not shaves)):
        work["why"] = W_EMPTY
        least = 0
    if wish != 0 and (kept["soc"] == UNKNOWN or work["commandable"] == 0):
        work["why"] = W_NOT_OBEYING if kept["ignored"] == 1 else W_UNHEARD
        most = 0
        least = 0
    work["wish_ma"] = max(least, min(wish, most))
    gives = kept["target_ma"] < 0 and work["wish_ma"] > kept["target_ma"]
    if gives and kept["empty"] == 0 and seen["stop"] == 0:
        needed = min(_still_needed(cy, b), -kept["target_ma"])
        if needed > 0 and -needed < work["wish_ma"]:
            work["why"] = W_BRIDGE
            work["wish_ma"] = -needed


@kernel
def _still_needed(cy: Cycle, b: int) -> int:
    """What of its discharge the commitments of the others still rest on: they are lowered first."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    given = max(-kept["committed_ma"], 0)
    needed = 0
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(grid["lines"]):
            load = loads(built, line)
            if load > 0 and (line == TOGETHER or built["counts_for_fuse"] == 1):
                booked = grid["load_ma"][line] + grid["committed_ma"][line] + given * load
                over = booked - (grid["limit_ma"][line] - grid["margin_ma"][line])
                needed = max(needed, -(-over // load))
    return int(needed)


@kernel
def _narrow_to_room(cy: Cycle, b: int) -> None:
    """Charging only in what the wishes of the cars leave, and a raise only in what the book leaves."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    if work["wish_ma"] <= 0:
        return
    for d in range(built["depth"]):
        g = built["path"][d]
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            load = loads(built, line)
            if load == 0:
                continue
            counted = kept["committed_ma"]
            if line != TOGETHER and built["counts_for_fuse"] == 0:
                counted = max(counted, 0)
            booked = grid["load_ma"][line] + grid["committed_ma"][line] - counted * load
            room = grid["limit_ma"][line] - grid["margin_ma"][line] - booked
            if grid["held"] == 1:
                room = min(room, kept["charge_ma"] * load)
            if grid["panic"] == 1:
                room = 0
            most = max(min(grid["spare_ma"][line], room), 0) // load
            if most < work["wish_ma"]:
                work["wish_ma"] = most
                work["why"] = W_NO_ROOM
                work["why_grid"] = g
                work["why_phase"] = line
    for d in range(built["depth"]):
        spare = cy.grids[built["path"][d]]["spare_ma"]
        for line in range(LINES):
            spare[line] -= work["wish_ma"] * loads(built, line)


@kernel
def _order(cy: Cycle, b: int) -> None:
    """A new order when the last one has shown, at once towards less; the same again before it ends."""
    built = cy.built_batteries[b]
    kept = cy.kept_batteries[b]
    work = cy.batteries[b]
    if cy.seen_batteries[b]["online"] == 0 or cy.wanted_batteries[b]["put"] == 1:
        return
    target = kept["target_ma"]
    wish = work["wish_ma"]
    shown = has_shown(cy, kept, built) and (kept["observed"] == 1 or kept["answer_at_ms"] != NEVER)
    for i in range(len(cy.built_inverters)):
        shown = shown and has_shown(cy, cy.kept_inverters[i], cy.built_inverters[i])
    less_charge = target > 0 and wish < target and (work["why"] == W_NO_ROOM or _crowds(cy, built))
    ends = wish == 0 and target != 0 and work["why"] != W_STANDBY and work["why"] != W_SURPLUS
    worth = abs(wish - target) >= SETPOINT_STEP_MA or (wish == 0 and target != 0)
    if kept["order_seq"] == 0 or less_charge or ends or (shown and worth):
        if kept["order_seq"] == 0 or wish != target:
            put_battery(cy, b, wish)
    elif work["fresh"] == 1 and wants_resend(cy, kept, built["revert_ms"]):  # unseen, it shall revert
        resend_device(cy, kept, built["revert_ms"])
        cy.wanted_batteries[b]["put"] = 1


@kernel
def _crowds(cy: Cycle, built: Any) -> bool:
    """Whether a grid above is over the line of the book, at which somebody must be lowered in this cycle."""
    for d in range(built["depth"]):
        grid = cy.grids[built["path"][d]]
        for line in range(grid["lines"]):
            most = grid["limit_ma"][line] - grid["margin_ma"][line] // 2
            if loads(built, line) > 0 and grid["load_ma"][line] + grid["targets_ma"][line] > most:
                return True
    return False


@kernel
def report_batteries(cy: Cycle) -> None:
    """Rows of the decision, and when to look again."""
    site = cy.wanted_site[0]
    for b in range(len(cy.built_batteries)):
        kept = cy.kept_batteries[b]
        work = cy.batteries[b]
        wanted = cy.wanted_batteries[b]
        report_device(cy.seen_batteries[b], kept, work, wanted, cy.built_batteries[b]["phases"])
        wanted["committed_ma"] = kept["committed_ma"]
        site["alarm"] |= wanted["alarm"]
        if kept["observed"] == 0 or wanted["put"] == 1:
            site["settled"] = 0
    if len(cy.built_batteries) > 0:
        site["next_ms"] = min(site["next_ms"], cy.clock[0]["now_ms"] + STORAGE_LOOK_MS)
