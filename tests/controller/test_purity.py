"""Same image and memory, same decision: in any process, compiled or not, every second or only when due."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from controller.cycle import calculate
from controller.decision import Memory
from controller.image import frozen
from tests.controller.bench_site import Car, World, garage
from tests.controller.digest import fingerprint
from tests.controller.stories import story
from tests.controller.test_orders import charging

ROOT = Path(__file__).parents[2]
SEEDS = (3, 4, 8)


def bytes_of(*bundles):
    return [table.tobytes() for bundle in bundles for table in bundle]


@pytest.fixture(scope="module")
def recorded():
    """Images, decisions and memories of a story with everything in it: (topology, images, results)."""
    told = story(11, seconds=400)
    world = told.world()
    images, results = [], [(None, world.memory)]
    for _ in range(1, told.seconds):
        world.step()
        images.append(frozen(world.image))
        results.append((world.decision, world.memory))
    return world.topology, images, results


def test_calculate_writes_to_none_of_its_arguments(recorded):
    topology, images, results = recorded
    tables = [table for table in topology if isinstance(table, np.ndarray)] + list(topology.traces)
    for image, (_, memory) in list(zip(images, results, strict=False))[::20]:
        before = [hashlib.blake2b(table.tobytes()).digest() for table in (*tables, *image, *memory)]
        calculate(topology, image, memory)
        after = [hashlib.blake2b(table.tobytes()).digest() for table in (*tables, *image, *memory)]
        assert before == after


def test_the_same_arguments_give_the_same_bytes(recorded):
    topology, images, results = recorded
    for image, (_, memory) in list(zip(images, results, strict=False))[::20]:
        copy = Memory(*(table.copy() for table in memory))
        first, second = calculate(topology, image, memory), calculate(topology, image, copy)
        assert bytes_of(*first) == bytes_of(*second)


def test_a_replay_from_any_checkpoint_gives_the_same_bytes(recorded):
    topology, images, results = recorded
    for checkpoint in range(0, len(images), 60):
        memory = results[checkpoint][1]
        for image, expected in list(zip(images, results[1:], strict=True))[checkpoint:]:
            decision, memory = calculate(topology, image, memory)
            assert bytes_of(decision, memory) == bytes_of(*expected)


def test_compiled_and_interpreted_kernels_give_the_same_bytes_over_whole_stories():
    command = [sys.executable, "-m", "tests.controller.digest", "200", *map(str, SEEDS)]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    interpreted = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert fingerprint(list(SEEDS), 200) == interpreted


# -- a controller that is settled may sleep ---------------------------------------------------------------


def quiet(name):
    """Worlds in which long stretches are settled."""
    cars = [Car(start_s=5 + n, read_every_s=30, read_phase_s=4 * n, up_s=8, share=0.98) for n in range(5)]
    load, fuse_a = (lambda g, p, t: 20.0), 100
    if name == "steps":
        load = lambda g, p, t: 20.0 if t // 300 % 2 == 0 else 50.0  # noqa: E731
    if name == "reclaim":
        cars[0].most_a, cars[1].most_a = 10.5, 8.2
    if name == "cars come and go":
        cars[3].start_s, cars[2].leave_s = 400, 700
    if name == "turns":
        fuse_a = 43
    return World(garage(5, fuse_a), cars, load)


def values(image):
    """What an image says, without the times at which it is said again and again."""
    connectors = image.connectors.copy()
    connectors["reading_at_ms"] = 0
    return [image.meters["current_ma"].tobytes(), connectors.tobytes()]


@pytest.mark.parametrize("name", ["constant", "steps", "reclaim", "cars come and go", "turns"])
def test_sleeping_while_settled_gives_the_same_orders_as_looking_every_second(name):
    world = quiet(name)
    sleeper, first = world.memory, None
    wake_ms, seen, looks = 0, None, 0
    for _ in range(2_400):
        first = world.step()
        image = frozen(world.image)
        now_ms = int(image.clock["now_ms"][0])
        if now_ms < wake_ms and values(image) == seen:
            assert not first.connectors["put"].any(), f"order at {now_ms} ms, asleep until {wake_ms} ms"
            continue
        looks += 1
        decision, sleeper = calculate(world.topology, image, sleeper)
        wake_ms, seen = int(decision.site["next_ms"][0]), values(image)
        for field in ("target_ma", "committed_ma", "put", "order_seq", "because"):
            assert decision.connectors[field].tolist() == first.connectors[field].tolist(), (now_ms, field)
    assert looks < 1_800


def test_a_settled_controller_may_sleep_a_little_beyond_half_of_a_lease_and_renews_when_it_wakes():
    desk = charging(lease_s=120)
    desk.answering = True
    desk.settle({0: 32}, 90)
    until_ms = int(desk.decision.connectors["lease_until_ms"][0])
    while desk.now_s * 1000 < until_ms - 65_000:
        desk.settle({0: 32}, 1)
    assert desk.decision.site["settled"][0] == 1
    assert desk.decision.site["next_ms"][0] == until_ms - 60_000 + 7_200
    desk.cycle(12, step_s=12)
    assert desk.decision.connectors["put"][0] == 1
