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
from twin.storage import feed

TAU_S: Final = 600.0
TRIP_HEAT: Final = 1.1
INSTANT: Final = 5.0

BOARD = np.dtype(
    [
        ("own_ma", "i8", (3,)),  # uncontrolled load on this board itself; generation is negative
        ("load_ma", "i8", (3,)),  # the same with its inverters and all boards under it
        ("cars_ma", "i8", (3,)),  # what all connectors under it draw
        ("charge_ma", "i8", (3,)),  # what all batteries under it take
        ("discharge_ma", "i8", (3,)),  # what they give, positive
        ("relied_ma", "i8", (3,)),  # the part of it that the site file lets count for fuses
        ("current_ma", "i8", (3,)),  # all of it: what flows through its fuse
        ("dark", "i8"),  # 1: a fuse above it or its own is open
        ("heat", "f8", (3,)),
        ("lost", "i8", (3,)),  # 1: this phase does not reach the board
        ("cut_off", "i8"),  # 1: nothing reaches the board
        ("trips", "i8"),  # how often its fuse has opened
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
                boards[g]["trips"] += 1
                opened = True
    return opened


@kernel
def flow(
    boards: Table,
    grids: Table,
    leaves_first: Table,
    outlets: Table,
    connectors: Table,
    cells: Table,
    batteries: Table,
    panels: Table,
    inverters: Table,
) -> None:
    """What flows through every fuse now, from loads on the boards, outlets, batteries and inverters."""
    for g in range(len(boards)):
        dark = False
        lost = (0, 0, 0)
        above = g
        while above >= 0:
            dark = dark or boards[above]["tripped"] != 0 or boards[above]["cut_off"] != 0
            gone = boards[above]["lost"]
            lost = (lost[0] + gone[0], lost[1] + gone[1], lost[2] + gone[2])
            above = grids[above]["parent"]
        for p in range(3):
            boards[g]["load_ma"][p] = 0 if dark or lost[p] != 0 else boards[g]["own_ma"][p]
            boards[g]["cars_ma"][p] = 0
            boards[g]["charge_ma"][p] = 0
            boards[g]["discharge_ma"][p] = 0
            boards[g]["relied_ma"][p] = 0
        boards[g]["dark"] = int(dark)
    feed(boards, cells, batteries, panels, inverters)
    for c in range(len(outlets)):
        for own in range(3):
            draw = outlets[c]["draw_ma"][own]
            if draw != 0:
                boards[connectors[c]["path"][0]]["cars_ma"][connectors[c]["phase"][own]] += draw
    for order in range(len(leaves_first)):
        g = leaves_first[order]
        parent = grids[g]["parent"]
        for p in range(3):
            stored = boards[g]["charge_ma"][p] - boards[g]["discharge_ma"][p]
            boards[g]["current_ma"][p] = boards[g]["load_ma"][p] + boards[g]["cars_ma"][p] + stored
            if parent >= 0:
                boards[parent]["load_ma"][p] += boards[g]["load_ma"][p]
                boards[parent]["cars_ma"][p] += boards[g]["cars_ma"][p]
                boards[parent]["charge_ma"][p] += boards[g]["charge_ma"][p]
                boards[parent]["discharge_ma"][p] += boards[g]["discharge_ma"][p]
                boards[parent]["relied_ma"][p] += boards[g]["relied_ma"][p]


@kernel
def carry(
    boards: Table,
    grids: Table,
    leaves_first: Table,
    outlets: Table,
    connectors: Table,
    cells: Table,
    batteries: Table,
    panels: Table,
    inverters: Table,
    seconds: float,
) -> bool:
    """Heat the fuses under what flowed for `seconds`, then let what is drawn now flow; True: one opened."""
    opened = warm(boards, grids, seconds) if seconds > 0.0 else False
    flow(boards, grids, leaves_first, outlets, connectors, cells, batteries, panels, inverters)
    return opened


def boards(count: int) -> Table:
    """Cold fuses and no load."""
    table = np.zeros(count, BOARD)
    table["tripped_at_ms"] = NEVER
    return table
