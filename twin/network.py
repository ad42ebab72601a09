"""The wires of a site: neutral current, voltage drop, losses and the load of the transformer.

Phasors of every board from its RMS currents, active and reactive, 120 degrees apart; loads take their current
whatever the voltage. The drop over a cable is Z I + Zn In, so what enters it is what leaves it and what it
loses, to rounding. Nothing of this changes what cars take: their energy counts at nominal voltage.
"""

from __future__ import annotations

import cmath
from typing import TYPE_CHECKING, Final

import numpy as np

from controller.kernel import kernel
from controller.table import Table

if TYPE_CHECKING:
    from controller.topology import Topology
    from twin.conditions import Conditions

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
