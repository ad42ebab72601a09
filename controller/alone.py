"""What every grid is left with if the controller dies now: rule 5 of the design, for the live state.

A box whose lease surely ends falls to its fallback; every other keeps what it may draw now, and starts new
sessions with its default. Beside that the worst load must fit the fuse (docs/control.md 9).
"""

from __future__ import annotations

from typing import Any

from controller.defaults import LINES, NEVER, TOGETHER, UNKNOWN, UNLIMITED_MA
from controller.kernel import kernel
from controller.storage import loads
from controller.work import Cycle


@kernel
def leave_alone(cy: Cycle) -> None:
    """Worst load and what every box does alone, per grid and phase."""
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for p in range(3):
            load = max(cy.built_grids[g]["dead_load_ma"][p], grid["load_ma"][p])
            grid["alone_ma"][p] = load + grid["left_ma"][p]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        start = _starts_with(cy, c)
        keeps = 0 if decays(cy, c) else kept["committed_ma"]
        if start == 0 and keeps == 0:
            continue
        for p in range(3):
            alone = max(start * cy.built[c]["possible"][p], keeps * kept["phases"][p])
            if alone > 0:
                for d in range(cy.built[c]["depth"]):
                    cy.grids[cy.built[c]["path"][d]]["alone_ma"][p] += alone


@kernel
def feed_in_alone(cy: Cycle) -> None:
    """What inverters and batteries may feed in without a controller, after their orders of this cycle."""
    if len(cy.built_batteries) + len(cy.built_inverters) == 0:
        return
    for i in range(len(cy.built_inverters)):
        built = cy.built_inverters[i]
        kept = cy.kept_inverters[i]
        keeps = built["revert_ms"] == 0 and built["curtailable"] == 1
        heeds = kept["order_seq"] > 0 and kept["observed"] == 1 and kept["ignored"] == 0
        _feed_in(cy, built, kept["target_ma"] if keeps and heeds else built["max_ma"])
    for b in range(len(cy.built_batteries)):
        built = cy.built_batteries[b]
        kept = cy.kept_batteries[b]
        gives = 0
        if built["revert_ms"] == 0:
            gives = -min(kept["target_ma"], kept["lowest_ma"], 0)
        if kept["ignored"] == 1 or (built["revert_ms"] == 0 and kept["observed"] == 0):
            gives = built["discharge_ma"]
        _feed_in(cy, built, gives)
    for g in range(len(cy.grids)):
        back = cy.wanted_grids[g]["back_alone_ma"]
        for line in range(LINES):
            may = cy.built_grids[g]["export_sum_ma"]
            if line < TOGETHER:
                may = cy.built_grids[g]["export_ma"][line]
            if back[line] > may:
                cy.wanted_site[0]["unsafe_alone"] = 1


@kernel
def _feed_in(cy: Cycle, built: Any, current_ma: int) -> None:
    for d in range(built["depth"]):
        back = cy.wanted_grids[built["path"][d]]["back_alone_ma"]
        for line in range(LINES):
            back[line] += current_ma * loads(built, line)


@kernel
def decays(cy: Cycle, c: int) -> bool:
    """Its orders end by themselves, as far as it has been seen to do what it is told."""
    kept = cy.kept[c]
    heeds = kept["ignored"] == 0 and kept["refused_at_ms"] == NEVER and kept["proven"] == 1
    return bool(cy.built[c]["lease_ms"] > 0 and heeds and kept["limit_known"] == 1)


@kernel
def _starts_with(cy: Cycle, c: int) -> int:
    """What a new session gets without a controller: the default as found; nobody knows: the rating."""
    default = cy.seen[c]["default_ma"]
    if default == UNKNOWN:
        return int(cy.built[c]["max_ma"])
    return int(max(default, cy.built[c]["fallback_ma"]))


@kernel
def spare_alone_ma(cy: Cycle, c: int) -> int:
    """How much more a box without lease may keep for ever, where nobody answers for an unsafe site."""
    spare = UNLIMITED_MA
    if cy.built[c]["lease_ms"] > 0:
        return spare
    for d in range(cy.built[c]["depth"]):
        g = cy.built[c]["path"][d]
        if cy.built_grids[g]["accepted"] == 1:
            return spare
        for p in range(3):
            if cy.kept[c]["phases"][p] == 1:
                spare = min(spare, cy.built_grids[g]["limit_ma"][p] - cy.grids[g]["alone_ma"][p])
    return max(spare, 0)


@kernel
def keep_alone(cy: Cycle, c: int, more_ma: int) -> None:
    """A raise of a box without lease is for ever."""
    if cy.built[c]["lease_ms"] > 0:
        return
    for d in range(cy.built[c]["depth"]):
        for p in range(3):
            alone = cy.grids[cy.built[c]["path"][d]]["alone_ma"]
            alone[p] += more_ma * cy.kept[c]["phases"][p]
