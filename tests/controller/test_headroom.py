"""The estimate of the uncontrolled load and the book over it: what the readings exclude, and nothing else."""

import pytest

from controller.decision import Because
from controller.image import Status
from tests.controller.bench_site import Car, World, garage
from tests.controller.desk import Desk, drawn

ONE_PHASE = {"phases": 1, "rotation_confirmed_by": "test"}


def one_car(amps=32, load_a=20.0, seconds=60, **words):
    """One car of three known phases that draws all it may, beside a steady load, fuse 100 A, margin 3 A."""
    desk = Desk(drawn(outlets=[words]))
    desk.load_a["main"] = load_a
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: amps}, seconds)
    desk.puts.clear()
    return desk


# -- the worked example of docs/control.md 11 ---------------------------------------------------------


def three_cars():
    """A and B draw 31.4 of 32 A, C has just plugged in; one phase, U = 20 A, F = 100 A, m = 3 A."""
    desk = Desk(drawn(outlets=[ONE_PHASE] * 3, sample_interval_s=30))
    desk.load_a["main"] = (20.0, 0, 0)
    desk.cycle(3)
    desk.plug(0, 1)
    desk.cycle(3)
    for _ in range(40):
        desk.load_a["main"] = (82.8, 0, 0)
        for c in (0, 1):
            desk.draws(c, (31.4, 0, 0))
        desk.cycle()
    desk.plug(2)
    desk.cycle()
    return desk


def book_a(desk):
    return desk.estimate_a()[0] + sum(desk.commitments_a())


def until(desk, second, meter_a, **draws):
    """Cycles to this second of the example, then readings and one more cycle's decision."""
    desk.load_a["main"] = (meter_a, 0, 0)
    desk.cycle(second - desk.now_s - 1)
    for name, amps in draws.items():
        desk.draws("abc".index(name), (amps, 0, 0), at_s=second)
    desk.cycle()


def test_the_worked_example_is_reproduced_number_by_number():
    desk = three_cars()
    zero = desk.now_s
    assert desk.estimate_a()[0] == pytest.approx(20, abs=0.01)
    assert desk.targets_a() == [26, 26, 13]
    assert desk.commitments_a() == [32, 32, 13]
    assert book_a(desk) == pytest.approx(97, abs=0.01)
    until(desk, zero + 6, 82.8 - 2 * 5.9)
    assert desk.commitments_a() == [32, 32, 13]
    until(desk, zero + 8, 83.7, a=25.5, b=25.5, c=12.7)
    assert desk.commitments_a() == [26, 26, 13]
    assert book_a(desk) == pytest.approx(85, abs=0.01)
    until(desk, zero + 12, 83.7)
    assert desk.targets_a() == [26, 26, 25]
    assert book_a(desk) == pytest.approx(97, abs=0.01)
    until(desk, zero + 24, 95.5, a=25.5, b=25.5, c=24.5)
    until(desk, zero + 50, 95.5, a=25.5, b=25.5, c=24.5)
    until(desk, zero + 61, 125.5)
    assert desk.estimate_a()[0] == pytest.approx(49.25, abs=0.01)
    assert desk.targets_a() == [16, 16, 15]
    assert desk.commitments_a() == [26, 26, 25]
    assert book_a(desk) == pytest.approx(126.25, abs=0.01)
    until(desk, zero + 70, 96.0, a=15.7, b=15.7, c=14.6)
    assert desk.commitments_a() == [16, 16, 15]
    assert book_a(desk) == pytest.approx(96.25, abs=0.01)


# -- the estimate ---------------------------------------------------------------------------------------


def test_the_first_estimate_is_the_whole_of_the_first_reading():
    desk = Desk(drawn())
    desk.load_a["main"] = (10.0, 20.0, -5.0)
    desk.cycle()
    assert desk.estimate_a() == [10, 20, -5]


def test_a_rise_counts_in_the_cycle_of_its_reading():
    desk = one_car()
    assert desk.estimate_a() == [20] * 3
    desk.load_a["main"] = (62.0, 52.0, 52.0)
    desk.cycle()
    assert desk.estimate_a() == [29.5, 20, 20]  # less the pooled tolerance of one drawing car


def test_a_rise_does_not_hide_behind_outlets_that_could_start_by_themselves():
    desk = Desk(drawn(outlets=[{"fallback_a": 6}] * 4))
    desk.load_a["main"] = 20.0
    desk.cycle(10)
    assert desk.commitments_a() == [6] * 4
    desk.load_a["main"] = 40.0
    desk.cycle(5)
    assert desk.estimate_a() == [40] * 3


def test_an_unreported_pause_is_not_taken_for_less_load():
    desk = one_car()
    desk.load_a["main"] = 20.0  # the car has stopped and says nothing
    for _ in range(60):
        desk.cycle()
        assert min(desk.estimate_a()) >= 19.5
    assert desk.commitments_a() == [32]


def test_a_reading_newer_than_the_meters_sample_is_no_rise_of_the_load():
    desk = one_car(load_a=66.0, amps=31.0)
    desk.draws(0, 10.0)  # the car has just gone down, the meter still shows it
    desk.load_a["main"] = 97.5
    desk.cycle(2)
    assert max(desk.estimate_a()) <= 66.5
    desk.load_a["main"] = 76.0
    desk.cycle(5)
    assert max(desk.estimate_a()) <= 66.5


def test_a_fall_of_the_load_counts_after_one_whole_round_of_readings():
    desk = one_car()
    desk.load_a["main"] = 37.0  # 15 A less
    desk.cycle()
    assert desk.decision.connectors["ask"][0] == 1
    assert desk.estimate_a() == [20] * 3
    desk.draws(0, 32.0)
    desk.cycle()
    assert desk.estimate_a() == [20] * 3
    for _ in range(10):
        desk.cycle()
        desk.draws(0, 32.0)
    assert desk.estimate_a() == [5] * 3


def test_orders_of_its_own_never_move_the_estimate():
    cars = [Car(start_s=5 + 40 * n, up_s=5 + 5 * n, down_s=3, read_phase_s=7 * n) for n in range(4)]
    world = World(garage(4, 70), cars, lambda g, p, t: 20.0)
    for _ in range(400):
        estimate_ma = world.step().grids["estimate_ma"][0]
        assert all(19_000 <= ma <= 20_600 for ma in estimate_ma)
    assert world.writes >= 8


def sleeping_car(load_a=20.0):
    """A car that has a limit of 32 A and draws nothing."""
    desk = one_car(load_a=load_a)
    desk.load_a["main"] = load_a
    for _ in range(20):
        desk.draws(0, 0.0)
        desk.cycle()
    assert desk.targets_a() == [32]
    return desk


def test_a_car_that_wakes_inside_its_own_offer_is_asked_before_its_draw_counts_as_load():
    desk = sleeping_car()
    desk.load_a["main"] = 36.0
    desk.cycle()
    assert desk.decision.connectors["ask"][0] == 1
    assert desk.estimate_a() == [20] * 3
    desk.cycle()
    desk.draws(0, 16.0)
    desk.cycle(10)
    assert desk.estimate_a() == [20] * 3


def test_a_rise_that_no_car_owns_up_to_counts_after_three_seconds():
    desk = sleeping_car()
    desk.load_a["main"] = 36.0
    desk.cycle(3)
    assert desk.estimate_a() == [20] * 3
    desk.cycle()
    assert desk.estimate_a() == [36] * 3


def test_a_rise_into_the_margin_is_not_waited_for():
    desk = sleeping_car(load_a=60.0)
    desk.load_a["main"] = 98.0
    desk.cycle()
    assert desk.estimate_a() == [98] * 3


def test_nothing_is_raised_while_a_rise_may_be_a_car_waking():
    desk = Desk(drawn(outlets=[{}, {}]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    for _ in range(20):
        desk.load_a["main"] = 0.0
        desk.draws(0, 0.0)
        desk.cycle()
    desk.load_a["main"] = 16.0
    desk.plug(1)
    desk.cycle(2)
    assert desk.targets_a() == [32, 0]


def test_a_status_that_says_it_draws_nothing_is_a_reading_of_zero():
    desk = one_car()
    desk.load_a["main"] = 20.0
    desk.says(0, Status.SUSPENDED_EV)
    desk.cycle()
    assert desk.estimate_a() == [20] * 3
    desk.load_a["main"] = 10.0
    desk.cycle(8)
    assert desk.estimate_a() == [10] * 3  # nobody draws: no round of readings to wait for


def test_feed_in_is_credited_for_less_than_a_third_of_a_fuse():
    desk = Desk(drawn(outlets=[{}] * 5))
    desk.load_a["main"] = -70.0
    desk.cycle(3)
    assert desk.estimate_a() == [-30] * 3
    desk.plug(0, 1, 2, 3, 4)
    desk.cycle(2)
    assert sum(desk.targets_a()) == 127  # 100 - 3 + 30


# -- phases ---------------------------------------------------------------------------------------------


def test_a_car_of_unknown_phases_is_booked_on_all_and_the_estimate_is_lower_by_its_draw_where_it_is_not():
    desk = one_car(amps=(16.0, 0, 0), load_a=10.0)
    assert desk.decision.connectors["phases"][0].tolist() == [1, 1, 1]
    assert desk.estimate_a() == [10, -6, -6]
    truth_a = (26, 10, 10)
    committed_a = desk.decision.grids["committed_ma"][0] / 1000
    assert all(e + k >= t for e, k, t in zip(desk.estimate_a(), committed_a, truth_a, strict=True))


def test_feed_in_of_a_phantom_is_no_feed_in():
    desk = one_car(amps=(32.0, 0, 0), load_a=0.0)
    assert desk.estimate_a()[1] == -32  # below 0.3 of the fuse, and true


def test_a_phase_taken_off_gives_the_estimate_back_what_it_was_held_to_draw_there():
    desk = Desk(drawn(outlets=[{"rotation_confirmed_by": "test"}, {}]))
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0, 1)
    for _ in range(80):
        taken_a = min(16.0, desk.target_a(0))
        desk.load_a["main"] = (10.0 + taken_a, 10.0, 10.0)
        if desk.now_s % 5 == 0:
            desk.draws(0, (taken_a, 0, 0))
            desk.draws(1, 0.0)  # sleeps on its offer: a rise might be its waking
        desk.cycle()
        known = desk.decision.connectors["known"][0]
        assert known == 0 or min(desk.estimate_a()) >= 10 - 0.5
    assert desk.decision.connectors["phases"][0].tolist() == [1, 0, 0]
    assert desk.target_a(1) > 0


def test_without_a_confirmed_rotation_fewer_than_three_phases_stay_unknown():
    desk = one_car(amps=(16.0, 16.0, 0))
    assert desk.decision.connectors["known"][0] == 0


def test_three_drawing_phases_need_no_rotation_to_be_known():
    desk = one_car(amps=16.0)
    assert desk.decision.connectors["known"][0] == 1


def test_current_on_a_phase_taken_off_puts_it_back_at_once():
    desk = one_car(amps=(16.0, 0, 0), rotation_confirmed_by="test")
    assert desk.decision.connectors["phases"][0].tolist() == [1, 0, 0]
    desk.draws(0, (16.0, 2.0, 0))
    desk.cycle()
    assert desk.decision.connectors["phases"][0].tolist() == [1, 1, 1]


def test_what_was_learnt_of_a_car_is_forgotten_with_the_car():
    desk = one_car(amps=(16.0, 0, 0), rotation_confirmed_by="test")
    desk.stop(0)
    desk.cycle(10)
    desk.plug(0)
    desk.cycle()
    assert desk.decision.connectors["phases"][0].tolist() == [1, 1, 1]


def test_a_rotated_car_loads_the_phase_of_the_site_that_its_wires_end_on():
    desk = Desk(drawn(outlets=[ONE_PHASE | {"rotation": "L3 L1 L2"}]))
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: (16.0, 0, 0)}, 60)
    assert desk.decision.grids["committed_ma"][0].tolist() == [0, 0, 32_000]
    assert desk.estimate_a() == [10] * 3


# -- trees ----------------------------------------------------------------------------------------------


def tree(role="guard", **board):
    meters = {"main": {"grid": "main", "role": "guard", "delay_s": 1.0}}
    if role:
        meters["board"] = {"grid": "board", "role": role, "delay_s": 1.0, "error_a": 0.5}
    grids = {"main": {}, "board": {"fed_by": "main", "max_current_a": 40} | board}
    return Desk(drawn(grids=grids, outlets=[{"fed_by": "board"}], meters=meters))


def test_nested_guards_keep_books_of_their_own_and_the_car_stands_in_both():
    desk = tree()
    desk.load_a |= {"main": 25.0, "board": 5.0}  # main sees the board's load too
    desk.cycle(3)
    desk.plug(0)
    desk.cycle(2)
    assert desk.target_a(0) == 32  # 40 - 3 - 5
    assert (desk.estimate_a(0), desk.estimate_a(1)) == ([25] * 3, [5] * 3)
    assert desk.decision.grids["committed_ma"].tolist() == [[32_000] * 3] * 2


def test_what_a_car_under_a_board_draws_hides_no_fall_of_the_load_above_it():
    desk = tree()
    desk.load_a |= {"main": 25.0, "board": 5.0}
    desk.cycle(3)
    desk.plug(0)
    desk.cycle(2)
    for second in range(20):
        desk.load_a |= {"main": 25.0 + 20.0 - 12.0 * (second > 5), "board": 5.0 + 20.0}
        desk.draws(0, 20.0)
        desk.cycle()
    assert (desk.estimate_a(0), desk.estimate_a(1)) == ([13] * 3, [5] * 3)


def test_a_consumer_meter_is_the_load_itself_with_its_error_on_top():
    desk = tree("consumer")
    desk.load_a |= {"main": 25.0, "board": 12.0}
    desk.cycle(3)
    assert desk.estimate_a(1) == [12.5] * 3
    desk.plug(0)
    desk.cycle(2)
    assert desk.target_a(0) == 24  # 40 - 3 - 12.5
    desk.load_a["board"] = 20.0
    desk.cycle()
    assert desk.target_a(0) == 16  # the rise is cut in the cycle of its reading


def test_the_fall_of_a_consumer_meter_is_held_for_five_seconds():
    desk = tree("consumer")
    desk.load_a |= {"main": 25.0, "board": 20.0}
    desk.cycle(10)
    desk.load_a["board"] = 10.0
    desk.cycle(5)
    assert desk.estimate_a(1) == [20.5] * 3
    desk.cycle(2)
    assert desk.estimate_a(1) == [10.5] * 3


@pytest.mark.parametrize(("excludes", "estimate_a"), [([], 10.5), (["roof"], 17.5)])
def test_a_consumer_meter_adds_the_load_of_a_child_it_does_not_see(excludes, estimate_a):
    grids = {"main": {}, "roof": {"fed_by": "main", "uncontrolled_a": 7}}
    meters = {"main": {"grid": "main", "role": "consumer", "excludes": excludes}}
    desk = Desk(drawn(grids=grids, meters=meters))
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    assert desk.estimate_a(0) == [estimate_a] * 3


def test_a_grid_that_nobody_measures_carries_what_the_file_declares_and_its_children():
    grids = {
        "main": {"uncontrolled_a": 15},
        "board": {"fed_by": "main", "max_current_a": 63, "rotation": "L2 L3 L1"},
    }
    desk = Desk(drawn(grids=grids, meters={"board": {"grid": "board", "role": "guard"}}))
    desk.load_a["board"] = (1.0, 2.0, 3.0)
    desk.cycle(3)
    assert desk.estimate_a(1) == [3, 1, 2]  # its own L1 hangs on L2 of the site
    assert desk.estimate_a(0) == [18, 16, 17]
    desk.plug(0)
    desk.cycle(2)
    assert desk.target_a(0) == 32


def test_rounds_of_raises_do_not_overlap():
    desk = Desk(drawn(outlets=[{}, {}, {}]))
    desk.cycle(3)
    desk.plug(0)
    desk.cycle()
    assert desk.targets_a() == [32, 0, 0]
    desk.plug(1, 2)
    desk.cycle(20)
    assert desk.targets_a() == [32, 0, 0]
    assert desk.because(1) == Because.ROUND
    desk.draws(0, 31.8)
    desk.load_a["main"] = 31.8
    desk.cycle(1)  # closed now; then the meter's delay, the wait for the cycle and a second
    assert desk.targets_a() == [32, 0, 0]
    desk.cycle(3)
    assert desk.targets_a() == [32, 32, 32]


def test_a_silent_box_does_not_hold_a_round_open_for_ever():
    desk = Desk(drawn(outlets=[{}, {}]))
    desk.cycle(3)
    desk.plug(0)
    desk.cycle()
    desk.plug(1)
    desk.cycle(60)
    assert desk.targets_a() == [32, 0]
    desk.cycle(20)
    assert desk.targets_a() == [32, 32]
    assert desk.commitments_a() == [32, 32]
