"""What is believed of a meter, and what is done when it is over its limit or falls silent."""

import pytest

from controller.decision import Alarm, Because
from controller.defaults import UNKNOWN
from tests.controller.desk import Desk, drawn

SAFE = {"main": {"grid": "main", "role": "guard", "delay_s": 1.0, "on_failure": {"safe_current_a": 20}}}


def cars(count=3, load_a=10.0, amps=32.0, **site):
    """Cars of three known phases that take what they get, fuse 100 A, margin 3 A."""
    desk = Desk(drawn(outlets=[{}] * count, **site))
    desk.load_a["main"] = load_a
    desk.cycle(3)
    desk.plug(*range(count))
    desk.settle(dict.fromkeys(range(count), amps), 120)
    desk.puts.clear()
    return desk


def test_a_meter_silent_for_ten_seconds_turns_everything_under_it_off():
    desk = cars()
    desk.silent.add("main")
    desk.cycle(10)
    assert desk.puts == []
    desk.cycle()
    assert desk.targets_a() == [0, 0, 0]
    assert desk.because(0) == Because.METER_LOST_PANIC
    assert Alarm.METER_LOST in desk.grid_alarm()


def test_or_leaves_the_safe_current_where_the_site_file_says_so():
    desk = cars(meters=SAFE)
    desk.silent.add("main")
    desk.cycle(11)
    assert sum(desk.targets_a()) == 20
    assert desk.because(0) == Because.METER_LOST_SAFE
    for _ in range(30):
        for c in range(3):
            desk.draws(c, desk.target_a(c))
        desk.cycle()
    assert sum(desk.commitments_a()) == 20


def test_a_lost_meter_of_a_board_leaves_the_rest_of_the_site_alone():
    grids = {"main": {}, "board": {"fed_by": "main", "max_current_a": 40}}
    meters = SAFE | {"board": {"grid": "board", "role": "guard", "delay_s": 1.0}}
    desk = Desk(drawn(grids=grids, outlets=[{"fed_by": "board"}, {}], meters=meters))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 60)
    assert desk.targets_a() == [32, 32]
    desk.silent.add("board")
    desk.settle({0: 32, 1: 32}, 20)
    assert desk.targets_a() == [0, 32]
    assert desk.grid_alarm(0) == Alarm.NONE


def test_the_parent_of_a_lost_consumer_meter_counts_the_worst_load_of_the_site_file():
    grids = {"main": {}, "board": {"fed_by": "main", "max_current_a": 40, "worst_load_a": 25}}
    meters = {
        "main": {"grid": "main", "role": "consumer", "excludes": ["board"], "error_a": 0},
        "board": {"grid": "board", "role": "consumer", "error_a": 0},
    }
    desk = Desk(drawn(grids=grids, meters=meters))
    desk.load_a = {"main": 10.0, "board": 4.0}
    desk.cycle(3)
    assert desk.estimate_a(0) == [14] * 3
    desk.silent.add("board")
    desk.cycle(11)
    assert desk.estimate_a(0) == [35] * 3


def test_on_a_reading_older_than_three_seconds_nothing_is_raised():
    desk = cars(count=2)
    desk.silent.add("main")
    desk.cycle(3)
    assert desk.grid_alarm() == Alarm.NONE
    desk.stop(1)
    desk.cycle()
    assert Alarm.METER_AGEING in desk.grid_alarm()
    desk.plug(1)
    desk.cycle(6)
    assert desk.target_a(1) == 0
    assert desk.because(1) == Because.METER_AGEING
    desk.silent.clear()
    desk.settle({0: 32, 1: 32}, 20)
    assert desk.target_a(1) == 32


def test_an_ageing_meter_counts_with_its_highest_estimate_of_fifteen_minutes():
    desk = cars(count=1, load_a=40.0)
    desk.load_a["main"] = 20.0
    desk.settle({0: 32}, 120)
    assert desk.estimate_a() == [20] * 3
    desk.silent.add("main")
    desk.cycle(3)
    assert desk.estimate_a() == [20] * 3
    desk.cycle()
    assert desk.estimate_a() == [40] * 3


def test_a_lost_meter_counts_again_after_three_good_readings_in_a_row():
    desk = cars()
    desk.silent.add("main")
    desk.cycle(20)
    desk.silent.clear()
    desk.load_a["main"] = 10.0
    desk.cycle(2)
    assert Alarm.METER_LOST in desk.grid_alarm()
    desk.load_a["main"] = 5_000.0
    desk.cycle()
    desk.load_a["main"] = 10.0
    desk.cycle(2)
    assert Alarm.METER_LOST in desk.grid_alarm()
    desk.cycle()
    assert desk.grid_alarm() == Alarm.NONE


@pytest.mark.parametrize("nonsense_a", [(1_001.0, 10.0, 10.0), (10.0, -1_001.0, 10.0)])
def test_a_reading_of_more_than_ten_fuses_is_no_reading(nonsense_a):
    desk = cars()
    before = desk.estimate_a()
    desk.load_a["main"] = nonsense_a
    desk.cycle(2)
    assert desk.puts == []
    assert desk.estimate_a() == before
    assert Alarm.METER_ABSURD in desk.grid_alarm()
    desk.cycle(9)
    assert Alarm.METER_LOST in desk.grid_alarm()


def test_a_meter_that_gives_nothing_on_one_phase_is_not_believed_on_the_others():
    desk = cars()
    desk.silent.add("main")
    for _ in range(11):
        desk.image.meters["at_ms"] = round(desk.now_s * 1000) + 1000
        desk.image.meters["current_ma"] = [10_000, UNKNOWN, 10_000]
        desk.cycle()
    assert Alarm.METER_ABSURD | Alarm.METER_LOST in desk.grid_alarm()
    assert desk.targets_a() == [0, 0, 0]


# -- over the limit -------------------------------------------------------------------------------------


def test_over_the_limit_is_cut_in_the_cycle_of_its_reading():
    desk = cars(load_a=0.0)
    assert desk.targets_a() == [32, 32, 32]
    desk.load_a["main"] = (106.0, 96.0, 96.0)
    desk.cycle()
    assert sum(desk.targets_a()) <= 96 - 9  # 106 - 97
    assert Alarm.OVER_LIMIT in desk.grid_alarm()
    cut = min(range(3), key=desk.target_a)
    row = desk.decision.connectors[cut]
    assert desk.because(cut) == Because.FUSE
    assert (row["because_grid"], row["because_phase"]) == (0, 0)


def test_whatever_the_estimate_says_who_is_cut_at_the_meter_says_so():
    desk = cars(count=2, load_a=10.0)
    desk.stop(1)
    for _ in range(10):
        desk.cycle()
        desk.draws(0, 32.0)
        desk.draws(1, 0.0)
        desk.load_a["main"] = 42.0
    desk.plug(1)
    desk.cycle(2)
    assert desk.targets_a() == [32, 32]
    desk.load_a["main"] = 107.0  # car 1 may have risen for all the readings say
    desk.cycle()
    row = desk.decision.connectors[0]
    assert desk.target_a(0) <= 22
    assert desk.because(0) == Because.CUT
    assert (row["because_grid"], row["because_phase"]) == (0, 0)


def test_what_is_cut_already_and_not_yet_visible_is_not_cut_again():
    desk = cars(load_a=0.0)
    desk.load_a["main"] = 106.0
    desk.cycle()
    ordered = list(desk.puts)
    desk.cycle(4)
    assert desk.puts == ordered


def test_what_was_cut_and_did_not_come_is_cut_elsewhere():
    desk = cars(load_a=0.0)
    desk.load_a["main"] = 106.0
    desk.cycle()
    first = desk.targets_a()
    desk.cycle(14)  # meter 2 s, link 5 s, car 5 s, one more cycle
    assert sum(desk.targets_a()) < sum(first)


def test_cuts_take_the_largest_draws_first_and_nobody_falls_below_its_minimum_before_all_stand_at_theirs():
    desk = cars(load_a=10.0)
    desk.load_a["main"] = 97.0 + 40.0
    desk.cycle()
    assert all(amps >= 6 for amps in desk.targets_a())
    desk.load_a["main"] = 97.0 + 85.0
    desk.cycle()
    assert 0 in desk.targets_a()
    assert all(amps in (0, 6) for amps in desk.targets_a())


def test_it_is_no_panic_when_the_ordered_cuts_will_do():
    desk = cars(load_a=10.0)
    desk.load_a["main"] = 125.0
    desk.cycle(8)
    assert Alarm.PANIC not in desk.grid_alarm()
    assert min(desk.targets_a()) >= 6


def test_it_is_panic_after_three_seconds_when_they_will_not():
    desk = cars(load_a=0.0)
    desk.load_a["main"] = 260.0
    desk.cycle(3)
    assert Alarm.PANIC not in desk.grid_alarm()
    desk.cycle()
    assert Alarm.PANIC in desk.grid_alarm()
    assert desk.targets_a() == [0, 0, 0]
    assert desk.because(0) == Because.PANIC
    desk.load_a["main"] = 10.0
    desk.cycle(20)
    assert desk.targets_a() == [0, 0, 0]


def test_far_over_the_limit_for_longer_than_any_cut_takes_is_panic_too():
    desk = cars(load_a=10.0)
    desk.load_a["main"] = 125.0
    desk.cycle(20)
    assert Alarm.PANIC in desk.grid_alarm()


def test_a_load_above_the_limit_with_nothing_left_to_lower_is_an_alarm():
    desk = cars(count=1, load_a=10.0)
    for _ in range(40):
        desk.load_a["main"] = 105.0
        desk.cycle()
        desk.draws(0, 0.0)
    assert desk.targets_a() == [0]
    assert Alarm.OVER_LIMIT | Alarm.UNCONTROLLED_ABOVE_LIMIT in desk.grid_alarm()


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_one_phase_over_its_limit_cuts_only_who_loads_it(phase):
    one_phase = {"phases": 1, "rotation_confirmed_by": "test"}
    turned = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")
    desk = Desk(drawn(outlets=[one_phase | {"rotation": rotation} for rotation in turned]))
    desk.cycle(3)
    desk.plug(0, 1, 2)
    desk.settle(dict.fromkeys(range(3), (32, 0, 0)), 60)
    over = [32.0] * 3
    over[phase] = 104.0
    desk.load_a["main"] = tuple(over)
    desk.cycle()
    assert [target < 32 for target in desk.targets_a()] == [p == phase for p in range(3)]


def test_the_fall_of_a_car_of_unknown_phases_counts_a_third_on_each():
    desk = cars(count=2, load_a=10.0, amps=(32.0, 0, 0))
    assert desk.decision.connectors["known"].tolist() == [0, 0]
    desk.load_a["main"] = (10.0, 103.0, 10.0)
    desk.cycle()
    assert sum(desk.targets_a()) <= 64 - 3 * 6
