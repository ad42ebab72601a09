"""The central system: listens, knows its chargepoints, passes orders on. See `CentralSystem`."""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio import sslproto
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, Self, cast
from urllib.parse import unquote, urlsplit

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from controller.decision import Decision
from controller.site import Site
from controller.table import Table
from controller.topology import Topology
from hardware.cards import LONGEST_TAG, Cards
from hardware.clock import Clock
from hardware.ledger import Ledger
from hardware.notices import Notices, quoted
from hardware.ocpp.actions import hear
from hardware.ocpp.box import Box
from hardware.ocpp.door import Door, TlsDoor
from hardware.ocpp.frames import Payload, fault_in_call
from hardware.ocpp.link import NO_ANSWER, Link, Outcome
from hardware.ocpp.onboarding import describe, set_up
from hardware.ocpp.outlet import Order
from hardware.security import OPEN, Admission

SUBPROTOCOL: Final = Subprotocol("ocpp1.6")
MOST_BYTES: Final = 2**20
TLS_READS_BYTES: Final = 2**15  # asyncio would keep 256 KiB for each connection, 50 MB for 200
PING_S: Final = 20.0
BOOT_WAIT_S: Final = 5.0  # a box that says nothing for so long is taken to have reconnected without booting
SET_UP_EVERY_S: Final = 0.02  # 200 boxes that come together are set up one after the other within seconds
SET_UP_AGAIN_S: Final = 60.0
SET_UP_AGAIN_MAX_S: Final = 600.0


class CentralSystem:
    """All chargepoints of a site behind OCPP 1.6J.

    `rows` is the live table of connector reports (topology order); it is written only here, in the thread of
    the event loop, and `on_change` is called after each change. `distribute` never blocks. `admission` says
    who is let in with what.
    """

    def __init__(
        self,
        site: Site,
        topology: Topology,
        rows: Table,
        clock: Clock,
        ledger: Ledger,
        cards: Cards,
        notices: Notices,
        on_change: Callable[[], None] = lambda: None,
        admission: Admission = OPEN,
        ping_s: float = PING_S,
    ) -> None:
        self._notices = notices
        self._admission = admission
        self._ping_s = ping_s
        self._servers: list[Server] = []
        self._next_set_up_s = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        self._outlet_at: list[tuple[Box, int]] = []
        self._outlet_by_key: dict[str, tuple[Box, int]] = {}
        self._box_by_identity: dict[str, Box] = {}
        self._box_by_name: dict[str, Box] = {}
        first = 0
        for name, chargepoint in site.chargepoint.items():
            mine = [rows[first + i] for i in range(len(chargepoint.connector))]
            first += len(mine)
            box = Box(name, chargepoint, mine, clock, ledger, cards, notices, on_change)
            self._box_by_identity[box.identity] = self._box_by_name[name] = box
            self._outlet_at += [(box, number) for number in box.outlets]
        self._told_out = np.zeros(len(self._outlet_at), np.bool_)
        for key, place in zip(topology.connector_names, self._outlet_at, strict=True):
            self._outlet_by_key[key] = place

    # -- serving ------------------------------------------------------------------------------------

    async def serve(self, host: str = "", port: int = 9000) -> int:
        """Listen; returns the port (useful when 0 was asked for). Raises OSError when it is taken."""
        return await self._serve(host, port, partial(Door, self._notices))

    async def serve_tls(self, host: str, port: int, context: ssl.SSLContext) -> int:
        """Listen for those who come inside TLS; returns the port. Raises OSError when it is taken."""
        sslproto.SSLProtocol.max_size = TLS_READS_BYTES
        return await self._serve(host, port, partial(TlsDoor, self._notices, context, self._closing))

    async def _serve(self, host: str, port: int, door: object) -> int:
        server = await serve(
            self._converse,
            host or None,
            port,
            create_connection=cast("type[ServerConnection]", door),
            process_request=self._admit,
            select_subprotocol=_choose_subprotocol,
            max_size=MOST_BYTES,
            compression=None,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            close_timeout=5,
            logger=self._logger(),
        )
        self._servers.append(server)
        return int(next(iter(server.sockets)).getsockname()[1])

    async def close(self) -> None:
        """Stop listening and close every socket."""
        for server in self._servers:
            server.close()
        for task in list(self._closing):
            task.cancel()
        for server in self._servers:
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- for the control loop -----------------------------------------------------------------------

    def distribute(self, decision: Decision) -> None:
        """Put down the orders (`put`) and asks (`ask`) of a decision."""
        rows = decision.connectors
        for index in (rows["put"] | rows["ask"]).nonzero()[0]:
            row = rows[index]
            box, number = self._outlet_at[index]
            if row["put"]:
                fields = ("order_seq", "target_ma", "lease_until_ms", "order_phases")
                order = Order(*(int(row[field]) for field in fields))
                box.put(number, order)
            if row["ask"]:
                box.ask(number)
        out = (rows["unavailable"] == 1) | self._told_out
        for index in out.nonzero()[0]:
            row = rows[index]
            box, number = self._outlet_at[index]
            unavailable = bool(row["unavailable"])
            box.keep_out(number, unavailable=unavailable, stop=bool(row["stop_transaction"]))
            self._told_out[index] = unavailable or box.outlets[number].out_of_service is not False

    # -- for people ---------------------------------------------------------------------------------

    def describe(self) -> dict[str, dict[str, Any]]:
        """What is known of every chargepoint, by its name in the site file."""
        return {name: describe(box) for name, box in self._box_by_name.items()}

    async def remote_start(self, connector: str, card: str) -> str:
        """Start a transaction on `chargepoint/number`: Accepted, Rejected, or why there is no answer."""
        if not 1 <= len(card) <= LONGEST_TAG:
            raise ValueError(f'card "{card}": a number has 1 to {LONGEST_TAG} characters')
        box, number = self._outlet_by_key[connector]
        return _word(await box.command("RemoteStartTransaction", {"connectorId": number, "idTag": card}))

    async def remote_stop(self, connector: str) -> str:
        """Stop the transaction of `chargepoint/number`; Rejected when none runs."""
        box, number = self._outlet_by_key[connector]
        running = box.outlets[number].transaction
        if running is None:
            return "Rejected"
        return _word(await box.command("RemoteStopTransaction", {"transactionId": running.id}))

    async def unlock(self, connector: str) -> str:
        """Unlock the cable of `chargepoint/number`; this ends a transaction."""
        box, number = self._outlet_by_key[connector]
        return _word(await box.command("UnlockConnector", {"connectorId": number}))

    async def set_available(self, connector: str, available: bool) -> str:
        """Take `chargepoint/number` out of service or back into it."""
        box, number = self._outlet_by_key[connector]
        kind = "Operative" if available else "Inoperative"
        return _word(await box.command("ChangeAvailability", {"connectorId": number, "type": kind}))

    async def reset(self, chargepoint: str, kind: Literal["Soft", "Hard"] = "Soft") -> str:
        """Reboot a chargepoint."""
        return _word(await self._box_by_name[chargepoint].command("Reset", {"type": kind}))

    async def call(self, chargepoint: str, action: str, payload: Payload) -> Outcome:
        """Any other CALL. Raises ValueError when it breaks the schema, KeyError for an unknown name."""
        fault = fault_in_call(action, payload)
        if fault:
            raise ValueError(f"{action}: {fault}")
        return await self._box_by_name[chargepoint].command(action, payload)

    # -- one socket ---------------------------------------------------------------------------------

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """404 for an unknown identity, 401 for a wrong key, 403 for less than its profile: no upgrade."""
        identity = _identity(request)
        peer = socket.remote_address[0] if socket.remote_address else "?"
        if identity not in self._box_by_identity:
            self._notices.say(
                peer,
                "unknown_identity",
                f"A chargepoint at {peer} calls itself {quoted(identity)}; the site file has no such one:"
                " refused with 404.",
            )
            return socket.respond(HTTPStatus.NOT_FOUND, "unknown chargepoint\n")
        inside = socket.transport.get_extra_info("ssl_object")
        refusal = self._admission.refusal(identity, request.headers.get("Authorization", ""), inside)
        if refusal is None:
            return None
        sentence = f"{identity} at {peer} {refusal.sentence}: refused with {refusal.status}."
        self._notices.say(identity, refusal.kind, sentence)
        response = socket.respond(refusal.status, "not let in\n")
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP"'
        return response

    async def _converse(self, socket: ServerConnection) -> None:
        assert socket.request is not None  # noqa: S101 - it has been admitted
        box = self._box_by_identity[_identity(socket.request)]
        if socket.subprotocol is None:
            box.say("subprotocol", "does not offer the subprotocol ocpp1.6; its link is closed.")
            await socket.close(1002, "ocpp1.6 is spoken here")
            return
        link = Link(socket, box.identity, self._notices, box.next_call, lambda call: hear(box, call))
        if box.link is not None:
            self._replace(box, box.link)
        box.connected(link)
        opening = asyncio.create_task(self._open(box))
        try:
            await link.run()
        finally:
            opening.cancel()
            box.disconnected(link)

    def _replace(self, box: Box, old: Link) -> None:
        """The newest socket wins; what the old one was asked is unknown."""
        box.say("replaced", "came with a second socket; the older one is closed.")
        old.cut()
        box.disconnected(old)
        task = asyncio.ensure_future(old.close(1000, "replaced by a newer connection"))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _open(self, box: Box) -> None:
        """Wait for the box to speak, then set it up, and again after each boot or when it was incomplete."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BOOT_WAIT_S):
                await box.accepted.wait()
        box.accept()
        again_s = SET_UP_AGAIN_S
        while True:
            await self._take_turn()
            box.set_up_due.clear()
            complete = await self._set_up(box)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if complete else again_s):
                    await box.set_up_due.wait()
            again_s = min(again_s * 2, SET_UP_AGAIN_MAX_S)

    async def _set_up(self, box: Box) -> bool:
        try:
            return await set_up(box)
        except Exception as error:  # noqa: BLE001 - it is tried again; the link and its orders go on
            box.say("set_up", f"could not be set up ({type(error).__name__}: {error}); tried again later.")
            return False

    async def _take_turn(self) -> None:
        now_s = asyncio.get_running_loop().time()
        mine_s = max(now_s, self._next_set_up_s)
        self._next_set_up_s = mine_s + SET_UP_EVERY_S
        await asyncio.sleep(mine_s - now_s)

    def _logger(self) -> logging.Logger:
        """What the WebSocket library has to say becomes one line of ours, without traceback."""
        logger = logging.getLogger(f"{__name__}.{id(self)}")
        logger.propagate = False
        logger.handlers = [_Relay(self._notices)]
        logger.setLevel(logging.ERROR)
        return logger


class _Relay(logging.Handler):
    def __init__(self, notices: Notices) -> None:
        super().__init__()
        self._notices = notices

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        cause = f" ({type(error).__name__}: {str(error)[:120]})" if error else ""
        self._notices.say(
            "port", record.getMessage()[:40], f"A connection failed: {record.getMessage()}{cause}."
        )


def _choose_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """OCPP-J 1.6 section 3.1.2: without a common one the handshake is completed and the socket closed."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _identity(request: Request) -> str:
    """The last part of the path, percent-decoded."""
    return unquote(urlsplit(request.path).path.rpartition("/")[2])


def _word(outcome: Outcome) -> str:
    return outcome.status or outcome.error or NO_ANSWER
