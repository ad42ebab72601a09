"""The wires of a site: neutral current, voltage drop, losses and the load of the transformer.

Phasors of every board from its RMS currents, active and reactive, 120 degrees apart; loads take their current
whatever the voltage. The drop over a cable is Z I + Zn In, so what enters it is what leaves it and what it
loses, to rounding. What cars take counts at nominal voltage, unless they are let feel what is left of it.
"""

from __future__ import annotations

import cmath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.kernel import direct, kernel
from controller.table import Table
from twin.electrics import carry
from twin.vehicles import FAR_MS, phases_in_use, step

if TYPE_CHECKING:
    from controller.topology import Topology
    from twin.conditions import Conditions

ROUNDS: Final = 3
"""A drop of 5 % changes a current by 5 %, and that the drop by 0.25 %: after three rounds nothing is left."""
LEAST_V: Final = 0.5 * NOMINAL_VOLTAGE_V
"""Cars are told of no less: a voltage that collapses is not modelled."""
TURN: Final = (1.0 + 0.0j, cmath.rect(1.0, -2.0 * cmath.pi / 3.0), cmath.rect(1.0, 2.0 * cmath.pi / 3.0))

WIRE = np.dtype(
    [
        ("z_ohm", "c16"),  # from the parent's board to this one, one conductor
        ("neutral_ohm", "c16"),
        ("current_a", "c16", (3,)),
        ("neutral_a", "f8"),
        ("voltage_v", "c16", (3,)),  # line to neutral at the board
        ("loss_w", "f8"),
        ("power_w", "f8"),  # what leaves the board towards its loads and the boards under it
    ]
)


def wires(topology: Topology, conditions: Conditions) -> Table:
    """The impedance above every board: its cable, and at the connection the transformer."""
    table = np.zeros(len(topology.grids), WIRE)
    for row, name in zip(table, topology.grid_names, strict=True):
        if (cable := conditions.cable.get(name)) is not None:
            row["z_ohm"] = complex(cable.r_ohm, cable.x_ohm)
            row["neutral_ohm"] = row["z_ohm"]
    if conditions.transformer is not None:
        for row, built in zip(table, topology.grids, strict=True):
            if built["parent"] < 0:
                # Its star point carries the neutral with next to no impedance of its own.
                row["z_ohm"] += conditions.transformer.z_ohm()
    return table


@kernel
def solve(wires: Table, boards: Table, grids: Table, leaves_first: Table, supply_v: float) -> float:
    """Currents, voltages and losses as they are now; returns the power that the site takes from its supply.

    `leaves_first` are rows of the grids, every board before its feeder.
    """
    taken_w = 0.0
    for order in range(len(leaves_first) - 1, -1, -1):
        g = leaves_first[order]
        wire = wires[g]
        neutral = 0.0j
        for p in range(3):
            wire["current_a"][p] = (
                complex(boards[g]["active_ma"][p], -boards[g]["reactive_ma"][p]) / 1000.0 * TURN[p]
            )
            neutral += wire["current_a"][p]
        wire["neutral_a"] = abs(neutral)
        wire["power_w"] = 0.0
        wire["loss_w"] = wire["neutral_ohm"].real * wire["neutral_a"] ** 2
        parent = grids[g]["parent"]
        for p in range(3):
            current = wire["current_a"][p]
            above = supply_v * TURN[p]
            if parent >= 0:
                above = wires[parent]["voltage_v"][p]
            else:
                taken_w += (above * current.conjugate()).real
            wire["voltage_v"][p] = above - wire["z_ohm"] * current - wire["neutral_ohm"] * neutral
            wire["power_w"] += (wire["voltage_v"][p] * current.conjugate()).real
            wire["loss_w"] += wire["z_ohm"].real * abs(current) ** 2
    return taken_w


@kernel
def _volts(wires: Table, outlet: Any, built: Any) -> float:
    """Mean voltage of the phases that a car uses, in phase with its current."""
    board = wires[built["path"][0]]
    total = 0.0
    phases = phases_in_use(outlet)
    for own in range(phases):
        p = built["phase"][own]
        total += (board["voltage_v"][p] * TURN[p].conjugate()).real
    return float(max(total / phases, LEAST_V))


@direct
@kernel
def let_cars_feel(
    wires: Table,
    boards: Table,
    grids: Table,
    leaves_first: Table,
    outlets: Table,
    connectors: Table,
    cells: Table,
    batteries: Table,
    panels: Table,
    inverters: Table,
    supply_v: float,
    now_ms: int,
) -> tuple[int, int, int]:
    """Bring the voltage at every outlet and what its car draws there to agree.

    Returns when anything changes by itself next, when any draw is worth a look, and how many connectors
    changed their status.
    """
    soon_ms, news_ms, changed = FAR_MS, FAR_MS, 0
    for _ in range(ROUNDS):
        solve(wires, boards, grids, leaves_first, supply_v)
        for c in range(len(outlets)):
            outlets[c]["lift"] = NOMINAL_VOLTAGE_V / _volts(wires, outlets[c], connectors[c])
        soon_ms, news_ms, changed = step(outlets, now_ms, now_ms)
        _, opens_in_ms = carry(
            boards, grids, leaves_first, outlets, connectors, cells, batteries, panels, inverters, 0.0
        )
        soon_ms = min(soon_ms, now_ms + opens_in_ms)
    return soon_ms, news_ms, changed
