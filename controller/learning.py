"""Which phases a car loads where nobody has confirmed how its outlet hangs: learnt from our own steps.

A step is lone when one order alone is on its way on the whole site. What the guard meter shows of it, phase
by phase, must be all of the step or nothing, on as many phases as the outlet itself reports; three steps in
a row that agree make the phases known, for this session. Until then it is booked on all of them.
A wrong lesson costs room and no fuse: draw that is not booked where it flows counts as other load there.
"""

from __future__ import annotations

from controller.commitments import tolerance_ma
from controller.defaults import (
    DOWN_MS,
    LEARN_EVERY_MS,
    LEARN_PATIENCE_MS,
    LEARN_SLACK_MA,
    LEARN_STEP_MA,
    LEARN_STEPS,
    LEARN_TRIES,
    NEVER,
    PHASE_IN_USE_MA,
    UNKNOWN,
)
from controller.headroom import take_phase_off
from controller.kernel import kernel
from controller.session import book_every_phase
from controller.steps import at_most_ma
from controller.work import Cycle


@kernel
def somebody_learns(cy: Cycle) -> bool:
    """Whether the site asks for it anywhere; where it does not, nothing of this is looked at."""
    return bool(len(cy.built) > 0 and cy.built[0]["somebody_learns"] == 1)


@kernel
def conclude_step(cy: Cycle, c: int) -> None:
    """Read its lone step off the guard meter once it has been followed and the meter has seen it."""
    if not somebody_learns(cy):
        return
    _doubt_lesson(cy, c)
    site = cy.kept_site[0]
    if c != site["lone"] - 1:
        return
    kept = cy.kept[c]
    g = _guard_above(cy, c)
    late = cy.clock[0]["now_ms"] - site["lone_at_ms"] > LEARN_PATIENCE_MS
    if g < 0 or late or cy.work[c]["active"] == 0 or kept["known"] == 1:
        _forget(cy, c)
        return
    grid = cy.grids[g]
    followed = kept["observed"] == 1 and kept["closed"] == 1 and kept["answer_at_ms"] != NEVER
    heard = cy.work[c]["heard_ms"]
    if not followed or heard < kept["answer_at_ms"] + DOWN_MS or heard <= site["lone_at_ms"]:
        return
    if grid["measured_at_ms"] < heard + grid["blind_ms"]:
        return
    used = max(site["lone_used"], own_phases_in_use(cy, c))
    _judge(cy, c, g, cy.work[c]["draw_ma"] - site["lone_draw_ma"], used)
    _forget(cy, c)


@kernel
def _judge(cy: Cycle, c: int, g: int, step: int, used: int) -> None:
    """All of the step or nothing on every phase, on as many phases as the outlet reports."""
    size = abs(step)
    if size < LEARN_STEP_MA - LEARN_SLACK_MA:
        return
    slack = max(LEARN_SLACK_MA, size // 4)
    bits = 0
    moved_on = 0
    for p in range(3):
        moved = cy.grids[g]["measured_ma"][p] - cy.kept_site[0]["lone_grid_ma"][p]
        if step < 0:
            moved = -moved
        if abs(moved - size) <= slack:
            bits |= 1 << p
            moved_on += 1
        elif abs(moved) > slack:
            return
    if moved_on == 0 or moved_on != used:
        return
    kept = cy.kept[c]
    kept["learnt_steps"] = kept["learnt_steps"] + 1 if kept["learnt_bits"] == bits else 1
    kept["learnt_bits"] = bits
    if kept["learnt_steps"] >= LEARN_STEPS:
        _know(cy, c, bits, used)


@kernel
def _know(cy: Cycle, c: int, bits: int, used: int) -> None:
    """From now on it is booked where it was seen; what a one-phase car taught is suggested to people."""
    kept = cy.kept[c]
    kept["known"] = 1
    kept["learnt"] = 1
    for p in range(3):
        if kept["phases"][p] == 1 and bits & (1 << p) == 0:
            kept["phases"][p] = 0
            take_phase_off(cy, c, p)
        kept["reading_ma"][p] = cy.work[c]["draw_ma"] * kept["phases"][p]
        cy.work[c]["reading_ma"][p] = kept["reading_ma"][p]
    if used == 1 and cy.seen[c]["current_ma"][0] >= PHASE_IN_USE_MA:
        kept["hint"] = 1 if bits & 1 else 2 if bits & 2 else 3


@kernel
def _doubt_lesson(cy: Cycle, c: int) -> None:
    """A car that draws on more of its own phases than were learnt is unknown again."""
    kept = cy.kept[c]
    if kept["learnt"] == 0:
        return
    booked = kept["phases"][0] + kept["phases"][1] + kept["phases"][2]
    draws = 0
    for own in range(3):
        current = cy.seen[c]["current_ma"][own]
        draws += int(current != UNKNOWN and current > tolerance_ma(cy.work[c]["draw_ma"]))
    if draws > booked:
        book_every_phase(cy.built[c], kept)


@kernel
def own_phases_in_use(cy: Cycle, c: int) -> int:
    """Of its own phases, how many the outlet reports a current on."""
    used = 0
    for own in range(3):
        used += int(cy.seen[c]["current_ma"][own] >= PHASE_IN_USE_MA)
    return used


@kernel
def _guard_above(cy: Cycle, c: int) -> int:
    """The nearest grid above whose guard meter is usable and young; -1."""
    for d in range(cy.built[c]["depth"]):
        g = cy.built[c]["path"][d]
        if cy.grids[g]["guarded"] == 1:
            return int(g) if cy.grids[g]["ageing"] == 0 else -1
    return -1


@kernel
def _forget(cy: Cycle, c: int) -> None:
    cy.kept_site[0]["lone"] = 0
    cy.kept[c]["learn_cap_ma"] = 0


@kernel
def watch_for_step(cy: Cycle) -> None:
    """After the orders of a cycle: is one of them alone and worth watching? In quiet times make one."""
    if not somebody_learns(cy):
        return
    now = cy.clock[0]["now_ms"]
    site = cy.kept_site[0]
    if site["lone"] == 0 and not _anybody_unknown(cy):
        return
    moves = 0
    mover = -1
    pupil = -1
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        moved = cy.wanted[c]["put"] == 1 and kept["target_ma"] != cy.work[c]["target_before_ma"]
        open_order = cy.work[c]["active"] == 1 and (kept["observed"] == 0 or kept["closed"] == 0)
        if (moved or open_order) and c != site["lone"] - 1:
            moves += 1
            mover = c if moved else -1
        if pupil < 0 and _may_learn(cy, c):
            pupil = c
    if site["lone"] > 0:
        if moves > 0:
            _forget(cy, site["lone"] - 1)
        return
    if moves == 1 and mover >= 0:
        step = cy.kept[mover]["target_ma"] - cy.work[mover]["target_before_ma"]
        g = _guard_above(cy, mover)
        fresh = cy.work[mover]["fresh"] == 1 and cy.kept[mover]["known"] == 0
        if g >= 0 and fresh and abs(step) >= LEARN_STEP_MA and cy.built[mover]["learns"] == 1:
            site["lone"] = mover + 1
            site["lone_at_ms"] = now
            site["lone_draw_ma"] = cy.work[mover]["draw_ma"]
            site["lone_used"] = own_phases_in_use(cy, mover)
            for p in range(3):
                site["lone_grid_ma"][p] = cy.grids[g]["measured_ma"][p]
        return
    rested = site["learn_at_ms"] == NEVER or now - site["learn_at_ms"] >= LEARN_EVERY_MS
    if moves == 0 and pupil >= 0 and rested and site["round_open"] == 0:
        site["learn_at_ms"] = now
        cy.kept[pupil]["learn_tries"] += 1
        lower = at_most_ma(cy.built[pupil], cy.work[pupil]["draw_ma"] - LEARN_STEP_MA)
        cy.kept[pupil]["learn_cap_ma"] = max(lower, cy.built[pupil]["min_ma"])


@kernel
def _anybody_unknown(cy: Cycle) -> bool:
    for c in range(len(cy.built)):
        if cy.built[c]["learns"] == 1 and cy.work[c]["active"] == 1 and cy.kept[c]["known"] == 0:
            return True
    return False


@kernel
def _may_learn(cy: Cycle, c: int) -> bool:
    """Worth a step of its own: one or two phases in use, nobody has confirmed them, and room to go lower."""
    kept = cy.kept[c]
    work = cy.work[c]
    if kept["known"] == 1 or cy.built[c]["learns"] == 0 or work["commandable"] == 0:
        return False
    if kept["proven"] == 0 or kept["limit_known"] == 0 or work["fresh"] == 0:
        return False
    if kept["learn_tries"] >= LEARN_TRIES or work["draw_ma"] < cy.built[c]["min_ma"] + LEARN_STEP_MA:
        return False
    used = own_phases_in_use(cy, c)
    return bool(used in (1, 2) and _guard_above(cy, c) >= 0)
