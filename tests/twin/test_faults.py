"""Every kind of fault does to truth, link or reading what docs/scenarios.md says, and then it is over."""

import pytest

from controller.defaults import UNKNOWN
from controller.image import Status
from tests.twin.small_site import site, stay, uncontrolled, world
from tests.twin.test_instruments import order
from twin.instruments import SimulatedPlant
from twin.sessions import Car


def plant(*sessions, **conditions):
    """A plant without delays; the building takes 10, 20 and 30 A."""
    building = {"kind": "load_step", "grid": "main", "at_s": 0, "current_a": [10, 20, 30]}
    faults = [building, *conditions.pop("fault", [])]
    links = {"latency_s": 0.0} | conditions.pop("links", {})
    made = world(*sessions, links=links, meters={"delay_s": 0}, fault=faults, **conditions)
    return SimulatedPlant(made)


def at(seen, second):
    """What the guard says at a second, A."""
    seen.advance(second * 1000)
    return [ma if ma == UNKNOWN else ma / 1000 for ma in seen.measure().meters["current_ma"][0].tolist()]


def reads(**keys):
    return {"kind": "meter_reads", "meter": "guard", "at_s": 5, "for_s": 20, **keys}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (reads(factor=2), [20, 40, 60]),
        (reads(factor=[-1, 1, 0]), [-10, 20, 0]),
        (reads(offset_a=[0, 5, -5]), [10, 25, 25]),
        (reads(step_a=15), [15, 15, 30]),
        (reads(factor=1.3, offset_a=1, step_a=1), [14, 27, 40]),
        (reads() | {"kind": "meter_nan", "phase": "L2"}, [10, UNKNOWN, 30]),
        (reads() | {"kind": "meter_nan"}, [UNKNOWN] * 3),
        (reads() | {"kind": "meter_swapped"}, [20, 10, 30]),
        (reads() | {"kind": "meter_reversed"}, [-10, -20, -30]),
    ],
    ids=str,
)
def test_a_distorted_meter(fault, said):
    seen = plant(fault=[fault])
    assert at(seen, 4) == [10, 20, 30]
    assert at(seen, 10) == pytest.approx(said)
    assert at(seen, 30) == [10, 20, 30]


def told(*faults):
    """The guard's L1 each second while the building goes from 10 to 11 and on, an ampere a second."""
    rise = {"kind": "load_step", "grid": "main", "current_a": [1, 0, 0]}
    seen = plant(fault=[*faults, *(rise | {"at_s": second} for second in range(1, 25))])
    return [at(seen, second)[0] for second in range(1, 25)]


def test_a_meter_that_is_seldom_renewed_repeats_itself_with_new_times():
    found = told(reads(renew_s=4))
    assert found[:3] == [11, 12, 13]
    assert found[3:11] == [14, 14, 14, 14, 18, 18, 18, 18]


def test_a_late_meter_says_what_was():
    found = told(reads(late_s=3, for_s=10))
    assert found[3:8] == [14, 14, 14, 14, 15]
    assert found[-1] == 34


def test_of_a_lossy_meter_a_share_does_not_arrive():
    seen = plant(fault=[reads(loss=0.5, for_s=2_000)])
    stamps = {
        (seen.advance(second * 1000), int(seen.measure().meters["at_ms"][0]))[1] for second in range(5, 1_005)
    }
    assert 400 < len(stamps) < 600


def test_a_noisy_meter_scatters_around_the_truth():
    seen = plant(fault=[reads(noise_a=1.0, for_s=2_000)])
    found = [at(seen, second)[0] for second in range(6, 1_006)]
    assert sum(found) / 1_000 == pytest.approx(10, abs=0.15)
    assert min(found) < 8
    assert max(found) > 12


def said(seen, second):
    """What the first connector is held to draw, A."""
    seen.advance(second * 1000)
    return [ma if ma == UNKNOWN else ma / 1000 for ma in seen.measure().connectors["current_ma"][0].tolist()]


def one(kind, at_s=60, for_s=100, **keys):
    return {"kind": kind, "chargepoint": "one", "at_s": at_s, "for_s": for_s, **keys}


@pytest.mark.parametrize(
    ("fault", "while_it_lasts"),
    [
        (one("chargepoint_reads", factor=0), [0, 0, 0]),
        (one("chargepoint_reads", factor=[1, 0, 0]), [16, 0, 0]),
        (one("chargepoint_reads", step_a=10), [20, 20, 20]),
        (one("readings_frozen"), [12, 12, 12]),
        (one("readings_silent"), [12, 12, 12]),
        (one("chargepoint_reads", loss=1), [12, 12, 12]),
    ],
    ids=str,
)
def test_distorted_meter_values_of_a_chargepoint(fault, while_it_lasts):
    seen = plant(stay(), fault=[fault])
    seen.advance(20_000)
    order(seen, 0, 12, seq=1)
    assert said(seen, 59) == [12, 12, 12]
    seen.advance(61_000)
    order(seen, 0, 16, seq=2)
    assert said(seen, 120) == while_it_lasts
    assert seen.world.outlets["draw_ma"][0].tolist() == [16_000] * 3
    assert said(seen, 200) == [16, 16, 16]


def test_exchanged_meter_values_of_a_car_of_one_phase():
    seen = plant(stay(car=Car(1, 16_000)), fault=[one("readings_swapped", at_s=0, for_s=500)])
    seen.advance(20_000)
    order(seen, 0, 12, seq=1)
    assert said(seen, 60) == [0, 12, 0]


def held(fault, *orders):
    """The current of a strong car 29 s after each of the orders, A; the fault is there from the start."""
    seen = plant(stay(), fault=[fault | {"at_s": 0, "for_s": 3_000}])
    found = []
    for number, limit_a in enumerate(orders, start=1):
        seen.advance(number * 30_000)
        order(seen, 0, limit_a, seq=number)
        seen.advance(number * 30_000 + 29_000)
        found.append(float(seen.world.outlets["draw_ma"][0, 0]) / 1000)
    return found


@pytest.mark.parametrize(
    ("fault", "currents"),
    [
        (one("ignores_lowerings"), [10, 12, 12, 12]),
        (one("ignores_limits"), [0, 0, 0, 0]),
        (one("refuses_limits"), [0, 0, 0, 0]),
        (one("resumes_full"), [32, 12, 0, 32]),
        (one("rounds_down", step_a=4), [8, 12, 0, 8]),
        (one("rounds_up", step_a=4), [12, 12, 0, 12]),
        (one("draws_over", share=0.2), [12, 14.4, 0, 12]),
        (one("chargepoint_lossy", loss=1), [0, 0, 0, 0]),
        (one("follows_late", late_s=35), [0, 12, 12, 10]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_what_a_box_makes_of_10_12_0_and_10_amperes(fault, currents):
    assert held(fault, 10, 12, 0, 10) == pytest.approx(currents)


def test_a_box_that_calls_itself_faulted_goes_on():
    seen = plant(stay(), fault=[one("reports_faulted")])
    seen.advance(20_000)
    order(seen, 0, 12, seq=1)
    for second, status in ((59, Status.CHARGING), (61, Status.FAULTED), (170, Status.CHARGING)):
        seen.advance(second * 1000)
        assert seen.measure().connectors["status"][0] == status
        assert seen.world.outlets["draw_ma"][0, 0] == 12_000


def test_a_car_goes_to_another_number_of_phases_and_back():
    made = world(stay(), fault=[one("car_phases", phases=1)])
    uncontrolled(made, 16_000)
    found = []
    for second in (59, 61, 161):
        made.advance(second * 1000)
        found.append(made.outlets["draw_ma"][0].tolist())
    assert found == [[16_000] * 3, [16_000, 0, 0], [16_000] * 3]


def test_a_car_with_a_timer_waits_and_says_so():
    made = world(stay(), fault=[one("car_waits")])
    uncontrolled(made, 16_000)
    found = []
    for second in (59, 61, 190):
        made.advance(second * 1000)
        found.append((int(made.outlets["draw_ma"][0, 0]), int(made.outlets["status"][0])))
    assert found == [(16_000, Status.CHARGING), (0, Status.SUSPENDED_EV), (16_000, Status.CHARGING)]


def test_a_lost_phase_carries_nothing_and_stops_the_cars_that_use_it():
    lost = {"kind": "phase_lost", "grid": "main", "phase": "L2", "at_s": 60, "for_s": 100}
    building = {"kind": "load_step", "grid": "main", "at_s": 0, "current_a": [10, 20, 30]}
    made = world(stay(0), stay(1, car=Car(1, 16_000)), fault=[building, lost])
    uncontrolled(made, 16_000)
    made.advance(61_000)
    # The turned board hangs its L1 on L2 of the site.
    assert made.outlets["draw_ma"].sum(axis=1).tolist() == [0, 0]
    assert made.boards["current_ma"][0].tolist() == [10_000, 0, 30_000]
    made.advance(260_000)
    assert made.outlets["draw_ma"].sum(axis=1).tolist() == [48_000, 16_000]


def test_after_a_blackout_boxes_start_at_their_fallback_and_dial_in_again():
    dark = {"kind": "blackout", "grid": "main", "at_s": 60, "for_s": 100}
    made = world(stay(0), built=site(), fault=[dark])
    uncontrolled(made, 16_000)
    made.advance(61_000)
    assert (made.outlets["draw_ma"][0, 0], made.outlets["offline"][0]) == (0, 1)
    made.advance(161_000)
    assert (made.outlets["pilot_ma"][0], made.outlets["offline"][0]) == (0, 1)
    made.advance(191_000)
    assert made.outlets["offline"][0] == 0
    made.set_pilot(0, 16_000)
    made.advance(260_000)
    assert made.outlets["draw_ma"][0, 0] == 16_000
