"""Cars that do not come back after a pause though they are not full."""

from itertools import pairwise

import pytest

from controller.decision import Because
from controller.waking import ASLEEP, GIVEN_UP, PAUSED, QUIET
from tests.controller.desk import Desk, drawn


def paused(minutes=10.0, **outlet):
    """A car that charged, and then had no room for some minutes."""
    desk = Desk(drawn(outlets=[outlet], grids={"main": {"max_current_a": 40, "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 120)
    desk.load_a["main"] = 38.0
    desk.settle({0: 32}, minutes * 60)
    assert desk.targets_a() == [0]
    desk.puts.clear()
    desk.load_a["main"] = 0.0
    return desk


def offers(desk):
    """(s, A) of every order that gives it current."""
    return [(at, amps) for at, _, amps in desk.puts if amps > 0]


def test_a_car_that_resumes_within_a_minute_and_a_half_was_never_asleep():
    desk = paused()
    desk.settle({0: 0.0}, 70)
    assert desk.memory.connectors[0]["sleep"] == PAUSED
    desk.settle({0: 32.0}, 60)
    assert desk.memory.connectors[0]["delicate"] == 0
    assert desk.targets_a() == [32]


def test_a_car_that_drew_before_its_pause_and_not_after_it_sleeps_and_is_no_full_car():
    desk = paused()
    desk.settle({0: 0.0}, 110)
    assert desk.memory.connectors[0]["sleep"] == ASLEEP
    assert desk.memory.connectors[0]["full"] == 0
    assert desk.because(0) == Because.ASLEEP


def test_it_is_woken_by_a_moment_of_nothing_and_an_offer_above_the_minimum():
    desk = paused()
    desk.settle({0: 0.0}, 160)
    second = offers(desk)[1]
    off = [at for at, _, amps in desk.puts if amps == 0]
    assert len(off) == 1
    assert second[0] - off[0] >= 10
    assert second[1] == 10


def test_a_car_that_had_to_be_woken_gets_its_share_and_is_spared_for_the_rest_of_its_session():
    desk = paused()
    desk.settle({0: 0.0}, 160)
    desk.settle({0: 32.0}, 60)
    assert desk.targets_a() == [32]
    assert desk.memory.connectors[0]["delicate"] == 1
    desk.stop(0)
    desk.cycle(10)
    desk.plug(0)
    desk.cycle(2)
    assert desk.memory.connectors[0]["delicate"] == 0


def test_it_is_woken_three_times_at_most_with_growing_waits_and_then_counts_as_full():
    desk = paused()
    desk.settle({0: 0.0}, 3_000)
    tried = [at for at, amps in offers(desk) if amps == 10]
    assert len(tried) == 3
    first, second = (late - early for early, late in pairwise(tried))
    assert 300 <= first < second
    assert desk.memory.connectors[0]["sleep"] == GIVEN_UP
    assert desk.because(0) == Because.FULL


def test_a_car_that_was_full_before_it_lost_its_current_is_not_woken():
    desk = Desk(drawn(outlets=[{}], grids={"main": {"max_current_a": 40, "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 120)
    desk.settle({0: 0.0}, 200)
    desk.load_a["main"] = 38.0
    desk.settle({0: 0.0}, 300)
    desk.load_a["main"] = 0.0
    desk.settle({0: 0.0}, 1_200)
    assert desk.memory.connectors[0]["sleep"] == QUIET


def test_while_it_is_woken_the_fuse_wins():
    desk = paused()
    desk.settle({0: 0.0}, 160)
    assert desk.target_a(0) == 10
    desk.load_a["main"] = 45.0
    desk.cycle(5)
    assert desk.targets_a() == [0]


@pytest.mark.parametrize("minutes", [2, 30])
def test_whatever_the_length_of_the_pause_the_orders_of_an_hour_stay_few(minutes):
    desk = paused(minutes)
    desk.settle({0: 0.0}, 3_600)
    assert len(desk.puts) <= 14
