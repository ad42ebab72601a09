"""A battery and an inverter on real sockets are driven by the same core as in the twin, bit for bit."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.decision import Alarm, StorageBecause
from controller.defaults import UNKNOWN
from controller.site import build
from controller.topology import compile_site
from tests.same_core import START, Stepped, directly, free_ports
from tests.test_same_core import differences
from twin.conditions import Conditions
from twin.sessions import Car, Session
from twin.sources import Load, Profile
from twin.world import World

LENGTH_S = 900
ZONE = ZoneInfo("Europe/Amsterdam")
"""Nothing happens at the instant of a cycle, where the order of two readings would decide who sees it."""
FAULTS = [
    {"kind": "load_step", "grid": "main", "current_a": [40, 40, 40], "at_s": 200.5, "for_s": 200},
    {"kind": "battery_silent", "battery": "cellar", "at_s": 500.5, "for_s": 8},
    {"kind": "inverter_ignores", "inverter": "roof", "at_s": 700.5, "for_s": 60},
]


def link(maker, port):
    return {"kind": "modbus-tcp", "map": maker, "host": "127.0.0.1", "port": port, "timeout_ms": 300}


def site(makers, **battery):
    """Sun of 30 A per phase on a connection of 40 A that may send 5 A back."""
    meter, cell, panel = free_ports(3)
    return build(
        {
            "name": "Cellar and roof",
            "timezone": "Europe/Amsterdam",
            "grid": {
                "main": {
                    "id": 0,
                    "max_current_a": 40,
                    "max_export_a": 5,
                    "worst_load_a": 40,
                    "feeds_in": True,
                }
            },
            "meter": {
                "main": {
                    "grid": "main",
                    "role": "guard",
                    "link": link("eastron_sdm630", meter) | {"poll_ms": 500},
                }
            },
            "chargepoint": {
                "bay": {
                    "identity": "CP-1",
                    "fed_by": "main",
                    "lease_s": 300,
                    "connector": [{"number": 1, "max_current_a": 32}],
                }
            },
            "battery": {
                "cellar": {
                    "fed_by": "main",
                    "capacity_wh": 4000,
                    "max_charge_w": 10_000,
                    "max_discharge_w": 10_000,
                    "revert_s": 60,
                    "strategy": "self_consumption",
                    "link": link(makers[0], cell),
                }
                | battery
            },
            "inverter": {
                "roof": {
                    "fed_by": "main",
                    "max_power_w": 25_000,
                    "revert_s": 60,
                    "curtailable": True,
                    "link": link(makers[1], panel),
                }
            },
            "accept_unsafe_fallback": "a story, nobody's house",
            "box": {name: {"host": "127.0.0.1", "port": 0} for name in ("ocpp", "api")},
        },
        "same storage",
    )


def world(drawn):
    happens = Conditions.model_validate({"links": {"latency_s": 0}, "fault": FAULTS, "battery_soc": 0.5})
    cars = [Session("one", 0, 90_500, 600_500, 8_000.0, Car(phases=3, max_ma=16_000))]
    third = (1 / 3, 1 / 3, 1 / 3)
    began = START.astimezone(ZONE).replace(tzinfo=None) - timedelta(milliseconds=500)
    sun = Profile(began, 60, (0.0, *[1.0] * 60))
    sky = Load("main", 20_700.0, sun, third, ZONE, inverter="roof")
    return World(drawn, compile_site(drawn), happens, cars, 5, START, (sky,), LENGTH_S * 1000)


async def played(drawn, store):
    """Decisions of the box, and the world that it has driven."""
    emulated = world(drawn)
    async with Stepped(emulated, store).opened() as stepped:
        return [decision async for decision in stepped.decisions(LENGTH_S)], emulated, stepped.box


@pytest.mark.timeout(600)
async def test_a_battery_and_an_inverter_are_driven_alike_over_modbus_and_in_the_twin(tmp_path):
    drawn = site(("generic_battery", "generic_inverter"))
    direct = world(drawn)
    expected = list(directly(direct, LENGTH_S))
    decided, emulated, _ = await played(drawn, tmp_path)
    found = [(n, differences(*both)) for n, both in enumerate(zip(expected, decided, strict=True))]
    assert [one for one in found if one[1]][:1] == []
    assert emulated.cells.tobytes() == direct.cells.tobytes()
    assert emulated.panels.tobytes() == direct.panels.tobytes()
    _something_has_happened(decided, emulated)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("inverter", ["sunspec_inverter", "sunspec_inverter_toggled"])
async def test_a_sunspec_battery_and_inverter_obey_over_modbus(tmp_path, inverter):
    """Percents and scale factors round; what counts is that the roof is curtailed and the cellar follows."""
    decided, emulated, box = await played(site(("sunspec_battery", inverter)), tmp_path)
    _something_has_happened(decided, emulated)
    seen = box._live.batteries[0]
    assert abs(int(seen["current_ma"][0]) - int(emulated.cells[0]["flow_ma"])) <= 10
    assert seen["soc"] != UNKNOWN


def _something_has_happened(decided, emulated):
    batteries = np.array([decision.batteries[0] for decision in decided])
    inverters = np.array([decision.inverters[0] for decision in decided])
    assert batteries["target_ma"].min() < -5_000
    assert batteries["target_ma"].max() > 5_000
    assert inverters["target_ma"].min() < 30_000
    assert {StorageBecause.SURPLUS, StorageBecause.LOAD} <= set(batteries["because"].tolist())
    assert StorageBecause.EXPORT in set(inverters["because"].tolist())
    assert np.bitwise_or.reduce(batteries["alarm"]) & Alarm.READINGS_STALE
    assert batteries["order_seq"][-1] > 10
    assert emulated.cells[0]["charged_wh"] > 100
    assert emulated.cells[0]["discharged_wh"] > 100
    assert emulated.panels[0]["curtailed_wh"] > 100
