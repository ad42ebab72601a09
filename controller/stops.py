"""What is shut off: maintenance, emergency stop, and boxes that never obey (docs/control.md 5, 6).

A stop comes with the image and acts in the same cycle; it ends with the image. The last resort is the
controller's own: a connector that does not follow its orders while a hard limit above it is breached for a
minute has its transaction stopped and is taken out of service until a person releases it.
"""

from __future__ import annotations

from controller.defaults import DRAWING_MA, LAST_RESORT_MS, NEVER
from controller.kernel import kernel
from controller.orders import put
from controller.work import Cycle

BARRED = -1  # work.stop of a connector that the last resort has taken out of service


@kernel
def follow_breaches(cy: Cycle) -> None:
    """Take out of service who overloads a grid and follows nothing."""
    for g in range(len(cy.grids)):
        for p in range(3):
            _follow_breach(cy, g, p)


@kernel
def follow_stops(cy: Cycle, c: int) -> None:
    """Whether it is shut off now, by itself or with a grid above it."""
    seen = cy.seen[c]
    kept = cy.kept[c]
    if seen["released"] != kept["released"]:
        kept["released"] = seen["released"]
        if kept["barred"] == 1:
            kept["barred"] = 0
            kept["proven"] = 0
    stop = seen["stop"]
    for d in range(cy.built[c]["depth"]):
        stop = max(stop, cy.seen_grids[cy.built[c]["path"][d]]["stop"])
    cy.work[c]["stop"] = BARRED if kept["barred"] == 1 else stop


@kernel
def _follow_breach(cy: Cycle, g: int, p: int) -> None:
    """How long a hard limit of the grid has been breached; without a guard by what the cars say."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    since = cy.kept_grids[g]["breach_since_ms"]
    current = grid["measured_ma"][p] if grid["guarded"] == 1 else grid["load_ma"][p] + grid["low_ma"][p]
    if grid["lost"] == 1 or current <= grid["firm_ma"][p]:
        since[p] = NEVER
    elif since[p] == NEVER:
        since[p] = now
    elif now - since[p] >= LAST_RESORT_MS:
        _take_out_of_service(cy, g, p)


@kernel
def _take_out_of_service(cy: Cycle, g: int, p: int) -> None:
    """Everybody who loads this phase and follows no order."""
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        heeds = kept["ignored"] == 0 and kept["refused_at_ms"] == NEVER
        if heeds or kept["phases"][p] == 0 or cy.work[c]["reading_ma"][p] < DRAWING_MA:
            continue
        for d in range(cy.built[c]["depth"]):
            if cy.built[c]["path"][d] == g:
                kept["barred"] = 1


@kernel
def shut_off(cy: Cycle) -> None:
    """Who is shut off goes to 0 in this cycle and is raised by nothing."""
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["stop"] == 0:
            continue
        work["wish_ma"] = 0
        work["proof"] = 0
        kept = cy.kept[c]
        ordered = kept["target_ma"] == 0 and kept["observed"] == 0
        if work["commandable"] == 1 and work["book_target_ma"] > 0 and not ordered:
            put(cy, c, 0)
