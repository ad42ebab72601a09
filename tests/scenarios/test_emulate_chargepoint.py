"""An emulated chargepoint on a real socket, seen from a central system written by hand."""

import asyncio

import pytest

from scenarios.emulate.frames import _validator
from tests.scenarios.central import Central
from tests.scenarios.emulated import BOX, OTHER_BOX, car, stage
from twin.conditions import Conditions


def profile(limit, purpose="TxProfile", *, number=1, level=0, transaction=None, periods=None):
    rows = periods or [{"startPeriod": 0, "limit": limit}]
    text = {
        "chargingProfileId": number,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": rows},
    }
    return text if transaction is None else text | {"transactionId": transaction}


def set_limit(limit, purpose="TxProfile", connector=1, **more):
    return {"connectorId": connector, "csChargingProfiles": profile(limit, purpose, **more)}


async def charging(played, limit=16):
    """The car of outlet 1 runs at its limit; returns the number of its transaction."""
    await played.to(15)
    number = played.central._transactions
    assert await played.ask("SetChargingProfile", **set_limit(limit)) == {"status": "Accepted"}
    await played.to(60)
    return number


async def test_a_box_boots_and_then_tells_the_status_of_each_connector():
    async with stage() as played:
        actions = [
            (action, payload.get("connectorId")) for i, action, payload in played.central.heard if i == BOX
        ]
        assert actions == [
            ("BootNotification", None),
            ("StatusNotification", 0),
            ("StatusNotification", 1),
            ("StatusNotification", 2),
        ]
        assert {p["status"] for p in played.heard("StatusNotification")} == {"Available"}


async def test_nothing_is_said_until_the_boot_is_accepted():
    central = Central()
    pending = {"status": "Pending", "currentTime": "2027-01-15T08:00:00Z", "interval": 20}
    accepted = central.answers["BootNotification"]
    central.answers["BootNotification"] = pending
    async with stage(car(at_s=1), central=central) as played:
        await played.to(19)
        assert {action for _, action, _ in central.heard} == {"BootNotification"}
        assert (await played.ask("GetConfiguration", key=["NumberOfConnectors"]))["configurationKey"]
        central.answers["BootNotification"] = accepted
        await played.to(21)
        assert [p["status"] for p in played.heard("StatusNotification") if p["connectorId"] == 2] == [
            "Available"
        ]


async def test_the_clock_of_the_box_is_set_by_the_central_system():
    central = Central()
    central.answers["BootNotification"] |= {"currentTime": "2030-05-01T12:00:00Z"}
    async with stage(car(), central=central) as played:
        await played.to(15)
        assert played.heard("StartTransaction")[0]["timestamp"] == "2030-05-01T12:00:13.000Z"


async def test_a_session_runs_from_plug_in_to_plug_out():
    async with stage(car(at_s=10, for_s=600)) as played:
        await played.ask("SetChargingProfile", **set_limit(0, "TxDefaultProfile", connector=0, number=2))
        number = await charging(played)
        await played.to(700)
        said = [
            (action, payload.get("status", payload.get("transactionId")))
            for i, action, payload in played.central.heard
            if i == BOX
            and (payload.get("connectorId") == 1 or "idTag" in payload)
            and action != "MeterValues"
        ]
        assert said == [
            ("StatusNotification", "Available"),
            ("StatusNotification", "Preparing"),
            ("Authorize", None),
            ("StartTransaction", None),
            ("StatusNotification", "SuspendedEVSE"),
            ("StatusNotification", "SuspendedEV"),
            ("StatusNotification", "Charging"),
            ("StopTransaction", number),
            ("StatusNotification", "Available"),
        ]
        (stop,) = played.heard("StopTransaction")
        assert stop["reason"] == "EVDisconnected"
        assert stop["meterStop"] == int(played.outlet()["energy_wh"]) > 1500


async def test_the_limit_of_the_profile_reaches_the_car():
    async with stage(car()) as played:
        await charging(played, limit=12.4)
        assert played.outlet()["draw_ma"].tolist() == [12_400] * 3


async def test_a_box_without_any_profile_charges_at_its_rating():
    async with stage(car()) as played:
        await played.to(60)
        assert played.outlet()["draw_ma"].tolist() == [32_000] * 3


async def test_a_zero_limit_suspends_and_a_later_one_resumes():
    async with stage(car()) as played:
        await charging(played)
        await played.ask("SetChargingProfile", **set_limit(0))
        await played.to(70)
        assert played.heard("StatusNotification")[-1]["status"] == "SuspendedEVSE"
        assert played.outlet()["draw_ma"].tolist() == [0, 0, 0]
        await played.ask("SetChargingProfile", **set_limit(10))
        await played.to(90)
        assert played.heard("StatusNotification")[-1]["status"] == "Charging"


async def test_a_profile_of_two_periods_decays_by_itself():
    async with stage(car()) as played:
        await played.to(15)
        rows = [{"startPeriod": 0, "limit": 20}, {"startPeriod": 100, "limit": 6}]
        await played.ask("SetChargingProfile", **set_limit(0, periods=rows))
        await played.to(112)
        assert played.outlet()["pilot_ma"] == 20_000
        await played.to(113)  # the transaction began at 13 s
        assert played.outlet()["pilot_ma"] == 6000


async def test_meter_values_come_each_interval_with_currents_of_the_connector_in_milliamps():
    async with stage(car(phases=1)) as played:
        await played.ask("ChangeConfiguration", key="MeterValueSampleInterval", value="10")
        wanted = "Current.Import,Power.Active.Import,Energy.Active.Import.Register,Voltage"
        await played.ask("ChangeConfiguration", key="MeterValuesSampledData", value=wanted)
        number = await charging(played, limit=12.4)
        await played.to(63)
        values = played.heard("MeterValues")
        assert [v["meterValue"][0]["timestamp"][14:] for v in values] == [
            f"00:{second}.000Z" for second in (23, 33, 43, 53)
        ] + ["01:03.000Z"]
        assert {v["transactionId"] for v in values} == {number}
        samples = {
            (s["measurand"], s.get("phase")): (s["value"], s["unit"])
            for s in values[-1]["meterValue"][0]["sampledValue"]
        }
        energy = str(int(played.outlet()["energy_wh"]))
        assert samples == {
            ("Current.Import", "L1"): ("12.400", "A"),
            ("Current.Import", "L2"): ("0.000", "A"),
            ("Current.Import", "L3"): ("0.000", "A"),
            ("Power.Active.Import", None): ("2852.0", "W"),
            ("Energy.Active.Import.Register", None): (energy, "Wh"),
            ("Voltage", "L1-N"): ("230.0", "V"),
            ("Voltage", "L2-N"): ("230.0", "V"),
            ("Voltage", "L3-N"): ("230.0", "V"),
        }


async def test_meter_values_that_were_asked_for_come_on_the_next_whole_second():
    async with stage(car()) as played:
        await charging(played)
        await played.to(61.4)
        assert (await played.ask("TriggerMessage", requestedMessage="MeterValues", connectorId=1)) == {
            "status": "Accepted"
        }
        await played.to(62)
        (value,) = [
            v for v in played.heard("MeterValues") if v["meterValue"][0]["timestamp"][14:19] == "01:02"
        ]
        assert value["meterValue"][0]["sampledValue"][0]["context"] == "Trigger"


TRIGGERS = [
    ({"requestedMessage": "Heartbeat"}, "Accepted", "Heartbeat"),
    ({"requestedMessage": "BootNotification"}, "Accepted", "BootNotification"),
    ({"requestedMessage": "StatusNotification", "connectorId": 2}, "Accepted", "StatusNotification"),
    ({"requestedMessage": "FirmwareStatusNotification"}, "NotImplemented", None),
    ({"requestedMessage": "MeterValues", "connectorId": 9}, "Rejected", None),
]


@pytest.mark.parametrize(("call", "status", "action"), TRIGGERS)
async def test_what_is_triggered_comes_after_the_answer(call, status, action):
    async with stage() as played:
        played.central.heard.clear()
        assert (await played.ask("TriggerMessage", **call))["status"] == status
        await played.settle()
        assert [a for _, a, _ in played.central.heard] == ([action] if action else [])


async def test_a_refused_card_starts_nothing():
    central = Central()
    central.answers["Authorize"] = {"idTagInfo": {"status": "Blocked"}}
    async with stage(car(), central=central) as played:
        await played.to(60)
        assert not played.heard("StartTransaction")
        assert played.heard("StatusNotification")[-1]["status"] == "Preparing"


async def test_a_transaction_that_is_refused_on_its_start_is_ended():
    central = Central()
    central.answers["StartTransaction"] = {"transactionId": 5, "idTagInfo": {"status": "Invalid"}}
    async with stage(car(), central=central) as played:
        await played.to(60)
        assert [(p["transactionId"], p["reason"]) for p in played.heard("StopTransaction")] == [
            (5, "DeAuthorized")
        ]
        assert played.heard("StatusNotification")[-1]["status"] == "Finishing"


async def test_a_remote_start_takes_the_car_that_waits_and_its_profile():
    central = Central()
    central.answers["Authorize"] = {"idTagInfo": {"status": "Invalid"}}
    async with stage(car(), central=central) as played:
        await played.to(20)
        call = {"idTag": "REMOTE", "connectorId": 1, "chargingProfile": profile(9)}
        assert await played.ask("RemoteStartTransaction", **call) == {"status": "Accepted"}
        await played.settle()
        assert played.heard("StartTransaction")[0]["idTag"] == "REMOTE"
        assert played.outlet()["pilot_ma"] == 9000


async def test_a_remote_start_without_a_car_waits_for_one_as_long_as_the_box_says():
    async with stage(
        car(at_s=30, card_after_ms=30_000), car(connector=1, at_s=90, card_after_ms=60_000)
    ) as played:
        for connector in (1, 2):
            await played.ask("RemoteStartTransaction", idTag="REMOTE", connectorId=connector)
        await played.to(100)
        assert [(p["connectorId"], p["idTag"]) for p in played.heard("StartTransaction")] == [(1, "REMOTE")]


async def test_a_remote_stop_ends_the_transaction_that_is_named():
    async with stage(car()) as played:
        number = await charging(played)
        assert await played.ask("RemoteStopTransaction", transactionId=number + 1) == {"status": "Rejected"}
        assert await played.ask("RemoteStopTransaction", transactionId=number) == {"status": "Accepted"}
        await played.settle()
        assert played.heard("StopTransaction")[0]["reason"] == "Remote"
        assert played.heard("StatusNotification")[-1]["status"] == "Finishing"


async def test_a_reset_ends_transactions_reboots_and_keeps_all_but_tx_profiles():
    async with stage(car()) as played:
        await charging(played)
        await played.ask("SetChargingProfile", **set_limit(6, "TxDefaultProfile", connector=0, number=2))
        assert await played.ask("Reset", type="Soft") == {"status": "Accepted"}
        await played.settle()
        assert played.heard("StopTransaction")[0]["reason"] == "SoftReset"
        boots = len(played.heard("BootNotification"))
        await played.to(70)
        await played.central.until(lambda: len(played.heard("BootNotification")) > boots)
        composite = await played.ask("GetCompositeSchedule", connectorId=1, duration=60)
        assert [p["limit"] for p in composite["chargingSchedule"]["chargingSchedulePeriod"]] == [6.0]


async def test_a_lost_link_ends_nothing_and_the_queue_is_told_in_order_afterwards():
    offline = {"kind": "chargepoint_offline", "chargepoint": "bay_1", "at_s": 100, "for_s": 300}
    sessions = (car(for_s=150), car(connector=1, at_s=200))
    async with stage(*sessions, conditions=Conditions(fault=[offline])) as played:
        await played.ask("ChangeConfiguration", key="MeterValueSampleInterval", value="60")
        number = await charging(played)
        await played.to(399)
        assert BOX not in {
            i for i, w in zip((BOX, OTHER_BOX), played.emulation.wires, strict=True) if w.connected
        }
        assert played.outlet(1)["transaction"]
        played.central.heard.clear()
        await played.to(400)
        await played.central.until(lambda: played.heard("StatusNotification"))
        await played.settle()
        said = [(a, p.get("transactionId"), p.get("status")) for i, a, p in played.central.heard if i == BOX]
        late = number + 1
        assert said == [
            ("MeterValues", number, None),
            ("StopTransaction", number, None),
            ("StartTransaction", None, None),
            ("MeterValues", late, None),
            ("MeterValues", late, None),
            ("MeterValues", late, None),
            ("StatusNotification", None, "Available"),
            ("StatusNotification", None, "Charging"),
        ]


async def test_configuration_is_read_and_changed_key_by_key():
    async with stage() as played:
        every = await played.ask("GetConfiguration")
        values = {row["key"]: row["value"] for row in every["configurationKey"]}
        assert values["ChargingScheduleAllowedChargingRateUnit"] == "Current,Power"
        some = await played.ask("GetConfiguration", key=["HeartbeatInterval", "Colour"])
        assert (some["configurationKey"][0]["value"], some["unknownKey"]) == ("300", ["Colour"])
        answers = [
            (await played.ask("ChangeConfiguration", key=key, value=value))["status"]
            for key, value in [
                ("HeartbeatInterval", "60"),
                ("HeartbeatInterval", "often"),
                ("NumberOfConnectors", "9"),
                ("Colour", "red"),
                ("MeterValuesSampledData", "Current.Import,RPM"),
            ]
        ]
        assert answers == ["Accepted", "Rejected", "Rejected", "NotSupported", "Rejected"]


async def test_the_heartbeat_keeps_its_interval():
    async with stage() as played:
        await played.ask("ChangeConfiguration", key="HeartbeatInterval", value="60")
        await played.to(659)
        assert len(played.heard("Heartbeat")) == 6  # the first still at the interval of the boot


async def test_clearing_a_profile_uncovers_the_one_below():
    async with stage(car()) as played:
        await charging(played)
        await played.ask("SetChargingProfile", **set_limit(8, level=1, number=2))
        assert played.outlet()["pilot_ma"] == 8000
        assert await played.ask("ClearChargingProfile", stackLevel=1) == {"status": "Accepted"}
        assert played.outlet()["pilot_ma"] == 16_000
        assert await played.ask("ClearChargingProfile", stackLevel=1) == {"status": "Unknown"}
        assert await played.ask("ClearChargingProfile") == {"status": "Accepted"}
        assert played.outlet()["pilot_ma"] == 32_000


async def test_the_composite_schedule_is_told_in_the_unit_that_is_asked_for():
    async with stage(car()) as played:
        await charging(played)
        schedules = [
            (await played.ask("GetCompositeSchedule", connectorId=c, duration=60, chargingRateUnit=unit))[
                "chargingSchedule"
            ]["chargingSchedulePeriod"][0]["limit"]
            for c, unit in ((1, "A"), (0, "A"), (1, "W"))
        ]
        assert schedules == [16, 48, 11_040]
        assert await played.ask("GetCompositeSchedule", connectorId=7, duration=60) == {"status": "Rejected"}


async def test_an_inoperative_connector_takes_no_car_and_a_busy_one_is_scheduled():
    async with stage(car(), car(connector=1, at_s=100)) as played:
        assert await played.ask("ChangeAvailability", connectorId=2, type="Inoperative") == {
            "status": "Accepted"
        }
        await charging(played)
        assert await played.ask("ChangeAvailability", connectorId=1, type="Inoperative") == {
            "status": "Scheduled"
        }
        await played.to(130)
        assert [p["connectorId"] for p in played.heard("StartTransaction")] == [1]


async def test_unlocking_ends_the_transaction():
    async with stage(car()) as played:
        await charging(played)
        assert await played.ask("UnlockConnector", connectorId=1) == {"status": "Unlocked"}
        await played.settle()
        assert played.heard("StopTransaction")[0]["reason"] == "UnlockCommand"


FAULTY = [
    ({"kind": "refuses_limits"}, "Rejected", 32_000),
    ({"kind": "ignores_lowerings"}, "Accepted", 32_000),
]


@pytest.mark.parametrize(("fault", "status", "pilot_ma"), FAULTY)
async def test_a_faulty_box_behaves_as_its_conditions_say(fault, status, pilot_ma):
    conditions = Conditions(fault=[fault | {"chargepoint": "bay_1", "at_s": 30}])
    async with stage(car(), conditions=conditions) as played:
        await played.to(60)
        assert (await played.ask("SetChargingProfile", **set_limit(10)))["status"] == status
        assert played.outlet()["pilot_ma"] == pilot_ma


async def test_a_slow_box_obeys_at_once_and_answers_late():
    late = {"kind": "answers_late", "chargepoint": "bay_1", "at_s": 30, "late_s": 4}
    async with stage(car(), conditions=Conditions(fault=[late])) as played:
        await played.to(60)
        answer = asyncio.create_task(played.ask("SetChargingProfile", **set_limit(10)))
        await played.settle()
        assert played.outlet()["pilot_ma"] == 10_000
        await played.to(63)
        await played.settle()
        assert not answer.done()
        await played.to(64)
        assert await answer == {"status": "Accepted"}


ERRORS = [
    ("SetChargingProfile", {"connectorId": 1}, "ProtocolError"),
    ("SetChargingProfile", set_limit(13.75), "TypeConstraintViolation"),
    ("Reset", {"type": "Warm"}, "TypeConstraintViolation"),
    ("GetDiagnostics", {"location": "ftp://x"}, "NotSupported"),
    ("MakeCoffee", {}, "NotImplemented"),
]


@pytest.mark.parametrize(("action", "payload", "code"), ERRORS)
async def test_a_wrong_call_is_answered_with_the_error_of_the_standard(action, payload, code):
    async with stage() as played:
        kind, _, said, *_ = await played.central.ask(BOX, action, **payload)
        assert (kind, said) == (4, code)


async def test_garbage_does_not_stop_a_box():
    async with stage() as played:
        for text in ("", "[", "{}", "[3,1]", '[9,"x","Reset",{}]', '[3,"nobody",{}]'):
            await played.central.raw(BOX, text)
        assert (await played.ask("ClearCache")) == {"status": "Accepted"}


async def test_everything_a_box_says_satisfies_the_schemas_of_the_standard():
    async with stage(car(for_s=120), car(connector=2, phases=1)) as played:
        wanted = "Current.Import,Power.Active.Import,Energy.Active.Import.Register,Voltage"
        await played.ask("ChangeConfiguration", key="MeterValuesSampledData", value=wanted)
        await charging(played)
        await played.to(400)
        said = {action for _, action, _ in played.central.heard}
        assert said >= {"BootNotification", "StatusNotification", "Authorize", "StartTransaction"}
        assert said >= {"MeterValues", "StopTransaction", "Heartbeat"}
        faults = [
            (action, fault.message)
            for _, action, payload in played.central.heard
            for fault in _validator(action).iter_errors(payload)
        ]
        assert not faults
