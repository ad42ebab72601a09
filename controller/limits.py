"""The effective limit of every line of a grid, and who set it.

A grid has four lines: its three phases, and their sum where a power is limited too (kW or kVA at nominal
voltage). What nobody lifts is the fuse and the power of the connection; everything from outside only narrows
it, the tightest rules, and its `Source` stands beside it. The margin stays that of the fuse: the error of
the meter does not shrink with the limit.
"""

from __future__ import annotations

from controller.defaults import (
    LINES,
    METER_ABSURD_FACTOR,
    QUARTER_MS,
    QUARTER_REST_MS,
    SETTLED_MS,
    TOGETHER,
    UNKNOWN,
    UNLIMITED_MA,
)
from controller.image import Source
from controller.kernel import kernel
from controller.work import Cycle

FUSE = int(Source.FUSE)
CONTRACT = int(Source.CONTRACT)
QUARTER = int(Source.QUARTER)
UNBALANCE = int(Source.UNBALANCE)
SAFE_CURRENT = int(Source.SAFE_CURRENT)

WHOLE_HEAT = 1_000_000  # heat of a breaker that has carried its rating for ever


@kernel
def open_limits(cy: Cycle) -> None:
    """Every line at what nobody lifts, and at what hard limits from outside leave of it."""
    for g in range(len(cy.grids)):
        built = cy.built_grids[g]
        grid = cy.grids[g]
        seen = cy.seen_grids[g]
        for line in range(LINES):
            grid["fuse_ma"][line] = built["limit_ma"][line] if line < 3 else built["power_ma"]
            grid["limit_ma"][line] = grid["fuse_ma"][line]
            grid["measured_ma"][line] = UNKNOWN
            hard = seen["hard_ma"][line] if line < 3 else seen["hard_sum_ma"]
            grid["firm_ma"][line] = min(grid["fuse_ma"][line], hard)
        for p in range(3):
            grid["margin_ma"][p] = built["margin_ma"][p]
        together = min(built["power_ma"], built["mean_power_ma"])
        together = min(together, seen["hard_sum_ma"], seen["soft_sum_ma"], seen["charging_sum_ma"])
        grid["lines"] = 3 if together == UNLIMITED_MA else LINES


@kernel
def narrow_limits(cy: Cycle) -> None:
    """Take every limit below the fuse into account, and keep the heat of the breaker."""
    _sum_minimums(cy)
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            if grid["limit_ma"][line] < grid["fuse_ma"][line]:
                grid["source"][line] = SAFE_CURRENT
        if grid["lines"] == LINES:
            _add_phases(cy, g)
        _follow_flow(cy, g)
        for line in range(grid["lines"]):
            _narrow_from_outside(cy, g, line)
        _hold_quarter(cy, g)
        _hold_balance(cy, g)


@kernel
def _sum_minimums(cy: Cycle) -> None:
    """What every session at its minimum takes, for limits that leave it that."""
    wanted = False
    for g in range(len(cy.grids)):
        seen = cy.seen_grids[g]
        wanted = wanted or seen["soft_keeps_minimum"] == 1 or seen["charging_keeps_minimum"] == 1
    if not wanted:
        return
    for c in range(len(cy.built)):
        work = cy.work[c]
        minimum = work["book_target_ma"]
        if work["commandable"] == 1 and work["cap_ma"] >= work["min_ma"]:
            minimum = work["min_ma"]
        for d in range(cy.built[c]["depth"]):
            sums = cy.grids[cy.built[c]["path"][d]]["minimum_ma"]
            for line in range(LINES):
                sums[line] += minimum * work["load"][line]


@kernel
def _add_phases(cy: Cycle, g: int) -> None:
    """The fourth line: margin, load and reading of the three phases together."""
    grid = cy.grids[g]
    if grid["guarded"] == 1:
        grid["measured_ma"][TOGETHER] = 0
    for p in range(3):
        grid["margin_ma"][TOGETHER] += grid["margin_ma"][p]
        grid["load_ma"][TOGETHER] += grid["load_ma"][p]
        if grid["guarded"] == 1:
            grid["measured_ma"][TOGETHER] += grid["measured_ma"][p]


@kernel
def _narrow(cy: Cycle, g: int, line: int, limit: int, source: int) -> None:
    grid = cy.grids[g]
    limit = max(limit, 0)
    if limit < grid["limit_ma"][line]:
        grid["limit_ma"][line] = limit
        grid["source"][line] = source


@kernel
def _narrow_from_outside(cy: Cycle, g: int, line: int) -> None:
    """Instructions in force: hard, soft, and on what the connectors take alone."""
    grid = cy.grids[g]
    seen = cy.seen_grids[g]
    hard, soft, charging = seen["hard_sum_ma"], seen["soft_sum_ma"], seen["charging_sum_ma"]
    if line < 3:
        hard, soft, charging = seen["hard_ma"][line], seen["soft_ma"][line], seen["charging_ma"][line]
    else:
        grid["source"][line] = CONTRACT
    least = grid["load_ma"][line] + grid["margin_ma"][line]
    _narrow(cy, g, line, hard, seen["hard_source"])
    if seen["soft_keeps_minimum"] == 1:
        soft = max(soft, least + grid["minimum_ma"][line])
    _narrow(cy, g, line, soft, seen["soft_source"])
    if charging < UNLIMITED_MA:
        if seen["charging_keeps_minimum"] == 1:
            charging = max(charging, grid["minimum_ma"][line])
        _narrow(cy, g, line, least + charging, seen["charging_source"])


@kernel
def _flow(cy: Cycle, g: int, p: int) -> int:
    """What flows through a phase now, as measured or at most."""
    grid = cy.grids[g]
    if grid["guarded"] == 1:
        return grid["measured_ma"][p]
    if grid["lost"] == 1:
        return min(cy.built_grids[g]["worst_load_ma"][p] + grid["committed_ma"][p], grid["fuse_ma"][p])
    return grid["load_ma"][p] + grid["committed_ma"][p]


@kernel
def _follow_flow(cy: Cycle, g: int) -> None:
    """Heat of the breaker and charge of the quarter since the last cycle, under what flowed then.

    dθ/dt = ((I/In)^2 - θ)/τ, the thermal image of IEC 60255-149; θ in millionths.
    """
    built = cy.built_grids[g]
    kept = cy.kept_grids[g]
    clock = cy.clock[0]
    passed = min(max(clock["now_ms"] - cy.kept_site[0]["now_ms"], 0), SETTLED_MS)
    quarter = clock["utc_ms"] // QUARTER_MS
    if kept["quarter"] != quarter:
        gone = clock["utc_ms"] - quarter * QUARTER_MS
        # A quarter that was not seen from its beginning is held to have run at its limit.
        unseen = gone * min(built["mean_power_ma"], 3 * UNLIMITED_MA) // 1000
        kept["quarter_mas"] = 0 if kept["quarter"] + 1 == quarter else unseen
        kept["quarter"] = quarter
        passed = min(passed, gone)
    for p in range(3):
        fuse = max(built["limit_ma"][p], 1)
        load = abs(kept["flow_ma"][p]) * 1000 // fuse
        heat = kept["heat"][p]
        kept["heat"][p] = heat + (load * load - heat) * passed // built["tau_ms"]
        kept["quarter_mas"] += kept["flow_ma"][p] * passed // 1000
        most = METER_ABSURD_FACTOR * fuse
        kept["flow_ma"][p] = max(min(_flow(cy, g, p), most), -most)


@kernel
def _hold_quarter(cy: Cycle, g: int) -> None:
    """The mean of the running quarter: what is left of it, spread over what is left of the time."""
    mean = cy.built_grids[g]["mean_power_ma"]
    if mean == UNLIMITED_MA:
        return
    clock = cy.clock[0]
    limit = mean
    if clock["utc_trusted"] == 1:
        gone = clock["utc_ms"] % QUARTER_MS
        left_mas = mean * (QUARTER_MS // 1000) - cy.kept_grids[g]["quarter_mas"]
        limit = left_mas * 1000 // max(QUARTER_MS - gone, QUARTER_REST_MS)
    _narrow(cy, g, TOGETHER, limit, QUARTER)


@kernel
def _hold_balance(cy: Cycle, g: int) -> None:
    """No phase more than the allowed difference above the least loaded one."""
    most = cy.built_grids[g]["unbalance_ma"]
    if most == UNLIMITED_MA or cy.grids[g]["lost"] == 1:
        return
    grid = cy.grids[g]
    for p in range(3):
        for other in range(3):
            if other != p:
                least = _flow(cy, g, other) - grid["pending_ma"][other]
                if grid["guarded"] == 0:
                    least = grid["low_ma"][other]
                _narrow(cy, g, p, least + most, UNBALANCE)


@kernel
def is_hot(cy: Cycle, g: int, p: int) -> bool:
    """Whether the breaker has carried more than its rating for so long that it may open."""
    return bool(cy.kept_grids[g]["heat"][p] > WHOLE_HEAT)
