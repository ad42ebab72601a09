"""Random trees with everything that can go wrong, from a seed (docs/control.md 11): 1 h in true mode each.

2 to 4 grids with guard, consumer or no meter, 8 to 60 connectors, cars of one, two and three phases that
draw until the end, rotations confirmed at none, some or all boxes.
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.site import Site, build
from controller.topology import compile_site
from scenarios.generate import ROTATIONS, START
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.sessions import Car, Session
from twin.sources import Load, Profile
from twin.streams import stream

HOUR_S = 3_600
READINGS_S = (10, 30, 60)
CONFIRMED = {"none": 0.0, "some": 0.5, "all": 1.0}
LOAD_STEP_S = 10


def traits(seed: int) -> tuple[str, int]:
    """Which rotations are confirmed, and how often connectors are read: every pair equally often."""
    return tuple(CONFIRMED)[seed % 3], READINGS_S[seed // 3 % 3]


def grove(seed: int, *, quiet: bool = False) -> Story:
    """The story of a seed; `quiet` without faults, losses and pauses, and with noise for a building."""
    site = _site(seed)
    return Story(
        name=site.name,
        site=site,
        topology=compile_site(site),
        conditions=_conditions(seed, site, quiet=quiet),
        sessions=_sessions(seed, site, quiet=quiet),
        loads=_loads(seed, site, quiet=quiet),
        start_utc=START,
        length_ms=HOUR_S * 1000,
        seed=seed,
    )


def _site(seed: int) -> Site:
    draw = stream(seed, "grove", "tree")
    confirmed, sample_s = traits(seed)
    count, boards = int(draw.integers(8, 61)), int(draw.integers(2, 5))
    names = ["main", *(f"board_{n}" for n in range(1, boards))]
    fed_by = ["", *(str(draw.choice(names[:n])) for n in range(1, boards))]
    # The connection has its load and 4 to 12 A for every connector; a board about its part of them.
    hangs = [int(draw.integers(boards)) for _ in range(count)]
    grids: dict[str, Any] = {}
    meters: dict[str, Any] = {}
    per_outlet_a = float(draw.uniform(4, 12))
    for n in reversed(range(boards)):
        below = [m for m in range(boards) if names[n] in _above(names, fed_by, m)]
        outlets = sum(hangs.count(m) for m in below)
        load_a = sum(_load_a(seed, names[m]) for m in below)
        spare = 1.0 if n == 0 else float(draw.uniform(0.9, 2.0))
        grid = {
            "id": n,
            "max_current_a": max(round(load_a + spare * per_outlet_a * outlets), round(load_a) + 20),
        }
        kind = _kind(seed, names[n])
        if n:
            grid |= {"fed_by": fed_by[n], "rotation": str(draw.choice(ROTATIONS))}
        if kind == "none":
            grid["uncontrolled_a"] = _load_a(seed, names[n])
        else:
            meters[names[n]] = {"grid": names[n], "role": kind, "delay_s": _meter_lag_s(seed) + 1}
        grids[names[n]] = grid
    return build(
        {
            "name": f"grove {seed}",
            "timezone": "UTC",
            "accept_unsafe_fallback": "bench, bench",
            "grid": {name: grids[name] for name in names},
            "meter": meters,
            "chargepoint": {
                f"bay_{c:02}": {
                    "identity": f"B{c}",
                    "fed_by": names[hangs[c]],
                    "sample_interval_s": sample_s,
                    "connector": [
                        {
                            "number": 1,
                            "max_current_a": 32,
                            "rotation": str(draw.choice(ROTATIONS)),
                            "rotation_confirmed_by": "bench" if draw.random() < CONFIRMED[confirmed] else "",
                        }
                    ],
                }
                for c in range(count)
            },
        },
        f"grove {seed}",
    )


def _above(names: list[str], fed_by: list[str], n: int) -> list[str]:
    found = [names[n]]
    while fed_by[names.index(found[-1])]:
        found.append(fed_by[names.index(found[-1])])
    return found


def _load_a(seed: int, name: str) -> float:
    """Most that the loads on a board take."""
    draw = stream(seed, "grove", "load", name)
    if _kind(seed, name) == "none":  # nobody leaves a board unmetered that carries more than lamps
        return round(float(draw.uniform(0, 4)), 1)
    return round(float(draw.uniform(40, 160) if name == "main" else draw.uniform(0, 30)), 1)


def _kind(seed: int, name: str) -> str:
    """How a board is metered; the connection always has its guard."""
    draw = stream(seed, "grove", "meter", name)
    return "guard" if name == "main" else str(draw.choice(["guard", "consumer", "none"], p=[0.5, 0.25, 0.25]))


def _meter_lag_s(seed: int) -> float:
    return round(float(stream(seed, "grove", "lag").uniform(1, 3)), 1)


def _sessions(seed: int, site: Site, *, quiet: bool) -> tuple[Session, ...]:
    found = []
    for c, (name, _, _) in enumerate(site.connectors()):
        draw = stream(seed, "grove", "car", name)
        phases, most_a = ((1, 16), (1, 32), (2, 16), (3, 16), (3, 16), (3, 32))[int(draw.integers(6))]
        up_s = float(draw.uniform(1, 20))
        late = not quiet and draw.random() < 0.4
        come_s = float(draw.uniform(60, 2_400)) if late else float(draw.uniform(1, 30))
        leave_s = come_s + float(draw.uniform(600, 3_000)) if late and draw.random() < 0.5 else 2 * HOUR_S
        found.append(
            Session(
                key=name,
                connector=c,
                plug_in_ms=round(come_s * 1000),
                plug_out_ms=round(leave_s * 1000),
                energy_wh=60_000.0,
                car=Car(
                    phases=phases,
                    max_ma=most_a * 1000,
                    down_ms=round(float(draw.uniform(500, 5_000))),
                    up_ms=round(up_s * 1000),
                    ramp_ma_s=most_a * 1000 / float(draw.uniform(1, 29.5 - up_s)),
                ),
            )
        )
    return tuple(found)


def _loads(seed: int, site: Site, *, quiet: bool) -> tuple[Load, ...]:
    """A building that wanders and, at four sites in ten, feed-in that can vanish within 10 s."""
    found = []
    steps = HOUR_S // LOAD_STEP_S + 2
    for name in site.grid:
        draw = stream(seed, "grove", "building", name)
        level = np.clip(0.4 + np.cumsum(draw.normal(0, 0 if quiet else 0.03, steps)), 0.05, 0.6)
        if quiet:
            level = level + draw.normal(0, 0.005, steps)
        found.append(_load(name, _load_a(seed, name), level, draw.uniform(0.5, 1.0, 3)))
    draw = stream(seed, "grove", "sun")
    if not quiet and draw.random() < 0.4:
        shines = np.repeat(draw.random(steps // 30 + 1) < 0.7, 30)[:steps]
        found.append(_load("main", -0.8 * _load_a(seed, "main"), shines.astype(float), np.ones(3)))
    return tuple(found)


def _load(name: str, peak_a: float, level: Any, split: Any) -> Load:
    values = tuple(float(round(value, 3)) for value in level)
    profile = Profile(START.replace(tzinfo=None), LOAD_STEP_S, values)
    parts = (float(split[0]), float(split[1]), float(split[2]))
    return Load(name, peak_a * 230, profile, parts, ZoneInfo("UTC"))


def _conditions(seed: int, site: Site, *, quiet: bool) -> Conditions:
    draw = stream(seed, "grove", "conditions")
    tables: dict[str, Any] = {
        "meters": {"delay_s": _meter_lag_s(seed), "noise_a": 0.05},
        "links": {"latency_s": round(float(draw.uniform(0.05, 2.5)), 2)},
        "wiring": _wiring(seed, site),
    }
    if not quiet:
        tables["links"]["loss"] = float(draw.choice([0.0, 0.0, 0.02, 0.05, 0.15]))
        tables["pauses"] = {"share": 0.3, "every_s": 400.0, "for_s": 25.0}
        tables["fault"] = [*_steps(seed, site), *_boxes(seed, site)]
    return Conditions.model_validate(tables)


def _wiring(seed: int, site: Site) -> dict[str, str]:
    """Boxes that nobody has confirmed hang anyhow."""
    return {
        f"{name}/1": str(stream(seed, "grove", "wires", name).choice(ROTATIONS))
        for name, _, outlet in site.connectors()
        if not outlet.rotation_confirmed_by
    }


def _steps(seed: int, site: Site) -> list[dict[str, Any]]:
    found = []
    for name in site.grid:
        draw = stream(seed, "grove", "steps", name)
        every_s = float(draw.integers(120, 900))
        found.append(
            {
                "kind": "load_step",
                "grid": name,
                "at_s": float(draw.integers(60, 600)),
                "for_s": round(every_s * float(draw.uniform(0.2, 0.8))),
                "every_s": every_s,
                "current_a": [round(0.4 * _load_a(seed, name) * float(x), 1) for x in draw.uniform(0, 1, 3)],
            }
        )
    return found


def _boxes(seed: int, site: Site) -> list[dict[str, Any]]:
    """A box that takes no lowering at half of the sites, one that is away for 15 min at half."""
    draw = stream(seed, "grove", "boxes")
    liar, away = (str(name) for name in draw.permutation(list(site.chargepoint))[:2])
    found: list[dict[str, Any]] = []
    if draw.random() < 0.5:
        found.append({"kind": "ignores_lowerings", "chargepoint": liar, "at_s": 0.0})
    if draw.random() < 0.5:
        at_s = float(draw.integers(300, 2_400))
        found.append({"kind": "chargepoint_offline", "chargepoint": away, "at_s": at_s, "for_s": 900.0})
    return found


def garage(cars: int, meter_lag_s: float, sample_s: int, *, quiet: bool) -> Story:
    """One guarded grid with 12.5 A per car and equal three-phase cars, 40 min; else a building in steps."""
    fuse_a = 12.5 * cars
    site = build(
        {
            "name": f"garage of {cars}, meter {meter_lag_s:g} s, readings {sample_s} s",
            "timezone": "UTC",
            "accept_unsafe_fallback": "bench, bench",
            "grid": {"main": {"id": 0, "max_current_a": fuse_a}},
            "meter": {"main": {"grid": "main", "role": "guard", "delay_s": meter_lag_s}},
            "chargepoint": {
                f"bay_{c:03}": {
                    "identity": f"B{c}",
                    "fed_by": "main",
                    "sample_interval_s": sample_s,
                    "connector": [{"number": 1, "max_current_a": 32, "rotation_confirmed_by": "bench"}],
                }
                for c in range(cars)
            },
        },
        "garage",
    )
    draw = stream(cars, "garage", str(meter_lag_s), str(sample_s))
    steps = HOUR_S // LOAD_STEP_S + 2
    level = 0.2 + (draw.normal(0, 0.002, steps) if quiet else np.zeros(steps))
    if not quiet:
        at = 0
        while at < steps:
            lasts = int(draw.integers(2, 16))
            level[at : at + lasts] += 0.05 * int(draw.choice([0, 1, 2, 4]))
            at += lasts
    return Story(
        name=site.name,
        site=site,
        topology=compile_site(site),
        conditions=Conditions.model_validate({"meters": {"delay_s": meter_lag_s - 1, "noise_a": 0.05}}),
        sessions=tuple(
            Session(
                key=f"car {c}",
                connector=c,
                plug_in_ms=1_000 * (1 + c % 30),
                plug_out_ms=2 * HOUR_S * 1000,
                energy_wh=60_000.0,
                car=Car(3, 32_000, up_ms=round(float(draw.uniform(2_000, 15_000)))),
            )
            for c in range(cars)
        ),
        loads=(_load("main", fuse_a, level, np.ones(3)),),
        start_utc=START,
        length_ms=2_400_000,
        seed=cars,
    )
