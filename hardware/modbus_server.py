"""Modbus TCP server of the box: functions 3, 6 and 16 on the holding registers of `hardware/offered.py`.

Framed by hand (Modbus application protocol 1.1b3 and its TCP guide): the library's own server keeps one
request per connection, so that pipelined ones get lost, and writes to a client that does not read without
end. Here a client is answered one request after the other, so many in a second and no more, whatever it
sends; one that stalls loses its connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, NamedTuple

from hardware.limit_registers import LimitRegisters
from hardware.links import ModbusListen
from hardware.liveview import STALLED_S, LiveView
from hardware.notices import Notices
from hardware.offered import NoSuchRegister, Sheet
from hardware.outside import Outside
from hardware.points import Glance
from hardware.sitefile import Drawn

READ, WRITE_ONE, WRITE_MANY = 3, 6, 16
FUNCTION, ADDRESS, VALUE, FAILURE, NO_DEVICE = 1, 2, 3, 4, 11
"""Exception codes."""
MOST_READ, MOST_WRITTEN = 125, 123
"""Registers of one request."""
BREATH_S: Final = 0.02
"""Between two answers to a client: nobody gets more than 50 a second."""
IDLE_S: Final = 300.0
"""A connection on which nothing is asked for so long is dropped."""
STALL_S: Final = 10.0
"""So long a request may take to arrive, or an answer to be taken."""
MOST_CLIENTS: Final = 8
PER_ADDRESS: Final = 4
"""One that comes back after it has lost its old connections pushes out the oldest of them."""
_BUFFER: Final = 4096

_HEAD = struct.Struct(">HHHBB")
"""Transaction, protocol, length, device, function."""


class _Refused(Exception):
    """An exception response, and the sentence for the log."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class _Talk(NamedTuple):
    address: str
    task: asyncio.Task[None]


class ModbusServer:
    """One instance: its registers, its device ids and its clients."""

    def __init__(
        self,
        name: str,
        device_ids: tuple[int, ...],
        sheet: Sheet,
        limits: LimitRegisters,
        notices: Notices,
    ) -> None:
        self._where = f"modbus.{name}"
        self._device_ids = device_ids
        self._sheet = sheet
        self._limits = limits
        self._notices = notices
        self._server: asyncio.Server | None = None
        self._talks: list[_Talk] = []

    async def open(self, bound: socket.socket) -> None:
        """Answer on a socket that listens."""
        self._server = await asyncio.start_server(self._talk, sock=bound, limit=_BUFFER)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for talk in self._talks:
            talk.task.cancel()
        await asyncio.gather(*(talk.task for talk in self._talks), return_exceptions=True)
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("nobody",))[0])
        task = asyncio.current_task()
        if task is None or not self._admit(_Talk(address, task)):
            writer.close()
            return
        writer.transport.set_write_buffer_limits(high=_BUFFER)
        try:
            more = True
            while more:
                more = await self._serve(reader, writer, address)
                await asyncio.sleep(BREATH_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it hung up, fell silent, or we did
        finally:
            self._talks = [talk for talk in self._talks if talk.task is not task]
            writer.transport.abort()

    def _admit(self, talk: _Talk) -> bool:
        mine = [one for one in self._talks if one.address == talk.address]
        if len(mine) >= PER_ADDRESS:
            mine[0].task.cancel()
            self._talks.remove(mine[0])
        if len(self._talks) >= MOST_CLIENTS:
            self._say("full", f"{MOST_CLIENTS} clients are connected, {talk.address} is turned away")
            return False
        self._talks.append(talk)
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> bool:
        """Answer one request; False: what comes is no Modbus and nobody knows where the next one begins."""
        async with asyncio.timeout(IDLE_S):
            first = await reader.readexactly(1)
        async with asyncio.timeout(STALL_S):
            head = first + await reader.readexactly(_HEAD.size - 1)
            number, protocol, length, device, function = _HEAD.unpack(head)
            if protocol != 0 or not 2 <= length <= 254:
                self._say("garbage", f"{address} sends what is no Modbus TCP; its connection is dropped")
                return False
            body = await reader.readexactly(length - 2)
        answer = await self._answer(address, device, function, body)
        writer.write(_HEAD.pack(number, 0, len(answer) + 1, device, answer[0]) + answer[1:])
        async with asyncio.timeout(STALL_S):
            await writer.drain()
        return True

    async def _answer(self, address: str, device: int, function: int, body: bytes) -> bytes:
        """Function and content of the answer."""
        try:
            if device not in self._device_ids:
                raise _Refused(NO_DEVICE, f"asks for device {device}, here is {self._device_ids[0]}")
            if function == READ:
                return self._read(body)
            if function in {WRITE_ONE, WRITE_MANY} and self._limits.writable:
                return await self._write(function, body)
            if function in {WRITE_ONE, WRITE_MANY}:
                raise _Refused(FUNCTION, "writes, but this server is read-only (writable = true lets it)")
            raise _Refused(FUNCTION, f"asks for function {function}; there are 3, 6 and 16")
        except _Refused as refused:
            code = refused.code
            self._say(f"exception {code}", f"{address} {refused}; it got exception {code}")
        except Exception as error:  # noqa: BLE001 - no question of a client ends the server
            code = FAILURE
            self._say("failed", f"A request of {address} failed ({type(error).__name__}: {error})")
        return bytes((function | 0x80, code))

    def _read(self, body: bytes) -> bytes:
        if len(body) != 4:
            raise _Refused(VALUE, f"sends a read of {len(body)} bytes instead of 4")
        start, count = struct.unpack(">HH", body)
        if not 1 <= count <= MOST_READ:
            raise _Refused(VALUE, f"reads {count} registers at once; 1 to {MOST_READ} are possible")
        try:
            words = self._sheet.read(start, count)
        except NoSuchRegister as fault:
            raise _Refused(ADDRESS, f"reads {count} registers from {start}, but {fault}") from None
        return struct.pack(f">BB{count}H", READ, 2 * count, *words)

    async def _write(self, function: int, body: bytes) -> bytes:
        start, words = _one(body) if function == WRITE_ONE else _many(body)
        try:
            written = self._sheet.written(start, words)
        except NoSuchRegister as fault:
            raise _Refused(ADDRESS, f"writes {len(words)} registers from {start}, but {fault}") from None
        try:
            await self._limits.tell(written)
        except ValueError as fault:
            raise _Refused(VALUE, f"writes {words} from {start}: {fault}") from None
        return bytes((function,)) + body[:4]

    def _say(self, kind: str, sentence: str) -> None:
        self._notices.say(self._where, kind, f"{sentence}.")


def modbus_server(
    name: str, table: ModbusListen, drawn: Drawn, view: LiveView, outside: Outside | None, notices: Notices
) -> ModbusServer:
    """The server of a `[box.modbus.NAME]` table, over what a view shows."""
    limits = LimitRegisters(name, outside, writable=table.writable)

    def look() -> Glance:
        newest = view.newest()
        if newest is None:
            return Glance(drawn.site, drawn.topology, limits)
        scene, cycle, age_s = newest
        return Glance(drawn.site, drawn.topology, limits, scene if age_s < STALLED_S else None, cycle, age_s)

    sheet = Sheet(drawn.site, drawn.topology, look)
    return ModbusServer(name, table.device_ids, sheet, limits, notices)


def _one(body: bytes) -> tuple[int, list[int]]:
    if len(body) != 4:
        raise _Refused(VALUE, f"sends a write of {len(body)} bytes instead of 4")
    start, word = struct.unpack(">HH", body)
    return start, [word]


def _many(body: bytes) -> tuple[int, list[int]]:
    if len(body) < 5:
        raise _Refused(VALUE, f"sends a write of {len(body)} bytes")
    start, count, size = struct.unpack(">HHB", body[:5])
    if not 1 <= count <= MOST_WRITTEN or size != 2 * count or len(body) != 5 + size:
        raise _Refused(VALUE, f"writes {count} registers with {len(body) - 5} bytes of values")
    return start, list(struct.unpack(f">{count}H", body[5:]))
