"""Cars that do not come back after a pause though they are not full, and how they are woken.

Some cars sleep after minutes without current. What wakes most of them is what a person would do: off for a
moment, then an offer above the minimum; a few times with growing waits. A car that had to be woken is one of
the last to be turned off for the rest of its session.
"""

from __future__ import annotations

from typing import Any

from controller.decision import Because
from controller.defaults import (
    FULL_MA,
    NEVER,
    WAKE_AFTER_MS,
    WAKE_OFFER_MA,
    WAKE_PAUSE_MS,
    WAKE_TRIES,
    WAKE_WAIT_MS,
)
from controller.kernel import kernel
from controller.steps import at_most_ma

B_ASLEEP = int(Because.ASLEEP)

QUIET, DRAWING, PAUSED, ASLEEP, GIVEN_UP = 0, 1, 2, 3, 4


@kernel
def watch_sleep(built: Any, kept: Any, work: Any, now: int) -> None:
    """Follow a car through draw, pause, resumption and sleep."""
    if kept["sleep"] == ASLEEP and now >= kept["wake_at_ms"]:
        kept["cap_ma"] = built["max_ma"]
        kept["full"] = 0
    if kept["target_ma"] == 0:
        if kept["sleep"] == DRAWING:
            kept["sleep"] = PAUSED
        return
    if work["fresh"] == 0:
        return
    if work["draw_ma"] >= FULL_MA:
        if kept["sleep"] != DRAWING:
            kept["delicate"] = max(kept["delicate"], int(kept["sleep"] == ASLEEP))
            kept["sleep"] = DRAWING
            kept["wake_tries"] = 0
        return
    if kept["sleep"] == QUIET:
        return
    waited = (
        kept["closed"] == 1 and kept["on_since_ms"] != NEVER and now - kept["on_since_ms"] >= WAKE_AFTER_MS
    )
    if kept["sleep"] == DRAWING and kept["closed"] == 1:
        kept["sleep"] = QUIET
    elif kept["sleep"] == PAUSED and waited:
        kept["sleep"] = ASLEEP
        kept["wake_at_ms"] = now
    elif kept["sleep"] == ASLEEP and waited and kept["on_since_ms"] >= kept["wake_at_ms"]:
        _try_failed(kept, now)


@kernel
def _try_failed(kept: Any, now: int) -> None:
    """Once more later, or, after the last time, a car that is served as if it were full."""
    kept["wake_tries"] += 1
    kept["wake_at_ms"] = now + (WAKE_WAIT_MS << kept["wake_tries"] - 1)
    if kept["wake_tries"] >= WAKE_TRIES:
        kept["sleep"] = GIVEN_UP


@kernel
def is_resuming(kept: Any, now: int) -> bool:
    """Whether what it does not draw says nothing yet: it is on its way back, or being woken."""
    return bool(kept["sleep"] == PAUSED or (kept["sleep"] == ASLEEP and now >= kept["wake_at_ms"]))


@kernel
def wake(built: Any, kept: Any, work: Any, now: int) -> None:
    """What a sleeping car is offered: nothing for a moment, then more than the minimum; then it rests."""
    if kept["sleep"] != ASLEEP:
        return
    work["why"] = B_ASLEEP
    if now < kept["wake_at_ms"]:
        work["last"] = 1
        return
    offered = kept["target_ma"] > 0 and kept["on_since_ms"] >= kept["wake_at_ms"]
    rested = kept["target_ma"] == 0 and now - kept["off_since_ms"] >= WAKE_PAUSE_MS
    if not offered and not rested:
        work["cap_ma"] = 0
        return
    offer = at_most_ma(built, min(max(WAKE_OFFER_MA, work["min_ma"]), work["cap_ma"]))
    work["min_ma"] = max(offer, work["min_ma"])
    work["cap_ma"] = max(min(work["cap_ma"], work["min_ma"]), 0)


@kernel
def next_look_ms(kept: Any) -> int:
    """When its sleep is looked at next, whatever is heard; NEVER."""
    if kept["sleep"] not in (PAUSED, ASLEEP):
        return NEVER
    if kept["sleep"] == ASLEEP and kept["target_ma"] == 0 and kept["off_since_ms"] >= kept["wake_at_ms"]:
        return int(kept["off_since_ms"] + WAKE_PAUSE_MS)
    if kept["sleep"] == ASLEEP and kept["on_since_ms"] < kept["wake_at_ms"]:
        return int(kept["wake_at_ms"])
    if kept["on_since_ms"] != NEVER:
        return int(kept["on_since_ms"] + WAKE_AFTER_MS)
    return NEVER
