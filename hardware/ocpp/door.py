"""How a connection becomes a WebSocket, with or without TLS around it; what fails is one line."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus

from hardware.notices import Notices

HANDSHAKE_S: Final = 20.0  # of TLS: slow boxes take seconds for RSA
_WHY: Final = {
    "HTTP_REQUEST": "it speaks ws:// to the port for wss://: set its address",
    "UNSUPPORTED_PROTOCOL": "it speaks a TLS older than 1.2: update its firmware",
    "NO_SHARED_CIPHER": "it knows none of our ciphers: update its firmware",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate: install that root in it",
    "CERTIFICATE_VERIFY_FAILED": "its client certificate is not good",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no client certificate",
}
_OURS_REFUSED: Final = (
    "it refuses our certificate: look at its clock, the root in it, and the names and dates in ours"
)


class Door(ServerConnection):
    """A connection that says why it never became a WebSocket; our own refusals have been said already."""

    def __init__(self, notices: Notices, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._notices = notices

    async def handshake(self, *args: Any, **kwargs: Any) -> None:
        """As the library does it."""
        await super().handshake(*args, **kwargs)
        error = self.protocol.handshake_exc
        if error is not None and not isinstance(error, InvalidStatus):
            peer = self.remote_address[0] if self.remote_address else "?"
            self._notices.say(
                peer, "no_websocket", f"{peer} connected and did not speak WebSocket ({str(error)[:120]})."
            )


class TlsDoor(Door):
    """The same inside TLS, which it begins itself: the library does not tell who failed, and why."""

    def __init__(
        self,
        notices: Notices,
        context: ssl.SSLContext,
        tasks: set[asyncio.Task[None]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(notices, *args, **kwargs)
        self._context = context
        self._tasks = tasks
        self._inside = False
        self._early = b""
        """What came with the last message of the handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there: begin TLS."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket
        transport.pause_reading()
        task = self.loop.create_task(self._secure(transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _secure(self, raw: asyncio.Transport) -> None:
        peer = (raw.get_extra_info("peername") or ("?",))[0]
        try:
            inside = await self.loop.start_tls(
                raw, self, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError is one
            raw.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            self._notices.say(peer, "tls", f"{peer} was refused by TLS: {_why(error)}.")
            return
        if inside is None or inside.is_closing():
            return
        self._inside = True
        super().connection_made(inside)
        if self._early:
            super().data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """What came inside TLS."""
        if self._inside:
            super().data_received(data)
        else:
            self._early += data

    def eof_received(self) -> None:
        """The peer has nothing more to say."""
        if self._inside:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._inside:
            super().connection_lost(exc)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its client certificate is not good ({error.verify_message}): look at its dates and at client_ca"
        )
    reason = getattr(error, "reason", "") or ""
    if reason in _WHY:
        return _WHY[reason]
    if "ALERT" in reason and ("CERT" in reason or "CA" in reason):
        return f"{_OURS_REFUSED} ({reason})"
    return reason or str(error) or f"it hung up in the middle; mostly {_OURS_REFUSED}"
