"""What a simulated day costs in both modes, and whether minute mode serves what true mode serves."""

from __future__ import annotations

import time
from typing import NamedTuple

from scenarios.figures import Figures
from scenarios.run import play
from scenarios.scenario import Mode
from tests.bench.car_park import day
from tests.bench.figure import Figure, say

TICKS = 1440
SMALL = {"decks": 1, "boards": 2}
DRIVERS_20, DRIVERS_200 = 100, 880  # about 40 and 400 sessions come of them


class Day(NamedTuple):
    """The cheapest of several runs of a day."""

    cpu_s: float
    wall_s: float
    figures: Figures

    def words(self) -> str:
        """What was run and what came of it."""
        figures = self.figures
        return (
            f"{figures.sessions} sessions, {figures.cycles:,} cycles, {figures.delivered_kwh:,.1f} kWh,"
            f" {figures.served_of_possible_percent:.1f} % of what the cars could have taken, own-caused"
            f" overshoot {figures.own_as:g} A s, {figures.writes_per_connector_day:.0f} writes per connector,"
            f" {self.wall_s:.2f} s by the wall"
        )


def run(connectors: int, drivers: int, mode: Mode, repeats: int, **shape: int) -> Day:
    """Run a day some times."""
    story = day(connectors, drivers, mode, **shape)
    days = []
    for _ in range(repeats):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        result = play(story)
        days.append(Day(time.process_time() - cpu_s, time.perf_counter() - wall_s, result.figures))
        say(f"{connectors} connectors, {mode} mode: {days[-1].cpu_s:.2f} s CPU")
    return min(days, key=lambda one: one.cpu_s)


def measure() -> dict[str, Figure]:
    """A day of 20 and of 200 connectors, in both modes."""
    play(day(20, 4, "true", **SMALL))  # compiled kernels are loaded once per process
    minute_20 = run(20, DRIVERS_20, "minute", 2, **SMALL)
    minute_200 = run(200, DRIVERS_200, "minute", 5)
    true_20 = run(20, DRIVERS_20, "true", 5, **SMALL)
    true_200 = run(200, DRIVERS_200, "true", 3)
    per_tick_us = minute_200.cpu_s / TICKS / 200 * 1e6
    how = "CPU time of the whole run with controller, figures and start, least of {} runs; {}"
    return {
        "twin_200_us_per_connector_tick": Figure(
            per_tick_us, "us", how.format(5, f"20 grids, {TICKS} ticks; {minute_200.words()}")
        ),
        "twin_20_day_true_s": Figure(true_20.cpu_s, "s", how.format(5, f"4 grids; {true_20.words()}")),
        "twin_200_day_true_s": Figure(true_200.cpu_s, "s", how.format(3, f"20 grids; {true_200.words()}")),
        "minute_against_true_20_percent": _difference(minute_20, true_20),
        "minute_against_true_200_percent": _difference(minute_200, true_200),
    }


def _difference(minute: Day, true: Day) -> Figure:
    served, reference = minute.figures.delivered_kwh, true.figures.delivered_kwh
    how = f"energy of the same day: {served:,.1f} kWh in minute mode, {reference:,.1f} kWh in true mode"
    return Figure(100 * (served - reference) / reference, "%", how)
