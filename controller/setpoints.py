"""What a battery is told to do: strategies, set-points and import targets, by the clock or from outside.

Safety does not rest on any of it: an order is a wish that the window of its charge, the room that cars leave
and every limit narrow (docs/control.md 15).
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from controller import electrical
from controller.calendar import Recurring, Span
from controller.defaults import UNLIMITED_MA
from controller.quantities import FrozenTable, Kilowatts, TimeToLive

Strategy = Literal["standby", "self_consumption", "peak_shaving", "manual"]

BATTERY_ORDER = np.dtype(
    [
        ("strategy", "i8"),  # 0: that of the site file
        ("setpoint_ma", "i8"),  # per phase, positive charges
        ("setpoint_source", "i8"),
        ("target_ma", "i8"),  # of peak shaving, sum of the phases; UNLIMITED_MA: that of the site file
        ("stop", "i8"),  # 0, or Source.MAINTENANCE, Source.EMERGENCY_STOP
    ]
)
INVERTER_ORDER = np.dtype([("stop", "i8")])


class BatteryOrder(FrozenTable):
    """One of a strategy and a power; peak shaving may be given another import to hold."""

    strategy: Strategy | None = None
    power_kw: Annotated[float, Field(strict=True, ge=-20_000, le=20_000)] | None = None
    """Over its phases: positive charges, negative discharges. Means the strategy `manual`."""
    target_kw: Kilowatts | None = None
    """Import that peak shaving holds, where it is less than that of the site file."""

    @model_validator(mode="after")
    def _agrees(self) -> BatteryOrder:
        if self.power_kw is not None and self.strategy not in {None, "manual"}:
            raise ValueError(f'power_kw is for the strategy "manual"; leave it or "{self.strategy}" out')
        if self.target_kw is not None and self.strategy != "peak_shaving":
            raise ValueError('target_kw is for the strategy "peak_shaving"; name it beside target_kw')
        if self.power_kw is None and self.strategy in {None, "manual"}:
            raise ValueError("give power_kw, 0 for nothing, or a strategy other than manual")
        return self

    def word(self) -> Strategy:
        """The strategy that it means."""
        return self.strategy or "manual"

    def setpoint_ma(self, phases: int) -> int:
        """Per phase, rounded towards 0; 0 where a strategy decides."""
        return electrical.milliamps_per_phase((self.power_kw or 0) * 1000, phases)

    def target_ma(self) -> int:
        """Sum of the phases, rounded down."""
        if self.target_kw is None:
            return UNLIMITED_MA
        return electrical.milliamps_per_phase(self.target_kw * 1000, 1)


class Setpoint(BatteryOrder):
    """An order from outside: it lives for `ttl_s`, then the schedule or the site file decides again."""

    ttl_s: TimeToLive


class BatterySegment(Span, BatteryOrder):
    """What it does in a span of every day of a schedule."""


class BatterySchedule(Recurring):
    """What a battery does by the clock; between the segments its own strategy decides."""

    segment: tuple[BatterySegment, ...] = Field(min_length=1)
