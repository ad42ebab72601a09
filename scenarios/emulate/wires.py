"""The socket of an emulated chargepoint: it dials the central system, and again when the link is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from scenarios.emulate.chargepoint import Chargepoint

REDIAL_S = (3.0, 10.0)
"""First and longest wait before dialling again."""
HANDSHAKE_S = 120.0
"""Long, because a scaled clock shortens it and a hundred others dial at the same time."""


class Wire:
    """Keeps one chargepoint connected to `url` as long as `up` says that there is a network."""

    def __init__(self, box: Chargepoint, url: str, hear: Callable[[str], None]) -> None:
        self.box = box
        self.up = True
        self.refused = ""
        """Why the last attempt to dial failed; empty: it did not."""
        self._url = f"{url.rstrip('/')}/{box.nameplate.identity}"
        self._hear = hear
        self._socket: ClientConnection | None = None
        self._wake = asyncio.Event()
        box.hang_up = self.cut

    @property
    def connected(self) -> bool:
        """There is a socket."""
        return self._socket is not None

    def set_network(self, *, up: bool) -> None:
        """There is a network, or there is none any more."""
        self.up = up
        self._wake.set()
        if not up:
            self.cut()

    def cut(self) -> None:
        """End the connection at once, without a word: what has not been sent is lost."""
        if self._socket is not None:
            self.box.close()
            self._socket.transport.abort()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        wait_s = 0.0
        while True:
            await self._rest(wait_s)
            try:
                async with connect(
                    self._url,
                    subprotocols=[Subprotocol("ocpp1.6")],
                    ssl=self.box.shown.tls if self._url.startswith("wss:") else None,
                    additional_headers=self.box.shown.headers(self.box.nameplate.identity),
                    compression=None,
                    ping_interval=None,
                    open_timeout=HANDSHAKE_S,
                    close_timeout=1.0,
                    max_size=1 << 20,
                ) as socket:
                    self.refused, wait_s = "", 0.0
                    await self._talk(socket)
            except (OSError, InvalidHandshake, TimeoutError, WebSocketException) as error:
                self.refused = str(error) or type(error).__name__
            first, longest = REDIAL_S
            wait_s = min(longest, max(first, 2 * wait_s))

    async def _rest(self, wait_s: float) -> None:
        """Wait before dialling; a network that has come back, or a box that has rebooted, ends the wait."""
        if wait_s and self.up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
        self._wake.clear()
        while not self.up or self.box.now_ms() < self.box.reachable_ms:
            self._wake.clear()
            await self._wake.wait()

    def time_has_passed(self) -> None:
        """Look whether the box has finished its reboot."""
        if self.box.reachable_ms and self.box.now_ms() >= self.box.reachable_ms:
            self.box.reachable_ms = 0
            self._wake.set()

    async def _talk(self, socket: ClientConnection) -> None:
        self._socket = socket
        frames: asyncio.Queue[str] = asyncio.Queue()
        writer = asyncio.create_task(_write(socket, frames))
        try:
            self.box.open(frames.put_nowait)
            async for frame in socket:
                if isinstance(frame, str):
                    self._hear(frame)
        finally:
            self._socket = None
            writer.cancel()
            self.box.close()


async def _write(socket: ClientConnection, frames: asyncio.Queue[str]) -> None:
    with suppress(WebSocketException):
        while True:
            await socket.send(await frames.get())
