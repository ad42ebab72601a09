"""A year of 54 connectors in minute mode, the controller in the loop: how long it takes and what it keeps."""

from __future__ import annotations

import time
from pathlib import Path

from scenarios.run import play
from tests.bench.car_park import day
from tests.bench.figure import Figure, say

CONNECTORS, DRIVERS, DAYS = 54, 240, 365  # about two sessions a day and connector
SHAPE = {"decks": 2, "boards": 6}
WARM = 1 / 12
"""Share of the year after which what the process holds is compared with its end."""


def measure() -> dict[str, Figure]:
    """One run: it is long enough to be its own repetition."""
    play(day(20, 4, "minute", decks=1, boards=2))  # compiled kernels are loaded once per process
    story = day(CONNECTORS, DRIVERS, "minute", days=DAYS, **SHAPE)
    held_mb: list[tuple[float, float]] = []
    began_s = time.process_time()
    result = play(story, progress=lambda share: held_mb.append((share, _rss_mb())))
    cpu_s = time.process_time() - began_s
    warm_mb = next(mb for share, mb in held_mb if share >= WARM)
    grown_mb = held_mb[-1][1] - warm_mb
    say(f"{cpu_s:.1f} s CPU, {warm_mb:.0f} MB after a month and {grown_mb:+.1f} MB at the end")
    figures = result.figures
    how = (
        f"CPU time of the whole run with controller and figures; {len(story.topology.grids)} grids,"
        f" {figures.sessions:,} sessions, {figures.cycles:,} cycles, {figures.delivered_kwh:,.0f} kWh,"
        f" {figures.served_of_possible_percent:.1f} % of what the cars could have taken"
    )
    return {
        "twin_54_year_s": Figure(cpu_s, "s", how),
        "twin_54_year_growth_mb": Figure(
            grown_mb, "MB", f"resident memory at the end less that after a month, {warm_mb:.0f} MB"
        ),
    }


def _rss_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000
