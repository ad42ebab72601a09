"""The central system against chargepoints on real sockets: onboarding, rows, transactions, commands."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from controller.defaults import UNKNOWN
from controller.image import Answer, Status
from controller.topology import BOOST
from hardware.cards import Card
from hardware.clock import run
from tests.hardware.ocpp_peer import dial, peer, site_of, stamp, world

AMPS = "Current.Import"


def periods(call):
    return call["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"]


def three(amps, **more):
    return [{"value": str(amps), "measurand": AMPS, "phase": f"L{n}", **more} for n in (1, 2, 3)]


def defaults(box):
    calls = box.asked("SetChargingProfile")
    return [c for c in calls if c["csChargingProfiles"]["chargingProfilePurpose"] == "TxDefaultProfile"]


# -- onboarding -----------------------------------------------------------------------------------------


async def test_a_new_box_is_cleared_gets_its_default_and_only_the_keys_that_differ(tmp_path):
    async with world(tmp_path, site_of("CP-1", fallback_a=6, connectors=2)) as here:
        assert here.rows[0]["default_ma"] == UNKNOWN
        async with peer(here) as box:
            names = [name for name, _ in box.received]
            assert names.index("ClearChargingProfile") < names.index("SetChargingProfile")
            assert [call["connectorId"] for call in defaults(box)] == [0]
            assert periods(defaults(box)[0])[0]["limit"] == 6
            assert list(here.rows["default_ma"]) == [6000, 6000]
            assert list(here.rows["online"]) == [1, 1]
            assert box.asked("ChangeConfiguration") == [
                {"key": "MeterValueSampleInterval", "value": "10"},
                {
                    "key": "MeterValuesSampledData",
                    "value": "Current.Import,Power.Active.Import,Energy.Active.Import.Register,Voltage",
                },
                {"key": "HeartbeatInterval", "value": "60"},
            ]
            assert {"requestedMessage": "StatusNotification"} in box.asked("TriggerMessage")
        await here.until(lambda: here.rows[0]["online"] == 0)


async def test_a_box_that_is_set_up_already_is_not_written_to_again(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        async with peer(here) as box:
            remembered = box.configuration, box.defaults
        box = await dial(here.port, "CP-1")
        box.configuration, box.defaults = remembered
        await box.call("Heartbeat", {})
        await here.until(lambda: len(box.asked("TriggerMessage")) == 2)
        assert not {"ClearChargingProfile", "SetChargingProfile", "ChangeConfiguration"} & {
            n for n, _ in box.received
        }
        assert here.rows[0]["default_ma"] == 0
        await box.close()


async def test_a_foreign_profile_is_cleared_and_what_cannot_be_cleared_is_booked(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        box.composite_a = 20
        await box.boot()
        await here.until(lambda: here.rows[0]["default_ma"] == 20_000)
        assert len(box.asked("ClearChargingProfile")) == 2
        assert "default_ignored" in here.kinds()
        await box.close()


async def test_a_box_that_wants_one_default_for_each_connector_gets_them(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=2)) as here:
        box = await dial(here.port, "CP-1")
        box.replies["SetChargingProfile"] = lambda c: {
            "status": "Accepted" if c["connectorId"] else "Rejected"
        }
        box.replies["GetCompositeSchedule"] = "NotImplemented"
        await box.boot()
        await here.until(lambda: list(here.rows["default_ma"]) == [0, 0])
        await box.close()


async def test_a_long_list_of_measurands_gives_way_to_a_shorter_one(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        box.replies["ChangeConfiguration"] = lambda p: {
            "status": "Rejected" if "Power" in p["value"] else "Accepted"
        }
        await box.boot()
        short = {"key": "MeterValuesSampledData", "value": "Current.Import,Energy.Active.Import.Register"}
        await here.until(lambda: short in box.asked("ChangeConfiguration"))
        await box.close()


async def test_a_key_that_makes_a_box_boot_is_left_alone(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        silence = asyncio.Event()

        async def hang(_):
            await silence.wait()
            return {"status": "Accepted"}

        box.replies["ChangeConfiguration"] = hang
        await box.boot()
        await here.until(lambda: box.asked("ChangeConfiguration"))
        await box.close()
        async with peer(here) as box:
            assert "boot_blamed" in here.kinds()
            assert "MeterValueSampleInterval" not in [p["key"] for p in box.asked("ChangeConfiguration")]


def test_a_box_that_reconnects_without_a_word_is_taken_up_after_five_seconds(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here, booted=False) as box:
            await asyncio.sleep(3)
            assert here.rows[0]["online"] == 0
            await here.until(lambda: here.rows[0]["online"] == 1)
            await here.until(lambda: {"requestedMessage": "BootNotification"} in box.asked("TriggerMessage"))

    run(main(), speed=10)


def test_what_was_not_answered_in_the_set_up_is_asked_again_later(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here:
            box = await dial(here.port, "CP-1")
            box.utc = here.clock.utc
            box.replies["SetChargingProfile"] = "InternalError"
            await box.boot()
            await here.until(lambda: "default_refused" in here.kinds())
            assert here.rows[0]["default_ma"] == UNKNOWN
            del box.replies["SetChargingProfile"]
            await here.until(lambda: here.rows[0]["default_ma"] == 0, timeout_s=90)
            await box.close()

    run(main(), speed=40)


async def test_the_firmware_number_changes_with_firmware_and_boots_and_survives_a_restart(tmp_path):
    numbers = []

    async def number(**facts):
        async with peer(here, ready=False) as box:
            if facts:
                await box.boot(**facts)
            numbers.append(int(here.rows[0]["firmware"]))

    async with world(tmp_path, site_of("CP-1")) as here:
        await number()
        await number()
        await number(firmwareVersion="2")
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        await box.call("Heartbeat", {})
        numbers.append(int(here.rows[0]["firmware"]))
        await box.close()
    assert all(0 < n < 2**62 for n in numbers)
    assert len(set(numbers[:3])) == 3, "each boot counts, and each firmware"
    assert numbers[3] == numbers[2], "a restart of the controller alone changes nothing"


async def test_two_hundred_boxes_that_come_together_are_all_online_and_set_up_within_seconds(tmp_path):
    identities = [f"CP-{n}" for n in range(200)]
    async with world(tmp_path, site_of(*identities)) as here:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        boxes = await asyncio.gather(*(dial(here.port, identity) for identity in identities))
        await asyncio.gather(*(box.boot() for box in boxes))
        assert (here.rows["online"] == 1).all()
        online_s = loop.time() - since_s
        await here.until(lambda: bool((here.rows["default_ma"] == 0).all()), timeout_s=30)
        print(f"200 boxes: online after {online_s:.1f} s, set up after {loop.time() - since_s:.1f} s")
        assert online_s < 10
        await asyncio.gather(*(box.close() for box in boxes))


# -- rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [s for s in Status if s != Status.NONE])
async def test_every_status_reaches_the_row(tmp_path, status):
    words = {Status.SUSPENDED_EV: "SuspendedEV", Status.SUSPENDED_EVSE: "SuspendedEVSE"}
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        assert await box.status(words.get(status, status.name.capitalize())) == {}
        assert here.rows[0]["status"] == status
        assert 0 < here.rows[0]["status_at_ms"] <= here.clock.now_ms()


async def test_a_reading_reaches_the_row_of_its_own_connector(tmp_path):
    async with world(tmp_path, site_of("CP-1", "CP-2", connectors=2)) as here, peer(here, "CP-2") as box:
        changes = here.changes
        await box.meter(*three(7.5), connector=2)
        assert list(here.rows[3]["current_ma"]) == [7500, 7500, 7500]
        assert 0 < here.rows[3]["reading_at_ms"] <= here.clock.now_ms()
        assert list(here.rows[2]["current_ma"]) == [UNKNOWN] * 3
        assert here.changes > changes


async def test_a_message_without_current_leaves_the_last_reading_and_its_age(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.meter({"value": "1234"})
        assert list(here.rows[0]["current_ma"]) == [UNKNOWN] * 3
        await box.meter(*three(7))
        at_ms = here.rows[0]["reading_at_ms"]
        await asyncio.sleep(0.02)
        await box.meter({"value": "1240"})
        assert here.rows[0]["reading_at_ms"] == at_ms
        assert list(here.rows[0]["current_ma"]) == [7000, 7000, 7000]


def test_queued_messages_move_nothing(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await asyncio.sleep(100)
            await box.status("Available")
            before = here.rows.copy()
            for seconds in (90, 3 * 3600):
                old = stamp(here.clock.utc() - timedelta(seconds=seconds))
                await box.status("Charging", timestamp=old)
                await box.meter(*three(30), at=old)
            assert (here.rows == before).all()
            await box.meter(*three(1))
            assert list(here.rows[0]["current_ma"]) == [1000] * 3

    run(main(), speed=50)


@pytest.mark.parametrize("clock", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)])
async def test_a_box_with_an_absurd_clock_counts_from_reception(tmp_path, clock):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.status("Charging", timestamp=stamp(clock))
        await box.meter(*three(9), at=stamp(clock))
        assert here.rows[0]["status"] == Status.CHARGING
        assert list(here.rows[0]["current_ma"]) == [9000] * 3
        number = (await box.start(at=stamp(clock)))["transactionId"]
        await here.until(lambda: here.rows[0]["transaction"] == number)
        assert here.ledger.running("CP-1", 1).started_utc.year == here.clock.utc().year


async def test_a_box_an_hour_behind_is_believed_after_its_first_triggered_reading(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        box.utc = lambda: here.clock.utc() - timedelta(hours=1)
        await box.meter(*three(9))
        assert list(here.rows[0]["current_ma"]) == [UNKNOWN] * 3
        await box.meter(*three(9, context="Trigger"))
        await box.meter(*three(8))
        assert list(here.rows[0]["current_ma"]) == [8000] * 3


async def test_the_status_asked_for_counts_whatever_time_it_carries(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        await box.boot()
        await here.until(lambda: {"requestedMessage": "StatusNotification"} in box.asked("TriggerMessage"))
        await box.status("Preparing", timestamp=stamp(here.clock.utc() - timedelta(hours=2)))
        assert here.rows[0]["status"] == Status.PREPARING
        await box.close()


# -- transactions ---------------------------------------------------------------------------------------


async def test_a_transaction_is_in_the_row_with_all_that_its_card_says(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        marks = {"minimum_speed": True, "never_zero": True, "priority_class": 2}
        here.cards.put(Card("abc", weight_percent=150, wish_ma=10_000, solar="boost", **marks))
        answer = await box.start("ABC")
        assert answer["idTagInfo"]["status"] == "Accepted"
        await here.until(lambda: here.rows[0]["transaction"] == answer["transactionId"])
        assert (here.rows[0]["weight_percent"], here.rows[0]["wish_ma"]) == (150, 10_000)
        assert {name: here.rows[0][name] for name in marks} == marks
        assert here.rows[0]["solar"] == BOOST
        await box.stop(answer["transactionId"])
        await here.until(lambda: here.rows[0]["transaction"] == 0)
        assert (here.rows[0]["weight_percent"], here.rows[0]["wish_ma"]) == (100, 32_000)
        assert {name: here.rows[0][name] for name in marks} == dict.fromkeys(marks, 0)
        assert here.rows[0]["solar"] == 0


async def test_a_refused_card_gets_a_number_and_no_current(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        here.cards.put(Card("ABC", state="blocked"))
        answer = await box.start("ABC")
        assert answer["idTagInfo"]["status"] == "Blocked"
        await here.until(lambda: here.rows[0]["transaction"] == answer["transactionId"])
        assert here.rows[0]["wish_ma"] == 0


async def test_a_repeated_start_gets_the_same_number(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        at = stamp(here.clock.utc())
        first = await box.start(at=at)
        assert (await box.start(at=at))["transactionId"] == first["transactionId"]
        assert (await box.start(at=at, tag="card1"))["transactionId"] == first["transactionId"]
        assert (await box.start(at=at, meter=1001))["transactionId"] != first["transactionId"]


async def test_the_end_of_an_unknown_transaction_is_answered_and_kept_as_an_orphan(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        running = (await box.start())["transactionId"]
        await here.until(lambda: here.rows[0]["transaction"] == running)
        for unknown in (-1, 0, 12345):
            assert await box.stop(unknown) == {}
        assert here.rows[0]["transaction"] == running
        assert "orphan_stop" in here.kinds()


async def test_the_end_may_carry_a_card_which_is_answered(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        running = (await box.start())["transactionId"]
        answer = await box.stop(running, idTag="CARD1", reason="Local")
        assert answer == {"idTagInfo": {"status": "Accepted"}}
        assert await box.stop(running) == {}, "a repeated end is answered as well"
        assert "orphan_stop" not in here.kinds()


async def test_a_connector_that_is_free_again_has_no_transaction_even_if_its_end_was_lost(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        lost = await box.start(at=stamp(here.clock.utc() - timedelta(seconds=30)))
        await here.until(lambda: here.rows[0]["transaction"] == lost["transactionId"])
        await box.status("Available")
        assert here.rows[0]["transaction"] == 0
        await box.meter(*three(6), transactionId=lost["transactionId"])
        assert here.rows[0]["transaction"] == lost["transactionId"], "unless its readings still name it"


async def test_a_running_transaction_is_known_again_after_a_restart_of_the_controller(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        here.cards.put(Card("CARD1", weight_percent=70))
        number = (await box.start())["transactionId"]
    async with world(tmp_path, site_of("CP-1")) as here:
        assert here.rows[0]["transaction"] == 0, "nothing is said before the box has been heard"
        async with peer(here, booted=False) as box:
            await box.call("Heartbeat", {})
            assert here.rows[0]["transaction"] == number
            assert here.rows[0]["weight_percent"] == 70
            assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
            profiles = [call["csChargingProfiles"] for call in box.asked("SetChargingProfile")]
            assert number in [profile.get("transactionId") for profile in profiles]


async def test_a_transaction_of_another_central_system_is_controlled_until_it_ends(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.meter(*three(16), transactionId=77)
        assert here.rows[0]["transaction"] == 0, "a number alone is no car"
        await box.status("Charging")
        await box.meter(*three(16), transactionId=77)
        assert here.rows[0]["transaction"] == 77
        assert await here.answered(here.order({0: 6})) == Answer.ACCEPTED
        await box.stop(77)
        await here.until(lambda: here.rows[0]["transaction"] == 0)
        await box.meter(*three(0), transactionId=77)
        assert here.rows[0]["transaction"] == 0, "a late reading brings nothing back"


def test_a_transaction_out_of_a_queue_runs_only_if_its_connector_is_occupied(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
            old = stamp(here.clock.utc() - timedelta(hours=2))
            over = (await box.start(connector=1, at=old))["transactionId"]
            await box.stop(over, at=stamp(here.clock.utc() - timedelta(hours=1)))
            still = (await box.start(connector=2, at=old))["transactionId"]
            assert list(here.rows["transaction"]) == [0, 0]
            await box.status("Charging", connector=2)
            await here.until(lambda: here.rows[1]["transaction"] == still)
            await asyncio.sleep(6)
            assert here.rows[0]["transaction"] == 0

    run(main(), speed=10)


async def test_a_remote_start_reaches_the_box_and_a_remote_stop_names_its_transaction(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
        assert await here.central.remote_start("bay_1/2", "CARD1") == "Accepted"
        assert box.asked("RemoteStartTransaction") == [{"connectorId": 2, "idTag": "CARD1"}]
        assert await here.central.remote_stop("bay_1/2") == "Rejected"
        number = (await box.start(connector=2))["transactionId"]
        await here.until(lambda: here.rows[1]["transaction"] == number)
        assert await here.central.remote_stop("bay_1/2") == "Accepted"
        assert box.asked("RemoteStopTransaction") == [{"transactionId": number}]
        assert await here.central.reset("bay_1", "Hard") == "Accepted"
        assert await here.central.set_available("bay_1/1", False) == "Accepted"
        assert await here.central.unlock("bay_1/1") == "Unlocked"
        with pytest.raises(ValueError, match="20 characters"):
            await here.central.remote_start("bay_1/1", "x" * 21)
        with pytest.raises(ValueError, match="ChangeConfiguration"):
            await here.central.call("bay_1", "ChangeConfiguration", {"key": 5})


async def test_a_command_to_a_box_without_link_says_so(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        assert await here.central.reset("bay_1") == "link lost"


async def test_authorize_and_the_small_actions_are_answered(tmp_path):
    async with world(tmp_path, site_of("CP-1"), unknown_cards="refuse") as here, peer(here) as box:
        here.cards.put(Card("ABC"))
        assert (await box.call("Authorize", {"idTag": "abc"}))["idTagInfo"] == {"status": "Accepted"}
        assert (await box.call("Authorize", {"idTag": "zzz"}))["idTagInfo"] == {"status": "Invalid"}
        assert await box.call("DataTransfer", {"vendorId": "x"}) == {"status": "UnknownVendorId"}
        assert await box.call("FirmwareStatusNotification", {"status": "Installed"}) == {}
        assert await box.call("DiagnosticsStatusNotification", {"status": "Idle"}) == {}
        beat = await box.call("Heartbeat", {})
        assert abs(datetime.fromisoformat(beat["currentTime"]) - here.clock.utc()) < timedelta(seconds=2)
