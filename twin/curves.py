"""What a battery takes over what it still needs: straight pieces, solved in closed form.

Knots go from full to empty: `knot_wh` what is left to take, `knot_ma` the most it then takes on each phase in
use at nominal voltage; where that has sagged the same power takes `lift` times the current. It never falls
while more is needed, and above the last knot it stays as it is. Within a piece that falls by `fall` mA per Wh
taken, a current on the ceiling decays as an exponential.
"""

from __future__ import annotations

import math
from typing import Any, Final

from controller.kernel import kernel
from controller.table import Table

KNOTS: Final = 8
"""A curve has at most so many points."""
FIELDS: Final = [
    ("knots", "i8"),
    ("knot_wh", "f8", (KNOTS,)),
    ("knot_ma", "f8", (KNOTS,)),
    ("lift", "f8"),  # nominal voltage over that at the outlet
]
_TINY: Final = 1e-9

Points = tuple[tuple[float, float], ...]
"""Wh left to take, from 0 upwards, and the current taken there."""


def bend(row: Any, points: Points, share: float = 1.0) -> None:
    """Give the row of a car its curve, mA, or a share of it while the battery is cold."""
    row["knots"] = len(points)
    for place, (left_wh, most_ma) in enumerate(points):
        row["knot_wh"][place], row["knot_ma"][place] = left_wh, share * most_ma


@kernel
def piece(r: Table, need_wh: float) -> int:
    """Number of the knot that comes next as the battery fills."""
    last = r["knots"] - 1
    for back in range(r["knots"]):
        if need_wh > r["knot_wh"][last - back] + _TINY:
            return int(last - back)
    return 0


@kernel
def fall(r: Table, at: int) -> float:
    """By how many mA per Wh the ceiling falls towards this knot."""
    if at >= r["knots"] - 1:
        return 0.0
    width = r["knot_wh"][at + 1] - r["knot_wh"][at]
    return float((r["knot_ma"][at + 1] - r["knot_ma"][at]) / width * r["lift"])


@kernel
def floor_ma(r: Table, at: int) -> float:
    """What the battery takes at this knot: its power at the voltage that there is."""
    return float(r["knot_ma"][at] * r["lift"])


@kernel
def ceiling_ma(r: Table, need_wh: float) -> float:
    """Most that the battery takes on each phase with this much left."""
    if need_wh <= 0.0 or r["knots"] == 0:
        return 0.0
    at = piece(r, need_wh)
    return float(floor_ma(r, at) + fall(r, at) * (need_wh - r["knot_wh"][at]))


@kernel
def taper_s(floor_ma: float, ceiling: float, falls: float, rest_wh: float, k: float) -> float:
    """Seconds on the ceiling until the next knot, `rest_wh` away; `k` is Wh per mA s."""
    if falls <= 0.0:
        return rest_wh / (k * ceiling)
    return math.log(ceiling / floor_ma) / (k * falls)


@kernel
def tapered_wh(ceiling: float, falls: float, k: float, seconds: float) -> float:
    """What a current on the ceiling carries in this time within its piece."""
    if falls <= 0.0:
        return k * ceiling * seconds
    return -ceiling * math.expm1(-k * falls * seconds) / falls
