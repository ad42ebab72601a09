"""The effective limit of a grid: what narrows it, who says so, and what the connectors get of it."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.breaker import holds_s, time_constant_ms
from controller.cycle import calculate
from controller.decision import Alarm, first_memory
from controller.defaults import TOGETHER, UNLIMITED_MA
from controller.image import Source, blank_image, frozen
from controller.topology import compile_site
from tests.controller.desk import Desk, drawn

ONE_PHASE = {"phases": 1, "rotation_confirmed_by": "test"}
ON_L2 = ONE_PHASE | {"rotation": "L2 L3 L1"}


class Row(NamedTuple):
    """Cars that draw all they may beside 10 A of other load, on 3 x 100 A less 3 A."""

    grid: dict[str, object]
    told: dict[str, object]
    outlets: list[dict[str, object]]
    targets_a: list[float]
    limit_a: float
    line: int
    source: Source


CARS = [{}, {}]
ROWS = {
    "the fuse alone gives every car what its outlet gives": Row({}, {}, CARS, [32, 32], 100, 0, Source.FUSE),
    "a power limit counts the three phases together, less their margins and the load on them": Row(
        {"max_power_w": 23_000}, {}, CARS, [10, 10], 100, TOGETHER, Source.CONTRACT
    ),
    "an apparent power is kept as the same sum of currents": Row(
        {"max_apparent_va": 23_000}, {}, CARS, [10, 10], 100, TOGETHER, Source.CONTRACT
    ),
    "of two powers the smaller rules": Row(
        {"max_power_w": 40_000, "max_apparent_va": 23_000}, {}, CARS, [10, 10], 100, TOGETHER, Source.CONTRACT
    ),
    "a one-phase car takes a third of what a three-phase car takes of a power": Row(
        {"max_power_w": 23_000}, {}, [{}, ONE_PHASE], [15, 16], 100, TOGETHER, Source.CONTRACT
    ),
    "a hard limit from outside is less than the fuse": Row(
        {},
        {"hard_ma": 43_000, "hard_source": Source.GRID_OPERATOR},
        CARS,
        [15, 15],
        43,
        0,
        Source.GRID_OPERATOR,
    ),
    "a soft limit too": Row(
        {}, {"soft_ma": 43_000, "soft_source": Source.TIME_OF_USE}, CARS, [15, 15], 43, 0, Source.TIME_OF_USE
    ),
    "a limit wider than the fuse is nothing": Row(
        {}, {"hard_ma": 430_000, "hard_source": Source.API}, CARS, [32, 32], 100, 0, Source.FUSE
    ),
    "of several limits the tightest rules and gives its name": Row(
        {},
        {
            "hard_ma": 60_000,
            "hard_source": Source.API,
            "soft_ma": 43_000,
            "soft_source": Source.PROFILE,
        },
        CARS,
        [15, 15],
        43,
        0,
        Source.PROFILE,
    ),
    "a soft limit below the load turns the cars off": Row(
        {}, {"soft_ma": 8_000, "soft_source": Source.TIME_OF_USE}, CARS, [0, 0], 8, 0, Source.TIME_OF_USE
    ),
    "or leaves each its minimum where it says so": Row(
        {},
        {"soft_ma": 8_000, "soft_source": Source.TIME_OF_USE, "soft_keeps_minimum": 1},
        CARS,
        [6, 6],
        25,
        0,
        Source.TIME_OF_USE,
    ),
    "but a hard limit leaves nobody anything": Row(
        {},
        {"hard_ma": 8_000, "hard_source": Source.API, "soft_keeps_minimum": 1},
        CARS,
        [0, 0],
        8,
        0,
        Source.API,
    ),
    "and the fuse wins over every minimum": Row(
        {"max_current_a": 20},
        {"soft_ma": 8_000, "soft_source": Source.TIME_OF_USE, "soft_keeps_minimum": 1},
        CARS,
        [7, 0],
        20,
        0,
        Source.FUSE,
    ),
    "a limit on charging alone counts no other load": Row(
        {}, {"charging_ma": 20_000, "charging_source": Source.PROFILE}, CARS, [10, 10], 33, 0, Source.PROFILE
    ),
    "it may leave each its minimum too": Row(
        {},
        {"charging_ma": 2_000, "charging_source": Source.PROFILE, "charging_keeps_minimum": 1},
        CARS,
        [6, 6],
        25,
        0,
        Source.PROFILE,
    ),
    "a power may be limited from outside where the site file limits none": Row(
        {}, {"soft_sum_ma": 100_000, "soft_source": Source.API}, CARS, [10, 10], 100, TOGETHER, Source.API
    ),
    "no phase carries more above the least loaded one than the site allows": Row(
        {"max_unbalance_a": 20}, {}, [ONE_PHASE], [17], 30, 0, Source.UNBALANCE
    ),
    "cars on other phases make room for each other": Row(
        {"max_unbalance_a": 20}, {}, [ONE_PHASE, ON_L2], [17, 17], 30, 0, Source.UNBALANCE
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_what_narrows_a_limit(row):
    desk = Desk(drawn(grids={"main": row.grid}, outlets=row.outlets))
    desk.load_a["main"] = 10.0
    desk.told(**row.told)
    desk.cycle(3)
    for c, outlet in enumerate(row.outlets):
        desk.plug(c)
        desk.draws(c, (0, 0, 0) if "phases" in outlet else 0.0)
    takes = {c: (32, 0, 0) if "phases" in outlet else 32 for c, outlet in enumerate(row.outlets)}
    desk.settle(takes, 180)
    assert desk.targets_a() == row.targets_a
    assert (desk.limit_a(row.line), desk.source(row.line)) == (row.limit_a, row.source)


QUARTER_S = 900
CAP_A = 100.0  # 23 kW over three phases


def quarter_desk(into_s=0.0):
    desk = Desk(drawn(grids={"main": {"max_mean_power_w": 23_000}}, outlets=CARS))
    desk.started_utc_s = 1_800_000_000.0 + into_s
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0, 1)
    desk.draws(0, 0.0)
    desk.draws(1, 0.0)
    return desk


def means_a(desk, quarters, load):
    """Mean of L1+L2+L3 in each of the next whole quarters, and every order that was put."""
    desk.settle({0: 32, 1: 32}, QUARTER_S - desk.now_s)
    means = []
    for quarter in range(quarters):
        charge = 0.0
        for piece in range(QUARTER_S // 60):
            desk.load_a["main"] = load(quarter * QUARTER_S + piece * 60)
            desk.settle({0: 32, 1: 32}, 60)
            charge += sum(desk.load_a["main"]) * 60
        means.append(charge / QUARTER_S)
    return means


def test_the_mean_of_no_quarter_of_an_hour_is_above_its_limit():
    desk = quarter_desk()
    means = means_a(desk, 3, lambda s: 10.0 if s % 420 < 240 else 28.0)
    assert max(means) <= CAP_A
    assert min(means) >= 0.85 * CAP_A
    assert desk.source(TOGETHER) == Source.QUARTER


def test_what_an_idle_beginning_of_a_quarter_left_may_be_used_in_its_rest():
    desk = quarter_desk()
    desk.stop(0)
    desk.stop(1)
    desk.settle({}, 2 * QUARTER_S - desk.now_s - 300)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 200)
    assert desk.targets_a() == [32, 32]  # with the 30 A of other load more than the mean, for five minutes


def test_a_quarter_that_was_not_seen_from_its_beginning_counts_as_used_up_to_its_limit():
    desk = quarter_desk(into_s=600)
    desk.settle({0: 32, 1: 32}, 200)
    assert desk.limit_a(TOGETHER) <= 1.2 * CAP_A  # of 472 had its beginning counted as idle


def test_without_a_trusted_clock_the_mean_is_a_limit_at_every_instant():
    desk = quarter_desk()
    desk.started_utc_s = None
    desk.image.clock["utc_trusted"] = 0
    desk.settle({0: 32, 1: 32}, 200)
    assert desk.limit_a(TOGETHER) == CAP_A


def test_over_a_power_limit_at_the_meter_is_cut_in_the_cycle_of_its_reading():
    desk = Desk(drawn(grids={"main": {"max_power_w": 46_000}}, outlets=CARS))
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0, 1)
    desk.draws(0, 0.0)
    desk.draws(1, 0.0)
    desk.settle({0: 32, 1: 32}, 120)
    assert desk.targets_a() == [27, 26]  # 3 x 53 + 30 of 200 less 9
    desk.puts.clear()
    desk.load_a["main"] = tuple(current + 12 for current in desk.load_a["main"])  # 225 of 200
    desk.cycle()
    assert 3 * sum(desk.targets_a()) <= 3 * 53 - 25 - 9
    assert not desk.grid_alarm() & Alarm.OVER_LIMIT  # no fuse is in danger


PANICS = {
    "a tenth above the fuse without another word": ({}, 111, True),
    "below that it is an ordinary cut": ({}, 109, False),
    "or as far above it as the site file says": ({"panic_a": 30}, 129, False),
    "beyond that": ({"panic_a": 30}, 131, True),
}


@pytest.mark.parametrize(("grid", "load_a", "panics"), PANICS.values(), ids=PANICS.keys())
def test_when_everything_goes_off(grid, load_a, panics):
    desk = Desk(drawn(grids={"main": grid}))
    desk.load_a["main"] = float(load_a)
    desk.cycle(5)
    assert bool(desk.grid_alarm() & Alarm.PANIC) is panics


def test_a_breaker_that_has_been_hot_for_long_is_panic_before_it_opens():
    desk = Desk(drawn(grids={"main": {"breaker": "B"}}))
    desk.load_a["main"] = 105.0
    desk.cycle(1_300)
    assert not desk.grid_alarm() & Alarm.PANIC
    desk.cycle(900)
    assert desk.grid_alarm() & Alarm.PANIC


HOLDS = {  # curve, rating A, current A, heat before -> seconds
    "at its rating for ever": ("gG", 100, 100, 0.0, np.inf),
    "a tenth more from cold, a quarter of an hour": ("B", 32, 35.2, 0.0, 1439),
    "twice its rating for minutes": ("B", 32, 64, 0.0, 193),
    "less when it is warm": ("B", 32, 64, 0.9, 40),
    "a large fuse is slower": ("gG", 100, 200, 0.0, 579),
    "three times the rating may open a B breaker at once": ("B", 32, 96, 0.0, 0),
    "a C breaker bears that for a minute": ("C", 32, 96, 0.0, 78),
    "what is already too hot bears nothing": ("C", 32, 40, 1.2, 0),
    "a fuse of nothing holds nothing": ("gG", 0, 1, 0.0, 0),
}


@pytest.mark.parametrize(
    ("curve", "rating_a", "current_a", "heat", "seconds"), HOLDS.values(), ids=HOLDS.keys()
)
def test_how_long_an_excursion_may_last(curve, rating_a, current_a, heat, seconds):
    assert holds_s(curve, rating_a, current_a, heat) == pytest.approx(seconds, abs=1)


def test_the_heat_in_the_core_is_that_of_the_same_thermal_image():
    desk = Desk(drawn(grids={"main": {"breaker": "C"}}))
    desk.load_a["main"] = 95.0
    desk.cycle(601)
    assert desk.memory.grids["heat"][0][0] / 1e6 == pytest.approx(0.95**2 * (1 - np.exp(-1)), abs=0.002)
    assert time_constant_ms("C", 100) == 600_000


currents = st.one_of(st.just(UNLIMITED_MA), st.integers(0, 150_000))


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {f"{kind}_ma": st.tuples(currents, currents, currents) for kind in ("hard", "soft", "charging")}
        | {f"{kind}_sum_ma": currents for kind in ("hard", "soft", "charging")}
        | {"soft_keeps_minimum": st.integers(0, 1), "charging_keeps_minimum": st.integers(0, 1)}
    ),
    st.integers(-20, 120),
)
def test_from_outside_a_limit_only_gets_narrower_and_the_fuse_always_wins(told, load_a):
    site = drawn(grids={"main": {"max_power_w": 50_000}, "board": {"fed_by": "main", "uncontrolled_a": 5}})
    topology = compile_site(site)
    image = blank_image(topology)
    image.clock["now_ms"], image.meters["at_ms"] = 1_000, 900
    image.meters["current_ma"] = load_a * 1000
    free, _ = calculate(topology, frozen(image), first_memory(topology, proven=True))
    for field, value in told.items():
        image.grids[field] = value
    narrowed, _ = calculate(topology, frozen(image), first_memory(topology, proven=True))
    assert (free.grids["limit_ma"] == topology.grids["limit_ma"]).all()
    assert (narrowed.grids["limit_ma"] <= free.grids["limit_ma"]).all()
    assert (narrowed.grids["sum_limit_ma"][0]) <= free.grids["sum_limit_ma"][0]
    for row in narrowed.grids:
        assert (row["limit_ma"] <= told["hard_ma"]).all()
        assert row["sum_limit_ma"] <= told["hard_sum_ma"] or row["lines"] == 3
