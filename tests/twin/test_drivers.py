"""Drivers who come by themselves."""

import itertools
import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from twin.drivers import come

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 5, 11, tzinfo=ZONE).astimezone(UTC)  # a Monday
DAY_MS = 86_400_000


def drivers(connectors=60, count=80, days=7, seed=1, population="workplace", patience_s=1800.0):
    return come(population, count, connectors, START, days * DAY_MS, ZONE, seed, patience_s)


def test_workplaces_fill_on_weekday_mornings_and_stand_empty_at_weekends():
    sessions = drivers()
    per_day = [sum(day * DAY_MS <= s.plug_in_ms < (day + 1) * DAY_MS for s in sessions) for day in range(7)]
    assert all(40 <= count <= 75 for count in per_day[:5])
    assert all(count <= 12 for count in per_day[5:])
    hours = sorted(session.plug_in_ms % DAY_MS / 3_600_000 for session in sessions)
    assert hours[len(hours) // 2] == pytest.approx(9.0, abs=0.8)
    energies = sorted(session.energy_wh for session in sessions)
    assert energies[len(energies) // 2] == pytest.approx(8_800, rel=0.25)


def test_nobody_takes_a_connector_that_is_taken():
    sessions = drivers(connectors=20)
    for connector in range(20):
        stays = sorted(
            (session.plug_in_ms, session.plug_out_ms)
            for session in sessions
            if session.connector == connector
        )
        assert all(before[1] < after[0] for before, after in itertools.pairwise(stays))


def test_one_more_connector_changes_where_people_park_not_who_comes():
    few, many = drivers(connectors=100), drivers(connectors=101)
    assert {(s.key, s.plug_in_ms, s.plug_out_ms, s.energy_wh, s.car) for s in few} == {
        (s.key, s.plug_in_ms, s.plug_out_ms, s.energy_wh, s.car) for s in many
    }


def test_who_finds_no_place_waits_and_then_gives_up():
    patient, hasty = drivers(connectors=15, patience_s=4 * 3600.0), drivers(connectors=15, patience_s=0.0)
    assert len(hasty) < len(patient) < len(drivers())


def test_a_driver_keeps_car_and_card():
    cars = {}
    for session in drivers():
        cars.setdefault(session.card, set()).add(session.car)
    assert len(cars) > 60
    assert all(len(found) == 1 for found in cars.values())


def test_the_world_runs_without_mesa():
    code = (
        "import scenarios.run, scenarios.report, sys; print('mesa' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr
