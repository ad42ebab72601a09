"""What wires and fuses of a site bore in a run: neutral, voltage, losses, transformer, heat of the fuses."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from twin.network import solve, wires
from twin.protection import PESSIMISTIC, TRIP_HEAT
from twin.world import World


@dataclass(frozen=True, slots=True)
class GridStrain:
    """The worst of the wires above a grid over the run; at the connection with the transformer."""

    grid: str
    neutral_a: float
    lowest_v: float
    loss_kwh: float
    apparent_kva: float


@dataclass(frozen=True, slots=True)
class Strained:
    """The worst of the whole site over the run."""

    neutral_a: float
    lowest_v: float
    transformer_percent: float
    """Of its rating; 0 where there is none."""
    wire_loss_kwh: float
    fuse_used_percent: float
    """How near a fuse has come to opening; 100 opens it."""

    @classmethod
    def names(cls) -> list[str]:
        """Names that an expectation may bound."""
        return [figure.name for figure in fields(cls)]


class Strain:
    """Watches a world; without cables and transformer its voltages are those of the supply."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wires = wires(world.built, world.conditions)
        count = len(self._wires)
        self._neutral_a, self._lowest_v = np.zeros(count), np.full(count, np.inf)
        self._loss_wh, self._apparent_va = np.zeros(count), np.zeros(count)
        self._used = 0.0

    def interval(self, span_ms: int) -> None:
        """Nothing changes in kind for `span_ms` from now."""
        world, row = self._world, self._wires
        self._look_at_fuses()
        solve(row, world.boards, world.built.grids, world.built.leaves_first, world.conditions.supply_v)
        volts = np.abs(row["voltage_v"])
        np.maximum(self._neutral_a, row["neutral_a"], out=self._neutral_a)
        np.minimum(self._lowest_v, volts.min(axis=1), out=self._lowest_v)
        np.maximum(self._apparent_va, (volts * np.abs(row["current_a"])).sum(axis=1), out=self._apparent_va)
        self._loss_wh += row["loss_w"] * (span_ms / 3_600_000)

    def _look_at_fuses(self) -> None:
        """One that opened has borne all it can, whatever is left of its heat."""
        boards = self._world.boards
        by_heat = (boards["curve"] == PESSIMISTIC)[:, None]
        used = np.where(by_heat, boards["heat"] / TRIP_HEAT, boards["used"])
        self._used = max(self._used, min(float(used.max()), 1.0), float(boards["trips"].any()))

    def worst(self) -> Strained:
        """What it came to, the site as a whole."""
        self._look_at_fuses()
        transformer = self._world.conditions.transformer
        root = int(self._world.topology.leaves_first[-1])
        kva = float(self._apparent_va[root]) / 1000
        return Strained(
            neutral_a=float(self._neutral_a.max()),
            lowest_v=float(self._lowest_v.min()),
            transformer_percent=100 * kva / transformer.kva if transformer else 0.0,
            wire_loss_kwh=float(self._loss_wh.sum()) / 1000,
            fuse_used_percent=100 * self._used,
        )

    def found(self) -> tuple[GridStrain, ...]:
        """What it came to, grid by grid."""
        columns = (self._neutral_a, self._lowest_v, self._loss_wh / 1000, self._apparent_va / 1000)
        names = self._world.topology.grid_names
        return tuple(
            GridStrain(name, *map(float, values)) for name, *values in zip(names, *columns, strict=True)
        )
