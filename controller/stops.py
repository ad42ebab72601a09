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
def follow_stops(cy: Cycle) -> None:
    """Who is shut off now, and who is from now on."""
    anywhere = 0
    for g in range(len(cy.grids)):
        _follow_breach(cy, g)
        anywhere |= cy.seen_grids[g]["stop"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        if cy.seen[c]["released"] != kept["released"]:
            kept["released"] = cy.seen[c]["released"]
            if kept["barred"] == 1:
                kept["barred"] = 0
                kept["proven"] = 0
        cy.work[c]["stop"] = cy.seen[c]["stop"]
        if anywhere != 0:
            for d in range(cy.built[c]["depth"]):
                stop = cy.seen_grids[cy.built[c]["path"][d]]["stop"]
                cy.work[c]["stop"] = max(cy.work[c]["stop"], stop)
        if kept["barred"] == 1:
            cy.work[c]["stop"] = BARRED


@kernel
def _follow_breach(cy: Cycle, g: int) -> None:
    """How long a hard limit of the grid has been breached; without a guard by what the cars say."""
    now = cy.clock[0]["now_ms"]
    grid = cy.grids[g]
    kept = cy.kept_grids[g]
    for p in range(3):
        current = grid["load_ma"][p] + grid["low_ma"][p]
        if grid["guarded"] == 1:
            current = grid["measured_ma"][p]
        if grid["lost"] == 1 or current <= grid["firm_ma"][p]:
            kept["breach_since_ms"][p] = NEVER
        elif kept["breach_since_ms"][p] == NEVER:
            kept["breach_since_ms"][p] = now
        elif now - kept["breach_since_ms"][p] >= LAST_RESORT_MS:
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
