"""Contacts of the grid operator and the like: ripple control, the relay of section 14a, a switch.

A contact is told to the controller like anything else from outside (`Outside.tell`), the moment it changes
and then ever so often, so that it is heard while nothing limits, too. One that cannot be read may be active:
its fallback holds until it is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from controller.external import ExternalLimit, Place
from hardware.clock import Clock
from hardware.links import INPUT_TTL_S, DigitalInput
from hardware.modbus_line import Lines
from hardware.modbus_link import ModbusLink, Polling
from hardware.outside import Outside

LOST_MS = 10_000
"""Silent for so long, and nobody knows any more (that of a meter)."""
_PREFIX = "input "
AGAIN_MS = INPUT_TTL_S * 1000 // 3


async def read_contact(wire: ModbusLink, link: DigitalInput) -> bool:
    """Whether it is closed. Raises DeviceSilent."""
    return await wire.bit(2 if link.reads == "discrete_input" else 1, link.address)


async def forget_removed(outside: Outside, contacts: Mapping[str, DigitalInput]) -> None:
    """Take back what contacts told that the site file has no more, or has on another grid."""
    drawn = {(Place("grid", contact.grid), _number(name)) for name, contact in contacts.items()}
    for told, _ in outside.all():
        by_contact = isinstance(told.what, ExternalLimit) and told.what.source == "digital_input"
        if by_contact and told.id.startswith(_PREFIX) and (told.place, told.id) not in drawn:
            await outside.withdraw(told.place, told.kind, told.id)


def _number(name: str) -> str:
    return _PREFIX + name


class DebouncedContact:
    """What a contact is taken for, from what was read of it; None: nobody knows."""

    def __init__(self, debounce_ms: int) -> None:
        self._debounce_ms = debounce_ms
        self.active: bool | None = None
        self._other_since_ms: int | None = None
        self._heard_ms: int | None = None

    def hear(self, *, active: bool, at_ms: int) -> None:
        """Take a reading; another state counts once it has lasted for `debounce_ms`."""
        self._heard_ms = at_ms
        if active == self.active:
            self._other_since_ms = None
            return
        if self._other_since_ms is None:
            self._other_since_ms = at_ms
        if self.active is None or at_ms - self._other_since_ms >= self._debounce_ms:
            self.active, self._other_since_ms = active, None

    def age(self, now_ms: int) -> None:
        """Forget what has not been heard for too long."""
        if self._heard_ms is None or now_ms - self._heard_ms >= LOST_MS:
            self.active = self._other_since_ms = None


class ContactPoll:
    """Keeps what is told of one contact at what it says."""

    def __init__(
        self, name: str, link: DigitalInput, outside: Outside, clock: Clock, lines: Lines | None = None
    ) -> None:
        self.name = name
        self.link = link
        self._wire = ModbusLink(link, lines)
        self._outside = outside
        self._clock = clock
        self._contact = DebouncedContact(link.debounce_ms)
        self._said: ExternalLimit | None = None
        self._said_ms = 0
        self._polling = Polling(f"Input {name}", f"box.digital_input.{name}", link.poll_ms, self._read)

    async def run(self) -> None:
        """Tell the fallback, then poll until cancelled."""
        try:
            await self._tell()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._polling.run())
                both.create_task(self._watch())
        finally:
            self.close()

    async def once(self) -> None:
        """One read."""
        await self._polling.once()

    def close(self) -> None:
        """Drop the connection."""
        self._wire.close()

    async def _read(self) -> None:
        asked_ms = self._clock.now_ms()
        closed = await read_contact(self._wire, self.link)
        self._contact.hear(active=closed == (self.link.active == "closed"), at_ms=asked_ms)
        self._polling.well()
        await self._tell()

    async def _watch(self) -> None:
        """While no answer comes, time goes on."""
        while True:
            await asyncio.sleep(1)
            await self._tell()

    async def _tell(self) -> None:
        now_ms = self._clock.now_ms()
        self._contact.age(now_ms)
        said = self.link.told(self._contact.active)
        if said == self._said and now_ms < self._said_ms + AGAIN_MS:
            return
        lost = self._said is not None
        self._said, self._said_ms = said, now_ms
        if self._contact.active is None and lost:
            self._polling.say("unknown", "nobody knows its state, so its fallback holds")
        place = Place("grid", self.link.grid)
        await self._outside.tell(place, "limits", _number(self.name), said, said.ttl_s)
