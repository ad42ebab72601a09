"""Building load and PV: series of power on a board, piecewise constant, repeated by calendar; and motors.

A series comes from a CSV: shares of a peak, or what a meter counted in kW, W or kWh per step. Its times are
those of the place, with its clock changes, or have an offset.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.quantities import FrozenTable, PhaseAmps
from controller.site import SiteError
from twin.streams import stream

Currents = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """Values relative to their peak, one each `step_s`, from `first` (local time of the place) on."""

    first: datetime
    step_s: int
    values: tuple[float, ...]

    def at(self, local: datetime) -> float:
        """Value in force at a local time; outside of the series it repeats itself by whole weeks."""
        seconds = int((local - self.first).total_seconds())
        steps = seconds // self.step_s
        if not 0 <= steps < len(self.values):
            week = 7 * 86_400 // self.step_s
            whole = max(1, len(self.values) // week) * week if len(self.values) >= week else len(self.values)
            steps %= whole
        return self.values[steps]


@dataclass(frozen=True, slots=True)
class Load:
    """`peak_w` times a profile on a board, split over its L1 L2 L3; a generator has a negative peak."""

    grid: str
    peak_w: float
    profile: Profile
    split: tuple[float, float, float]
    zone: ZoneInfo
    inverter: str | None = None
    """What an inverter could feed in on each of its phases, in place of a load on a board."""

    def changes(self, start_utc: datetime, end_ms: int) -> Iterator[tuple[int, Currents]]:
        """World times of changes with the currents from then on, board's own phases, mA."""
        local = start_utc.astimezone(self.zone).replace(tzinfo=None)
        behind_s = (local - self.profile.first).total_seconds() % self.profile.step_s
        at_ms = -round(behind_s * 1000)
        last: Currents | None = None
        while at_ms < end_ms:
            instant = (start_utc.astimezone(UTC) + timedelta(milliseconds=at_ms)).astimezone(self.zone)
            power_w = self.peak_w * self.profile.at(instant.replace(tzinfo=None))
            first, second, third = (round(power_w * share / NOMINAL_VOLTAGE_V * 1000) for share in self.split)
            if (first, second, third) != last:
                last = (first, second, third)
                yield max(0, at_ms), last
            at_ms += self.profile.step_s * 1000


class Motor(FrozenTable):
    """A lift, a compressor, a heat pump: starts by chance, draws a multiple of its current at first."""

    name: str = Field(min_length=1)
    """What is random about it hangs on this."""
    grid: str
    current_a: PhaseAmps
    """While it runs, on the board's own L1, L2, L3."""
    start_factor: Annotated[float, Field(ge=1, le=12)] = 6.0
    """So many times as much while it starts."""
    start_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    runs_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    every_s: float = Field(1_800.0, gt=0, le=31 * 86_400, validate_default=True)
    """From one start to the next, on average."""

    @field_validator("every_s")
    @classmethod
    def _rests(cls, every_s: float, told: ValidationInfo) -> float:
        if not told.data.get("start_s", 0) <= told.data.get("runs_s", 0) < every_s:
            raise ValueError("start_s may not be above runs_s, and runs_s must be below every_s")
        return every_s

    def load(self, seed: int) -> Starts:
        """What it draws in the world of this seed."""
        return Starts(self.grid, self, seed)


@dataclass(frozen=True, slots=True)
class Starts:
    """A motor that starts and stops on a board."""

    grid: str
    motor: Motor
    seed: int
    inverter: None = None

    def changes(self, start_utc: datetime, end_ms: int) -> Iterator[tuple[int, Currents]]:
        """World times of changes with the currents from then on, board's own phases, mA."""
        del start_utc  # motors know no calendar
        motor = self.motor
        runs = _currents(motor.current_a, 1_000)
        starts = _currents(motor.current_a, 1_000 * motor.start_factor)
        start_ms, runs_ms = round(motor.start_s * 1000), round(motor.runs_s * 1000)
        rests_ms = (motor.every_s - motor.runs_s) * 1000
        draw = stream(self.seed, "motor", motor.name)
        at_ms = round(draw.exponential(rests_ms))
        while at_ms < end_ms:
            yield at_ms, starts
            yield at_ms + start_ms, runs
            yield at_ms + runs_ms, (0, 0, 0)
            at_ms += runs_ms + max(1_000, round(draw.exponential(rests_ms)))


def _currents(amps: tuple[float, float, float], factor: float) -> Currents:
    first, second, third = (round(factor * each) for each in amps)
    return (first, second, third)


Source = Load | Starts

Unit = Literal["share", "kW", "W", "kWh"]
MOST_SHARE = 1.5
MOST_KW = 100_000.0


class Series(FrozenTable):
    """A column of a CSV of times and values."""

    file: Path
    column: str
    unit: Unit = "share"
    """Of the values; kWh are those of one step."""
    peak_kw: Annotated[float, Field(gt=0, le=MOST_KW)] | None = Field(None, validate_default=True)
    """Of what the values are shares."""

    @field_validator("peak_kw")
    @classmethod
    def _peak_of_shares(cls, peak_kw: float | None, told: ValidationInfo) -> float | None:
        unit = told.data.get("unit")
        if unit == "share" and peak_kw is None:
            raise ValueError('shares need it as a number; or say unit = "kW", "W" or "kWh"')
        if unit not in ("share", None) and peak_kw is not None:
            raise ValueError(f"values in {unit} have no peak; remove it")
        return peak_kw

    def read(self, folder: Path, zone: ZoneInfo) -> tuple[float, Profile]:
        """Peak in W and the values relative to it. Raises SiteError."""
        profile = read_profile(folder / self.file, self.column, zone, self.unit)
        return (self.peak_kw or 1.0) * 1000, profile


def read_profile(path: Path, column: str, zone: ZoneInfo, unit: Unit = "share") -> Profile:
    """One column of a CSV whose first column is time in even steps: shares, else kW. Raises SiteError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SiteError([f"{path}: cannot be read: {error}; give the path of a CSV file."]) from None
    table = [(number, row) for number, row in cells if not row[0].startswith("#")]
    header = table[0][1] if table else []
    if len(header) == 1 and ";" in header[0]:
        raise SiteError([f"{path}: row 1: is parted by semicolons; save it with commas and decimal points."])
    if column not in header[1:]:
        known = ", ".join(header[1:]) or "nothing"
        raise SiteError([f'{path}: there is no column "{column}"; it has {known}.'])
    if len(table) < 3:
        raise SiteError([f"{path}: has fewer than two rows of values; give at least a day."])
    place = header.index(column)
    first, second = (_wall_time(path, header[0], *row, zone) for row in table[1:3])
    step_s = int((second - first).total_seconds())
    if step_s <= 0:
        where = f"{path}: row {table[2][0]}, column {header[0]}"
        raise SiteError([f"{where}: {second} does not come after {first}; sort the rows."])
    hours = step_s / 3600
    values: list[float] = []
    for number, row in table[1:]:
        due = first + timedelta(seconds=len(values) * step_s)
        now = _wall_time(path, header[0], number, row, zone)
        missing = (now - due).total_seconds() / step_s
        if missing > 0 and not missing % 1 and _skipped(due, zone) and not _skipped(now, zone):
            values += values[-1:] * int(missing)  # clocks were put forward: nobody looks there
        elif missing < 0 and _twice(now, zone):
            continue  # clocks were put back: the first of the two hours counts
        elif missing:
            raise SiteError(
                [f"{path}: row {number}, column {header[0]}: {now} where {due} is due; fill the gap or sort."]
            )
        values.append(_value(f"{path}: row {number}, column {column}", row[place : place + 1], unit, hours))
    return Profile(first, step_s, tuple(values))


def _wall_time(path: Path, column: str, number: int, row: list[str], zone: ZoneInfo) -> datetime:
    """What the clock of the place shows."""
    try:
        value = datetime.fromisoformat(row[0].strip())
    except ValueError:
        raise SiteError(
            [f'{path}: row {number}, column {column}: "{row[0]}" is no time; write 2016-03-07 00:15.']
        ) from None
    return value.astimezone(zone).replace(tzinfo=None, fold=0) if value.tzinfo else value


def _skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether no clock of the place ever shows this time."""
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall


def _twice(wall: datetime, zone: ZoneInfo) -> bool:
    here = wall.replace(tzinfo=zone)
    return here.utcoffset() != here.replace(fold=1).utcoffset() and not _skipped(wall, zone)


def _value(where: str, cell: list[str], unit: Unit, hours: float) -> float:
    """A share, or kW."""
    try:
        value = float(*cell)
    except (ValueError, TypeError):
        raise SiteError([f"{where}: no number; fill the gap."]) from None
    if not math.isfinite(value) or not cell:
        raise SiteError([f"{where}: no number; fill the gap."])
    if unit == "share":
        if abs(value) > MOST_SHARE:
            raise SiteError([f'{where}: {value:g} is no share of the peak; say unit = "kW", "W" or "kWh".'])
        return value
    kilowatts = {"kW": value, "W": value / 1000, "kWh": value / hours}[unit]
    if abs(kilowatts) > MOST_KW:
        raise SiteError([f"{where}: {kilowatts:,.0f} kW is more than {MOST_KW:,.0f} kW; check the unit."])
    return kilowatts
