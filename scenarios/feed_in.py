"""What flows back and should not: import and export judged alike, by the truth of the twin.

Who feeds in on order (inverters that can be curtailed and obey, batteries that obey) may do so beyond a
limit of export only for as long as a controller needs to see it and to act. So own-caused is what even the
least of their feed-in, with the most that anybody took, was above the limit through all of that time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.decision import Decision
from controller.defaults import CYCLE_MS, LINES, TOGETHER, UNLIMITED_MA
from controller.image import Image
from controller.topology import Topology
from twin.world import World

ROUNDED_MA = 10
STEPS = 2  # orders until it must fit: one may be on its way, and readings are of different times

Table = NDArray[np.int64]


class FeedIn:
    """Looks on at the feed-in of one run, once a cycle."""

    def __init__(self, world: World) -> None:
        built = world.built
        self._world = world
        self._batteries, self._inverters = _under(built.batteries, built), _under(built.inverters, built)
        self._curtailable = built.inverters["curtailable"] == 1
        self._astray = np.zeros(len(built.inverters), dtype=bool)  # has ignored an order, and still does
        self.patience_ms = STEPS * _step_ms(world)
        self._given, self._net = _Least(self.patience_ms), _Least(self.patience_ms)

    def own_ma(self, image: Image, decision: Decision) -> Table:
        """`[grid, line]`: what flows back beyond the limit and should not any more."""
        world, grids = self._world, self._world.built.grids
        boards = world.boards["current_ma"]
        back = -np.concatenate((boards, boards.sum(axis=1, keepdims=True)), axis=1)
        deaf, held = world.panels["deaf"] != 0, world.panels["held_ma"]
        self._astray = deaf | (self._astray & (held > decision.inverters["target_ma"] + ROUNDED_MA))
        feeds = np.where(self._curtailable & ~self._astray, -world.panels["flow_ma"], 0)
        gives = np.where(world.cells["deaf"] == 0, np.maximum(-world.cells["flow_ma"], 0), 0)
        given = self._inverters @ feeds + self._batteries @ gives
        # The fuse wins: nobody is curtailed below what keeps a phase at its limit of import.
        room = (decision.grids["limit_ma"][:, :TOGETHER] - grids["margin_ma"] - boards).min(axis=1)
        avoidable = np.minimum(given, np.maximum(room, 0)[:, None] * np.array([1, 1, 1, 3]))
        limit = np.concatenate((grids["export_ma"], grids["export_sum_ma"][:, None]), axis=1)
        limit[:, :TOGETHER] = np.minimum(limit[:, :TOGETHER], image.grids["export_ma"])
        limit[:, TOGETHER] = np.minimum(limit[:, TOGETHER], image.grids["export_sum_ma"])
        own = self._given.seen(world.now_ms, avoidable)
        net = self._net.seen(world.now_ms, back - given - np.minimum(limit, UNLIMITED_MA))
        return np.asarray(np.minimum(own, np.maximum(own + net, 0)))


class _Least:
    """Sliding minimum of tables, one a cycle."""

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._kept: list[tuple[int, Table]] = []

    def seen(self, now_ms: int, table: Table) -> Table:
        """The least since `keep_ms` ago, with what is now; 0 as long as that is not known."""
        self._kept.append((now_ms, table))
        while len(self._kept) > 1 and self._kept[1][0] <= now_ms - self._keep_ms:
            self._kept.pop(0)
        if now_ms - self._kept[0][0] < self._keep_ms:
            return np.full_like(table, -UNLIMITED_MA)
        return np.asarray(np.min([each for _, each in self._kept], axis=0))


def _step_ms(world: World) -> int:
    """From a change on the site to what the order that it causes has made of it, as anybody can see it."""
    meters, links = world.conditions.meters, world.conditions.links
    devices = [
        rows["response_ms"] + rows["sample_ms"] for rows in (world.built.batteries, world.built.inverters)
    ]
    slowest_ms = max(int(each.max(initial=0)) for each in devices)
    return round((meters.delay_s + meters.poll_s + 2 * links.latency_s) * 1000) + 2 * CYCLE_MS + slowest_ms


def _under(devices: Any, built: Topology) -> Table:
    """`[grid, line, device]`: what an ampere of it puts on a line."""
    table = np.zeros((len(built.grids), LINES, len(devices)), "i8")
    for n, row in enumerate(devices):
        table[row["path"][: row["depth"]], :TOGETHER, n] = row["uses"]
        table[row["path"][: row["depth"]], TOGETHER, n] = row["phases"]
    return table
