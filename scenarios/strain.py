"""What the wires of a site bore in a run: neutral, lowest voltage, losses, load of the transformer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin.network import solve, wires
from twin.world import World


@dataclass(frozen=True, slots=True)
class GridStrain:
    """The worst of the wires above a grid over the run; at the connection with the transformer."""

    grid: str
    neutral_a: float
    lowest_v: float
    loss_kwh: float
    apparent_kva: float


class Strain:
    """Watches a world whose cables or transformer are known."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wires = wires(world.built, world.conditions)
        count = len(self._wires)
        self._neutral_a, self._lowest_v = np.zeros(count), np.full(count, np.inf)
        self._loss_wh, self._apparent_va = np.zeros(count), np.zeros(count)

    def interval(self, span_ms: int) -> None:
        """Nothing changes in kind for `span_ms` from now."""
        world, row = self._world, self._wires
        solve(row, world.boards, world.built.grids, world.built.leaves_first, world.conditions.supply_v)
        volts = np.abs(row["voltage_v"])
        np.maximum(self._neutral_a, row["neutral_a"], out=self._neutral_a)
        np.minimum(self._lowest_v, volts.min(axis=1), out=self._lowest_v)
        np.maximum(self._apparent_va, (volts * np.abs(row["current_a"])).sum(axis=1), out=self._apparent_va)
        self._loss_wh += row["loss_w"] * (span_ms / 3_600_000)

    def found(self) -> tuple[GridStrain, ...]:
        """What it came to, grid by grid."""
        columns = (self._neutral_a, self._lowest_v, self._loss_wh / 1000, self._apparent_va / 1000)
        names = self._world.topology.grid_names
        return tuple(
            GridStrain(name, *map(float, values)) for name, *values in zip(names, *columns, strict=True)
        )
