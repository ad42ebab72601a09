"""How long a fuse or breaker bears more than its rating: thermal headroom by curve.

dθ/dt = ((I/In)^2 - θ)/τ, the normalised thermal image of IEC 60255-149, held to open at θ = 1.1. That is
earlier than the standards' conventional points (IEC 60898: 1.13 In for an hour; IEC 60269: 1.25 In), on
purpose. Time constants and magnetic multiples are typical values, unverified: a manufacturer's curve rules.
"""

from __future__ import annotations

import math
from typing import Final, Literal

Breaker = Literal["gG", "B", "C"]

OPENS_AT: Final = 1.1
MAGNETIC: Final[dict[Breaker, float]] = {"gG": 5.0, "B": 3.0, "C": 5.0}
"""Times its rating at which it may open at once: least of IEC 60898; gG melts within a second there."""
SLOW_FROM_A: Final = 63.0
"""Fuses from this rating on are slower."""


def time_constant_ms(curve: Breaker, rating_a: float) -> int:
    """Time constant of its heat: half an hour for a large fuse, ten minutes for what is smaller."""
    return 1_800_000 if curve == "gG" and rating_a >= SLOW_FROM_A else 600_000


def holds_s(curve: Breaker, rating_a: float, current_a: float, heat: float) -> float:
    """Seconds that it bears a current from now on, `heat` 1 being what its rating leads to; inf: for ever."""
    load = abs(current_a) / rating_a if rating_a > 0 else math.inf
    if load >= MAGNETIC[curve] or heat >= OPENS_AT:
        return 0.0
    if load * load <= OPENS_AT:
        return math.inf
    tau_s = time_constant_ms(curve, rating_a) / 1000
    return tau_s * math.log((load * load - heat) / (load * load - OPENS_AT))
