"""One phase or three, where a chargepoint can choose: through 0 A alone, seldom, never taken for granted.

A contactor that moves under load may damage a car, and one may stick. So a change begins with 0 A that has
been seen, then comes the pause of the box; and whoever was told to charge on one phase is booked on all of
them until readings show one (`controller.headroom`), and again as soon as nobody knows what rules.
"""

from __future__ import annotations

from controller.defaults import (
    CLOCK_ERROR_MS,
    DOWN_MS,
    LINK_MS,
    NEVER,
    PHASE_COUNT,
    PHASE_DWELL_MS,
    PHASE_IDLE_MA,
)
from controller.kernel import kernel
from controller.learning import own_phases_in_use
from controller.session import book_every_phase
from controller.work import Cycle

SETTLED, TO_ONE, TO_ALL = 0, 1, 2


@kernel
def follow_phases(cy: Cycle, c: int) -> None:
    """Bring a change of phases to its end, and believe what the box shows instead of what it was told."""
    if cy.built[c]["switch_ms"] == 0:
        return
    kept = cy.kept[c]
    if kept["limit_known"] == 0 and kept["single"] == 0 and _shows_one(cy, c):
        kept["single"] = 1  # nobody knows what it was told: what it does must not change under load
    if kept["single"] == 1:
        _doubt_one_phase(cy, c)
    if kept["switching"] != SETTLED and _has_rested(cy, c):
        kept["single"] = int(kept["switching"] == TO_ONE)
        kept["switching"] = SETTLED
        kept["switched_at_ms"] = cy.clock[0]["now_ms"]
        book_every_phase(cy.built[c], kept)


@kernel
def _doubt_one_phase(cy: Cycle, c: int) -> None:
    """It draws on more, or refuses: it did not change. Nobody knows what rules: it may have gone back."""
    kept = cy.kept[c]
    if kept["refused_at_ms"] != NEVER or own_phases_in_use(cy, c) > 1:
        kept["single"] = 0
        kept["switching"] = SETTLED
        kept["switch_failed"] = 1
        book_every_phase(cy.built[c], kept)
    elif not _is_held(cy, c):
        book_every_phase(cy.built[c], kept)


@kernel
def _is_held(cy: Cycle, c: int) -> bool:
    """Whether its newest order surely rules, and will until the others could be told otherwise."""
    kept = cy.kept[c]
    if cy.seen[c]["online"] == 0 or kept["limit_known"] == 0 or kept["ignored"] == 1:
        return False
    ends = kept["assured_until_ms"] - CLOCK_ERROR_MS - LINK_MS - DOWN_MS
    return bool(cy.built[c]["lease_ms"] == 0 or cy.clock[0]["now_ms"] < ends)


@kernel
def _shows_one(cy: Cycle, c: int) -> bool:
    """Whether it draws on one phase, and clearly not on the others."""
    idle = 0
    for own in range(PHASE_COUNT):
        idle += int(0 <= cy.seen[c]["current_ma"][own] < PHASE_IDLE_MA)
    one = own_phases_in_use(cy, c) == 1 and idle == PHASE_COUNT - 1
    return bool(one and cy.work[c]["fresh"] == 1)


@kernel
def _has_rested(cy: Cycle, c: int) -> bool:
    """At 0 A, for as long as the box needs since that was seen."""
    kept = cy.kept[c]
    off = kept["target_ma"] == 0 and kept["committed_ma"] == 0 and kept["observed"] == 1
    quiet = cy.work[c]["fresh"] == 1 and cy.work[c]["draw_ma"] < PHASE_IDLE_MA
    if not off or not quiet or kept["off_since_ms"] == NEVER:
        return False
    return bool(cy.clock[0]["now_ms"] >= rested_ms(cy, c))


@kernel
def rested_ms(cy: Cycle, c: int) -> int:
    """When the pause of its box is over, while it is at 0 A."""
    kept = cy.kept[c]
    return int(max(kept["off_since_ms"], kept["observed_at_ms"]) + cy.built[c]["switch_ms"])


@kernel
def may_switch(cy: Cycle, c: int) -> bool:
    """Whether it may change now: it can, obeys, has not failed to, and its last change is long ago.

    A car that does not wake up after a pause is spared, and so is one that loads a single phase anyway.
    """
    built = cy.built[c]
    kept = cy.kept[c]
    if built["switch_ms"] == 0 or kept["switching"] != SETTLED or kept["switch_failed"] == 1:
        return False
    if cy.work[c]["commandable"] == 0 or kept["proven"] == 0 or kept["limit_known"] == 0:
        return False
    if kept["delicate"] == 1 or cy.seen[c]["never_zero"] == 1:
        return False
    if kept["single"] == 0 and kept["phases"][0] + kept["phases"][1] + kept["phases"][2] < 2:
        return False
    at = kept["switched_at_ms"]
    return bool(at == NEVER or cy.clock[0]["now_ms"] - at >= PHASE_DWELL_MS)


@kernel
def charges_on(cy: Cycle, c: int) -> int:
    """Phases that it will charge on once a change has ended; else those it is booked on, at least 1."""
    kept = cy.kept[c]
    if kept["switching"] == TO_ALL:
        return PHASE_COUNT
    if kept["switching"] == TO_ONE or kept["single"] == 1:
        return 1
    return int(max(kept["phases"][0] + kept["phases"][1] + kept["phases"][2], 1))


@kernel
def order_phases(cy: Cycle, c: int) -> int:
    """What its orders say: 1 or 3; 0 where the box cannot choose."""
    if cy.built[c]["switch_ms"] == 0:
        return 0
    return 1 if cy.kept[c]["single"] == 1 else PHASE_COUNT
