"""What boxes and meters feel of the world: rows of its tables, in the terms of electronics and displays."""

from __future__ import annotations

from typing import Final

import numpy as np

from controller.defaults import NEVER, UNKNOWN
from controller.electrical import NOMINAL_VOLTAGE_V, milliamps_per_phase, watts
from controller.image import Answer, Status, blank_image
from hardware.registers import Reading
from scenarios.emulate import storage
from scenarios.emulate.outlets import FAULTED, Truth
from twin.readings import WHOLE, hear_meters, links, poll_meters, sense
from twin.streams import stream
from twin.world import World

_STATUS: Final = {
    Status.CHARGING: "Charging",
    Status.SUSPENDED_EV: "SuspendedEV",
    Status.SUSPENDED_EVSE: "SuspendedEVSE",
    Status.FAULTED: FAULTED,
}


class Outlets:
    """The power side of one box, whose connectors are `rows` of the world."""

    def __init__(self, world: World, rows: list[int]) -> None:
        self._world = world
        self._rows = rows
        names = world.topology.connector_names
        self._probes = links(world.seed, "reading", names)
        self._chance = stream(world.seed, "loss", *(names[row] for row in rows))

    def truth(self, connector: int) -> Truth:
        """What is there now."""
        outlet = self._world.outlets[self._rows[connector - 1]]
        one, two, three = outlet["draw_ma"].tolist()
        shown = _STATUS.get(Status(int(outlet["status"])), "SuspendedEV")
        return Truth(
            plugged=bool(outlet["plugged"]),
            status=shown,
            current_ma=(one, two, three),
            energy_wh=int(outlet["energy_wh"]),
            given_wh=int(outlet["given_wh"]),
            voltage_v=NOMINAL_VOLTAGE_V / float(outlet["lift"]),
            feed_factor=float(outlet["feed_factor"]),
        )

    def reading(self, connector: int) -> tuple[Truth, int] | None:
        """The same through the meter of the connector, and after how many ms it is told; None: nothing is."""
        world, row = self._world, self._rows[connector - 1]
        shown = np.zeros(3, "i8")
        late_ms = sense(self._probes, world.clamps, world.outlets, row, world.now_ms, shown)
        if late_ms == NEVER or self.loses(connector):
            return None
        one, two, three = shown.tolist()
        return self.truth(connector)._replace(current_ma=(one, two, three)), late_ms

    def loses(self, connector: int) -> bool:
        """The next message about this connector gets lost."""
        loss = self._number(connector, "loss")
        return loss > 0 and self._chance.random() * WHOLE < loss

    def pilot_ma(self, connector: int) -> int:
        """What the electronics believe to offer; a box that does not obey believes itself."""
        return self._number(connector, "claimed_ma")

    def set_pilot(self, connector: int, limit_ma: int, phases: int) -> None:
        """Offer the car this much per phase."""
        self._world.set_pilot(self._rows[connector - 1], limit_ma, phases=phases)

    def switch(self, connector: int, *, on: bool) -> None:
        """Close or open the contactor."""
        row = self._rows[connector - 1]
        if on:
            self._world.start_transaction(row)
        else:
            self._world.stop_transaction(row, "Local")

    def refuses(self, connector: int) -> bool:
        """The box takes no profile at the moment."""
        return bool(self._number(connector, "refusing"))

    def late_ms(self, connector: int) -> int:
        """How much longer than it should the box takes for an answer."""
        return self._number(connector, "late_ms")

    def _number(self, connector: int, field: str) -> int:
        return int(self._world.outlets[self._rows[connector - 1]][field])


class Displays:
    """What all meters show: the truth of a while ago, refreshed ever so often, with their faults."""

    def __init__(self, world: World) -> None:
        meters = world.conditions.meters
        self._world = world
        self._delay_ms, self._every_ms = round(meters.delay_s * 1000), round(meters.poll_s * 1000)
        self._noise_ma = meters.noise_a * 1000
        names = world.topology.meter_names
        self._polls = links(world.seed, "noise", names)
        self._shown = blank_image(world.topology).meters
        self._energy_wh = [0.0] * len(names)
        self._refreshed_ms = 0
        self.due_ms = 0
        """When they are refreshed next."""

    def refresh(self) -> None:
        """Look at the site, if it is time to."""
        world = self._world
        if world.now_ms < self.due_ms:
            return
        self._count(world.now_ms - self._refreshed_ms)
        self._refreshed_ms = world.now_ms
        self.due_ms = (world.now_ms // self._every_ms + 1) * self._every_ms
        meters, grids = world.built.meters, world.built.grids
        now_ms, delay_ms = world.now_ms, self._delay_ms
        poll_meters(self._polls, meters, world.gauges, grids, world.boards, now_ms, delay_ms, self._noise_ma)
        self._hear()

    def look(self, meter: int) -> tuple[Reading, int] | None:
        """Reading and import counter (Wh) of a meter; None when it gives nothing."""
        self._hear()
        shown = self._shown[meter]
        if self._world.gauges[meter]["silent"] or shown["at_ms"] == NEVER:
            return None
        one, two, three = shown["current_ma"].tolist()
        return Reading((one, two, three)), int(self._energy_wh[meter])

    def _hear(self) -> None:
        hear_meters(self._shown, self._polls, self._world.gauges, self._world.now_ms)

    def _count(self, span_ms: int) -> None:
        for meter, shown in enumerate(self._shown):
            currents = [current for current in shown["current_ma"].tolist() if current != UNKNOWN]
            self._energy_wh[meter] += max(0, sum(currents)) * NOMINAL_VOLTAGE_V * span_ms / 3.6e9


def storage_truth(world: World, kind: str, row: int) -> storage.Truth | None:
    """What a battery or an inverter feels of itself; None when it gives nothing."""
    device = (world.cells if kind == "battery" else world.panels)[row]
    built = (world.topology.batteries if kind == "battery" else world.topology.inverters)[row]
    if device["dead"] or device["silent"]:
        return None
    flow_ma, phases = int(device["flow_ma"]), int(built["phases"])
    soc = UNKNOWN
    if kind == "battery" and not device["soc_lost"]:
        soc = int(device["stored_wh"] * 1000.0 / built["capacity_wh"])
    one, two, three = (flow_ma if phase < phases else 0 for phase in range(3))
    return storage.Truth((one, two, three), watts(flow_ma, phases), soc)


def tell_storage(world: World, kind: str, row: int, power_w: int, revert_s: int) -> bool:
    """Give it an order for so long, 0: for ever; False when it is dead."""
    device = (world.cells if kind == "battery" else world.panels)[row]
    built = (world.topology.batteries if kind == "battery" else world.topology.inverters)[row]
    target_ma = milliamps_per_phase(power_w, int(built["phases"]))
    until_ms = world.now_ms + revert_s * 1000 if revert_s else NEVER
    return world.order_device(device, built, target_ma, until_ms, at_once=False) != Answer.NONE
