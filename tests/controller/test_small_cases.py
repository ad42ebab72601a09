"""The small cases of docs/control.md 11: own overshoot 0, use and reversals as measured, less a little."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from tests.controller.bench_site import Car, World, garage

BLIND_S = 83
"""T_B: meter and cycle, reaction, readings each 30 s, a car's way up."""
SETTLE_S = 300


@dataclass
class Figures:
    own_as: float
    utilisation: float
    reversals: float  # of the worst connector, per hour
    overdrawn: int  # instants at which a car drew more than it was booked at


def fleet(count=8, **words):
    pick = random.Random(5)
    return [
        Car(
            start_s=5 + n,
            read_phase_s=pick.randrange(30),
            latency_s=pick.choice([0, 1]),
            up_s=pick.choice([5, 10, 15]),
            share=1 - pick.random() * 0.04,
            **words,
        )
        for n in range(count)
    ]


def run(cars, load, seconds, fuse_a=100, margin_a=3):
    world = World(garage(len(cars), fuse_a, margin_a), cars, load)
    loads, drawn, targets, overdrawn = [], [], [], 0
    for _ in range(seconds):
        decision = world.step()
        loads.append(world.uncontrolled[0])
        drawn.append(world.draws().sum(axis=0))
        targets.append(decision.connectors["target_ma"])
        booked_a = decision.connectors["committed_ma"] / 1000
        draws_a = np.array([car.draw_a for car in cars])
        overdrawn += int((draws_a > booked_a + np.maximum(0.7, 0.05 * booked_a)).sum())
    load_a, cars_a = np.array(loads), np.array(drawn)
    least = np.array([load_a[max(0, t - BLIND_S) : t + 1].min(axis=0) for t in range(seconds)])
    own_as = np.minimum(cars_a, np.maximum(0, cars_a + least - fuse_a)).sum()
    best = np.minimum(np.maximum(0, fuse_a - margin_a - load_a), sum(car.most_a for car in cars))
    used = cars_a[SETTLE_S:, 0].sum() / best[SETTLE_S:, 0].sum()
    hours = (seconds - SETTLE_S) / 3_600
    return Figures(own_as, used, max(map(reversals, np.array(targets)[SETTLE_S:].T)) / hours, overdrawn)


def reversals(targets_ma):
    """Changes of direction of a sent limit, 1 A or more."""
    turns, last, direction = 0, targets_ma[0], 0
    for target in targets_ma:
        if abs(target - last) >= 1_000:
            turns += int(direction * (target - last) < 0)
            direction = 1 if target > last else -1
            last = target
    return turns


def constant(_g, _p, _t):
    return 20.0


def steps(_g, _p, t):
    return 20.0 if t // 300 % 2 == 0 else 50.0


def at_random():
    pick, values = random.Random(3), []
    while len(values) < 4_000:
        values += [20.0 + pick.choice([0, 5, 10, 20])] * pick.randrange(20, 150)
    return lambda _g, _p, t: values[t]


def pausing():
    cars = fleet()
    for n, car in enumerate(cars):
        car.pause_every_s, car.pause_offset_s = 400, 50 * n
    return cars


CASES = {  # cars, load, seconds, garage; least utilisation, most reversals per hour
    "constant": (fleet, constant, 3_600, {}, 0.97, 0),
    "steps": (fleet, steps, 3_600, {}, 0.955, 13),
    "random": (fleet, at_random(), 3_600, {}, 0.95, 32),
    "pauses": (pausing, constant, 3_600, {}, 0.905, 2),
    "turns": (lambda: fleet(loss=0.2, down_s=10), constant, 7_200, {"fuse_a": 54}, 0.945, 4),
    "40 cars on 340 A": (
        lambda: fleet(40),
        lambda _g, _p, _t: 0.0,
        3_600,
        {"fuse_a": 340, "margin_a": 5},
        0.975,
        0,
    ),
    "200 cars on 1600 A": (
        lambda: fleet(200),
        lambda _g, _p, _t: 0.0,
        1_200,
        {"fuse_a": 1_600, "margin_a": 10},
        0.975,
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_no_overload_of_its_own_and_as_much_use_as_was_measured(name):
    cars, load, seconds, site, least_use, most_reversals = CASES[name]
    figures = run(cars(), load, seconds, **site)
    print(name, figures)
    assert figures.own_as == 0
    assert figures.overdrawn == 0
    assert figures.utilisation >= least_use
    assert figures.reversals <= most_reversals
