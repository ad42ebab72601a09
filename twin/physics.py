"""One step of everything that carries current: cars, batteries, inverters, wires and fuses."""

from __future__ import annotations

from controller.kernel import direct, kernel
from controller.table import Table
from twin.electrics import carry
from twin.storage import step as step_storage
from twin.vehicles import FAR_MS
from twin.vehicles import step as step_vehicles


@direct
@kernel
def pass_time(
    outlets: Table,
    connectors: Table,
    boards: Table,
    grids: Table,
    leaves_first: Table,
    cells: Table,
    batteries: Table,
    panels: Table,
    inverters: Table,
    from_ms: int,
    now_ms: int,
) -> tuple[int, int, int, bool]:
    """Take the site from one instant to another; equal ones only hear what was set by hand.

    Returns when anything changes by itself next, when any draw is worth a look, how many connectors changed
    their status, and whether a fuse opened.
    """
    soon_ms, news_ms, changed = step_vehicles(outlets, from_ms, now_ms)
    due_ms = FAR_MS
    if len(cells) > 0 or len(panels) > 0:
        due_ms = step_storage(cells, batteries, panels, inverters, from_ms, now_ms)
    opened, opens_in_ms = carry(
        boards,
        grids,
        leaves_first,
        outlets,
        connectors,
        cells,
        batteries,
        panels,
        inverters,
        (now_ms - from_ms) / 1000.0,
    )
    due_ms = min(due_ms, now_ms + opens_in_ms)
    return min(soon_ms, due_ms), min(news_ms, due_ms), changed, opened
