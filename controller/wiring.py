"""Every wire of the site file followed hop by hop, for the last check alone.

Shares nothing with `topology`: one mistake must not hide in both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from controller.defaults import LINES, TOGETHER, UNLIMITED_MA
from controller.electrical import NOMINAL_VOLTAGE_V, milliamps
from controller.site import Battery, Connector, Site
from controller.table import Table

NO_MORE = -1


class Traces(NamedTuple):
    """`feeders[c]`: rows of the grids that feed it, nearest first, then NO_MORE.

    `phase[c]`: site phase of its own L1 L2 L3. Fuses in mA; the fourth of a grid is its power as a sum of
    currents.
    """

    feeders: Table
    phase: Table
    fuse_ma: Table
    min_ma: Table
    max_ma: Table
    grid_feeders: Table
    """`[g]`: itself and the grids that feed it, then NO_MORE."""
    battery_feeders: Table
    battery_load: Table
    """`[b][line]`: amperes on a phase or on their sum per ampere of a battery."""
    battery_counts: Table
    """1: what it gives counts for fuses."""


def trace(site: Site) -> Traces:
    """Follow every wire of the site file from the connector to the connection."""
    names = list(site.grid)
    outlets = [(site.chargepoint[name].fed_by, connector) for name, _, connector in site.connectors()]
    feeders = np.full((len(outlets), len(names) + 1), NO_MORE, dtype="i8")
    phase = np.zeros((len(outlets), 3), dtype="i8")
    for row, (board, connector) in enumerate(outlets):
        for own in range(3):
            phase[row, own] = _follow(site, board, connector, own, feeders[row], names)
    fuse_ma = np.zeros((len(names), LINES), dtype="i8")
    for row, name in enumerate(names):
        for own in range(3):
            at, board_phase = name, own
            while (feeder := site.grid[at].fed_by) is not None:
                board_phase, at = site.grid[at].rotation[board_phase], feeder
            board_phase = site.grid[at].rotation[board_phase]
            fuse_ma[row, board_phase] = milliamps(site.grid[name].max_current_a[own])
    for row, grid in enumerate(site.grid.values()):
        powers = [power for power in (grid.max_power_w, grid.max_apparent_va) if power is not None]
        together_ma = [math.floor(power / NOMINAL_VOLTAGE_V * 1000) for power in powers]
        fuse_ma[row, TOGETHER] = min([UNLIMITED_MA, *together_ma])
    grid_feeders = np.full((len(names), len(names) + 1), NO_MORE, dtype="i8")
    for row, name in enumerate(names):
        hop = 0
        above: str | None = name
        while above is not None:
            grid_feeders[row, hop] = names.index(above)
            hop += 1
            above = site.grid[above].fed_by
    batteries = list(site.battery.values())
    battery_feeders = np.full((len(batteries), len(names) + 1), NO_MORE, dtype="i8")
    battery_load = np.zeros((len(batteries), LINES), dtype="i8")
    for row, battery in enumerate(batteries):
        for own in range(battery.phases):
            at_phase = _follow(site, battery.fed_by, battery, own, battery_feeders[row], names)
            battery_load[row, at_phase] += 1
            battery_load[row, TOGETHER] += 1
    return Traces(
        feeders,
        phase,
        fuse_ma,
        np.array([milliamps(connector.min_current_a) for _, connector in outlets], dtype="i8"),
        np.array([milliamps(connector.max_current_a) for _, connector in outlets], dtype="i8"),
        grid_feeders,
        battery_feeders,
        battery_load,
        np.array([battery.counts_for_fuse for battery in batteries], dtype="i8"),
    )


def _follow(
    site: Site, board: str, connector: Connector | Battery, own: int, feeders: Table, names: list[str]
) -> int:
    """Phase of the site at the end of one wire, listing the grids it runs through."""
    wire = connector.rotation[own]
    at: str | None = board
    hop = 0
    while at is not None:
        feeders[hop] = names.index(at)
        hop += 1
        wire = site.grid[at].rotation[wire]
        at = site.grid[at].fed_by
    return wire
