"""A fingerprint of every table of whole stories, to compare compiled with interpreted kernels."""

from __future__ import annotations

import hashlib
import sys

from tests.controller.stories import story


def fingerprint(seeds: list[int], seconds: int) -> str:
    """One hash over every decision and memory of these stories."""
    digest = hashlib.blake2b()
    for seed in seeds:
        told = story(seed, connectors=6, seconds=seconds, proven=seed % 2 == 0)
        world = told.world()
        for _ in range(1, seconds):
            for table in (*world.step(), *world.memory):
                digest.update(table.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(fingerprint([int(seed) for seed in sys.argv[2:]], int(sys.argv[1])))
