"""A busy site of any size for measurements: a tree of boards, two cars a connector and day, a building."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from controller.site import build
from controller.topology import compile_site
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.sessions import Session, draw_car
from twin.sources import Load, Profile
from twin.streams import stream

DAY_MS = 86_400_000
ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")


def busy_site(connectors, lease_s=0, fuse_a=None):
    """Connectors on boards of at most ten, under one guarded connection that cannot serve them at once."""
    boards = max(1, connectors // 10)
    grids = {"main": {"id": 0, "max_current_a": fuse_a or 8 * connectors, "worst_load_a": 2 * connectors}}
    for board in range(boards - 1):
        grids[f"board_{board:02d}"] = {
            "id": board + 1,
            "fed_by": "main",
            "max_current_a": fuse_a or 125,
            "chargepoints_only": True,
        }
    names = list(grids)[1:] or ["main"]
    chargepoints = {
        f"bay_{row:03d}": {
            "identity": f"BUSY-{row:03d}",
            "fed_by": names[row % len(names)],
            "lease_s": lease_s,
            "connector": [
                {
                    "number": 1,
                    "max_current_a": 32,
                    "rotation": ROTATIONS[row % 3],
                    "rotation_confirmed_by": "test",
                }
            ],
        }
        for row in range(connectors)
    }
    tables = {
        "name": f"busy {connectors}",
        "timezone": "Europe/Amsterdam",
        "grid": grids,
        "meter": {"main": {"grid": "main", "role": "guard", "delay_s": 2.0}},
        "chargepoint": chargepoints,
    }
    if not lease_s:
        tables["accept_unsafe_fallback"] = "boxes that keep their limit, test"
    return build(tables, "busy")


def busy_sessions(connectors, seed, day_ms=DAY_MS):
    """Two sessions at every connector: one in the morning, one in the afternoon."""
    sessions = []
    for row in range(connectors):
        draw = stream(seed, "busy", row)
        times = sorted(
            int(draw.uniform(begin, begin + 3.0) * day_ms / 24_000) for begin in (6.5, 10.5, 13.0, 18.0)
        )
        for visit, (plug_in, plug_out) in enumerate(list(pairwise(times))[::2]):
            key, energy_wh = f"{row} {visit}", float(draw.gamma(2.0, 8_000.0))
            car = draw_car(seed, key, energy_wh, plug_out - plug_in)
            sessions.append(Session(key, row, plug_in * 1000, plug_out * 1000, energy_wh, car))
    return tuple(sessions)


def busy_story(connectors, mode, *, seed=1, length_ms=DAY_MS, lease_s=0, conditions=None):
    """A day on that site."""
    site = busy_site(connectors, lease_s)
    draw = stream(seed, "building")
    values = tuple(0.3 + 0.7 * float(value) for value in draw.random(672))
    profile = Profile(datetime(2024, 1, 1), 900, values)
    load = Load("main", connectors * 800.0, profile, (0.4, 0.3, 0.3), ZoneInfo("UTC"))
    return Story(
        name=f"busy {connectors}",
        site=site,
        topology=compile_site(site),
        conditions=conditions or Conditions(),
        sessions=busy_sessions(connectors, seed),
        loads=(load,),
        start_utc=datetime(2026, 3, 2, tzinfo=UTC),
        length_ms=length_ms,
        seed=seed,
        mode=mode,
    )
