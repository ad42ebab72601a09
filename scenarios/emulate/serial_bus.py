"""An emulated serial bus: a pseudo-terminal on which several devices speak Modbus RTU, at the pace of a wire.

Framed by hand from "Modbus over serial line" 1.02, so that nothing is shared with the library that polls. A
frame ends with a silence of 3.5 characters; who is not meant, hears another speed, or a broken checksum, says
nothing. A pseudo-terminal carries speed and stop bits, and no parity.
"""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from contextlib import suppress
from pathlib import Path
from typing import Final

from controller.site import SiteError
from hardware.addresses import ModbusAddress
from scenarios.emulate.meters import RegisterServer

SILENCE_CHARACTERS: Final = 3.5
LEAST_SILENCE_S: Final = 0.00175
PIECE: Final = 16
"""Bytes that a serial chip hands over at once."""
MOST_BYTES: Final = 256


class SerialBus:
    """The devices of one serial port by their number; the client opens the port that the links name."""

    def __init__(self, like: ModbusAddress) -> None:
        self.like = like
        self.devices: dict[int, RegisterServer] = {}
        self._character_s = (9 + (like.parity != "none") + like.stop_bits) / like.baud
        self._wire: tuple[int, int] | None = None
        """Our end and the client's."""
        self._heard = b""
        self._silence: asyncio.TimerHandle | None = None
        self._speaking: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What the client's end is really called, while it is open."""
        return os.ttyname(self._wire[1]) if self._wire else ""

    def open(self) -> None:
        """Make the pseudo-terminal and its path. Raises SiteError."""
        self._wire = ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        try:
            _point(Path(self.like.serial_port), self.name)
        except OSError as error:
            self._shut()
            port = self.like.serial_port
            sentence = (
                f"{port} cannot be emulated ({error.strerror}); name a port that can be made, like /tmp/bus."
            )
            raise SiteError([sentence]) from None
        asyncio.get_running_loop().add_reader(ours, self._hear)

    async def close(self) -> None:
        """Take the port away, as when an adapter is pulled."""
        if self._wire is None:
            return
        asyncio.get_running_loop().remove_reader(self._wire[0])
        if self._silence is not None:
            self._silence.cancel()
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.wait([self._speaking])
        _unpoint(Path(self.like.serial_port), self.name)
        self._shut()

    def _shut(self) -> None:
        for end in self._wire or ():
            os.close(end)
        self._wire = None

    def _hear(self) -> None:
        """Bytes; the frame ends when no more come for a while."""
        if self._wire is None:
            return
        with suppress(OSError):
            self._heard += os.read(self._wire[0], 4096)
        if self._speaking is not None and not self._speaking.done():
            self._speaking.cancel()  # somebody talks into the answer, and neither is heard
            self._heard = b""
        if self._silence is not None:
            self._silence.cancel()
        least_s = LEAST_SILENCE_S if self.like.baud > 19200 else SILENCE_CHARACTERS * self._character_s
        self._silence = asyncio.get_running_loop().call_later(least_s, self._frame_ended)

    def _frame_ended(self) -> None:
        frame, self._heard = self._heard, b""
        if not 4 <= len(frame) <= MOST_BYTES or not self._is_understood() or checksum(frame) != b"\0\0":
            return
        device = self.devices.get(frame[0])
        answer = device.reply(frame[1], frame[2:-2]) if device else None
        if answer is not None:
            answer = frame[:1] + answer
            answer += checksum(answer)
            self._speaking = asyncio.create_task(self._speak(len(frame), answer))

    def _is_understood(self) -> bool:
        """Whether the client speaks as the devices do."""
        assert self._wire is not None  # noqa: S101 - it is open: something was heard
        flags, speed = termios.tcgetattr(self._wire[1])[2:6:3]
        two = 2 if flags & termios.CSTOPB else 1
        return bool(speed == getattr(termios, f"B{self.like.baud}") and two == self.like.stop_bits)

    async def _speak(self, asked: int, answer: bytes) -> None:
        """The answer, as fast as the wire carries it; the question, which came at once, took its time too."""
        assert self._wire is not None  # noqa: S101
        await asyncio.sleep(asked * self._character_s)
        for at in range(0, len(answer), PIECE):
            piece = answer[at : at + PIECE]
            await asyncio.sleep(len(piece) * self._character_s)
            with suppress(OSError):  # nobody reads
                os.write(self._wire[0], piece)


def checksum(data: bytes) -> bytes:
    """The CRC of a frame, low byte first; of a frame with its own CRC it is 0."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


def _point(port: Path, name: str) -> None:
    """Make `port` a way to `name`; what an earlier emulator has left is replaced."""
    if port.is_symlink() and str(port.readlink()).startswith("/dev/pts/"):
        port.unlink()
    port.symlink_to(name)


def _unpoint(port: Path, name: str) -> None:
    """Take the way away, unless it leads elsewhere by now."""
    with suppress(OSError):
        if str(port.readlink()) == name:
            port.unlink()
