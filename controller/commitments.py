"""The life of an order: what each connector may draw, given everything sent, answered or possibly lost.

A commitment rises the moment an order is put down and falls only when a reading, later than the answer
plus the time a car needs, shows the lower current (docs/control.md 5).
"""

from __future__ import annotations

from controller.defaults import (
    ANSWER_MS,
    CLOCK_ERROR_MS,
    DOWN_MS,
    DRAWING_MA,
    LINK_MS,
    NEVER,
    PROOF_MIN_FALL_MA,
    REFUSED_RETRY_MS,
    RESEND_MS,
    RESEND_TIMES,
    SAMPLE_GRACE_MS,
    TOLERANCE_MIN_MA,
    TOLERANCE_PER_MILLE,
    UNKNOWN,
    UP_MS,
)
from controller.image import Answer
from controller.kernel import kernel
from controller.session import occupied
from controller.work import Cycle

ACCEPTED = int(Answer.ACCEPTED)
REFUSED = int(Answer.REFUSED)
ANSWER_UNKNOWN = int(Answer.UNKNOWN)


@kernel
def tolerance_ma(current_ma: int) -> int:
    """How far a reading may lie above a limit that is held: max(0.7 A, 5 %)."""
    return max(TOLERANCE_MIN_MA, current_ma * TOLERANCE_PER_MILLE // 1000)


@kernel
def follow_orders(cy: Cycle, c: int) -> None:
    """Bring a commitment up to date with answers, readings, links and clocks."""
    kept = cy.kept[c]
    work = cy.work[c]
    work["target_before_ma"] = kept["target_ma"]
    if kept["spent_ms"] > 0:
        kept["spent_ms"] -= cy.clock[0]["now_ms"] - cy.kept_site[0]["now_ms"]
    work["committed_before_ma"] = kept["committed_ma"]
    _follow_box(cy, c)
    if cy.seen[c]["online"] == 1:
        _follow_answer(cy, c)
        _follow_default(cy, c)
        _observe(cy, c)
    else:
        _follow_lease(cy, c)
    _expect_decay(cy, c)
    _close_raise(cy, c)
    _catch_liar(cy, c)
    work["commandable"] = int(
        cy.seen[c]["online"] == 1
        and kept["seen"] == 1
        and work["active"] == 1
        and kept["ignored"] == 0
        and kept["refused_at_ms"] == NEVER
    )
    work["book_target_ma"] = _book_target(cy, c)


@kernel
def _follow_box(cy: Cycle, c: int) -> None:
    """Links that come and go, and boxes that are no longer the box that was proven."""
    now = cy.clock[0]["now_ms"]
    built = cy.built[c]
    seen = cy.seen[c]
    kept = cy.kept[c]
    if seen["online"] == 1 and kept["online"] == 0 and kept["observed"] == 0:
        kept["answer_at_ms"] = NEVER
        kept["put_at_ms"] = now - ANSWER_MS - RESEND_MS
        kept["sends"] = 1
    if seen["online"] == 1 and kept["online"] == 0 and kept["transaction"] != 0:
        cy.work[c]["resend"] = 1
    kept["online"] = seen["online"]
    if seen["online"] == 1 and seen["firmware"] != kept["firmware"]:
        if kept["firmware"] != UNKNOWN:
            kept["proven"] = 0
            kept["limit_known"] = 0
        kept["firmware"] = seen["firmware"]
    if seen["online"] == 1 and kept["limit_known"] == 0 and (kept["plugged"] == 1):
        if kept["committed_ma"] < built["max_ma"]:
            kept["committed_ma"] = built["max_ma"]
            kept["raise_at_ms"] = now
            kept["raise_answer_ms"] = now + LINK_MS
            kept["closed"] = 0


@kernel
def _follow_default(cy: Cycle, c: int) -> None:
    """Without a transaction the verified default is all that a box may give.

    A connector that has said nothing, or that says a car charges, may have a transaction that nobody has
    announced yet: as after a start of the controller in the middle of its session.
    """
    kept = cy.kept[c]
    default = cy.seen[c]["default_ma"]
    if cy.work[c]["active"] == 1 or default == UNKNOWN or kept["seen"] == 0:
        return
    if occupied(cy.seen[c]):
        return
    if kept["limit_known"] == 0 or (kept["observed"] == 1 and kept["target_ma"] != default):
        kept["limit_known"] = 1
        kept["committed_ma"] = max(kept["committed_ma"], default)
        kept["target_ma"] = default
        kept["lowest_ma"] = min(kept["lowest_ma"], default)
        kept["observed"] = 0
        kept["answer_at_ms"] = cy.clock[0]["now_ms"]


@kernel
def _follow_answer(cy: Cycle, c: int) -> None:
    """Answers and their absence: a time-out frees nothing, a refusal leaves what was."""
    now = cy.clock[0]["now_ms"]
    seen = cy.seen[c]
    kept = cy.kept[c]
    if kept["observed"] == 1 or kept["answer_at_ms"] != NEVER or kept["sends"] == 0:
        if kept["refused_at_ms"] != NEVER and now >= kept["refused_at_ms"] + REFUSED_RETRY_MS:
            kept["refused_at_ms"] = NEVER
            cy.work[c]["resend"] = 1
        return
    if seen["answered_seq"] == kept["order_seq"] and seen["answer"] == ACCEPTED:
        kept["answer_at_ms"] = seen["answered_at_ms"]
        kept["assured_until_ms"] = kept["put_at_ms"] + cy.built[c]["lease_ms"]
        kept["refused_at_ms"] = NEVER
        if kept["closed"] == 0 and kept["raise_answer_ms"] == NEVER:
            kept["raise_answer_ms"] = seen["answered_at_ms"]
        if kept["target_ma"] < kept["committed_ma"]:
            kept["ask_due_ms"] = seen["answered_at_ms"] + DOWN_MS
        elif kept["closed"] == 0:
            kept["ask_due_ms"] = seen["answered_at_ms"] + UP_MS
        return
    if seen["answered_seq"] == kept["order_seq"] and seen["answer"] == REFUSED:
        kept["committed_ma"] = max(kept["committed_ma"], cy.built[c]["max_ma"])
        kept["refused_at_ms"] = seen["answered_at_ms"]
        kept["observed"] = 1
        return
    wait = answer_wait_ms(cy, c)
    if now >= kept["put_at_ms"] + wait:
        cy.work[c]["resend"] = 1


@kernel
def backoff_ms(sends: int) -> int:
    """How long an order that failed waits for its next sending, doubled each time."""
    return RESEND_MS << min(max(sends - 1, 0), RESEND_TIMES)


@kernel
def answer_wait_ms(cy: Cycle, c: int) -> int:
    """How long an order without answer waits for its next sending; less if it surely failed."""
    seen = cy.seen[c]
    kept = cy.kept[c]
    backoff = backoff_ms(kept["sends"])
    failed = seen["answered_seq"] == kept["order_seq"] and seen["answer"] == ANSWER_UNKNOWN
    return int(backoff if failed else ANSWER_MS + backoff)


@kernel
def _observe(cy: Cycle, c: int) -> None:
    """A lowering is done when a reading after the answer and the car's 5 s shows it."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    if kept["falls_due_ms"] != NEVER and now >= kept["falls_due_ms"]:
        kept["committed_ma"] = kept["target_ma"]
        kept["falls_due_ms"] = NEVER
    if kept["observed"] == 1 or kept["answer_at_ms"] == NEVER:
        return
    if kept["committed_ma"] <= kept["target_ma"] and kept["proven"] == 1:
        _observed(cy, c)
        return
    heard = kept["reading_at_ms"]
    if work["active"] == 0 and kept["ignored"] == 0 and not occupied(cy.seen[c]):
        heard = now
    if heard < kept["answer_at_ms"] + DOWN_MS:
        return
    if work["draw_ma"] <= kept["target_ma"] + tolerance_ma(kept["target_ma"]):
        _judge_proof(cy, c)
        if kept["proven"] == 1 or kept["target_ma"] == 0 or work["active"] == 0:
            _observed(cy, c)
    elif heard >= kept["answer_at_ms"] + DOWN_MS + cy.built[c]["sample_ms"] + SAMPLE_GRACE_MS:
        if kept["retried"] == 0:
            kept["retried"] = 1
            work["resend"] = 1
        else:
            _ignore(cy, c)


@kernel
def _observed(cy: Cycle, c: int) -> None:
    """The newest order holds: its commitment is its target; an unknown connector's falls T_G later."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    kept["observed"] = 1
    kept["observed_at_ms"] = now
    kept["limit_known"] = 1
    kept["retried"] = 0
    kept["lowest_ma"] = kept["target_ma"]
    if kept["known"] == 1 or kept["committed_ma"] <= kept["target_ma"] or cy.work[c]["active"] == 0:
        kept["committed_ma"] = kept["target_ma"]
    else:
        kept["falls_due_ms"] = now + cy.work[c]["blind_ms"]


@kernel
def _judge_proof(cy: Cycle, c: int) -> None:
    """Proven: a lowering of at least 1 A was seen to act on a car that really drew."""
    kept = cy.kept[c]
    draw = cy.work[c]["draw_ma"]
    peak = kept["proof_peak_ma"]
    drew = peak >= cy.built[c]["min_ma"] + DRAWING_MA
    if kept["proven"] == 0 and drew and draw <= peak - PROOF_MIN_FALL_MA:
        kept["proven"] = 1


@kernel
def _ignore(cy: Cycle, c: int) -> None:
    """Accepted and not obeyed: everybody else yields."""
    kept = cy.kept[c]
    kept["ignored"] = 1
    kept["committed_ma"] = max(kept["committed_ma"], cy.built[c]["max_ma"], cy.work[c]["draw_ma"])
    kept["falls_due_ms"] = NEVER


@kernel
def _catch_liar(cy: Cycle, c: int) -> None:
    """Draws more than it may: booked at its maximum at once; obeying again ends it."""
    kept = cy.kept[c]
    work = cy.work[c]
    if work["news"] == 0:
        return
    draw = work["draw_ma"]
    if draw > kept["committed_ma"] + tolerance_ma(kept["committed_ma"]):
        _ignore(cy, c)
    elif kept["ignored"] == 1 and draw <= kept["target_ma"] + tolerance_ma(kept["target_ma"]):
        if kept["answer_at_ms"] != NEVER and kept["reading_at_ms"] >= kept["answer_at_ms"] + DOWN_MS:
            kept["ignored"] = 0
            kept["retried"] = 0
            _observed(cy, c)


@kernel
def _close_raise(cy: Cycle, c: int) -> None:
    """A raise is closed when the car has reached it, or has had the time to."""
    kept = cy.kept[c]
    work = cy.work[c]
    if kept["closed"] == 1:
        return
    heard = work["heard_ms"]
    committed = kept["committed_ma"]
    reached = heard > kept["raise_at_ms"] and work["draw_ma"] >= committed - tolerance_ma(committed)
    waited = kept["raise_answer_ms"] != NEVER and heard >= kept["raise_answer_ms"] + UP_MS
    idle = work["active"] == 0 and kept["observed"] == 1 and kept["falls_due_ms"] == NEVER
    if reached or waited or idle:
        kept["closed"] = 1


@kernel
def _follow_lease(cy: Cycle, c: int) -> None:
    """A box that is out of reach falls to its fallback by itself once its lease has surely ended."""
    kept = cy.kept[c]
    end = kept["lease_until_ms"]
    if end == NEVER or kept["proven"] == 0 or kept["ignored"] == 1:
        return
    if cy.clock[0]["now_ms"] >= end + CLOCK_ERROR_MS + DOWN_MS:
        fallback = cy.built[c]["fallback_ma"]
        kept["committed_ma"] = fallback
        kept["target_ma"] = fallback
        kept["lowest_ma"] = fallback
        kept["observed"] = 1
        kept["falls_due_ms"] = NEVER
        kept["lease_until_ms"] = NEVER


@kernel
def _expect_decay(cy: Cycle, c: int) -> None:
    """A box that decays to a fallback *above* its limit does so when its lease was not surely renewed.

    Booked early enough for the others to be told and to follow.
    """
    kept = cy.kept[c]
    fallback = cy.built[c]["fallback_ma"]
    if cy.built[c]["lease_ms"] == 0 or kept["committed_ma"] >= fallback or cy.work[c]["active"] == 0:
        return
    assured = kept["assured_until_ms"]
    if assured != NEVER and cy.clock[0]["now_ms"] >= assured - CLOCK_ERROR_MS - LINK_MS - DOWN_MS:
        kept["committed_ma"] = fallback


@kernel
def _book_target(cy: Cycle, c: int) -> int:
    """What is left when every order is obeyed; for what cannot be commanded, its commitment."""
    kept = cy.kept[c]
    work = cy.work[c]
    if work["active"] == 0 and cy.seen[c]["online"] == 1 and kept["ignored"] == 0:
        return kept["target_ma"]
    if kept["limit_known"] == 0 and work["fresh"] == 1:
        return work["draw_ma"]
    if work["commandable"] == 0:
        return kept["committed_ma"]
    if kept["proven"] == 0 and kept["target_ma"] > 0:
        if kept["proof_peak_ma"] > 0:
            return max(kept["target_ma"], work["draw_ma"])
        return kept["committed_ma"]
    return kept["target_ma"]
