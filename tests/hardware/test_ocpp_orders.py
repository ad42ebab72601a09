"""The life of an order on the wire: what leaves first, what is refused, what is unknown."""

import asyncio
from datetime import datetime

import pytest

from controller.defaults import UNKNOWN
from controller.image import Answer
from hardware.clock import run
from hardware.ocpp.frames import fault_in_call
from hardware.ocpp.profiles import (
    ABSOLUTE,
    LADDER,
    MAXIMUM,
    RELATIVE,
    TX,
    TX_DEFAULT,
    Lease,
    Limit,
    Rung,
    sayable_ma,
    set_charging_profile,
)
from tests.hardware.ocpp_peer import peer, site_of, world

NEVER_ANSWERED = lambda _: None  # noqa: E731


def profile_of(call):
    return call["csChargingProfiles"]


def first_limit(call):
    return profile_of(call)["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]


def rung_of(call):
    profile = profile_of(call)
    unit = profile["chargingSchedule"]["chargingRateUnit"]
    return Rung(profile["chargingProfilePurpose"], profile["chargingProfileKind"], unit)


def live(box):
    """SetChargingProfile calls since the transaction began (the fixture forgets those before)."""
    return box.asked("SetChargingProfile")


async def charging(here, box, connector=1):
    """Begin a transaction and forget what was sent before it."""
    number = (await box.start(connector=connector, tag=f"CARD{connector}"))["transactionId"]
    row = connector - 1
    await here.until(lambda: here.rows[row]["transaction"] == number)
    box.received.clear()
    return number


def only_accepts(*rungs):
    return lambda call: {"status": "Accepted" if rung_of(call) in rungs else "Rejected"}


async def test_an_order_waits_for_a_transaction_unless_the_default_fulfils_it_already(tmp_path):
    async with world(tmp_path, site_of("CP-1", fallback_a=6)) as here, peer(here) as box:
        assert here.rows[0]["default_ma"] == 6000
        box.received.clear()
        assert await here.answered(here.order({0: 6})) == Answer.ACCEPTED
        assert await here.answered(here.order({0: 0})) == Answer.ACCEPTED
        answered = here.rows[0]["answered_seq"]
        here.order({0: 16})
        await asyncio.sleep(0.1)
        assert here.rows[0]["answered_seq"] == answered
        assert live(box) == []
        await box.start()
        await here.until(lambda: len(live(box)) == 1)
        assert first_limit(live(box)[0]) == 16


async def test_an_order_below_the_default_is_said_when_a_transaction_begins(tmp_path):
    async with world(tmp_path, site_of("CP-1", fallback_a=6)) as here, peer(here) as box:
        seq = here.order({0: 0})
        assert await here.answered(seq) == Answer.ACCEPTED
        box.received.clear()
        await box.start()
        await here.until(lambda: len(live(box)) == 1)
        assert first_limit(live(box)[0]) == 0
        assert await here.answered(seq) == Answer.ACCEPTED


async def test_a_newer_order_replaces_one_that_has_not_left(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await charging(here, box)
        gate = asyncio.Event()

        async def slow(_):
            await gate.wait()
            return {"status": "Accepted"}

        box.replies["SetChargingProfile"] = slow
        first = here.order({0: 10})
        await here.until(lambda: len(live(box)) == 1)
        for amps in (12, 14, 16):
            last = here.order({0: amps})
        gate.set()
        assert await here.answered(last) == Answer.ACCEPTED
        assert [first_limit(call) for call in live(box)] == [10, 16]
        assert last == first + 3


async def test_one_call_is_outstanding_and_a_lowering_jumps_raises_asks_and_configuration(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=3)) as here, peer(here) as box:
        for connector in (1, 2, 3):
            await charging(here, box, connector)
        here.order({0: 16, 1: 16, 2: 16})
        await here.until(lambda: len(live(box)) == 3)
        box.received.clear()
        gate = asyncio.Event()

        async def slow(_):
            await gate.wait()
            return {"status": "Accepted", "configurationKey": []}

        box.replies["GetConfiguration"] = slow
        asked = asyncio.gather(
            here.central.call("bay_1", "GetConfiguration", {}),
            here.central.call("bay_1", "GetConfiguration", {"key": ["HeartbeatInterval"]}),
        )
        await here.until(lambda: len(box.received) == 1)
        here.order({0: 20}, ask=(1,))
        here.order({1: 18})
        here.order({2: 6})
        await asyncio.sleep(0.1)
        assert len(box.received) == 1, "one CALL at a time"
        gate.set()
        await asked
        await here.until(lambda: len(box.received) == 6)
        names = [name for name, _ in box.received]
        assert names == [
            "GetConfiguration",
            *["SetChargingProfile"] * 3,
            "GetConfiguration",
            "TriggerMessage",
        ]
        assert [first_limit(call) for call in live(box)] == [6, 20, 18]


def test_a_lowering_does_not_wait_long_for_an_answer_that_does_not_come(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await charging(here, box)
            assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
            box.replies["GetConfiguration"] = NEVER_ANSWERED
            asking = asyncio.create_task(here.central.call("bay_1", "GetConfiguration", {}))
            await here.until(lambda: box.asked("GetConfiguration"))
            since_ms = here.clock.now_ms()
            assert await here.answered(here.order({0: 6})) == Answer.ACCEPTED
            assert here.clock.now_ms() - since_ms < 4000
            assert (await asking).error == "no answer"

    run(main(), speed=10)


def test_no_answer_in_ten_seconds_is_unknown_and_the_next_order_leaves(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await charging(here, box)
            box.replies["SetChargingProfile"] = NEVER_ANSWERED
            since_ms = here.clock.now_ms()
            assert await here.answered(here.order({0: 16})) == Answer.UNKNOWN
            assert 9_000 < here.clock.now_ms() - since_ms < 14_000
            del box.replies["SetChargingProfile"]
            assert await here.answered(here.order({0: 10})) == Answer.ACCEPTED

    run(main(), speed=20)


@pytest.mark.parametrize(
    "code", ["InternalError", "GenericError", "ProtocolError", "SecurityError", "Whatever", ""]
)
async def test_a_call_error_leaves_the_outcome_unknown(tmp_path, code):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await charging(here, box)
        box.replies["SetChargingProfile"] = code
        assert await here.answered(here.order({0: 16})) == Answer.UNKNOWN
        assert len(live(box)) == 1


async def test_a_lost_link_leaves_the_outcome_unknown(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        async with peer(here) as box:
            await charging(here, box)
            box.replies["SetChargingProfile"] = NEVER_ANSWERED
            seq = here.order({0: 16})
            await here.until(lambda: len(live(box)) == 1)
        assert await here.answered(seq) == Answer.UNKNOWN
        assert here.rows[0]["online"] == 0


async def test_an_order_put_down_while_the_link_is_away_leaves_when_it_is_back(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        async with peer(here) as box:
            number = await charging(here, box)
        await here.until(lambda: here.rows[0]["online"] == 0)
        here.order({0: 16})
        seq = here.order({0: 8})
        async with peer(here, booted=False) as box:
            assert await box.call("Heartbeat", {})
            assert await here.answered(seq) == Answer.ACCEPTED
            profile = next(c for c in live(box) if profile_of(c)["chargingProfilePurpose"] == TX)
            assert first_limit(profile) == 8
            assert profile_of(profile)["transactionId"] == number


@pytest.mark.parametrize("refusal", [{"status": "Rejected"}, {"status": "NotSupported"}, "NotImplemented"])
@pytest.mark.parametrize(
    "rung",
    [
        Rung(TX, ABSOLUTE, "A"),
        Rung(TX, RELATIVE, "W"),
        Rung(TX_DEFAULT, RELATIVE, "A"),
        Rung(TX_DEFAULT, ABSOLUTE, "W"),
        Rung(MAXIMUM, ABSOLUTE, "A"),
    ],
)
def test_a_refused_limit_is_said_in_the_next_way_until_one_is_taken_and_that_is_remembered(
    tmp_path, rung, refusal
):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here:
            async with peer(here) as box:
                await charging(here, box)
                box.replies["SetChargingProfile"] = lambda c: (
                    {"status": "Accepted"} if rung_of(c) == rung else refusal
                )
                assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
                said = list(dict.fromkeys(rung_of(call) for call in live(box)))
                assert said == list(LADDER[: LADDER.index(rung) + 1])
                box.received.clear()
                assert await here.answered(here.order({0: 10})) == Answer.ACCEPTED
                assert [rung_of(call) for call in live(box)] == [rung]
            async with peer(here) as box:
                assert here.central.describe()["bay_1"]["profile"] == " ".join(rung)

    run(main(), speed=10)


def test_a_box_that_refuses_everything_is_reported_as_refused_and_tried_again_from_the_top(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await charging(here, box)
            box.replies["SetChargingProfile"] = {"status": "Rejected"}
            assert await here.answered(here.order({0: 16})) == Answer.REFUSED
            assert "profiles_refused" in here.kinds()
            assert {rung_of(call) for call in live(box)} == set(LADDER)
            box.received.clear()
            del box.replies["SetChargingProfile"]
            assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
            assert [rung_of(call) for call in live(box)] == [LADDER[0]]

    run(main(), speed=10)


def test_one_refusal_of_a_way_that_worked_is_tried_again_before_another_way(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await charging(here, box)
            assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
            answers = iter([{"status": "Rejected"}, {"status": "Accepted"}])
            box.replies["SetChargingProfile"] = lambda _: next(answers)
            assert await here.answered(here.order({0: 10})) == Answer.ACCEPTED
            assert {rung_of(call) for call in live(box)} == {LADDER[0]}

    run(main(), speed=10)


async def test_a_limit_said_as_a_default_makes_way_for_the_fallback_when_the_transaction_ends(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
        number = await charging(here, box)
        way = Rung(TX_DEFAULT, RELATIVE, "A")
        box.replies["SetChargingProfile"] = only_accepts(way)
        assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
        assert here.rows[0]["default_ma"] == 16000, "a new session would start with it"
        assert here.rows[1]["default_ma"] == 0
        await box.stop(number)
        await here.until(lambda: here.rows[0]["default_ma"] == 0)
        assert first_limit(live(box)[-1]) == 0
        assert live(box)[-1]["connectorId"] == 1


async def test_a_raise_said_as_a_default_is_booked_as_the_default_before_it_is_answered(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
        await charging(here, box)
        box.replies["SetChargingProfile"] = only_accepts(Rung(TX_DEFAULT, RELATIVE, "A"))
        assert await here.answered(here.order({0: 10})) == Answer.ACCEPTED
        box.replies["SetChargingProfile"] = "InternalError"
        assert await here.answered(here.order({0: 16})) == Answer.UNKNOWN
        assert here.rows[0]["default_ma"] == 16000
        assert await here.answered(here.order({0: 6})) == Answer.UNKNOWN
        assert here.rows[0]["default_ma"] == 16000


def test_a_fallback_that_is_refused_is_said_again_and_the_default_stays_booked(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
            number = await charging(here, box)
            box.replies["SetChargingProfile"] = only_accepts(Rung(TX_DEFAULT, RELATIVE, "A"))
            assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
            box.replies["SetChargingProfile"] = "InternalError"
            box.received.clear()
            await box.stop(number)
            await here.until(lambda: len(live(box)) == 1)
            await asyncio.sleep(5)
            assert len(live(box)) == 1, "not in a hurry"
            assert here.rows[0]["default_ma"] == 16000
            del box.replies["SetChargingProfile"]
            await here.until(lambda: here.rows[0]["default_ma"] == 0, timeout_s=30)

    run(main(), speed=10)


async def test_a_box_that_takes_watts_only_is_told_watts_for_the_phases_its_car_uses(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here, ready=False) as box:
        box.configuration["ChargingScheduleAllowedChargingRateUnit"] = "Power"
        await here.until(lambda: here.rows[0]["default_ma"] != UNKNOWN)
        await charging(here, box)
        assert await here.answered(here.order({0: 16})) == Answer.ACCEPTED
        period = profile_of(live(box)[0])["chargingSchedule"]["chargingSchedulePeriod"][0]
        assert period == {"startPeriod": 0, "limit": 11040, "numberPhases": 3}
        amps = {"L1": "9", "L2": "0", "L3": "0"}
        await box.meter(*({"value": v, "measurand": "Current.Import", "phase": p} for p, v in amps.items()))
        await here.until(lambda: len(live(box)) == 2)
        period = profile_of(live(box)[1])["chargingSchedule"]["chargingSchedulePeriod"][0]
        assert period == {"startPeriod": 0, "limit": 3680, "numberPhases": 1}


SWITCHES = {"max_current_a": 32.0, "phase_switch_s": 60.0}


def period_of(call):
    return profile_of(call)["chargingSchedule"]["chargingSchedulePeriod"][0]


async def test_a_box_that_can_choose_its_phases_is_told_them_with_every_limit(tmp_path):
    async with world(tmp_path, site_of("CP-1", outlet=SWITCHES)) as here, peer(here) as box:
        await charging(here, box)
        for phases in (3, 1):
            assert await here.answered(here.order({0: 16}, phases=phases)) == Answer.ACCEPTED
            assert period_of(live(box)[-1]) == {"startPeriod": 0, "limit": 16, "numberPhases": phases}


async def test_watts_for_one_phase_are_never_those_of_three_though_three_were_in_use_before(tmp_path):
    async with world(tmp_path, site_of("CP-1", outlet=SWITCHES)) as here, peer(here, ready=False) as box:
        box.configuration["ChargingScheduleAllowedChargingRateUnit"] = "Power"
        await here.until(lambda: here.rows[0]["default_ma"] != UNKNOWN)
        await charging(here, box)
        assert await here.answered(here.order({0: 16}, phases=3)) == Answer.ACCEPTED
        assert await here.answered(here.order({0: 0}, phases=3)) == Answer.ACCEPTED
        assert await here.answered(here.order({0: 16}, phases=1)) == Answer.ACCEPTED
        assert period_of(live(box)[-1]) == {"startPeriod": 0, "limit": 3680, "numberPhases": 1}


DC = {"kind": "dc", "max_power_w": 50_000.0, "efficiency": 0.95}


async def test_a_dc_box_is_told_watts_at_the_car_rounded_down_and_never_amperes(tmp_path):
    async with world(tmp_path, site_of("CP-1", outlet=DC)) as here, peer(here) as box:
        await charging(here, box)
        assert await here.answered(here.order({0: 32})) == Answer.ACCEPTED
        call = live(box)[-1]
        assert rung_of(call).unit == "W"
        assert profile_of(call)["chargingSchedule"]["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": 20_976}  # 32 A * 690 V * 0.95
        ]


def test_a_dc_box_that_refuses_watts_is_not_told_amperes(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1", outlet=DC)) as here, peer(here) as box:
            await charging(here, box)
            box.replies["SetChargingProfile"] = {"status": "Rejected"}
            assert await here.answered(here.order({0: 32})) == Answer.REFUSED
            assert {rung_of(call).unit for call in live(box)} == {"W"}

    run(main(), speed=10)


@pytest.mark.parametrize("limit_ma", range(6_000, 80_000, 700))
def test_watts_at_the_car_never_let_the_feed_carry_more_than_the_order(limit_ma):
    limit = Limit(1, limit_ma, 3, transaction=1, efficiency=0.93)
    call = set_charging_profile(Rung(TX, RELATIVE, "W"), limit, datetime(2026, 1, 1))
    watts = first_limit(call)
    assert watts / 0.93 / 690 * 1000 <= limit_ma
    assert (watts + 1) / 0.93 / 690 * 1000 > limit_ma


async def test_a_lease_ends_in_the_fallback_by_itself(tmp_path):
    async with world(tmp_path, site_of("CP-1", fallback_a=6, lease_s=120)) as here, peer(here) as box:
        await charging(here, box)
        here.order({0: 16}, lease_until_ms=here.clock.now_ms() + 120_000)
        await here.until(lambda: live(box))
        first, second = profile_of(live(box)[0])["chargingSchedule"]["chargingSchedulePeriod"]
        assert first == {"startPeriod": 0, "limit": 16}
        assert second["limit"] == 6
        assert 119 <= second["startPeriod"] <= 120, "Relative counts from the start of the transaction"


async def test_an_order_is_void_when_its_transaction_has_ended_before_it_could_leave(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        number = await charging(here, box)
        box.replies["SetChargingProfile"] = NEVER_ANSWERED
        here.order({0: 10})
        await here.until(lambda: live(box))
        seq = here.order({0: 16})
        await box.stop(number)
        assert await here.answered(seq) == Answer.UNKNOWN
        del box.replies["SetChargingProfile"]
        await charging(here, box)
        await asyncio.sleep(0.1)
        assert live(box) == [], "the next transaction starts at its default"


async def test_an_ask_triggers_a_reading_of_that_connector_and_a_box_that_cannot_is_not_asked_again(tmp_path):
    async with world(tmp_path, site_of("CP-1", connectors=2)) as here, peer(here) as box:
        box.received.clear()
        here.order({}, ask=(1,))
        here.order({}, ask=(1,))
        await here.until(lambda: box.received)
        assert box.received[0] == ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 2})
        box.replies["TriggerMessage"] = {"status": "NotImplemented"}
        here.order({}, ask=(0,))
        await here.until(lambda: len(box.received) >= 2)
        await asyncio.sleep(0.05)
        count = len(box.received)
        here.order({}, ask=(0, 1))
        await asyncio.sleep(0.1)
        assert len(box.received) == count


# -- how a limit is written -----------------------------------------------------------------------------

NOON = datetime(2026, 6, 1, 12, 0, 0)


@pytest.mark.parametrize(
    ("limit_ma", "said_ma"),
    [(0, 0), (1, 0), (5_999, 0), (6_000, 6_000), (6_099, 6_000), (12_449, 12_400), (31_999, 31_900)],
)
def test_a_limit_is_rounded_down_to_tenths_and_never_between_zero_and_the_minimum(limit_ma, said_ma):
    assert sayable_ma(limit_ma, 6_000) == said_ma


@pytest.mark.parametrize("rung", LADDER)
def test_every_tenth_of_an_ampere_keeps_the_schema_and_has_one_decimal(rung):
    for tenths in range(60, 640):
        payload = set_charging_profile(rung, Limit(1, tenths * 100, 3, transaction=7), NOON)
        assert fault_in_call("SetChargingProfile", payload) == ""
        said = profile_of(payload)["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
        if rung.unit == "A":
            assert str(said) == (f"{tenths / 10:.1f}" if tenths % 10 else str(tenths // 10))
        else:
            assert tenths * 69 - 1 < said <= tenths * 69


def schedule(rung, **limit):
    given = {"limit_ma": 16_000, "phases": 3, "transaction": 7, "running_s": 1000, **limit}
    return profile_of(set_charging_profile(rung, Limit(1, **given), NOON, max_periods=2))["chargingSchedule"]


def test_a_lease_counts_from_the_start_of_the_transaction_or_from_the_backdated_start():
    lease = Lease(120, 6_000)
    relative = schedule(Rung(TX, RELATIVE, "A"), lease=lease)
    assert [p["startPeriod"] for p in relative["chargingSchedulePeriod"]] == [0, 1120]
    absolute = schedule(Rung(TX, ABSOLUTE, "A"), lease=lease)
    assert absolute["startSchedule"] == "2026-06-01T11:59:00Z"
    assert [p["startPeriod"] for p in absolute["chargingSchedulePeriod"]] == [0, 180]


def test_a_lease_that_is_over_says_its_fallback_only_and_never_more_than_the_limit():
    over = schedule(Rung(TX, RELATIVE, "A"), lease=Lease(0, 6_000))
    assert over["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 6}]
    lower = schedule(Rung(TX, RELATIVE, "A"), limit_ma=0, lease=Lease(0, 6_000))
    assert lower["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 0}]


def test_a_box_of_one_period_lets_its_profile_end_and_the_default_take_over():
    limit = Limit(1, 16_000, 3, transaction=7, running_s=1000, lease=Lease(120, 6_000))
    said = profile_of(set_charging_profile(Rung(TX, RELATIVE, "A"), limit, NOON, max_periods=1))
    assert said["chargingSchedule"]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 16}]
    assert said["chargingSchedule"]["duration"] == 1120
