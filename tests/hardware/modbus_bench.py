"""A Modbus server over what a view shows, what it was told, and a client that knows nothing of it."""

import csv
import io
import struct
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pymodbus.client import AsyncModbusTcpClient

from controller.decision import Because, empty_decision, first_memory
from controller.defaults import LINES
from controller.image import Source, Status, blank_image
from controller.site import build
from controller.topology import compile_site
from hardware import modbus_server
from hardware.clock import Clock, SteppedSeconds
from hardware.links import ModbusListen, listening
from hardware.liveview import LiveView
from hardware.notices import Notices
from hardware.offered import Sheet
from hardware.outside import Outside
from hardware.sitefile import Drawn
from tests.controller.told import line

SITE = build(
    {
        "name": "Depôt",
        "timezone": "Europe/Amsterdam",
        "grid": {
            "hall": {"id": 7, "fed_by": "main", "max_current_a": [63, 40, 50], "chargepoints_only": True},
            "main": {"id": 1, "max_current_a": 100, "worst_load_a": 20},
        },
        "meter": {"main": {"grid": "main", "role": "guard"}},
        "chargepoint": {
            "bay": {
                "identity": "CP-1",
                "fed_by": "hall",
                "connector": [{"number": 1, "max_current_a": 32}, {"number": 2, "max_current_a": 16}],
            }
        },
        "battery": {
            "cellar": {"fed_by": "main", "capacity_wh": 9e3, "max_charge_w": 6e3, "max_discharge_w": 6e3}
        },
        "inverter": {"roof": {"fed_by": "main", "max_power_w": 10e3}},
        "accept_unsafe_fallback": "a test, nobody",
    },
    "test",
)
DRAWN = Drawn(SITE, compile_site(SITE))
MAIN, HALL, BAY_1, BAY_2, CELLAR, ROOF = 100, 200, 300, 350, 400, 440
LIMIT = MAIN + 22  # ttl, fallback, fallback_power, l1, l2, l3, power
EXPORT = LIMIT + 7
NONE = 0xFFFF
WEDNESDAY = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)


def places():
    """(block, name) -> address, of the map as `edge map` prints it."""
    text = Sheet(*DRAWN, lambda: None).as_csv()
    return {(row["of"], row["name"]): int(row["address"]) for row in csv.DictReader(io.StringIO(text))}


PLACES = places()


class Box:
    """A Modbus server, what it was told, and a client that knows nothing of it."""

    def __init__(self, port, outside, clock, seconds, view, said):
        self.port, self.outside, self.clock, self.seconds = port, outside, clock, seconds
        self.view, self.said = view, said

    @asynccontextmanager
    async def client(self):
        client = AsyncModbusTcpClient("127.0.0.1", port=self.port, timeout=5, retries=0)
        assert await client.connect()
        try:
            yield client
        finally:
            client.close()

    async def read(self, start, count=1, device=1):
        async with self.client() as client:
            answer = await client.read_holding_registers(start, count=count, device_id=device)
            return answer.exception_code if answer.isError() else answer.registers

    async def value(self, of, name, code="i"):
        """A number by its name in the map."""
        size = struct.calcsize(f">{code}")
        words = await self.read(PLACES[of, name], size // 2)
        return struct.unpack(f">{code}", struct.pack(f">{len(words)}H", *words))[0]

    async def write(self, start, *words, single=False):
        """0, or the number of the exception."""
        async with self.client() as client:
            if single:
                answer = await client.write_register(start, words[0], device_id=1)
            else:
                answer = await client.write_registers(start, list(words), device_id=1)
            return answer.exception_code if answer.isError() else 0

    def in_force(self, grid="main"):
        live = blank_image(DRAWN.topology)
        live.clock[0]["now_ms"], live.clock[0]["utc_ms"] = self.clock.now_ms(), self.clock.utc_ms()
        live.clock[0]["utc_trusted"] = 1
        return line(self.outside.narrow(live).grids[DRAWN.topology.grid_names.index(grid)])

    def sentences(self):
        return [notice.sentence for notice in self.said]

    def show(self, change=lambda image, decision, memory: None):
        """Let the view see a cycle of a site that has been heard, changed by the test."""
        tables = cycle_of()
        change(*tables)
        self.view.update(*tables, 0)


def cycle_of():
    topology = DRAWN.topology
    image, memory, decision = blank_image(topology), first_memory(topology), empty_decision(topology)
    image.clock[0]["now_ms"] = 60_000
    image.meters["at_ms"] = 59_000
    main = decision.grids[topology.grid_names.index("main")]
    main["limit_ma"] = [100_000, 90_000, 80_000]
    main["source"] = [Source.FUSE, Source.API, Source.MODBUS, 0]
    main["measured_ma"] = [12_345, -6_000, 0]
    main["estimate_ma"] = [12_000, 0, 0]
    main["committed_ma"] = [16_000] * 3
    main["targets_ma"] = [10_000] * 3
    main["lines"], main["sum_limit_ma"] = LINES, 60_000
    image.connectors["online"], image.connectors["status"] = 1, Status.CHARGING
    bay = memory.connectors
    bay["seen"] = bay["plugged"] = 1
    bay["reading_at_ms"] = 58_000
    bay["reading_ma"] = [[10_100, 0, 0], [0, 6_000, 0]]
    bay["charge_mas"] = 3_600_000 * 5
    decision.connectors["target_ma"], decision.connectors["committed_ma"] = [16_000, 6_000], [20_000, 6_000]
    decision.connectors["because"] = Because.FUSE
    decision.connectors["phases"] = [[1, 0, 0], [1, 1, 1]]
    memory.batteries["soc"], memory.batteries["reading_at_ms"] = 523, 59_000
    memory.batteries["reading_ma"] = [[-4_000] * 3]
    return image, decision, memory


@asynccontextmanager
async def server(folder, at=WEDNESDAY, **table):
    seconds, said = SteppedSeconds(), []
    clock = Clock(seconds, at)
    notices = Notices(lambda: 0.0, said.append)
    outside = Outside(folder / "instructions.db", *DRAWN, clock, notices)
    view = LiveView(*DRAWN)
    declared = ModbusListen(port=0, **table)
    bound = listening(declared.listen(), "box.modbus.ems")
    running = modbus_server.modbus_server("ems", declared, DRAWN, view, outside, notices)
    await running.open(bound)
    try:
        yield Box(bound.getsockname()[1], outside, clock, seconds, view, said)
    finally:
        await running.close()
        outside.close()
