"""One cycle of the controller with 200 connectors in 20 grids, compiled and interpreted, on the same images.

Run as a program with a file of images it thinks interpreted and prints what came of it.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from controller.cycle import calculate
from controller.decision import first_memory
from controller.image import Image
from tests.bench.figure import Figure, say
from tests.bench.stream import SECONDS, SETTLING, busy_minutes, digest, topology

REPLAYS = 10
INTERPRETED = 300
WHAT = "200 connectors in 20 grids, cars that come and go, a building in steps, readings each 10 s"


def measure() -> dict[str, Figure]:
    """Mean and p99 of a call; asserts that the interpreted kernels decide the same."""
    say(f"the world of {SECONDS} s that the controller looks at")
    images = busy_minutes()
    say(f"{REPLAYS} replays, compiled")
    runs = np.array([_times_us(images) for _ in range(REPLAYS)])
    least = runs.min(axis=0)
    single = np.percentile(runs, 99)
    how = f"CPU time of a call, least of {REPLAYS} replays per cycle, {len(least)} cycles: {WHAT}"
    found = {
        "calculate_200_mean_us": Figure(
            float(least.mean()), "us", f"{how}; mean of all single calls {runs.mean():.1f}"
        ),
        "calculate_200_p99_us": Figure(
            float(np.percentile(least, 99)), "us", f"{how}; p99 of all single calls {single:.1f}"
        ),
    }
    say(f"{INTERPRETED} cycles interpreted, about a minute")
    times_ms, decided = _interpreted(images[:INTERPRETED])
    compiled = digest(calculate, images[:INTERPRETED])
    if decided != compiled:
        raise AssertionError(f"interpreted decisions {decided} are not the compiled ones {compiled}")
    found["calculate_200_interpreted_p99_ms"] = Figure(
        float(np.percentile(times_ms[SETTLING:], 99)),
        "ms",
        f"CPU time of a call, the first {INTERPRETED} of the same images; every decision equal to the"
        f" compiled one (digest {decided})",
    )
    return found


def _times_us(images: list[Image]) -> list[float]:
    """CPU time of every call after the first few."""
    site = topology()
    memory = first_memory(site, proven=True)
    times = []
    for image in images:
        began = time.thread_time_ns()
        _, memory = calculate(site, image, memory)
        times.append((time.thread_time_ns() - began) / 1000)
    return times[SETTLING:]


def _interpreted(images: list[Image]) -> tuple[list[float], str]:
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        pickle.dump([tuple(image) for image in images], file)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", __name__, file.name],
            env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the interpreted run failed: {done.stderr.strip()}")
    said = json.loads(done.stdout)
    return said["times_ms"], said["digest"]


def _think_interpreted(path: str) -> None:
    images = [Image(*tables) for tables in pickle.loads(Path(path).read_bytes())]
    times_ms: list[float] = []

    def timed(*arguments):
        began = time.thread_time_ns()
        result = calculate(*arguments)
        times_ms.append((time.thread_time_ns() - began) / 1e6)
        return result

    decided = digest(timed, images)
    print(json.dumps({"digest": decided, "times_ms": times_ms}))


if __name__ == "__main__":
    _think_interpreted(sys.argv[1])
