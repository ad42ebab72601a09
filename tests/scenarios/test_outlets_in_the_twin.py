"""Sleepers, cards, cables, DC and station limits in a whole run: twin, links and controller together."""

from datetime import UTC, datetime

import pytest

from controller.site import build
from controller.topology import compile_site
from scenarios.run import play
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.sessions import Car, Session

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
STRONG = Car(phases=3, max_ma=32_000)


def story(
    sessions,
    *,
    hours=2.0,
    fuse_a=63,
    outlets=({"max_current_a": 32},),
    main=None,
    conditions=None,
    **chargepoint,
):
    """One chargepoint per outlet on one fuse, or with a station limit one with all of them."""
    outlets = [{"number": 1} | outlet for outlet in outlets]
    boxes = [(outlet,) for outlet in outlets]
    if "max_current_a" in chargepoint:
        boxes = [tuple(outlet | {"number": n} for n, outlet in enumerate(outlets, start=1))]
    site = build(
        {
            "name": "Outlets",
            "timezone": "UTC",
            "grid": {"main": {"id": 0, "max_current_a": fuse_a, "worst_load_a": 20} | (main or {})},
            "meter": {"main": {"grid": "main", "role": "guard"}},
            "chargepoint": {
                f"bay_{n}": {
                    "identity": f"B{n}",
                    "fed_by": "main",
                    "lease_s": 300,
                    "connector": box,
                    **chargepoint,
                }
                for n, box in enumerate(boxes)
            },
        },
        "outlets",
    )
    return Story(
        name="outlets",
        site=site,
        topology=compile_site(site),
        conditions=Conditions.model_validate(conditions or {}),
        sessions=tuple(sessions),
        loads=(),
        start_utc=START,
        length_ms=round(hours * 3_600_000),
        seed=3,
    )


def stay(connector=0, car=STRONG, *, energy_wh=80_000.0, card="CARD", cable_ma=0):
    key = f"{connector} {card}"
    return Session(key, connector, 10_000, 20 * 3_600_000, energy_wh, car, card, cable_ma=cable_ma)


def kwh(result):
    return [round(session.delivered_wh / 1000, 1) for session in result.sessions]


LONG_PAUSE = {"kind": "load_step", "grid": "main", "current_a": 60, "at_s": 900, "for_s": 900}


@pytest.mark.parametrize("wakes_on", [1, 2])
def test_a_car_that_sleeps_after_a_pause_is_woken_and_charges_on(wakes_on):
    sleepers = {"share": 1.0, "after_s": 300, "wakes_on": wakes_on}
    awake = kwh(play(story([stay()], conditions={"fault": [LONG_PAUSE]})))
    woken = kwh(play(story([stay()], conditions={"fault": [LONG_PAUSE], "sleepers": sleepers})))
    assert woken[0] >= awake[0] - 22 * (10 * wakes_on + 2) / 60  # kW times the minutes until the last knock
    assert woken[0] >= 20


def test_a_car_that_never_wakes_costs_nobody_anything():
    sleepers = {"share": 1.0, "after_s": 300, "wakes_on": 99}
    result = play(story([stay()], conditions={"fault": [LONG_PAUSE], "sleepers": sleepers}))
    assert result.figures.own_as == 0


def test_cards_of_a_scenario_are_told_to_the_controller():
    cards = {"SLOW": {"minimum_speed": True}, "FAST": {"weight_percent": 200}}
    outlets = [{"max_current_a": 32}] * 3
    sessions = [stay(0, card="SLOW"), stay(1, card="FAST"), stay(2)]
    slow, fast, other = kwh(play(story(sessions, outlets=outlets, fuse_a=40, conditions={"card": cards})))
    assert slow == pytest.approx(2 * 4.14, rel=0.1)  # 6 A on three phases for two hours
    assert fast == pytest.approx(2 * other, rel=0.15)


def test_how_a_card_charges_with_the_sun_comes_before_its_grid():
    cards = {"HURRY": {"solar": "off"}, "SOME": {"solar": "boost"}}
    sessions = [stay(0, card="HURRY"), stay(1, card="SOME"), stay(2)]
    dark = {"solar": "solar_only"}
    outlets = [{"max_current_a": 32}] * 3
    result = play(story(sessions, main=dark, outlets=outlets, conditions={"card": cards}))
    assert kwh(result) == pytest.approx([2 * 32 * 0.69, 2 * 6 * 0.69, 0], rel=0.05, abs=0.1)


def test_a_cable_is_kept_by_the_box_and_no_room_is_held_for_more():
    outlets = [{"max_current_a": 32}] * 2
    sessions = [stay(0, cable_ma=13_000), stay(1)]
    thin, other = kwh(play(story(sessions, outlets=outlets, fuse_a=47)))
    assert thin == pytest.approx(2 * 13 * 0.69, rel=0.05)
    assert other == pytest.approx(2 * 32 * 0.69, rel=0.05)


def test_a_dc_outlet_takes_its_feed_on_three_phases_and_leaves_the_rest_to_others():
    outlets = [{"kind": "dc", "max_power_w": 50_000.0}, {"max_current_a": 32}]
    result = play(story([stay(0), stay(1)], outlets=outlets, fuse_a=63))
    assert result.figures.own_as == 0
    assert kwh(result)[0] >= 30
    assert kwh(result)[1] >= 30


def test_a_station_limit_holds_in_truth():
    outlets = [{"max_current_a": 32}] * 2
    result = play(story([stay(0), stay(1)], outlets=outlets, max_current_a=32))
    station = next(grid for grid in result.grids if grid.grid == "bay_0 station")
    assert max(station.peak_a) <= 32
    assert kwh(result)[0] == pytest.approx(kwh(result)[1], rel=0.05)
    assert sum(kwh(result)) >= 0.93 * 2 * 32 * 0.69
