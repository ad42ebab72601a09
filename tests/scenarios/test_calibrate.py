"""Habits made of real sessions, and what their drivers are judged by."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from controller.site import SiteError
from scenarios import calibrate
from scenarios.__main__ import app
from twin.drivers import Crowd, come
from twin.habits import blended, even, read_habits

pytestmark = pytest.mark.timeout(300)  # draws the data a few hundred times
WEEK = Path(__file__).parents[2] / "scenarios" / "library" / "data" / "acn_jpl_2019-W20.csv"
PASADENA, UTC_ZONE = ZoneInfo("America/Los_Angeles"), ZoneInfo("UTC")
SEPTEMBER = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday


@pytest.fixture(scope="module")
def week():
    days, remarks = calibrate.read(WEEK, PASADENA)
    assert remarks == ()
    return days


@pytest.fixture(scope="module")
def fit(week):
    return calibrate.calibrate("week", week)


def within(fit):
    return {far.name: far.passed for far in fit.distances}


def test_the_days_of_a_file_are_local_days_also_the_empty_ones(week):
    assert week.dates == tuple(date(2019, 5, 13) + timedelta(days=n) for n in range(7))
    assert week.counts.tolist()[:5] == [81, 75, 76, 79, 72]
    assert week.counts.sum() == len(week.arrival_h) == 439
    assert 6 < np.median(week.arrival_h) < 9


def test_drivers_made_of_a_real_week_are_within_the_band_of_its_own_days(fit):
    """Seven numbers of cars say nothing of how they scatter: that is for months (docs/drivers.md)."""
    passed = within(fit)
    for quantity in ("arrival", "stay", "energy", "departure, not fitted"):
        for distance in ("Kolmogorov-Smirnov", "Wasserstein"):
            assert passed[f"{quantity}: {distance}"], fit.distances
    assert passed["rank correlation of arrival and stay"]
    assert passed["rank correlation of arrival and energy"]


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ({"arrival_h": 1.5}, "arrival: Kolmogorov-Smirnov"),
        ({"stay_h": 1.5}, "stay: Wasserstein"),
        ({"energy_kwh": 3.0}, "energy: Wasserstein"),
    ],
)
def test_a_habit_that_is_wrong_is_seen(fit, week, wrong, seen):
    ((name, off),) = wrong.items()
    model = replace(fit.model, **{name: getattr(fit.model, name) + off})
    band = {far.name: far.band for far in fit.distances}
    measure = {measure: far for measure, _, far in calibrate.MEASURES}
    assert measure[seen](model, week) > 1.5 * band[seen]


def crowd(weeks, **habit):
    known = read_habits()["commuter"].model_copy(update=habit)
    drivers = Crowd({"commuter": 120}, [1], {"commuter": known}, calibrate.ANY_CAR, frozenset())
    sessions = [
        s for s in come(drivers, SEPTEMBER, weeks * 7 * calibrate.DAY_MS, UTC_ZONE, 5) if s.plug_in_ms > 0
    ]
    begin_ms = np.array([s.plug_in_ms for s in sessions])
    dates = tuple(SEPTEMBER.date() + timedelta(days=n) for n in range(weeks * 7))
    return calibrate.Days(
        dates,
        np.arange(weeks * 7) % 7,
        begin_ms // calibrate.DAY_MS,
        begin_ms % calibrate.DAY_MS / 3.6e6,
        np.array([s.plug_out_ms - s.plug_in_ms for s in sessions]) / 3.6e6,
        np.array([s.energy_wh / 1000 for s in sessions]),
        np.array([s.told_out_ms - s.plug_out_ms for s in sessions]) / 3.6e6,
    )


def test_between_two_parts_of_the_arrivals_stays_lie_between():
    early, late = even((8.0, 10.0)), even((2.0, 4.0))
    before = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert blended((early, late), before, np.full(5, 0.5)) == pytest.approx([9, 9, 6, 3, 3])
    assert blended((early,), before, np.full(5, 0.5)) == pytest.approx([9] * 5)


@pytest.mark.parametrize("days", [6, 8, 13])
def test_a_week_of_another_length_is_refused(tmp_path, days):
    path = tmp_path / "habits.toml"
    path.write_text(f'[odd]\nlike = "public"\nweekday = {[0.5] * days}\n', encoding="utf-8")
    with pytest.raises(SiteError, match="weekday"):
        read_habits(path)


def test_a_known_habit_is_found_again_and_judged_on_days_it_was_not_made_of():
    found = calibrate.calibrate("known", crowd(6, spread=(0.25,) * 7, month=(1.0,) * 12, winter=0.0))
    come_known, come_found = (
        drivers * np.array(habit.weekday)
        for drivers, habit in ((120, read_habits()["commuter"]), (found.drivers, found.habit))
    )
    # 30 working days that each scatter by a quarter, 8 free days
    assert come_found[:5].mean() == pytest.approx(come_known[:5].mean(), abs=3 * 0.25 * 84 / 30**0.5)
    assert come_found[5:] == pytest.approx(come_known[5:], abs=4)
    assert np.mean(found.habit.spread[:5]) == pytest.approx(0.25, abs=0.12)
    assert np.median(found.habit.error_h) == pytest.approx(-0.5, abs=0.2)
    for far in found.distances[:3]:
        own, band = far.held_out
        assert own <= 1.2 * band


def test_a_friday_that_is_free_in_every_second_week_is_found():
    chance = (0.7, 0.7, 0.7, 0.7, 0.7, 0.03, 0.03)
    turning = (*chance, *chance[:4], 0.2, 0.03, 0.03)
    found, drivers = calibrate.fit(crowd(16, weekday=turning, spread=(0.05,) * 7, month=(1.0,) * 12))
    assert len(found.weekday) == 14
    cars = drivers * np.array(found.weekday)
    assert cars[4] == pytest.approx(120 * 0.7, abs=8)
    assert cars[11] == pytest.approx(120 * 0.2, abs=8)
    assert cars[:4] == pytest.approx(cars[7:11])
    steady, _ = calibrate.fit(crowd(16, weekday=chance, spread=(0.05,) * 7, month=(1.0,) * 12))
    assert len(steady.weekday) == 7


def test_free_days_have_stays_of_their_own():
    chance = (0.7, 0.7, 0.7, 0.7, 0.7, 0.4, 0.4)
    short = ((0.5, 1.0, 1.5, 2.0),)
    found, _ = calibrate.fit(crowd(6, weekday=chance, weekend_stay_h=short, month=(1.0,) * 12))
    assert max(max(band) for band in found.weekend_stay_h) <= 2.0
    assert np.median([np.median(band) for band in found.stay_h]) > 3.0


def test_days_that_scatter_more_show_as_dispersion():
    calm, wild = (calibrate.dispersion(crowd(8, spread=(spread,) * 7)) for spread in (0.0, 0.3))
    assert calm < 1
    assert wild > 2


def test_the_command_prints_distances_and_writes_a_page_and_a_habit_that_a_scenario_takes(tmp_path):
    page, habits = tmp_path / "fit.html", tmp_path / "habits.toml"
    done = CliRunner().invoke(
        app,
        [
            "calibrate",
            str(WEEK),
            "--timezone",
            "America/Los_Angeles",
            "-o",
            str(page),
            "--habits",
            str(habits),
        ],
    )
    assert done.exit_code in {0, 1}, done.output
    assert "Wasserstein" in done.output
    text = page.read_text()
    assert text.count("<svg") == 2 * 5
    assert not re.search(r"https?://|<script|<link|src=", text)
    made = read_habits(habits)["acn_jpl_2019-W20"]
    assert made.arrivals.at(0.5) == pytest.approx(7.3, abs=0.5)
    assert "commuter" in read_habits(habits)


def test_too_few_sessions_or_no_such_zone_is_one_sentence(tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("connector,plug_in,plug_out,energy_kwh\n1,2026-03-02 08:00,2026-03-02 17:00,5\n")
    with pytest.raises(SiteError, match="has 1 usable sessions; calibration needs at least 50"):
        calibrate.read(few, PASADENA)
    with pytest.raises(SiteError, match="--timezone Mars: there is none; write it like Europe/Amsterdam"):
        calibrate.main(WEEK, "Mars", (), tmp_path / "page.html", None)
