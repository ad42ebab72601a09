"""Charging with the sun: what surplus there is, and which cars may take it.

Surplus is what the connection would give back without the cars of this mode: uncontrolled load below zero,
less what the other cars draw, less what batteries that go first would take, and with what curtailed inverters
hide. A car on *boost* charges at its minimum, and above it on surplus alone. One on *solar only* starts when
the surplus has been enough for its minimum for a while, and stops when it has not been for a longer one.
Where a chargepoint can change between one phase and three, it charges on one while there is too little for
three.
"""

from __future__ import annotations

from typing import Any

from controller.decision import Because
from controller.defaults import NEVER, PHASE_COUNT, PHASE_WIDEN_MS, SLOT_MS
from controller.kernel import kernel
from controller.phases import SETTLED, TO_ALL, TO_ONE, charges_on, may_switch, rested_ms
from controller.steps import above_ma, at_most_ma
from controller.topology import BOOST, SOLAR_ONLY
from controller.work import Cycle

SOLAR = int(Because.SOLAR)
PASSES = 4  # of handing on what a car at its cap leaves


@kernel
def solar_mode(cy: Cycle, c: int) -> int:
    """Of its card or session, else of its grid."""
    told = cy.seen[c]["solar"]
    return int(told if told > 0 else cy.built[c]["solar"])


@kernel
def follows_sun(cy: Cycle, c: int) -> bool:
    """Whether it can be commanded, and charges with the sun, or did and is still on one phase."""
    return bool(cy.work[c]["commandable"] == 1 and (solar_mode(cy, c) >= BOOST or cy.kept[c]["single"] == 1))


@kernel
def cap_by_sun(cy: Cycle) -> None:
    """Narrow the caps of the cars that charge with the sun, of which there is at least one."""
    root = cy.leaves_first[len(cy.leaves_first) - 1]
    left = _surplus(cy, root)
    for c in range(len(cy.built)):
        if _charges_with_sun(cy, c):
            left -= _minimum(cy, c)
    _narrow_or_stop_some(cy, left)
    left = _start_one_by_one(cy, max(left, 0), cy.grids[root]["hidden_ma"])
    _widen_some(cy, left)
    _hand_out(cy, left, cy.grids[root]["hidden_ma"])


@kernel
def _surplus(cy: Cycle, root: int) -> int:
    """Over all phases; 0 where nobody measures."""
    grid = cy.grids[root]
    if grid["lost"] == 1 or grid["ageing"] == 1:
        return 0
    surplus = grid["hidden_ma"]
    for p in range(3):
        surplus -= cy.kept_grids[root]["estimate_ma"][p]
    for c in range(len(cy.built)):
        for p in range(3):
            # The estimate is lower by what a car of unknown phases is held to draw where it may not.
            surplus -= cy.work[c]["reading_ma"][p]
            if solar_mode(cy, c) >= BOOST:
                surplus += min(cy.kept[c]["reading_ma"][p], cy.work[c]["reading_ma"][p])
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        takes = cy.batteries[b]["commandable"] == 1 and cy.kept_batteries[b]["full"] == 0
        if built["before_cars"] == 1 and takes:
            surplus -= built["charge_ma"] * built["phases"]
    return int(surplus)


@kernel
def _minimum(cy: Cycle, c: int) -> int:
    """What its minimum takes over the phases that it charges on."""
    return int(cy.work[c]["min_ma"] * charges_on(cy, c))


@kernel
def _charges_with_sun(cy: Cycle, c: int) -> bool:
    """Whether it is on: always on boost, on solar only once it has started."""
    if cy.work[c]["commandable"] == 0 or cy.work[c]["last"] == 1:
        return False
    mode = solar_mode(cy, c)
    return bool(mode == BOOST or (mode == SOLAR_ONLY and cy.kept[c]["solar_on"] == 1))


@kernel
def _narrow_or_stop_some(cy: Cycle, left: int) -> None:
    """Who came last lacks surplus first. When that lasts it goes to one phase where it can, else it stops."""
    now = cy.clock[0]["now_ms"]
    for i in range(len(cy.built)):
        c = len(cy.built) - 1 - i
        kept = cy.kept[c]
        if kept["single"] == 0 and _charges_with_sun(cy, c):
            lacks = left < 0 and _may_narrow(cy, c)
            if lacks:
                left += _minimum(cy, c) - cy.work[c]["min_ma"]
            if _lasts(cy, c, lacks, cy.built[c]["solar_stop_ms"]):
                kept["switching"] = TO_ONE
        if solar_mode(cy, c) != SOLAR_ONLY or kept["solar_on"] == 0:
            continue
        if cy.work[c]["commandable"] == 1 and left >= 0:
            kept["solar_since_ms"] = NEVER
            continue
        left += cy.work[c]["min_ma"] if kept["switch_since_ms"] != NEVER else _minimum(cy, c)
        if kept["solar_since_ms"] == NEVER:
            kept["solar_since_ms"] = now
        if now - kept["solar_since_ms"] >= cy.built[c]["solar_stop_ms"]:
            kept["solar_on"] = 0
            kept["solar_since_ms"] = NEVER


@kernel
def _may_narrow(cy: Cycle, c: int) -> bool:
    return bool(cy.kept[c]["single"] == 0 and may_switch(cy, c))


@kernel
def _lasts(cy: Cycle, c: int, holds: bool, delay_ms: int) -> bool:
    """Whether another number of phases has suited it for so long."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    if not holds:
        kept["switch_since_ms"] = NEVER
        return False
    if kept["switch_since_ms"] == NEVER:
        kept["switch_since_ms"] = now
    if now - kept["switch_since_ms"] < delay_ms:
        return False
    kept["switch_since_ms"] = NEVER
    return True


@kernel
def _widen_some(cy: Cycle, left: int) -> None:
    """Back to all phases: when surplus for them has lasted, at once where it does not follow the sun."""
    for c in range(len(cy.built)):
        if cy.kept[c]["single"] == 0 or not may_switch(cy, c):
            continue
        if solar_mode(cy, c) < BOOST:
            cy.kept[c]["switching"] = TO_ALL
            continue
        more = cy.work[c]["min_ma"] * (PHASE_COUNT - 1)
        enough = left >= more and _charges_with_sun(cy, c)
        if enough:
            left -= more
        if _lasts(cy, c, enough, PHASE_WIDEN_MS):
            cy.kept[c]["switching"] = TO_ALL


@kernel
def _start_one_by_one(cy: Cycle, left: int, hidden: int) -> int:
    """Who waits starts when its minimum has been there for long enough; returns what is left for the rest.

    Where inverters are curtailed the surplus does not show: one car tries, and not again for a slot.
    """
    now = cy.clock[0]["now_ms"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        work = cy.work[c]
        if solar_mode(cy, c) != SOLAR_ONLY or kept["solar_on"] == 1 or work["commandable"] == 0:
            continue
        narrow = left < _minimum(cy, c) and _may_narrow(cy, c)
        need = work["min_ma"] if narrow else _minimum(cy, c)
        rested = kept["solar_tried_ms"] == NEVER or now - kept["solar_tried_ms"] >= SLOT_MS
        tries = left < need and hidden > 0 and rested
        if left < need and not tries:
            kept["solar_since_ms"] = NEVER
            continue
        left = max(left - need, 0)
        if tries:
            hidden = 0
        if kept["solar_since_ms"] == NEVER:
            kept["solar_since_ms"] = now
        if now - kept["solar_since_ms"] >= cy.built[c]["solar_start_ms"]:
            kept["solar_on"] = 1
            kept["solar_since_ms"] = NEVER
            if narrow:
                kept["switching"] = TO_ONE
            if tries:
                kept["solar_tried_ms"] = now
    return left


@kernel
def _hand_out(cy: Cycle, left: int, hidden: int) -> None:
    """Caps: the minimum, and the surplus above it by weight; one more step while inverters are curtailed."""
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["commandable"] == 0 or solar_mode(cy, c) < BOOST:
            continue
        charges = _charges_with_sun(cy, c) and cy.kept[c]["switching"] == SETTLED
        work["solar_ma"] = work["min_ma"] if charges else 0
    for _ in range(PASSES):
        weights = 0
        for c in range(len(cy.built)):
            weights += _appetite(cy, c)
        if weights == 0 or left <= 0:
            break
        given = 0
        for c in range(len(cy.built)):
            work = cy.work[c]
            if _appetite(cy, c) > 0:
                more = min(left * work["weight"] // weights, work["cap_ma"] - work["solar_ma"])
                work["solar_ma"] += more
                given += more * charges_on(cy, c)
        left -= given
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["commandable"] == 0 or solar_mode(cy, c) < BOOST or work["last"] == 1:
            continue
        if hidden > 0 and work["solar_ma"] > 0:
            work["solar_ma"] = max(work["solar_ma"], above_ma(cy.built[c], cy.kept[c]["target_ma"]))
        _narrow(cy.built[c], work)


@kernel
def _appetite(cy: Cycle, c: int) -> int:
    """Its weight times its phases while it could take more."""
    work = cy.work[c]
    if work["solar_ma"] == 0 or work["solar_ma"] >= work["cap_ma"]:
        return 0
    return int(work["weight"] * charges_on(cy, c))


@kernel
def _narrow(built: Any, work: Any) -> None:
    cap = work["solar_ma"]
    if cap > 0:
        cap = max(at_most_ma(built, cap), work["min_ma"])
    if cap < work["cap_ma"]:
        work["cap_ma"] = cap
        work["why"] = SOLAR


@kernel
def sun_due_ms(cy: Cycle, c: int) -> int:
    """When its delay is over; NEVER: none runs."""
    kept = cy.kept[c]
    if kept["solar_since_ms"] == NEVER:
        return NEVER
    delay = cy.built[c]["solar_stop_ms"] if kept["solar_on"] == 1 else cy.built[c]["solar_start_ms"]
    return int(kept["solar_since_ms"] + delay)


@kernel
def change_due_ms(cy: Cycle, c: int) -> int:
    """When a change of its phases begins, or goes on after its pause; NEVER: none is under way."""
    kept = cy.kept[c]
    if cy.built[c]["switch_ms"] == 0:
        return NEVER
    if kept["switching"] != SETTLED:
        return rested_ms(cy, c) if kept["target_ma"] == 0 else NEVER
    if kept["switch_since_ms"] == NEVER:
        return NEVER
    delay = PHASE_WIDEN_MS if kept["single"] == 1 else cy.built[c]["solar_stop_ms"]
    return int(kept["switch_since_ms"] + delay)
