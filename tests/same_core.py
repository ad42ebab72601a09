"""One story in two worlds: the twin directly, and the same twin on real sockets under the production box."""

import asyncio
import contextlib
import random
import socket
from datetime import UTC, datetime

from controller import restart
from controller.cycle import calculate
from controller.decision import first_memory
from controller.site import build
from controller.topology import compile_site
from hardware.clock import Clock, SteppedSeconds
from hardware.links import read_links
from hardware.liveview import LiveView
from hardware.notices import Notices
from hardware.runtime import Box
from scenarios.emulate.emulation import Emulation
from twin.conditions import Conditions
from twin.instruments import SimulatedPlant
from twin.sessions import Car, Session
from twin.world import World

START = datetime(2027, 1, 15, 7, 0, tzinfo=UTC)
TWO_HOURS_S = 7200
SETTLED = 3
"""Turns of the event loop in a row in which nothing is under way, until nothing is."""

CONDITIONS = {
    "links": {"latency_s": 0},  # the sockets are real and the world waits for them
    "pauses": {"share": 0.3, "every_s": 700, "for_s": 40},
    "fault": [
        {
            "kind": "load_step",
            "grid": "main",
            "current_a": [25, 20, 15],
            "at_s": 900,
            "for_s": 420,
            "every_s": 1500,
        },
        {
            "kind": "load_step",
            "grid": "shop",
            "current_a": [6, 9, 3],
            "at_s": 400,
            "for_s": 900,
            "every_s": 2000,
        },
        {"kind": "chargepoint_offline", "chargepoint": "bay_02", "at_s": 2400, "for_s": 420},
        {"kind": "chargepoint_offline", "chargepoint": "bay_13", "at_s": 3000, "for_s": 100},
        {"kind": "meter_silent", "meter": "main", "at_s": 4200, "for_s": 25},
        {"kind": "ignores_lowerings", "chargepoint": "bay_05", "at_s": 5000, "for_s": 900},
    ],
}


def free_ports(count):
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def site(main_a=125):
    """24 connectors on 16 chargepoints, one DC, one station limit; four grids, three meters."""
    turns = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")
    ports = dict(zip(("main", "east", "shop"), free_ports(3), strict=True))
    link = {
        "kind": "modbus-tcp",
        "map": "eastron_sdm630",
        "host": "127.0.0.1",
        "timeout_ms": 400,
        "poll_ms": 500,
    }
    chargepoints = {}
    for number in range(1, 17):
        name = f"bay_{number:02d}"
        connectors = [
            {"number": place, "max_current_a": 32, "rotation": turns[(number + place) % 3]}
            | ({"rotation_confirmed_by": "installer"} if number % 4 else {})
            for place in range(1, 3 if number > 8 else 2)
        ]
        if number == 8:
            connectors = [{"number": 1, "kind": "dc", "max_power_w": 40_000.0, "min_power_w": 4_000.0}]
        chargepoints[name] = {
            "identity": f"NL-SC-{number:04d}",
            "fed_by": ("east", "west", "shop")[number % 3],
            "lease_s": 300 if number % 2 else 0,
            "connector": connectors,
        } | ({"max_current_a": 40} if number == 16 else {})
    return build(
        {
            "name": "Same core",
            "timezone": "Europe/Amsterdam",
            "grid": {
                "main": {"id": 0, "max_current_a": main_a, "worst_load_a": 60},
                "east": {"id": 1, "fed_by": "main", "max_current_a": 80, "rotation": "L2 L3 L1"},
                "west": {"id": 2, "fed_by": "main", "max_current_a": 63, "chargepoints_only": True},
                "shop": {"id": 3, "fed_by": "main", "max_current_a": 63, "rotation": "L3 L1 L2"},
            },
            "meter": {
                name: {"grid": name, "role": role, "link": link | {"port": ports[name]}} | more
                for name, role, more in (
                    ("main", "guard", {"on_failure": {"safe_current_a": 30}}),
                    ("east", "guard", {}),
                    ("shop", "consumer", {}),
                )
            },
            "chargepoint": chargepoints,
            "accept_unsafe_fallback": "a story, nobody's house",
            "box": {"unknown_cards": "accept"}
            | {name: {"host": "127.0.0.1", "port": 0} for name in ("ocpp", "api")},
        },
        "same core",
    )


def sessions(count, length_s, seed=5):
    """Cars that come and go on every connector, on whole seconds."""
    dice = random.Random(seed)
    found = []
    for connector in range(count):
        at_s = dice.randrange(20, 1500)
        while at_s < length_s:
            stay_s = dice.randrange(600, 4000)
            car = Car(phases=dice.choice((1, 2, 3, 3)), max_ma=dice.choice((16_000, 20_000, 32_000)))
            energy_wh = float(dice.randrange(1_000, 15_000))
            plug_ms = (at_s * 1000, (at_s + stay_s) * 1000)
            found.append(Session(f"{connector}@{at_s}", connector, *plug_ms, energy_wh, car))
            at_s += stay_s + dice.randrange(30, 900)
    return found


def world(drawn, length_s=TWO_HOURS_S, conditions=CONDITIONS):
    topology = compile_site(drawn)
    cars = sessions(len(topology.connectors), length_s)
    happens = Conditions.model_validate(conditions)
    return World(drawn, topology, happens, cars, 5, START, end_ms=length_s * 1000)


def directly(played, length_s, *, proven=False):
    """Every cycle's decision when the twin is looked at without wires."""
    plant = SimulatedPlant(played)
    memory = first_memory(played.topology, proven=True) if proven else restart.resume(played.topology, {}, 0)
    for now_s in range(1, length_s + 1):
        plant.advance(now_s * 1000)
        decision, memory = calculate(played.topology, plant.measure(), memory)
        plant.distribute(decision)
        yield decision


def box_of(played, store, clock, seconds):
    """The production box of a world's site, thinking with compiled kernels."""
    drawn, topology = played.site, played.topology
    links, view = read_links(drawn, "same core"), LiveView(drawn, topology, world="emulated")
    return Box(drawn, topology, links, store, clock, calculate, view, Notices(seconds))


class Stepped:
    """The production box and the emulator in one loop; time moves when everything said has been answered."""

    def __init__(self, played, store):
        self.seconds = SteppedSeconds()
        self.world = played
        self.box = box_of(played, store, Clock(self.seconds, START), self.seconds)
        self.links = [self.box.central._box_by_name[name] for name in played.site.chargepoint]

    @contextlib.asynccontextmanager
    async def opened(self):
        port = await self.box.open(poll=False)
        # The twin's links lose what is said while they are down.
        self.emulation = Emulation(self.world, f"ws://127.0.0.1:{port}/", keeps_samples=False)
        await self.emulation.open()
        try:
            await self.settle()
            yield self
        finally:
            await self.emulation.close()
            await self.box.close()

    async def decisions(self, length_s):
        for now_s in range(1, length_s + 1):
            await self.to(now_s * 1000)
            await self.box.read_meters()
            decision = self.box.cycle()
            await self.box.passed_on()
            if self.busy():
                await self.settle()
            yield decision

    async def to(self, until_ms):
        """Every instant up to `until_ms`, each with all that is said at it."""
        while True:
            at_ms = min(until_ms, max(self.emulation.next_ms(), self.world.now_ms))
            self.seconds.value = (at_ms - 1) / 1000 + 1e-5
            self.emulation.advance(at_ms)
            if self.busy():
                await self.settle()
            if at_ms >= until_ms:
                return

    async def settle(self):
        async with asyncio.timeout(30):
            calm = turns = 0
            while calm < SETTLED:
                turns += 1
                await asyncio.sleep(0 if turns < 200 else 0.002)
                calm = 0 if self.busy() else calm + 1

    def busy(self):
        """A frame is under way or a link is not as the world wants it."""
        return any(
            wire.connected != wire.up
            or (wire.up and not wire.box.conversation.quiet)
            or self._works(link, up=wire.up)
            for wire, link in zip(self.emulation.wires, self.links, strict=True)
        )

    def _works(self, link, *, up):
        """The central system has something to say to a box, or has not finished setting it up."""
        if link.link is not None and link.link._pending is not None:
            return True
        if link._asks or link._commands or link._settings:
            return True
        for outlet in link.outlets.values():
            row = outlet.row
            if bool(row["online"]) != up or (up and row["default_ma"] < 0) or outlet.is_ready():
                return True
        return False


class FreeRunning:
    """The same two, each running by itself along the clock of the loop."""

    def __init__(self, played, store):
        self.world = played
        self.store = store

    async def until(self, length_s):
        loop = asyncio.get_running_loop()
        box = box_of(self.world, self.store, Clock(loop.time, START), loop.time)
        box.memory = first_memory(self.world.topology, proven=True)
        emulation = Emulation(self.world, f"ws://127.0.0.1:{await box.open()}/", keeps_samples=False)
        await emulation.open()
        running = [
            asyncio.create_task(box.run()),
            asyncio.create_task(emulation.run(Clock(loop.time, START))),
        ]
        await asyncio.sleep(length_s)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await emulation.close()
        await box.close()
