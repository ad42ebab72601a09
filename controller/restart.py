"""The book across a restart: what must be durable before a raise leaves, and the Memory it gives back.

Times of the old process are worth nothing in the new one, so a page holds none: what was open stays open and
is counted from the new start. Nothing here raises anybody; `seen` stays 0 until a connector has reported.

The site file may have changed meanwhile. What a page says of a connector that hangs elsewhere now, or is in
the file no more, is booked where it hung: until its lease has surely ended, or, without one, until a person
says that it is gone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controller.decision import Decision, Memory, empty_decision, first_memory
from controller.defaults import CLOCK_ERROR_MS, DOWN_MS, LINK_MS, MAX_DEPTH, NEVER
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
        ("lease_ms", "i8"),
        ("single", "i8"),
        ("phases", "i8"),  # of the site that it is booked on, as bits
        *((f"grid_{d}", "i8") for d in range(MAX_DEPTH)),  # ids of the grids that feed it, NO_GRID beyond
    ]
)
"""One connector of the book, as in `CONNECTOR_MEMORY`."""

_WAY = [f"grid_{d}" for d in range(MAX_DEPTH)]
_OF_SITE = ("leased", "lease_ms", "phases", *_WAY)
_KEPT = [name for name in PAGE.names or () if name not in _OF_SITE]
NO_GRID = -1
FOR_EVER_MS = 2**62


def pages(topology: Topology, memory: Memory) -> Table:
    """The book of a Memory, one page per connector."""
    rows = memory.connectors
    table = np.zeros(len(rows), PAGE)
    for name in _KEPT:
        table[name] = rows[name]
    table["leased"] = rows["lease_until_ms"] != NEVER
    table["lease_ms"] = topology.connectors["lease_ms"]
    table["phases"] = rows["phases"] @ (1, 2, 4)
    for d, name in enumerate(_WAY):
        ids = topology.grids["id"][topology.connectors["path"][:, d]]
        table[name] = np.where(topology.connectors["depth"] > d, ids, NO_GRID)
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
    for page in leftovers(topology, book).values():
        _reserve(topology, memory.grids, page, now_ms)
    return memory


def leftovers(topology: Topology, book: Mapping[str, Table]) -> dict[str, Table]:
    """Pages of what may still draw where this site has it no more.

    By a key that no connector has, and that stays the same when it is put into the book: once its page is
    overwritten by what happens at its new place, nothing else tells of the old one.
    """
    boards = topology.grids["id"][topology.connectors["path"][:, 0]].tolist()
    here = dict(zip(topology.connector_names, boards, strict=True))
    found = {}
    for name, page in book.items():
        if page["committed_ma"] > 0 and here.get(name) != page["grid_0"]:
            found[f"{name} on {page['grid_0']}" if name in here else name] = page
    return found


def lasts_ms(page: Table) -> int | None:
    """How long after a restart a leftover may draw at most; None: until a person says that it is gone."""
    return int(page["lease_ms"]) + CLOCK_ERROR_MS + DOWN_MS if page["leased"] else None


def retreat(topology: Topology, memory: Memory, now_ms: int) -> tuple[Decision, Memory]:
    """When `calculate` cannot go on: no target above the fallback, and a fresh Memory from the same book.

    Commitments fall only by what is seen later, as after any lowering.
    """
    book = pages(topology, memory)
    above = book["target_ma"] > topology.connectors["fallback_ma"]
    book["target_ma"] = np.minimum(book["target_ma"], topology.connectors["fallback_ma"])
    book["lowest_ma"] = np.minimum(book["lowest_ma"], book["target_ma"])
    book["order_seq"] += above
    book["observed"][above] = 0
    left = memory.grids
    memory = resume(topology, dict(zip(topology.connector_names, book, strict=True)), now_ms)
    for field in ("left_ma", "left_until_ms"):
        memory.grids[field] = left[field]
    decision = empty_decision(topology)
    decision.site["now_ms"] = now_ms
    rows = decision.connectors
    rows["target_ma"] = memory.connectors["target_ma"]
    rows["committed_ma"] = memory.connectors["committed_ma"]
    rows["order_seq"] = memory.connectors["order_seq"]
    rows["lease_until_ms"] = memory.connectors["lease_until_ms"]
    rows["order_phases"] = np.where(topology.connectors["switch_ms"] > 0, 3 - 2 * book["single"], 0)
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
    if page["single"]:
        row["switched_at_ms"] = now_ms
    if page["committed_ma"] != page["target_ma"]:
        row["observed"] = 0
    _reopen(row, now_ms)


def _reserve(topology: Topology, grids: Table, page: Table, now_ms: int) -> None:
    """Book what is left on the board that it hung on; where that is no more, on the next above that is."""
    ids = topology.grids["id"].tolist()
    standing = [ids.index(page[name]) for name in _WAY if page[name] in ids]
    kept = grids[standing[0] if standing else topology.leaves_first[-1]]
    for p in range(3):
        kept["left_ma"][p] += int(page["committed_ma"]) * (int(page["phases"]) >> p & 1)
    left_ms = lasts_ms(page)
    until_ms = FOR_EVER_MS if left_ms is None else now_ms + left_ms
    kept["left_until_ms"] = max(int(kept["left_until_ms"]), until_ms)


def _reopen(rows: Table, now_ms: int) -> None:
    """An order whose end was not seen is sent again; a raise that was open began, for all we know, now."""
    waiting = rows["observed"] == 0
    rows["sends"][waiting] = 1
    rows["put_at_ms"][waiting] = now_ms
    rising = rows["closed"] == 0
    rows["raise_at_ms"][rising] = now_ms
    rows["raise_answer_ms"][rising] = now_ms + LINK_MS
