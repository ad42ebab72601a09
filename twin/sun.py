"""Solar plants: what the sky over a place lets them give, minute by minute, by the models of pvlib.

The sky is clear, or as cloudy as a word says, or as a typical year of PVGIS says hour by hour. Within an hour
clouds come and go: a cloud has passed after some minutes, and the hour still brings what it should. All is
computed before the story begins; nothing of it is needed while it runs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field

from controller.quantities import FrozenTable
from controller.site import Site, SiteError
from twin.sources import Load, Profile
from twin.streams import stream

MINUTE_S: Final = 60
CLOUD_MIN: Final = 5.0  # a cloud is over the panels for so long on average
OPEN: Final = 1.05  # clear-sky index between clouds, with their bright edges
UNDER: Final = 0.3  # and under one
STEADY: Final = 0.95  # from here on the sky is blue
MOST: Final = 1.25  # the edge of a cloud makes no more of the sun
ROUNDS: Final = 20
SKIES: Final = {"none": 1.0, "few": 0.85, "broken": 0.65, "overcast": 0.3}
LOW_SUN_W_M2: Final = 50.0  # below, a measured hour says nothing of the sky
GAMMA_PER_C: Final = -0.0035  # crystalline silicon                                          [PVWatts v5]
INVERTER: Final = 0.96  # nominal efficiency of an inverter                                  [PVWatts v5]
AIR_C: Final = 15.0
WIND_M_S: Final = 1.0
"""Where no file says more."""

Sky = Literal["none", "few", "broken", "overcast"]


class Sun(FrozenTable):
    """A solar plant: a load that feeds in on a board, or what an inverter could give."""

    grid: str | None = None
    inverter: str | None = None
    latitude: Annotated[float, Field(ge=-66, le=66)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    kwp: Annotated[float, Field(gt=0, le=100_000)]
    """Of all panels, at the standard conditions of their data sheet."""
    inverter_kw: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """It gives no more; None: `kwp`."""
    tilt: Annotated[float, Field(ge=0, le=90)] = 15.0
    azimuth: Annotated[float, Field(ge=0, le=360)] = 180.0
    """180: south."""
    losses_percent: Annotated[float, Field(ge=0, lt=100)] = 14.0
    """Dirt, wires, mismatch, ageing."""
    clouds: Sky = "none"
    weather: Path | None = None
    """A typical year of PVGIS, in place of `clouds`."""
    split: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Parts on the board's own L1, L2, L3."""

    def complaints(self, site: Site) -> Iterator[str]:
        """One sentence for everything that does not fit the site."""
        if (self.grid is None) == (self.inverter is None):
            yield "name either a grid or an inverter."
        elif self.grid is not None and self.grid not in site.grid:
            yield f'grid: the site has no grid "{self.grid}".'
        elif self.inverter is not None and self.inverter not in site.inverter:
            yield f'inverter: the site has no inverter "{self.inverter}".'
        if self.weather is not None and self.clouds != "none":
            yield "clouds: the weather file tells of them; remove one of the two."
        if sum(self.split) <= 0 or min(self.split) < 0:
            yield "split: give three parts, none below 0, like [1, 1, 1]."

    def load(self, site: Site, folder: Path, start_utc: datetime, length_ms: int, seed: int) -> Load:
        """What it gives while the story lasts. Raises SiteError for its weather."""
        most_w = (self.inverter_kw or self.kwp) * 1000
        made = profile(self, folder, start_utc, length_ms, seed)
        if self.inverter is not None:
            each = 1 / site.inverter[self.inverter].phases
            return Load("", most_w, made, (each, each, each), ZoneInfo("UTC"), self.inverter)
        first, second, third = (part / sum(self.split) for part in self.split)
        return Load(str(self.grid), -most_w, made, (first, second, third), ZoneInfo("UTC"))


class Weather(NamedTuple):
    """A typical year: W/m2 on level ground, degrees and m/s, one each hour from January 1, 00:00 UTC on."""

    ghi: Any
    air_c: Any
    wind_m_s: Any

    @staticmethod
    def at(column: Any, times: Any) -> Any:
        """Values of a column at instants of any year, straight lines between the hours."""
        hours = (times.day_of_year - 1 - (times.is_leap_year & (times.day_of_year > 59))) * 24 + (
            times.hour + times.minute / 60 + times.second / 3600
        )
        return np.interp(np.asarray(hours, "f8"), np.arange(len(column)), column, period=len(column))


def profile(sun: Sun, folder: Path, start_utc: datetime, length_ms: int, seed: int) -> Profile:
    """Shares of the power of the inverter, one each minute of UTC, that of the middle of its minute."""
    try:
        import pandas as pd
        from pvlib.location import Location
    except ImportError:
        raise SiteError(['[[sun]] needs pvlib: pip install "edge-twin[sun]".']) from None
    first = start_utc.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
    count = length_ms // (MINUTE_S * 1000) + 2
    middle = first + timedelta(seconds=MINUTE_S / 2)
    times = pd.date_range(middle, periods=count, freq="min", tz="UTC")
    place = Location(sun.latitude, sun.longitude, "UTC")
    weather = read_weather(folder / sun.weather) if sun.weather else None
    watts = _watts(sun, place, times, _sky(sun, place, times, weather, seed), weather)
    most_w = (sun.inverter_kw or sun.kwp) * 1000
    return Profile(first, MINUTE_S, tuple(float(watt) / most_w for watt in watts))


def _watts(sun: Sun, place: Any, times: Any, index: Any, weather: Weather | None) -> Any:
    """AC power: PVWatts on panels in one plane, under a sky that lets `index` of a clear one through."""
    from pvlib.irradiance import erbs
    from pvlib.modelchain import ModelChain
    from pvlib.pvsystem import Array, FixedMount, PVSystem
    from pvlib.temperature import TEMPERATURE_MODEL_PARAMETERS

    stands = place.get_solarposition(times)
    sky = place.get_clearsky(times, solar_position=stands)
    if sun.weather is not None or sun.clouds != "none":
        sky["ghi"] *= index
        parts = erbs(sky["ghi"], stands["zenith"], times)
        sky["dni"], sky["dhi"] = parts["dni"], parts["dhi"]
    sky["temp_air"] = AIR_C if weather is None else Weather.at(weather.air_c, times)
    sky["wind_speed"] = WIND_M_S if weather is None else Weather.at(weather.wind_m_s, times)
    panels = Array(
        FixedMount(sun.tilt, sun.azimuth),
        module_parameters={"pdc0": sun.kwp * 1000, "gamma_pdc": GAMMA_PER_C},
        temperature_model_parameters=TEMPERATURE_MODEL_PARAMETERS["sapm"]["open_rack_glass_glass"],
    )
    none = dict.fromkeys(
        (
            "shading",
            "snow",
            "mismatch",
            "wiring",
            "connections",
            "lid",
            "nameplate_rating",
            "age",
            "availability",
        ),
        0,
    )
    plant = PVSystem(
        [panels],
        inverter_parameters={"pdc0": (sun.inverter_kw or sun.kwp) * 1000 / INVERTER, "eta_inv_nom": INVERTER},
        losses_parameters=none | {"soiling": sun.losses_percent},
    )
    chain = ModelChain.with_pvwatts(plant, place)
    chain.run_model(sky)
    return np.nan_to_num(np.asarray(chain.results.ac, "f8")).clip(min=0)


def _sky(sun: Sun, place: Any, times: Any, weather: Weather | None, seed: int) -> Any:
    """Clear-sky index of every minute: as cloudy as told, and clouds that come and go."""
    if weather is None:
        wanted = np.full(len(times), SKIES[sun.clouds])
    else:
        import pandas as pd

        stamps = pd.date_range("2001-01-01", periods=len(weather.ghi), freq="h", tz="UTC")
        clear = np.asarray(place.get_clearsky(stamps)["ghi"], "f8")
        told = clear >= LOW_SUN_W_M2
        hours = np.arange(len(clear))
        seen = np.interp(hours, hours[told], np.minimum(weather.ghi[told] / clear[told], MOST))
        wanted = Weather.at(seen, times)
    return passing(wanted, stream(seed, "clouds", f"{sun.latitude:.2f} {sun.longitude:.2f}"))


def passing(wanted: Any, draw: np.random.Generator) -> Any:
    """Minutes of sun and shade with the mean that is wanted; a blue and a grey sky stay as they are."""
    shaded = np.clip((OPEN - wanted) / (OPEN - UNDER), 0, 1)
    changing = (wanted > UNDER) & (wanted < STEADY)
    leaves = 1 / CLOUD_MIN
    dice = draw.random(len(wanted) + 1)
    under = dice[0] < shaded[0]
    index = np.empty(len(wanted))
    for minute, part in enumerate(shaded):
        comes = leaves * part / (1 - part) if part < 1 else 1.0
        under = dice[minute + 1] >= leaves if under else dice[minute + 1] < comes
        index[minute] = UNDER if under else OPEN
    return np.where(changing, _balanced(index, wanted), wanted)


def _balanced(index: Any, wanted: Any) -> Any:
    """The same minutes, so that every hour of 60 of them has the mean that is wanted."""
    hours = np.arange(len(index)) // 60
    goals = np.bincount(hours, wanted)
    for _ in range(ROUNDS):  # what the brightest minutes cannot take goes to the others
        index = np.clip(index * (goals / np.bincount(hours, index))[hours], 0, MOST)
    return index


_COLUMNS: Final = {"G(h)": (-1.0, 1500.0), "T2m": (-60.0, 60.0), "WS10m": (0.0, 100.0)}
_UNITS: Final = {"G(h)": "W/m2", "T2m": "degrees Celsius", "WS10m": "m/s"}
YEAR_H: Final = 8760


def read_weather(path: Path) -> Weather:
    """A typical meteorological year as PVGIS gives it out as CSV. Raises SiteError."""
    try:
        lines = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: cannot be read: {error}; give the path of a CSV file of PVGIS."]) from None
    head = next((number for number, line in enumerate(lines) if line[:1] == ["time(UTC)"]), None)
    if head is None or not set(_COLUMNS) <= set(lines[head]):
        names = ", ".join(["time(UTC)", *_COLUMNS])
        raise SiteError([f"{path}: there is no line with {names}; take the TMY of PVGIS as CSV."])
    columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    before: datetime | None = None
    for number, cells in enumerate(lines[head + 1 : head + 1 + YEAR_H], start=head + 2):
        row = dict(zip(lines[head], cells, strict=False))
        before = _next_hour(path, number, row.get("time(UTC)", ""), before)
        for name, values in columns.items():
            values.append(_value(path, number, name, row.get(name, "")))
    if len(columns["G(h)"]) < YEAR_H:
        raise SiteError([f"{path}: has {len(columns['G(h)'])} hours; a typical year has {YEAR_H}."])
    return Weather(*(np.array(columns[name]) for name in _COLUMNS))


def _next_hour(path: Path, number: int, text: str, before: datetime | None) -> datetime:
    """Time of a row; the months of a typical year are of different years. Raises SiteError."""
    where = f"{path}: row {number}, column time(UTC)"
    try:
        now = datetime.strptime(text, "%Y%m%d:%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise SiteError([f'{where}: "{text}" is no time like 20070101:0000; mend the row.']) from None
    due = (
        datetime(2001, 1, 1, tzinfo=UTC) if before is None else before.replace(year=2001) + timedelta(hours=1)
    )
    if (now.month, now.day, now.hour) != (due.month, due.day, due.hour):
        raise SiteError([f"{where}: {text} where {due:%d %B %H}:00 is due; fill the gap or sort the rows."])
    return now


def _value(path: Path, number: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SiteError([f"{path}: row {number}, column {name}: no number; fill the gap."]) from None
    low, high = _COLUMNS[name]
    if not low <= value <= high:
        wanted = f"give {_UNITS[name]} from {low:g} to {high:g}"
        raise SiteError([f"{path}: row {number}, column {name}: {text} cannot be; {wanted}."])
    return max(value, 0.0) if name == "G(h)" else value
