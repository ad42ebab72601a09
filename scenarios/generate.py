"""Random sites, fleets and faults from one number: the stories that nobody would have thought of.

Every part draws from its own named stream, so that a change to one leaves the others of a seed as they were.
What comes out keeps the assumptions under which the controller promises anything: declared loads bound the
true ones, declared delays the true delays, confirmed rotations are right, cars follow a raise within 30 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import Site, SiteError, build
from controller.topology import compile_site
from scenarios.generate_storage import draw_device_faults, draw_devices, draw_export, draw_sun, has_storage
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.sessions import Session, draw_car
from twin.sources import Load, Profile
from twin.streams import stream

FUSES_A = (32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800)
ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2", "L1 L3 L2", "L3 L2 L1", "L2 L1 L3")
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LOAD_STEP_S = 20
MOST_CONNECTORS = 60


@dataclass(slots=True)
class _Board:
    """A board while it is being drawn; currents are A on every phase."""

    name: str
    fed_by: _Board | None
    level: int
    load_a: float = 0.0  # most that the loads on this very board take
    outlets: int = 0
    outlets_a: float = 0.0
    children: list[_Board] = field(default_factory=list)

    def whole_load_a(self) -> float:
        """Most uncontrolled load with all boards below."""
        return self.load_a + sum(child.whole_load_a() for child in self.children)

    def way(self) -> list[str]:
        """Names of this board and of all that feed it."""
        return [self.name, *(self.fed_by.way() if self.fed_by else ())]

    def whole_outlets_a(self) -> float:
        """Ratings of all outlets on and below."""
        return self.outlets_a + sum(child.whole_outlets_a() for child in self.children)


def draw_story(seed: int) -> Story:
    """The whole story of a seed: 20-40 min in true mode."""
    length_s = 60.0 * int(stream(seed, "generate", "length").integers(20, 41))
    site = draw_site(seed)
    return Story(
        name=site.name,
        site=site,
        topology=compile_site(site),
        conditions=draw_conditions(seed, site, length_s),
        sessions=draw_sessions(seed, site, length_s),
        loads=(*draw_loads(seed, site, length_s), *draw_sun(seed, site, length_s, START)),
        start_utc=START,
        length_ms=round(length_s * 1000),
        seed=seed,
    )


def draw_site(
    seed: int, connectors: int | None = None, levels: int | None = None, *, storage: bool | None = None
) -> Site:
    """A valid site: 1-5 levels of boards, 3-60 connectors, every kind of meter, confirmed or not.

    `connectors`, `levels` and `storage` (batteries and inverters) take the place of what the seed would say.
    """
    boards = _boards(seed, levels)
    chargepoints = _chargepoints(seed, boards, connectors)
    fuses_a = {board.name: _fuse_a(seed, board) for board in boards}
    meters: dict[str, Any] = {}
    grids: dict[str, Any] = {}
    for board in boards:
        grids[board.name], meter = _board_tables(seed, board, fuses_a[board.name], len(grids))
        if meter:
            meters[f"in_{board.name}"] = meter
    tables = {
        "name": f"generated {seed}",
        "timezone": "Europe/Amsterdam",
        "grid": grids,
        "meter": meters,
        "chargepoint": chargepoints,
    }
    if has_storage(seed) if storage is None else storage:
        least_a = {board.name: min(fuses_a[name] for name in board.way()) for board in boards}
        tables["battery"], tables["inverter"] = _, inverters = draw_devices(seed, least_a)
        for name, limits in draw_export(seed, inverters).items():
            grids[name] |= limits
    return _made_safe(seed, tables)


def _boards(seed: int, levels: int | None) -> list[_Board]:
    draw = stream(seed, "generate", "tree")
    drawn = int(draw.choice([1, 2, 3, 4, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    deepest = levels or drawn
    boards = [_Board("main", None, 1)]
    numbers = count(1)
    for board in boards:
        if board.level < deepest and len(boards) < 12:
            for _ in range(int(draw.integers(1, 3 if deepest > 3 else 4))):
                child = _Board(f"board_{next(numbers)}", board, board.level + 1)
                board.children.append(child)
                boards.append(child)
    for board in boards:
        own = stream(seed, "generate", "load", board.name)
        board.load_a = 0.0 if own.random() < 0.35 else round(float(own.uniform(5, 60)), 1)
    return boards


def _chargepoints(seed: int, boards: list[_Board], connectors: int | None) -> dict[str, Any]:
    draw = stream(seed, "generate", "chargepoints")
    drawn = int(draw.integers(3, MOST_CONNECTORS + 1))
    wanted = connectors or drawn
    confirmed = float(draw.choice([0.0, 0.5, 1.0]))
    sample_s = int(draw.choice([10, 30, 60]))
    leased = draw.random() < 0.6
    tables: dict[str, Any] = {}
    while wanted > 0:
        name = f"bay_{len(tables) + 1:02d}"
        own = stream(seed, "generate", "chargepoint", name)
        board = boards[int(own.integers(len(boards)))]
        outlets = [
            _outlet(own, number + 1, confirmed) for number in range(min(wanted, int(own.choice([1, 1, 2]))))
        ]
        wanted -= len(outlets)
        board.outlets += len(outlets)
        board.outlets_a += sum(outlet["max_current_a"] for outlet in outlets)
        tables[name] = {
            "identity": f"GEN-{seed}-{len(tables) + 1:03d}",
            "fed_by": board.name,
            "fallback_a": 6.0 if leased and own.random() < 0.25 else 0.0,
            "lease_s": 300 if leased else 0,
            "sample_interval_s": sample_s,
            "connector": outlets,
        }
    return tables


def _outlet(own: np.random.Generator, number: int, confirmed: float) -> dict[str, Any]:
    return {
        "number": number,
        "max_current_a": float(own.choice([16, 16, 20, 32, 32])),
        "step_a": float(own.choice([1.0, 1.0, 0.1])),
        "phases": int(own.choice([3, 3, 3, 1])),
        "rotation": str(own.choice(ROTATIONS)),
        "rotation_confirmed_by": "generator" if own.random() < confirmed else "",
        "weight_percent": int(own.choice([100, 100, 100, 200, 50])),
    }


def _fuse_a(seed: int, board: _Board) -> float:
    """A fuse, or a breaker set by hand, that carries the loads and a part of what the outlets could draw."""
    draw = stream(seed, "generate", "fuse", board.name)
    wanted = 1.02 * board.whole_load_a() + float(draw.uniform(0.05, 0.5)) * board.whole_outlets_a() + 8
    if draw.random() < 0.5:
        return float(round(wanted))
    return float(next((fuse for fuse in FUSES_A if fuse >= wanted), round(wanted)))


def _board_tables(
    seed: int, board: _Board, fuse_a: float, number: int
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The table of the grid and that of its meter, if it has one."""
    draw = stream(seed, "generate", "meter", board.name)
    grid: dict[str, Any] = {
        "id": number,
        "max_current_a": fuse_a,
        "worst_load_a": board.whole_load_a(),
        "rotation": str(draw.choice(ROTATIONS)) if board.fed_by else ROTATIONS[0],
    }
    if board.fed_by:
        grid["fed_by"] = board.fed_by.name
    role = str(
        draw.choice(["guard", "consumer", "none"], p=[0.85, 0.1, 0.05] if number == 0 else [0.5, 0.2, 0.3])
    )
    if role == "none":
        grid |= {"uncontrolled_a": board.load_a} if board.load_a else {"chargepoints_only": True}
        return grid, None
    spare_a = fuse_a - board.whole_load_a() - 2
    safe = spare_a >= 8 and draw.random() < 0.5
    lag = meter_lag_s(seed)
    meter = {
        "grid": board.name,
        "role": role,
        "delay_s": lag + 1.0,
        "on_failure": {"safe_current_a": round(float(draw.uniform(6, spare_a)), 1)} if safe else "panic",
    }
    if role == "consumer":
        meter["excludes"] = [child.name for child in board.children if draw.random() < 0.5]
    return grid, meter


def meter_lag_s(seed: int) -> float:
    """How far every meter of this seed is behind the truth, 1-3 s."""
    return round(float(stream(seed, "generate", "lag").uniform(1.0, 3.0)), 1)


def _made_safe(seed: int, tables: dict[str, Any]) -> Site:
    """The site with fallbacks that fit its fuses, or with somebody who answers for the rest."""
    source = f"generated {seed}"
    leased = [table["lease_s"] for table in tables["chargepoint"].values()]
    leased += [table["revert_s"] for table in tables.get("battery", {}).values()]
    if not all(leased):
        tables["accept_unsafe_fallback"] = "boxes without a lease, generator"
    try:
        return build(tables, source)
    except SiteError:
        for table in tables["chargepoint"].values():
            table["fallback_a"] = 0.0
        for table in tables.get("battery", {}).values():
            table["fallback_w"] = 0.0
    try:
        return build(tables, source)
    except SiteError:
        tables["accept_unsafe_fallback"] = "what feeds in alone, generator"
        return build(tables, source)


def draw_sessions(seed: int, site: Site, length_s: float) -> tuple[Session, ...]:
    """One or two cars at most connectors, of 1, 2 and 3 phases, that come, wait, and leave early or never."""
    busy = float(stream(seed, "generate", "busy").uniform(0.4, 1.0))
    sessions: list[Session] = []
    for row, (name, _, connector) in enumerate(site.connectors()):
        own = stream(seed, "generate", "sessions", f"{name}/{connector.number}")
        free_s = float(own.uniform(0, 0.6 * length_s)) if own.random() < 0.7 else 5.0
        while free_s < length_s - 120 and own.random() < busy:
            stay_s = float(own.uniform(300, 2 * length_s))
            energy_wh = float(np.clip(own.gamma(1.5, 8000), 300, 60_000))
            key = f"{name}/{connector.number} {len(sessions)}"
            sessions.append(
                Session(
                    key=key,
                    connector=row,
                    plug_in_ms=round(free_s) * 1000,
                    plug_out_ms=round(free_s + stay_s) * 1000,
                    energy_wh=energy_wh,
                    car=draw_car(seed, key, energy_wh, stay_s),
                    card_after_ms=int(own.integers(500, 20_000)),
                )
            )
            free_s += stay_s + float(own.uniform(30, 300))
    return tuple(sessions)


def draw_loads(seed: int, site: Site, length_s: float) -> tuple[Load, ...]:
    """A restless load on every board that has one, at most 40 % of what the board declares."""
    loads = []
    for name, own_a in own_loads_a(site).items():
        if own_a <= 0:
            continue
        draw = stream(seed, "generate", "restless", name)
        steps = int(length_s) // LOAD_STEP_S + 2
        level = np.clip(0.5 + np.cumsum(draw.normal(0, 0.06, steps)), 0.05, 1.0)
        split = draw.uniform(0.4, 1.0, 3)
        loads.append(
            Load(
                grid=name,
                peak_w=0.4 * own_a * NOMINAL_VOLTAGE_V,
                profile=Profile(
                    START.replace(tzinfo=None), LOAD_STEP_S, tuple(float(round(value, 3)) for value in level)
                ),
                split=(float(split[0]), float(split[1]), float(split[2])),
                zone=ZoneInfo("UTC"),
            )
        )
    return tuple(loads)


def own_loads_a(site: Site) -> dict[str, float]:
    """Most that the loads on each board itself take, per phase: worst load less that of the boards below."""
    whole = {name: (grid.worst_load_a or (0.0, 0.0, 0.0))[0] for name, grid in site.grid.items()}
    below = dict.fromkeys(whole, 0.0)
    for name, grid in site.grid.items():
        if grid.fed_by:
            below[grid.fed_by] += whole[name]
    return {name: round(whole[name] - below[name], 3) for name in whole}


def draw_conditions(seed: int, site: Site, length_s: float) -> Conditions:
    """Delays, losses, pauses, wrong drawings and faults."""
    draw = stream(seed, "generate", "conditions")
    tables: dict[str, Any] = {
        "meters": {
            "delay_s": meter_lag_s(seed),
            "poll_s": 1.0,
            "noise_a": float(draw.choice([0.0, 0.05, 0.1])),
        },
        "links": {
            "latency_s": round(float(draw.uniform(0.05, 2.0)), 2),
            "loss": float(draw.choice([0.0, 0.0, 0.02, 0.05, 0.15])),
        },
        "proven": bool(draw.random() < 0.85),
        "wiring": _wiring(seed, site),
        "fault": [
            *_load_steps(seed, site, length_s),
            *_box_faults(seed, site, length_s),
            *_meter_faults(seed, site, length_s),
            *draw_device_faults(seed, site, length_s),
        ],
        "battery_soc": round(float(stream(seed, "generate", "soc").uniform(0.05, 1.0)), 2),
    }
    if draw.random() < 0.7:
        tables["pauses"] = {
            "share": 0.3,
            "every_s": 400.0,
            "for_s": 25.0,
            "reported": bool(draw.random() < 0.3),
        }
    return Conditions.model_validate(tables)


def _wiring(seed: int, site: Site) -> dict[str, str]:
    """Unconfirmed outlets may hang otherwise than drawn."""
    turned = {}
    for name, _, connector in site.connectors():
        draw = stream(seed, "generate", "wiring", f"{name}/{connector.number}")
        if not connector.rotation_confirmed_by and draw.random() < 0.4:
            turned[f"{name}/{connector.number}"] = str(draw.choice(ROTATIONS))
    return turned


def _load_steps(seed: int, site: Site, length_s: float) -> list[dict[str, Any]]:
    """Machines that start and stop: at most 60 % of what a board declares."""
    found = []
    for name, own_a in own_loads_a(site).items():
        draw = stream(seed, "generate", "steps", name)
        if own_a <= 0 or draw.random() < 0.3:
            continue
        every_s = float(draw.integers(150, 600))
        found.append(
            {
                "kind": "load_step",
                "grid": name,
                "at_s": float(draw.integers(60, max(61, int(length_s / 2)))),
                "for_s": round(every_s * float(draw.uniform(0.2, 0.7)), 1),
                "every_s": every_s,
                "current_a": [round(0.6 * own_a * float(part), 1) for part in draw.uniform(0.3, 1, 3)],
            }
        )
    return found


def _box_faults(seed: int, site: Site, length_s: float) -> list[dict[str, Any]]:
    """A box that vanishes, one that ignores lowerings, one that refuses, one that answers late."""
    draw = stream(seed, "generate", "boxes")
    names = [str(name) for name in draw.permutation(list(site.chargepoint))]
    found: list[dict[str, Any]] = []
    for kind, chance in (
        ("chargepoint_offline", 0.5),
        ("ignores_lowerings", 0.35),
        ("refuses_limits", 0.15),
        ("answers_late", 0.25),
    ):
        if draw.random() >= chance or len(names) < 2:
            continue
        fault: dict[str, Any] = {
            "kind": kind,
            "chargepoint": names.pop(),
            "at_s": float(draw.integers(60, max(61, int(0.6 * length_s)))),
        }
        if kind == "chargepoint_offline":
            fault["for_s"] = float(draw.integers(60, 900))
        if kind == "answers_late":
            fault["late_s"] = float(draw.integers(2, 25))
        found.append(fault)
    return found


def _meter_faults(seed: int, site: Site, length_s: float) -> list[dict[str, Any]]:
    """A meter that falls silent or tells no numbers, shortly or for minutes."""
    draw = stream(seed, "generate", "meter faults")
    if not site.meter or draw.random() < 0.6:
        return []
    return [
        {
            "kind": str(draw.choice(["meter_silent", "meter_nan"])),
            "meter": str(draw.choice(list(site.meter))),
            "at_s": float(draw.integers(120, max(121, int(0.7 * length_s)))),
            "for_s": float(draw.choice([4, 8, 20, 90, 240])),
        }
    ]
