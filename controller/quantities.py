"""Kinds of value in a file that people write: amperes, kilowatts, phases, and the table they stand in."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from controller import electrical
from controller.defaults import UNLIMITED_MA


def _per_phase(value: object) -> object:
    """A single number means the same on all three phases."""
    return (value, value, value) if isinstance(value, int | float) else value


Number = Annotated[int, Field(strict=True)]
Amps = Annotated[float, Field(strict=True, ge=0, le=10_000)]
PhaseAmps = Annotated[tuple[Amps, Amps, Amps], BeforeValidator(_per_phase)]
Kilowatts = Annotated[float, Field(strict=True, ge=0, le=20_000)]
TimeToLive = Annotated[int, Field(strict=True, gt=0, le=400 * 86_400)]
"""Seconds that something told holds without being renewed."""


def _as_date(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f'"{value}" is no date; write it like "2026-12-25"') from None


DateText = Annotated[date, BeforeValidator(_as_date)]


class FrozenTable(BaseModel):
    """A table of a file: nothing unknown in it, and nothing changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limit(NamedTuple):
    """A limit in mA: on each phase of a board, in its own order, and on the sum of its phases."""

    phase_ma: tuple[int, int, int] = (UNLIMITED_MA, UNLIMITED_MA, UNLIMITED_MA)
    sum_ma: int = UNLIMITED_MA
    phases: int = 3
    """How many phases a sum is meant for, where one outlet is limited."""

    def outlet_ma(self, phases: int = 3) -> int:
        """What it leaves an outlet on each phase, when its sum is shared by at most so many phases."""
        return min(*self.phase_ma, self.sum_ma // min(phases, self.phases))


def tighter(one: Limit, other: Limit) -> Limit:
    """What two limits leave together."""
    first, second, third = (min(a, b) for a, b in zip(one.phase_ma, other.phase_ma, strict=True))
    return Limit((first, second, third), min(one.sum_ma, other.sum_ma), max(one.phases, other.phases))


def amps_and_kilowatts(limit_a: tuple[float, float, float] | None, limit_kw: float | None) -> Limit:
    """A limit of a file; power counts at nominal voltage, rounded down to a milliampere."""
    limit = Limit()
    if limit_a is not None:
        first, second, third = (min(electrical.milliamps(amps), UNLIMITED_MA) for amps in limit_a)
        limit = limit._replace(phase_ma=(first, second, third))
    if limit_kw is not None:
        limit = limit._replace(sum_ma=milliamps_of(limit_kw * 1000))
    return limit


def milliamps_of(watts: float) -> int:
    """The sum of currents that a power makes at nominal voltage, rounded down."""
    return min(int(watts * 1000 / electrical.NOMINAL_VOLTAGE_V), UNLIMITED_MA)
