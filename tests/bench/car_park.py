"""The car parks that are measured: a building before them, decks and boards below, and too little for all."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from scenarios.scenario import Mode, Scenario, Story, prepare

ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")
LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"
TUESDAY = datetime(2026, 5, 12)


def car_park(connectors: int, *, decks: int = 4, boards: int = 15) -> dict[str, Any]:
    """Tables of a site: a connection, decks with guard meters, boards with chargepoints only under them."""
    main_a = round(connectors * 4.0 + 40)
    grid: dict[str, Any] = {"main": {"id": 0, "max_current_a": main_a, "worst_load_a": main_a // 2}}
    meter: dict[str, Any] = {"main": {"grid": "main", "role": "guard"}}
    for deck in range(decks):
        name = f"deck_{deck}"
        grid[name] = {"id": 1 + deck, "fed_by": "main", "max_current_a": main_a // 2}
        meter[name] = {"grid": name, "role": "guard"}
    for board in range(boards):
        grid[f"board_{board:02}"] = {
            "id": 1 + decks + board,
            "fed_by": f"deck_{board % decks}" if decks else "main",
            "rotation": ROTATIONS[board % 3],
            "max_current_a": round(connectors / boards * 10 + 20),
            "uncontrolled_a": 0,
        }
    chargepoint = {
        f"bay_{n:03}": {
            "identity": f"BAY-{n:03}",
            "lease_s": 900,
            "fed_by": f"board_{n % boards:02}",
            "connector": [
                {
                    "number": 1,
                    "max_current_a": 32,
                    "rotation": ROTATIONS[n // boards % 3],
                    "rotation_confirmed_by": "bench",
                }
            ],
        }
        for n in range(connectors)
    }
    return {
        "name": f"Car park of {connectors}",
        "timezone": "Europe/Amsterdam",
        "grid": grid,
        "meter": meter,
        "chargepoint": chargepoint,
    }


def day(connectors: int, drivers: int, mode: Mode, *, days: int = 1, **shape: int) -> Story:
    """A Tuesday, and the days after it, with drivers of public charging and an office building."""
    return prepare(
        Scenario.model_validate(
            {
                "name": f"A day of {connectors} connectors",
                "site": car_park(connectors, **shape),
                "start": TUESDAY,
                "length_s": days * 86_400,
                "seed": 1,
                "mode": mode,
                "sessions": {"kind": "generator", "population": "public", "drivers": drivers},
                "load": [
                    {
                        "grid": "main",
                        "file": str(LIBRARY / "data" / "simbench_2016_W19.csv"),
                        "column": "G5-A",
                        "peak_kw": connectors * 0.8,
                        "split": (1.1, 1.0, 0.9),
                    }
                ],
            }
        )
    )
