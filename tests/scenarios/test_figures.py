"""Whose fault an ampere over the limit is, on stories whose culprit is known."""

from dataclasses import replace

import pytest

from controller.topology import compile_site
from scenarios.figures import Tally, judge, possible_wh, served, true_delays
from scenarios.scenario import Story
from tests.twin.small_site import START, site, stay
from twin.conditions import Conditions
from twin.instruments import SimulatedPlant
from twin.sessions import Car
from twin.world import World

STEADY = Car(3, 32_000, down_ms=3_000, up_ms=5_000, ramp_ma_s=8_000, taper_wh=1.0)


def story(*sessions, **conditions):
    built = site(max_current_a=50)
    return Story(
        name="test",
        site=built,
        topology=compile_site(built),
        conditions=Conditions.model_validate(conditions),
        sessions=sessions,
        loads=(),
        start_utc=START,
        length_ms=600_000,
        seed=1,
    )


def watched(told, *, limit_ma=32_000, orders=()):
    """Nobody controls: cars get `limit_ma`, then the orders (second, connector, mA)."""
    world = World(
        told.site, told.topology, told.conditions, told.sessions, told.seed, told.start_utc, end_ms=600_000
    )
    plant = SimulatedPlant(world)
    tally = Tally(told, world, plant.seen.connectors)
    given = set()
    for now_s in range(601):
        plant.advance(now_s * 1000)
        for row, outlet in enumerate(world.outlets):
            if outlet["transaction"] and row not in given:
                given.add(row)
                world.set_pilot(row, limit_ma)
        for at_s, row, order_ma in orders:
            if at_s == now_s:
                world.set_pilot(row, order_ma)
    return judge(told, world, tally, served(told, world), 0, 1, 0.0), tally


def step(at_s, amps, for_s=None):
    return {"kind": "load_step", "grid": "main", "at_s": at_s, "for_s": for_s, "current_a": [amps] * 3}


def test_cars_that_are_given_too_much_are_our_own_fault():
    figures, tally = watched(story(stay(0, STEADY), stay(1, STEADY)))
    # 64 A on 50 A from about 20 s on, on three phases, until the cars leave or the fuse opens.
    assert tally.rows["most_own_ma"][0].tolist() == [14_000] * 3
    assert figures.own_as == pytest.approx(figures.over_as)
    assert figures.over_as == pytest.approx(3 * 14 * 580, rel=0.05)
    assert figures.disturbance_as == pytest.approx(0)


def test_a_sudden_load_is_a_disturbance_while_nobody_can_have_known():
    blind_s = true_delays(story()).blind_ms / 1000
    figures, _ = watched(story(stay(0, STEADY), fault=[step(200, 25, for_s=blind_s / 2)]))
    assert figures.over_as == pytest.approx(3 * 7 * blind_s / 2, rel=0.01)
    assert figures.disturbance_as == pytest.approx(figures.over_as)
    assert figures.own_as == 0


def test_a_load_that_everybody_could_have_seen_becomes_our_own():
    told = story(stay(0, STEADY), fault=[step(200, 25)])
    blind_s = true_delays(told).blind_ms / 1000
    figures, _ = watched(told)
    assert figures.disturbance_as == pytest.approx(3 * 7 * blind_s, rel=0.03)
    assert figures.own_as == pytest.approx(3 * 7 * (400 - blind_s), rel=0.03)


def test_a_load_that_comes_back_within_the_blind_window_is_still_a_disturbance():
    figures, _ = watched(story(stay(0, STEADY), fault=[step(200, 25, 10) | {"every_s": 20.0}]))
    assert figures.over_as > 1_000
    assert figures.own_as == 0


def test_uncontrolled_load_alone_over_the_limit_is_a_disturbance():
    figures, _ = watched(story(fault=[step(100, 58, for_s=300)]))
    assert figures.over_as == pytest.approx(3 * 8 * 300)
    assert figures.own_as == 0


def test_a_box_that_does_not_obey_is_a_lie_and_not_ours():
    deaf = {"kind": "ignores_lowerings", "chargepoint": "one", "at_s": 0}
    told = story(stay(0, STEADY), stay(1, STEADY), fault=[deaf])
    # Both draw 25 A; one is lowered to 10 A and goes on, then the other is raised to 32 A.
    figures, _ = watched(told, limit_ma=25_000, orders=[(100, 0, 10_000), (120, 1, 32_000)])
    assert figures.over_as == pytest.approx(3 * 7 * 475, rel=0.02)
    assert figures.lie_as == pytest.approx(figures.over_as)
    assert figures.own_as == 0


def test_a_limit_that_is_being_left_is_no_lie():
    told = story(stay(0, STEADY), fault=[step(100, 20)])
    figures, _ = watched(told, orders=[(100, 0, 25_000)])
    # 32 + 20 A for the three seconds in which the car obeys.
    assert figures.over_as == pytest.approx(3 * 2 * 3)
    assert figures.lie_as == 0
    assert figures.disturbance_as == pytest.approx(figures.over_as)


def test_what_a_car_could_have_taken_is_its_own_maximum_from_its_card_on():
    told = story(stay(0, STEADY, begin_s=0, end_s=365, energy_wh=50_000))
    # 5 s wait, 4 s climb (half of them lost), then 3 x 7.36 kW.
    assert possible_wh(told, told.sessions[0], 365_000) == pytest.approx(
        3 * 230 * 32 * (360 - 2) / 3600, rel=1e-4
    )
    small = replace(told.sessions[0], energy_wh=500.0)
    assert possible_wh(told, small, 365_000) == pytest.approx(500)


def test_true_delays_come_from_the_scenario():
    delays = true_delays(story(links={"latency_s": 0.5}, meters={"delay_s": 2.0, "poll_s": 1.0}))
    assert delays.reaction_ms == 3_000 + 1_000 + 1_000 + 5_000
    assert delays.blind_ms == delays.reaction_ms + 10_500 + 1_000 + 30_000 + 1_000
    lossy = true_delays(story(links={"latency_s": 0.5, "loss": 0.1}))
    assert lossy.blind_ms > delays.blind_ms + 60_000
