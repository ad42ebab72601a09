"""What every connector should have: admission, weighted max-min filling, turns when the minimums do not fit.

Filling raises all admitted connectors together, in proportion to their weights, until a cap or a grid and
phase binds; a three-phase car loads three phases of every grid above it, so the filling is global
(progressive filling; Bertsekas and Gallager, Data Networks, 6.5.2). Exact in integers: levels count
1/100000 mA per percent of weight.
"""

from __future__ import annotations

from controller.decision import Because
from controller.defaults import (
    DRAWING_MA,
    LINES,
    NEVER,
    PROOF_RETRY_MS,
    SLOT_MS,
    TOGETHER,
    UNLIMITED_MA,
)
from controller.demand import place_in_queue
from controller.kernel import kernel
from controller.steps import above_ma, at_most_ma
from controller.storage import open_storage_room
from controller.work import Cycle

FUSE = int(Because.FUSE)
FULL = int(Because.FULL)
PROOF = int(Because.PROOF)
TURN = int(Because.TURN)

AT_MINIMUM, RISING, STOPPED, ROUNDED_UP = 0, 1, 2, 3
UNIT = 100_000
HIGHEST_LEVEL = UNLIMITED_MA * UNIT


@kernel
def share(cy: Cycle) -> None:
    """Fill `work.wish_ma` with whole steps that fit every grid and phase, and why it is not more.

    With strict classes a class is served in full before the next begins; else there is one class, 0.
    """
    _open_room(cy)
    _choose_proofs(cy)
    share_class = _next_class(cy, -1)
    while share_class >= 0:
        _admit(cy, share_class)
        _fill(cy, share_class)
        _quantise(cy, share_class)
        share_class = _next_class(cy, share_class)
    _keep_doors_open(cy)


@kernel
def _next_class(cy: Cycle, share_class: int) -> int:
    """The first class behind this one with anybody in it, -1: there is none."""
    if len(cy.built) == 0 or (cy.built[0]["strict"] == 0 and share_class == 0):
        return -1
    if cy.built[0]["strict"] == 0:
        return 0
    found = -1
    for c in range(len(cy.built)):
        behind = cy.work[c]["share_class"]
        if behind > share_class and (found < 0 or behind < found) and _sharing(cy, c, behind):
            found = behind
    return found


@kernel
def _open_room(cy: Cycle) -> None:
    """Room for those that can be commanded: limit - margin - load - what everybody else is booked at."""
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            taken = grid["margin_ma"][line] + grid["load_ma"][line] + grid["left_ma"][line]
            grid["spare_ma"][line] = grid["limit_ma"][line] - taken
    open_storage_room(cy)
    for c in range(len(cy.built)):
        work = cy.work[c]
        work["why_grid"] = -1
        work["why_phase"] = -1
        if work["commandable"] == 0 or cy.kept[c]["proven"] == 0 or cy.kept[c]["limit_known"] == 0:
            _take(cy, c, work["book_target_ma"])


@kernel
def _take(cy: Cycle, c: int, current_ma: int) -> None:
    """Take `current_ma` out of the room of every grid above the connector, on the lines it loads."""
    path = cy.built[c]["path"]
    load = cy.work[c]["load"]
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[path[d]]
        for line in range(LINES):
            grid["spare_ma"][line] -= current_ma * load[line]


@kernel
def _fits(cy: Cycle, c: int, current_ma: int, stretch: int) -> bool:
    """Whether it fits every room above; notes the first that is too small. `stretch`: half a margin more."""
    work = cy.work[c]
    path = cy.built[c]["path"]
    for d in range(cy.built[c]["depth"]):
        g = path[d]
        for line in range(cy.grids[g]["lines"]):
            room = cy.grids[g]["spare_ma"][line] + stretch * cy.grids[g]["margin_ma"][line] // 2
            load = work["load"][line]
            if load > 0 and current_ma * load > room:
                work["why_grid"] = g
                work["why_phase"] = line
                return False
    return True


@kernel
def _choose_proofs(cy: Cycle) -> None:
    """Boxes never seen to obey: those whose car waits are proven in batches that fit at their maximum.

    Where there is no room for even one, one gets its room from the others: a turn.
    """
    unproven = 0
    in_proof = 0
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["commandable"] == 1 and cy.kept[c]["proven"] == 0:
            work["why"] = PROOF
            unproven += 1
            in_proof += int(cy.kept[c]["target_ma"] > 0)
    if unproven == 0:
        return
    for c in range(len(cy.built)):
        most = cy.built[c]["max_ma"]
        if _waits_for_proof(cy, c) and _fits(cy, c, most, 0) and _fits_unused(cy, c, most):
            in_proof += 1
            _reserve(cy, c, most)
    for c in range(len(cy.built)):
        if in_proof == 0 and _waits_for_proof(cy, c) and _fits(cy, c, cy.built[c]["max_ma"], 0):
            in_proof += 1
            _reserve(cy, c, cy.built[c]["max_ma"])


@kernel
def _waits_for_proof(cy: Cycle, c: int) -> bool:
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    if work["commandable"] == 0 or kept["proven"] == 1 or kept["limit_known"] == 0 or work["stop"] != 0:
        return False
    failed = kept["proof_failed_at_ms"]
    if failed != NEVER and now - failed < PROOF_RETRY_MS:
        return False
    return bool(kept["target_ma"] == 0 and kept["observed"] == 1 and work["draw_ma"] < DRAWING_MA)


@kernel
def _fits_unused(cy: Cycle, c: int, current_ma: int) -> bool:
    """Whether it fits beside every commitment, with nobody lowered."""
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[cy.built[c]["path"][d]]
        for line in range(grid["lines"]):
            booked = grid["load_ma"][line] + grid["committed_ma"][line] + grid["reserved_ma"][line]
            room = grid["limit_ma"][line] - grid["margin_ma"][line] - booked
            load = cy.work[c]["load"][line]
            if load > 0 and current_ma * load > room:
                return False
    return True


@kernel
def _reserve(cy: Cycle, c: int, current_ma: int) -> None:
    cy.work[c]["proof"] = 1
    _take(cy, c, current_ma)
    for d in range(cy.built[c]["depth"]):
        reserved = cy.grids[cy.built[c]["path"][d]]["reserved_ma"]
        for line in range(LINES):
            reserved[line] += current_ma * cy.work[c]["load"][line]


@kernel
def _sharing(cy: Cycle, c: int, share_class: int) -> bool:
    work = cy.work[c]
    kept = cy.kept[c]
    return bool(
        work["commandable"] == 1
        and kept["proven"] == 1
        and kept["limit_known"] == 1
        and work["last"] == 0
        and work["share_class"] == share_class
        and work["cap_ma"] >= work["min_ma"]
        and work["stop"] == 0
    )


@kernel
def _admit(cy: Cycle, share_class: int) -> None:
    """Minimums in the order of the queue; one that does not fit is skipped and bars nobody."""
    everybody = True
    for c in range(len(cy.built)):
        if _sharing(cy, c, share_class):
            _take(cy, c, cy.work[c]["min_ma"])
    for g in range(len(cy.grids)):
        for line in range(cy.grids[g]["lines"]):
            everybody = everybody and cy.grids[g]["spare_ma"][line] >= 0
    if everybody:
        for c in range(len(cy.built)):
            if _sharing(cy, c, share_class):
                cy.work[c]["admitted"] = 1
        return
    waiting = 0
    for c in range(len(cy.built)):
        if _sharing(cy, c, share_class):
            _take(cy, c, -cy.work[c]["min_ma"])
            cy.work[c]["place"] = place_in_queue(cy, c)
            cy.work[waiting]["queue"] = c
            waiting += 1
    _sort_queue(cy, waiting)
    for i in range(waiting):
        c = cy.work[i]["queue"]
        work = cy.work[c]
        if _fits(cy, c, work["min_ma"], int(cy.kept[c]["target_ma"] > 0)):
            work["admitted"] = 1
            _take(cy, c, work["min_ma"])
        else:
            work["why"] = TURN


@kernel
def _sort_queue(cy: Cycle, count: int) -> None:
    """Sort by place, then row (Shell sort: short, in place, the same bits everywhere)."""
    gap = count // 2
    while gap > 0:
        for i in range(gap, count):
            c = cy.work[i]["queue"]
            place = cy.work[c]["place"]
            slot = i
            while slot >= gap:
                other = cy.work[slot - gap]["queue"]
                before = cy.work[other]["place"]
                if before < place or (before == place and other < c):
                    break
                cy.work[slot]["queue"] = other
                slot -= gap
            cy.work[slot]["queue"] = c
        gap //= 2


@kernel
def _fill(cy: Cycle, share_class: int) -> None:
    """Progressive filling from the minimums up; leaves unrounded mA in `wish_ma`."""
    left = 0
    event = HIGHEST_LEVEL
    for g in range(len(cy.grids)):
        cy.grids[g]["bound"] = 0
        for line in range(cy.grids[g]["lines"]):
            cy.grids[g]["spare_u"][line] = max(cy.grids[g]["spare_ma"][line], 0) * UNIT
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["admitted"] == 1 and work["share_class"] == share_class:
            cy.work[left]["queue"] = c
            work["wish_ma"] = work["min_ma"]
            work["start_level"] = work["min_ma"] * UNIT // work["weight"]
            work["cap_level"] = -(-work["cap_ma"] * UNIT // work["weight"])
            event = min(event, work["start_level"])
            left += 1
    level = 0
    while left > 0:
        reached = max(level, event)
        for g in range(len(cy.grids)):
            grid = cy.grids[g]
            for line in range(grid["lines"]):
                # Divided only where a line fills up first: a division costs as much as twenty products.
                if grid["slope"][line] * (reached - level) > grid["spare_u"][line]:
                    reached = level + grid["spare_u"][line] // grid["slope"][line]
        filled_up = _rise(cy, reached - level)
        level = reached
        event = HIGHEST_LEVEL
        still = 0
        for i in range(left):
            c = cy.work[i]["queue"]
            if (filled_up and _stop_at_full(cy, c, level)) or _freeze(cy, c, level) == 1:
                continue
            work = cy.work[c]
            event = min(event, work["start_level"] if work["frozen"] == AT_MINIMUM else work["cap_level"])
            cy.work[still]["queue"] = c
            still += 1
        left = still


@kernel
def _rise(cy: Cycle, step: int) -> bool:
    """Raise the level by `step` and mark the grids and lines that are full then; True: one more is."""
    filled_up = False
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            grid["spare_u"][line] -= grid["slope"][line] * step
            if grid["spare_u"][line] < max(grid["slope"][line], UNIT) and grid["bound"] & (1 << line) == 0:
                grid["bound"] |= 1 << line
                filled_up = True
    return filled_up


@kernel
def _tilt(cy: Cycle, c: int, weight: int) -> None:
    path = cy.built[c]["path"]
    load = cy.work[c]["load"]
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[path[d]]
        for line in range(LINES):
            grid["slope"][line] += weight * load[line]


@kernel
def _stop_at_full(cy: Cycle, c: int, level: int) -> bool:
    """Stop it where a grid above is full on one of its lines."""
    path = cy.built[c]["path"]
    for d in range(cy.built[c]["depth"]):
        full = cy.grids[path[d]]["bound"] & cy.work[c]["line_bits"]
        if full != 0:
            _stop(cy, c, level, path[d], 0 if full & 1 else 1 if full & 2 else 2 if full & 4 else TOGETHER)
            return True
    return False


@kernel
def _freeze(cy: Cycle, c: int, level: int) -> int:
    """Let it start to rise, or stop it at its cap; 1 if it is done."""
    work = cy.work[c]
    if work["frozen"] == AT_MINIMUM and level >= work["start_level"]:
        work["frozen"] = RISING
        _tilt(cy, c, work["weight"])
    if work["frozen"] == RISING and level >= work["cap_level"]:
        _stop(cy, c, level, -1, -1)
        return 1
    return 0


@kernel
def _stop(cy: Cycle, c: int, level: int, g: int, p: int) -> None:
    work = cy.work[c]
    if work["frozen"] == RISING:
        _tilt(cy, c, -work["weight"])
        work["wish_ma"] = min(max(work["weight"] * level // UNIT, work["min_ma"]), work["cap_ma"])
    work["frozen"] = STOPPED
    if g >= 0 and work["wish_ma"] < work["cap_ma"]:
        work["why"] = FUSE
        work["why_grid"] = g
        work["why_phase"] = p


@kernel
def _quantise(cy: Cycle, share_class: int) -> None:
    """Whole steps of the box; the remainder step by step, first to who already has it."""
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["admitted"] == 0 or work["share_class"] != share_class:
            continue
        work["wish_ma"] = max(at_most_ma(cy.built[c], work["wish_ma"]), work["min_ma"])
        _take(cy, c, work["wish_ma"] - work["min_ma"])
    for turn in range(2):
        for c in range(len(cy.built)):
            work = cy.work[c]
            if work["frozen"] != STOPPED or work["why"] != FUSE or work["share_class"] != share_class:
                continue
            more = min(above_ma(cy.built[c], work["wish_ma"]), work["cap_ma"]) - work["wish_ma"]
            has_it = cy.kept[c]["target_ma"] >= work["wish_ma"] + more
            if more > 0 and (turn == 0) == has_it and _step_fits(cy, c, more):
                work["wish_ma"] += more
                work["frozen"] = ROUNDED_UP
                _take(cy, c, more)


@kernel
def _step_fits(cy: Cycle, c: int, more: int) -> bool:
    path = cy.built[c]["path"]
    load = cy.work[c]["load"]
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[path[d]]
        for line in range(grid["lines"]):
            if load[line] > 0 and more * load[line] > grid["spare_ma"][line]:
                return False
    return True


@kernel
def _keep_doors_open(cy: Cycle) -> None:
    """Full cars get their minimum of what nobody else can use; one that was shut out waits for a slot."""
    now = cy.clock[0]["now_ms"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        work = cy.work[c]
        if work["last"] == 0 or kept["proven"] == 0 or kept["limit_known"] == 0 or work["stop"] != 0:
            continue
        if kept["full"] == 1:
            work["why"] = FULL
        rested = kept["off_since_ms"] == NEVER or now - kept["off_since_ms"] >= SLOT_MS
        if (kept["target_ma"] > 0 or rested) and _step_fits(cy, c, work["min_ma"]):
            work["wish_ma"] = work["min_ma"]
            _take(cy, c, work["min_ma"])
