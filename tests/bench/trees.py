"""Random trees with faults, the same without, and garages with slow meters and slow chargepoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scenarios.parallel import cores, finished
from scenarios.run import play
from scenarios.scenario import Story
from scenarios.steadiness import Calm, Steadiness
from tests.bench.figure import Figure, say
from tests.bench.groves import CONFIRMED, READINGS_S, garage, grove, traits

TREES, QUIET_TREES = 144, 36
CARS, METER_LAGS_S = (4, 8, 200), (1, 5, 10)


class Work(NamedTuple):
    """What one process plays: a grove, or a garage (`cars` not 0)."""

    seed: int
    quiet: bool
    cars: int = 0
    meter_lag_s: int = 1
    sample_s: int = 30

    def story(self) -> Story:
        """The story of it."""
        if self.cars:
            return garage(self.cars, self.meter_lag_s, self.sample_s, quiet=self.quiet)
        return grove(self.seed, quiet=self.quiet)


class Run(NamedTuple):
    """What came of it."""

    work: Work
    steady: Steadiness
    own_as: float
    longest_over_s: float
    trips: int
    writes: float  # per connector and day


def look(work: Work) -> Run:
    """Play one story."""
    story = work.story()
    calm = Calm(story)
    figures = play(story, onlooker=calm).figures
    return Run(
        work,
        calm.found(),
        figures.own_as,
        figures.longest_over_s,
        figures.fuse_trips,
        figures.writes_per_connector_day,
    )


def measure() -> dict[str, Figure]:
    """All trees and garages, on all cores."""
    trees = [Work(seed, quiet=False) for seed in range(TREES)]
    calm = [Work(seed, quiet=True) for seed in range(QUIET_TREES)]
    garages = [
        Work(0, quiet, cars, lag_s, sample_s)
        for quiet in (True, False)
        for cars in CARS
        for lag_s in METER_LAGS_S
        for sample_s in READINGS_S
    ]
    runs = [run for _, run in finished(look, trees + calm + garages, cores())]
    found = _trees([run for run in runs if not run.work.quiet and not run.work.cars])
    found |= _quiet([run for run in runs if run.work.quiet and not run.work.cars])
    return found | _garages([run for run in runs if run.work.cars])


def _use(runs: Iterable[Run]) -> list[float]:
    return [100 * run.steady.use for run in runs]


def _trees(runs: list[Run]) -> dict[str, Figure]:
    how = f"{len(runs)} random trees of 1 h with faults, losses and pauses (tests/bench/groves.py)"
    use = _use(runs)
    say(f"trees: {np.mean(use):.1f} % used")
    found = {
        "own_as": Figure(sum(run.own_as for run in runs), "A s", how),
        "short_as": Figure(
            sum(run.steady.short_as for run in runs),
            "A s",
            f"window T_R, unmasked; masked or not {sum(run.steady.short_all_as for run in runs):.1f} A s",
        ),
        "fuse_trips": Figure(sum(run.trips for run in runs), "", how),
        "longest_over_s": Figure(max(run.longest_over_s for run in runs), "s", "longest time above a limit"),
        "use_mean_percent": Figure(float(np.mean(use)), "%", "of the best filling of the truth, no delays"),
        "use_median_percent": Figure(float(np.median(use)), "%", how),
        "use_p10_percent": Figure(float(np.percentile(use, 10)), "%", how),
        "use_lowest_percent": Figure(min(use), "%", how),
        "reversals_mean": Figure(
            float(np.mean([run.steady.reversals_mean for run in runs])), "1/h", "per connector with a car"
        ),
        "reversals_highest": Figure(max(run.steady.reversals_most for run in runs), "1/h", "worst connector"),
        "churn": Figure(
            float(np.mean([run.steady.churn for run in runs])), "", "ordered over best filling's changes"
        ),
        "writes_per_connector_day": Figure(float(np.mean([run.writes for run in runs])), "", how),
    }
    for kind in CONFIRMED:
        some = _use(run for run in runs if traits(run.work.seed)[0] == kind)
        found[f"use_confirmed_{kind}_percent"] = Figure(
            float(np.mean(some)), "%", f"rotation confirmed: {kind}"
        )
    for sample_s in READINGS_S:
        some = _use(run for run in runs if traits(run.work.seed)[1] == sample_s)
        found[f"use_{sample_s}_s_percent"] = Figure(float(np.mean(some)), "%", f"readings each {sample_s} s")
    return {f"trees_{name}": figure for name, figure in found.items()}


def _quiet(runs: list[Run]) -> dict[str, Figure]:
    how = f"{len(runs)} of the trees without faults, losses and pauses; a building that trembles; after 5 min"
    use = _use(runs)
    say(f"quiet trees: {np.mean(use):.1f} % used")
    found = {
        "own_as": Figure(sum(run.own_as for run in runs), "A s", how),
        "use_mean_percent": Figure(float(np.mean(use)), "%", how),
        "use_confirmed_all_percent": Figure(
            float(np.mean(_use(run for run in runs if traits(run.work.seed)[0] == "all"))), "%", how
        ),
        "reversals_mean": Figure(float(np.mean([run.steady.reversals_mean for run in runs])), "1/h", how),
        "reversals_highest": Figure(max(run.steady.reversals_most for run in runs), "1/h", "worst connector"),
        "gap_steps": Figure(
            float(np.median([run.steady.gap_steps for run in runs if traits(run.work.seed)[0] == "all"])),
            "steps",
            "median over confirmed trees of the furthest any order is below its fair share",
        ),
        "writes_per_connector_day": Figure(float(np.mean([run.writes for run in runs])), "", how),
    }
    return {f"quiet_trees_{name}": figure for name, figure in found.items()}


def _garages(runs: list[Run]) -> dict[str, Figure]:
    how = (
        "garages of 4, 8, 200 cars, meters 1, 5, 10 s late, readings each 10, 30, 60 s, 40 min;"
        " the worst of the cases"
    )
    still = [run for run in runs if run.work.quiet]
    moved = [run for run in runs if not run.work.quiet]
    say(f"garages: {np.mean(_use(still)):.1f} % used when quiet, {np.mean(_use(moved)):.1f} % else")
    found = {
        "own_as": Figure(sum(run.own_as for run in runs), "A s", f"{how}, sum over all"),
        "steady_use_percent": Figure(min(_use(still)), "%", how),
        "steady_reversals": Figure(max(run.steady.reversals_most for run in still), "1/h", how),
        "steady_gap_steps": Figure(max(run.steady.gap_steps for run in still), "steps", how),
        "reversals_mean": Figure(float(np.mean([run.steady.reversals_mean for run in moved])), "1/h", how),
        "churn": Figure(max(run.steady.churn for run in moved), "", "building in steps of 5, 10, 20 % of F"),
    }
    for sample_s in READINGS_S:
        some = _use(run for run in moved if run.work.sample_s == sample_s)
        found[f"use_{sample_s}_s_percent"] = Figure(min(some), "%", f"building in steps; {how}")
    return {f"garages_{name}": figure for name, figure in found.items()}
