"""The fleet: which vehicles come, from a table of registrations that a user can replace.

A vehicle is drawn by a rank, the vehicles in the order of their batteries, so that who needs much drives what
holds much and the whole still has the shares of the table.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import SiteError
from twin.curves import KNOTS, Points
from twin.sessions import TAPER_END, UP_MAX_S, Car
from twin.tables import read_sheet, read_sheet_file

EFFICIENCY = 0.9  # of the charger in the vehicle: kWh in the battery of those at the plug
WARM_C, COLD_C = 10.0, -10.0  # between them a battery takes less and less
DC_TAPER = 0.4  # of the battery: where the power on DC begins to fall if the table does not say
AT = re.compile(r"(ac|dc)_at_(\d{1,3})")
"""Column of a curve: percent of the power on AC or DC that the battery takes at that state of charge."""
OPTIONAL = (
    "vehicle",
    "ac_2_a",
    "ac_3_a",
    "min_a",
    "power_factor",
    "power_factor_6a",
    "cold_percent",
    "dc_kw",
    "dc_cold_percent",
)
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
    ac_curve: Points = ()
    """Wh still to come and the W then taken at the plug; empty: drawn for each car."""
    power_factor: float = 1.0
    power_factor_6a: float = 1.0
    cold: float = 1.0
    """Share of its power that it takes on AC when it has stood in 10 degrees of frost."""
    dc_curve: Points | None = None
    """As `ac_curve`, on DC; empty: it takes none; None: not known."""
    cold_dc: float = 1.0

    @property
    def usable_wh(self) -> float:
        """What it takes at the plug from empty to full."""
        return self.battery_wh / EFFICIENCY

    @property
    def phases(self) -> int:
        """How many it uses at most."""
        return max(count for count, most_ma in enumerate(self.max_ma, start=1) if most_ma)

    def accepts(self, outside_c: float | None) -> tuple[float, float]:
        """Shares of its power on AC and on DC that a battery takes that has stood in this temperature."""
        if outside_c is None:
            return 1.0, 1.0
        frost = min(max((WARM_C - outside_c) / (WARM_C - COLD_C), 0.0), 1.0)
        return 1.0 - frost * (1.0 - self.cold), 1.0 - frost * (1.0 - self.cold_dc)

    def charges_at(self, *, direct: bool) -> bool:
        """Whether it can use such an outlet."""
        return not direct or self.dc_curve != ()

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
            curve=self.ac_curve,
            dc_curve=self.dc_curve,
            max_by_phases=self.max_ma,
            power_factor=self.power_factor,
            power_factor_6a=self.power_factor_6a,
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
    if path:
        sheet = read_sheet_file(path, "models")
    else:
        sheet = read_sheet(source, (files("twin") / "data/fleet_nl.csv").read_text(), "models")
    faults = _header_faults(sheet.columns)
    models = []
    for number, row in sheet.rows if not faults else []:
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
    for name in header:
        known = [*REQUIRED, *OPTIONAL, "ac_at_80", "dc_at_80"]
        at = AT.fullmatch(name)
        if name not in known and (at is None or int(at[2]) > 100):
            close = get_close_matches(name, known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else "remove it."
            faults.append(f'row 1, column "{name}": is not known; {hint}')
    for kind in ("ac", "dc"):
        socs = [int(at[2]) for name in header if (at := AT.fullmatch(name)) and at[1] == kind]
        if len(set(socs)) < len(socs):
            faults.append(f"row 1: two columns {kind}_at_... mean the same percent; remove one.")
        if len(socs) > KNOTS - 1:
            faults.append(f"row 1: a curve has at most {KNOTS - 1} columns {kind}_at_...; leave some out.")
    if "dc_kw" not in header and any(name.startswith("dc_") for name in header):
        faults.append('row 1: there is no column "dc_kw" for the curve on DC; add it.')
    return faults


def _model(row: Mapping[Any, Any]) -> Model:
    """One row; raises ValueError with "column c: what is wrong; what to do"."""
    if None in row:
        raise ValueError(
            f"column {list(row)[-2]}: there are more cells than columns; write decimals with a point."
        )
    currents = [_number(row, column, 0.0, least=0, most=80) for column in PHASES]
    for column, amps in zip(PHASES, currents, strict=True):
        if 0 < amps < 6:
            raise ValueError(f"column {column}: {amps:g} A is below 6 A; give 6 to 80, or 0 for never.")
    if not any(currents):
        raise ValueError("column ac_1_a: the vehicle charges on no number of phases; give 6 to 80 A.")
    most_ma = max(amps * 1000 * count for count, amps in enumerate(currents, start=1))
    factor = _number(row, "power_factor", 1.0, least=0.05, most=1)
    battery_wh = 1000 * _number(row, "battery_kwh", None, least=1, most=2000)
    full_w = NOMINAL_VOLTAGE_V * most_ma / 1000 * factor
    cold = _number(row, "cold_percent", 100.0, least=5, most=100)
    return Model(
        name=(row["model"] or "").strip(),
        vehicle=(row.get("vehicle") or "car").strip(),
        registrations=_number(row, "registrations", None, least=0, most=1e9),
        battery_wh=battery_wh,
        max_ma=(round(currents[0] * 1000), round(currents[1] * 1000), round(currents[2] * 1000)),
        min_ma=round(1000 * _number(row, "min_a", 6.0, least=6, most=32)),
        ac_curve=_curve(row, "ac", battery_wh / EFFICIENCY, full_w),
        power_factor=factor,
        power_factor_6a=_number(row, "power_factor_6a", factor, least=0.05, most=1),
        cold=cold / 100,
        dc_curve=_dc_curve(row, battery_wh / EFFICIENCY),
        cold_dc=_number(row, "dc_cold_percent", cold, least=5, most=100) / 100,
    )


def _dc_curve(row: Mapping[Any, Any], usable_wh: float) -> Points | None:
    """None where the table says nothing of DC; empty where the vehicle takes none. Raises ValueError."""
    if "dc_kw" not in row:
        return None
    full_w = 1000 * _number(row, "dc_kw", 0.0, least=0, most=2000)
    if full_w == 0:
        return ()
    # A car of which only the power is known: as on AC, an end of charge that nobody has measured.
    return _curve(row, "dc", usable_wh, full_w) or ((0.0, TAPER_END * full_w), (DC_TAPER * usable_wh, full_w))


def _curve(row: Mapping[Any, Any], kind: str, usable_wh: float, full_w: float) -> Points:
    """The curve from full to empty; a cell that is left empty is no point of it. Raises ValueError."""
    columns = sorted(
        (int(at[2]), name)
        for name in row
        if (at := AT.fullmatch(name)) and at[1] == kind and (row[name] or "").strip()
    )
    points: list[tuple[float, float]] = []
    before = ""
    for soc, column in reversed(columns):
        percent = _number(row, column, None, least=1, most=100)
        if points and percent / 100 * full_w < points[-1][1]:
            raise ValueError(
                f"column {column}: {percent:g} % is below the {points[-1][1] / full_w * 100:g} % of {before};"
                " the power must not rise as the battery fills."
            )
        points.append(((1 - soc / 100) * usable_wh, percent / 100 * full_w))
        before = column
    if points and points[0][0] > 0:
        raise ValueError(
            f"column {kind}_at_100: is empty; give the percent with which the charge ends, like 5."
        )
    return tuple(points)


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
