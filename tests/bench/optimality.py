"""How far sharing is from what no controller could do better, on random trees."""

from __future__ import annotations

import numpy as np

from tests.bench.figure import Figure, say
from tests.controller.reference import Tree, admitted_of_most, farthest_ma, gap_per_mille

SIZES = ((12, 5), (50, 8), (200, 20))
TREES, QUEUES = 10, 300


def measure() -> dict[str, Figure]:
    """Filling against the lexicographic max-min optimum, admission against the best set (HiGHS)."""
    found = {
        "optimality_filling_ma": _filling(power=False),
        "optimality_filling_power_ma": _filling(power=True),
    }
    for step_ma in (1_000, 4_000):
        gaps = [
            gap_per_mille(Tree(seed, cars, grids, step_ma=step_ma)) / 10
            for cars, grids in SIZES
            for seed in range(TREES)
        ]
        how = f"all shares under the optimum without steps; worst of {len(gaps)}, mean {np.mean(gaps):.2f} %"
        found[f"optimality_step_{step_ma // 1000}_a_percent"] = Figure(float(max(gaps)), "%", how)
    return found | _admission()


def _filling(*, power: bool) -> Figure:
    worst = max(farthest_ma(Tree(seed, *size, power=power)) for size in SIZES for seed in range(TREES))
    say(f"filling, power limits {power}: {worst:.2f} mA from the optimum at most")
    how = f"farthest share of {len(SIZES) * TREES} trees with 12 to 200 connectors from the optimum"
    return Figure(worst, "mA", how + (", with a limit on the phases together" if power else ""))


def _admission() -> dict[str, Figure]:
    dice = np.random.default_rng(1)
    pairs = []
    for seed in range(QUEUES):
        cars, grids = int(dice.integers(4, 13)), int(dice.integers(1, 5))
        pairs.append(admitted_of_most(Tree(seed, cars, grids, plenty=-4.0)))
    admitted, most = np.array(pairs).T
    counted = most > 0
    ratios = 100 * admitted[counted] / most[counted]
    exact = 100 * float((admitted == most).mean())
    how = (
        f"{QUEUES} queues of 4 to 12 cars where not all minimums fit, against the largest set (MILP);"
        f" the largest set itself in {exact:.0f} %"
    )
    say(f"admission: mean {ratios.mean():.1f} %, worst {ratios.min():.0f} % of the largest set")
    return {
        "optimality_admitted_mean_percent": Figure(float(ratios.mean()), "%", how),
        "optimality_admitted_worst_percent": Figure(float(ratios.min()), "%", how),
    }
