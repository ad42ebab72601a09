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
    battery that does not revert. What batteries and inverters feed in may stop, and counts for nothing; it
    may go on as well, and then it must fit what may flow back.
    """
    if site.accept_unsafe_fallback:
        return
    yield from _feed_in_faults(site)
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


def _feed_in_faults(site: Site) -> Iterator[str]:
    """Nameplates of inverters, and a discharge that nothing ends, with nobody at home who uses any of it."""
    for name, grid in site.grid.items():
        limits = zip(grid.max_export_a or grid.max_current_a, grid.max_current_a, strict=True)
        may_a = [min(pair) for pair in limits]
        back_a = [sum(_feeds_in_alone_a(site, name, phase)) for phase in range(3)]
        lines = [*zip(electrical.PHASES, back_a, may_a, strict=True)]
        powers_w = [power_w for power_w in (grid.max_power_w, grid.max_apparent_va) if power_w is not None]
        may_w = grid.max_export_w if grid.max_export_w is not None else min(powers_w, default=None)
        if may_w is not None:
            together = electrical.LINE_NAMES[3]
            lines.append((together, sum(back_a), int(may_w * 1000 / electrical.NOMINAL_VOLTAGE_V) / 1000))
        for line, back, may in lines:
            if back > may + 1e-3:
                yield (
                    back_sentence(name, line, round(back, 3), may)
                    + ": let the devices themselves hold less (max_power_w, revert_s), or declare"
                    ' accept_unsafe_fallback = "reason, name".'
                )
                break


def back_sentence(grid: str, line: str, back_a: float, may_a: float) -> str:
    """Why more than may could flow back without the controller."""
    return (
        f"[grid.{grid}] if the controller dies now, inverters and batteries alone may feed {back_a:g} A back"
        f" on {line}, where {may_a:g} A may flow back"
    )


def _feeds_in_alone_a(site: Site, grid: str, phase: int) -> Iterator[float]:
    """An inverter that reverts is free, one that does not may be; a battery that reverts gives nothing."""
    ratings = [(inverter, inverter.max_power_w) for inverter in site.inverter.values()]
    gives = [(battery, battery.max_discharge_w * (not battery.revert_s)) for battery in site.battery.values()]
    for device, power_w in [*ratings, *gives]:
        turned = electrical.through(site.rotation(device.fed_by), device.rotation)
        here = device.phases == 3 or turned[0] == site.rotation(grid)[phase]
        if here and grid in site.path(device.fed_by):
            yield power_w / device.phases / electrical.NOMINAL_VOLTAGE_V


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
        may_ma = [*built["export_ma"].tolist(), int(built["export_sum_ma"])]
        for line, back_ma in enumerate(row["back_alone_ma"].tolist()):
            if back_ma > may_ma[line]:
                what = electrical.LINE_NAMES[line]
                yield back_sentence(name, what, back_ma / 1000, may_ma[line] / 1000) + "."
                break


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
