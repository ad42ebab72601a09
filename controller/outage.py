"""What happens if the controller dies now: rule 5 of the design, for a drawing and for the live state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controller import electrical

if TYPE_CHECKING:
    from controller.decision import Decision
    from controller.site import Site
    from controller.topology import Topology


def fallback_faults(site: Site) -> Iterator[str]:
    """Rule 5: worst building load plus what every box does alone must fit every fuse.

    A box without a lease keeps its last limit for ever, so what it does alone is its rating; so does a
    battery that does not revert. What batteries and inverters feed in may stop, and counts for nothing.
    """
    if site.accept_unsafe_fallback:
        return
    for name, grid in site.grid.items():
        for phase in range(3):
            limit = grid.max_current_a[phase]
            worst = _worst_load_a(site, name, phase)
            alone = sum(_boxes_alone_a(site, name, phase)) + sum(_batteries_alone_a(site, name, phase))
            if worst + alone > limit + 1e-9:
                place = _place(name, site.station_of(name))
                yield (
                    sentence(place, phase, limit, worst, alone)
                    + ": lower fallback_a and set lease_s, or declare"
                    ' accept_unsafe_fallback = "reason, name".'
                )
                break


def _place(grid: str, station: str | None) -> str:
    """Where the site file says the limit of this grid."""
    return f"[grid.{grid}]" if station is None else f"[chargepoint.{station}] max_current_a:"


def sentence(place: str, phase: int, limit_a: float, load_a: float, boxes_a: float) -> str:
    """Why a phase is not safe without its controller."""
    return (
        f"{place} if the controller dies now, {electrical.PHASES[phase]} may reach"
        f" {load_a + boxes_a:g} A on a {limit_a:g} A fuse (worst load {load_a:g} A, chargepoints alone"
        f" {boxes_a:g} A)"
    )


def if_it_dies(topology: Topology, decision: Decision) -> Iterator[str]:
    """The same for the live state, one sentence per grid that is not safe; none: safe."""
    for g, name in enumerate(topology.grid_names):
        built, row = topology.grids[g], decision.grids[g]
        over = row["alone_ma"] - built["limit_ma"]
        phase = int(over.argmax())
        if over[phase] > 0:
            load_a = int(row["dead_load_ma"][phase]) / 1000
            boxes_a = int(row["alone_ma"][phase]) / 1000 - load_a
            limit_a = int(built["limit_ma"][phase]) / 1000
            place = _place(name, topology.station_of(g))
            yield sentence(place, phase, limit_a, load_a, round(boxes_a, 3)) + "."


def dead_load_a(site: Site, grid: str, phase: int) -> float:
    """Worst load of a phase of this board and what batteries under it do alone."""
    return _worst_load_a(site, grid, phase) + sum(_batteries_alone_a(site, grid, phase))


def safe_current_faults(site: Site) -> Iterator[str]:
    """The same for a meter that is lost: its safe current beside the worst load must fit its fuse."""
    if site.accept_unsafe_fallback:
        return
    for name, meter in site.meter.items():
        if meter.on_failure == "panic":
            continue
        safe = meter.on_failure.safe_current_a
        for phase in range(3):
            limit = site.grid[meter.grid].max_current_a[phase]
            worst = _worst_load_a(site, meter.grid, phase)
            if worst + safe > limit + 1e-9:
                yield (
                    f"[meter.{name}] on_failure: safe_current_a {safe:g} beside a worst load of {worst:g} A"
                    f' is above the {limit:g} A fuse of "{meter.grid}"'
                    f" on {electrical.PHASES[phase]}: lower it,"
                    ' give the grid its true worst_load_a, or use on_failure = "panic".'
                )
                break


def _worst_load_a(site: Site, grid: str, phase: int) -> float:
    """Worst uncontrolled load on a phase of this board, its children included unless given for the whole.

    Where a meter measures what nobody has declared, it may be all that the fuse lets through.
    """
    own = site.grid[grid].worst_load_a or site.grid[grid].uncontrolled_a
    if own is not None:
        return own[phase]
    if any(meter.grid == grid for meter in site.meter.values()):
        return site.grid[grid].max_current_a[phase]
    children = [name for name, child in site.grid.items() if child.fed_by == grid]
    return sum(_worst_load_a(site, name, site.grid[name].rotation.index(phase)) for name in children)


def _boxes_alone_a(site: Site, grid: str, phase: int) -> Iterator[float]:
    for name, chargepoint, connector in site.connectors():
        if grid not in site.path(site.chargepoint[name].fed_by):
            continue
        confirmed = connector.phases == 1 and connector.rotation_confirmed_by
        turned = electrical.through(site.rotation(chargepoint.fed_by), connector.rotation)
        if confirmed and turned[0] != site.rotation(grid)[phase]:
            continue
        yield chargepoint.fallback_a if chargepoint.lease_s else connector.max_current_a


def _batteries_alone_a(site: Site, grid: str, phase: int) -> Iterator[float]:
    for battery in site.battery.values():
        turned = electrical.through(site.rotation(battery.fed_by), battery.rotation)
        here = battery.phases == 3 or turned[0] == site.rotation(grid)[phase]
        if here and grid in site.path(battery.fed_by):
            alone_w = battery.fallback_w if battery.revert_s else battery.max_charge_w
            yield alone_w / battery.phases / electrical.NOMINAL_VOLTAGE_V
