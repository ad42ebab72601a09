"""Random sites with faults from a seed, and the judgement of a run on its truth (docs/control.md 9, 10)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.site import Site, build
from tests.controller.bench_site import Car, World

ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2", "L1 L3 L2")


@dataclass
class Story:
    """A site, its cars and its building; `blind_s` is T_B from the true delays."""

    site: Site
    cars: list[Car]
    loads: Any
    lag_s: int
    blind_s: int
    seconds: int
    proven: bool = True


def story(
    seed: int, *, connectors: int = 0, seconds: int = 700, faults: bool = True, proven: bool = True
) -> Story:
    """Trees of up to four levels, three kinds of metering, 1- to 3-phase cars, pauses, losses, faults."""
    pick = random.Random(f"story/{seed}")
    count = connectors or pick.randrange(4, 24)
    loss = pick.choice([0, 0, 0.05, 0.15]) if faults else 0.0
    every = pick.choice([10, 30])
    tree = _tree(pick, count)
    confirmed = pick.choice([0.0, 0.5, 1.0])
    cars = [_car(pick, every, loss, faults) for _ in range(count)]
    if faults and pick.random() < 0.4:
        pick.choice(cars).ignores = True
    if faults and pick.random() < 0.5:
        start = pick.randrange(200, 400)
        pick.choice(cars).offline = (start, start + pick.randrange(60, 300))
    tables = {
        "name": f"Story {seed}",
        "timezone": "UTC",
        "accept_unsafe_fallback": "story, test",
        "grid": tree,
        "meter": _meters(pick, tree),
        "chargepoint": {
            f"cp{n:02}": {
                "identity": f"CP{n}",
                "fed_by": pick.choice(list(tree)),
                "sample_interval_s": every,
                "lease_s": pick.choice([0, 0, 120]),
                "connector": [
                    {
                        "number": 1,
                        "max_current_a": 32,
                        "step_a": pick.choice([0.1, 1, 1]),
                        "rotation": pick.choice(ROTATIONS),
                        "rotation_confirmed_by": "test" if pick.random() < confirmed else "",
                    }
                ],
            }
            for n in range(count)
        },
    }
    lag = pick.choice([1, 2, 3])
    late = max(car.latency_s for car in cars) + (45 if loss else 0)
    meets = every * (4 if loss else 1) + late
    slow = max(car.down_s for car in cars)
    blind = round(lag + 2 + late + slow + meets + late + max(car.up_s for car in cars)) + 5
    return Story(build(tables, "story"), cars, _building(pick, tree, seconds), lag, blind, seconds, proven)


def _tree(pick: random.Random, count: int) -> dict[str, dict[str, Any]]:
    fuse = pick.choice([3.5, 6.0, 9.0]) * count + 40
    tree: dict[str, dict[str, Any]] = {"main": {"id": 0, "max_current_a": round(fuse)}}
    for n in range(1, pick.randrange(1, 5)):
        parent = pick.choice(list(tree))
        share = tree[parent]["max_current_a"]
        tree[f"board_{n}"] = {
            "id": n,
            "fed_by": parent,
            "rotation": pick.choice(ROTATIONS),
            "max_current_a": max(
                round((share if isinstance(share, int) else 63) * pick.uniform(0.4, 0.9)), 40
            ),
        }
    return tree


def _meters(pick: random.Random, tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    meters: dict[str, dict[str, Any]] = {"main": {"grid": "main", "role": "guard", "delay_s": 3.0}}
    for name in list(tree)[1:]:
        kind = pick.choice(["guard", "consumer", "none"])
        if kind == "none":
            tree[name]["uncontrolled_a"] = 12
        else:
            meters[name] = {"grid": name, "role": kind, "delay_s": 3.0}
    return meters


def _car(pick: random.Random, every: int, loss: float, faults: bool) -> Car:
    pauses = faults and pick.random() < 0.3
    return Car(
        most_a=pick.choice([16, 16, 20, 32]),
        phases=pick.choice([1, 1, 2, 3, 3, 3]),
        start_s=pick.choice([3, 3, 20, 100, 250]),
        leave_s=pick.choice([10**9, 10**9, 450]),
        down_s=pick.choice([1, 3, 5]),
        up_s=pick.choice([2, 10, 25]),
        read_every_s=every,
        read_phase_s=pick.randrange(every),
        latency_s=pick.choice([0, 1, 3]),
        loss=loss,
        pause_every_s=400 if pauses else 0,
        pause_offset_s=pick.randrange(400),
        share=1 - 0.04 * pick.random(),
    )


def _building(pick: random.Random, tree: dict[str, dict[str, Any]], seconds: int) -> Any:
    """Steps per grid and phase, at most 12 A on boards (which one of them declares as its worst)."""
    series = {}
    for g, name in enumerate(tree):
        top = 25 if name == "main" else 12
        for p in range(3):
            values: list[int] = []
            while len(values) <= seconds + 1:
                values += [pick.randrange(0, top + 1)] * pick.randrange(40, 200)
            series[g, p] = values
    return lambda g, p, second: series[g, p][second]


@dataclass
class Verdict:
    """What the truth says of a run: A s per figure, and every breach with its second."""

    own_as: float = 0.0
    worst_own_a: float = 0.0
    breaches: list[str] = field(default_factory=list)
    used_as: float = 0.0


def play(story: Story, world: World | None = None) -> tuple[World, Verdict]:
    """Run a story and judge every second of it."""
    world = world or World(story.site, story.cars, story.loads, meter_lag_s=story.lag_s, proven=story.proven)
    verdict = Verdict()
    loads: list[Any] = []
    drawn: list[Any] = []
    ordered: list[list[float]] = [[] for _ in story.cars]
    for second in range(1, story.seconds):
        world.step()
        draws = world.draws()
        for c, car in enumerate(story.cars):
            row = world.memory.connectors[c]
            ordered[c].append(float(row["target_ma"]) / 1000)
            held = max(ordered[c][-40:])
            if car.ignores:
                draws[c] = np.minimum(draws[c], held)
            elif car.draw_a > float(row["committed_ma"]) / 1000 + max(0.7, 0.05 * car.draw_a):
                verdict.breaches.append(
                    f"{second} s: {c} draws {car.draw_a:.1f} A, booked {row['committed_ma']}"
                )
            minimum = int(world.topology.connectors[c]["min_ma"])
            if 0 < row["target_ma"] < minimum:
                verdict.breaches.append(f"{second} s: {c} has the order {row['target_ma']} mA")
            verdict.used_as += car.draw_a
        sums = np.zeros_like(world.currents)
        for c in range(len(story.cars)):
            path = world.topology.connectors[c]
            for d in range(path["depth"]):
                sums[path["path"][d]] += draws[c]
        loads.append(world.uncontrolled.copy())
        drawn.append(sums)
    _judge_own(story, world, loads, drawn, verdict)
    return world, verdict


def _judge_own(story: Story, world: World, loads: list[Any], drawn: list[Any], verdict: Verdict) -> None:
    fuse = world.topology.grids["limit_ma"] / 1000
    silence = max((car.offline[1] - car.offline[0] for car in story.cars), default=0)
    load, cars = np.array(loads), np.array(drawn)
    window = story.blind_s + max(silence, 0)
    for second in range(len(load)):
        least = load[max(0, second - window) : second + 1].min(axis=0)
        own = np.minimum(cars[second], np.maximum(cars[second] + least - fuse, 0))
        if own.max() > 0.05:
            g, p = np.unravel_index(own.argmax(), own.shape)
            place = f"{world.topology.grid_names[int(g)]} L{int(p) + 1}"
            verdict.breaches.append(f"{second + 1} s: own overshoot {own.max():.2f} A in {place}")
        verdict.own_as += float(own.sum())
        verdict.worst_own_a = max(verdict.worst_own_a, float(own.max()))
