"""The last check of a decision, computed from the Site and the raw orders without the tables the others used.

It traces every connector's phases hop by hop from the site file, adds up orders and commitments by that, and
withholds every raise of the cycle when the sums disagree with the decision's own, when a raise does not fit,
when an order lies between 0 and the minimum, when the phase map is not that of the wires, or when a connector
draws on a phase it is not booked on.
"""

from __future__ import annotations

from typing import Any

from controller.decision import Alarm
from controller.defaults import LINES, TOGETHER, UNKNOWN
from controller.kernel import kernel
from controller.orders import move_sums
from controller.storage import take_back_setpoint
from controller.wiring import NO_MORE, Traces
from controller.work import Cycle

CHECK_FAILED = int(Alarm.CHECK_FAILED)
DRAWS_MA = 4_000


@kernel
def check(cy: Cycle, traces: Traces) -> None:
    """Check the cycle's decision; on failure take every raise of the cycle back and raise the alarm."""
    if _sound(cy, traces):
        return
    cy.wanted_site[0]["alarm"] |= CHECK_FAILED
    for c in range(len(cy.work)):
        if cy.work[c]["raised"] == 1:
            _take_back(cy, c)
    for b in range(len(cy.batteries)):
        if cy.batteries[b]["raised"] == 1:
            take_back_setpoint(cy, b)


@kernel
def _sound(cy: Cycle, traces: Traces) -> bool:
    for c in range(len(cy.work)):
        kept = cy.kept[c]
        target = kept["target_ma"]
        if cy.wanted[c]["put"] == 1 and target != 0 and target < traces.min_ma[c]:
            return False
        if cy.wanted[c]["put"] == 1 and target > traces.max_ma[c]:
            return False
        if target > 0 and cy.work[c]["raised"] == 1 and _shut(cy, traces, c):
            return False
        for own in range(3):
            if cy.built[c]["phase"][own] != traces.phase[c][own]:
                return False
            current = cy.seen[c]["current_ma"][own]
            draws = cy.work[c]["fresh"] == 1 and cy.work[c]["draw_ma"] > 0 and current != UNKNOWN
            draws = draws and kept["learnt"] == 0  # learnt where the wires are not confirmed: they may differ
            if draws and current >= DRAWS_MA and kept["phases"][traces.phase[c][own]] == 0:
                return False
    _add_up(cy, traces)
    _add_batteries(cy, traces)
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            room = grid["limit_ma"][line] - grid["margin_ma"][line] - grid["load_ma"][line]
            if grid["checked_ma"][line] != grid["committed_ma"][line]:
                return False
            if grid["limit_ma"][line] > traces.fuse_ma[g][line]:
                return False
            if grid["checked_raises"][line] > 0 and grid["checked_ma"][line] > room:
                return False
    return True


@kernel
def _shut(cy: Cycle, traces: Traces, c: int) -> bool:
    """Whether somebody has shut it, or a grid that feeds it."""
    feeders = traces.feeders[c]
    hop = 0
    while feeders[hop] != NO_MORE:
        if cy.seen_grids[feeders[hop]]["stop"] != 0:
            return True
        hop += 1
    return bool(cy.seen[c]["stop"] != 0)


@kernel
def _add_up(cy: Cycle, traces: Traces) -> None:
    """Commitments and raises under every grid and phase, by the wires alone."""
    for g in range(len(cy.grids)):
        if cy.clock[0]["now_ms"] < cy.kept_grids[g]["left_until_ms"]:
            _add_left(cy, traces.grid_feeders[g], cy.kept_grids[g]["left_ma"])
    for c in range(len(cy.work)):
        kept = cy.kept[c]
        raised = cy.work[c]["raised"]
        if kept["committed_ma"] == 0 and raised == 0:
            continue
        feeders = traces.feeders[c]
        hop = 0
        while feeders[hop] != NO_MORE:
            grid = cy.grids[feeders[hop]]
            hop += 1
            for p in range(3):
                committed = kept["committed_ma"] * kept["phases"][p]
                grid["checked_ma"][p] += committed
                grid["checked_ma"][TOGETHER] += committed
                grid["checked_raises"][p] += raised * kept["phases"][p]
                grid["checked_raises"][TOGETHER] += raised * kept["phases"][p]


@kernel
def _add_left(cy: Cycle, feeders: Any, left_ma: Any) -> None:
    """What boxes of an earlier site file may still draw."""
    hop = 0
    while feeders[hop] != NO_MORE:
        checked = cy.grids[feeders[hop]]["checked_ma"]
        hop += 1
        for p in range(3):
            checked[p] += left_ma[p]
            checked[TOGETHER] += left_ma[p]


@kernel
def _add_batteries(cy: Cycle, traces: Traces) -> None:
    """The same for batteries; what one gives counts for fuses only where the site file says so."""
    for b in range(len(cy.batteries)):
        feeders = traces.battery_feeders[b]
        hop = 0
        while feeders[hop] != NO_MORE:
            g = feeders[hop]
            hop += 1
            for line in range(LINES):
                committed = cy.kept_batteries[b]["committed_ma"]
                if line != TOGETHER and traces.battery_counts[b] == 0:
                    committed = max(committed, 0)
                load = traces.battery_load[b][line]
                cy.grids[g]["checked_ma"][line] += committed * load
                cy.grids[g]["checked_raises"][line] += cy.batteries[b]["raised"] * load


@kernel
def _take_back(cy: Cycle, c: int) -> None:
    """Undo a raise that has not left yet: the connector is as it was before this cycle's order."""
    kept = cy.kept[c]
    before = cy.work[c]["target_before_ma"]
    move_sums(cy, c, before - kept["target_ma"], kept["before_ma"] - kept["committed_ma"])
    kept["target_ma"] = before
    kept["committed_ma"] = kept["before_ma"]
    kept["lowest_ma"] = kept["target_ma"]
    kept["order_seq"] -= 1
    kept["observed"] = 1
    kept["closed"] = 1
    if kept["target_ma"] == 0:
        kept["on_since_ms"] = -1
    cy.work[c]["raised"] = 2
    cy.wanted[c]["put"] = 0
