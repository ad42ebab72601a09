"""A serial port for tests: a pseudo-terminal whose other end does with each frame what the test likes."""

import asyncio
import os
import struct
import tty
from contextlib import asynccontextmanager, suppress

from scenarios.emulate.serial_bus import checksum


def framed(body):
    return bytes(body) + checksum(bytes(body))


def registers(device, words, function=3):
    """The answer to a read of registers."""
    return framed(struct.pack(f">BBB{len(words)}H", device, function, 2 * len(words), *words))


class Wire:
    """`reply` gives what comes back for a frame: nothing, bytes, or pieces with the seconds before each."""

    def __init__(self, port, reply):
        self.port = port
        self.reply = reply
        self.heard = []
        """Time and bytes of every frame."""
        self._tasks = set()
        self.plug()

    def plug(self):
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.ours, False)
        self.port.symlink_to(os.ttyname(self.theirs))
        asyncio.get_running_loop().add_reader(self.ours, self._hear)

    def pull(self):
        if not self.port.is_symlink():
            return
        asyncio.get_running_loop().remove_reader(self.ours)
        self.port.unlink()
        os.close(self.ours)
        os.close(self.theirs)

    def say(self, data):
        os.write(self.ours, data)

    def _hear(self):
        frame = os.read(self.ours, 4096)
        self.heard.append((asyncio.get_running_loop().time(), frame))
        answer = self.reply(frame) or b""
        pieces = [(0, answer)] if isinstance(answer, bytes) else answer
        task = asyncio.create_task(self._answer(pieces))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, pieces):
        for wait_s, piece in pieces:
            await asyncio.sleep(wait_s)
            with suppress(OSError):
                self.say(piece)

    def close(self):
        for task in self._tasks:
            task.cancel()
        self.pull()


@asynccontextmanager
async def wire(folder, reply):
    end = Wire(folder / "bus", reply)
    try:
        yield end
    finally:
        end.close()
