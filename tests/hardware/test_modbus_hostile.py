"""What the Modbus server of the box refuses, and what it survives, on real sockets."""

import asyncio
import socket
import threading
import time
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.site import SiteError, build
from controller.topology import compile_site
from hardware import modbus_server
from hardware.links import CannotStart, ModbusListen, listening
from hardware.offered import Sheet
from hardware.points import Glance
from tests.hardware.modbus_bench import (
    DRAWN,
    EXPORT,
    LIMIT,
    NONE,
    server,
)

# -- what it refuses ------------------------------------------------------------------------------------

WRONG = [
    ("read_holding_registers", (481, 2), {}, 2, "reads 2 registers from 481, but the map ends at 481"),
    ("read_holding_registers", (60_000, 1), {}, 2, "reads 1 registers from 60000, but the map ends at 481"),
    ("read_input_registers", (0, 1), {}, 1, "asks for function 4; there are 3, 6 and 16"),
    ("read_coils", (0, 1), {}, 1, "asks for function 1; there are 3, 6 and 16"),
    ("write_coil", (0, True), {}, 1, "asks for function 5; there are 3, 6 and 16"),
    ("read_holding_registers", (0, 1), {"device_id": 9}, 11, "asks for device 9, here is 1"),
    ("write_register", (0, 1), {}, 2, "writes 1 registers from 0, but 0 cannot be written"),
    ("write_registers", (LIMIT - 1, [1, 60]), {}, 2, f"2 registers from {LIMIT - 1}, but {LIMIT - 1} c"),
    ("write_registers", (EXPORT + 6, [1, 1]), {}, 2, f"but {EXPORT + 7} cannot be written"),
    ("write_register", (LIMIT, 0), {}, 3, "limit_ttl is 0: a limit lives 1 to 65534 s"),
    ("write_register", (LIMIT, NONE), {}, 3, "limit_ttl is 65535: a limit lives 1 to 65534 s"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "arguments", "more", "code", "said"), WRONG)
async def test_what_cannot_be_done_gets_its_exception_and_one_line(
    tmp_path, call, arguments, more, code, said
):
    async with server(tmp_path, writable=True) as box, box.client() as client:
        first, second = arguments
        named = {"count": second} if call.startswith("read") else {}
        plain = () if call.startswith("read") else (second,)
        for _ in range(3):
            answer = await getattr(client, call)(first, *plain, **named, **({"device_id": 1} | more))
            assert answer.exception_code == code
        assert [sentence for sentence in box.sentences() if said in sentence] == box.sentences()
        assert len(box.sentences()) == 1
        assert box.in_force() == {}


async def test_a_server_is_read_only_unless_the_site_file_says_otherwise(tmp_path):
    async with server(tmp_path) as box:
        assert await box.write(LIMIT, 60, NONE, NONE, 160, 160, 160, NONE) == 1
        assert await box.write(LIMIT, 60, single=True) == 1
        assert box.in_force() == {}
        assert await box.read(LIMIT, 7) == [NONE] * 7
        assert await box.value("Depôt", "may_write", "H") == 0
        assert box.sentences() == [
            "127.0.0.1 writes, but this server is read-only (writable = true lets it); it got exception 1."
        ]


async def exchange(port, frame, most=300):
    """What comes back for raw bytes, b"" when the connection is dropped."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frame)
    try:
        return await asyncio.wait_for(reader.read(most), 5)
    finally:
        writer.close()


RAW = [
    (b"\0\1\0\0\0\6\1\3\0\0\0\0", b"\0\1\0\0\0\3\1\x83\3"),  # no register
    (b"\0\1\0\0\0\6\1\3\0\0\0\x7e", b"\0\1\0\0\0\3\1\x83\3"),  # 126 of them
    (b"\0\1\0\0\0\4\1\3\0\0", b"\0\1\0\0\0\3\1\x83\3"),  # half a question
    (b"\0\1\0\0\0\2\1\x2b", b"\0\1\0\0\0\3\1\xab\1"),  # a function without content
    (b"\0\1\0\0\0\x09\1\x10\0\x7a\0\1\4\0\x3c", b"\0\1\0\0\0\3\1\x90\3"),  # says 4 bytes, brings 2
    (b"\0\1\0\0\0\7\1\x10\0\x7a\0\0\0", b"\0\1\0\0\0\3\1\x90\3"),  # writes nothing
    (b"\0\1\0\0\0\3\1\6\0", b"\0\1\0\0\0\3\1\x86\3"),
    (b"\0\1\0\7\0\6\1\3\0\0\0\1", b""),  # another protocol
    (b"\0\1\0\0\0\1\1", None),  # a length that no frame has
    (b"GET / HTTP/1.1\r\n\r\n", b""),
]


@pytest.mark.parametrize(("frame", "answer"), RAW)
async def test_frames_that_no_library_would_send(tmp_path, frame, answer):
    async with server(tmp_path, writable=True) as box:
        if answer is None:
            frame, answer = frame + b"\0" * 20, b""
        assert await exchange(box.port, frame) == answer
        assert await box.read(0) == [1]
        assert len(box.said) == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_whatever_bytes_arrive_the_next_client_is_answered(tmp_path_factory, sent):
    async def story():
        async with server(tmp_path_factory.mktemp("box"), writable=True) as box:
            for piece in sent:
                _, writer = await asyncio.open_connection("127.0.0.1", box.port)
                writer.write(piece)
                writer.close()
            assert await box.read(0) == [1]
            assert "failed" not in {notice.kind for notice in box.said}

    asyncio.run(story())


# -- what it survives -----------------------------------------------------------------------------------


class Flood:
    """Clients that send without end; `reads`: and take what they are answered."""

    def __init__(self, port, frame, *, reads, connections=2):
        self.answered = 0
        self._port, self._frame, self._reads = port, frame, reads
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(connections)]

    def _send(self):
        with closing(socket.create_connection(("127.0.0.1", self._port))) as wire:
            wire.settimeout(0.02)
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    wire.sendall(self._frame * 500)
                if self._reads:
                    with suppress(TimeoutError):
                        self.answered += len(wire.recv(1 << 20))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("frame", [b"\0\1\0\0\0\6\1\3\0\x64\0\x7d", b"\0\1\0\0\0\6\1\6\0\x7a\0\x3c"])
async def test_clients_that_flood_it_hold_up_neither_the_loop_nor_another_client(tmp_path, frame, reads):
    async with server(tmp_path, writable=True) as box:
        box.show()
        await box.write(LIMIT, 60, NONE, NONE, 160, 160, 160, NONE)
        late_s, began = [], time.monotonic()
        async with box.client() as client:
            with Flood(box.port, frame, reads=reads) as flood:
                while time.monotonic() < began + 2:
                    before = time.monotonic()
                    await asyncio.sleep(0.01)
                    late_s.append(time.monotonic() - before - 0.01)
                    assert (await client.read_holding_registers(0, count=1)).registers == [1]
        assert sorted(late_s)[len(late_s) * 9 // 10] < 0.05
        size = 9 + 250 if frame[7] == 3 else 12
        assert flood.answered <= 2 * 60 * (time.monotonic() - began) * size  # 50 a second and client


async def test_a_client_that_stops_in_the_middle_loses_its_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(modbus_server, "STALL_S", 0.1)
    async with server(tmp_path) as box:
        assert await exchange(box.port, b"\0\1\0\0\0\6\1") == b""


async def test_a_connection_on_which_nothing_is_asked_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(modbus_server, "IDLE_S", 0.1)
    async with server(tmp_path) as box:
        assert await exchange(box.port, b"") == b""


async def test_one_that_comes_back_again_and_again_pushes_out_its_own_oldest_connection(tmp_path):
    async with server(tmp_path) as box:
        wires = [
            await asyncio.open_connection("127.0.0.1", box.port) for _ in range(modbus_server.PER_ADDRESS)
        ]
        assert await box.read(0) == [1]
        assert await asyncio.wait_for(wires[0][0].read(), 5) == b""
        for _, writer in wires:
            writer.close()


async def test_more_clients_than_it_serves_are_turned_away_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(modbus_server, "MOST_CLIENTS", 2)
    async with server(tmp_path) as box:
        wires = [await asyncio.open_connection("127.0.0.1", box.port) for _ in range(4)]
        assert await asyncio.wait_for(wires[3][0].read(), 5) == b""
        assert box.sentences() == ["2 clients are connected, 127.0.0.1 is turned away."]
        for _, writer in wires:
            writer.close()


async def test_a_fault_of_its_own_is_exception_4_and_one_line(tmp_path, monkeypatch):
    async with server(tmp_path) as box:
        monkeypatch.setattr(Sheet, "read", lambda *_: 1 / 0)
        assert await box.read(0) == 4
        assert box.sentences() == ["A request of 127.0.0.1 failed (ZeroDivisionError: division by zero)."]


def test_a_port_that_is_taken_is_one_sentence():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"\[box.modbus.ems\] 127.0.0.1 port {port} cannot be opened"):
            listening(ModbusListen(port=port).listen(), "box.modbus.ems")


def test_a_site_with_more_registers_than_modbus_has_is_refused_with_a_sentence():
    tables = {
        "name": "City",
        "timezone": "Europe/Amsterdam",
        "accept_unsafe_fallback": "a test, nobody",
        "grid": {
            f"g{n}": {"id": n, "max_current_a": 63, "chargepoints_only": True}
            | ({"fed_by": "g0"} if n else {})
            for n in range(700)
        },
    }
    site = build(tables, "test")
    with pytest.raises(SiteError, match="City needs 70102 Modbus registers, and 65536 is all"):
        Sheet(site, compile_site(site), lambda: Glance(site, DRAWN.topology, None))
