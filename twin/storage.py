"""Stationary batteries and curtailable inverters: what they do under their last order, per phase.

A device takes a new order `response_ms` after it has arrived and keeps it until that reverts: a battery then
charges with its fallback, an inverter runs free. Near the ends of its state of charge a battery gives and
takes less, in steps of a percent, so that between two events every power is constant and the outcome does
not depend on how often anybody looks. Half of its losses fall on the way in, half on the way out. Currents
are mA per phase, positive where the device takes; rows are those of the topology.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from controller.defaults import NEVER
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.image import Answer
from controller.kernel import kernel
from controller.table import Table
from controller.topology import Topology
from twin.vehicles import FAR_MS

DERATED_PERCENT: Final = 5
"""So near to empty or full the power falls, in proportion to what is left."""
SOC_AT_START: Final = 0.5
_WH: Final = NOMINAL_VOLTAGE_V / 1000.0 / 3600.0  # Wh on one phase per mA and second
_SLACK_WH: Final = 1e-6

ACCEPTED: Final = int(Answer.ACCEPTED)
_ORDERED = [
    ("held_ma", "i8"),  # the order that it carries out
    ("reverts_at_ms", "i8"),  # when that ends by itself, NEVER
    ("goal_ma", "i8"),  # the order that it is about to take
    ("goal_reverts_ms", "i8"),
    ("react_at_ms", "i8"),  # when it takes it, NEVER: there is none
    ("flow_ma", "i8"),  # on each of its phases
    ("dead", "i8"),  # 1: no power, and no answer
    ("deaf", "i8"),  # 1: accepts orders and does not carry them out
    ("silent", "i8"),  # 1: its readings do not arrive
]
CELL = np.dtype(
    [
        *_ORDERED,
        ("stored_wh", "f8"),
        ("charged_wh", "f8"),  # at its terminals, since the start
        ("discharged_wh", "f8"),
        ("soc_lost", "i8"),  # 1: its readings say nothing of its state of charge
    ]
)
PANEL = np.dtype(
    [
        *_ORDERED,
        ("sun_ma", "i8"),  # what the weather would give, positive
        ("cloud", "i8"),  # per mille of that which arrives
        ("produced_wh", "f8"),
        ("curtailed_wh", "f8"),  # what its order kept it from feeding in
    ]
)


def cells(topology: Topology, soc: float = SOC_AT_START) -> Table:
    """Batteries without any order, at a state of charge 0..1."""
    table = np.zeros(len(topology.batteries), CELL)
    table["held_ma"] = topology.batteries["fallback_ma"]
    table["stored_wh"] = topology.batteries["capacity_wh"] * soc
    table["reverts_at_ms"] = table["react_at_ms"] = NEVER
    return table


def panels(topology: Topology) -> Table:
    """Inverters without limit, at night."""
    table = np.zeros(len(topology.inverters), PANEL)
    table["held_ma"] = topology.inverters["max_ma"]
    table["reverts_at_ms"] = table["react_at_ms"] = NEVER
    table["cloud"] = 1000
    return table


def goes_its_own_way(row: Any, flow_ma: int | None) -> None:
    """A battery whose own system takes or gives `flow_ma` per phase, whatever it is told; None ends it."""
    row["deaf"], row["held_ma"] = int(flow_ma is not None), flow_ma or 0
    row["react_at_ms"] = row["reverts_at_ms"] = NEVER


@kernel
def take_order(row: Any, goal_ma: int, reverts_at_ms: int, now_ms: int, response_ms: int) -> int:
    """A device hears a new order; returns its Answer, 0 where it is dead."""
    if row["dead"] != 0:
        return 0
    if row["deaf"] == 0:
        row["goal_ma"] = goal_ma
        row["goal_reverts_ms"] = reverts_at_ms
        row["react_at_ms"] = now_ms + response_ms
    return ACCEPTED


@kernel
def _follow(row: Any, alone_ma: int, now_ms: int) -> int:
    """Take the order that is due, or leave the one that has ended; returns when that happens next."""
    if row["reverts_at_ms"] != NEVER and now_ms >= row["reverts_at_ms"]:
        row["held_ma"] = alone_ma
        row["reverts_at_ms"] = NEVER
    if row["react_at_ms"] != NEVER and now_ms >= row["react_at_ms"]:
        row["held_ma"] = row["goal_ma"]
        row["reverts_at_ms"] = row["goal_reverts_ms"]
        row["react_at_ms"] = NEVER
    soon_ms = FAR_MS
    if row["reverts_at_ms"] != NEVER:
        soon_ms = min(soon_ms, int(row["reverts_at_ms"]))
    if row["react_at_ms"] != NEVER:
        soon_ms = min(soon_ms, int(row["react_at_ms"]))
    return int(soon_ms)


@kernel
def _fill(row: Any, capacity_wh: int, phases: int, efficiency: float, seconds: float) -> None:
    """What flowed for some seconds, through half of the losses."""
    energy_wh = row["flow_ma"] * phases * seconds * _WH
    if energy_wh > 0.0:
        row["charged_wh"] += energy_wh
        row["stored_wh"] = min(row["stored_wh"] + energy_wh * efficiency, float(capacity_wh))
    else:
        row["discharged_wh"] -= energy_wh
        row["stored_wh"] = max(row["stored_wh"] + energy_wh / efficiency, 0.0)


@kernel
def _bounded(row: Any, built: Any) -> int:
    """What it gives or takes of its order at this state of charge."""
    if row["dead"] != 0:
        return 0
    percent = 100.0 * row["stored_wh"] / built["capacity_wh"]
    if row["held_ma"] >= 0:
        left = min(math.ceil(100.0 - percent - _SLACK_WH), DERATED_PERCENT)
        return int(min(row["held_ma"], built["charge_ma"] * left // DERATED_PERCENT))
    left = min(math.ceil(percent - _SLACK_WH), DERATED_PERCENT)
    return int(-min(-row["held_ma"], built["discharge_ma"] * left // DERATED_PERCENT))


@kernel
def _next_percent_ms(row: Any, built: Any, efficiency: float, now_ms: int) -> int:
    """When its state of charge passes the next percent at which its power may change."""
    if row["flow_ma"] == 0:
        return FAR_MS
    whole = float(built["capacity_wh"])
    percent = 100.0 * row["stored_wh"] / whole
    rate_wh_s = row["flow_ma"] * built["phases"] * _WH
    if rate_wh_s > 0.0:
        edge = float(max(math.floor(percent + _SLACK_WH) + 1, 100 - DERATED_PERCENT))
        seconds = (edge - percent) / 100.0 * whole / (rate_wh_s * efficiency)
    else:
        edge = float(min(math.ceil(percent - _SLACK_WH) - 1, DERATED_PERCENT))
        seconds = (percent - edge) / 100.0 * whole * efficiency / -rate_wh_s
    return int(now_ms + math.ceil(seconds * 1000.0))


@kernel
def step(cells: Table, batteries: Table, panels: Table, inverters: Table, from_ms: int, now_ms: int) -> int:
    """Take every device from one instant to another; returns when one changes by itself next."""
    seconds = (now_ms - from_ms) / 1000.0
    soon_ms = FAR_MS
    for b in range(len(cells)):
        built = batteries[b]
        row = cells[b]
        efficiency = math.sqrt(built["efficiency"] / 1000.0)
        _fill(row, built["capacity_wh"], built["phases"], efficiency, seconds)
        soon_ms = min(soon_ms, _follow(row, built["fallback_ma"], now_ms))
        row["flow_ma"] = _bounded(row, built)
        soon_ms = min(soon_ms, _next_percent_ms(row, built, efficiency, now_ms))
    for i in range(len(panels)):
        built = inverters[i]
        row = panels[i]
        sun_ma = row["sun_ma"] * row["cloud"] // 1000
        row["produced_wh"] -= row["flow_ma"] * built["phases"] * seconds * _WH
        row["curtailed_wh"] += max(sun_ma + row["flow_ma"], 0) * built["phases"] * seconds * _WH
        soon_ms = min(soon_ms, _follow(row, built["max_ma"], now_ms))
        row["flow_ma"] = 0
        if row["dead"] == 0:
            row["flow_ma"] = -min(sun_ma, row["held_ma"], built["max_ma"])
    return max(soon_ms, now_ms + 1)


@kernel
def feed(boards: Table, cells: Table, batteries: Table, panels: Table, inverters: Table) -> None:
    """Put what the devices take or give on their boards; a dark board carries nothing."""
    for i in range(len(panels)):
        board = boards[inverters[i]["path"][0]]
        if board["dark"] != 0:
            panels[i]["flow_ma"] = 0
        for p in range(3):
            board["load_ma"][p] += panels[i]["flow_ma"] * inverters[i]["uses"][p]
    for b in range(len(cells)):
        board = boards[batteries[b]["path"][0]]
        if board["dark"] != 0:
            cells[b]["flow_ma"] = 0
        for p in range(3):
            flow_ma = cells[b]["flow_ma"] * batteries[b]["uses"][p]
            board["charge_ma"][p] += max(flow_ma, 0)
            board["discharge_ma"][p] += max(-flow_ma, 0)
            if cells[b]["deaf"] != 0:
                board["wild_ma"][p] += max(flow_ma, 0)
            else:
                board["relied_ma"][p] += max(-flow_ma, 0) * batteries[b]["counts_for_fuse"]
