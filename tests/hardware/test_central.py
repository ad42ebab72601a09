"""The central system against a chargepoint on a real socket: orders, rows, onboarding."""

from controller.defaults import UNKNOWN
from controller.image import Answer, Status
from tests.hardware.ocpp_peer import peer, site_of, stamp, world


def periods(call):
    return call["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"]


def live_limits(box):
    """TxProfile limits in A in the order in which they came."""
    profiles = box.asked("SetChargingProfile")
    return [
        periods(p)[0]["limit"]
        for p in profiles
        if p["csChargingProfiles"]["chargingProfilePurpose"] == "TxProfile"
    ]


async def test_a_box_that_boots_is_accepted_and_its_default_is_verified_before_it_counts(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        assert here.rows[0]["default_ma"] == UNKNOWN
        async with peer(here) as box:
            assert here.rows[0]["online"] == 1
            assert here.rows[0]["default_ma"] == 0
            assert here.rows[0]["firmware"] > 0
            profile = box.asked("SetChargingProfile")[0]
            assert profile["connectorId"] == 0
            assert profile["csChargingProfiles"]["chargingProfilePurpose"] == "TxDefaultProfile"
            assert periods(profile)[0]["limit"] == 0
        await here.until(lambda: here.rows[0]["online"] == 0)


async def test_a_limit_reaches_the_running_transaction_and_its_answer_the_row(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        started = await box.start()
        await here.until(lambda: here.rows[0]["transaction"] == started["transactionId"])
        seq = here.order({0: 16.0})
        assert await here.answered(seq) == Answer.ACCEPTED
        profile = box.asked("SetChargingProfile")[-1]["csChargingProfiles"]
        assert profile["transactionId"] == started["transactionId"]
        assert profile["chargingProfilePurpose"] == "TxProfile"
        assert live_limits(box) == [16]


async def test_a_status_and_a_reading_reach_the_row(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.status("Preparing", timestamp=stamp())
        assert here.rows[0]["status"] == Status.PREPARING
        phases = [{"value": "7.5", "measurand": "Current.Import", "phase": f"L{n}"} for n in (1, 2, 3)]
        await box.meter(*phases)
        assert list(here.rows[0]["current_ma"]) == [7500, 7500, 7500]
        assert 0 < here.rows[0]["reading_at_ms"] <= here.clock.now_ms()
