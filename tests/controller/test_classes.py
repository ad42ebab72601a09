"""Who goes first: protected cars, classes, cards; and that the fuse wins over all of them."""

import pytest

from controller.decision import Because
from tests.controller.desk import Desk, drawn


def desk_of(cars, fuse_a, sharing="minimum for all first", **rows):
    """Cars that take all they get on a fuse without margin worth naming; `rows`: columns of the image."""
    outlets = rows.pop("outlets", [{}] * cars)
    site = drawn(outlets=outlets, grids={"main": {"max_current_a": fuse_a, "margin_a": 1}}, sharing=sharing)
    desk = Desk(site)
    desk.load_a["main"] = rows.pop("load_a", 0.0)
    for name, values in rows.items():
        desk.image.connectors[name] = values
    desk.cycle(3)
    desk.plug(*range(cars))
    desk.settle(dict.fromkeys(range(cars), 32), 90)
    return desk


FIRST_AND_LAST = [{"priority_class": 1}, {"priority_class": 9}]


@pytest.mark.parametrize(
    ("sharing", "fuse_a", "gets_a"),
    [
        # policy, fuse, what the car of class 1 and that of class 9 get
        ("minimum for all first", 31, [15, 15]),
        ("strict", 31, [30, 0]),
        ("strict", 39, [32, 6]),
        ("strict", 37, [32, 0]),
        ("minimum for all first", 12, [11, 0]),
        ("strict", 12, [11, 0]),
        ("minimum for all first", 64, [32, 31]),
        ("strict", 64, [32, 31]),
    ],
)
def test_classes_decide_who_gets_its_minimum_first_or_who_is_served_in_full_first(sharing, fuse_a, gets_a):
    assert desk_of(2, fuse_a, sharing, outlets=FIRST_AND_LAST).targets_a() == gets_a


def test_the_class_of_a_card_replaces_that_of_the_outlet():
    assert desk_of(2, 12, outlets=FIRST_AND_LAST, priority_class=[9, 1]).targets_a() == [0, 11]


def test_within_a_class_all_share_by_weight_and_what_a_class_leaves_goes_to_the_next():
    outlets = [{"priority_class": 1}, {"priority_class": 1}, {"priority_class": 2}]
    desk = desk_of(3, 41, "strict", outlets=outlets, weight_percent=[200, 100, 100])
    assert desk.targets_a() == [27, 13, 0]
    desk.settle({0: 10, 1: 13, 2: 32}, 200)
    assert desk.target_a(2) == 15  # the first takes no more than 10 A, which its cap of 11 A follows


def test_a_car_of_a_better_class_takes_the_slot_of_one_that_is_on():
    desk = Desk(drawn(outlets=FIRST_AND_LAST, grids={"main": {"max_current_a": 12, "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(1)
    desk.settle({1: 32}, 60)
    assert desk.targets_a() == [0, 11]
    desk.plug(0)
    desk.settle({0: 32, 1: 32}, 60)
    assert desk.targets_a() == [11, 0]


def test_a_card_for_slow_charging_gets_the_minimum_and_says_so():
    desk = desk_of(2, 60, minimum_speed=[1, 0])
    assert desk.targets_a() == [6, 32]
    assert desk.because(0) == Because.CARD_MINIMUM


@pytest.mark.parametrize("flag", ["never_zero", "minimum_speed"])
def test_a_protected_car_keeps_its_minimum_when_others_take_turns(flag):
    desk = desk_of(3, 12, **{flag: [0, 0, 1]})
    off_s = 0
    for _ in range(90):
        desk.settle(dict.fromkeys(range(3), 32), 30)
        off_s += 30 * (desk.target_a(2) == 0)
    assert off_s == 0


def test_a_protected_car_is_the_last_that_a_cut_turns_off_and_the_fuse_still_wins():
    desk = desk_of(3, 25, never_zero=[0, 1, 0])
    desk.load_a["main"] = 36.0  # of it 24 A are the cars
    desk.cycle(3)
    assert desk.target_a(1) > 0
    assert 0 in desk.targets_a()
    desk.load_a["main"] = 60.0
    desk.cycle(10)
    assert desk.targets_a() == [0, 0, 0]


def test_one_that_does_not_fit_bars_nobody_behind_it():
    outlets = [{"min_current_a": 16.0, "priority_class": 1}, {"priority_class": 9}]
    assert desk_of(2, 20, outlets=outlets, load_a=8.0).targets_a() == [0, 11]
    assert desk_of(2, 20, "strict", outlets=outlets, load_a=8.0).targets_a() == [0, 11]
