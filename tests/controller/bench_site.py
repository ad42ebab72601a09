"""A small true world for tests of the core: cars, building, meters and boxes with lags, stepped each second.

Independent of the twin on purpose: the core is judged here by truth that shares no code with it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.cycle import calculate
from controller.decision import Decision, Memory, first_memory
from controller.defaults import NEVER
from controller.image import Answer, Image, Status, blank_image, frozen
from controller.site import Site, build
from controller.topology import Topology, compile_site


@dataclass
class Car:
    """One outlet with its car: what the box holds, how the car follows, what the controller sees."""

    most_a: float = 32.0
    phases: int = 3
    plugged: bool = True
    start_s: int = 0
    leave_s: int = 10**9
    down_s: float = 5.0
    up_s: float = 12.0
    read_every_s: int = 30
    read_phase_s: int = 0
    latency_s: float = 1.0
    loss: float = 0.0
    ignores: bool = False
    offline: tuple[int, int] = (-1, -1)
    pause_every_s: int = 0
    pause_offset_s: int = 0
    pause_s: int = 25
    share: float = 1.0  # draws this share of its limit
    clock_s: float = 0.0  # how much later than true its box ends a lease
    # state
    limit_a: float = 0.0
    draw_a: float = 0.0
    moves: list[tuple[float, float]] = field(default_factory=list)  # (at, limit) the car will follow
    inbox: list[tuple[float, int, float, int]] = field(default_factory=list)  # (arrives, seq, limit, lease)
    outbox: list[tuple[float, str, tuple[Any, ...]]] = field(default_factory=list)
    asked: bool = False
    in_force: list[tuple[float, float]] = field(default_factory=list)
    lease_end_s: float = 1e18


class World:
    """Truth each second; `step` runs one cycle of the controller on what the instruments show."""

    def __init__(
        self,
        site: Site,
        cars: list[Car],
        load: Any,
        *,
        seed: int = 1,
        proven: bool = True,
        meter_lag_s: int = 1,
    ) -> None:
        self.site = site
        self.topology: Topology = compile_site(site)
        self.image: Image = blank_image(self.topology)
        self.memory: Memory = first_memory(self.topology, proven=proven)
        self.decision: Decision | None = None
        self.cars = cars
        self.load = load  # (grid row, phase, second) -> A, uncontrolled and own to that grid
        self.random = random.Random(seed)
        self.lag = meter_lag_s
        self.now = 0
        self.grid_a: list[Any] = []
        self.silent: list[tuple[int, int, int]] = []  # meter row, from s, until s
        self.true_phase = [list(row["phase"]) for row in self.topology.connectors]
        self.writes = 0
        self.sent: list[list[int]] = [[] for _ in cars]
        image = self.image.connectors
        image["online"] = 1
        image["default_ma"] = self.topology.connectors["fallback_ma"]
        image["status"] = Status.AVAILABLE
        image["status_at_ms"] = 1
        image["firmware"] = 1

    def draws(self) -> Any:
        """(connectors, phases) of true draw in A, in the phases of the site."""
        table = np.zeros((len(self.cars), 3))
        for c, car in enumerate(self.cars):
            for own in range(car.phases):
                table[c][self.true_phase[c][own]] = car.draw_a
        return table

    def step(self) -> Decision:
        self.now += 1
        self._advance_cars()
        draws = self.draws()
        currents = np.zeros((len(self.topology.grids), 3))
        self.uncontrolled = np.zeros_like(currents)
        for g, _grid in enumerate(self.topology.grids):
            at = g
            while at >= 0:
                for p in range(3):
                    self.uncontrolled[at][p] += self.load(g, p, self.now)
                at = int(self.topology.grids[at]["parent"])
        currents += self.uncontrolled
        for c in range(len(self.cars)):
            row = self.topology.connectors[c]
            for d in range(row["depth"]):
                currents[row["path"][d]] += draws[c]
        self.grid_a.append(currents)
        self.currents = currents
        self._show(currents)
        decision, memory = calculate(self.topology, frozen(self.image), self.memory)
        self.decision, self.memory = decision, memory
        self._carry(decision)
        return decision

    def _offline(self, car: Car) -> bool:
        return car.offline[0] <= self.now < car.offline[1]

    def _advance_cars(self) -> None:
        for c, car in enumerate(self.cars):
            on = car.plugged and car.start_s <= self.now < car.leave_s
            row = self.image.connectors[c]
            self._follow_session(c, car, row, on)
            offline = self._offline(car)
            row["online"] = int(not offline)
            for item in [i for i in car.inbox if i[0] <= self.now]:
                car.inbox.remove(item)
                _, seq, limit, lease_ms = item
                if offline or self.random.random() < car.loss:
                    continue
                if lease_ms != NEVER:
                    car.lease_end_s = lease_ms / 1000 + car.clock_s
                if not (car.ignores and limit < car.limit_a):
                    car.moves = [move for move in car.moves if move[1] < limit]
                    car.moves.append((self.now + (car.down_s if limit < car.limit_a else car.up_s), limit))
                    car.limit_a = limit
                if self.random.random() >= car.loss:
                    car.outbox.append((self.now + car.latency_s, "answer", (seq,)))
            if self.now >= car.lease_end_s:
                fallback = float(self.topology.connectors[c]["fallback_ma"]) / 1000
                follows = car.down_s if fallback < car.limit_a else car.up_s
                car.limit_a, car.moves = fallback, [(self.now + follows, fallback)]
                car.lease_end_s = 1e18
            while car.moves and car.moves[0][0] <= self.now:
                car.in_force = [car.moves.pop(0)]
            follow = car.in_force[-1][1] if car.in_force else 0.0
            paused = car.pause_every_s and (self.now + car.pause_offset_s) % car.pause_every_s < car.pause_s
            car.draw_a = 0.0 if not on or paused or follow < 6 else min(follow, car.most_a) * car.share
            if not offline and on and (car.asked or (self.now + car.read_phase_s) % car.read_every_s == 0):
                car.asked = False
                if self.random.random() >= car.loss:
                    own = [round(car.draw_a * 1000) if i < car.phases else 0 for i in range(3)]
                    car.outbox.append((self.now + car.latency_s, "reading", (self.now, own)))
            self._deliver(car, row, offline)

    def _follow_session(self, c: int, car: Car, row: Any, on: bool) -> None:
        if on and row["transaction"] == 0:
            row["transaction"] = self.now + 1
            row["transaction_at_ms"] = self.now * 1000
            row["status"] = Status.CHARGING
            row["status_at_ms"] = self.now * 1000
            car.limit_a = float(self.topology.connectors[c]["fallback_ma"]) / 1000
            car.in_force = [(self.now, car.limit_a)]
            car.moves = []
        elif not on and row["transaction"] != 0:
            row["transaction"] = 0
            row["transaction_at_ms"] = self.now * 1000
            row["status"] = Status.AVAILABLE
            row["status_at_ms"] = self.now * 1000
            car.moves, car.in_force, car.inbox, car.limit_a, car.lease_end_s = [], [], [], 0.0, 1e18

    def _deliver(self, car: Car, row: Any, offline: bool) -> None:
        for item in [i for i in car.outbox if i[0] <= self.now]:
            car.outbox.remove(item)
            _, kind, what = item
            if offline:
                continue
            if kind == "answer" and what[0] >= row["answered_seq"]:
                row["answered_seq"] = what[0]
                row["answer"] = Answer.ACCEPTED
                row["answered_at_ms"] = self.now * 1000
            elif kind == "reading":
                row["reading_at_ms"] = what[0] * 1000
                row["current_ma"] = what[1]

    def _show(self, currents: Any) -> None:
        self.image.clock["now_ms"] = self.now * 1000
        seen = self.grid_a[max(0, len(self.grid_a) - self.lag)]
        for m, meter in enumerate(self.topology.meters):
            if any(row == m and start <= self.now < end for row, start, end in self.silent):
                continue
            g = int(meter["grid"])
            value = seen[g] if meter["role"] == 0 else self.uncontrolled[g]
            self.image.meters[m]["at_ms"] = (self.now - self.lag + 1) * 1000
            for own in range(3):
                self.image.meters[m]["current_ma"][own] = round(value[int(meter["phase"][own])] * 1000)

    def _carry(self, decision: Decision) -> None:
        for c, row in enumerate(decision.connectors):
            if row["ask"]:
                self.cars[c].asked = True
            if row["put"]:
                self.writes += 1
                self.sent[c].append(int(row["target_ma"]))
                arrives = self.now + self.cars[c].latency_s
                order = (int(row["order_seq"]), int(row["target_ma"]) / 1000, int(row["lease_until_ms"]))
                self.cars[c].inbox = [(arrives, *order)]


def garage(
    cars: int, fuse_a: float, margin_a: float = 3.0, *, learn_phases: bool = False, **connector: Any
) -> Site:
    """One grid, one guard meter, `cars` outlets of 32 A."""
    outlet = {"number": 1, "max_current_a": 32, **connector}
    return build(
        {
            "name": "Garage",
            "timezone": "UTC",
            "learn_phases": learn_phases,
            "accept_unsafe_fallback": "test, tester",
            "grid": {"main": {"id": 0, "max_current_a": fuse_a, "margin_a": margin_a}},
            "meter": {"main": {"grid": "main", "role": "guard", "delay_s": 1.0}},
            "chargepoint": {
                f"bay_{n:02}": {
                    "identity": f"B{n}",
                    "fed_by": "main",
                    "sample_interval_s": 30,
                    "connector": [outlet],
                }
                for n in range(cars)
            },
        },
        "garage",
    )
