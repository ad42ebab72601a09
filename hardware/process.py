"""The production process: a box, its API and its compiler in one loop, from start to signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from controller.site import SiteError
from hardware.api import create_app
from hardware.clock import Clock
from hardware.kernels import Thinker
from hardware.links import CannotStart, Links, cannot_open, listening, outside_loopback
from hardware.liveview import LiveView
from hardware.modbus_server import modbus_server
from hardware.notices import Notices
from hardware.runtime import Box
from hardware.security import Admission
from hardware.sitefile import Drawn


async def control(
    drawn: Drawn,
    links: Links,
    admission: Admission,
    store: Path,
    speed: float,
    announce: Callable[[str], None],
    reread: Callable[[], object],
) -> bool:
    """Control a site until SIGINT or SIGTERM; `announce` is told where it listens. Raises CannotStart.

    True: SIGHUP, and `reread` takes the site file as it is now, so start anew with that. A file that it
    refuses (SiteError, CannotStart) changes nothing.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    notices = Notices(loop.time)
    edits = _Edits(reread, stop, notices)
    loop.add_signal_handler(signal.SIGHUP, edits.look)
    thinker = Thinker()
    emulated = not any(outside_loopback(links))
    view = LiveView(drawn.site, drawn.topology, world="emulated" if emulated else "site", speed=speed)
    bound = listening(links.box.api, "box.api")
    doors = {
        name: listening(table.listen(), f"box.modbus.{name}") for name, table in links.box.modbus.items()
    }
    clock = Clock(loop.time)
    box = Box(drawn.site, drawn.topology, links, store, clock, thinker.calculate, view, notices, admission)
    servers = {
        name: modbus_server(name, links.box.modbus[name], drawn, view, box.outside, notices) for name in doors
    }
    tasks: list[asyncio.Task[None]] = []
    try:
        try:
            port = await box.open()
        except OSError as error:
            raise cannot_open(links.box.ocpp, "box.ocpp", error) from None
        for name, server in servers.items():
            await server.open(doors[name])
        parts = {
            "loop": box.run(),
            "API": _serve(view, box, bound),
            "planner": box.plan(),
            "compiler": _compile(box, thinker, notices),
        }
        tasks = [asyncio.create_task(_reported(name, part, notices)) for name, part in parts.items()]
        inside = links.box.security.tls
        host, api_port = bound.getsockname()[:2]
        announce(
            f'Edge controls "{drawn.site.name}": OCPP 1.6J on ws://{links.box.ocpp.host}:{port}/'
            + (f" and wss://{inside.host}:{box.tls_port}/" if inside else "")
            + f", API on http://{host}:{api_port}/"
            + "".join(f", Modbus {name} on {_address(door)}" for name, door in doors.items())
        )
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bound.close()
        for server in servers.values():
            await server.close()
        await box.close()
    return edits.accepted


class _Edits:
    """What SIGHUP asks for: the site file as it is now, if it can be taken."""

    def __init__(self, reread: Callable[[], object], stop: asyncio.Event, notices: Notices) -> None:
        self.accepted = False
        self._reread = reread
        self._stop = stop
        self._notices = notices
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin to look, unless that is being done."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            await asyncio.to_thread(self._reread)
        except (SiteError, CannotStart) as fault:
            lines = fault.lines if isinstance(fault, SiteError) else [str(fault)]
            for line in lines:
                self._notices.say(line, "not_reloaded", f"{line} The site goes on as it was.")
            return
        self.accepted = True
        self._stop.set()


def _address(door: socket.socket) -> str:
    host, port = door.getsockname()[:2]
    return f"{host}:{port}"


async def _reported(name: str, part: Coroutine[Any, Any, None], notices: Notices) -> None:
    """A part that ends by a fault of its own says so; the others go on."""
    try:
        await part
    except Exception as error:  # noqa: BLE001
        notices.say("edge", f"{name}_ended", f"The {name} ended ({type(error).__name__}: {error}).")


async def _compile(box: Box, thinker: Thinker, notices: Notices) -> None:
    fault = await thinker.compile()
    box.calculate = thinker.calculate
    if fault:
        notices.say("controller", "interpreted", fault)


class _Api(uvicorn.Server):
    """The HTTP contract in the loop of the controller; signals are not its business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the process."""
        yield


async def _serve(view: LiveView, box: Box, bound: socket.socket) -> None:
    app = create_app(
        view, sessions=box.ledger.history, release=box.release, outside=box.outside, wish=box.wish
    )
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = _Api(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait([serving], timeout=5)
