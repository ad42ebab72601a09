"""What every connector could use now: caps from outside, from the car's own draw, and its place in the queue.

Reclaim takes back what a car does not use and gives it back at once when it wants it again; a lift that
was not used doubles the wait before the next one, so that no car is lifted and capped for ever.
"""

from __future__ import annotations

from typing import Any

from controller.commitments import tolerance_ma
from controller.decision import Because
from controller.defaults import (
    FULL_MA,
    FULL_PROBE_EVERY_MS,
    FULL_PROBE_MS,
    LIFT_WAIT_MAX_MS,
    LIFT_WAIT_MS,
    NEVER,
    RECLAIM_AFTER_MS,
    SLOT_MS,
    WORTH_MA,
    WORTH_PER_MILLE,
)
from controller.kernel import kernel
from controller.steps import above_ma, at_most_ma
from controller.waking import is_resuming, wake, watch_sleep
from controller.work import Cycle

CABLE = int(Because.CABLE)
CAR = int(Because.CAR)
CARD_MINIMUM = int(Because.CARD_MINIMUM)
CONNECTOR = int(Because.CONNECTOR)
FULL = int(Because.FULL)
LEARNING = int(Because.LEARNING)
SWITCHING = int(Because.SWITCHING)
WISH = int(Because.WISH)

ON_SLOT, WAITING = 0, 1
UNIT = 100_000
RANK_STEP = 1 << 50  # one place of the queue apart; charge per weight stays below
CLASSES = 10


@kernel
def worth_ma(current_ma: int) -> int:
    """The smallest change of a target that is worth a write: max(1 A, 10 %)."""
    return max(WORTH_MA, current_ma * WORTH_PER_MILLE // 1000)


@kernel
def weigh_demand(cy: Cycle, c: int) -> None:
    """Minimum, cap, weight and class of a connector that can be commanded."""
    now = cy.clock[0]["now_ms"]
    built = cy.built[c]
    kept = cy.kept[c]
    work = cy.work[c]
    if work["commandable"] == 0:
        return
    watch_sleep(built, kept, work, now)
    if not is_resuming(kept, now):
        _reclaim(built, kept, work, now)
        _watch_full(built, kept, work, now)
    work["min_ma"] = built["min_ma"]
    work["weight"] = max(built["weight"] * cy.seen[c]["weight_percent"] // 100, 1)
    work["cap_ma"] = built["max_ma"]
    work["why"] = CONNECTOR
    if kept["cap_ma"] < work["cap_ma"]:
        work["cap_ma"] = kept["cap_ma"]
        work["why"] = FULL if kept["full"] == 1 else CAR
    _narrow(cy.seen[c]["wish_ma"], WISH, work)
    _narrow(cy.seen[c]["cable_ma"], CABLE, work)
    if kept["learn_cap_ma"] > 0:
        _narrow(kept["learn_cap_ma"], LEARNING, work)
    if kept["switching"] != 0:
        _narrow(0, SWITCHING, work)
    if cy.seen[c]["minimum_speed"] == 1:
        _narrow(work["min_ma"], CARD_MINIMUM, work)
    if work["cap_ma"] >= work["min_ma"]:
        work["cap_ma"] = max(at_most_ma(built, work["cap_ma"]), work["min_ma"])
    if built["strict"] == 1:
        work["share_class"] = priority_class(cy, c)
    probed = kept["on_since_ms"] != NEVER and now - kept["probe_at_ms"] < FULL_PROBE_MS
    work["last"] = int(kept["full"] == 1 and not probed)
    wake(built, kept, work, now)


@kernel
def _narrow(cap_ma: int, why: int, work: Any) -> None:
    if cap_ma < work["cap_ma"]:
        work["cap_ma"] = cap_ma
        work["why"] = why


@kernel
def priority_class(cy: Cycle, c: int) -> int:
    """That of its card, or else of the outlet; 1 goes first."""
    of_card = cy.seen[c]["priority_class"]
    return int(of_card if of_card > 0 else cy.built[c]["priority_class"])


@kernel
def place_in_queue(cy: Cycle, c: int) -> int:
    """Place in the queue when not even the minimums fit; lower goes first.

    Protected cars first, then by class; in a class, who is inside its slot stays, then who has had least of
    what its stay allowed: mean current per phase since plug-in, per weight. A car that is on keeps its place
    until the difference exceeds one slot at its minimum.
    """
    now = cy.clock[0]["now_ms"]
    seen = cy.seen[c]
    kept = cy.kept[c]
    work = cy.work[c]
    phases = max(kept["phases"][0] + kept["phases"][1] + kept["phases"][2], 1)
    slot_mas = SLOT_MS // 1000 * work["min_ma"] * phases
    stay_s = (now - kept["since_ms"] + SLOT_MS) // 1000
    served = kept["charge_mas"]
    on = kept["on_since_ms"] != NEVER
    if on:
        served = max(served - slot_mas, 0)
    had = served * UNIT // (work["weight"] * phases * stay_s)
    protected = seen["never_zero"] == 1 or seen["minimum_speed"] == 1 or kept["delicate"] == 1
    place = int(not protected) * CLASSES + priority_class(cy, c)
    in_slot = on and now - kept["on_since_ms"] < SLOT_MS
    return int(had + (2 * place + (ON_SLOT if in_slot else WAITING)) * RANK_STEP)


@kernel
def _reclaim(built: Any, kept: Any, work: Any, now: int) -> None:
    target = kept["target_ma"]
    if target == 0 or kept["closed"] == 0 or work["fresh"] == 0 or kept["observed"] == 0:
        kept["slack_since_ms"] = NEVER
        return
    draw = work["draw_ma"]
    if draw < target - worth_ma(target):
        if kept["slack_since_ms"] == NEVER:
            kept["slack_since_ms"] = now
        if now - kept["slack_since_ms"] >= RECLAIM_AFTER_MS:
            _cap(kept, max(above_ma(built, draw), built["min_ma"]))
        return
    kept["slack_since_ms"] = NEVER
    at_cap = target + tolerance_ma(target) >= kept["cap_ma"] and draw >= target - tolerance_ma(target)
    waited = kept["lifted_at_ms"] == NEVER or now - kept["lifted_at_ms"] >= kept["lift_wait_ms"]
    if kept["cap_ma"] < built["max_ma"] and at_cap and waited:
        kept["cap_ma"] = built["max_ma"]
        kept["lifted_at_ms"] = now


@kernel
def _cap(kept: Any, cap: int) -> None:
    if cap >= kept["cap_ma"]:
        return
    if kept["lifted_at_ms"] != NEVER:
        kept["lift_wait_ms"] = min(max(LIFT_WAIT_MS, 2 * kept["lift_wait_ms"]), LIFT_WAIT_MAX_MS)
    kept["cap_ma"] = cap


@kernel
def _watch_full(built: Any, kept: Any, work: Any, now: int) -> None:
    """A capped car that draws nothing seems full; it gets what others leave, and a look once an hour."""
    if work["draw_ma"] >= FULL_MA:
        kept["full"] = 0
        return
    if kept["cap_ma"] == built["min_ma"] and kept["target_ma"] > 0 and work["fresh"] == 1:
        if kept["full"] == 0:
            kept["full"] = 1
            kept["probe_at_ms"] = now
    if kept["full"] == 1 and now - kept["probe_at_ms"] >= FULL_PROBE_EVERY_MS:
        kept["full"] = 0
        kept["probe_at_ms"] = now
