"""Emulated meters, read by a client that the emulator knows nothing of."""

import asyncio
import struct

import pytest
from pymodbus.client import AsyncModbusTcpClient

from controller.topology import compile_site
from hardware.clock import Clock, run
from hardware.registers import load_map
from scenarios.emulate.emulation import Emulation
from tests.scenarios.central import Central
from tests.scenarios.emulated import START, car, free_port, registers, site, stage
from twin.conditions import Conditions
from twin.world import World

STEP = {"kind": "load_step", "grid": "main", "at_s": 10, "current_a": [12.345, 20, 3.5]}


def link_of(world):
    return world.site.meter["main"].link


async def ask(world, **question):
    """What the meter of a world answers on Modbus TCP."""
    client = AsyncModbusTcpClient("127.0.0.1", port=link_of(world)["port"], timeout=0.3, retries=0)
    await client.connect()
    return await registers(client, **question)


def floats(registers):
    return list(struct.unpack(f">{len(registers) // 2}f", struct.pack(f">{len(registers)}H", *registers)))


async def test_a_meter_speaks_the_sheet_of_an_sdm630():
    async with stage(conditions=Conditions(fault=[STEP], meters={"delay_s": 0})) as played:
        await played.to(20)
        block = floats(await ask(played.world))
        volts, amps, watts = (block[i : i + 3] for i in (0, 3, 6))
        assert volts == [230, 230, 230]
        assert amps == pytest.approx([12.345, 20, 3.5])
        assert watts == pytest.approx([2839.35, 4600, 805])


async def test_a_meter_sees_cars_on_the_phases_on_which_they_hang():
    async with stage(car(phases=1), conditions=Conditions(meters={"delay_s": 0})) as played:
        await played.to(60)
        assert floats(await ask(played.world, start=6, count=6)) == [0, 32, 0]  # the deck's L1 is L2


async def test_a_meter_is_as_slow_as_its_conditions_say():
    slow = {"delay_s": 3, "poll_s": 5}
    async with stage(conditions=Conditions(fault=[STEP], meters=slow)) as played:
        seen = []
        for at_s in (9, 12, 13, 15):
            await played.to(at_s)
            seen.append(round(floats(await ask(played.world, start=8, count=2))[0]))
        assert seen == [0, 0, 20, 20]  # sampled at 10 s


async def test_a_meter_counts_its_import():
    async with stage(conditions=Conditions(fault=[STEP], meters={"delay_s": 0})) as played:
        await played.to(3610)
        (kwh,) = floats(await ask(played.world, start=0x48, count=2))
        assert kwh == pytest.approx(0.230 * (12.345 + 20 + 3.5), rel=0.01)


FAULTS = [("meter_nan", [float("nan")] * 3), ("meter_frozen", [0, 0, 0])]


@pytest.mark.parametrize(("kind", "amps"), FAULTS)
async def test_a_meter_that_does_not_know_or_stands_still(kind, amps):
    fault = {"kind": kind, "meter": "main", "at_s": 5}
    async with stage(conditions=Conditions(fault=[STEP, fault])) as played:
        await played.to(30)
        assert floats(await ask(played.world, start=6, count=6)) == pytest.approx(amps, nan_ok=True)


async def test_a_silent_meter_takes_the_call_and_says_nothing():
    fault = {"kind": "meter_silent", "meter": "main", "at_s": 5, "for_s": 10}
    async with stage(conditions=Conditions(fault=[fault])) as played:
        await played.to(6)
        with pytest.raises(Exception, match="No response"):
            await ask(played.world)
        await played.to(16)
        assert len(await ask(played.world)) == 18


WRONG = [
    ({"function": 3}, 1),
    ({"start": 100, "count": 2}, 2),
    ({"start": 0, "count": 60}, 2),
    ({"device": 9}, 11),
]


@pytest.mark.parametrize(("question", "exception"), WRONG)
async def test_a_wrong_question_gets_the_exception_of_the_protocol(question, exception):
    async with stage() as played:
        await played.to(2)
        assert await ask(played.world, **question) == exception


async def test_a_broken_frame_ends_only_its_own_connection():
    async with stage() as played:
        await played.to(2)
        reader, writer = await asyncio.open_connection("127.0.0.1", link_of(played.world)["port"])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert len(await ask(played.world)) == 18


def test_left_alone_the_world_keeps_up_with_its_clock():
    assert run(_left_alone(), speed=20) == pytest.approx((20_000, 32_000), rel=0.05)


async def _left_alone():
    """Time and draw of a world 20 s after its clock began to run."""
    drawn = site(free_port())
    world = World(drawn, compile_site(drawn), Conditions(), [car(at_s=1, card_after_ms=0)], 1, START)
    async with Central().listening() as central:
        emulation = Emulation(world, central.url)
        await emulation.open()
        running = asyncio.create_task(emulation.run(Clock(asyncio.get_running_loop().time)))
        await asyncio.sleep(20)
        running.cancel()
        await emulation.close()
    return world.now_ms, int(world.outlets[0]["draw_ma"][0])


def test_the_sheet_under_test_is_a_real_one():
    assert "SDM630" in load_map("eastron_sdm630").title
