"""Batteries, inverters, sun and what goes wrong with them, for a random site from one number.

What they take or feed in fits every fuse above them, as an installer would see to; nothing else is sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import Site
from twin.sources import Load, Profile
from twin.streams import stream

SHARE = 0.45  # of the sites have batteries or inverters
STRATEGIES = ("standby", "self_consumption", "self_consumption", "peak_shaving", "peak_shaving", "manual")
SUN_STEP_S = 30


def has_storage(seed: int) -> bool:
    """Whether the site of this seed has batteries and inverters at all."""
    return bool(stream(seed, "generate", "storage").random() < SHARE)


def draw_devices(seed: int, least_a: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables of one or two batteries and of up to two inverters.

    `least_a`: of every board the smallest fuse on the way to the connection.
    """
    draw = stream(seed, "generate", "devices")
    boards = list(least_a)
    batteries, inverters = {}, {}
    for number in range(1, int(draw.integers(1, 3)) + 1):
        board = boards[int(draw.integers(len(boards)))]
        batteries[f"battery_{number}"] = _battery(draw, board, least_a[board])
    for number in range(1, int(draw.integers(0, 3)) + 1):
        board = boards[int(draw.integers(len(boards)))]
        inverters[f"roof_{number}"] = _inverter(draw, board, least_a[board])
    return batteries, inverters


def _device(draw: np.random.Generator, board: str) -> dict[str, Any]:
    return {
        "fed_by": board,
        "phases": int(draw.choice([3, 3, 3, 1])),
        "rotation": str(draw.choice(["L1 L2 L3", "L2 L3 L1", "L3 L2 L1"])),
        "revert_s": int(draw.choice([0, 60, 60, 120])),
        "response_s": float(draw.choice([0.5, 2.0, 4.0])),
        "sample_interval_s": int(draw.choice([1, 1, 2])),
    }


def _battery(draw: np.random.Generator, board: str, least_a: float) -> dict[str, Any]:
    device = _device(draw, board)
    watts = device["phases"] * NOMINAL_VOLTAGE_V
    strategy = str(draw.choice(STRATEGIES))
    charge_w = round(watts * float(draw.uniform(0.1, 0.3)) * least_a)
    device |= {
        "capacity_wh": float(draw.choice([300, 3_000, 20_000])),
        "max_charge_w": charge_w,
        "max_discharge_w": round(watts * float(draw.uniform(0.1, 0.3)) * least_a),
        "strategy": strategy,
        "reserve": float(draw.choice([0.1, 0.2, 0.4])),
        "feeds_cars": bool(draw.random() < 0.6),
        "grid_charging": bool(draw.random() < 0.6),
        "counts_for_fuse": bool(draw.random() < 0.6),
        "fallback_w": charge_w / 2 if device["revert_s"] and draw.random() < 0.2 else 0.0,
    }
    if strategy == "peak_shaving":
        device["target_w"] = round(3 * NOMINAL_VOLTAGE_V * float(draw.uniform(0.1, 0.8)) * least_a)
    return device


def _inverter(draw: np.random.Generator, board: str, least_a: float) -> dict[str, Any]:
    device = _device(draw, board)
    watts = device["phases"] * NOMINAL_VOLTAGE_V
    curtailable = bool(draw.random() < 0.8)
    most = 0.5 if curtailable else 0.2
    return device | {
        "max_power_w": round(watts * float(draw.uniform(0.1, most)) * least_a),
        "curtailable": curtailable,
    }


def draw_export(seed: int, inverters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Limits of what may flow back, for the connection and for boards with an inverter."""
    draw = stream(seed, "generate", "export")
    found: dict[str, dict[str, Any]] = {}
    for name in ("main", *(inverter["fed_by"] for inverter in inverters.values())):
        if draw.random() < 0.6:
            found[name] = {"max_export_a": float(draw.choice([0, 3, 10, 25]))}
        elif draw.random() < 0.3:
            found[name] = {"max_export_w": float(draw.choice([0, 3_000, 15_000]))}
    return found


def draw_sun(seed: int, site: Site, length_s: float, start: datetime) -> tuple[Load, ...]:
    """A sky that changes each half minute, from nothing to more than an inverter can take."""
    loads = []
    for name, inverter in site.inverter.items():
        draw = stream(seed, "generate", "sun", name)
        steps = int(length_s) // SUN_STEP_S + 2
        level = np.clip(float(draw.uniform(0, 1.1)) + np.cumsum(draw.normal(0, 0.08, steps)), 0, 1.1)
        values = tuple(float(round(value, 3)) for value in level)
        profile = Profile(start.replace(tzinfo=None), SUN_STEP_S, values)
        each = 1 / inverter.phases
        loads.append(Load("", inverter.max_power_w, profile, (each, each, each), ZoneInfo("UTC"), name))
    return tuple(loads)


def draw_device_faults(seed: int, site: Site, length_s: float) -> list[dict[str, Any]]:
    """A battery and an inverter that die, ignore, fight or fall silent, and a cloud that comes again."""
    draw = stream(seed, "generate", "device faults")
    found: list[dict[str, Any]] = []
    for kind, names in (("battery", list(site.battery)), ("inverter", list(site.inverter))):
        if not names or draw.random() < 0.3:
            continue
        faults = {
            "battery": ["battery_dies", "battery_silent", "battery_fights", "soc_lost"],
            "inverter": ["inverter_dies", "inverter_silent", "inverter_ignores"],
        }[kind]
        found.append(
            {
                "kind": str(draw.choice(faults)),
                kind: str(draw.choice(names)),
                "at_s": float(draw.integers(120, max(121, int(0.7 * length_s)))),
                "for_s": float(draw.choice([5, 30, 200])),
            }
        )
    if site.inverter and draw.random() < 0.5:
        found.append(
            {
                "kind": "cloud",
                "inverter": str(draw.choice(list(site.inverter))),
                "share": round(float(draw.uniform(0, 0.6)), 2),
                "at_s": float(draw.integers(60, 300)),
                "for_s": 45.0,
                "every_s": 150.0,
            }
        )
    return found
