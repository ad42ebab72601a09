"""A garage in full swing, written down by hand: what calculate would hand over, through the real types."""

import math
from typing import NamedTuple

from controller.decision import Alarm, Because, Decision, Memory, empty_decision, first_memory
from controller.defaults import UNKNOWN
from controller.image import Image, Status, blank_image, frozen
from controller.site import Site, build
from controller.topology import Topology, compile_site

NOON_MS = 1_796_040_000_000  # 2026-11-30 12:00 UTC
BOOT_MS = 7_200_000


RUNNING = {
    "identity": "NL-HG-0001",
    "connector": 1,
    "tag": "CARD-1",
    "started_utc": "2026-11-30T11:00:00+00:00",
    "ended_utc": None,
    "meter_start_wh": 1_000,
    "energy_wh": 8_300,
    "meter_stop_wh": None,
    "reason": None,
}
"""A row of the ledger."""


class Car(NamedTuple):
    """What a connector shows: target A, draw A per phase of the site, status, rule, place, alarm."""

    target_a: float
    draw_a: tuple[float, float, float] | None
    status: Status
    because: Because
    grid: str = ""
    phase: int = -1
    alarm: Alarm = Alarm.NONE


FREE = Car(0, (0, 0, 0), Status.AVAILABLE, Because.IDLE)
BAYS = [
    Car(8, (0, 7.8, 0), Status.CHARGING, Because.FUSE, "level_1", 1),
    Car(8, (7.9, 7.9, 7.8), Status.CHARGING, Because.FUSE, "level_1", 1),
    Car(16, (15.7, 15.6, 15.7), Status.CHARGING, Because.CONNECTOR),
    Car(8, (0, 7.9, 0), Status.CHARGING, Because.FUSE, "level_1", 1),
    FREE,
    Car(9, (8.8, 8.9, 0), Status.CHARGING, Because.CAR),
    Car(6, (0, 0, 0), Status.SUSPENDED_EV, Because.FULL),
    Car(13, (12.6, 12.7, 12.6), Status.CHARGING, Because.FUSE, "main", 0),
    Car(10, None, Status.CHARGING, Because.OFFLINE, alarm=Alarm.OFFLINE),
    Car(13, (12.8, 0, 0), Status.CHARGING, Because.FUSE, "main", 0),
    Car(0, (0, 0, 0), Status.SUSPENDED_EVSE, Because.TURN, "level_1", 1),
    FREE,
]


def garage(bays: int = 12) -> tuple[Site, Topology]:
    """`main` feeds `level_1` and `level_2`; more bays come on more levels of 25."""
    levels = 2 if bays <= 12 else math.ceil(bays / 25)
    per_level = math.ceil(bays / levels)
    grids = {"main": {"id": 0, "max_current_a": 100 if levels == 2 else 1300}}
    for level in range(1, levels + 1):
        rotation = "L2 L3 L1" if level == 1 else "L1 L2 L3"
        grids[f"level_{level}"] = {
            "id": level,
            "fed_by": "main",
            "max_current_a": 63 if levels == 2 else 180,
            "rotation": rotation,
        }
        if level > 1:
            grids[f"level_{level}"]["chargepoints_only"] = True
    meters = {
        "main": {
            "grid": "main",
            "role": "guard",
            "on_failure": {"safe_current_a": 16},
            "link": {"host": "192.168.10.20"},
        },
        "level_1": {"grid": "level_1", "role": "guard", "link": {"host": "192.168.10.21"}},
    }
    chargepoints = {
        f"bay_{bay + 1:02d}": {
            "identity": f"NL-HG-{bay + 1:04d}",
            "fed_by": f"level_{bay // per_level + 1}",
            "lease_s": 300,
            "connector": [
                {
                    "number": 1,
                    "max_current_a": 16 if bay % 12 == 2 else 32,
                    "rotation_confirmed_by": "J. Smit",
                }
            ],
        }
        for bay in range(bays)
    }
    tables = {
        "name": "Harbour garage",
        "timezone": "Europe/Amsterdam",
        "grid": grids,
        "meter": meters,
        "chargepoint": chargepoints,
        "accept_unsafe_fallback": "the building is shed by its own relay, J. Smit",
    }
    site = build(tables, "garage.toml")
    return site, compile_site(site)


def cycle(
    topology: Topology, second: int = 0, bays: list[Car] | None = None
) -> tuple[Image, Decision, Memory]:
    """One cycle, `second` seconds after noon; the building's load swings so that plots have a shape."""
    now_ms = BOOT_MS + second * 1000
    image, decision, memory = (
        blank_image(topology),
        empty_decision(topology),
        first_memory(topology, proven=True),
    )
    image.clock["now_ms"] = now_ms
    image.clock["utc_ms"] = NOON_MS + second * 1000
    image.meters["at_ms"] = now_ms - 400
    decision.site["now_ms"] = now_ms
    cars = bays or BAYS
    for row in range(len(topology.connectors)):
        _seat(topology, image, decision, memory, row, cars[row % len(cars)])
    _fill_grids(topology, decision, memory, second)
    return frozen(image), decision, memory


def _seat(topology, image, decision, memory, row, car):
    now_ms = int(image.clock[0]["now_ms"])
    report, wanted, kept = image.connectors[row], decision.connectors[row], memory.connectors[row]
    report["online"] = car.because != Because.OFFLINE
    report["status"] = car.status
    wanted["target_ma"] = wanted["committed_ma"] = round(car.target_a * 1000)
    wanted["wish_ma"] = wanted["target_ma"]
    wanted["phases"] = [int(amps > 0) for amps in car.draw_a] if car.draw_a and any(car.draw_a) else 1
    wanted["known"] = bool(car.draw_a and any(car.draw_a))
    wanted["because"] = car.because
    wanted["because_grid"] = topology.grid_names.index(car.grid) if car.grid else -1
    wanted["because_phase"] = car.phase
    wanted["alarm"] = car.alarm
    kept["plugged"] = car.status != Status.AVAILABLE
    kept["transaction"] = row + 1 if kept["plugged"] else 0
    kept["since_ms"] = now_ms - 60_000 * (7 + row)
    if car.draw_a:
        kept["reading_ma"] = [round(amps * 1000) for amps in car.draw_a]
        kept["reading_at_ms"] = now_ms - 4000


def _fill_grids(topology, decision, memory, second):
    wanted = decision.connectors
    for row in topology.leaves_first:
        grid, built = decision.grids[row], topology.grids[row]
        under = [c for c, one in enumerate(topology.connectors) if row in one["path"][: one["depth"]]]
        grid["limit_ma"], grid["margin_ma"] = built["limit_ma"], built["margin_ma"]
        name = topology.grid_names[row]
        building_ma = [0, 0, 0]
        if name == "main":
            swing = math.sin(second / 400) * 2_200 + math.sin(second / 31) * 400
            building_ma = [round(base + swing) for base in (17_500, 13_000, 8_000)]
        elif name == "level_1":
            building_ma = [1_200, 12_200 + round(800 * math.sin(second / 100)), 800]
        for phase in range(3):
            drawn_ma = sum(int(memory.connectors[c]["reading_ma"][phase]) for c in under)
            booked_ma = [int(wanted[c]["committed_ma"]) * int(wanted[c]["phases"][phase]) for c in under]
            grid["committed_ma"][phase] = sum(booked_ma)
            grid["targets_ma"][phase] = sum(booked_ma)
            grid["estimate_ma"][phase] = building_ma[phase]
            if built["guard"] >= 0:
                grid["measured_ma"][phase] = building_ma[phase] + drawn_ma
            else:
                grid["measured_ma"][phase] = UNKNOWN


def hour(view, topology: Topology, bays: list[Car] | None = None, seconds: int = 3600) -> None:
    """Play an hour up to noon into a live view, a cycle every 10 s."""
    for second in range(-seconds, 1, 10):
        image, decision, memory = cycle(topology, second, bays)
        view.update(image, decision, memory, NOON_MS + second * 1000)
