"""Habits: how often somebody comes, when, for how long and for how much; tables that a user can replace.

Arrival, stay and energy are the quantiles of a habit, tied together by a normal copula; a part of each is
the driver's own and the rest is of the day, so that all visits together keep the quantiles exactly. How many
come on a day scatters more than by chance: a day has a share of its own, drawn from a beta distribution.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from controller.sentences import sentences
from controller.site import SiteError
from twin.cards import UNLISTED, CardTerms

Floats = NDArray[np.float64]
Charging = Literal["workplace", "public", "private"]
Share = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(gt=-1, lt=1)]
HABIT_OF: dict[str, str] = {"workplace": "commuter", "public": "visitor", "private": "resident"}
SUNDAY = 6


class Curve(NamedTuple):
    """A distribution: the value below which each share of all cases lies, straight in between."""

    shares: Floats
    values: Floats

    def at(self, rank: Any) -> Any:
        """Values of these ranks, 0..1."""
        return np.interp(rank, self.shares, self.values)


def _climbing(values: tuple[float, ...]) -> tuple[float, ...]:
    for place, (low, high) in enumerate(pairwise(values), start=2):
        if high < low:
            raise ValueError(f"value {place} ({high:g}) is below the one before it; quantiles must not fall")
    return values


def _whole_weeks(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) not in {7, 14}:
        raise ValueError(f"has {len(values)} days; give 7, or 14 for two weeks in turn")
    return values


def _one_or_more(value: object) -> object:
    return (
        [value]
        if isinstance(value, list | tuple) and value and not isinstance(value[0], list | tuple)
        else value
    )


def _every_day(value: object) -> object:
    return [value] * 7 if isinstance(value, int | float) else value


Quantiles = Annotated[
    tuple[Annotated[float, Field(ge=0, le=720)], ...], Field(min_length=2), AfterValidator(_climbing)
]
Bands = Annotated[tuple[Quantiles, ...], Field(min_length=1, max_length=48), BeforeValidator(_one_or_more)]
Offsets = Annotated[tuple[float, ...], Field(min_length=2), AfterValidator(_climbing)]
Chances = Annotated[tuple[Share, ...], Field(min_length=7, max_length=14), AfterValidator(_whole_weeks)]
Spreads = Annotated[tuple[Share, ...], Field(min_length=7, max_length=7), BeforeValidator(_every_day)]
Months = Annotated[tuple[Annotated[float, Field(ge=0, le=2)], ...], Field(min_length=12, max_length=12)]


class Habit(BaseModel):
    """One habit. Quantiles are given in even steps from the lowest to the highest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    like: Charging | None = None
    """Where quantiles are left out, those of ElaadNL."""
    weekday: Chances
    """Chance of a visit on Monday to Sunday; 14 of them are two weeks in turn, the first of even weeks."""
    visits: Annotated[int, Field(ge=1, le=6)] = 1
    """So many times a day, each with that chance."""
    month: Months = (1.0,) * 12
    spread: Spreads = (0.0,) * 7
    """Standard deviation of a day's chance, of all drivers together, relative to its mean."""
    regular: Share = 0.5
    """How much of the scatter of arrival, stay and energy is between drivers, not between days."""
    arrival_h: Quantiles | None = None
    """Hours of the local day."""
    weekend_arrival_h: Quantiles | None = None
    stay_h: Bands | None = None
    """One list, or several for equal parts of the arrivals, the earliest first."""
    weekend_stay_h: Bands | None = None
    """The same on free days; left out: as on working days."""
    energy_kwh: Bands | None = None
    """One list, or several for equal parts of the stays, the shortest first."""
    arrival_stay: Correlation = 0.0
    arrival_energy: Correlation = 0.0
    stay_energy: Correlation = 0.0
    winter: Share = 0.0
    """How much more than on average is used in mid January; as much less in mid July."""
    plug_in_below: Share = 1.0
    """State of charge above which the driver does not plug in, and needs the more next time."""
    patience_s: Annotated[float, Field(ge=0)] = 1800.0
    """How long they wait for a free connector."""
    moves_when_full: Share = 0.0
    """Share of the drivers who move a full car."""
    moves_after_s: Annotated[float, Field(ge=0)] = 900.0
    error_h: Offsets = (0.0, 0.0)
    """The departure that a driver tells, less the real one."""
    hurry: bool = False
    """Takes the strongest free connector, not the nearest."""
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    """The higher goes first when several wait for a connector."""
    card: CardTerms = UNLISTED
    """What the card list says of their cards: how they share the current."""
    vehicles: Annotated[tuple[str, ...], Field(min_length=1)] = ("car", "hybrid")
    """Kinds of vehicles in the fleet that they drive."""

    @model_validator(mode="after")
    def _possible(self) -> Habit:
        given = (self.arrival_h, self.stay_h, self.energy_kwh)
        if self.like is None and None in given:
            raise ValueError('give arrival_h, stay_h and energy_kwh, or like = "workplace"')
        if self.arrival_h is not None and self.arrival_h[-1] > 24:
            raise ValueError("arrival_h goes beyond 24 hours of the day")
        if np.linalg.eigvalsh(self.correlations)[0] <= 1e-9:
            raise ValueError("the three correlations contradict each other; take them nearer to 0")
        return self

    @property
    def correlations(self) -> Floats:
        """Of arrival, stay and energy, as normal variables."""
        a, b, c = self.arrival_stay, self.arrival_energy, self.stay_energy
        return np.array([[1.0, a, b], [a, 1.0, c], [b, c, 1.0]])

    @property
    def arrivals(self) -> Curve:
        """Hours of the local day, on working days."""
        return even(self.arrival_h) if self.arrival_h else _quarters("elaad_arrival.csv", self.like)

    @property
    def weekend_arrivals(self) -> Curve:
        """The same on Saturdays, Sundays and holidays."""
        if self.weekend_arrival_h:
            return even(self.weekend_arrival_h)
        measured = self.like in {"public", "private"} and not self.arrival_h
        return _quarters("elaad_arrival_weekend.csv", self.like) if measured else self.arrivals

    @property
    def stays(self) -> tuple[Curve, ...]:
        """Hours at the connector, for equal parts of the arrivals."""
        if self.stay_h:
            return tuple(even(band) for band in self.stay_h)
        return (_exceeded("elaad_connection_time.csv", self.like),)

    @property
    def weekend_stays(self) -> tuple[Curve, ...]:
        """The same on Saturdays, Sundays and holidays."""
        return tuple(even(band) for band in self.weekend_stay_h) if self.weekend_stay_h else self.stays

    @property
    def energies(self) -> tuple[Curve, ...]:
        """What is asked at the plug, kWh, for equal parts of the stays."""
        if self.energy_kwh:
            return tuple(even(band) for band in self.energy_kwh)
        return (_exceeded("elaad_energy_demand.csv", self.like),)

    def chances(self, days: list[date], holidays: frozenset[date], draw: np.random.Generator) -> Floats:
        """Chance of a visit on every day, with what is particular about that day."""
        mean: Floats = np.array(
            [
                self.weekday[(weekday(day, holidays) + 7 * odd_week(day)) % len(self.weekday)]
                * self.month[day.month - 1]
                for day in days
            ]
        )
        mean = np.clip(mean, 1e-9, 1 - 1e-9).astype(np.float64)
        spread = np.array([max(self.spread[weekday(day, holidays)], 1e-6) for day in days])
        variance = np.minimum((spread * mean) ** 2, 0.9 * mean * (1 - mean))
        evidence = mean * (1 - mean) / variance - 1
        return np.asarray(draw.beta(mean * evidence, (1 - mean) * evidence), np.float64)

    def season(self, day: date) -> float:
        """How much more or less is used at this time of the year."""
        turn = 2 * np.pi * (day.timetuple().tm_yday - 15) / 365
        return 1.0 + self.winter * float(np.cos(turn))


def even(values: tuple[float, ...]) -> Curve:
    """Quantiles in even steps as a distribution."""
    return Curve(np.linspace(0.0, 1.0, len(values)), np.array(values))


def banded(curves: tuple[Curve, ...], before: Floats, ranks: Floats) -> Floats:
    """Values of these ranks, each by the curve of the part in which lies the rank of what came before."""
    band = np.minimum((before * len(curves)).astype(int), len(curves) - 1)
    found = np.zeros(len(ranks))
    for number, curve in enumerate(curves):
        found[band == number] = curve.at(ranks[band == number])
    return found


def blended(curves: tuple[Curve, ...], before: Floats, ranks: Floats) -> Floats:
    """The same, each between the curves of the two parts whose middles are nearest."""
    if len(curves) == 1:
        return np.asarray(curves[0].at(ranks), np.float64)
    low, part = between(before, len(curves))
    values = np.array([curve.at(ranks) for curve in curves])
    every = np.arange(len(ranks))
    return np.asarray((1 - part) * values[low, every] + part * values[low + 1, every], np.float64)


def between(before: Floats, parts: int) -> tuple[NDArray[np.int64], Floats]:
    """Number of the lower of the two parts whose middles are nearest, and the share of the upper one."""
    place = np.clip(before * parts - 0.5, 0.0, max(parts - 1.0, 0.0))
    low = np.minimum(place.astype(int), max(parts - 2, 0))
    return low, np.asarray(place - low, np.float64)


def rank_in(curves: tuple[Curve, ...], values: Floats) -> Floats:
    """Ranks of values in all parts together."""
    shares = [np.interp(values, curve.values, curve.shares) for curve in curves]
    return np.asarray(np.mean(shares, axis=0), np.float64)


@cache
def _quarters(name: str, kind: str) -> Curve:
    """A table of shares per quarter of an hour."""
    shares = np.cumsum(_column(name, kind))
    return Curve(np.concatenate([[0.0], shares / shares[-1]]), np.linspace(0.0, 24.0, len(shares) + 1))


@cache
def _exceeded(name: str, kind: str) -> Curve:
    """A table of values that 0, 1 ... 100 % of all cases exceed."""
    return even(tuple(_column(name, kind)[::-1]))


def _column(name: str, kind: str) -> list[float]:
    text = (files("twin") / "data" / name).read_text(encoding="utf-8-sig")
    return [float(row[kind]) for row in csv.DictReader(text.splitlines())]


def read_habits(path: Path | None = None) -> dict[str, Habit]:
    """The habits that ship, and those of a file, which may replace them. Raises SiteError."""
    shipped = (files("twin") / "data" / "habits.toml").read_text(encoding="utf-8")
    habits = _parse(shipped, "habits.toml")
    if path is not None:
        try:
            habits |= _parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise SiteError([f"{path}: cannot be read: {error}; give the path of a habits file."]) from None
    return habits


def _parse(text: str, source: str) -> dict[str, Habit]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{source}: this is not TOML: {error}"]) from None
    habits: dict[str, Habit] = {}
    lines: list[str] = []
    for name, table in tables.items():
        try:
            habits[name] = Habit.model_validate(table)
        except ValidationError as error:
            lines += sentences(source, error, Habit, (name,))
    if lines:
        raise SiteError(lines)
    return habits


def parted(drivers: int, parts: Mapping[str, float]) -> dict[str, int]:
    """So many drivers, whole ones, in these parts; what rounding leaves goes to the first."""
    whole = sum(parts.values())
    counts = {name: int(drivers * part / whole) for name, part in parts.items()}
    first = next(iter(counts))
    counts[first] += drivers - sum(counts.values())
    return counts


def weekday(day: date, holidays: frozenset[date]) -> int:
    """0 for Monday to 6 for Sunday; a holiday is a Sunday."""
    return SUNDAY if day in holidays else day.weekday()


def odd_week(day: date) -> int:
    """0 in one week and 1 in the next, for ever: weeks are counted from the first Monday there was."""
    return (day.toordinal() - 1) // 7 % 2


def dutch_holidays(years: range) -> frozenset[date]:
    """Days on which the Netherlands do not work."""
    found = set()
    for year in years:
        easter = _easter(year)
        king = date(year, 4, 27)
        found |= {date(year, 1, 1), date(year, 12, 25), date(year, 12, 26)}
        found.add(king - timedelta(days=1) if king.weekday() == SUNDAY else king)
        found |= {easter + timedelta(days=after) for after in (0, 1, 39, 49, 50)}
    return frozenset(found)


def _easter(year: int) -> date:
    """Easter Sunday (the anonymous Gregorian computation)."""
    a, (b, c) = year % 19, divmod(year, 100)
    (d, e), g = divmod(b, 4), (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    shift = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * shift) // 451
    month, day = divmod(h + shift - 7 * m + 114, 31)
    return date(year, month, day + 1)
