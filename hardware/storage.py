"""Batteries and inverters on Modbus: readings into their rows of the image, orders into their registers.

An order is only put down; the newest takes the place of one that has not left yet. Its answer is that the
device took the words, which proves nothing. Where the device can, an order ends by itself (its own time-out),
never later than the controller thinks.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from controller.defaults import NEVER
from controller.image import Answer
from controller.table import Table
from hardware.clock import Clock
from hardware.links import StorageLink
from hardware.modbus_line import DeviceSilent, Lines
from hardware.modbus_link import ModbusLink, Polling
from hardware.storage_maps import Look, Words, load_storage_map, models_in

OFFLINE_MS = 10_000
"""Silent for so long it is taken for disconnected (that of a meter)."""
_BASES = (40_000, 50_000, 0)
_SUNS = [0x5375, 0x6E53]
_END, _MOST_MODELS = 0xFFFF, 60


class Order(NamedTuple):
    """What a device is to do: W over its phases, until a `now_ms` or NEVER."""

    seq: int
    power_w: int
    until_ms: int


class StorageDevice:
    """One device: block reads and orders by its sheet. Every method raises DeviceSilent."""

    def __init__(self, link: StorageLink, phases: int, lines: Lines | None = None) -> None:
        self.link = link
        self.sheet = load_storage_map(link.map)
        self._phases = phases
        self._wire = ModbusLink(link, lines)
        self._at: dict[int, int] | None = None
        self._words: Words | None = None

    async def read(self) -> Look:
        """One look, a block per model; scale factors are read with the values, for they may change."""
        at = await self._models()
        words: Words = {}
        for model, offsets in self.sheet.blocks().items():
            first, count = min(offsets), max(offsets) - min(offsets) + 1
            try:
                block = await self._wire.words(self.sheet.function, at[model] + first, count)
            except DeviceSilent:
                self._at = None  # after an update it may stand elsewhere
                raise
            words[model] = dict(enumerate(block, start=first))
        self._words = words
        return self.sheet.decode(words, self._phases)

    async def tell(self, power_w: int, revert_s: int) -> None:
        """Write an order."""
        if self._words is None:
            await self.read()
        at = await self._models()
        try:
            writes = self.sheet.orders(power_w, revert_s, self._words or {})
        except ValueError as fault:
            raise DeviceSilent("mute", str(fault)) from None
        for model, address, words in writes:
            await self._wire.write(at[model] + address, words)

    def close(self) -> None:
        """Drop the connection."""
        self._wire.close()

    async def _models(self) -> dict[int, int]:
        if self._at is None:
            chain = await self._chain() if self.sheet.sunspec else []
            try:
                self._at = models_in(chain, self.sheet)
            except ValueError as fault:
                raise DeviceSilent("models", str(fault)) from None
        return self._at

    async def _chain(self) -> list[tuple[int, int]]:
        """ID and address of every SunSpec model."""
        at = await self._base() + 2
        found: list[tuple[int, int]] = []
        while len(found) < _MOST_MODELS:
            number, length = await self._wire.words(3, at, 2)
            if number == _END:
                return found
            found.append((number, at))
            at += 2 + length
        raise DeviceSilent("models", "its chain of SunSpec models has no end")

    async def _base(self) -> int:
        for base in _BASES:
            try:
                if await self._wire.words(3, base, 2) == _SUNS:
                    return base
            except DeviceSilent as fault:
                if not fault.refused:
                    raise
        raise DeviceSilent("models", 'it says "SunS" at none of 40000, 50000 and 0')


class StoragePoll:
    """Keeps row `row` of the image's batteries or inverters, and passes its orders on."""

    def __init__(
        self, kind: str, name: str, device: StorageDevice, row: int, rows: Table, clock: Clock, every_ms: int
    ) -> None:
        self.kind = kind
        self._device = device
        self._row = row
        self._rows = rows
        self._clock = clock
        self._order: Order | None = None
        self._put = asyncio.Event()
        label = f"{kind.capitalize()} {name}"
        self._polling = Polling(label, f"{kind}.{name}", every_ms, self._read)

    async def run(self) -> None:
        """Poll, and pass orders on, until cancelled."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._polling.run())
                both.create_task(self._obey())
        finally:
            self.close()

    async def once(self) -> None:
        """One read."""
        await self._polling.once()

    def order(self, order: Order) -> None:
        """Put an order down; whatever has not left yet is worth nothing any more."""
        self._order = order
        self._put.set()

    async def passed_on(self) -> None:
        """Pass on what waits, now."""
        order, self._order = self._order, None
        self._put.clear()
        if order is not None:
            await self._send(order)

    def close(self) -> None:
        """Drop the connection."""
        self._device.close()

    async def _obey(self) -> None:
        while True:
            await self._put.wait()
            await self.passed_on()

    async def _read(self) -> None:
        """The row keeps the time at which it was asked for, so that its age is never too young."""
        asked_ms = self._clock.now_ms()
        row = self._rows[self._row]
        try:
            look = await self._device.read()
        except DeviceSilent:
            if row["at_ms"] == NEVER or self._clock.now_ms() - row["at_ms"] >= OFFLINE_MS:
                row["online"] = 0
            raise
        row["online"], row["at_ms"], row["current_ma"] = 1, asked_ms, look.current_ma
        if self.kind == "battery":
            row["soc"], row["charge_ma"], row["discharge_ma"] = look.soc, look.charge_ma, look.discharge_ma
        self._polling.well()

    async def _send(self, order: Order) -> None:
        revert_s = 0
        if order.until_ms != NEVER:
            revert_s = (order.until_ms - self._clock.now_ms()) // 1000
            if revert_s < 1:
                return  # it has ended before it has left
        try:
            await self._device.tell(order.power_w, revert_s)
        except DeviceSilent as fault:
            self._polling.say(f"order {fault.kind}", f"an order did not get through: {fault.sentence}")
            if fault.refused:
                self._answer(order, Answer.REFUSED)
        except Exception as error:  # noqa: BLE001 - the next order must find somebody who passes it on
            self._polling.say("order unusable", f"an order failed ({type(error).__name__}: {error})")
        else:
            self._answer(order, Answer.ACCEPTED)

    def _answer(self, order: Order, answer: Answer) -> None:
        row = self._rows[self._row]
        row["answered_seq"], row["answer"], row["answered_at_ms"] = order.seq, answer, self._clock.now_ms()
