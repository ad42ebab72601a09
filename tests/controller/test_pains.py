"""What users of other controllers complain of, each as a small story that must not happen here.

The names are their complaints turned around; the threads are of public issue trackers.
"""

import pytest

from tests.controller.bench_site import Car, World, garage
from tests.controller.desk import Desk, drawn

CONFIRMED = {"rotation_confirmed_by": "a test"}


def garage_desk(cars, fuse_a=33, **outlet):
    """Cars on one fuse with 1 A of margin, all plugged in one after the other."""
    desk = Desk(drawn(outlets=[outlet] * cars, grids={"main": {"max_current_a": fuse_a, "margin_a": 1}}))
    desk.cycle(3)
    return desk


# -- sharing --------------------------------------------------------------------------------------------


def test_who_comes_first_does_not_keep_everything():  # evcc 20113, 30340
    desk = garage_desk(2)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    assert desk.targets_a() == [32, 0]
    desk.plug(1)
    desk.settle({0: 32, 1: 32}, 60)
    assert desk.targets_a() == [16, 16]


def test_two_cars_on_seventeen_amperes_share_them_and_do_not_get_twelve_and_five():  # warp, SmartEVSE 14
    desk = garage_desk(2, fuse_a=18)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 60)
    assert sorted(desk.targets_a()) == [8, 9]


def test_when_the_minimums_do_not_fit_one_gets_all_and_nobody_gets_less_than_a_car_can_follow():
    desk = garage_desk(2, fuse_a=12)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 60)
    assert sorted(desk.targets_a()) == [0, 11]


def test_what_one_car_frees_is_given_away_once():  # evcc 26380, 19166
    """The reading that shows the fall comes late; until then the freed current is booked."""
    desk = garage_desk(3, fuse_a=49)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 60)
    desk.plug(2)
    for _ in range(60):
        desk.settle(dict.fromkeys(range(3), 32), 1)
        assert sum(desk.commitments_a()) <= 48
    assert desk.targets_a() == [16, 16, 16]


@pytest.mark.parametrize("cars", [4, 8, 12])
def test_no_number_of_cars_makes_the_site_swing(cars):  # evcc 13207 (the eighth), openWB 1605
    fleet = [Car(start_s=5 + 7 * n, read_phase_s=3 * n) for n in range(cars)]
    world = World(garage(cars, 100), fleet, lambda g, p, t: 20.0)
    for _ in range(900):
        world.step()
    before = [list(orders) for orders in world.sent]
    for _ in range(1_800):
        world.step()
    assert [len(now) - len(then) for now, then in zip(world.sent, before, strict=True)] == [0] * cars


def test_over_the_limit_a_car_is_throttled_and_not_stopped_and_started_in_a_loop():  # evcc 18263, 13750
    fleet = [Car(start_s=5)]
    world = World(garage(1, 40), fleet, lambda g, p, t: 24.0 if t % 600 < 60 else 8.0)
    for _ in range(3_600):
        world.step()
    assert 0 not in world.sent[0][1:]


def test_a_slow_meter_makes_no_swing_of_full_scale():  # evcc 5003, 29783
    fleet = [Car(start_s=5, read_every_s=60) for _ in range(2)]
    site = garage(2, 60)
    world = World(site, fleet, lambda g, p, t: 10.0, meter_lag_s=9)
    for _ in range(600):
        world.step()
    before = world.writes
    for _ in range(1_800):
        world.step()
    assert world.writes - before <= 2


def test_the_delay_of_many_chargepoints_does_not_add_up():  # evcc 10957, 6728: interval times loadpoints
    desk = garage_desk(12, fuse_a=120)
    desk.plug(*range(12))
    desk.settle(dict.fromkeys(range(12), 32), 120)
    desk.load_a["main"] = 140.0
    desk.puts.clear()
    desk.cycle()
    assert len({c for _, c, _ in desk.puts}) >= 3  # in one cycle, as many as it takes


# -- phases ---------------------------------------------------------------------------------------------


def test_a_one_phase_car_is_not_throttled_for_the_load_on_another_phase():  # evcc 18522, 26037, 27781
    desk = Desk(
        drawn(outlets=[{"phases": 1, **CONFIRMED}], grids={"main": {"max_current_a": 40, "margin_a": 1}})
    )
    desk.load_a["main"] = (0.0, 38.0, 38.0)
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: (32, 0, 0)}, 60)
    assert desk.targets_a() == [32]


def test_a_one_phase_station_is_booked_on_its_own_phase_alone():  # sap 1953
    turned = {"phases": 1, "rotation": "L3 L1 L2", **CONFIRMED}
    desk = Desk(drawn(outlets=[turned]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: (32, 0, 0)}, 60)
    assert desk.decision.connectors[0]["phases"].tolist() == [0, 0, 1]
    assert desk.decision.grids[0]["committed_ma"].tolist() == [0, 0, 32_000]


def test_every_phase_may_have_its_own_fuse():  # evcc 22543, 16756
    outlets = [
        {"phases": 1, "rotation": turned, **CONFIRMED} for turned in ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")
    ]
    desk = Desk(drawn(outlets=outlets, grids={"main": {"max_current_a": [36, 26, 17], "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(0, 1, 2)
    desk.settle(dict.fromkeys(range(3), (32, 0, 0)), 90)
    assert desk.targets_a() == [32, 25, 16]


def test_one_and_three_phase_cars_together_leave_no_room_unused():  # SmartEVSE 14: they block each other
    outlets = [{"phases": 1, **CONFIRMED}, CONFIRMED]
    desk = Desk(drawn(outlets=outlets, grids={"main": {"max_current_a": 33, "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: (32, 0, 0), 1: 32}, 90)
    assert desk.targets_a() == [16, 16]  # L1 is full
    desk.settle({0: (6, 0, 0), 1: 32}, 200)
    assert desk.targets_a() == [7, 25]  # what the one does not take the other has


def test_a_two_phase_hybrid_leaves_the_third_phase_to_others():  # se35 266
    outlets = [CONFIRMED, {"phases": 1, "rotation": "L3 L1 L2", **CONFIRMED}]
    desk = Desk(drawn(outlets=outlets, grids={"main": {"max_current_a": 33, "margin_a": 1}}))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: (16, 16, 0), 1: (32, 0, 0)}, 200)
    assert desk.decision.connectors[0]["phases"].tolist() == [1, 1, 0]
    assert desk.target_a(1) == 32


# -- cars that sleep ------------------------------------------------------------------------------------


def test_a_car_that_was_full_once_is_tried_again():  # warp 73
    desk = garage_desk(1)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.settle({0: 0.0}, 3_000)
    desk.settle({0: 20}, 60)
    assert desk.target_a(0) >= 20


def test_a_pause_ends_without_ending_the_transaction():  # se35 168, evcc 14348
    desk = garage_desk(1)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.load_a["main"] = 32.0
    desk.settle({0: 32}, 120)
    assert desk.targets_a() == [0]
    desk.load_a["main"] = 0.0
    desk.settle({0: 32}, 120)
    assert desk.targets_a() == [32]
    assert desk.image.connectors[0]["transaction"] == 1
