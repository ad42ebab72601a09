"""Orders on their way to the boxes, and the answers on their way back.

One row per connector. An order reaches its box a latency after it was put down, whatever else happens, and
the answer sets out at once or as late as the box likes; either may get lost.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.defaults import NEVER
from controller.kernel import direct, kernel
from controller.table import Table
from twin.boxes import ACCEPTED, BOX_STEP_MA, take_order
from twin.streams import number, roll
from twin.vehicles import FAR_MS

SLOTS: Final = 64  # orders and answers in flight on one link; the oldest is given up for one more

POST = np.dtype(
    [
        ("dice", "i8"),
        ("first", "i8"),
        ("count", "i8"),
        ("arrives_ms", "i8", (SLOTS,)),
        ("seq", "i8", (SLOTS,)),
        ("limit_ma", "i8", (SLOTS,)),
        ("phases", "i8", (SLOTS,)),
        ("lease_until_ms", "i8", (SLOTS,)),
        ("answer", "i8", (SLOTS,)),
        ("answered_ms", "i8", (SLOTS,)),  # when the answer is back; FAR_MS: the order is still on its way,
        # NEVER: nothing comes back any more
    ]
)


def posts(seed: int, names: tuple[str, ...]) -> Table:
    """Links on which nothing is under way, each with a dice of its own."""
    table = np.zeros(len(names), POST)
    for row, name in zip(table, names, strict=True):
        row["dice"] = number(seed, "loss", name) & 0x7FFF_FFFF
    return table


@kernel
def is_lost(post: Any, outlet: Any, loss: int) -> bool:
    """Whether the next message gets lost; `loss` is the chance of 2^31 on every link."""
    loss = max(loss, outlet["loss"])
    if loss == 0:
        return False
    post["dice"] = roll(post["dice"])
    return bool(post["dice"] < loss)


@direct
@kernel
def send(
    orders: Table,
    posts: Table,
    probes: Table,
    seen: Table,
    outlets: Table,
    now_ms: int,
    latency_ms: int,
    loss: int,
) -> bool:
    """Put the orders and the requests for readings of a decision on their links; True: orders set out."""
    any_order = False
    for c in range(len(orders)):
        order = orders[c]
        post = posts[c]
        if order["put"] != 0 and seen[c]["online"] != 0 and not is_lost(post, outlets[c], loss):
            any_order = True
            if post["count"] == SLOTS:
                post["first"] = (post["first"] + 1) % SLOTS
                post["count"] -= 1
            slot = (post["first"] + post["count"]) % SLOTS
            post["count"] += 1
            post["arrives_ms"][slot] = now_ms + latency_ms
            post["seq"][slot] = order["order_seq"]
            post["limit_ma"][slot] = order["target_ma"] // BOX_STEP_MA * BOX_STEP_MA
            post["phases"][slot] = order["order_phases"]
            post["lease_until_ms"][slot] = order["lease_until_ms"]
            post["answered_ms"][slot] = FAR_MS
        if order["ask"] != 0 and not is_lost(post, outlets[c], loss):
            probes[c]["asked_at_ms"] = now_ms + latency_ms
    return any_order


@direct
@kernel
def obey(
    posts: Table, outlets: Table, connectors: Table, writes: Any, now_ms: int, latency_ms: int, loss: int
) -> bool:
    """Let every box take the orders that have reached it, and answer; True when any did."""
    any_order = False
    for c in range(len(posts)):
        post = posts[c]
        for n in range(post["count"]):
            slot = (post["first"] + n) % SLOTS
            if post["answered_ms"][slot] != FAR_MS or post["arrives_ms"][slot] > now_ms:
                continue
            post["answered_ms"][slot] = NEVER
            if outlets[c]["offline"] != 0:
                continue
            any_order = True
            answer = take_order(
                outlets,
                connectors,
                c,
                post["limit_ma"][slot],
                post["phases"][slot],
                post["lease_until_ms"][slot],
                now_ms,
            )
            writes[c] += answer == ACCEPTED
            if not is_lost(post, outlets[c], loss):
                post["answer"][slot] = answer
                post["answered_ms"][slot] = now_ms + latency_ms + outlets[c]["late_ms"]
    return any_order


@kernel
def hear_answers(seen: Table, posts: Table, now_ms: int) -> None:
    """Deliver the answers that have arrived; one to an older order than was answered says nothing."""
    for c in range(len(posts)):
        post = posts[c]
        for n in range(post["count"]):
            slot = (post["first"] + n) % SLOTS
            at_ms = post["answered_ms"][slot]
            if at_ms == NEVER or at_ms > now_ms:
                continue
            post["answered_ms"][slot] = NEVER
            if post["seq"][slot] > seen[c]["answered_seq"] and seen[c]["online"] != 0:
                seen[c]["answered_seq"] = post["seq"][slot]
                seen[c]["answer"] = post["answer"][slot]
                seen[c]["answered_at_ms"] = at_ms
        while post["count"] > 0 and post["answered_ms"][post["first"]] == NEVER:
            post["first"] = (post["first"] + 1) % SLOTS
            post["count"] -= 1


@kernel
def is_news(answer: int, order: Any) -> bool:
    """That a raise or a renewal was accepted is no news: it frees nothing, and its stamp keeps its time."""
    return bool(answer != ACCEPTED or order["committed_ma"] > order["target_ma"])


@kernel
def next_answer(posts: Table, orders: Table) -> int:
    """When the next answer arrives that is news."""
    soon = FAR_MS
    for c in range(len(posts)):
        post = posts[c]
        for n in range(post["count"]):
            slot = (post["first"] + n) % SLOTS
            at_ms = post["answered_ms"][slot]
            if at_ms != NEVER and at_ms < soon and is_news(post["answer"][slot], orders[c]):
                soon = at_ms
    return int(soon)
