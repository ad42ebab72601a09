"""Solar plants: as pvlib computes them, clipped by their inverter, under clouds that come and go."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pvlib
import pytest

from controller.site import SiteError
from scenarios.run import play
from scenarios.scenario import Scenario, prepare
from twin.streams import stream
from twin.sun import MOST, OPEN, UNDER, Sun, passing, profile, read_weather

UTRECHT = {"latitude": 52.09, "longitude": 5.12}
DAY_MS = 86_400_000
LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"
JUNE = datetime(2026, 6, 20, tzinfo=UTC)


def watts(seed=1, *, start=JUNE, days=1, folder=Path(), **keys):
    sun = Sun.model_validate(UTRECHT | {"grid": "main", "kwp": 100.0} | keys)
    made = profile(sun, folder, start, days * DAY_MS, seed)
    assert made.step_s == 60
    return np.array(made.values[: days * 1440]) * (sun.inverter_kw or sun.kwp) * 1000


def by_hand(times, *, kwp, inverter_kw, tilt, azimuth, losses):
    """PVWatts from the functions of pvlib, one after the other."""
    place = pvlib.location.Location(**UTRECHT)
    sky = place.get_clearsky(times, solar_position=place.get_solarposition(times))
    stands = place.get_solarposition(times, temperature=15)  # air refracts
    panels = pvlib.irradiance.get_total_irradiance(
        tilt,
        azimuth,
        stands["apparent_zenith"],
        stands["azimuth"],
        sky["dni"],
        sky["ghi"],
        sky["dhi"],
        dni_extra=pvlib.irradiance.get_extra_radiation(times),
        airmass=pvlib.atmosphere.get_relative_airmass(stands["apparent_zenith"]),
        model="perez",
    )
    angle = pvlib.irradiance.aoi(tilt, azimuth, stands["apparent_zenith"], stands["azimuth"])
    usable = panels["poa_direct"] * pvlib.iam.physical(angle) + panels["poa_diffuse"]
    cell = pvlib.temperature.sapm_cell(panels["poa_global"], 15, 1, a=-3.47, b=-0.0594, deltaT=3)
    dc = pvlib.pvsystem.pvwatts_dc(usable, cell, kwp * 1000, -0.0035) * (1 - losses / 100)
    return pvlib.inverter.pvwatts(dc, inverter_kw * 1000 / 0.96).fillna(0).to_numpy()


@pytest.mark.parametrize("start", [JUNE, datetime(2026, 12, 20, tzinfo=UTC)])
def test_a_plant_gives_what_pvlib_says(start):
    minutes = pd.date_range(start + timedelta(seconds=30), periods=1440, freq="min")
    expected = by_hand(minutes, kwp=100, inverter_kw=80, tilt=35, azimuth=150, losses=10)
    found = watts(start=start, inverter_kw=80.0, tilt=35.0, azimuth=150.0, losses_percent=10.0)
    assert expected.max() > 20_000
    assert found == pytest.approx(expected, abs=1e-3)


def test_an_inverter_clips():
    wide, narrow = watts(inverter_kw=100.0), watts(inverter_kw=40.0)
    assert wide.max() > 60_000
    assert narrow.max() == pytest.approx(40_000)
    assert (narrow == narrow.max()).sum() > 300  # minutes flat at noon
    assert narrow.sum() < wide.sum()


def test_the_same_seed_is_the_same_sky_for_all_plants_of_a_place():
    sky = watts(clouds="broken")
    assert (sky == watts(clouds="broken")).all()
    assert not (sky == watts(seed=2, clouds="broken")).all()
    assert (sky == watts(clouds="broken", grid="roof")).all()
    assert not (sky == watts(clouds="broken", longitude=6.12)).all()


def test_clouds_come_within_a_minute_and_cost_what_was_told():
    clear, broken = (watts(days=5, clouds=word) for word in ("none", "broken"))
    assert 0.55 < broken.sum() / clear.sum() < 0.75
    falls = -np.diff(broken)
    assert falls.max() > 30_000
    assert -np.diff(clear).min() < 1_000


@pytest.mark.parametrize("mean", [0.35, 0.5, 0.65, 0.9])
def test_hours_under_passing_clouds_have_the_mean_that_was_wanted(mean):
    index = passing(np.full(6_000, mean), stream(1, "test"))
    assert index.reshape(-1, 60).mean(axis=1) == pytest.approx(np.full(100, mean), abs=0.005)
    assert index.mean() == pytest.approx(mean, abs=0.005)
    assert 0 <= index.min() < index.max() <= MOST


@pytest.mark.parametrize("steady", [UNDER, 0.95, 1.0, OPEN])
def test_a_blue_and_a_grey_sky_stay_as_they_are(steady):
    assert (passing(np.full(600, steady), stream(1, "test")) == steady).all()


def a_typical_year(path, share=0.5):
    """What PVGIS gives out, with so much of a clear sky and 20 degrees."""
    hours = pd.date_range("2007-01-01", periods=8760, freq="h", tz="UTC")
    clear = pvlib.location.Location(**UTRECHT).get_clearsky(hours)["ghi"]
    lines = ["Latitude (decimal degrees): 52.090", "Longitude (decimal degrees): 5.120", "Elevation (m): 5.0"]
    lines += ["month,year", *(f"{month},2007" for month in range(1, 13))]
    lines.append("time(UTC),T2m,RH,G(h),Gb(n),Gd(h),IR(h),WS10m,WD10m,SP")
    lines += [
        f"{hour:%Y%m%d:%H%M},20.0,80,{share * ghi:.2f},0,0,300,2.0,180,101000"
        for hour, ghi in zip(hours, clear, strict=True)
    ]
    lines += ["", "T2m: 2-m air temperature (degree Celsius)"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def typical(tmp_path_factory):
    return a_typical_year(tmp_path_factory.mktemp("weather") / "tmy.csv")


def test_a_typical_year_is_read_as_pvlib_reads_it(typical):
    ours = read_weather(typical)
    theirs, _ = pvlib.iotools.read_pvgis_tmy(typical)
    for column, name in zip(ours, ("ghi", "temp_air", "wind_speed"), strict=True):
        assert (column == theirs[name].to_numpy()).all()


@pytest.mark.parametrize(
    "start", [JUNE, datetime(2028, 3, 1, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC)]
)
def test_the_weather_of_the_file_comes_on_its_day_with_clouds_in_between(typical, start):
    clear = watts(start=start, days=3, tilt=0.0)
    half = watts(start=start, days=3, tilt=0.0, folder=typical.parent, weather=typical.name)
    assert 0.4 < half.sum() / clear.sum() < 0.62
    day = half[clear > 0.5 * clear.max()] / clear[clear > 0.5 * clear.max()]
    assert day.min() < 0.4
    assert day.max() > 0.9


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "time(UTC)",
            "time",
            "there is no line with time(UTC), G(h), T2m, WS10m; take the TMY of PVGIS as CSV.",
        ),
        ("20070101:0300,20.0", "20070101:0300,", "row 21, column T2m: no number; fill the gap."),
        ("20070101:0300,20.0", "20070101:0300,293.15", "row 21, column T2m: 293.15 cannot be; give degrees"),
        (
            "20070101:0300",
            "01.01.2007",
            'row 21, column time(UTC): "01.01.2007" is no time like 20070101:0000',
        ),
        (
            "20070101:0300",
            "20070101:0400",
            "row 21, column time(UTC): 20070101:0400 where 01 January 03:00 is due",
        ),
        ("20071231:2300", "#", "row 8777, column time(UTC)"),
    ],
)
def test_bad_weather_is_one_sentence(typical, tmp_path, old, new, sentence):
    path = tmp_path / "bad.csv"
    text = typical.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SiteError) as error:
        read_weather(path)
    (line,) = error.value.lines
    assert line.startswith(str(path))
    assert sentence in line


def test_a_year_that_ends_early_or_is_not_there_is_one_sentence(typical, tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("\n".join(typical.read_text().splitlines()[:5_000]))
    with pytest.raises(SiteError, match="has 4983 hours; a typical year has 8760"):
        read_weather(path)
    with pytest.raises(SiteError, match="cannot be read"):
        read_weather(tmp_path / "none.csv")


def house(*suns):
    """The house of the library that feeds nothing back, without its other load, on a day of its own sun."""
    told = tomllib.loads((LIBRARY / "zero_export.toml").read_text())
    keys = {key: told[key] for key in ("name", "site", "start", "length_s", "sessions")}
    scenario = Scenario.model_validate(keys | {"mode": "minute", "sun": [UTRECHT | sun for sun in suns]})
    return scenario.read_from(LIBRARY / "zero_export.toml")


def test_a_plant_on_a_board_feeds_in_and_one_behind_an_inverter_is_curtailed():
    story = prepare(house({"kwp": 12.0, "grid": "main"}))
    (plant,) = story.loads
    hours = range(4 * 60)
    made_kwh = -plant.peak_w * sum(plant.profile.values[minute] for minute in hours) / 60 / 1000
    free = play(story).figures
    assert made_kwh > 15
    assert free.delivered_kwh + free.exported_kwh - free.imported_kwh - free.battery_given_kwh < made_kwh
    assert free.exported_kwh > 1
    held = play(prepare(house({"kwp": 12.0, "inverter": "roof"}))).figures
    assert held.curtailed_kwh > 1
    assert held.exported_kwh < 0.5


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "[sun] number 1 name either a grid or an inverter."),
        ({"grid": "main", "inverter": "roof"}, "[sun] number 1 name either a grid or an inverter."),
        ({"grid": "attic"}, '[sun] number 1 grid: the site has no grid "attic".'),
        ({"inverter": "attic"}, '[sun] number 1 inverter: the site has no inverter "attic".'),
        (
            {"grid": "main", "weather": "x.csv", "clouds": "few"},
            "[sun] number 1 clouds: the weather file tells of them; remove one of the two.",
        ),
        ({"grid": "main", "split": (0, 0, 0)}, "[sun] number 1 split: give three parts, none below 0"),
    ],
)
def test_a_plant_that_fits_nowhere_is_one_sentence(keys, sentence):
    with pytest.raises(SiteError) as error:
        prepare(house({"kwp": 12.0} | keys))
    (line,) = error.value.lines
    assert sentence in line
