"""Meters on Modbus: one poll task each, which keeps the meter's row of the image fresh.

Whatever the meter does, its row just gets older and the loop goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.defaults import UNKNOWN
from controller.table import Table
from controller.topology import Topology
from hardware.clock import Clock
from hardware.links import MeterLink
from hardware.modbus_line import DeviceSilent, Lines
from hardware.modbus_link import ModbusLink, Polling
from hardware.registers import Reading, load_map

OnReading = Callable[[int, bool], None]
"""Called with the row of the meter and whether a phase of its grid is above the fuse."""


class ModbusMeter:
    """One meter: block reads by its sheet."""

    def __init__(self, name: str, link: MeterLink, lines: Lines | None = None) -> None:
        self.name = name
        self.link = link
        self.sheet = load_map(link.map)
        self._wire = ModbusLink(link, lines)

    async def read(self) -> Reading:
        """One block. Raises DeviceSilent."""
        words = await self._wire.words(self.sheet.function, self.sheet.start, self.sheet.count)
        try:
            return self.sheet.decode(words)
        except ValueError as error:
            raise DeviceSilent("garbage", f"an answer that makes no sense: {error}") from None

    async def read_energy_wh(self) -> int:
        """The import counter, UNKNOWN where the map has none. Raises DeviceSilent."""
        quantity = self.sheet.energy_import
        if quantity is None:
            return UNKNOWN
        start = quantity.address[0]
        words = await self._wire.words(self.sheet.function, start, quantity.last - start)
        return self.sheet.decode_energy_wh(words)

    @property
    def waited_ms(self) -> int:
        """How long the last question stood in the queue of its bus."""
        return int(self._wire.waited_s * 1000)

    def close(self) -> None:
        """Drop the connection; the next read makes a new one."""
        self._wire.close()


class MeterPoll:
    """Keeps row `row` of the image's meters at what the meter says."""

    def __init__(
        self,
        meter: ModbusMeter,
        row: int,
        meters: Table,
        topology: Topology,
        clock: Clock,
        on_reading: OnReading,
    ) -> None:
        self.meter = meter
        self._row = row
        self._meters = meters
        self._clock = clock
        self._on_reading = on_reading
        drawn = topology.meters[row]
        limits = topology.grids[drawn["grid"]]["limit_ma"]
        self._limits_ma = [int(limits[phase]) for phase in drawn["phase"]]
        self._sign = int(drawn["sign"])
        self._polling = Polling(f"Meter {meter.name}", f"meter.{meter.name}", meter.link.poll_ms, self._read)

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            await self._polling.run()
        finally:
            self.meter.close()

    async def once(self) -> None:
        """One read."""
        await self._polling.once()

    async def _read(self) -> None:
        """The row keeps the time at which it was asked for, so that its age is never too young."""
        asked_ms = self._clock.now_ms()
        reading = await self.meter.read()
        row = self._meters[self._row]
        row["current_ma"] = reading.current_ma
        row["at_ms"] = asked_ms + self.meter.waited_ms
        missing = [f"L{i + 1}" for i, current in enumerate(reading.current_ma) if current == UNKNOWN]
        if missing:
            self._polling.say(f"blind {missing}", f"it does not know its current on {', '.join(missing)}")
        else:
            self._polling.well()
        over = any(
            current != UNKNOWN and current * self._sign > limit
            for current, limit in zip(reading.current_ma, self._limits_ma, strict=True)
        )
        self._on_reading(self._row, over)
