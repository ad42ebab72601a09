"""Orders keep still while nothing asks them to move, small raises wait, and open orders are looked at."""

import pytest

from tests.controller.desk import Desk, drawn

CARS = {0: 32, 1: 32, 2: 32, 3: 32}


def four_cars_on_nine_amperes_each():
    desk = Desk(drawn(grids={"main": {"max_current_a": 57}}, outlets=[{}] * 5))
    desk.load_a["main"] = 18
    desk.plug(*CARS)
    desk.settle(CARS, 150)
    assert desk.targets_a() == [9, 9, 9, 9, 0]
    desk.puts.clear()
    return desk


def other_load(desk, amps):
    """The building takes so much now; the cars draw what they drew."""
    desk.load_a["main"] = amps + 36
    desk.settled = (amps,) * 3, desk.load_a["main"]


def test_a_building_that_trembles_inside_the_band_moves_no_order():
    desk = four_cars_on_nine_amperes_each()
    for amps in (19.4, 18, 19.4, 18):
        other_load(desk, amps)
        desk.settle(CARS, 40)
    assert desk.estimate_a()[0] > 17
    assert desk.puts == []


@pytest.mark.parametrize("amps", [21, 30])
def test_a_rise_beyond_half_the_margin_lowers_orders_at_once(amps):
    desk = four_cars_on_nine_amperes_each()
    other_load(desk, amps)
    desk.cycle()
    lowered = sum(9 - to_a for _, _, to_a in desk.puts)
    assert lowered >= amps - 18 - 1.5
    assert desk.estimate_a()[0] + sum(desk.targets_a()) <= 57 - 3


def test_orders_are_lowered_for_a_car_that_waits():
    desk = four_cars_on_nine_amperes_each()
    desk.plug(4)
    desk.cycle(3)
    assert sum(desk.targets_a()[:4]) <= 36 - 6


def test_a_car_that_does_not_use_its_order_is_lowered_though_nobody_waits():
    desk = Desk(drawn(outlets=[{}]))
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.puts.clear()
    desk.image.connectors["wish_ma"] = 7_000
    desk.cycle()
    assert [(c, to_a) for _, c, to_a in desk.puts] == [(0, 7)]


def test_a_raise_too_small_for_a_write_is_written_once_it_has_been_wanted_for_a_minute():
    desk = Desk(drawn(outlets=[{}]))
    desk.load_a["main"] = 10
    desk.plug(0)
    desk.image.connectors["wish_ma"] = 20_000
    desk.settle({0: 32}, 60)
    assert desk.target_a(0) == 20
    desk.image.connectors["wish_ma"] = 21_000
    desk.settle({0: 32}, 55)
    assert desk.target_a(0) == 20
    desk.settle({0: 32}, 10)
    assert desk.target_a(0) == 21


def test_it_waits_a_whole_minute_again_when_it_was_not_wanted_for_a_moment():
    desk = Desk(drawn(outlets=[{}]))
    desk.load_a["main"] = 10
    desk.plug(0)
    for amps, seconds in ((20, 60), (21, 40), (20, 2), (21, 50)):
        desk.image.connectors["wish_ma"] = amps * 1000
        desk.settle({0: 32}, seconds)
    assert desk.target_a(0) == 20


def asks(desk, seconds, draw_a):
    """Seconds after the newest order at which a reading was asked for; the box tells one each 5 s."""
    put_s, found = desk.puts[-1][0], []
    for second in range(seconds):
        if second % 5 == 0:
            desk.draws(0, draw_a)
        if desk.cycle().connectors["ask"][0]:
            found.append(round(desk.now_s - put_s))
    return found


def test_an_open_raise_is_looked_at_every_ten_seconds_until_it_is_closed():
    desk = Desk(drawn(outlets=[{"sample_interval_s": 60}]))
    desk.plug(0)
    desk.draws(0, 0)
    desk.cycle(2)
    assert desk.target_a(0) == 32
    found = asks(desk, 60, 0)
    assert found[0] <= 12
    assert len([s for s in found if s <= 32]) == 3
    assert [s for s in found if s > 45] == []


def test_a_lowering_that_no_reading_has_shown_is_looked_at_every_ten_seconds():
    desk = Desk(drawn(outlets=[{"sample_interval_s": 60}]))
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.image.connectors["wish_ma"] = 10_000
    desk.cycle()
    assert desk.target_a(0) == 10
    found = asks(desk, 30, 32)
    assert found[0] <= 7
    assert len(found) == 3


def test_a_limit_on_charging_alone_has_no_band():
    desk = four_cars_on_nine_amperes_each()
    desk.image.grids["charging_ma"] = 35_000
    desk.cycle()
    assert sum(desk.targets_a()) == 35
