"""Limits from outside act on true currents: told by a story, thought through, ordered, followed by cars."""

import pytest

from controller.cycle import calculate
from controller.decision import first_memory
from tests.twin import small_site
from twin.instruments import SimulatedPlant
from twin.outside import Told
from twin.pace import Pace

CARS = (small_site.stay(0, end_s=9_000), small_site.stay(1, end_s=9_000))
ONE = {"connector": "one/1"}


def true_amps(story=(), *, minutes, load=(), **main):
    """What the two cars draw at these minutes after 09:00 in Amsterdam, without instructions 32 A each."""
    world = small_site.world(*CARS, built=small_site.site(**main), loads=load)
    return seen(world, story, minutes, lambda: tuple(world.outlets["draw_ma"].max(axis=1) / 1000))


def battery_amps(story=(), *, minutes, **battery):
    """What a battery that is half full takes on each phase at these minutes, by itself nothing."""
    kept = {"capacity_wh": 20_000, "max_charge_w": 6_900, "max_discharge_w": 6_900} | battery
    world = small_site.world(built=small_site.site(kept), battery_soc=0.5)
    board = world.boards[0]
    return seen(world, story, minutes, lambda: int(board["charge_ma"][0] - board["discharge_ma"][0]) / 1000)


def seen(world, story, minutes, look):
    """What `look` sees at these minutes."""
    plant = SimulatedPlant(world, told=[Told.model_validate(told) for told in story])
    topology = world.topology
    memory = first_memory(topology, proven=True)
    pace = Pace(plant, 1000, max(minutes) * 60_000)
    found, wanted = [], sorted(minutes)
    while True:
        image = plant.measure()
        decision, memory = calculate(topology, image, memory)
        plant.distribute(decision)
        going = pace.next_cycle(image, decision)
        while wanted and world.now_ms >= wanted[0] * 60_000:
            found.append(look())
            wanted.pop(0)
        if not going:
            return found


def test_a_cap_on_one_chargepoint_holds_for_its_time_and_its_neighbour_goes_on():
    story = [{"at_s": 600, "chargepoint": "one", "limit": {"limit_a": 10, "ttl_s": 600, "fallback_a": 16}}]
    assert true_amps(story, minutes=[9, 12, 25]) == [(32, 32), (10, 32), (16, 32)]


def test_a_recurring_profile_of_the_site_file_caps_a_chargepoint_in_its_hours():
    plan = {"startSchedule": "2026-01-01T09:10:00", "chargingRateUnit": "A"}
    plan["chargingSchedulePeriod"] = [{"startPeriod": 0, "limit": 8}, {"startPeriod": 600, "limit": 1000}]
    profile = {"chargingProfileId": 1, "stackLevel": 0, "chargingProfileKind": "Recurring"}
    profile |= {"recurrencyKind": "Daily", "chargingSchedule": plan}
    story = [{"at_s": 0, "chargepoint": "two", "profile": {"profile": profile}}]
    assert true_amps(story, minutes=[9, 12, 25]) == [(32, 32), (32, 8), (32, 32)]


def test_a_limit_of_a_grid_by_the_api_binds_its_cars_together_and_ends():
    """Less the margin of 3 A of the fuse."""
    story = [{"at_s": 600, "grid": "main", "limit": {"limit_a": 43, "ttl_s": 600}}]
    before, within, after = true_amps(story, minutes=[9, 12, 30])
    assert (before, after) == ((32, 32), (32, 32))
    assert sum(within) == pytest.approx(40)


def test_kilowatts_bind_the_sum_of_the_phases():
    story = [{"at_s": 600, "grid": "main", "limit": {"limit_kw": 30, "ttl_s": 3600}}]
    ((one, two),) = true_amps(story, minutes=[15])
    assert (one + two) * 3 * 0.23 <= 30
    assert (one + two) * 3 * 0.23 > 20


def test_time_of_use_of_the_site_file_binds_in_its_segment_and_not_after_it():
    schedule = {"segment": [{"begin": "09:10", "end": "09:20", "limit_a": 35}]}
    before, within, after = true_amps(minutes=[9, 12, 30], time_of_use=[schedule])
    assert (before, after) == ((32, 32), (32, 32))
    assert sum(within) == pytest.approx(32)


def test_a_schedule_of_0_a_that_keeps_6_a_leaves_every_car_its_minimum():
    schedule = {"segment": [{"begin": "09:10", "end": "12:00", "limit_a": 0}], "keep_6a": True}
    assert true_amps(minutes=[15], time_of_use=[schedule]) == [(6, 6)]


def test_a_schedule_of_0_a_that_keeps_nothing_turns_them_off():
    schedule = {"segment": [{"begin": "09:10", "end": "12:00", "limit_a": 0}]}
    assert true_amps(minutes=[15], time_of_use=[schedule]) == [(0, 0)]


def test_on_ev_current_alone_the_limit_is_what_the_cars_take_together():
    schedule = {"segment": [{"begin": "09:10", "end": "12:00", "limit_a": 40}], "ev_current_only": True}
    ((one, two),) = true_amps(minutes=[15], time_of_use=[schedule])
    assert one + two == pytest.approx(40)


@pytest.mark.parametrize("reason", ["maintenance", "emergency_stop"])
def test_a_stop_of_a_connector_turns_it_off_until_it_is_taken_back(reason):
    story = [{"at_s": 600, "until_s": 900, "stop": {"reason": reason}} | ONE]
    assert true_amps(story, minutes=[9, 11, 25]) == [(32, 32), (0, 32), (32, 32)]


def test_a_stop_of_a_board_turns_off_what_is_under_it_and_nothing_else():
    story = [{"at_s": 600, "until_s": 900, "grid": "turned", "stop": {"reason": "emergency_stop"}}]
    assert true_amps(story, minutes=[9, 11, 25]) == [(32, 32), (32, 0), (32, 32)]


def test_a_battery_follows_its_schedule_what_it_is_told_goes_first_and_a_stop_goes_before_all():
    schedule = [{"segment": [{"begin": "09:10", "end": "10:00", "power_kw": 4.14}]}]
    story = [
        {"at_s": 1200, "battery": "cellar", "setpoint": {"power_kw": -2.07, "ttl_s": 600}},
        {"at_s": 2400, "until_s": 3000, "grid": "main", "stop": {"reason": "maintenance"}},
    ]
    amps = battery_amps(story, minutes=[9, 15, 25, 35, 45, 55, 70], schedule=schedule)
    assert amps == [0, 6, -3, 6, 0, 6, 0]
