"""True currents in the tree and the heat of its fuses.

Currents are mA in the phases of the site, summed as signed scalars (unity power factor). A fuse follows
dθ/dt = ((I/In)^2 - θ)/τ, the normalised thermal image of IEC 60255-149; it opens at θ = 1.1 or at once above
`INSTANT` times its rating, stays open, and darkens everything under it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from controller.defaults import NEVER
from controller.kernel import kernel
from controller.table import Table

TAU_S: Final = 600.0
TRIP_HEAT: Final = 1.1
INSTANT: Final = 5.0

BOARD = np.dtype(
    [
        ("own_ma", "i8", (3,)),  # uncontrolled load on this board itself; generation is negative
        ("load_ma", "i8", (3,)),  # the same with all boards under it
        ("cars_ma", "i8", (3,)),  # what all connectors under it draw
        ("current_ma", "i8", (3,)),  # both: what flows through its fuse
        ("heat", "f8", (3,)),
        ("tripped", "i8"),
        ("tripped_at_ms", "i8"),
    ]
)


@kernel
def warm(boards: Table, grids: Table, seconds: float) -> bool:
    """Heat every fuse for `seconds` under the current that flows; True when one opened."""
    opened = False
    fade = math.exp(-seconds / TAU_S)
    for g in range(len(boards)):
        for p in range(3):
            rating = grids[g]["limit_ma"][p]
            if rating <= 0 or boards[g]["tripped"] != 0:
                continue
            load = boards[g]["current_ma"][p] / rating
            heat = load * load + (boards[g]["heat"][p] - load * load) * fade
            boards[g]["heat"][p] = heat
            if heat >= TRIP_HEAT or abs(load) > INSTANT:
                boards[g]["tripped"] = 1
                opened = True
    return opened


@kernel
def flow(boards: Table, grids: Table, leaves_first: Table, outlets: Table, connectors: Table) -> None:
    """What flows through every fuse now, from the loads on the boards and the draws of the outlets."""
    for g in range(len(boards)):
        dark = False
        above = g
        while above >= 0:
            dark = dark or boards[above]["tripped"] != 0
            above = grids[above]["parent"]
        for p in range(3):
            boards[g]["load_ma"][p] = 0 if dark else boards[g]["own_ma"][p]
            boards[g]["cars_ma"][p] = 0
    for c in range(len(outlets)):
        for own in range(3):
            draw = outlets[c]["draw_ma"][own]
            if draw != 0:
                boards[connectors[c]["path"][0]]["cars_ma"][connectors[c]["phase"][own]] += draw
    for order in range(len(leaves_first)):
        g = leaves_first[order]
        parent = grids[g]["parent"]
        for p in range(3):
            boards[g]["current_ma"][p] = boards[g]["load_ma"][p] + boards[g]["cars_ma"][p]
            if parent >= 0:
                boards[parent]["load_ma"][p] += boards[g]["load_ma"][p]
                boards[parent]["cars_ma"][p] += boards[g]["cars_ma"][p]


@kernel
def carry(
    boards: Table,
    grids: Table,
    leaves_first: Table,
    outlets: Table,
    connectors: Table,
    seconds: float,
) -> bool:
    """Heat the fuses under what flowed for `seconds`, then let what is drawn now flow; True: one opened."""
    opened = warm(boards, grids, seconds) if seconds > 0.0 else False
    flow(boards, grids, leaves_first, outlets, connectors)
    return opened


def boards(count: int) -> Table:
    """Cold fuses and no load."""
    table = np.zeros(count, BOARD)
    table["tripped_at_ms"] = NEVER
    return table
