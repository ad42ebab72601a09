"""What a card's past says of the car that is here: quantiles of its stays and of its energies.

Only sessions that lasted longer than this one has (or took more) can still be an example of it, so the
expectation moves on while the car stays, and ends when it has outstayed them all. A card that comes and goes
as it likes lets nobody expect anything: a wrong departure costs more than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from controller.defaults import (
    HISTORY_ENERGY_PERCENT,
    HISTORY_MIN,
    HISTORY_SESSIONS,
    HISTORY_SPREAD_MS,
    HISTORY_STAY_PERCENT,
    NEVER,
    UNKNOWN,
)
from controller.planners import Wish


class Past(NamedTuple):
    """A session that is over."""

    stay_ms: int
    energy_wh: int


def expect(past: Sequence[Past], since_ms: int, now_ms: int, got_wh: int) -> Wish:
    """When a car that came at `since_ms` leaves and what it takes in all; `past` with the newest last."""
    newest = past[-HISTORY_SESSIONS:]
    if len(newest) < HISTORY_MIN:
        return Wish()
    stays = sorted(one.stay_ms for one in newest if one.stay_ms > now_ms - since_ms)
    energies = sorted(one.energy_wh for one in newest if one.energy_wh > got_wh)
    regular = len(stays) >= HISTORY_MIN and _spread(stays) <= HISTORY_SPREAD_MS
    return Wish(
        since_ms + _quantile(stays, HISTORY_STAY_PERCENT) if regular else NEVER,
        _quantile(energies, HISTORY_ENERGY_PERCENT) if energies else UNKNOWN,
    )


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """The least value that `percent` of them do not exceed."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def _spread(ordered: Sequence[int]) -> int:
    """Between the lower and the upper quarter."""
    return _quantile(ordered, 75) - _quantile(ordered, 25)
