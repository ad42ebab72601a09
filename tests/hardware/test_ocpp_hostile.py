"""Peers that are broken, hostile or unlucky: one clear line each, and everybody else goes on."""

import asyncio
import base64
import json
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from controller.defaults import UNKNOWN
from controller.image import Answer
from hardware.clock import run
from hardware.notices import Notices
from hardware.ocpp import frames
from tests.hardware.ocpp_peer import dial, peer, site_of, world


async def answer_to(socket, text):
    await socket.send(text)
    return json.loads(await asyncio.wait_for(socket.recv(), 5))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        "[]",
        "null",
        "[2]",
        '[2,"1"]',
        '[2,7,"Heartbeat",{}]',
        '[9,"1","Heartbeat",{}]',
        '[true,"1","Heartbeat",{}]',
        '[3,"1",[]]',
        '[4,"1",5]',
        '[2,"1","Heartbeat",{"a":NaN}]',
        '[2,"1","Heartbeat",{"a":1e999}]',
        '[2,"1","Heartbeat",{"a":' + "9" * 5000 + "}]",
        '[2,"1","Heartbeat",{"a":"\\ud800"}]',
        "[" * 200_000,
        b"\x00\xff",
    ],
)
async def test_a_frame_that_cannot_be_read_is_dropped_with_one_line(tmp_path, text):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here, ready=False) as box:
        for _ in range(3):
            await box.raw(text)
        assert "currentTime" in await box.call("Heartbeat", {})
        assert [n.kind for n in here.said].count("malformed") == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[2,"1","Heartbeat"]', "FormationViolation"),
        ('[2,"1","Heartbeat",[]]', "FormationViolation"),
        ('[2,"1",5,{}]', "FormationViolation"),
        ('[2,"1","Heartbeat",{"surprise":1}]', "FormationViolation"),
        ('[2,"1","Authorize",{"idTag":"a-card-number-of-more-than-20"}]', "FormationViolation"),
        ('[2,"1","MeterValues",{"connectorId":1,"meterValue":[]}]', "FormationViolation"),
        ('[2,"1","StartTransaction",{}]', "FormationViolation"),
        ('[2,"1","MakeCoffee",{}]', "NotImplemented"),
        ('[2,"1","LogStatusNotification",{}]', "NotImplemented"),
        ('[2,"1","SetChargingProfile",{}]', "NotImplemented"),
    ],
)
async def test_a_call_that_cannot_be_served_is_refused_by_name(tmp_path, text, code):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        box._reader.cancel()
        frame = await answer_to(box.socket, text)
        assert frame[:3] == [4, "1", code]
        assert len(frame) == 5
        assert frame[3]
        await box.close()


async def test_a_frame_of_ten_megabytes_costs_its_sender_the_link(tmp_path):
    async with world(tmp_path, site_of("CP-1", "CP-2")) as here, peer(here, "CP-2", ready=False) as other:
        async with peer(here) as box:
            with suppress(ConnectionClosed):
                await box.raw('[2,"1","Heartbeat",{"a":"' + "x" * 10_000_000 + '"}]')
            await asyncio.wait_for(box.socket.wait_closed(), 5)
            assert box.socket.close_code == 1009
            await here.until(lambda: here.rows[0]["online"] == 0)
        assert "too_big" in here.kinds()
        assert "currentTime" in await other.call("Heartbeat", {})


def test_a_flood_is_slowed_down_and_starves_nobody(tmp_path):
    async def main():
        async with (
            world(tmp_path, site_of("CP-1", "CP-2")) as here,
            peer(here, "CP-2", ready=False) as other,
            peer(here) as box,
        ):
            answered = 0

            async def flood():
                nonlocal answered
                while True:
                    await asyncio.gather(*(box.call("Heartbeat", {}) for _ in range(20)))
                    answered += 20

            loop = asyncio.get_running_loop()
            flooding, since_s = asyncio.create_task(flood()), loop.time()
            await asyncio.sleep(8)
            asked_s = loop.time()
            await other.call("Heartbeat", {})
            assert loop.time() - asked_s < 2
            flooding.cancel()
            assert answered <= 100 + 50 * (loop.time() - since_s)
            assert "flood" in here.kinds()

    run(main(), speed=5)


async def test_an_unknown_identity_gets_404_before_the_upgrade(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        with pytest.raises(InvalidStatus) as refused:
            await dial(here.port, "CP-X")
        assert refused.value.response.status_code == 404
        assert "unknown_identity" in here.kinds()


async def test_an_identity_is_percent_decoded(tmp_path):
    async with world(tmp_path, site_of("NL/Büro 1")) as here, peer(here, "NL/Büro 1"):
        assert here.rows[0]["online"] == 1


def basic(user, password):
    secret = user.encode() + b":" + (password if isinstance(password, bytes) else password.encode())
    return {"Authorization": "Basic " + base64.b64encode(secret).decode()}


KEY = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    ("headers", "lets_in"),
    [
        (basic("CP-1", KEY), True),
        (basic("CP-1", bytes.fromhex(KEY)), True),
        (basic("CP-1", "wrong"), False),
        (basic("CP-2", KEY), False),
        ({"Authorization": "Basic %%%"}, False),
        ({"Authorization": "Bearer " + KEY}, False),
        ({}, False),
    ],
)
async def test_a_box_with_a_key_must_bring_it(tmp_path, headers, lets_in):
    async with world(tmp_path, site_of("CP-1"), keys={"CP-1": KEY}) as here:
        if lets_in:
            async with peer(here, additional_headers=headers):
                assert here.rows[0]["online"] == 1
        else:
            with pytest.raises(InvalidStatus) as refused:
                await dial(here.port, "CP-1", additional_headers=headers)
            assert refused.value.response.status_code == 401
            assert refused.value.response.headers["WWW-Authenticate"].startswith("Basic")
            assert "wrong_key" in here.kinds()


@pytest.mark.parametrize("offered", [None, ["ocpp2.0.1"]])
async def test_a_box_that_does_not_speak_ocpp_16_is_closed_after_the_handshake(tmp_path, offered):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1", subprotocols=offered)
        await asyncio.wait_for(box.socket.wait_closed(), 5)
        assert box.socket.close_code == 1002
        assert "subprotocol" in here.kinds()
        assert here.rows[0]["online"] == 0


async def test_what_is_no_websocket_gets_one_line(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(b"\x16\x03\x01 this is TLS, or worse\r\n\r\n")
            await writer.drain()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert [n.kind for n in here.said] == ["no_websocket"]
        async with peer(here):
            assert here.rows[0]["online"] == 1


async def test_the_newest_of_two_sockets_wins_and_the_older_one_is_closed(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as old:
        transaction = (await old.start())["transactionId"]
        await here.until(lambda: here.rows[0]["transaction"] == transaction)
        old.replies["SetChargingProfile"] = lambda _: None  # falls silent
        seq = here.order({0: 16})
        await here.until(lambda: len(old.asked("SetChargingProfile")) == 2)
        async with peer(here, booted=False) as new:
            await here.until(lambda: here.rows[0]["online"] == 0)
            await new.boot()
            await asyncio.wait_for(old.socket.wait_closed(), 5)
            assert await here.answered(seq) == Answer.UNKNOWN
            assert "replaced" in here.kinds()
            assert here.rows[0]["online"] == 1
            assert here.rows[0]["transaction"] == transaction
            seq = here.order({0: 10})
            assert await here.answered(seq) == Answer.ACCEPTED
            assert new.asked("SetChargingProfile")


def test_a_link_without_end_is_found_out_by_its_pings(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1"), ping_s=5.0) as here, peer(here) as box:
            box.socket.transport.pause_reading()  # no FIN, no pong: the cable is cut
            await here.until(lambda: here.rows[0]["online"] == 0, timeout_s=30)
            assert "silent" in here.kinds()
            box.socket.transport.resume_reading()

    run(main(), speed=10)


def test_a_late_answer_is_dropped_and_not_taken_for_another(tmp_path):
    async def main():
        async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
            await box.start()
            await here.until(lambda: here.rows[0]["transaction"] > 0)

            async def late(_):
                await asyncio.sleep(15)
                return {"status": "Accepted"}

            box.replies["SetChargingProfile"] = late
            seq = here.order({0: 16})
            assert await here.answered(seq) == Answer.UNKNOWN
            box.replies["SetChargingProfile"] = lambda _: None
            second = here.order({0: 20})
            await here.until(lambda: "late_answer" in here.kinds(), timeout_s=30)
            assert here.rows[0]["answered_seq"] == seq
            assert await here.answered(second) == Answer.UNKNOWN

    run(main(), speed=10)


async def test_answers_nobody_asked_for_are_dropped(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.raw('[3,"edge-999999",{"status":"Accepted"}]')
        await box.raw('[4,"edge-999999","InternalError","",{}]')
        assert "currentTime" in await box.call("Heartbeat", {})
        assert "late_answer" in here.kinds()


@pytest.mark.parametrize(
    "answer", [{}, {"status": "accepted"}, {"status": 1}, {"status": "Accepted", "x": 1}]
)
async def test_an_answer_against_its_schema_says_nothing(tmp_path, answer):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        await box.start()
        await here.until(lambda: here.rows[0]["transaction"] > 0)
        box.replies["SetChargingProfile"] = answer
        assert await here.answered(here.order({0: 16})) == Answer.UNKNOWN
        assert "bad_answer" in here.kinds()


async def test_readings_of_garbage_and_of_unknown_connectors_are_named_and_change_nothing(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        garbage = {"value": "NaN", "measurand": "Current.Import"}
        assert await box.meter(garbage) == {}
        assert await box.meter({"value": "6", "measurand": "Current.Import"}, connector=7) == {}
        assert await box.status("Charging", connector=-3) == {}
        assert list(here.rows[0]["current_ma"]) == [UNKNOWN] * 3
        assert {"reading_1", "connector_7"} <= here.kinds()


async def test_a_box_whose_set_up_answers_are_nonsense_is_still_online(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        box = await dial(here.port, "CP-1")
        box.utc = here.clock.utc
        for action in ("GetConfiguration", "ClearChargingProfile", "SetChargingProfile", "TriggerMessage"):
            box.replies[action] = "InternalError"
        box.replies["GetConfiguration"] = {"configurationKey": [{"key": 5}, 7, {"readonly": True}]}
        await box.boot()
        await here.until(lambda: "default_refused" in here.kinds())
        assert here.rows[0]["online"] == 1
        assert here.rows[0]["default_ma"] == UNKNOWN
        await box.close()


async def test_a_swarm_of_sockets_with_one_identity_ends_with_the_last(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here:
        boxes = [await dial(here.port, "CP-1") for _ in range(20)]
        await boxes[-1].boot()
        for box in boxes[:-1]:
            await asyncio.wait_for(box.socket.wait_closed(), 5)
        assert here.rows[0]["online"] == 1
        await boxes[-1].close()


async def test_a_socket_that_never_speaks_is_given_up_on_by_nobody_else(tmp_path):
    async with world(tmp_path, site_of("CP-1", "CP-2")) as here:
        url = f"ws://127.0.0.1:{here.port}/CP-1"
        async with connect(url, subprotocols=["ocpp1.6"], proxy=None), peer(here, "CP-2"):
            assert here.rows[1]["online"] == 1
            assert here.rows[0]["online"] == 0


def test_a_kind_of_notice_is_written_once_a_minute_and_the_others_are_counted(capsys):
    now = [0.0]
    said = []
    notices = Notices(lambda: now[0], said.append)
    for _ in range(5):
        notices.say("CP-1", "flood", "CP-1 floods.")
    notices.say("CP-2", "flood", "CP-2 floods.")
    now[0] = 61.0
    notices.say("CP-1", "flood", "CP-1 floods.")
    assert [n.where for n in said] == ["CP-1", "CP-2", "CP-1"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "CP-1 floods" in line]
    assert len(lines) == 2
    assert "4 more like this" in lines[1]


def test_notices_of_ever_new_places_do_not_fill_the_memory():
    notices = Notices(lambda: 0.0)
    for i in range(5000):
        notices.say(f"peer {i}", "kind", "sentence")
    assert len(notices._last) <= 2000


def test_every_frame_that_is_written_can_be_read_back():
    for frame in (
        frames.Call("a", "Reset", {"type": "Soft"}),
        frames.Result("a", {}),
        frames.Error("a", "b", "c"),
    ):
        assert frames.parse(frames.dump(frame)) == frame
