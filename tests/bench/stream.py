"""The images of ten busy minutes: what the controller sees second by second, kept to be seen again."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from typing import Any

from controller.decision import Decision, Memory, first_memory
from controller.image import Image, frozen
from controller.site import build
from controller.topology import Topology, compile_site
from tests.bench.car_park import car_park
from tests.controller.bench_site import Car, World

SECONDS = 600
SETTLING = 20

Calculate = Callable[[Topology, Image, Memory], tuple[Decision, Memory]]


def topology() -> Topology:
    """200 connectors in 20 grids."""
    return compile_site(build(car_park(200), "car park"))


def busy_minutes(seconds: int = SECONDS) -> list[Image]:
    """Cars of all kinds come and go every few seconds, kettles are switched on, readings come each 10 s."""
    pick = random.Random("bench/stream")
    cars = []
    for c in range(200):
        start_s = pick.choice([2, pick.randrange(2, seconds)])
        cars.append(
            Car(
                most_a=pick.choice([16, 16, 16, 32]),
                phases=pick.choice([1, 1, 2, 3, 3, 3]),
                start_s=start_s,
                leave_s=start_s + pick.choice([10**6, pick.randrange(120, seconds)]),
                down_s=pick.choice([1, 3, 5]),
                up_s=pick.choice([5, 12, 25]),
                read_every_s=10,
                read_phase_s=c % 10,
                share=1 - 0.04 * pick.random(),
            )
        )
    steps = [[pick.randrange(100, 260) for _ in range(3)] for _ in range(seconds // 30 + 2)]
    world = World(
        build(car_park(200), "car park"),
        cars,
        lambda g, p, second: steps[second // 30][p] if g == 0 else 0,
        seed=1,
    )
    images = []
    for _ in range(seconds):
        world.step()
        images.append(frozen(world.image))
    return images


def digest(calculate: Calculate, images: Iterable[Image]) -> str:
    """Of every decision and of the last memory that these images lead to."""
    site = topology()
    memory = first_memory(site, proven=True)
    found = hashlib.blake2b(digest_size=16)
    for image in images:
        decision, memory = calculate(site, image, memory)
        _take_in(found, decision)
    _take_in(found, memory)
    return found.hexdigest()


def _take_in(found: Any, tables: Iterable[Any]) -> None:
    for table in tables:
        found.update(table.tobytes())
