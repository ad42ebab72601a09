"""What a car does not use, what it gets back, whose turn it is, and why a connector has its current."""

from itertools import pairwise

import pytest

from controller.decision import Because
from tests.controller.bench_site import Car, World, garage
from tests.controller.desk import Desk, drawn


def alone(amps=32.0, seconds=60, **words):
    desk = Desk(drawn(outlets=[words]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: amps}, seconds)
    return desk


# -- reclaim ------------------------------------------------------------------------------------------


def test_what_a_car_does_not_use_for_a_minute_is_taken_back_to_the_next_step_above_its_draw():
    desk = alone(10.2, seconds=61)
    taken_s = [at for at, _, amps in desk.puts if amps == 11]
    assert desk.targets_a() == [32]
    desk.settle({0: 10.2}, 40)
    assert desk.targets_a() == [11]
    assert desk.because(0) == Because.CAR
    assert taken_s == []


def test_a_car_that_uses_all_but_an_ampere_or_a_tenth_is_left_alone():
    desk = alone(28.9, seconds=300)
    assert desk.targets_a() == [32]


def test_a_car_that_draws_all_of_its_cap_gets_the_rest_back_in_the_same_cycle():
    desk = alone(10.2, seconds=120)
    desk.draws(0, 11.0)
    desk.cycle()
    assert desk.targets_a() == [32]


def test_a_lift_that_is_not_used_doubles_the_wait_before_the_next_one():
    desk = alone(10.9, seconds=3_000)
    lifts_s = [at for at, _, amps in desk.puts if amps == 32][1:]
    assert [round((late - early) / 60) for early, late in pairwise(lifts_s)] == [5, 10, 20]


def test_a_new_car_starts_without_the_cap_of_the_last_one():
    desk = alone(10.2, seconds=120)
    desk.stop(0)
    desk.cycle(10)
    desk.plug(0)
    desk.cycle(2)
    assert desk.targets_a() == [32]


def test_no_write_for_less_than_an_ampere_or_a_tenth():
    desk = Desk(drawn(outlets=[{"step_a": 0.1}, {"step_a": 0.1}], grids={"main": {"max_current_a": 43}}))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 60)
    assert desk.targets_a() == [20, 20]
    desk.puts.clear()
    desk.load_a["main"] = 2.0
    desk.settle({0: 32, 1: 32}, 60)  # 19 A each were fair; the margin bears it
    assert desk.puts == []
    desk.load_a["main"] = 6.0
    desk.settle({0: 32, 1: 32}, 60)
    assert len(desk.puts) == 2


def test_a_small_deficit_is_taken_from_few():
    desk = Desk(drawn(outlets=[{}] * 4, grids={"main": {"max_current_a": 67}}))
    desk.cycle(3)
    desk.plug(0, 1, 2, 3)
    desk.settle(dict.fromkeys(range(4), 32), 90)
    assert desk.targets_a() == [16] * 4
    desk.puts.clear()
    desk.load_a["main"] = 2.0
    desk.settle(dict.fromkeys(range(4), 32), 30)
    assert len(desk.puts) <= 2


# -- turns --------------------------------------------------------------------------------------------


def turns(cars, fuse_a, hours, **words):
    """(seconds on, by car; lengths of the slots) in a garage where not all minimums fit."""
    fleet = [Car(start_s=5 + n, read_every_s=10, read_phase_s=n, **words) for n in range(cars)]
    world = World(garage(cars, fuse_a), fleet, lambda g, p, t: 0.0)
    on = [0] * cars
    began, slots = {}, []
    for second in range(hours * 3_600):
        decision = world.step()
        for c, target in enumerate(decision.connectors["target_ma"]):
            on[c] += int(target > 0)
            if target > 0:
                began.setdefault(c, second)
            elif c in began:
                slots.append(second - began.pop(c))
    return on, slots, world


def test_when_not_even_the_minimums_fit_cars_take_turns_of_at_least_a_slot_and_everybody_its_share():
    on, slots, _ = turns(5, fuse_a=21, hours=4)  # 18 A: three of five
    assert min(slots) >= 900 - 30
    assert max(on) / min(on) <= 1.25
    assert sum(on) >= 0.9 * 3 * 4 * 3_600


def test_who_waits_is_told_that_it_waits_for_its_turn_and_where():
    desk = Desk(drawn(outlets=[{}, {}, {}], grids={"main": {"max_current_a": 16}}))
    desk.cycle(3)
    desk.plug(0, 1, 2)
    desk.settle(dict.fromkeys(range(3), 32), 30)
    assert sorted(desk.targets_a()) == [0, 6, 7]
    waiting = desk.targets_a().index(0)
    row = desk.decision.connectors[waiting]
    assert desk.because(waiting) == Because.TURN
    assert (row["because_grid"], row["because_phase"]) == (0, 0)


def test_who_came_last_and_has_had_least_goes_first_when_a_slot_ends():
    desk = Desk(drawn(outlets=[{}, {}], grids={"main": {"max_current_a": 10}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.plug(1)
    desk.settle({0: 32, 1: 32}, 600)
    assert desk.targets_a() == [7, 0]
    desk.settle({0: 32, 1: 32}, 330)
    assert desk.targets_a() == [0, 7]


def test_a_full_car_waits_last_and_is_looked_at_once_an_hour():
    desk = Desk(drawn(outlets=[{}, {}, {}], grids={"main": {"max_current_a": 16}}))
    desk.cycle(3)
    desk.plug(0, 1, 2)
    offers = []
    for _ in range(4 * 6):
        desk.settle({0: 0.0, 1: 32, 2: 32}, 600)
    offers = [at for at, c, amps in desk.puts if c == 0 and amps > 0]
    full_s = sum(
        min([late for late, c, amps in desk.puts if c == 0 and amps == 0 and late > at] + [desk.now_s]) - at
        for at in offers
    )
    assert len(offers) >= 3
    assert full_s <= 0.1 * desk.now_s
    assert desk.because(0) in (Because.FULL, Because.TURN)


# -- because ------------------------------------------------------------------------------------------


def situation(name):
    """A desk in which connector 0 has its current for this reason."""
    if name == "no car":
        desk = Desk(drawn())
        desk.cycle(3)
        return desk, Because.IDLE
    if name == "the outlet's rating":
        return alone(), Because.CONNECTOR
    if name == "somebody outside wants no more":
        desk = alone()
        desk.image.connectors["wish_ma"] = 12_000
        desk.settle({0: 32}, 30)
        return desk, Because.WISH
    if name == "a wish below the minimum":
        desk = alone()
        desk.image.connectors["wish_ma"] = 3_000
        desk.settle({0: 32}, 30)
        assert desk.targets_a() == [0]
        return desk, Because.WISH
    desk = Desk(drawn(outlets=[{}, {}], grids={"main": {"max_current_a": [100, 53, 100]}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 40)
    desk.plug(1)
    desk.cycle()
    if name == "a fuse on a phase":
        desk.settle({0: 32, 1: 32}, 60)
        row = desk.decision.connectors[0]
        assert (row["because_grid"], row["because_phase"]) == (0, 1)
        return desk, Because.FUSE
    assert name == "room promised, others still being lowered"
    desk.image.connectors["wish_ma"][0] = 32_000
    return desk, Because.FUSE if desk.target_a(0) < 26 else Because.WAIT_CONFIRMATION


@pytest.mark.parametrize(
    "name",
    [
        "no car",
        "the outlet's rating",
        "somebody outside wants no more",
        "a wish below the minimum",
        "a fuse on a phase",
    ],
)
def test_every_connector_says_why_it_has_its_current(name):
    desk, because = situation(name)
    assert desk.because(0) == because


def test_a_car_that_waits_for_another_to_be_lowered_says_so():
    desk = Desk(drawn(outlets=[{}, {}], grids={"main": {"max_current_a": 35}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 40)
    desk.plug(1)
    desk.cycle()
    assert desk.targets_a() == [16, 0]
    assert desk.because(1) == Because.WAIT_CONFIRMATION
    desk.settle({0: 32, 1: 32}, 40)
    assert desk.targets_a() == [16, 16]


def test_a_raise_that_is_not_worth_a_write_is_called_that():
    desk = Desk(drawn(outlets=[{"step_a": 0.1}], grids={"main": {"max_current_a": 23}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    assert desk.targets_a() == [20]
    desk.load_a["main"] = -1.0
    desk.settle({0: 32}, 60)
    assert desk.targets_a() == [20]
    assert desk.because(0) == Because.NOT_WORTH


def test_a_cheaper_card_is_no_excuse_below_the_minimum_and_weights_scale_the_rest():
    desk = Desk(drawn(outlets=[{}, {}], grids={"main": {"max_current_a": 39}}))
    desk.image.connectors["weight_percent"] = [200, 100]
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 90)
    assert desk.targets_a() == [24, 12]
