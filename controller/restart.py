"""The book across a restart: what must be durable before a raise leaves, and the Memory it gives back.

Times of the old process are worth nothing in the new one, so a page holds none: what was open stays open and
is counted from the new start. Nothing here raises anybody; `seen` stays 0 until a connector has reported.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controller.decision import Decision, Memory, empty_decision, first_memory
from controller.defaults import LINK_MS, NEVER
from controller.table import Table
from controller.topology import Topology

PAGE = np.dtype(
    [
        ("committed_ma", "i8"),
        ("target_ma", "i8"),
        ("lowest_ma", "i8"),
        ("order_seq", "i8"),
        ("observed", "i8"),
        ("closed", "i8"),
        ("limit_known", "i8"),
        ("proven", "i8"),
        ("ignored", "i8"),
        ("barred", "i8"),
        ("firmware", "i8"),
        ("session", "i8"),
        ("plugged", "i8"),
        ("transaction", "i8"),
        ("leased", "i8"),  # 1: the newest order decays
    ]
)
"""One connector of the book, as in `CONNECTOR_MEMORY`."""

_KEPT = [name for name in PAGE.names or () if name != "leased"]


def pages(memory: Memory) -> Table:
    """The book of a Memory, one page per connector."""
    table = np.zeros(len(memory.connectors), PAGE)
    for name in _KEPT:
        table[name] = memory.connectors[name]
    table["leased"] = memory.connectors["lease_until_ms"] != NEVER
    return table


def resume(topology: Topology, book: Mapping[str, Table] | None, now_ms: int) -> Memory:
    """First Memory after a restart, from pages keyed by connector name (`chargepoint/number`).

    A connector with a page is booked at its journalled commitment, one without at its declared fallback.
    `None` is a book that was lost: nobody knows what is in force, so everything counts at its rating.
    """
    memory = first_memory(topology)
    memory.site["now_ms"] = now_ms
    rows = memory.connectors
    rows["since_ms"] = now_ms
    rows["known"] = rows["phases"].sum(axis=1) == 1
    if book is None:
        rows["committed_ma"] = topology.connectors["max_ma"]
        rows["observed"] = 0
        _reopen(rows, now_ms)
        return memory
    for c, name in enumerate(topology.connector_names):
        if name in book:
            _resume(topology.connectors[c], rows[c : c + 1], book[name], now_ms)
    return memory


def retreat(topology: Topology, memory: Memory, now_ms: int) -> tuple[Decision, Memory]:
    """When `calculate` cannot go on: no target above the fallback, and a fresh Memory from the same book.

    Commitments fall only by what is seen later, as after any lowering.
    """
    book = pages(memory)
    above = book["target_ma"] > topology.connectors["fallback_ma"]
    book["target_ma"] = np.minimum(book["target_ma"], topology.connectors["fallback_ma"])
    book["lowest_ma"] = np.minimum(book["lowest_ma"], book["target_ma"])
    book["order_seq"] += above
    book["observed"][above] = 0
    memory = resume(topology, dict(zip(topology.connector_names, book, strict=True)), now_ms)
    decision = empty_decision(topology)
    decision.site["now_ms"] = now_ms
    rows = decision.connectors
    rows["target_ma"] = memory.connectors["target_ma"]
    rows["committed_ma"] = memory.connectors["committed_ma"]
    rows["order_seq"] = memory.connectors["order_seq"]
    rows["lease_until_ms"] = memory.connectors["lease_until_ms"]
    rows["put"] = above
    return decision, memory


def _resume(built: Table, row: Table, page: Table, now_ms: int) -> None:
    for name in _KEPT:
        row[name] = page[name]
    row["before_ma"] = page["committed_ma"]
    if page["transaction"] != 0:
        row["off_since_ms"] = now_ms
        if page["target_ma"] > 0:
            row["on_since_ms"] = now_ms
    if page["leased"] and built["lease_ms"] > 0:
        row["lease_until_ms"] = now_ms + built["lease_ms"]
        row["committed_ma"] = max(int(page["committed_ma"]), int(built["fallback_ma"]))
    if page["committed_ma"] != page["target_ma"]:
        row["observed"] = 0
    _reopen(row, now_ms)


def _reopen(rows: Table, now_ms: int) -> None:
    """An order whose end was not seen is sent again; a raise that was open began, for all we know, now."""
    waiting = rows["observed"] == 0
    rows["sends"][waiting] = 1
    rows["put_at_ms"][waiting] = now_ms
    rising = rows["closed"] == 0
    rows["raise_at_ms"][rising] = now_ms
    rows["raise_answer_ms"][rising] = now_ms + LINK_MS
