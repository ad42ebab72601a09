"""The fleet: which vehicles come, from a table of registrations that a user can replace.

A vehicle is drawn by a rank, the vehicles in the order of their batteries, so that who needs much drives what
holds much and the whole still has the shares of the table.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from controller.site import SiteError
from twin.sessions import UP_MAX_S, Car

EFFICIENCY = 0.9  # of the charger in the vehicle: kWh in the battery of those at the plug
REQUIRED = ("model", "registrations", "battery_kwh", "ac_1_a")
PHASES = ("ac_1_a", "ac_2_a", "ac_3_a")


@dataclass(frozen=True, slots=True)
class Model:
    """A row of the table: a vehicle as it is sold, and how many of them there are."""

    name: str
    vehicle: str
    registrations: float
    battery_wh: float
    max_ma: tuple[int, int, int]
    """Most per phase on one, two and three phases; 0: it does not use so many."""
    min_ma: int

    @property
    def usable_wh(self) -> float:
        """What it takes at the plug from empty to full."""
        return self.battery_wh / EFFICIENCY

    @property
    def phases(self) -> int:
        """How many it uses at most."""
        return max(count for count, most_ma in enumerate(self.max_ma, start=1) if most_ma)

    def car(self, draw: np.random.Generator) -> Car:
        """One of them, with its own reaction times and end of charge (ranges as of `draw_car`)."""
        down_s, up_s, slope = draw.uniform(0.5, 5.0), draw.uniform(2.0, 20.0), draw.uniform(1.0, 5.0)
        most_ma = self.max_ma[self.phases - 1]
        return Car(
            phases=self.phases,
            max_ma=most_ma,
            min_ma=self.min_ma,
            down_ms=round(down_s * 1000),
            up_ms=round(up_s * 1000),
            ramp_ma_s=max(slope * 1000, most_ma / (UP_MAX_S - up_s)),
            taper_wh=self.usable_wh * draw.uniform(0.10, 0.25),
        )


class Fleet:
    """Models that may come, the smallest battery first."""

    def __init__(self, models: Iterable[Model]) -> None:
        self.models = sorted(models, key=lambda model: (model.battery_wh, model.name))
        self._sums = list(accumulate(model.registrations for model in self.models))

    @property
    def vehicles(self) -> set[str]:
        """The kinds of vehicles that there are."""
        return {model.vehicle for model in self.models}

    def only(self, vehicles: Container[str]) -> Fleet:
        """The models of these kinds."""
        return Fleet(model for model in self.models if model.vehicle in vehicles)

    def model(self, rank: float) -> Model:
        """The model at this rank, 0..1, of all registrations."""
        place = int(np.searchsorted(self._sums, rank * self._sums[-1], side="right"))
        return self.models[min(place, len(self.models) - 1)]


def read_fleet(path: Path | None = None) -> Fleet:
    """The fleet of a CSV, or the one that ships. Raises SiteError, one sentence per mistake."""
    source = str(path or "fleet_nl.csv")
    try:
        text = path.read_text("utf-8-sig") if path else (files("twin") / "data/fleet_nl.csv").read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{source}: cannot be read: {error}; give the path of a CSV file."]) from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = list(csv.DictReader(lines))
    if not table:
        raise SiteError([f"{source}: has no models; it needs a header line and at least one row."])
    faults = _header_faults([name for name in table[0] if name is not None])
    models = []
    for number, row in enumerate(table if not faults else [], start=2):
        try:
            models.append(_model(row))
        except ValueError as reason:
            faults.append(f"row {number}, {reason}")
    if not faults and not any(model.registrations for model in models):
        faults = ["row 2, column registrations: all are 0; give how many there are of each."]
    if faults:
        raise SiteError([f"{source}: {fault}" for fault in faults])
    return Fleet(models)


def _header_faults(header: list[str]) -> list[str]:
    faults = []
    for name in REQUIRED:
        if name not in header:
            close = get_close_matches(name, header, n=1)
            hint = f'rename column "{close[0]}"' if close else "add it"
            faults.append(f'row 1: there is no column "{name}"; {hint}.')
    return faults


def _model(row: Mapping[Any, Any]) -> Model:
    """One row; raises ValueError with "column c: what is wrong; what to do"."""
    if None in row:
        raise ValueError("column 1: there are more cells than columns; write decimals with a point.")
    currents = [_number(row, column, 0.0, least=0, most=80) for column in PHASES]
    for column, amps in zip(PHASES, currents, strict=True):
        if 0 < amps < 6:
            raise ValueError(f"column {column}: {amps:g} A is below 6 A; give 6 to 80, or 0 for never.")
    if not any(currents):
        raise ValueError("column ac_1_a: the vehicle charges on no number of phases; give 6 to 80 A.")
    return Model(
        name=(row["model"] or "").strip(),
        vehicle=(row.get("vehicle") or "car").strip(),
        registrations=_number(row, "registrations", None, least=0, most=1e9),
        battery_wh=1000 * _number(row, "battery_kwh", None, least=1, most=2000),
        max_ma=(round(currents[0] * 1000), round(currents[1] * 1000), round(currents[2] * 1000)),
        min_ma=round(1000 * _number(row, "min_a", 6.0, least=6, most=32)),
    )


def _number(
    row: Mapping[Any, Any], column: str, default: float | None, *, least: float, most: float
) -> float:
    text = (row.get(column) or "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f'column {column}: "{text}" is no number; give {least:g} to {most:g}.') from None
    if not least <= value <= most:
        raise ValueError(f"column {column}: {value:g} is not possible; give {least:g} to {most:g}.")
    return value
