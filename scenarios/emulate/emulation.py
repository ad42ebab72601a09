"""A world on real wires: its boxes dial in over OCPP, its meters answer on Modbus TCP or RTU.

The world moves when it is told to (`advance`) or by itself along a clock (`run`); frames are answered
whenever they come, at the world's time of that moment. The wires are real, so the latency and the loss that
a scenario imagines for its links are not played on top; whatever else its conditions say is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Literal

from controller.site import Battery, Inverter, SiteError
from hardware.addresses import ModbusAddress
from hardware.clock import Clock
from hardware.links import MeterLink, StorageLink
from hardware.registers import Reading, load_map
from hardware.storage_maps import load_storage_map
from scenarios.emulate.chargepoint import Chargepoint
from scenarios.emulate.meters import MeterServer, RegisterServer
from scenarios.emulate.outlets import Nameplate
from scenarios.emulate.passes import Pass
from scenarios.emulate.serial_bus import SerialBus
from scenarios.emulate.storage import StorageServer, Truth
from scenarios.emulate.truth import Displays, Outlets, storage_truth, tell_storage
from scenarios.emulate.wires import Wire
from twin.events import CardPresented, Event, FuseTripped, LinkChanged, TransactionEnded
from twin.world import World

LONGEST_REST_MS = 1_000


class Emulation:
    """All boxes and meters of a world. `ocpp_url` is that of the central system, without identity.

    `passes` are what boxes show, by name; those of profiles 2 and 3 dial `tls_url`. `keeps_samples`:
    MeterValues that were taken while the link was down are told when it is up again.
    """

    def __init__(
        self,
        world: World,
        ocpp_url: str,
        *,
        keeps_samples: bool = True,
        passes: Mapping[str, Pass] | None = None,
        tls_url: str = "",
    ) -> None:
        self.world = world
        self._passes = passes or {}
        self._urls = (ocpp_url, tls_url or ocpp_url)
        self._keeps_samples = keeps_samples
        self._names = list(world.site.chargepoint)
        self._wires = [self._wire(name) for name in self._names]
        self._rows = [world.rows_of(name) for name in self._names]
        self._box_of = {row: box for box, rows in enumerate(self._rows) for row in rows}
        self._due_ms: list[int | None] = [wire.box.due_ms for wire in self._wires]
        self._displays = Displays(world)
        self._devices = [*self._meters(), *self._servers("battery"), *self._servers("inverter")]
        self.buses = _buses(self._devices)
        self._dials: list[asyncio.Task[None]] = []
        self._catch_up: Callable[[], None] = lambda: None

    @property
    def wires(self) -> list[Wire]:
        """The chargepoints with their sockets, in the order of the site file."""
        return self._wires

    async def open(self) -> None:
        """Listen as devices where the site's links say, and dial as chargepoints."""
        for link, device in self._devices:
            if not link.is_rtu:
                await device.open(link.host, link.port)
        for bus in self.buses:
            bus.open()
        self._dials = [asyncio.create_task(wire.run()) for wire in self._wires]

    async def close(self) -> None:
        """Hang up everywhere."""
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for bus in self.buses:
            await bus.close()
        for _, device in self._devices:
            await device.close()

    def next_ms(self) -> int:
        """When something happens next in the world, in a box or on a display."""
        dues = [due for due in self._due_ms if due is not None]
        return min([self.world.next_event_ms(), self._displays.due_ms, *dues])

    def advance(self, until_ms: int) -> None:
        """Take the world to `until_ms`, every event and every timer of a box at its own instant."""
        while True:
            at_ms = min(until_ms, max(self.next_ms(), self.world.now_ms))
            self.world.advance(at_ms)
            self._react()
            if at_ms >= until_ms and self.next_ms() > until_ms:
                return

    async def run(self, clock: Clock) -> None:
        """Let the world follow a clock until cancelled."""
        self._catch_up = lambda: self.advance(max(self.world.now_ms, clock.now_ms()))
        while True:
            self._catch_up()
            rest_ms = min(max(self.next_ms() - clock.now_ms(), 1), LONGEST_REST_MS)
            await asyncio.sleep(rest_ms / 1000)

    # -- what happens ----------------------------------------------------------------------------------

    def _react(self) -> None:
        self._displays.refresh()
        self._pass_on_events()
        for box, due_ms in enumerate(self._due_ms):
            if due_ms is not None and due_ms <= self.world.now_ms:
                self._wires[box].box.tick()
                self._note(box)
        self._pass_on_events()

    def _pass_on_events(self) -> None:
        """Tell the boxes what has happened, what their own reactions cause included."""
        while events := self.world.take_events():
            for event in events:
                self._pass_on(event)

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, FuseTripped):
            return  # the boxes behind it lose their links, which is told by itself
        if isinstance(event, LinkChanged):
            number = self._names.index(event.chargepoint)
            self._wires[number].set_network(up=event.up)
        else:
            number = self._box_of[event.connector]
            box, place = self._wires[number].box, self._rows[number].index(event.connector)
            if isinstance(event, CardPresented):
                box.swipe(place + 1, event.card)
            elif isinstance(event, TransactionEnded):
                box.stop(box.outlets[place], event.reason)
            else:
                box.look()
        self._note(number)

    def _note(self, number: int) -> None:
        """A box was touched: when does it want to be ticked next?"""
        self._wires[number].time_has_passed()
        self._due_ms[number] = self._wires[number].box.due_ms

    def _hear(self, number: int, frame: str) -> None:
        self._catch_up()
        self._wires[number].box.conversation.receive(frame)
        self._pass_on_events()
        self._note(number)

    # -- parts -----------------------------------------------------------------------------------------

    def _wire(self, name: str) -> Wire:
        world, chargepoint = self.world, self.world.site.chargepoint[name]
        rows = world.rows_of(name)
        ratings = tuple(int(rating) for rating in world.topology.connectors["max_ma"][rows])
        direct = tuple(o.efficiency if o.kind == "dc" else 0.0 for o in chargepoint.connector)
        plate = Nameplate(
            chargepoint.identity,
            ratings,
            keeps_samples=self._keeps_samples,
            direct=direct if any(direct) else (),
        )
        shown = self._passes.get(name, Pass())
        box = Chargepoint(plate, Outlets(world, rows), lambda: world.now_ms, world.start_utc, shown)
        return Wire(box, self._urls[shown.profile >= 2], partial(self._hear, self._names.index(name)))

    def _meters(self) -> Iterator[tuple[ModbusAddress, RegisterServer]]:
        for row, meter in enumerate(self.world.site.meter.values()):
            link = MeterLink.model_validate(meter.link)
            yield link, MeterServer(load_map(link.map), link.device_id, partial(self._look, row))

    def _look(self, row: int) -> tuple[Reading, int] | None:
        self._catch_up()
        return self._displays.look(row)

    def _servers(
        self, kind: Literal["battery", "inverter"]
    ) -> Iterator[tuple[ModbusAddress, RegisterServer]]:
        """The batteries or inverters that have a link."""
        site = self.world.site
        drawn: Mapping[str, Battery | Inverter] = site.battery if kind == "battery" else site.inverter
        for row, device in enumerate(drawn.values()):
            if device.link:
                link = StorageLink.model_validate(device.link)
                rating_w = device.max_charge_w if isinstance(device, Battery) else device.max_power_w
                look, obey = partial(self._feel, kind, row), partial(self._obey, kind, row)
                sheet = load_storage_map(link.map)
                yield link, StorageServer(sheet, link.device_id, round(rating_w), look, obey)

    def _feel(self, kind: str, row: int) -> Truth | None:
        self._catch_up()
        return storage_truth(self.world, kind, row)

    def _obey(self, kind: str, row: int, power_w: int, revert_s: int) -> bool:
        self._catch_up()
        heard = tell_storage(self.world, kind, row, power_w, revert_s)
        self._react()
        return heard


def _buses(devices: Iterable[tuple[ModbusAddress, RegisterServer]]) -> list[SerialBus]:
    """A bus for each serial port, with its devices on it. Raises SiteError."""
    buses: dict[str, SerialBus] = {}
    for link, device in devices:
        if not link.is_rtu:
            continue
        bus = buses.setdefault(link.serial_port, SerialBus(link))
        if link.device_id in bus.devices:
            sentence = (
                f"{link.where} is two tables; an emulated device has one map: give each its own device_id."
            )
            raise SiteError([sentence])
        bus.devices[link.device_id] = device
    return list(buses.values())
