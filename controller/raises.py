"""Raises in rounds: all of a round are put down together, and none while an older one is open.

While a raise is open its connector may draw anything up to its commitment, and a rise of the building can
hide behind it; one round at a time, with a gap after it, keeps the estimator from going blind.
"""

from __future__ import annotations

from controller.alone import keep_alone, spare_alone_ma
from controller.defaults import (
    DAY_MS,
    NEVER,
    ROUND_GAP_MS,
    SAMPLE_GRACE_MS,
    SMALL_RAISE_MS,
    UNLIMITED_MA,
    UP_MS,
    WORTH_MA,
)
from controller.demand import place_in_queue, worth_ma
from controller.kernel import kernel
from controller.orders import offer_proof, put
from controller.steps import at_most_ma
from controller.work import Cycle


@kernel
def follow_round(cy: Cycle) -> None:
    """Close the round when all its raises are closed or silent."""
    now = cy.clock[0]["now_ms"]
    site = cy.kept_site[0]
    if site["round_open"] == 0:
        return
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        silence = now - max(cy.work[c]["heard_ms"], kept["raise_at_ms"])
        silent = silence > cy.built[c]["sample_ms"] + SAMPLE_GRACE_MS + UP_MS
        if kept["closed"] == 0 and cy.seen[c]["online"] == 1 and cy.work[c]["active"] == 1 and not silent:
            return
    site["round_open"] = 0
    site["round_closed_at_ms"] = now


@kernel
def may_raise(cy: Cycle) -> bool:
    """Whether a new round may begin."""
    return bool(cy.kept_site[0]["round_open"] == 0 and cy.clock[0]["now_ms"] >= next_round_ms(cy))


@kernel
def next_round_ms(cy: Cycle) -> int:
    """When the gap after the last round is over."""
    closed = cy.kept_site[0]["round_closed_at_ms"]
    if closed == NEVER:
        return NEVER
    blind = 0
    for g in range(len(cy.grids)):
        blind = max(blind, cy.grids[g]["blind_ms"])
    return int(closed + blind + ROUND_GAP_MS)


@kernel
def raise_to_wishes(cy: Cycle) -> None:
    """One round: no current yet first, then the lowest target per weight, as far as the room goes."""
    _follow_small_wishes(cy)
    if not may_raise(cy):
        return
    for c in range(len(cy.built)):
        if cy.work[c]["proof"] == 1 and _room(cy, c) >= cy.built[c]["max_ma"] - cy.kept[c]["committed_ma"]:
            keep_alone(cy, c, cy.built[c]["max_ma"] - cy.kept[c]["committed_ma"])
            offer_proof(cy, c)
    for c in range(len(cy.built)):
        cy.work[c]["frozen"] = int(not wants_raise(cy, c))
    best = _first(cy)
    while best >= 0:
        cy.work[best]["frozen"] = 1
        _raise(cy, best)
        best = _first(cy)


@kernel
def _follow_small_wishes(cy: Cycle) -> None:
    """Since when a connector has wanted a little more than is worth a write at once."""
    now = cy.clock[0]["now_ms"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        if kept["target_ma"] == 0 or cy.work[c]["wish_ma"] - kept["target_ma"] < WORTH_MA:
            kept["small_since_ms"] = NEVER
        elif kept["small_since_ms"] == NEVER:
            kept["small_since_ms"] = now


@kernel
def _worth_raising(cy: Cycle, c: int, gain_ma: int) -> bool:
    """Whether it is worth a write: at once max(1 A, 10 %), and 1 A once it has been wanted for a minute."""
    kept = cy.kept[c]
    if kept["target_ma"] == 0 or gain_ma >= worth_ma(kept["target_ma"]):
        return True
    since = kept["small_since_ms"]
    lasts = since != NEVER and cy.clock[0]["now_ms"] - since >= SMALL_RAISE_MS
    return bool(lasts and gain_ma >= WORTH_MA)


@kernel
def is_spared(cy: Cycle, c: int) -> bool:
    """Its box bears so many orders a day, and no more are left than lowerings may need."""
    return bool(cy.built[c]["write_ms"] > 0 and cy.kept[c]["spent_ms"] + cy.built[c]["write_ms"] > DAY_MS)


@kernel
def wants_raise(cy: Cycle, c: int) -> bool:
    """Settled, fresh, and its wish is above its target by enough to be worth a write."""
    kept = cy.kept[c]
    work = cy.work[c]
    if work["commandable"] == 0 or kept["proven"] == 0 or kept["limit_known"] == 0:
        return False
    if kept["observed"] == 0 or kept["closed"] == 0 or kept["falls_due_ms"] != NEVER:
        return False
    target = kept["target_ma"]
    if cy.wanted[c]["put"] == 1 or (target > 0 and work["fresh"] == 0) or is_spared(cy, c):
        return False
    return bool(work["wish_ma"] > target and _worth_raising(cy, c, work["wish_ma"] - target))


@kernel
def _first(cy: Cycle) -> int:
    best = -1
    best_key = 0
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["frozen"] == 1:
            continue
        target = cy.kept[c]["target_ma"]
        key = target * 100 // work["weight"] + UNLIMITED_MA if target > 0 else 0
        if (
            best < 0
            or key < best_key
            or (key == 0 and best_key == 0 and place_in_queue(cy, c) < place_in_queue(cy, best))
        ):
            best = c
            best_key = key
    return best


@kernel
def _room(cy: Cycle, c: int) -> int:
    """What fits under every grid above beside all commitments; below 0 nothing, not even inside its own."""
    room = spare_alone_ma(cy, c)
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[cy.built[c]["path"][d]]
        if grid["held"] == 1 or grid["panic"] == 1:
            return -1
        for line in range(grid["lines"]):
            load = cy.work[c]["load"][line]
            if load > 0:
                booked = grid["load_ma"][line] + grid["committed_ma"][line]
                room = min(room, (grid["limit_ma"][line] - grid["margin_ma"][line] - booked) // load)
    return room


@kernel
def _raise(cy: Cycle, c: int) -> None:
    kept = cy.kept[c]
    room = _room(cy, c)
    if room < 0:
        return
    target = min(cy.work[c]["wish_ma"], kept["committed_ma"] + room)
    if target != cy.work[c]["wish_ma"]:
        target = at_most_ma(cy.built[c], target)
    enough = target > kept["target_ma"] and _worth_raising(cy, c, target - kept["target_ma"])
    if target >= cy.built[c]["min_ma"] and enough:
        keep_alone(cy, c, max(target - kept["committed_ma"], 0))
        put(cy, c, target)
