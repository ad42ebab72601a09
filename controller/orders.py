"""From wishes to orders: cut before all else, lower before you raise, few writes.

Lines of docs/control.md 2: *book cut* when estimate plus targets exceed limit - margin/2, *meter cut* when
the reading less the falls already ordered exceeds the limit, *panic* when ordered cuts will not do; what is
raised fits under limit - margin with every commitment of everybody else.
"""

from __future__ import annotations

from controller.decision import Because
from controller.defaults import (
    DOWN_MS,
    DRAWING_MA,
    LINES,
    LINK_MS,
    NEVER,
    PANIC_HOLD_MS,
    PANIC_PENDING_MS,
    PROOF_OFFER_MA,
    PROOF_STEP_PER_MILLE,
    TOGETHER,
    UNLIMITED_MA,
)
from controller.demand import place_in_queue, worth_ma
from controller.kernel import kernel
from controller.limits import is_hot
from controller.steps import above_ma, at_most_ma
from controller.storage import yield_charging
from controller.work import Cycle

CUT = int(Because.CUT)

TO_MINIMUM_KNOWN, TO_MINIMUM_UNKNOWN, TO_ZERO_KNOWN, TO_ZERO_UNKNOWN = 0, 1, 2, 3
CUT_UNUSED, CUT_TO_WISHES, CUT_PROOFS = 0, 1, 2


@kernel
def put(cy: Cycle, c: int, target: int) -> None:
    """Put an order down: its commitment rises now and falls only when it is observed."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    old = kept["target_ma"]
    committed = max(kept["committed_ma"], target)
    if kept["proven"] == 0 and target > 0:
        committed = max(committed, cy.built[c]["max_ma"])
    if target < old or kept["limit_known"] == 0:
        _note_fall(cy, c, target)
    elif target > old:
        kept["fall_since_ms"] = NEVER
        kept["raise_at_ms"] = now
        kept["raise_answer_ms"] = NEVER
        kept["closed"] = 0
        cy.kept_site[0]["round_open"] = 1
        cy.work[c]["raised"] = 1
    move_sums(cy, c, target - cy.work[c]["book_target_ma"], committed - kept["committed_ma"])
    cy.work[c]["book_target_ma"] = target
    kept["before_ma"] = kept["committed_ma"]
    kept["committed_ma"] = committed
    kept["lowest_ma"] = min(kept["lowest_ma"], target) if kept["observed"] == 0 else target
    kept["target_ma"] = target
    kept["order_seq"] += 1
    kept["spent_ms"] = max(kept["spent_ms"], 0) + cy.built[c]["write_ms"]
    kept["put_at_ms"] = now
    kept["answer_at_ms"] = NEVER
    kept["falls_due_ms"] = NEVER
    kept["sends"] = 1
    kept["observed"] = 0
    kept["retried"] = 0
    kept["lease_until_ms"] = NEVER
    if cy.built[c]["lease_ms"] > 0:
        kept["lease_until_ms"] = now + cy.built[c]["lease_ms"]
    if target == 0:
        kept["on_since_ms"] = NEVER
        if old > 0:
            kept["off_since_ms"] = now
    elif kept["on_since_ms"] == NEVER:
        kept["on_since_ms"] = now
    cy.wanted[c]["put"] = 1


@kernel
def _note_fall(cy: Cycle, c: int, target: int) -> None:
    """What the guard meter will lose and cannot show yet; several lowerings count from the first."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    lasts = work["blind_ms"] + LINK_MS + DOWN_MS
    first = kept["observed"] == 1 or kept["fall_since_ms"] == NEVER or now - kept["fall_since_ms"] > lasts
    if first:
        kept["fall_since_ms"] = now
    for p in range(3):
        if first:
            kept["fall_from_ma"][p] = work["low_ma"][p]
        fall = max(work["low_ma"][p] - target, 0) * kept["phases"][p]
        work["low_ma"][p] = min(work["low_ma"][p], target)
        if kept["known"] == 0:
            fall = fall // 3
        for d in range(cy.built[c]["depth"]):
            cut = cy.grids[cy.built[c]["path"][d]]["cut_ma"]
            cut[p] += fall
            cut[TOGETHER] += fall


@kernel
def move_sums(cy: Cycle, c: int, target_ma: int, committed_ma: int) -> None:
    """Keep the books above in step with a change of its target and of its commitment."""
    for d in range(cy.built[c]["depth"]):
        grid = cy.grids[cy.built[c]["path"][d]]
        for line in range(LINES):
            grid["targets_ma"][line] += target_ma * cy.work[c]["load"][line]
            grid["committed_ma"][line] += committed_ma * cy.work[c]["load"][line]


@kernel
def _put_again(cy: Cycle, c: int) -> None:
    """The same order once more, under a new number; how often and whether retried is kept."""
    kept = cy.kept[c]
    sends = kept["sends"]
    retried = kept["retried"]
    put(cy, c, kept["target_ma"])
    kept["sends"] = sends + 1
    kept["retried"] = retried


@kernel
def _under(cy: Cycle, c: int, g: int) -> bool:
    for d in range(cy.built[c]["depth"]):
        if cy.built[c]["path"][d] == g:
            return True
    return False


@kernel
def _has_panic(cy: Cycle, c: int) -> bool:
    for d in range(cy.built[c]["depth"]):
        if cy.grids[cy.built[c]["path"][d]]["panic"] == 1:
            return True
    return False


@kernel
def plan(cy: Cycle) -> None:
    """All orders of this cycle, cuts first, raises last."""
    _panic(cy)
    for i in range(len(cy.leaves_first)):
        g = cy.leaves_first[i]
        for line in range(cy.grids[g]["lines"]):
            _cut_by_book(cy, g, line)
    yield_charging(cy)
    for i in range(len(cy.leaves_first)):
        g = cy.leaves_first[i]
        for line in range(cy.grids[g]["lines"]):
            _cut_by_meter(cy, g, line)
    _lower_to_wishes(cy)
    _prove(cy)
    _send_again(cy)


@kernel
def _panic(cy: Cycle) -> None:
    """Far over the limit, and what has been ordered will not do: everything under the grid to 0."""
    now = cy.clock[0]["now_ms"]
    anywhere = False
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        kept = cy.kept_grids[g]
        patience = grid["blind_ms"] + LINK_MS + DOWN_MS + PANIC_PENDING_MS
        for p in range(3):
            line = cy.built_grids[g]["panic_ma"][p]
            over = grid["guarded"] == 1 and grid["measured_ma"][p] > line
            hot = grid["guarded"] == 1 and grid["measured_ma"][p] > grid["fuse_ma"][p] and is_hot(cy, g, p)
            helpless = over and grid["measured_ma"][p] - grid["pending_ma"][p] > line
            if not over:
                kept["over_since_ms"][p] = NEVER
            elif kept["over_since_ms"][p] == NEVER:
                kept["over_since_ms"][p] = now
            if not helpless:
                kept["helpless_since_ms"][p] = NEVER
            elif kept["helpless_since_ms"][p] == NEVER:
                kept["helpless_since_ms"][p] = now
            stuck = helpless and now - kept["helpless_since_ms"][p] >= PANIC_PENDING_MS
            if stuck or hot or (over and now - kept["over_since_ms"][p] >= patience):
                kept["panic_until_ms"] = now + PANIC_HOLD_MS
        if kept["panic_until_ms"] > now:
            grid["panic"] = 1
        anywhere = anywhere or grid["panic"] == 1
    for c in range(len(cy.built)):
        if anywhere and _has_panic(cy, c):
            cy.work[c]["wish_ma"] = 0
            cy.work[c]["proof"] = 0
            ordered = cy.kept[c]["target_ma"] == 0 and cy.kept[c]["observed"] == 0
            if cy.work[c]["commandable"] == 1 and cy.work[c]["book_target_ma"] > 0 and not ordered:
                put(cy, c, 0)


@kernel
def _cut_by_book(cy: Cycle, g: int, line: int) -> None:
    """Lower targets to their wishes until the book fits, offers that nobody uses first, proofs last."""
    grid = cy.grids[g]
    most = grid["limit_ma"][line] - grid["margin_ma"][line]
    if grid["load_ma"][line] + grid["targets_ma"][line] <= most + grid["margin_ma"][line] // 2:
        return
    for stage in range(CUT_UNUSED, CUT_PROOFS + 1):
        while grid["load_ma"][line] + grid["targets_ma"][line] > most:
            best = -1
            widest = 0
            for c in range(len(cy.built)):
                gain = cy.kept[c]["target_ma"] - _book_floor(cy, c, stage)
                if gain > widest and cy.work[c]["load"][line] > 0 and _under(cy, c, g):
                    best = c
                    widest = gain
            if best < 0:
                break
            put(cy, best, _book_floor(cy, best, stage))


@kernel
def _book_floor(cy: Cycle, c: int, stage: int) -> int:
    """How far a book cut may lower it: not below what it draws, then to its wish; a proof to 0."""
    if not _shares(cy, c):
        waits = cy.work[c]["commandable"] == 0 or cy.kept[c]["limit_known"] == 0
        return int(cy.kept[c]["target_ma"] if waits or stage < CUT_PROOFS else 0)
    wish = cy.work[c]["wish_ma"]
    if stage >= CUT_TO_WISHES:
        return int(wish)
    used = above_ma(cy.built[c], cy.work[c]["draw_ma"] - 1)
    return int(max(wish, used, cy.built[c]["min_ma"]))


@kernel
def _shares(cy: Cycle, c: int) -> bool:
    """Whether its target is set by sharing: commandable, proven, limit known."""
    kept = cy.kept[c]
    return bool(cy.work[c]["commandable"] == 1 and kept["proven"] == 1 and kept["limit_known"] == 1)


@kernel
def _cut_by_meter(cy: Cycle, g: int, line: int) -> None:
    """Over the limit at the meter: cut in this cycle, whatever the estimate says."""
    grid = cy.grids[g]
    coming = grid["measured_ma"][line] - grid["pending_ma"][line]
    if grid["guarded"] == 0 or coming <= grid["limit_ma"][line]:
        return
    most = grid["limit_ma"][line] - grid["margin_ma"][line]
    for stage in range(4):
        need = coming - most - grid["cut_ma"][line]
        while need > 0:
            best = _next_to_cut(cy, g, line, stage)
            if best < 0:
                break
            put(cy, best, _cut_target(cy, best, line, stage, need))
            cy.work[best]["wish_ma"] = min(cy.work[best]["wish_ma"], cy.kept[best]["target_ma"])
            cy.work[best]["why"] = CUT
            cy.work[best]["why_grid"] = g
            cy.work[best]["why_phase"] = line
            need = coming - most - grid["cut_ma"][line]


@kernel
def _sure_draw(cy: Cycle, c: int, line: int) -> int:
    """Least that it draws on a phase, or on the highest where the phases count together."""
    low = cy.work[c]["low_ma"]
    return low[line] if line < TOGETHER else max(low[0], low[1], low[2])


@kernel
def _next_to_cut(cy: Cycle, g: int, line: int, stage: int) -> int:
    """Largest draw first down to the minimum; then off, last in the queue first; known phases first."""
    unknown = stage in (TO_MINIMUM_UNKNOWN, TO_ZERO_UNKNOWN)
    best = -1
    best_score = 0
    for c in range(len(cy.built)):
        work = cy.work[c]
        if work["commandable"] == 0 or (cy.kept[c]["known"] == 0) != unknown:
            continue
        low = _sure_draw(cy, c, line)
        score = low - cy.built[c]["min_ma"]
        if stage in (TO_ZERO_KNOWN, TO_ZERO_UNKNOWN):
            score = place_in_queue(cy, c) + 1 if low > 0 else 0
        if score > best_score and _under(cy, c, g):
            best = c
            best_score = score
    return best


@kernel
def _cut_target(cy: Cycle, c: int, line: int, stage: int, need: int) -> int:
    if stage in (TO_ZERO_KNOWN, TO_ZERO_UNKNOWN):
        return 0
    if line < TOGETHER and cy.kept[c]["known"] == 0:
        need = need * 3
    elif cy.kept[c]["known"] == 1:
        need = -(-need // cy.work[c]["load"][line])
    target = at_most_ma(cy.built[c], _sure_draw(cy, c, line) - need)
    return max(target, cy.built[c]["min_ma"])


@kernel
def _lower_to_wishes(cy: Cycle) -> None:
    """Take back what its car does not use, what others wait for, or what is more than half a margin too much.

    A building that trembles moves the wishes of cars by whole steps. Unless somebody can use the difference
    an order stays as it is inside the band between the lines: else it would be given and taken for ever.
    """
    if not _weigh_lowerings(cy):
        return
    for c in range(len(cy.built)):
        target = cy.kept[c]["target_ma"]
        wish = cy.work[c]["wish_ma"]
        if not _shares(cy, c) or wish >= target:
            continue
        worth = wish == 0 or target - wish >= worth_ma(target)
        alone = cy.work[c]["stop"] != 0 or cy.work[c]["cap_ma"] < target
        if worth and (alone or _in_the_way(cy, c)):
            put(cy, c, wish)


@kernel
def _weigh_lowerings(cy: Cycle) -> bool:
    """Sum up by grid and phase what orders exceed the wishes by and what is sought; False: none exceeds."""
    lower = False
    for c in range(len(cy.built)):
        lower = lower or (cy.work[c]["wish_ma"] < cy.kept[c]["target_ma"] and _shares(cy, c))
    if not lower:
        return False
    for g in range(len(cy.grids)):
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            grid["over_ma"][line] = -grid["spare_ma"][line]
            grid["sought_ma"][line] = 0
    for c in range(len(cy.built)):
        over = 0
        sought = 0
        if _shares(cy, c):
            target = cy.kept[c]["target_ma"]
            over = target - cy.work[c]["wish_ma"]
            if over < 0 and (target == 0 or -over >= worth_ma(target)):
                sought = -over
        elif cy.work[c]["proof"] == 1:
            over = cy.kept[c]["committed_ma"] - cy.built[c]["max_ma"]
            sought = -over
        for d in range(cy.built[c]["depth"]):
            grid = cy.grids[cy.built[c]["path"][d]]
            for line in range(grid["lines"]):
                grid["over_ma"][line] += over * cy.work[c]["load"][line]
                grid["sought_ma"][line] += sought * cy.work[c]["load"][line]
    return True


@kernel
def _in_the_way(cy: Cycle, c: int) -> bool:
    """Whether its order stands in the way of others, or of the lines, in a grid above."""
    more = cy.kept[c]["target_ma"] - cy.work[c]["wish_ma"]
    load = cy.work[c]["load"]
    blocks = False
    for d in range(cy.built[c]["depth"]):
        g = cy.built[c]["path"][d]
        grid = cy.grids[g]
        for line in range(grid["lines"]):
            over, sought = grid["over_ma"][line], grid["sought_ma"][line]
            if load[line] > 0:
                blocks = blocks or over > _band_ma(cy, g, line) or (sought > 0 and over + sought > 0)
    if blocks:
        for d in range(cy.built[c]["depth"]):
            grid = cy.grids[cy.built[c]["path"][d]]
            for line in range(grid["lines"]):
                grid["over_ma"][line] -= more * load[line]
    return blocks


@kernel
def _band_ma(cy: Cycle, g: int, line: int) -> int:
    """Half a margin; nothing trembles in a limit on the connectors alone, so it has no band."""
    seen = cy.seen_grids[g]
    charging = seen["charging_ma"][line] if line < TOGETHER else seen["charging_sum_ma"]
    return int(cy.grids[g]["margin_ma"][line] // 2 if charging == UNLIMITED_MA else 0)


@kernel
def _prove(cy: Cycle) -> None:
    """First orders to boxes whose limit nobody knows, and the steps of a proof of obedience."""
    now = cy.clock[0]["now_ms"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        work = cy.work[c]
        if work["commandable"] == 0 or (kept["proven"] == 1 and kept["limit_known"] == 1):
            continue
        if cy.wanted[c]["put"] == 1 or _has_panic(cy, c) or work["stop"] != 0:
            continue
        draw = work["draw_ma"]
        draws = work["fresh"] == 1 and draw >= cy.built[c]["min_ma"] + DRAWING_MA
        started = kept["proof_peak_ma"] > 0 and kept["observed"] == 0
        if kept["proven"] == 1:
            if work["fresh"] == 1 and kept["observed"] == 1:
                put(cy, c, max(at_most_ma(cy.built[c], draw), cy.built[c]["min_ma"]) if draws else 0)
        elif draws and not started:
            kept["proof_peak_ma"] = draw
            lower = at_most_ma(cy.built[c], draw * PROOF_STEP_PER_MILLE // 1000)
            lower = max(lower, cy.built[c]["min_ma"])
            if kept["limit_known"] == 0 or lower < kept["target_ma"]:
                put(cy, c, lower)  # else a cut is on its way and proves as much
        elif started and kept["target_ma"] > 0:
            judged = kept["answer_at_ms"] != NEVER and work["heard_ms"] >= kept["answer_at_ms"] + DOWN_MS
            if judged and draw <= kept["target_ma"]:
                put(cy, c, 0)
        elif kept["target_ma"] > 0 and kept["closed"] == 1 and work["fresh"] == 1:
            kept["proof_failed_at_ms"] = now
            put(cy, c, 0)
        elif kept["limit_known"] == 0 and kept["observed"] == 1 and work["fresh"] == 1 and not started:
            kept["proof_peak_ma"] = 0
            put(cy, c, 0)


@kernel
def offer_proof(cy: Cycle, c: int) -> None:
    """Offer a waiting car enough to show whether its box obeys; booked at its maximum meanwhile."""
    offer = at_most_ma(cy.built[c], min(PROOF_OFFER_MA, cy.built[c]["max_ma"]))
    cy.kept[c]["proof_peak_ma"] = 0
    put(cy, c, max(offer, cy.built[c]["min_ma"]))


@kernel
def _send_again(cy: Cycle) -> None:
    """Orders without an answer, boxes that came back, and leases at half of their time."""
    now = cy.clock[0]["now_ms"]
    for c in range(len(cy.built)):
        kept = cy.kept[c]
        work = cy.work[c]
        if cy.wanted[c]["put"] == 1 or work["active"] == 0 or cy.seen[c]["online"] == 0:
            continue
        lease = cy.built[c]["lease_ms"]
        half_over = kept["lease_until_ms"] != NEVER and now >= kept["lease_until_ms"] - lease // 2
        decays = kept["target_ma"] != cy.built[c]["fallback_ma"]
        if work["resend"] == 1 or (half_over and decays and kept["observed"] == 1):
            _put_again(cy, c)
