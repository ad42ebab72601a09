"""The composition root of the box: links, controller and disk in one event loop.

One cycle is measure -> calculate -> keep -> distribute: each second, and at once when a meter reads more than
its fuse. An order leaves as soon as the book on disk covers it. Whatever happens to a part, the loop goes on,
and if the controller itself cannot, towards less current.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from controller import restart
from controller.decision import Decision
from controller.defaults import CYCLE_MS
from controller.image import Image, blank_image
from controller.site import Battery, Inverter, Site
from controller.topology import Topology
from hardware.book import Book
from hardware.cards import Cards
from hardware.clock import Clock
from hardware.digital_input import ContactPoll, forget_removed
from hardware.journal import Journal
from hardware.ledger import Ledger
from hardware.links import Links, cannot_open
from hardware.liveview import LiveView
from hardware.modbus import MeterPoll, ModbusMeter
from hardware.modbus_line import Lines
from hardware.notices import Notices
from hardware.ocpp import CentralSystem
from hardware.outside import TRUSTED_FROM, Outside
from hardware.planning import Moment, Planning
from hardware.remembered import Remembered
from hardware.security import OPEN, Admission
from hardware.storage import Order, StorageDevice, StoragePoll
from hardware.wishes import Wishes

if TYPE_CHECKING:
    from hardware.kernels import Calculate

RETREAT_AFTER: Final = 5
"""Cycles in a row that failed, until every target is lowered to its fallback."""
DAY_S: Final = 86_400
BREATH_S: Final = 0.1
"""Least time between two cycles: a meter far over its fuse must not keep the links from being served."""


class Box:
    """Everything of one site. `cycle` runs one cycle; `run` runs them in time until it is cancelled."""

    def __init__(
        self,
        site: Site,
        topology: Topology,
        links: Links,
        store: Path,
        clock: Clock,
        calculate: Calculate,
        view: LiveView,
        notices: Notices,
        admission: Admission = OPEN,
    ) -> None:
        self.topology = topology
        self.calculate = calculate
        self._links = links
        self._admission = admission
        self._clock = clock
        self._view = view
        self._notices = notices
        self._live: Image = blank_image(topology)
        self._wake = asyncio.Event()
        self._failures = 0
        self._polling: list[asyncio.Task[None]] = []
        self.tls_port = 0
        self.ledger = Ledger(store / "ledger.db", notices)
        self.cards = Cards(self.ledger, clock.utc, links.box.unknown_cards)
        self.outside = Outside(store / "instructions.db", site, topology, clock, notices)
        self.outside.on_change = self._wake.set
        self._book = Book(store / "book.db", topology, notices, self._leave)
        self._journal = Journal(store / "journal.db", site, topology, notices)
        self.remembered = Remembered(store / "remembered.db", topology, notices)
        self.memory = restart.resume(topology, self._book.found, clock.now_ms())
        self.remembered.restore(self.memory)
        self.wishes = Wishes(topology.connector_names, site.timezone, self.remembered)
        self.planning = Planning(site, topology, self.ledger, self.wishes, notices)
        self._seen: Image | None = None
        self._newest: Decision | None = None
        self._held = np.zeros(len(topology.connectors), np.bool_)
        self.central = CentralSystem(
            site,
            topology,
            self._live.connectors,
            clock,
            self.ledger,
            self.cards,
            notices,
            admission=admission,
        )
        lines = Lines()
        self.meters = [
            MeterPoll(
                ModbusMeter(name, links.meters[name], lines),
                row,
                self._live.meters,
                topology,
                clock,
                self._on_reading,
            )
            for row, name in enumerate(topology.meter_names)
        ]

        self.storage = {
            kind: _storage_polls(kind, site, topology, links, self._live, clock, lines)
            for kind in ("battery", "inverter")
        }
        self.contacts = [
            ContactPoll(name, link, self.outside, clock, lines)
            for name, link in links.box.digital_input.items()
        ]

    async def open(self, *, poll: bool = True) -> int:
        """Listen for chargepoints, poll the rest; returns the port. Raises OSError or CannotStart.

        Without `poll` they are read by `read_meters` alone: a test steps the world between two cycles.
        """
        await forget_removed(self.outside, self._links.box.digital_input)
        door, inside = self._links.box.ocpp, self._links.box.security.tls
        port = await self.central.serve(door.host, door.port)
        if inside is not None and self._admission.tls is not None:
            try:
                self.tls_port = await self.central.serve_tls(inside.host, inside.port, self._admission.tls)
            except OSError as error:
                raise cannot_open(inside, "box.security.tls", error) from None
            self._polling.append(asyncio.create_task(self._watch_certificate()))
        if poll:
            polls: list[MeterPoll | ContactPoll | StoragePoll]
            polls = [*self.meters, *self.contacts, *self._devices()]
            self._polling += [asyncio.create_task(poll.run()) for poll in polls]
        return port

    async def _watch_certificate(self) -> None:
        """Say each day that it ends soon."""
        while True:
            if sentence := self._admission.ending(self._clock.utc()):
                self._notices.say("box", "certificate_ends", sentence)
            await asyncio.sleep(DAY_S)

    def _devices(self) -> list[StoragePoll]:
        return [device for polls in self.storage.values() for device in polls.values()]

    async def read_meters(self) -> None:
        """Read every meter, battery and inverter once, now."""
        await asyncio.gather(*(meter.once() for meter in self.meters))
        await asyncio.gather(*(device.once() for device in self._devices()))

    async def passed_on(self) -> None:
        """Wait until every order of the last cycle has been handed to its link."""
        await self._book.written()
        await asyncio.gather(*(device.passed_on() for device in self._devices()))

    async def close(self) -> None:
        """Stop polling and listening, and write what waits."""
        for task in self._polling:
            task.cancel()
        if self._polling:
            await asyncio.wait(self._polling)
        for meter in self.meters:
            meter.meter.close()
        for device in self._devices():
            device.close()
        await self.central.close()
        await self._book.close()
        await asyncio.to_thread(self._journal.close)
        await asyncio.to_thread(self.outside.close)
        await asyncio.to_thread(self.remembered.close)
        await asyncio.to_thread(self.ledger.close)

    async def run(self) -> None:
        """A cycle each second, and at once when a meter reads more than its fuse."""
        loop = asyncio.get_running_loop()
        self._count_what_is_left()
        due_s = loop.time()
        while True:
            began_s = loop.time()
            self._wake.clear()
            try:
                self.cycle()
            except Exception as error:  # noqa: BLE001 - nothing ends the loop
                self._notices.say("controller", "cycle_failed", f"A cycle was cut short ({_named(error)}).")
            now_s = loop.time()
            while due_s <= now_s:
                due_s += CYCLE_MS / 1000
            await asyncio.sleep(max(BREATH_S, now_s - began_s))
            try:
                async with asyncio.timeout_at(due_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _count_what_is_left(self) -> None:
        """Say what an earlier site file has left, and forget it when its lease has surely ended."""
        for name, page in list(self._book.left.items()):
            left_ms = restart.lasts_ms(page)
            end = "until its lease has surely ended"
            if left_ms is not None:
                asyncio.get_running_loop().call_later(left_ms / 1000, self._book.forget, name)
            else:
                end = f'until the box is stopped and `edge forget SITE.toml "{name}"` says that it is gone'
            self._notices.say(
                name,
                "left_behind",
                f"The site file has {name} no more, or elsewhere: it may still draw"
                f" {int(page['committed_ma']) / 1000:g} A where it hung, and counts there {end}.",
            )

    def release(self, connector: str) -> str:
        """A person puts `chargepoint/number` back into service. Raises KeyError, a sentence."""
        if connector not in self.topology.connector_names:
            raise KeyError(f'There is no connector "{connector}"; name it like its page does.')
        self._live.connectors[self.topology.connector_names.index(connector)]["released"] += 1
        return f"{connector} is back in service; its box must show that it obeys before it is raised."

    def measure(self) -> Image:
        """A frozen image of the newest values, with what is told from outside in force."""
        clock = self._live.clock[0]
        clock["now_ms"] = self._clock.now_ms()
        clock["utc_ms"] = self._clock.utc_ms()
        clock["utc_trusted"] = self._clock.utc() >= TRUSTED_FROM
        return self.planning.enter(self.outside.narrow(self._live), self.memory)

    async def plan(self) -> None:
        """Plan by departures beside the loop, where the site wants it, until cancelled."""
        await self.planning.run(self._moment)

    def _moment(self) -> Moment | None:
        if self._seen is None or self._newest is None:
            return None
        return Moment(self._seen, self._newest, self.memory)

    async def wish(self, connector: str, departure: datetime | None, energy_kwh: float | None) -> str:
        """A wish for the session at `chargepoint/number`; raises KeyError or ValueError with a sentence."""
        if self.planning.departures == "off":
            raise ValueError('This site does not plan by departures; give its file departures = "horizon".')
        if departure is not None and self._clock.utc() < TRUSTED_FROM:
            raise ValueError("The calendar of the box has not been set, so no departure can be told.")
        said = self.wishes.put(connector, departure, energy_kwh, self.memory, self._clock.utc())
        if not await self.wishes.durable(connector):
            said += " The disk does not take it, so a restart of the box forgets it."
        return said

    def cycle(self) -> Decision | None:
        """One cycle now; None when the controller failed."""
        before, image = self.memory, self.measure()
        try:
            decision, after = self.calculate(self.topology, image, before)
        except Exception as error:  # noqa: BLE001 - nothing ends the loop
            self._failed(error)
            return None
        self._failures = 0
        self.memory, self._seen = after, image
        clock = image.clock[0]
        self.remembered.note(after, int(clock["now_ms"]), trusted=bool(clock["utc_trusted"]))
        self._put_down(decision)
        try:
            self._journal.append(before, image, decision, after)
            self._view.update(image, decision, after, int(image.clock[0]["utc_ms"]))
        except Exception as error:  # noqa: BLE001 - who only watches must not end the loop
            self._notices.say("controller", "not_shown", f"A cycle was not kept or shown ({_named(error)}).")
        return decision

    def _put_down(self, decision: Decision) -> None:
        """Book the orders of a decision and let those leave that the book on disk covers."""
        self._newest = decision
        self._held |= decision.connectors["put"] == 1
        self._book.write(self.memory)
        self._leave(asks=True)
        for kind, rows in (("battery", decision.batteries), ("inverter", decision.inverters)):
            for row, poll in self.storage[kind].items():
                if rows[row]["put"]:
                    order = (int(rows[row][field]) for field in ("order_seq", "power_w", "until_ms"))
                    poll.order(Order(*order))

    def _leave(self, *, asks: bool = False) -> None:
        """Pass on what waits and is covered: at the end of a cycle, and when the book is durable."""
        if self._newest is None:
            return
        rows = self._newest.connectors.copy()
        going = self._held & (rows["target_ma"] <= self._book.covers())
        rows["put"] = going
        if not asks:
            rows["ask"] = 0
        self._held &= ~going
        if going.any() or asks:
            self.central.distribute(self._newest._replace(connectors=rows))

    def _on_reading(self, _meter: int, over_limit: bool) -> None:
        if over_limit:
            self._wake.set()

    def _failed(self, error: Exception) -> None:
        """Targets stay as they are; after some failures in a row everything goes down to its fallback."""
        self._failures += 1
        self._notices.say(
            "controller",
            "calculate_failed",
            f"A cycle failed ({_named(error)}): nothing is raised, targets stay as they are; after"
            f" {RETREAT_AFTER} in a row all go down to their fallback.",
        )
        if self._failures % RETREAT_AFTER == 0:
            decision, self.memory = restart.retreat(self.topology, self.memory, self._clock.now_ms())
            self.remembered.restore(self.memory)
            self._put_down(decision)


def _storage_polls(
    kind: str, site: Site, topology: Topology, links: Links, live: Image, clock: Clock, lines: Lines
) -> dict[int, StoragePoll]:
    """By row, those that can be reached."""
    drawn: Mapping[str, Battery | Inverter] = site.battery if kind == "battery" else site.inverter
    reached = links.batteries if kind == "battery" else links.inverters
    built = topology.batteries if kind == "battery" else topology.inverters
    rows = live.batteries if kind == "battery" else live.inverters
    return {
        row: StoragePoll(
            kind,
            name,
            StorageDevice(reached[name], device.phases, lines),
            row,
            rows,
            clock,
            int(built[row]["sample_ms"]),
        )
        for row, (name, device) in enumerate(drawn.items())
        if name in reached
    }


def _named(error: Exception) -> str:
    """What went wrong and where, in a clause."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"
