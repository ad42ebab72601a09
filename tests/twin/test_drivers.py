"""Drivers who come by themselves, and what becomes of them at the site."""

import itertools
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.site import SiteError
from controller.topology import compile_site
from scenarios.scenario import Scenario, prepare
from tests.twin.small_site import START as SMALL_START
from tests.twin.small_site import STRONG, stay, uncontrolled, world
from tests.twin.small_site import site as small
from twin.conditions import Conditions
from twin.drivers import Crowd, come
from twin.habits import dutch_holidays, parted, read_habits
from twin.sessions import UNPLACED
from twin.world import World

ZONE = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 5, 18, tzinfo=ZONE).astimezone(UTC)  # a Monday in a week without holidays but the next
DAY_MS = 86_400_000
HABITS = read_habits()


def drivers(connectors=60, count=80, days=7, seed=1, habit="commuter", start=START, **words):
    crowd = Crowd({habit: count}, [22_000] * connectors, **words)
    return come(crowd, start, days * DAY_MS, ZONE, seed)


def per_day(sessions, days):
    """How many come on each day; the first day has those of the night before too."""
    return [sum(day * DAY_MS < s.plug_in_ms < (day + 1) * DAY_MS for s in sessions) for day in range(days)]


def test_workplaces_fill_on_weekday_mornings_and_stand_empty_at_weekends():
    sessions = drivers()
    counts = per_day(sessions, 7)
    assert all(38 <= count <= 75 for count in counts[:5])
    assert all(count <= 12 for count in counts[5:])
    hours = sorted(session.plug_in_ms % DAY_MS / 3_600_000 for session in sessions)
    assert hours[len(hours) // 2] == pytest.approx(9.0, abs=0.8)
    energies = sorted(session.energy_wh for session in sessions)
    assert energies[len(energies) // 2] == pytest.approx(8_800, rel=0.25)


@pytest.mark.parametrize(
    ("habit", "curve", "quantity"),
    [
        (habit, curve, quantity)
        for habit in ("commuter", "visitor", "resident")
        for curve, quantity in (
            ("arrivals", lambda s: s.plug_in_ms % DAY_MS / 3.6e6),
            ("stays", lambda s: (s.plug_out_ms - s.plug_in_ms) / 3.6e6),
            ("energies", lambda s: s.energy_wh / 1000),
        )
    ],
)
def test_arrival_stay_and_energy_keep_the_measured_distributions(habit, curve, quantity):
    sessions = [s for s in drivers(1, 1500, 5, habit=habit) if s.plug_in_ms > 0]
    measured = getattr(HABITS[habit], curve)
    measured = measured if curve == "arrivals" else measured[0]
    values = np.sort([quantity(session) for session in sessions])
    share = np.interp(values, measured.values, measured.shares)
    distance = np.abs(share - np.linspace(0, 1, len(values))).max()
    assert len(values) > 2_000
    # Batteries end what a car can ask for, and the energies are from a year with a winter: 5 %.
    assert distance < (0.07 if curve == "energies" else 0.035)


def test_who_comes_early_stays_long_and_who_stays_long_takes_much():
    sessions = [s for s in drivers(1, 800, 5) if s.plug_in_ms > 0]

    def ranks(values):
        return np.argsort(np.argsort(values))

    arrival = ranks([s.plug_in_ms % DAY_MS for s in sessions])
    stays = ranks([s.plug_out_ms - s.plug_in_ms for s in sessions])
    energy = ranks([s.energy_wh for s in sessions])
    assert np.corrcoef(arrival, stays)[0, 1] == pytest.approx(-0.64, abs=0.06)
    assert np.corrcoef(stays, energy)[0, 1] == pytest.approx(0.28, abs=0.06)


def test_a_driver_is_regular_as_far_as_the_habit_says():
    def scatter(regular):
        habit = HABITS["commuter"].model_copy(update={"regular": regular})
        arrivals = {}
        for session in drivers(1, 60, 26, habits={"commuter": habit}):
            arrivals.setdefault(session.card, []).append(session.plug_in_ms % DAY_MS / 3.6e6)
        return np.mean([np.std(hours) for hours in arrivals.values()])

    assert scatter(0.9) < 0.6 * scatter(0.0)


def test_more_come_on_some_days_than_chance_explains():
    def dispersion(spread):
        habit = HABITS["commuter"].model_copy(update={"spread": (spread,) * 7, "month": (1.0,) * 12})
        start = datetime(2026, 9, 7, tzinfo=ZONE).astimezone(UTC)
        counts = per_day(drivers(1, 100, 84, habits={"commuter": habit}, start=start), 84)
        mondays = np.array(counts).reshape(12, 7)[1:, :5]
        return float(mondays.var(axis=0, ddof=1).mean() / mondays.mean())

    assert dispersion(0.0) < 0.6  # drivers who each come or not scatter less than a Poisson law
    assert dispersion(0.3) > 2.0


def test_on_a_holiday_a_workplace_is_as_empty_as_on_a_sunday():
    whit_monday = datetime(2026, 5, 25, tzinfo=ZONE).astimezone(UTC)
    assert per_day(drivers(start=whit_monday, days=2), 2)[0] < 10
    assert per_day(drivers(start=whit_monday, days=2, holidays=frozenset()), 2)[0] > 40


@pytest.mark.parametrize(
    "day",
    [(2024, 3, 31), (2025, 4, 21), (2026, 4, 6), (2026, 5, 14), (2026, 5, 25), (2025, 4, 26), (2026, 12, 26)],
)
def test_the_dutch_holidays_are_known(day):
    assert date(*day) in dutch_holidays(range(2024, 2027))
    assert date(2026, 5, 1) not in dutch_holidays(range(2024, 2027))


def test_in_winter_more_is_asked_for_than_in_summer():
    def mean_wh(month):
        start = datetime(2026, month, 12, tzinfo=ZONE).astimezone(UTC)
        return np.mean([s.energy_wh for s in drivers(1, 400, 5, start=start)])

    assert mean_wh(1) / mean_wh(7) == pytest.approx(1.1 / 0.9, rel=0.08)


def test_who_plugs_in_only_when_it_is_needed_comes_less_often_and_takes_more():
    always = drivers(1, 100, 14)
    thrifty = HABITS["commuter"].model_copy(update={"plug_in_below": 0.6})
    seldom = drivers(1, 100, 14, habits={"commuter": thrifty})
    assert len(seldom) < 0.6 * len(always)
    total = [sum(session.energy_wh for session in some) for some in (seldom, always)]
    assert total[0] == pytest.approx(total[1], rel=0.25)
    assert {s.card for s in seldom} <= {s.card for s in always}


def test_what_drivers_tell_of_their_departure_is_wrong_by_hours():
    errors = [(s.told_out_ms - s.plug_out_ms) / 3.6e6 for s in drivers(1, 400, 5)]
    early, middle, late = np.quantile(errors, [0.1, 0.5, 0.9])
    assert -4.5 < early < -2.5  # nobody tells a departure before the arrival
    assert (middle, late) == pytest.approx((-0.5, 2.3), abs=0.4)
    assert all(s.told_out_ms > s.plug_in_ms for s in drivers(1, 400, 5))


def test_one_more_connector_driver_or_habit_reshuffles_nobody():
    def told(sessions):
        return {
            s.key: (s.plug_in_ms, s.plug_out_ms, s.energy_wh, s.car, s.card, s.told_out_ms) for s in sessions
        }

    few, many = drivers(connectors=60), drivers(connectors=61)
    assert told(few) == told(many)
    assert all(s.bays == tuple(row for row in t.bays if row != 60) for s, t in zip(few, many, strict=True))
    more = told(drivers(count=81))
    assert told(few) == {key: more[key] for key in told(few)}
    mixed = come(Crowd({"taxi": 3, "commuter": 80}, [22_000] * 60), START, 7 * DAY_MS, ZONE, 1)
    assert told(few).items() <= told(mixed).items()


TABLES = {
    "name": "small",
    "timezone": "Europe/Amsterdam",
    "grid": {"main": {"id": 0, "max_current_a": 63}},
    "meter": {"main": {"grid": "main", "role": "guard"}},
    "chargepoint": {
        name: {"identity": name.upper(), "fed_by": "main", "connector": [{"number": 1, "max_current_a": 16}]}
        for name in ("one", "two")
    },
    "accept_unsafe_fallback": "a test, nobody",
}


def story(**words):
    sessions = {"kind": "generator", "drivers": 20} | words.pop("sessions", {})
    table = {"name": "s", "site": TABLES, "start": datetime(2026, 5, 18), "length_s": 86_400}
    return prepare(Scenario.model_validate(table | {"sessions": sessions} | words))


def test_a_fault_changes_nobody_who_comes():
    fault = {"kind": "chargepoint_offline", "chargepoint": "one", "at_s": 100}
    assert story().sessions == story(conditions={"fault": [fault]}).sessions


def test_a_driver_keeps_car_and_card():
    cars = {}
    for session in drivers():
        cars.setdefault(session.card, set()).add(session.car)
    assert len(cars) > 60
    assert all(len(found) == 1 for found in cars.values())


def test_drivers_are_parted_by_habit_and_none_is_lost():
    assert parted(50, {"commuter": 4, "visitor": 1}) == {"commuter": 40, "visitor": 10}
    assert sum(parted(7, {"taxi": 1, "truck": 1, "visitor": 1}).values()) == 7
    mixed = story(sessions={"habits": {"taxi": 1, "truck": 1}})
    assert {session.card[:4] for session in mixed.sessions} == {"TAXI", "TRUC"}


@pytest.mark.parametrize(
    ("habits", "said"),
    [
        ("", 'there is no habit "commter"; did you mean "commuter"?'),
        ("[commter]\nlike = 3", "[commter] weekday: is missing; add it."),
        (
            "[commter]\nweekday = [1, 1, 1, 1, 1, 0, 0]\nlike = 'workplace'\nstay_h = [1, 3, 2]",
            "[commter] stay_h: value 3 (2) is below the one before it; quantiles must not fall",
        ),
        (
            """
            [commter]
            weekday = [1, 1, 1, 1, 1, 0, 0]
            like = "workplace"
            arrival_stay = 0.9
            arrival_energy = 0.9
            stay_energy = -0.9
            """,
            "the three correlations contradict each other; take them nearer to 0",
        ),
        ("[commter]\nweekday = [1, 1, 1, 1, 1, 0, 0]", "give arrival_h, stay_h and energy_kwh"),
        ("weekday", "this is not TOML"),
    ],
)
def test_a_habit_that_cannot_be_is_told_with_its_place(tmp_path, habits, said):
    path = tmp_path / "habits.toml"
    path.write_text(habits)
    with pytest.raises(SiteError) as refused:
        story(sessions={"habits": {"commter": 1}, "habits_file": str(path)})
    assert said in "\n".join(refused.value.lines)


# -- what becomes of them at the site ---------------------------------------------------------------------


def visit(number, begin_s=10, end_s=3600, energy_wh=50_000.0, *, patience_s=0, bays=(0, 1), **words):
    """A driver who would take either connector."""
    planned = stay(UNPLACED, STRONG, begin_s=begin_s, end_s=end_s, energy_wh=energy_wh, key=f"v{number}")
    return replace(planned, bays=bays, patience_ms=patience_s * 1000, **words)


def lived(*visits, until_s=7200):
    made = world(*visits)
    uncontrolled(made)
    made.advance(until_s * 1000)
    return {stay.session.key: stay for stay in made.stays}


def test_a_driver_takes_the_free_connector_that_is_liked_best():
    found = lived(visit(1), visit(2, 20), visit(3, 30, bays=(1, 0)))
    assert (found["v1"].session.connector, found["v2"].session.connector) == (0, 1)
    assert not found["v3"].came


def test_who_finds_no_place_waits_a_minute_after_one_leaves_and_gives_up_when_patience_ends():
    full = (visit(1, 10, 1000), visit(2, 20, 3000))
    found = lived(*full, visit(3, 100, 6000, patience_s=1800), visit(4, 110, 6000, patience_s=300))
    assert found["v3"].session.plug_in_ms == 1_060_000
    assert found["v3"].session.connector == 0
    assert not found["v4"].came


def test_of_those_who_wait_the_higher_priority_goes_first_and_nobody_jumps_the_queue():
    full = (visit(1, 10, 1000), visit(2, 20, 2000))
    waiting = (visit(3, 100, 6000, patience_s=3600), visit(4, 200, 6000, patience_s=3600, priority=2))
    found = lived(*full, *waiting, visit(5, 1030, 6000, patience_s=3600))
    assert found["v4"].session.plug_in_ms == 1_060_000
    assert found["v3"].session.plug_in_ms == 2_060_000
    assert not found["v5"].came


def test_a_driver_who_moves_a_full_car_makes_room_and_one_who_does_not_keeps_the_place():
    found = lived(
        visit(1, 10, 7000, 2_000.0, moves_after_ms=600_000),
        visit(2, 20, 7000, 2_000.0),
        visit(3, 100, 7000, patience_s=3600),
    )
    left_ms = found["v1"].session.plug_out_ms
    assert 600_000 < left_ms < 3_000_000
    assert found["v1"].delivered_wh == pytest.approx(2_000)
    assert found["v2"].session.plug_out_ms == 7_000_000
    assert found["v3"].session.plug_in_ms == left_ms + 60_000


def test_a_busy_day_leaves_no_two_cars_at_one_connector():
    site = small()
    sessions = come(Crowd({"visitor": 60}, [22_000] * 2, patience_s=3600.0), SMALL_START, 2 * DAY_MS, ZONE, 3)
    made = World(site, compile_site(site), Conditions(), sessions, 3, SMALL_START)
    uncontrolled(made)
    made.advance(2 * DAY_MS)
    came = [stay.session for stay in made.stays if stay.came]
    assert len(came) > 6
    assert len(came) < len(sessions)
    for connector in range(2):
        stays = sorted((s.plug_in_ms, s.plug_out_ms) for s in came if s.connector == connector)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(stays))


def test_the_world_runs_without_mesa():
    code = (
        "import scenarios.run, scenarios.report, sys; print('mesa' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr
