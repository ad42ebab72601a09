"""What carries questions to Modbus devices: a connection of one device, or a serial bus that several share.

Whatever a device does (refuses, is silent, answers late, or with garbage), a question ends in time. Every
call of pymodbus in the box, its server left out, stands here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import ExceptionResponse

from hardware.addresses import ModbusAddress, is_pseudo_terminal

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # every fault is reported by us, once

SILENCE_CHARACTERS: Final = 3.5
LEAST_SILENCE_S: Final = 0.00175
"""Between two frames; the second above 19200 baud ("Modbus over serial line" 1.02, 2.5.1.1)."""
WRITE_MANY: Final = 16
_FRAME_BYTES: Final = 17
"""Of a question and its answer together, beside the words themselves."""
_NEVER_S: Final = 3600.0  # our own time-outs end a question on a bus


_EXCEPTIONS = {
    1: "it does not know the function",
    2: "it has no such address",
    3: "it does not take the value",
    4: "it failed inside",
    6: "it is busy",
    10: "the gateway has no path to it",
    11: "the gateway heard nothing from it",
}


class DeviceSilent(Exception):
    """No usable answer; `kind` names the fault for the log, `sentence` says what came instead."""

    def __init__(self, kind: str, sentence: str, *, refused: bool = False) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.refused = refused
        """It answered, and said no."""


class Heard(NamedTuple):
    """An answer of the library, and how long its question had to wait until it left."""

    answer: Any
    waited_s: float


class Line(Protocol):
    """One question at a time."""

    async def ask(self, to: ModbusAddress, words: int, /, name: str, *arguments: Any, **more: Any) -> Heard:
        """Call `name` of the library, which moves so many words. Raises DeviceSilent."""
        ...

    def drop(self) -> None:
        """What came last made no sense."""
        ...

    def close(self) -> None:
        """Give the line up; the next question opens it again."""
        ...


class TcpLine:
    """A connection made when needed; after a fault it is closed: a late answer has nowhere to arrive."""

    def __init__(self) -> None:
        self._client: AsyncModbusTcpClient | None = None
        self._turn = asyncio.Lock()

    async def ask(self, to: ModbusAddress, _words: int, name: str, *arguments: Any, **more: Any) -> Heard:
        """Call `name` of the library. Raises DeviceSilent."""
        async with self._turn:
            try:
                client = await self._connected(to)
                answer = await getattr(client, name)(*arguments, **more, device_id=to.device_id)
            except DeviceSilent:
                raise
            except ModbusException as error:
                self.close()
                if "received" in str(error) and "but" in str(error):
                    raise DeviceSilent("mixed up", "an answer to another question") from None
                raise DeviceSilent("silent", f"no answer from {to.where} in {to.timeout_ms} ms") from None
            except Exception as error:  # whatever a peer made the library stumble over
                self.close()
                text = f"an answer that cannot be read ({type(error).__name__}: {error})"
                raise DeviceSilent("garbage", text) from error
            return Heard(answer, 0.0)

    def drop(self) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._client:
            self._client.close()
        self._client = None

    async def _connected(self, to: ModbusAddress) -> AsyncModbusTcpClient:
        if self._client and self._client.connected:
            return self._client
        self.close()
        client = AsyncModbusTcpClient(
            to.host, port=to.port, timeout=to.timeout_ms / 1000, retries=0, reconnect_delay=0
        )
        if not await client.connect():
            client.close()
            raise DeviceSilent("no connection", f"no connection to {to.host}:{to.port}")
        self._client = client
        return client


class SerialBus:
    """A serial port and all devices on it, asked in the order in which they come.

    A question that is not answered costs the others its time-out and no more; its own device is then left
    alone for as long again, so that an answer which comes late is not taken for one to the next question.
    """

    def __init__(self, like: ModbusAddress) -> None:
        self._like = like
        self._character_s = (9 + (like.parity != "none") + like.stop_bits) / like.baud
        silence_s = SILENCE_CHARACTERS * self._character_s
        self._silence_s = LEAST_SILENCE_S if like.baud > 19200 else silence_s
        self._client: AsyncModbusSerialClient | None = None
        self._turn = asyncio.Lock()
        self._asked = (0, 0)
        """Device and function of the question under way."""
        self._noise = False
        """Something came that is not its answer."""
        self._heard_s = 0.0
        self._alone_until_s: dict[int, float] = {}

    async def ask(self, to: ModbusAddress, words: int, name: str, *arguments: Any, **more: Any) -> Heard:
        """Call `name` of the library. Raises DeviceSilent."""
        loop = asyncio.get_running_loop()
        came_s = loop.time()
        await _until(self._alone_until_s.get(to.device_id, 0.0))
        async with self._turn:
            await _until(self._heard_s + self._silence_s)
            client = await self._opened()
            waited_s = loop.time() - came_s
            on_the_wire_s = (_FRAME_BYTES + 2 * words) * self._character_s
            try:
                async with asyncio.timeout(to.timeout_ms / 1000 + on_the_wire_s):
                    answer = await getattr(client, name)(*arguments, **more, device_id=to.device_id)
            except ConnectionException:
                raise self._silent(to) from None
            except TimeoutError:
                self._alone_until_s[to.device_id] = loop.time() + to.timeout_ms / 1000
                raise self._silent(to) from None
            except Exception as error:
                self._shut()
                raise DeviceSilent("no port", f"{self._like.serial_port} failed ({error})") from error
            return Heard(answer, waited_s)

    def drop(self) -> None:
        """The port stays open: others use it."""

    def close(self) -> None:
        """Close the port, unless another device is being asked; whoever comes last closes it."""
        if not self._turn.locked():
            self._shut()

    def _shut(self) -> None:
        if self._client:
            self._client.close()
        self._client = None

    async def _opened(self) -> AsyncModbusSerialClient:
        if self._client and self._client.connected:
            return self._client
        self._shut()
        port = self._like.serial_port
        if fault := _in_the_way(port):
            raise DeviceSilent("no port", fault)
        client = AsyncModbusSerialClient(
            port,
            baudrate=self._like.baud,
            # A pseudo-terminal, an emulator's, has no parity and refuses to be given one.
            parity="N" if is_pseudo_terminal(port) else self._like.parity_letter,
            stopbits=self._like.stop_bits,
            timeout=_NEVER_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._traced,
        )
        try:
            connected = await client.connect()
        except Exception as error:  # noqa: BLE001 - termios has errors of its own
            text = f"{port} cannot be set to {self._like.settings} ({error}); is it a serial port?"
            raise DeviceSilent("no port", text) from None
        if not connected:
            raise DeviceSilent("no port", f"{port} cannot be opened; another program may use it")
        self._client = client
        return client

    def _traced(self, sending: bool, data: bytes) -> bytes:
        """Of all that was heard since the question the library is given its answer alone, once it is whole.

        So an echo, noise before the first character and late answers of others do no harm.
        """
        if sending:
            self._asked, self._noise = (data[0], data[1]), False
            return data
        self._heard_s = asyncio.get_running_loop().time()
        self._noise = True
        return next((frame for at in range(len(data)) if (frame := self._frame(data[at:]))), b"")

    def _frame(self, data: bytes) -> bytes:
        """The answer at the beginning of `data`, or nothing."""
        if len(data) < 5 or (data[0], data[1] & 0x7F) != self._asked:
            return b""
        size = 5 if data[1] & 0x80 else 8 if data[1] == WRITE_MANY else 5 + data[2]
        frame = data[:size]
        whole = len(frame) == size and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))
        return frame if whole else b""

    def _silent(self, to: ModbusAddress) -> DeviceSilent:
        if self._client is None or not self._client.connected:
            return DeviceSilent("no port", f"{to.serial_port} went away: was the adapter pulled?")
        if self._noise:
            return DeviceSilent(
                "noise",
                f"what came from {to.where} is no answer; check the settings ({to.settings}), the wires A and"
                " B, and that no two devices have this number",
            )
        return DeviceSilent("silent", f"no answer from {to.where} in {to.timeout_ms} ms ({to.settings})")


class Lines:
    """The lines of a box: a connection of its own for each link on TCP, one bus for all links of a port."""

    def __init__(self) -> None:
        self._buses: dict[str, SerialBus] = {}

    def to(self, address: ModbusAddress) -> Line:
        """The line to a device."""
        if not address.is_rtu:
            return TcpLine()
        return self._buses.setdefault(os.path.realpath(address.serial_port), SerialBus(address))


def refusal(answer: Any) -> DeviceSilent | None:
    """The fault that an answer tells of, if it does."""
    if isinstance(answer, ExceptionResponse):
        why = _EXCEPTIONS.get(answer.exception_code, "for a reason of its own")
        text = f"exception {answer.exception_code}: {why}"
        return DeviceSilent(f"exception {answer.exception_code}", text, refused=True)
    return DeviceSilent("garbage", "an error without a number") if answer.isError() else None


def _in_the_way(port: str) -> str:
    """Why this serial port cannot be opened, if it can be known without opening it."""
    try:
        mode = Path(port).stat().st_mode
    except OSError:
        return f"there is no port {port}: is the adapter plugged in?"
    if not stat.S_ISCHR(mode):
        return f"{port} is no serial port"
    if not os.access(port, os.R_OK | os.W_OK, effective_ids=True):
        return f"this user may not use {port}; add it to the group of that file (mostly dialout)"
    return ""


async def _until(at_s: float) -> None:
    rest_s = at_s - asyncio.get_running_loop().time()
    if rest_s > 0:
        await asyncio.sleep(rest_s)
