"""Faults of meter values, messages and statuses of a chargepoint, on a real wire as in the simulated link."""

import asyncio

import pytest

from scenarios.emulate.outlets import Truth, samples
from tests.scenarios.emulated import car, stage
from tests.scenarios.test_emulate_chargepoint import charging, set_limit
from twin.conditions import Conditions


def faulty(kind, **more):
    return Conditions(fault=[{"kind": kind, "chargepoint": "bay_1", "at_s": 70} | more])


def currents(message):
    """Phase -> A of a MeterValues."""
    return {
        sample["phase"]: float(sample["value"])
        for sample in message["meterValue"][0]["sampledValue"]
        if sample["measurand"] == "Current.Import"
    }


def statuses(played):
    """What was told of the first outlet."""
    return [message for message in played.heard("StatusNotification") if message["connectorId"] == 1]


async def told(conditions, seconds=30, **of_car):
    """What a box with one car at 16 A tells of its currents from 70 s on, each 10 s, and when."""
    async with stage(car(**of_car), conditions=conditions) as played:
        await charging(played)
        for key, value in (
            ("MeterValuesSampledData", "Current.Import"),
            ("MeterValueSampleInterval", "10"),
        ):
            await played.ask("ChangeConfiguration", key=key, value=value)
        await played.to(75)
        before = len(played.heard("MeterValues"))
        found = []
        for second in range(76, 76 + seconds):
            await played.to(second)
            await played.settle()
            new = played.heard("MeterValues")[before + len(found) :]
            found += [(second, currents(message)) for message in new]
        return found


async def test_a_box_whose_meter_is_fine_tells_the_truth_each_interval():
    found = await told(Conditions())
    assert len(found) == 3
    assert all(values == {"L1": 16.0, "L2": 16.0, "L3": 16.0} for _, values in found)


DISTORTED = {
    "sign": ({"factor": -1}, {"L1": -16.0, "L2": -16.0, "L3": -16.0}),
    "a liar": ({"factor": 0}, {"L1": 0.0, "L2": 0.0, "L3": 0.0}),
    "offset": ({"offset_a": [1, 0, 0]}, {"L1": 17.0, "L2": 16.0, "L3": 16.0}),
    "resolution": ({"step_a": 5}, {"L1": 15.0, "L2": 15.0, "L3": 15.0}),
}


@pytest.mark.parametrize("name", DISTORTED)
async def test_distorted_meter_values_reach_the_wire(name):
    fault, expected = DISTORTED[name]
    found = await told(faulty("chargepoint_reads", **fault))
    assert [values for _, values in found] == [expected] * 3


async def test_noise_reaches_the_wire():
    found = await told(faulty("chargepoint_reads", noise_a=0.5))
    values = [value for _, each in found for value in each.values()]
    assert len(set(values)) > 3
    assert all(abs(value - 16) < 4 for value in values)


async def test_exchanged_phases_reach_the_wire():
    found = await told(faulty("readings_swapped"), phases=1)
    assert found[0][1] == {"L1": 0.0, "L2": 16.0, "L3": 0.0}


async def test_a_box_without_meter_values_says_none():
    assert await told(faulty("readings_silent")) == []


async def test_lost_meter_values_are_not_told_and_late_ones_later():
    assert await told(faulty("chargepoint_reads", loss=1)) == []
    punctual, late = await told(Conditions()), await told(faulty("chargepoint_reads", late_s=4))
    assert late[0][0] == punctual[0][0] + 4
    assert late[0][1] == punctual[0][1]


async def test_frozen_meter_values_stay_what_they_were():
    async with stage(car(), conditions=faulty("readings_frozen")) as played:
        await charging(played)
        await played.ask("ChangeConfiguration", key="MeterValuesSampledData", value="Current.Import")
        await played.ask("ChangeConfiguration", key="MeterValueSampleInterval", value="10")
        await played.to(85)
        assert (await played.ask("SetChargingProfile", **set_limit(8)))["status"] == "Accepted"
        await played.to(120)
        assert played.outlet()["draw_ma"][0] == 8_000
        assert currents(played.heard("MeterValues")[-1])["L1"] == 16.0


async def test_a_message_that_is_lost_is_neither_obeyed_nor_answered():
    async with stage(car(), conditions=faulty("chargepoint_lossy", loss=1, for_s=30)) as played:
        await charging(played)
        await played.to(75)
        asked = asyncio.create_task(played.ask("SetChargingProfile", **set_limit(8)))
        await asyncio.sleep(0.05)
        assert not asked.done()
        assert played.outlet()["pilot_ma"] == 16_000
        asked.cancel()
        await played.to(110)
        assert await played.ask("SetChargingProfile", **set_limit(10)) == {"status": "Accepted"}


SPOILT = {
    "rounds down": ({"kind": "rounds_down", "step_a": 6}, 12_000, 12_000),
    "rounds up": ({"kind": "rounds_up", "step_a": 8}, 16_000, 16_000),
    "ignores": ({"kind": "ignores_limits"}, 16_000, 16_000),
    "follows late": ({"kind": "follows_late", "late_s": 20}, 13_000, 16_000),
    "fine": ({"kind": "answers_late", "late_s": 0}, 13_000, 13_000),
}
"""Fault -> the pilot after an order of 13 A, and what the car draws ten seconds later."""


@pytest.mark.parametrize("name", SPOILT)
async def test_an_order_is_spoilt_on_the_wire_as_in_the_twin(name):
    fault, pilot_ma, draw_ma = SPOILT[name]
    async with stage(car(), conditions=faulty(**fault)) as played:
        await charging(played)
        await played.to(75)
        assert (await played.ask("SetChargingProfile", **set_limit(13)))["status"] == "Accepted"
        assert played.outlet()["pilot_ma"] == pilot_ma
        await played.to(85)
        assert played.outlet()["draw_ma"][0] == draw_ma


async def test_after_a_pause_a_box_that_forgets_offers_all_it_has():
    async with stage(car(), conditions=faulty("resumes_full")) as played:
        await charging(played)
        await played.to(75)
        await played.ask("SetChargingProfile", **set_limit(0))
        assert played.outlet()["pilot_ma"] == 0
        await played.ask("SetChargingProfile", **set_limit(8))
        assert played.outlet()["pilot_ma"] == 32_000
        await played.ask("SetChargingProfile", **set_limit(8))
        assert played.outlet()["pilot_ma"] == 8_000


async def test_a_box_that_calls_itself_faulted_says_so_and_goes_on():
    async with stage(car(), conditions=faulty("reports_faulted", for_s=60)) as played:
        await charging(played)
        await played.to(80)
        await played.settle()
        message = statuses(played)[-1]
        assert (message["status"], message["errorCode"]) == ("Faulted", "OtherError")
        assert played.outlet()["draw_ma"][0] == 16_000
        await played.to(140)
        await played.settle()
        assert statuses(played)[-1]["status"] == "Charging"


def test_what_flows_back_and_a_sagging_voltage_are_told_as_they_are():
    truth = Truth(True, "Charging", (-10_000, 0, 0), 5_000, given_wh=700, voltage_v=207.0)
    assert '"value":"-10.000"' in samples("Current.Import", truth, "Trigger")[0]
    assert '"value":"-2070.0"' in samples("Power.Active.Import", truth, "Trigger")[0]
    assert '"value":"207.0"' in samples("Voltage", truth, "Trigger")[0]
    assert '"value":"700"' in samples("Energy.Active.Export.Register", truth, "Trigger")[0]
