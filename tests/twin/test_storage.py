"""Batteries and inverters as they are, whoever commands them."""

import math
from datetime import UTC, datetime

import pytest

from controller.defaults import NEVER
from controller.site import build
from controller.topology import compile_site
from twin.conditions import Conditions
from twin.world import World

START = datetime(2026, 6, 21, 12, tzinfo=UTC)
HOUR = 3_600_000


def drawn(**battery):
    return build(
        {
            "name": "Storage",
            "timezone": "UTC",
            "grid": {
                "main": {"id": 0, "max_current_a": 100, "uncontrolled_a": 0, "worst_load_a": 0},
                "roof": {
                    "id": 1,
                    "fed_by": "main",
                    "rotation": "L2 L3 L1",
                    "max_current_a": 63,
                    "chargepoints_only": True,
                },
            },
            "battery": {
                "home": {
                    "fed_by": "main",
                    "capacity_wh": 10_000,
                    "max_charge_w": 6_900,
                    "max_discharge_w": 6_900,
                    "efficiency": 0.81,
                    "revert_s": 60,
                    "response_s": 2.0,
                }
                | battery
            },
            "inverter": {
                "pv": {"fed_by": "roof", "max_power_w": 4_600, "phases": 1, "curtailable": True},
            },
        },
        "storage",
    )


def world(conditions=None, **battery):
    site = drawn(**battery)
    return World(site, compile_site(site), conditions or Conditions(battery_soc=0.5), [], 1, START)


def order(made, target_ma, until_ms=NEVER):
    made.order_device(made.cells[0], made.built.batteries[0], target_ma, until_ms, at_once=False)


def soc(made):
    return float(made.cells[0]["stored_wh"]) / 10_000


def test_a_battery_takes_an_order_after_its_response_time_and_loads_its_phases():
    made = world()
    order(made, 10_000)
    made.advance(1_999)
    assert made.boards[0]["current_ma"].tolist() == [0, 0, 0]
    made.advance(2_000)
    assert made.boards[0]["current_ma"].tolist() == [10_000] * 3
    assert made.boards[0]["charge_ma"].tolist() == [10_000] * 3
    order(made, -4_000)
    made.advance(5_000)
    assert made.boards[0]["current_ma"].tolist() == [-4_000] * 3
    assert made.boards[0]["discharge_ma"].tolist() == [4_000] * 3


def test_an_order_that_is_not_renewed_reverts_to_what_the_site_file_says():
    made = world(fallback_w=690)
    order(made, -10_000, 60_000)
    made.advance(59_999)
    assert made.cells[0]["flow_ma"] == -10_000
    made.advance(60_000)
    assert made.cells[0]["flow_ma"] == 1_000


def test_half_of_the_losses_fall_on_the_way_in_and_half_on_the_way_out():
    made = world()
    order(made, 5_000)  # 3.45 kW
    made.advance(2_000 + HOUR)
    assert soc(made) == pytest.approx(0.5 + 0.9 * 0.345)
    order(made, -5_000)
    made.advance(4_000 + HOUR)
    before = soc(made)
    made.advance(4_000 + 2 * HOUR)
    assert before - soc(made) == pytest.approx(0.345 / 0.9, abs=1e-6)


@pytest.mark.parametrize("looks_ms", [1_000, 7_777, HOUR])
def test_energy_is_conserved_however_often_anybody_looks_until_it_is_full_and_empty(looks_ms):
    made = world()
    for target_ma, until_ms in ((10_000, 3 * HOUR), (-10_000, 6 * HOUR)):
        order(made, target_ma)
        while made.now_ms < until_ms:
            made.advance(min(made.now_ms + looks_ms, until_ms))
        assert soc(made) == pytest.approx(1.0 if target_ma > 0 else 0.0, abs=1e-6)
        assert made.cells[0]["flow_ma"] == 0
    cell = made.cells[0]
    stored = 5_000 + 0.9 * cell["charged_wh"] - cell["discharged_wh"] / 0.9
    assert stored == pytest.approx(0, abs=1e-3)


def test_near_its_ends_a_battery_gives_and_takes_less():
    made = world(Conditions(battery_soc=0.94))
    order(made, 10_000)
    seen = set()
    while soc(made) < 1 - 1e-9:
        made.advance(made.now_ms + 5_000)
        seen.add((math.ceil(100 - 100 * soc(made) - 1e-6), int(made.cells[0]["flow_ma"])))
    assert {(5, 10_000), (4, 8_000), (3, 6_000), (2, 4_000), (1, 2_000), (0, 0)} <= seen


def test_a_curtailed_inverter_feeds_in_what_it_may_until_its_limit_reverts():
    made = world()
    made.panels[0]["sun_ma"] = 15_000
    made.touch()
    made.advance(1_000)
    # one phase, on L1 of a board whose L1 hangs on L2 of its feeder
    assert made.boards[0]["current_ma"].tolist() == [0, -15_000, 0]
    made.order_device(made.panels[0], made.built.inverters[0], 6_000, 31_000, at_once=False)
    made.advance(3_000)
    assert made.boards[0]["current_ma"].tolist() == [0, -6_000, 0]
    made.advance(31_000)
    assert made.boards[0]["current_ma"].tolist() == [0, -15_000, 0]
    assert made.panels[0]["curtailed_wh"] == pytest.approx(9_000 * 28 * 0.23 / 3600)


FAULTS = [
    ({"kind": "battery_dies", "battery": "home"}, -10_000, 0),
    ({"kind": "inverter_dies", "inverter": "pv"}, -15_000, 0),
    ({"kind": "cloud", "inverter": "pv", "share": 0.2}, -15_000, -3_000),
]


@pytest.mark.parametrize(("fault", "before_ma", "during_ma"), FAULTS)
def test_faults_come_and_go(fault, before_ma, during_ma):
    made = world(Conditions.model_validate({"fault": [fault | {"at_s": 60, "for_s": 30}]}))
    made.panels[0]["sun_ma"] = 15_000
    order(made, -10_000)
    row = made.cells[0] if "battery" in fault else made.panels[0]
    for at_ms, expected in ((59_000, before_ma), (61_000, during_ma), (91_000, before_ma)):
        made.advance(at_ms)
        assert row["flow_ma"] == expected


def test_a_battery_that_fights_takes_all_it_can_whatever_it_is_told_and_then_waits_for_orders():
    fights = {"kind": "battery_fights", "battery": "home", "at_s": 60, "for_s": 30}
    made = world(Conditions.model_validate({"fault": [fights]}))
    order(made, -5_000)
    made.advance(61_000)
    order(made, -5_000)
    made.advance(70_000)
    assert made.cells[0]["flow_ma"] == 10_000
    assert made.boards[0]["wild_ma"].tolist() == [10_000] * 3
    made.advance(91_000)
    assert made.cells[0]["flow_ma"] == 0
    order(made, -5_000)
    made.advance(95_000)
    assert made.cells[0]["flow_ma"] == -5_000


def test_what_hangs_on_an_open_fuse_neither_takes_nor_gives():
    made = world()
    made.panels[0]["sun_ma"] = 15_000
    made.advance(1_000)
    made.boards[1]["tripped"] = 1
    made.touch()
    made.advance(2_000)
    assert made.boards[0]["current_ma"].tolist() == [0, 0, 0]
