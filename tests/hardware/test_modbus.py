"""Meters that answer badly, on real sockets: their row gets older, one line says why, the loop goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from controller.defaults import NEVER, UNKNOWN
from controller.image import Image, blank_image
from controller.site import build
from controller.topology import Topology, compile_site
from hardware.clock import Clock, run
from hardware.links import MeterLink
from hardware.modbus import MeterPoll, ModbusMeter
from hardware.registers import Reading, load_map

SHEET = load_map("eastron_sdm630")
SITE = build(
    {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {
            "main": {"id": 0, "max_current_a": 100},
            "hall": {"id": 1, "fed_by": "main", "rotation": "L2 L3 L1", "max_current_a": [63, 40, 50]},
        },
        "meter": {
            "main": {"grid": "main", "role": "guard"},
            "hall": {"grid": "hall", "role": "guard"},
        },
    },
    "test",
)


class Bench:
    """The image of a site, a poll of one of its meters, and what its callback was told."""

    def __init__(self, port: int, meter: str = "main", **link: Any) -> None:
        self.topology: Topology = compile_site(SITE)
        self.image: Image = blank_image(self.topology)
        self.clock = Clock(asyncio.get_running_loop().time)
        self.heard: list[tuple[int, bool]] = []
        self.link = MeterLink(
            kind="modbus-tcp",
            map="eastron_sdm630",
            host="127.0.0.1",
            port=port,
            **({"timeout_ms": 500} | link),
        )
        row = self.topology.meter_names.index(meter)
        self.meter = ModbusMeter(meter, self.link)
        self.poll = MeterPoll(
            self.meter,
            row,
            self.image.meters,
            self.topology,
            self.clock,
            lambda *told: self.heard.append(told),
        )
        self.row = self.image.meters[row]

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poll.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, true: Callable[[], bool], within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while not true():  # noqa: ASYNC110 (a row of a table wakes nobody)
                await asyncio.sleep(0.05)


def listening_port(server: ModbusTcpServer) -> int:
    listener: Any = server.transport
    return int(listener.sockets[0].getsockname()[1])


@asynccontextmanager
async def instrument(words: list[int], action: Any = None) -> AsyncIterator[int]:
    """A meter made of pymodbus's own server."""
    block = [SimData(SHEET.start, values=list(words), datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(SimDevice(1, simdata=block, action=action), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        yield listening_port(server)
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


Reply = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(reply: Reply) -> AsyncIterator[int]:
    """A peer that does with each request what it likes."""
    peers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        peers.add(task)
        try:
            while True:
                await reply(await reader.readexactly(12), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in peers:
            task.cancel()
        if peers:
            await asyncio.wait(peers)


def answer(request: bytes, amperes: float, transaction_shift: int = 0) -> bytes:
    words = SHEET.encode(Reading((round(amperes * 1000),) * 3))
    body = b"".join(word.to_bytes(2, "big") for word in words)
    transaction = (int.from_bytes(request[:2], "big") + transaction_shift) % 65536
    head = transaction.to_bytes(2, "big") + b"\0\0" + (len(body) + 3).to_bytes(2, "big")
    return head + request[6:8] + bytes([len(body)]) + body


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs() as captured:
        yield captured


def faults(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "warning"]


def test_a_poll_keeps_the_row_at_what_the_meter_says_with_the_time_at_which_it_was_asked(lines: Any) -> None:
    async def story() -> None:
        async with instrument(SHEET.encode(Reading((10_000, -32_500, 750)))) as port:
            bench = Bench(port, poll_ms=250)
            assert bench.row["at_ms"] == NEVER
            async with bench.polling():
                await bench.until(lambda: len(bench.heard) >= 8)
                age_ms = bench.clock.now_ms() - bench.row["at_ms"]
            assert bench.row["current_ma"].tolist() == [10_000, -32_500, 750]
            assert 0 <= age_ms < 1_000
            assert set(bench.heard) == {(0, False)}

    run(story(), speed=5)
    assert lines == []


def test_a_reading_above_the_fuse_of_its_own_phase_is_told_at_once() -> None:
    """The hall hangs on its feeder as L2 L3 L1, its fuses are 63, 40 and 50 A on its own phases."""

    async def story(current_ma: tuple[int, int, int]) -> bool:
        async with instrument(SHEET.encode(Reading(current_ma))) as port:
            bench = Bench(port, "hall")
            await bench.poll.once()
            bench.meter.close()
            return bench.heard == [(1, True)]

    assert not run(story((63_000, 40_000, 50_000)))
    assert run(story((63_001, 0, 0)))
    assert run(story((0, 40_001, 0)))
    assert run(story((0, 0, 50_001)))


def test_nan_on_a_phase_leaves_that_phase_unknown_and_is_said_once(lines: Any) -> None:
    async def story() -> None:
        async with instrument(SHEET.encode(Reading((10_000, UNKNOWN, 750)))) as port:
            bench = Bench(port)
            for _ in range(5):
                await bench.poll.once()
            bench.meter.close()
            assert bench.row["current_ma"].tolist() == [10_000, UNKNOWN, 750]
            assert bench.row["at_ms"] > 0

    run(story())
    assert faults(lines) == ["Meter main: it does not know its current on L2."]


def test_an_exception_lets_the_row_age_keeps_the_connection_and_is_said_once(lines: Any) -> None:
    answers = iter([ExcCodes.DEVICE_BUSY] * 5)

    async def busy(*_: Any) -> Any:
        return next(answers, None)

    async def story() -> None:
        async with instrument(SHEET.encode(Reading((1_000, 2_000, 3_000))), busy) as port:
            bench = Bench(port)
            for _ in range(5):
                await bench.poll.once()
            assert bench.row["at_ms"] == NEVER
            for _ in range(3):
                await bench.poll.once()
            bench.meter.close()
            assert bench.row["current_ma"].tolist() == [1_000, 2_000, 3_000]

    run(story())
    assert faults(lines) == ["Meter main: exception 6: it is busy."]
    assert lines[-1]["event"] == "Meter main answers again."


def test_a_silent_meter_is_said_once_and_polled_on_until_it_answers(lines: Any) -> None:
    mute = True

    async def reply(request: bytes, writer: asyncio.StreamWriter) -> None:
        if not mute:
            writer.write(answer(request, 7))

    async def story() -> None:
        nonlocal mute
        async with raw(reply) as port:
            bench = Bench(port)
            async with bench.polling():
                await asyncio.sleep(20)
                assert bench.row["at_ms"] == NEVER
                mute = False
                await bench.until(lambda: len(bench.heard) >= 3, within_s=15)
            assert bench.row["current_ma"].tolist() == [7_000] * 3

    run(story(), speed=20)
    assert len(faults(lines)) == 1
    assert "no answer from 127.0.0.1:" in faults(lines)[0]


def test_answers_that_come_a_minute_late_are_thrown_away(lines: Any) -> None:
    """Each answer carries its own current: if a late one were taken for a new one, it would show."""
    delay_s = 60.0
    sent: list[float] = []
    late: set[asyncio.Task[None]] = set()

    async def deliver(request: bytes, writer: asyncio.StreamWriter, wait_s: float, amperes: float) -> None:
        await asyncio.sleep(wait_s)
        if not writer.is_closing():
            writer.write(answer(request, amperes))

    async def reply(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(200.0 if delay_s else 5.0)
        late.add(asyncio.create_task(deliver(request, writer, delay_s, sent[-1])))

    async def story() -> None:
        nonlocal delay_s
        async with raw(reply) as port:
            bench = Bench(port)
            async with bench.polling():
                await asyncio.sleep(55)
                delay_s = 0.0
                await bench.until(lambda: len(bench.heard) >= 1, within_s=15)
                for _ in range(200):
                    assert bench.row["current_ma"].tolist() == [5_000] * 3
                    await asyncio.sleep(0.3)
            for task in late:
                task.cancel()

    run(story(), speed=30)
    assert sent.count(200.0) >= 3
    assert len(faults(lines)) == 1


def test_an_answer_to_another_question_is_no_reading(lines: Any) -> None:
    shift = 1

    async def reply(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(request, 9, shift))

    async def story() -> None:
        nonlocal shift
        async with raw(reply) as port:
            bench = Bench(port)
            for wrong in (1, 7, 77):
                shift = wrong
                await bench.poll.once()
            assert bench.row["at_ms"] == NEVER
            shift = 0
            await bench.poll.once()
            bench.meter.close()
            assert bench.row["current_ma"].tolist() == [9_000] * 3

    run(story(), speed=10)
    assert len(faults(lines)) <= 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40,
        b"\0",
        b"\0\1\0\0\0\3\1\4\2",
        b"\0\1\0\0\0\5\1\4\2\0\0",
        b"\xff" * 5000,
    ],
    ids=["http", "one byte", "cut off", "too few words", "noise"],
)
def test_garbage_lets_the_row_age_and_the_loop_go_on(garbage: bytes, lines: Any) -> None:
    broken = True

    async def reply(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage if broken else answer(request, 3))

    async def story() -> None:
        nonlocal broken
        async with raw(reply) as port:
            bench = Bench(port)
            for _ in range(4):
                await bench.poll.once()
            assert bench.row["at_ms"] == NEVER
            broken = False
            await bench.poll.once()
            bench.meter.close()
            assert bench.row["current_ma"].tolist() == [3_000] * 3

    run(story(), speed=20)
    assert 1 <= len(faults(lines)) <= 2


def test_a_meter_that_is_gone_is_reconnected_within_ten_seconds_of_its_return(lines: Any) -> None:
    async def story() -> None:
        words = SHEET.encode(Reading((1_000, 2_000, 3_000)))
        async with instrument(words) as port:
            bench = Bench(port)
            task = asyncio.create_task(bench.poll.run())
            await bench.until(lambda: len(bench.heard) >= 3)
        await asyncio.sleep(60)
        lost_at_ms = int(bench.row["at_ms"])
        block = [SimData(SHEET.start, values=words, datatype=DataType.REGISTERS)]
        server = ModbusTcpServer(SimDevice(1, simdata=block), address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        await bench.until(lambda: bench.row["at_ms"] > lost_at_ms, within_s=11)
        await bench.until(lambda: lines[-1]["event"] == "Meter main answers again.", within_s=5)
        task.cancel()
        await asyncio.wait([task])
        await server.shutdown()  # type: ignore[no-untyped-call]

    run(story(), speed=10)
    assert len(faults(lines)) <= 2
