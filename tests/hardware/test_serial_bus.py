"""Modbus RTU on pseudo-terminals: several devices on one port, and whatever a bus does to them."""

import asyncio
import os
import random
import struct
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from controller.defaults import NEVER
from controller.image import blank_image
from controller.topology import compile_site
from hardware.clock import Clock
from hardware.digital_input import read_contact
from hardware.links import DigitalInput, MeterLink, StorageLink
from hardware.modbus import MeterPoll, ModbusMeter
from hardware.modbus_line import DeviceSilent, Lines
from hardware.modbus_link import ModbusLink
from hardware.registers import Reading, load_map, map_names
from hardware.storage import StorageDevice
from tests.hardware.serial_bench import framed, registers, wire
from tests.hardware.test_modbus import SITE

SHEET = load_map("generic_milliamps")


def link(port, device=1, sheet="generic_milliamps", **more):
    terms = {"baud": 115200, "timeout_ms": 200, "poll_ms": 50} | more
    return MeterLink(kind="modbus-rtu", map=sheet, serial_port=str(port), device_id=device, **terms)


def meter(end, device=1, lines=None, **more):
    return ModbusMeter(f"m{device}", link(end.port, device, **more), lines)


def says(amps, device=1):
    """The frame of a meter that measures so many A on each phase."""
    return registers(device, SHEET.encode(Reading((amps * 1000,) * 3)), SHEET.function)


def amps_of(frame):
    """Every device says its own number."""
    return says(frame[0], frame[0])


async def fault_of(meter):
    with pytest.raises(DeviceSilent) as caught:
        await meter.read()
    return caught.value.kind, caught.value.sentence


@pytest.mark.parametrize("name", map_names())
async def test_every_register_map_reads_over_rtu_what_it_reads_over_tcp(tmp_path, name):
    sheet = load_map(name)
    reading = Reading((12_300, -4_500, 800), (230_000,) * 3, (2_829_000, -1_035_000, 184_000))
    words = sheet.encode(reading)

    def reply(frame):
        device, function, start, count = struct.unpack(">BBHH", frame[:6])
        assert (device, function, start, count) == (7, sheet.function, sheet.start, sheet.count)
        return registers(7, words, function)

    async with wire(tmp_path, reply) as end:
        assert await meter(end, 7, sheet=name).read() == sheet.decode(words)


async def test_a_question_is_the_frame_that_the_standard_prints(tmp_path):
    """Read holding registers 0x6B to 0x6D of device 17, with the checksum of the standard's example."""
    async with wire(tmp_path, lambda _: bytes.fromhex("1103 06 AE41 5652 4340 49AD")) as end:
        to = ModbusLink(link(end.port, 17))
        assert await to.words(3, 0x6B, 3) == [0xAE41, 0x5652, 0x4340]
        to.close()
    assert [frame.hex() for _, frame in end.heard] == ["1103006b00037687"]


async def test_the_devices_of_a_port_are_asked_one_after_the_other_with_silence_between(tmp_path):
    answers = []

    def slowly(frame):
        answers.append(asyncio.get_running_loop().time() + 0.02)
        return [(0.01, amps_of(frame)[:6]), (0.01, amps_of(frame)[6:])]

    lines = Lines()
    async with wire(tmp_path, slowly) as end:
        meters = [meter(end, device, lines, baud=9600) for device in (1, 2, 3)]
        for _ in range(3):
            readings = await asyncio.gather(*(one.read() for one in meters))
            assert [reading.current_ma[0] for reading in readings] == [1000, 2000, 3000]
        for one in meters:
            one.close()
    asked = [at_s for at_s, _ in end.heard]
    assert len(asked) == 9
    silence_s = 3.5 * 10 / 9600
    assert all(later >= ended + silence_s for ended, later in zip(answers, asked[1:], strict=False))


async def test_a_missing_device_costs_the_others_its_time_out_and_no_more(tmp_path):
    lines = Lines()

    def reply(frame):
        return amps_of(frame) if frame[0] != 2 else b""

    async with wire(tmp_path, reply) as end:
        image, clock = blank_image(compile_site(SITE)), Clock(asyncio.get_running_loop().time)
        there, missing = (
            MeterPoll(
                meter(end, device, lines, timeout_ms=600),
                row,
                image.meters,
                compile_site(SITE),
                clock,
                lambda *_: None,
            )
            for row, device in enumerate((1, 2))
        )
        tasks = [asyncio.create_task(poll.run()) for poll in (there, missing)]
        await asyncio.sleep(4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    asked = [at_s for at_s, frame in end.heard if frame[0] == 1]
    gaps = sorted(later - earlier for earlier, later in pairwise(asked))
    assert gaps[-1] < 0.6 + 0.5  # its time-out, a poll, and a slow machine
    assert len(asked) > 10
    assert 2 <= sum(frame[0] == 2 for _, frame in end.heard) <= 4  # less and less often
    assert image.meters[1]["at_ms"] == NEVER


async def test_the_age_of_a_reading_counts_from_when_its_question_left(tmp_path):
    lines = Lines()
    async with wire(tmp_path, lambda frame: [(0.1, amps_of(frame))] if frame[0] == 1 else b"") as end:
        image, clock = blank_image(compile_site(SITE)), Clock(asyncio.get_running_loop().time)
        first, missing = meter(end, 1, lines), meter(end, 2, lines, timeout_ms=600)
        poll = MeterPoll(first, 0, image.meters, compile_site(SITE), clock, lambda *_: None)
        blocked = asyncio.create_task(missing.read())
        await asyncio.sleep(0.05)
        await poll.once()
        age_ms = clock.now_ms() - int(image.meters[0]["at_ms"])
        assert 100 <= age_ms < 400  # its own answer took 100 ms, the queue before it 550 ms
        with pytest.raises(DeviceSilent):
            await blocked


async def test_an_answer_that_comes_late_is_not_taken_for_one_to_the_next_question(tmp_path):
    values = iter((10, 20, 30))

    def reply(_frame):
        value = next(values)
        return [(0.3 if value == 10 else 0.15, says(value))]

    async with wire(tmp_path, reply) as end:
        slow = meter(end)
        assert (await fault_of(slow))[0] == "silent"
        assert (await slow.read()).current_ma[0] == 20_000
        assert (await slow.read()).current_ma[0] == 30_000


async def test_a_late_answer_of_one_device_is_not_taken_for_that_of_another(tmp_path):
    def reply(frame):
        return [(0.25, amps_of(frame))] if frame[0] == 1 else [(0.1, amps_of(frame))]

    lines = Lines()
    async with wire(tmp_path, reply) as end:
        late, other = meter(end, 1, lines), meter(end, 2, lines)
        assert (await fault_of(late))[0] == "silent"
        assert (await other.read()).current_ma[0] == 2000


GOOD = says(16)
NOISES = {
    "noise before the first character": b"\x00\xff" + GOOD,
    "a piece of a frame before it": GOOD[:7] + GOOD,
    "an answer of another device before it": says(99, 5) + GOOD,
    "noise behind it": GOOD + b"\xff\x00\xff",
}


@pytest.mark.parametrize("answer", NOISES.values(), ids=NOISES)
async def test_noise_around_an_answer_does_no_harm(tmp_path, answer):
    async with wire(tmp_path, lambda _: answer) as end:
        assert (await meter(end).read()).current_ma[0] == 16_000


async def test_an_adapter_that_echoes_does_no_harm(tmp_path):
    async with wire(tmp_path, lambda frame: [(0, frame[:3]), (0.01, frame[3:]), (0.01, GOOD)]) as end:
        assert (await meter(end).read()).current_ma[0] == 16_000


GARBAGE = {
    "a wrong checksum": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "a flipped bit": GOOD[:5] + bytes([GOOD[5] ^ 8]) + GOOD[6:],
    "too few bytes": GOOD[:-4],
    "another function": registers(1, [1] * 6, 4 if SHEET.function == 3 else 3),
    "a flood": b"\xff" * 200,
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_no_answer_and_the_next_is_heard(tmp_path, answer):
    async with wire(tmp_path, lambda _: answer) as end:
        one = meter(end)
        kind, sentence = await fault_of(one)
        assert kind == "noise"
        assert "115200 8N1" in sentence
        end.reply = lambda _: GOOD
        assert (await one.read()).current_ma[0] == 16_000


async def test_a_fifth_of_broken_checksums_keeps_a_meter_fresh(tmp_path):
    dice = random.Random(15)
    image, clock = blank_image(compile_site(SITE)), Clock(asyncio.get_running_loop().time)
    async with wire(tmp_path, lambda _: GOOD[:-1] + bytes([GOOD[-1] ^ (dice.random() < 0.2)])) as end:
        poll = MeterPoll(meter(end), 0, image.meters, compile_site(SITE), clock, lambda *_: None)
        polling = asyncio.create_task(poll.run())
        ages_ms = []
        for _ in range(30):
            await asyncio.sleep(0.1)
            ages_ms.append(clock.now_ms() - int(image.meters[0]["at_ms"]))
        polling.cancel()
        await asyncio.wait([polling])
    assert max(ages_ms) < 3000  # nothing is held back for want of readings
    assert sum(age < 500 for age in ages_ms) > 15


async def test_more_noise_than_a_frame_can_hold_ends_in_time_too(tmp_path):
    async with wire(tmp_path, lambda _: b"\xff" * 3000) as end:
        one = meter(end)
        assert (await fault_of(one))[0] in ("silent", "noise")
        end.reply = lambda _: GOOD
        assert (await one.read()).current_ma[0] == 16_000


async def test_too_many_words_are_garbage_like_on_tcp(tmp_path):
    async with wire(tmp_path, lambda _: registers(1, [0] * 8, SHEET.function)) as end:
        assert await fault_of(meter(end)) == ("garbage", "8 words instead of 6")


@pytest.mark.parametrize(("code", "words"), [(2, "no such address"), (6, "busy"), (99, "reason of its own")])
async def test_an_exception_is_an_answer_with_its_number(tmp_path, code, words):
    async with wire(tmp_path, lambda frame: framed([frame[0], frame[1] | 0x80, code])) as end:
        kind, sentence = await fault_of(meter(end))
    assert kind == f"exception {code}"
    assert words in sentence


async def test_a_pulled_adapter_is_said_and_found_again_when_it_is_back(tmp_path):
    async with wire(tmp_path, amps_of) as end:
        one = meter(end)
        assert (await one.read()).current_ma[0] == 1000
        end.pull()
        kind, sentence = await fault_of(one)
        assert kind == "no port"
        assert sentence == f"there is no port {end.port}: is the adapter plugged in?"
        end.plug()
        assert (await one.read()).current_ma[0] == 1000


async def test_an_adapter_pulled_in_the_middle_of_a_question_ends_it_in_time(tmp_path):
    async with wire(tmp_path, lambda _: b"") as end:
        one = meter(end)
        asking = asyncio.create_task(fault_of(one))
        await asyncio.sleep(0.05)
        end.pull()
        kind, sentence = await asyncio.wait_for(asking, 1)
        end.plug()
    assert kind == "no port"
    assert sentence == f"{end.port} went away: was the adapter pulled?"


async def test_a_poll_says_once_that_its_port_is_gone_and_once_that_it_is_back(tmp_path):
    image, clock = blank_image(compile_site(SITE)), Clock(asyncio.get_running_loop().time)
    async with wire(tmp_path, amps_of) as end:
        poll = MeterPoll(meter(end), 0, image.meters, compile_site(SITE), clock, lambda *_: None)
        with structlog.testing.capture_logs() as lines:
            await poll.once()
            end.pull()
            await asyncio.sleep(0.01)  # nobody is asked in this moment
            for _ in range(4):
                await poll.once()
            end.plug()
            for _ in range(4):
                await poll.once()
    assert [line["event"] for line in lines] == [
        f"Meter m1: there is no port {end.port}: is the adapter plugged in?.",
        "Meter m1 answers again.",
    ]


async def test_a_port_that_cannot_be_used_is_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert await fault_of(ModbusMeter("m", link(file))) == ("no port", f"{file} is no serial port")
    null = "/dev/null"
    kind, sentence = await fault_of(ModbusMeter("m", link(null)))
    assert kind == "no port"
    assert sentence.startswith("/dev/null cannot be ")


async def test_a_port_of_somebody_else_is_one_sentence(tmp_path):
    async with wire(tmp_path, amps_of) as end:
        mine = meter(end)
        await mine.read()
        kind, sentence = await fault_of(meter(end))  # another box
        assert kind == "no port"
        assert sentence == f"{end.port} cannot be opened; another program may use it"
        mine.close()


@contextmanager
def nobody(folder, device):
    """This process as a user who may reach the folder and not use the device."""
    root = os.geteuid() == 0
    folder.chmod(0o755)
    device.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        device.chmod(0o600)


async def test_a_port_that_this_user_may_not_use_is_one_sentence():
    with tempfile.TemporaryDirectory() as name:
        async with wire(Path(name), amps_of) as end:
            with nobody(Path(name), Path(os.ttyname(end.theirs))):
                kind, sentence = await fault_of(meter(end))
    assert kind == "no port"
    assert sentence == f"this user may not use {end.port}; add it to the group of that file (mostly dialout)"


async def test_two_names_of_a_port_are_one_bus(tmp_path):
    lines = Lines()
    async with wire(tmp_path, amps_of) as end:
        other = tmp_path / "by-id"
        other.symlink_to(end.port)
        readings = await asyncio.gather(
            meter(end, 1, lines).read(), ModbusMeter("m", link(other, 2), lines).read()
        )
        assert [reading.current_ma[0] for reading in readings] == [1000, 2000]


@pytest.mark.parametrize(("parity", "settings"), [("even", "8E1"), ("odd", "8O1")])
async def test_a_pseudo_terminal_is_used_without_the_parity_that_it_cannot_have(tmp_path, parity, settings):
    async with wire(tmp_path, amps_of) as end:
        one = meter(end, parity=parity)
        assert (await one.read()).current_ma[0] == 1000
        end.reply = lambda _: b""
        assert settings in (await fault_of(one))[1]


# -- storage and contacts ------------------------------------------------------------------------------


async def test_a_battery_is_read_and_told_over_rtu(tmp_path):
    held = dict.fromkeys(range(200), 0)

    def reply(frame):
        device, function, start, count = struct.unpack(">BBHH", frame[:6])
        if function == 3:
            return registers(device, [held[start + n] for n in range(count)])
        held.update(enumerate(struct.unpack(f">{count}H", frame[7:-2]), start=start))
        return framed(frame[:6])

    async with wire(tmp_path, reply) as end:
        to = StorageLink(
            kind="modbus-rtu", map="generic_battery", serial_port=str(end.port), timeout_ms=300, device_id=9
        )
        device = StorageDevice(to, 3)
        held.update({6: 523})
        assert (await device.read()).soc == 523
        await device.tell(-3000, 60)
        assert [held[at] for at in (100, 101, 102)] == [0xFFFF, 0x10000 - 3000, 60]
        device.close()


async def test_a_contact_is_read_over_rtu(tmp_path):
    async with wire(tmp_path, lambda frame: framed([frame[0], frame[1], 1, 1])) as end:
        to = DigitalInput(
            kind="modbus-rtu", serial_port=str(end.port), grid="main", address=3, limit_a=16, timeout_ms=300
        )
        contact = ModbusLink(to)
        assert await read_contact(contact, to) is True
        contact.close()
    assert end.heard[0][1][:6] == bytes([1, 2, 0, 3, 0, 1])
