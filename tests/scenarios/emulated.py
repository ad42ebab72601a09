"""A small world on real sockets, for tests: two chargepoints of two outlets, one meter."""

import asyncio
import contextlib
import socket
from datetime import UTC, datetime

from controller.site import build
from controller.topology import compile_site
from scenarios.emulate.emulation import Emulation
from tests.scenarios.central import Central
from twin.conditions import Conditions
from twin.sessions import Car, Session
from twin.world import World

START = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
HOUR_MS = 3_600_000
BOX, OTHER_BOX = "CP-1", "CP-2"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def registers(client, start=0, count=18, function=4, device=1):
    """Registers as read by an independent client that is connected, or the number of the exception."""
    try:
        read = client.read_input_registers if function == 4 else client.read_holding_registers
        answer = await read(start, count=count, device_id=device)
        return answer.exception_code if answer.isError() else answer.registers
    finally:
        client.close()


def site(meter_port, sheet="eastron_sdm630", **link):
    return build(
        {
            "name": "Two posts",
            "timezone": "Europe/Amsterdam",
            "grid": {
                "main": {"id": 0, "max_current_a": 100, "worst_load_a": 20},
                "deck": {"id": 1, "fed_by": "main", "max_current_a": 80, "rotation": "L2 L3 L1"}
                | {"chargepoints_only": True},
            },
            "meter": {
                "main": {
                    "grid": "main",
                    "role": "guard",
                    "link": link
                    or {"kind": "modbus-tcp", "map": sheet, "host": "127.0.0.1", "port": meter_port},
                }
            },
            "chargepoint": {
                name: {
                    "identity": identity,
                    "fed_by": "deck",
                    "lease_s": 300,
                    "connector": [{"number": 1, "max_current_a": 32}, {"number": 2, "max_current_a": 32}],
                }
                for name, identity in (("bay_1", BOX), ("bay_2", OTHER_BOX))
            },
        },
        "test",
    )


def car(connector=0, at_s=10, for_s=3600, phases=3, max_a=32, **more):
    return Session(
        key=f"{connector}@{at_s}",
        connector=connector,
        plug_in_ms=at_s * 1000,
        plug_out_ms=(at_s + for_s) * 1000,
        energy_wh=60_000.0,
        car=Car(phases=phases, max_ma=max_a * 1000),
        **more,
    )


class Stage:
    """A central system and an emulation that have met, and the stepping of its world."""

    def __init__(self, central, emulation):
        self.central = central
        self.emulation = emulation
        self.world = emulation.world

    @property
    def quiet(self):
        return all(not wire.connected or wire.box.conversation.quiet for wire in self.emulation.wires)

    async def settle(self):
        """Until nothing that was said waits for an answer any more."""
        async with asyncio.timeout(5):
            calm = 0
            while calm < 3:
                await asyncio.sleep(0.002)
                calm = calm + 1 if self.quiet else 0

    async def to(self, seconds):
        """Every instant up to `seconds`, each with all that is said at it."""
        while self.world.now_ms < seconds * 1000:
            self.emulation.advance(min(self.emulation.next_ms(), round(seconds * 1000)))
            if not self.quiet:
                await self.settle()

    async def until_booted(self, *identities):
        wanted = identities or (BOX, OTHER_BOX)
        await self.central.until(lambda: {i for i, _, _ in self.central.heard} >= set(wanted))
        await self.settle()

    def outlet(self, connector=0):
        return self.world.outlets[connector]

    def ask(self, action, identity=BOX, **payload):
        return self.central.call(identity, action, **payload)

    def heard(self, action, identity=BOX):
        return self.central.all(action, identity)


@contextlib.asynccontextmanager
async def stage(*sessions, conditions=None, central=None, boot=True, link=None):
    drawn = site(free_port(), **(link or {}))
    world = World(drawn, compile_site(drawn), conditions or Conditions(), sessions, 1, START)
    async with (central or Central()).listening() as host:
        emulation = Emulation(world, host.url)
        await emulation.open()
        try:
            played = Stage(host, emulation)
            if boot:
                await played.until_booted()
            yield played
        finally:
            await emulation.close()
