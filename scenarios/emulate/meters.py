"""Emulated meters: Modbus devices that speak the register sheet of a real one.

Framed by hand from the Modbus application protocol and its TCP guide, so that nothing is shared with the
library that polls; only the sheet is common, and that has golden frames of its own.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress

from hardware.registers import Reading, RegisterMap

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, NO_SUCH_DEVICE = 1, 2, 11
_HEAD = struct.Struct(">HHHBB")
"""Transaction, protocol, length, device, function."""


class RegisterServer:
    """A device that listens on Modbus TCP, or is one of several on a serial bus.

    `reply` makes function and content of an answer from those of a question, None: silence.
    """

    def __init__(self, device_id: int, reply: Callable[[int, bytes], bytes | None]) -> None:
        self._device_id = device_id
        self.reply = reply
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port, a free one when asked for 0."""
        self._server = await asyncio.start_server(self._talk, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        if me is not None:
            self._talks.add(me)
            me.add_done_callback(self._talks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readexactly(_HEAD.size)
                number, protocol, length, device, function = _HEAD.unpack(head)
                if protocol != 0 or not 2 <= length <= 254:
                    break
                body = await reader.readexactly(length - 2)
                answer: bytes | None = bytes((function | 0x80, NO_SUCH_DEVICE))
                if device == self._device_id:
                    answer = self.reply(function, body)
                if answer is not None:
                    writer.write(_HEAD.pack(number, 0, len(answer) + 1, device, answer[0]) + answer[1:])
                    await writer.drain()
        writer.close()


class MeterServer(RegisterServer):
    """One meter; `look` gives its reading and import counter (Wh), None while it is silent."""

    def __init__(
        self, sheet: RegisterMap, device_id: int, look: Callable[[], tuple[Reading, int] | None]
    ) -> None:
        super().__init__(device_id, self._answer)
        self._sheet = sheet
        self._look = look

    def _answer(self, function: int, body: bytes) -> bytes | None:
        if function != self._sheet.function or len(body) != 4:
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        seen = self._look()
        return None if seen is None else read_from(self._words(*seen), function, body)

    def _words(self, reading: Reading, energy_wh: int) -> dict[int, int]:
        sheet = self._sheet
        words = dict(enumerate(sheet.encode(reading), start=sheet.start))
        if sheet.energy_import:
            words |= enumerate(sheet.encode_energy_wh(energy_wh), start=sheet.energy_import.address[0])
        return words


def read_from(words: Mapping[int, int], function: int, body: bytes) -> bytes:
    """The answer to a read of registers that stand at some addresses."""
    start, count = struct.unpack(">HH", body)
    if not 1 <= count <= 125 or any(at not in words for at in range(start, start + count)):
        return bytes((function | 0x80, ILLEGAL_ADDRESS))
    return struct.pack(f">BB{count}H", function, 2 * count, *(words[start + i] for i in range(count)))
