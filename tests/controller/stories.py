"""Random sites with faults from a seed, and the judgement of a run on its truth (docs/control.md 9, 10).

`python -m tests.controller.stories SEED [--seconds N] [--unproven]` plays one again and prints what broke.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.decision import Alarm, Decision
from controller.site import Site, build
from tests.controller.bench_site import Car, World

TOP_MAIN_A, TOP_BOARD_A = 25, 12
"""Most that the building takes of the connection itself, and of each board."""
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
    silent: list[tuple[int, int, int]] = field(default_factory=list)  # meter row, from s, until s

    def world(self) -> World:
        """The world of this story before its first second."""
        world = World(self.site, self.cars, self.loads, meter_lag_s=self.lag_s, proven=self.proven)
        world.silent = self.silent
        return world


def story(
    seed: int, *, connectors: int = 0, seconds: int = 700, faults: bool = True, proven: bool = True
) -> Story:
    """Trees of up to four levels, three kinds of metering, 1- to 3-phase cars, pauses, losses, faults."""
    pick = random.Random(f"story/{seed}")
    count = connectors or pick.randrange(4, 24)
    loss = pick.choice([0, 0, 0.05, 0.15]) if faults else 0.0
    every = pick.choice([10, 30])
    tree = _tree(pick, count)
    extreme = faults and pick.random() < 0.3  # the building alone will be above the main fuse
    confirmed = pick.choice([0.0, 0.5, 1.0])
    cars = [_car(pick, every, loss, faults) for _ in range(count)]
    if faults and pick.random() < 0.4:
        pick.choice(cars).ignores = True
    if faults and pick.random() < 0.5:
        start = pick.randrange(200, 400)
        pick.choice(cars).offline = (start, start + pick.randrange(60, 300))
    meters = _meters(pick, tree, extreme)
    room = dict.fromkeys(tree, 0.0) if extreme else _room_for_fallbacks(tree)
    tables = {
        "name": f"Story {seed}",
        "timezone": "UTC",
        "accept_unsafe_fallback": "story, test",
        "grid": tree,
        "meter": meters,
        "chargepoint": {
            f"cp{n:02}": _chargepoint(pick, f"CP{n}", tree, room, every, confirmed) for n in range(count)
        },
    }
    lag = pick.choice([1, 2, 3])
    silent = _silences(pick, len(meters), seconds) if faults else []
    late = max(car.latency_s for car in cars) + (45 if loss else 0)
    meets = every * (4 if loss else 1) + late
    slow = max(car.down_s for car in cars)
    deaf = max((min(end - start, 13) for _, start, end in silent), default=0)
    blind = round(lag + 2 + late + slow + meets + late + max(car.up_s for car in cars)) + 5 + deaf
    loads = _building(pick, tree, seconds, extreme)
    return Story(build(tables, "story"), cars, loads, lag, blind, seconds, proven, silent)


def _chargepoint(
    pick: random.Random,
    identity: str,
    tree: dict[str, dict[str, Any]],
    room: dict[str, float],
    every: int,
    confirmed: float,
) -> dict[str, Any]:
    board, lease = pick.choice(list(tree)), pick.choice([0, 0, 120])
    fallback = pick.choice([0, 6]) if lease else 0
    above = [board]
    while "fed_by" in tree[above[-1]]:
        above.append(tree[above[-1]]["fed_by"])
    if any(room[name] < fallback for name in above):
        fallback = 0
    for name in above:
        room[name] -= fallback
    outlet = {
        "number": 1,
        "max_current_a": 32,
        "step_a": pick.choice([0.1, 1, 1]),
        "rotation": pick.choice(ROTATIONS),
        "rotation_confirmed_by": "test" if pick.random() < confirmed else "",
    }
    return {
        "identity": identity,
        "fed_by": board,
        "sample_interval_s": every,
        "lease_s": lease,
        "fallback_a": fallback,
        "connector": [outlet],
    }


def _worst_a(tree: dict[str, dict[str, Any]], name: str) -> float:
    """Most that the building takes behind a board."""
    own = TOP_BOARD_A if "fed_by" in tree[name] else TOP_MAIN_A
    return own + sum(_worst_a(tree, child) for child, row in tree.items() if row.get("fed_by") == name)


def _room_for_fallbacks(tree: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What boxes may draw by themselves beside the worst load of the building."""
    return {name: row["max_current_a"] * 0.95 - 3 - _worst_a(tree, name) for name, row in tree.items()}


def _silences(pick: random.Random, meters: int, seconds: int) -> list[tuple[int, int, int]]:
    """Meters that fall silent: for a moment, until they are old, until they are lost."""
    found = []
    for m in range(meters):
        if pick.random() < 0.3:
            start = pick.randrange(100, max(seconds - 50, 101))
            found.append((m, start, start + pick.choice([2, 5, 9, 14, 60])))
    return found


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


def _meters(pick: random.Random, tree: dict[str, dict[str, Any]], extreme: bool) -> dict[str, dict[str, Any]]:
    meters: dict[str, dict[str, Any]] = {}
    for name, board in tree.items():
        kind = pick.choice(["guard", "consumer", "none"]) if meters else "guard"
        if kind == "none":
            board["uncontrolled_a"] = TOP_BOARD_A
            continue
        safe = round(board["max_current_a"] - _worst_a(tree, name) - 1)
        panics = extreme or safe < 0 or pick.random() < 0.5
        failure = "panic" if panics else {"safe_current_a": safe}
        meters[name] = {"grid": name, "role": kind, "delay_s": 3.0, "on_failure": failure}
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
        clock_s=pick.choice([-2, 0, 2]),
    )


def _building(pick: random.Random, tree: dict[str, dict[str, Any]], seconds: int, extreme: bool) -> Any:
    """Steps per grid and phase; in some stories the building alone is above the main fuse for a while."""
    series = {}
    for g, name in enumerate(tree):
        top = TOP_MAIN_A if name == "main" else TOP_BOARD_A
        for p in range(3):
            values: list[int] = []
            while len(values) <= seconds + 1:
                values += [pick.randrange(0, top + 1)] * pick.randrange(40, 200)
            series[g, p] = values
    if extreme:
        start, phase = pick.randrange(100, seconds), pick.randrange(3)
        end = min(start + pick.randrange(5, 150), seconds)
        series[0, phase][start:end] = [tree["main"]["max_current_a"] + 20] * (end - start)
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
    world = world or story.world()
    verdict = Verdict()
    loads: list[Any] = []
    drawn: list[Any] = []
    ordered: list[list[float]] = [[] for _ in story.cars]
    for second in range(1, story.seconds):
        targets = world.memory.connectors["target_ma"].copy()
        decision = world.step()
        _judge_decision(world, decision, targets, verdict)
        draws = world.draws()
        for c, car in enumerate(story.cars):
            row = world.memory.connectors[c]
            ordered[c].append(float(row["target_ma"]) / 1000)
            if car.ignores:
                draws[c] = np.minimum(draws[c], max(ordered[c][-40:]))
            elif car.draw_a > float(row["committed_ma"]) / 1000 + 0.001:
                verdict.breaches.append(
                    f"{second} s: {c} draws {car.draw_a:.1f} A, booked {row['committed_ma']}"
                )
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


def _judge_decision(world: World, decision: Decision, before: Any, verdict: Verdict) -> None:
    """Rules on paper: no order below the minimum, raises inside the room of every grid above."""
    rows, grids, built = decision.connectors, decision.grids, world.topology.connectors
    if decision.site["alarm"][0] & int(Alarm.CHECK_FAILED):
        verdict.breaches.append(f"{world.now} s: the last check failed")
    booked = np.zeros((len(grids), 3), dtype="i8")
    for c, row in enumerate(rows):
        if 0 < row["target_ma"] < built[c]["min_ma"]:
            verdict.breaches.append(f"{world.now} s: {c} has the order {row['target_ma']} mA")
        for g in built[c]["path"][: built[c]["depth"]]:
            booked[g] += row["committed_ma"] * row["phases"]
    if (booked != grids["committed_ma"]).any():
        verdict.breaches.append(f"{world.now} s: the sums of the book are not those of its rows")
    room = grids["limit_ma"] - grids["margin_ma"] - grids["estimate_ma"] - booked
    for c in np.flatnonzero((rows["put"] == 1) & (rows["target_ma"] > before)):
        for g in built[c]["path"][: built[c]["depth"]]:
            if (room[g][rows[c]["phases"] == 1] < 0).any():
                verdict.breaches.append(f"{world.now} s: {c} was raised beyond the room of grid {g}")


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


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("seed", type=int)
    arguments.add_argument("--seconds", type=int, default=700)
    arguments.add_argument("--unproven", action="store_true")
    given = arguments.parse_args()
    _, found = play(story(given.seed, seconds=given.seconds, proven=not given.unproven))
    print(*found.breaches or ["no breach"], sep="\n")
    print(f"own overshoot {found.own_as:.1f} A s, worst {found.worst_own_a:.1f} A")
