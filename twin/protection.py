"""When a fuse or breaker opens: by its thermal image, or by its curve.

*Pessimistic* is the normalised thermal image of IEC 60255-149, dθ/dt = ((I/In)^2 - θ)/τ, that opens at
θ = 1.1: earlier than any standard allows, so that a run in which nothing opens is safe. A *curve* is how long
a cold device bears a multiple of its rating; what flows for a while uses up its share of that time. Middle
lines through the conventional points of IEC 60898 (B, C) and IEC 60269 (gG) and typical times beyond them,
unverified: the sheet of the manufacturer rules. A breaker opens all its poles, a fuse melts in its own phase.
"""

from __future__ import annotations

import math
from typing import Any, Final

from controller.kernel import kernel
from controller.table import Table

TAU_S: Final = 600.0
TRIP_HEAT: Final = 1.1
INSTANT: Final = 5.0

PESSIMISTIC, FUSE, BREAKER_B, BREAKER_C = -1, 0, 1, 2
CURVES: Final = {"gG": FUSE, "B": BREAKER_B, "C": BREAKER_C}

HOLDS: Final = (1.25, 1.13, 1.13)
"""Multiple of the rating that is borne for ever."""
AT_ONCE: Final = (1_000.0, 3.0, 5.0)
"""Multiple above which a breaker opens at once: the least of its band."""
MULTIPLES: Final = (
    (1.25, 1.45, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0),
    (1.13, 1.3, 1.45, 2.0, 2.55, 3.0, 5.0, 10.0),
    (1.13, 1.3, 1.45, 2.0, 2.55, 3.0, 5.0, 10.0),
)
BEARS_S: Final = (
    (28_800.0, 5_400.0, 1_800.0, 150.0, 18.0, 1.0, 0.05, 0.002),
    (7_200.0, 2_400.0, 900.0, 90.0, 25.0, 15.0, 4.0, 1.0),
    (7_200.0, 2_400.0, 900.0, 90.0, 25.0, 15.0, 4.0, 1.0),
)
COOLS_S: Final = (1_800.0, 600.0, 600.0)
"""Time constant with which it forgets, at or below what it holds."""
_USED_UP: Final = 1.0 - 1e-9


@kernel
def bears_s(curve: int, multiple: float) -> float:
    """Seconds that a cold device bears this multiple of its rating; inf: for ever."""
    if multiple <= HOLDS[curve]:
        return math.inf
    if multiple > AT_ONCE[curve]:
        return 0.0
    n = 1
    while n < 7 and MULTIPLES[curve][n] < multiple:
        n += 1
    x0, x1 = math.log(MULTIPLES[curve][n - 1]), math.log(MULTIPLES[curve][n])
    y0, y1 = math.log(BEARS_S[curve][n - 1]), math.log(BEARS_S[curve][n])
    return math.exp(y0 + (y1 - y0) * (math.log(multiple) - x0) / (x1 - x0))


@kernel
def _warm_phase(board: Any, p: int, load: float, seconds: float, fade: float) -> bool:
    """Heat one phase for `seconds` under `load` times its rating; True when it opens."""
    heat = load * load + (board["heat"][p] - load * load) * fade
    board["heat"][p] = heat
    curve = board["curve"]
    if curve == PESSIMISTIC:
        return bool(heat >= TRIP_HEAT or load > INSTANT)
    bears = bears_s(curve, load)
    if bears == math.inf:
        board["used"][p] *= math.exp(-seconds / COOLS_S[curve])
        return False
    board["used"][p] = board["used"][p] + seconds / bears if bears > 0.0 else 1.0
    return bool(board["used"][p] >= _USED_UP)


@kernel
def warm(boards: Table, grids: Table, seconds: float) -> bool:
    """Heat every fuse for `seconds` under the current that flows; True when one opened."""
    opened = False
    fade = math.exp(-seconds / TAU_S)
    for g in range(len(boards)):
        board = boards[g]
        for p in range(3):
            rating = grids[g]["limit_ma"][p]
            if rating <= 0 or board["tripped"] != 0 or board["melted"][p] != 0:
                continue
            if not _warm_phase(board, p, abs(board["current_ma"][p]) / rating, seconds, fade):
                continue
            opened = True
            board["trips"] += 1
            if board["curve"] == FUSE:
                board["melted"][p] = 1
            else:
                board["tripped"] = 1
    return opened


@kernel
def opens_in_s(boards: Table, grids: Table) -> float:
    """Seconds until the first fuse opens if nothing changes; inf: none does."""
    soon = math.inf
    for g in range(len(boards)):
        board = boards[g]
        for p in range(3):
            rating = grids[g]["limit_ma"][p]
            if rating <= 0 or abs(board["current_ma"][p]) <= rating:
                continue
            if board["tripped"] != 0 or board["melted"][p] != 0:
                continue
            load = abs(board["current_ma"][p]) / rating
            curve = board["curve"]
            if curve != PESSIMISTIC:
                soon = min(soon, bears_s(curve, load) * (1.0 - board["used"][p]))
            elif load > INSTANT:
                soon = 0.0
            elif load * load > TRIP_HEAT:
                square = load * load
                soon = min(soon, TAU_S * math.log((square - board["heat"][p]) / (square - TRIP_HEAT)))
    return max(soon, 0.0)
