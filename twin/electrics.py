"""True currents in the tree and what its fuses make of them.

Currents are mA in the phases of the site. Active and reactive parts are summed apart and flow as one: what a
fuse and a meter see is their RMS, with the sign of the active part. A fuse that opens (`twin/protection.py`)
stays open until somebody closes it, and darkens everything under it, or the phase that has melted.
"""

from __future__ import annotations

import math

import numpy as np

from controller.defaults import NEVER
from controller.kernel import kernel
from controller.table import Table
from twin.protection import PESSIMISTIC, opens_in_s, warm
from twin.storage import feed
from twin.vehicles import FAR_MS

BOARD = np.dtype(
    [
        ("own_ma", "i8", (3,)),  # uncontrolled load on this board itself; generation is negative
        ("load_ma", "i8", (3,)),  # the same with its inverters and all boards under it
        ("cars_ma", "i8", (3,)),  # what all connectors under it draw
        ("given_ma", "i8", (3,)),  # what their cars feed back, positive
        ("charge_ma", "i8", (3,)),  # what all batteries under it take
        ("discharge_ma", "i8", (3,)),  # what they give, positive
        ("relied_ma", "i8", (3,)),  # the part of it that the site file lets count for fuses
        ("wild_ma", "i8", (3,)),  # what batteries take that follow no order
        ("active_ma", "i8", (3,)),  # all of it
        ("reactive_ma", "i8", (3,)),  # what loads take beside it, lagging
        ("current_ma", "i8", (3,)),  # both: what flows through its fuse
        ("lag_permille", "i8"),  # reactive part of its own load, of the active one
        ("dark", "i8"),  # 1: a fuse above it or its own is open
        ("heat", "f8", (3,)),  # thermal image of its fuse
        ("curve", "i8"),  # PESSIMISTIC or the curve by which it opens
        ("used", "f8", (3,)),  # share of what its curve bears
        ("melted", "i8", (3,)),  # 1: the fuse of this phase has melted
        ("lost", "i8", (3,)),  # 1: this phase does not reach the board
        ("cut_off", "i8"),  # 1: nothing reaches the board
        ("trips", "i8"),  # how often its fuse has opened
        ("tripped", "i8"),
        ("tripped_at_ms", "i8"),
    ]
)


@kernel
def together_ma(active_ma: int, reactive_ma: int) -> int:
    """RMS of both parts, with the sign of the active one."""
    if reactive_ma == 0:
        return active_ma
    whole_ma = round(math.sqrt(float(active_ma * active_ma + reactive_ma * reactive_ma)))
    return int(-whole_ma if active_ma < 0 else whole_ma)


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
            gone, burnt = boards[above]["lost"], boards[above]["melted"]
            lost = (lost[0] + gone[0] + burnt[0], lost[1] + gone[1] + burnt[1], lost[2] + gone[2] + burnt[2])
            above = grids[above]["parent"]
        for p in range(3):
            own_ma = 0 if dark or lost[p] != 0 else boards[g]["own_ma"][p]
            boards[g]["load_ma"][p] = own_ma
            boards[g]["reactive_ma"][p] = max(own_ma, 0) * boards[g]["lag_permille"] // 1000
            boards[g]["cars_ma"][p] = 0
            boards[g]["given_ma"][p] = 0
            boards[g]["charge_ma"][p] = 0
            boards[g]["discharge_ma"][p] = 0
            boards[g]["relied_ma"][p] = 0
            boards[g]["wild_ma"][p] = 0
        boards[g]["dark"] = int(dark)
    feed(boards, cells, batteries, panels, inverters)
    for c in range(len(outlets)):
        for own in range(3):
            draw = outlets[c]["draw_ma"][own]
            if draw > 0:
                boards[connectors[c]["path"][0]]["cars_ma"][connectors[c]["phase"][own]] += draw
            elif draw < 0:
                boards[connectors[c]["path"][0]]["given_ma"][connectors[c]["phase"][own]] -= draw
    for order in range(len(leaves_first)):
        g = leaves_first[order]
        parent = grids[g]["parent"]
        for p in range(3):
            stored = boards[g]["charge_ma"][p] - boards[g]["discharge_ma"][p]
            active_ma = boards[g]["load_ma"][p] + boards[g]["cars_ma"][p] - boards[g]["given_ma"][p] + stored
            boards[g]["active_ma"][p] = active_ma
            boards[g]["current_ma"][p] = together_ma(active_ma, boards[g]["reactive_ma"][p])
            if parent >= 0:
                boards[parent]["reactive_ma"][p] += boards[g]["reactive_ma"][p]
                boards[parent]["load_ma"][p] += boards[g]["load_ma"][p]
                boards[parent]["cars_ma"][p] += boards[g]["cars_ma"][p]
                boards[parent]["given_ma"][p] += boards[g]["given_ma"][p]
                boards[parent]["charge_ma"][p] += boards[g]["charge_ma"][p]
                boards[parent]["discharge_ma"][p] += boards[g]["discharge_ma"][p]
                boards[parent]["relied_ma"][p] += boards[g]["relied_ma"][p]
                boards[parent]["wild_ma"][p] += boards[g]["wild_ma"][p]


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
) -> tuple[bool, int]:
    """Heat the fuses under what flowed for `seconds`, then let what is drawn now flow.

    Returns whether one opened, and in how many ms the first one will if nothing changes (FAR_MS: none).
    """
    opened = warm(boards, grids, seconds) if seconds > 0.0 else False
    flow(boards, grids, leaves_first, outlets, connectors, cells, batteries, panels, inverters)
    opens_s = opens_in_s(boards, grids)
    return opened, FAR_MS if opens_s == math.inf else max(1, math.ceil(opens_s * 1000.0))


def boards(count: int) -> Table:
    """Cold fuses and no load."""
    table = np.zeros(count, BOARD)
    table["curve"] = PESSIMISTIC
    table["tripped_at_ms"] = NEVER
    return table
