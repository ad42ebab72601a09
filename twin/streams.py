"""Named random streams: every purpose has its own, so that one more chargepoint reshuffles nothing."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from controller.kernel import kernel


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """The stream of this seed and name; the same in every process and on every machine."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number(*name),)))


def number(*name: str | int) -> int:
    """A stable 32-bit number for a name."""
    text = "\x1f".join(str(part) for part in name)
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


@kernel
def roll(dice: int) -> int:
    """Next state of a 31-bit congruential generator; it fits signed 64-bit products."""
    return (dice * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
