"""The small cases of docs/control.md: how much of the room is used, how calm, and no overshoot of our own."""

from __future__ import annotations

from tests.bench.figure import Figure, say
from tests.controller.test_small_cases import CASES, SETTLE_S, run

NAMES = {
    "constant": "const",
    "steps": "steps",
    "random": "random",
    "pauses": "pauses",
    "turns": "turns",
    "40 cars on 340 A": "40_on_340",
    "200 cars on 1600 A": "200_on_1600",
}


def measure() -> dict[str, Figure]:
    """Utilisation, reversals and own overshoot of every case."""
    found = {}
    for case, name in NAMES.items():
        cars, load, seconds, site, *_ = CASES[case]
        figures = run(cars(), load, seconds, **site)
        say(f"{case}: {100 * figures.utilisation:.1f} % used")
        how = f"{case}, {seconds} s, a truth that shares no code with the twin"
        found[f"small_{name}_utilisation_percent"] = Figure(
            100 * figures.utilisation, "%", f"{how}; after {SETTLE_S} s, of what exact filling could use"
        )
        found[f"small_{name}_reversals_per_hour"] = Figure(
            figures.reversals, "1/h", f"{how}; worst connector, changes of direction of 1 A or more"
        )
        found[f"small_{name}_own_as"] = Figure(figures.own_as, "A s", f"{how}; longest blind window")
    return found
