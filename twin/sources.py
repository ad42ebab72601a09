"""Building load and PV: series of power on a board, piecewise constant, repeated by calendar."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import SiteError

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


def read_profile(path: Path, column: str) -> Profile:
    """One column of a CSV whose first column is local time in even steps. Raises SiteError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.reader(line for line in file if not line.startswith("#")))
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: cannot be read: {error}; give the path of a CSV file."]) from None
    if len(table) < 3 or column not in table[0]:
        known = ", ".join(table[0][1:]) if table else "nothing"
        raise SiteError([f'{path}: there is no column "{column}" with at least two rows; it has {known}.'])
    place = table[0].index(column)
    try:
        times = [datetime.fromisoformat(row[0]) for row in table[1:3]]
    except ValueError as error:
        raise SiteError([f"{path}: row 2, column {table[0][0]}: {error}; write 2016-03-07 00:15."]) from None
    values = []
    for number, row in enumerate(table[1:], start=2):
        try:
            values.append(float(row[place]))
        except (ValueError, IndexError):
            raise SiteError([f"{path}: row {number}, column {column}: no number; fill the gap."]) from None
    step_s = int((times[1] - times[0]).total_seconds())
    if step_s <= 0 or times[0].tzinfo:
        raise SiteError([f"{path}: column {table[0][0]}: needs local times in even steps, without offset."])
    return Profile(times[0], step_s, tuple(values))
