"""A real week of a workplace car park in true mode, beside what perfect foresight could have served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from scenarios.figures import Served
from scenarios.optimum import bounds
from scenarios.run import run
from scenarios.scenario import load
from tests.bench.car_park import LIBRARY
from tests.bench.figure import Figure, say

CONNECTIONS_A = (160, 80)


def place_shares(sessions: Iterable[Served]) -> np.ndarray:
    """Delivered over possible, per connector over all its sessions: the file names no drivers."""
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for session in sessions:
        sums[session.connector][0] += session.delivered_wh
        sums[session.connector][1] += session.possible_wh
    return np.array([delivered / possible for delivered, possible in sums.values() if possible >= 1.0])


def measure() -> dict[str, Figure]:
    """ISO week 2019-W20 of JPL on both connections."""
    return {name: figure for amps in CONNECTIONS_A for name, figure in week(amps).items()}


def week(amps: int) -> dict[str, Figure]:
    """One connection; fails when more was served than the bound allows."""
    result = run(load(LIBRARY / f"jpl_2019-W20_{amps}.toml"))
    figures = result.figures
    say(
        f"3 x {amps} A: {figures.delivered_kwh:,.1f} kWh in {figures.wall_s:.1f} s, {figures.cycles:,} cycles"
    )
    best = bounds(result)
    say(f"3 x {amps} A: {best.limit_kwh:,.1f} kWh with perfect foresight, {best.margin_kwh:,.1f} less margin")
    how = (
        f"JPL 2019-W20, {figures.sessions} real sessions on 52 stations, true mode, 3 x {amps} A with the"
        f" SimBench G5-A building; as docs/control.md defines it; {figures.wall_s:.1f} s by the wall"
    )
    bound = "linear programme with perfect foresight, 15 min steps, {}; asserted to be no less than served"
    shares = place_shares(result.sessions)
    rows = {
        "own_as": Figure(figures.own_as, "A s", how),
        "disturbance_as": Figure(figures.disturbance_as, "A s", f"longest {figures.longest_over_s:g} s"),
        "fuse_trips": Figure(figures.fuse_trips, "", "fuses opened in the week"),
        "served_kwh": Figure(figures.delivered_kwh, "kWh", "metered at the outlets"),
        "bound_limit_kwh": Figure(best.limit_kwh, "kWh", bound.format("up to the limit")),
        "bound_margin_kwh": Figure(best.margin_kwh, "kWh", bound.format("up to limit less margin")),
        "served_of_bound_percent": Figure(
            100 * figures.delivered_kwh / best.margin_kwh, "%", "of the bound up to limit less margin"
        ),
        "p10_share_percent": Figure(
            figures.p10_share_percent, "%", "10th percentile of delivered over possible, per session"
        ),
        "p10_of_mean_percent": Figure(
            100 * float(np.percentile(shares, 10) / shares.mean()),
            "%",
            "10th percentile over mean, of delivered over possible per place and week",
        ),
        "writes_per_connector_day": Figure(
            figures.writes_per_connector_day, "", "accepted limits, renewals of the 900 s lease included"
        ),
    }
    return {f"week_{amps}_{name}": figure for name, figure in rows.items()}
