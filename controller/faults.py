"""What is wrong with a drawing as a whole, one sentence per fault."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from operator import sub
from typing import TYPE_CHECKING, Any

from controller import electrical
from controller.defaults import DAY_MS, MAX_DEPTH, METER_ERROR_MA
from controller.doubts import (
    battery_remarks,
    export_remarks,
    profile_remarks,
    safe_current_remarks,
    schedule_remarks,
    solar_remarks,
)
from controller.external import Place, ProfileSet, instruction_faults
from controller.outage import fallback_faults, safe_current_faults

if TYPE_CHECKING:
    from controller.setpoints import BatterySegment
    from controller.site import Battery, Chargepoint, Connector, Grid, Meter, Site


def faults(site: Site) -> Iterator[str]:
    """What no single table can know: the tree, references, numbers used twice, the dead controller."""
    tree = list(_tree_faults(site))
    yield from tree
    if tree:
        return
    references = list(_reference_faults(site))
    yield from references
    if all(meter.grid in site.grid for meter in site.meter.values()):
        yield from _load_faults(site)
    if not references:
        yield from _room_faults(site)
        yield from _profile_faults(site)
        yield from fallback_faults(site)
        yield from safe_current_faults(site)


def remarks(site: Site) -> Iterator[str]:
    """What a valid drawing says and the fuses will not let it do, one sentence each."""
    for name, grid in site.grid.items():
        yield from export_remarks(site, name, grid)
        yield from solar_remarks(site, name, grid)
        for number, profile in enumerate(grid.profile, start=1):
            yield from profile_remarks(site, name, grid, f"[grid.{name}.profile {number}]", profile)
        for number, schedule in enumerate(grid.time_of_use, start=1):
            yield from schedule_remarks(site, name, grid, f"[grid.{name}.time_of_use {number}]", schedule)
    yield from safe_current_remarks(site)
    yield from battery_remarks(site)


def _room_faults(site: Site) -> Iterator[str]:
    """A fuse, a margin or a power under which no car could ever charge."""
    for name, grid in site.grid.items():
        margins_a = [grid.margin_ma(electrical.milliamps(fuse_a)) / 1000 for fuse_a in grid.max_current_a]
        if grid.margin_a and grid.margin_a >= min(grid.max_current_a):
            yield (
                f"[grid.{name}] margin_a: {grid.margin_a:g} is not below the fuse of"
                f" {min(grid.max_current_a):g} A, so that no car could ever charge; lower it."
            )
            continue
        under = [(box, outlet) for box, table, outlet in site.connectors() if name in site.path(table.fed_by)]
        if not under or site.station_of(name) is not None:
            continue
        box, outlet = max(under, key=lambda pair: pair[1].min_current_a)
        fits_a = max(map(sub, grid.max_current_a, margins_a))
        if fits_a < outlet.min_current_a:
            yield (
                f"[grid.{name}] max_current_a: {max(grid.max_current_a):g} less a margin of"
                f" {min(margins_a):g} is below min_current_a {outlet.min_current_a:g} of [chargepoint.{box}],"
                " so that no car could ever charge there; raise it."
            )
        least_a = min(one.min_current_a * (3 if one.kind == "dc" else 1) for _, one in under)
        yield from _power_faults(name, grid, least_a, sum(margins_a))


def _power_faults(name: str, grid: Grid, least_a: float, margin_a: float) -> Iterator[str]:
    margin_w = margin_a * electrical.NOMINAL_VOLTAGE_V
    least_w = least_a * electrical.NOMINAL_VOLTAGE_V
    for key in ("max_power_w", "max_apparent_va", "max_mean_power_w"):
        power = getattr(grid, key)
        spared_w = 0.0 if key == "max_mean_power_w" else margin_w  # late in its quarter a mean allows more
        if power is not None and power - spared_w < least_w:
            less = f" less a margin of {spared_w:g}" if spared_w else ""
            yield (
                f"[grid.{name}] {key}: {power:g}{less} is below the {least_w:g} that one car takes at its"
                " least, so that no car could ever charge; raise it."
            )


def _profile_faults(site: Site) -> Iterator[str]:
    drawn: list[tuple[Place, tuple[ProfileSet, ...]]] = [
        *((Place("grid", name), grid.profile) for name, grid in site.grid.items()),
        *((Place("chargepoint", name), box.profile) for name, box in site.chargepoint.items()),
    ]
    for place, profiles in drawn:
        for number, profile in enumerate(profiles, start=1):
            for fault in instruction_faults(site, place, profile):
                yield f"[{place.kind}.{place.name}.profile {number}] {fault}"


def _tree_faults(site: Site) -> Iterator[str]:
    loops: set[frozenset[str]] = set()
    for name, grid in site.grid.items():
        if grid.fed_by is not None and grid.fed_by not in site.grid:
            yield f'[grid.{name}] fed_by: there is no grid "{grid.fed_by}"{_meant(grid.fed_by, site.grid)}'
            continue
        way = [name]
        while (feeder := site.grid[way[-1]].fed_by) in site.grid and feeder is not None:
            if feeder in way:
                loop = way[way.index(feeder) :]
                if frozenset(loop) not in loops:
                    around = " -> ".join([*loop, feeder])
                    yield f"[grid.{feeder}] fed_by: the grids feed each other in a loop ({around}); break it."
                loops.add(frozenset(loop))
                break
            way.append(feeder)
        if len(way) == MAX_DEPTH + 1:
            yield f"[grid.{name}] is more than {MAX_DEPTH} levels deep; flatten the tree."
    roots = [name for name, grid in site.grid.items() if grid.fed_by is None]
    if len(roots) > 1:
        yield (
            f"[grid] only one grid is the connection, but {' and '.join(roots)} have no fed_by;"
            " say what feeds the others."
        )


def _meant(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else "; add it or mend the name."


def _reference_faults(site: Site) -> Iterator[str]:
    for name, meter in site.meter.items():
        if meter.grid not in site.grid:
            yield f'[meter.{name}] grid: there is no grid "{meter.grid}"{_meant(meter.grid, site.grid)}'
        for child in meter.excludes:
            if child not in site.grid or site.grid[child].fed_by != meter.grid:
                yield f'[meter.{name}] excludes: "{child}" is not a grid fed by "{meter.grid}"; take it out.'
    for name, chargepoint in site.chargepoint.items():
        if chargepoint.fed_by not in site.grid:
            hint = _meant(chargepoint.fed_by, site.grid)
            yield f'[chargepoint.{name}] fed_by: there is no grid "{chargepoint.fed_by}"{hint}'
        elif chargepoint.max_current_a is not None and site.station_of(chargepoint.fed_by) != name:
            yield f'[grid."{name} station"]: max_current_a of the chargepoint makes this board; rename it.'
        yield from _connector_faults(name, chargepoint)
    yield from _storage_faults(site)
    yield from _twice("grid", "id", {name: grid.id for name, grid in site.grid.items()})
    yield from _twice("chargepoint", "identity", {n: c.identity for n, c in site.chargepoint.items()})
    for name, meter in site.meter.items():
        yield from _meter_faults(site, name, meter)
    guards: dict[str, str] = {}
    for name, meter in site.meter.items():
        if meter.role == "guard" and guards.setdefault(meter.grid, name) != name:
            first = guards[meter.grid]
            yield f'[meter.{name}] role: grid "{meter.grid}" already has the guard "{first}"; keep one.'


def _meter_faults(site: Site, name: str, meter: Meter) -> Iterator[str]:
    if meter.measures == "magnitudes" and meter.role == "guard":
        yield from _direction_faults(site, name, meter)
    known = [child for child in meter.excludes if child in site.grid]
    if meter.role == "guard" and electrical.milliamps(meter.error_a) != METER_ERROR_MA:
        yield f"[meter.{name}] error_a: is for consumer meters only, a guard has the margin; take it out."
    if meter.role == "guard" and any(site.grid[child].fed_by == meter.grid for child in known):
        yield f"[meter.{name}] excludes: is for consumer meters only, a guard sees everything; take it out."
    if meter.measures != "total_power":
        if meter.phases_differ_a is not None:
            yield f'[meter.{name}] phases_differ_a: is for measures = "total_power" only; take it out.'
        return
    if meter.role == "guard":
        yield (
            f"[meter.{name}] measures: a guard must know the current of each phase, for a fuse has one per"
            ' phase; use a meter with currents, or role = "consumer".'
        )
    if meter.grid in site.grid and site.grid[meter.grid].feeds_in:
        yield (
            f'[meter.{name}] measures: "total_power" hides what one phase takes behind what another feeds in,'
            f" and [grid.{meter.grid}] feeds_in; use a meter with currents."
        )


def _direction_faults(site: Site, name: str, meter: Meter) -> Iterator[str]:
    if meter.grid not in site.grid or site.grid[meter.grid].fed_by is not None:
        return
    for battery, drawn in site.battery.items():
        for strategy in ("self_consumption", "peak_shaving"):
            if strategy in _strategies(drawn):
                yield (
                    f'[battery.{battery}] strategy: "{strategy}" must know which way the current of the'
                    f" connection flows, and [meter.{name}] measures magnitudes; use a meter with currents,"
                    ' or the strategy "manual" or "standby".'
                )


def _strategies(battery: Battery) -> set[str]:
    """What it does by itself and by the clock."""
    segments = [segment for schedule in battery.schedule for segment in schedule.segment]
    return {battery.strategy, *(segment.word() for segment in segments)}


def _connector_faults(name: str, chargepoint: Chargepoint) -> Iterator[str]:
    numbers = [connector.number for connector in chargepoint.connector]
    if len(set(numbers)) != len(numbers):
        yield f"[chargepoint.{name}] connector: a connector number occurs twice; number them 1, 2, 3."
    least = max(connector.min_current_a for connector in chargepoint.connector)
    if chargepoint.max_current_a is not None and min(chargepoint.max_current_a) < least:
        yield (
            f"[chargepoint.{name}] max_current_a: {min(chargepoint.max_current_a):g} is below min_current_a"
            f" {least:g}, so that no car could ever charge; raise it."
        )
    renewals = 2 * DAY_MS // (1000 * chargepoint.lease_s) if chargepoint.lease_s else 0
    if chargepoint.writes_per_day is not None and renewals >= chargepoint.writes_per_day:
        yield (
            f"[chargepoint.{name}] writes_per_day: {chargepoint.writes_per_day} is less than the {renewals}"
            f" orders a day that renew a lease of {chargepoint.lease_s} s; give a longer lease_s, or 0."
        )
    for connector in chargepoint.connector:
        yield from _outlet_faults(f"[chargepoint.{name}] connector {connector.number}", connector)
        if connector.min_current_a > connector.max_current_a and connector.kind == "ac":
            yield (
                f"[chargepoint.{name}] connector {connector.number}: min_current_a"
                f" {connector.min_current_a:g} is above max_current_a {connector.max_current_a:g};"
                " lower the one or raise the other."
            )
        if chargepoint.fallback_a > connector.max_current_a:
            yield (
                f"[chargepoint.{name}] fallback_a: {chargepoint.fallback_a:g} is above max_current_a"
                f" {connector.max_current_a:g} of connector {connector.number}; lower it."
            )
        if 0 < chargepoint.fallback_a < connector.min_current_a:
            yield (
                f"[chargepoint.{name}] fallback_a: {chargepoint.fallback_a:g} is below min_current_a"
                f" {connector.min_current_a:g} of connector {connector.number}, which no car can follow;"
                " give 0 or at least that."
            )


def _storage_faults(site: Site) -> Iterator[str]:
    tables: list[tuple[str, Any]] = [(f"battery.{name}", battery) for name, battery in site.battery.items()]
    tables += [(f"inverter.{name}", inverter) for name, inverter in site.inverter.items()]
    for place, device in tables:
        if device.fed_by not in site.grid:
            yield f'[{place}] fed_by: there is no grid "{device.fed_by}"{_meant(device.fed_by, site.grid)}'
        if 0 < device.revert_s <= 2 * device.response_s:
            yield (
                f"[{place}] revert_s: an order of {device.revert_s} s ends before it is renewed;"
                f" give 0 or more than twice the response_s of {device.response_s:g}."
            )
    for name, battery in site.battery.items():
        if not battery.soc_min <= battery.reserve <= battery.soc_max or battery.soc_min == battery.soc_max:
            yield (
                f"[battery.{name}] soc_min {battery.soc_min:g}, reserve {battery.reserve:g} and soc_max"
                f" {battery.soc_max:g} must lie in this order; mend the one that is wrong."
            )
        if battery.fallback_w > battery.max_charge_w:
            yield (
                f"[battery.{name}] fallback_w: {battery.fallback_w:g} is above max_charge_w"
                f" {battery.max_charge_w:g}; lower it."
            )
        for number, schedule in enumerate(battery.schedule, start=1):
            if battery.target_w is None and any(_holds_nothing(segment) for segment in schedule.segment):
                yield (
                    f"[battery.{name}.schedule {number}] strategy: peak shaving needs an import to hold; give"
                    " the segment target_kw or the battery target_w."
                )
        if battery.strategy == "peak_shaving" and battery.target_w is None:
            yield (
                f"[battery.{name}] strategy: peak shaving needs target_w, the import of the connection in W"
                " that it holds; add it."
            )


def _holds_nothing(segment: BatterySegment) -> bool:
    return segment.strategy == "peak_shaving" and segment.target_kw is None


def _outlet_faults(place: str, connector: Connector) -> Iterator[str]:
    """What does not fit together in one outlet: its set-points, and AC with DC."""
    steps = connector.steps_a
    if steps:
        if list(steps) != sorted(set(steps)):
            yield f"{place} steps_a: set-points ascend, each once; write them like [6, 8, 10, 13, 16]."
        elif steps[0] < connector.min_current_a or steps[-1] > connector.max_current_a:
            yield (
                f"{place} steps_a: {steps[0]:g} to {steps[-1]:g} A does not lie between"
                f" min_current_a {connector.min_current_a:g} and max_current_a {connector.max_current_a:g};"
                " mend one of them."
            )
    if connector.kind == "ac" and (connector.max_power_w is not None or connector.min_power_w is not None):
        yield f'{place}: watts are for kind = "dc"; give max_current_a and min_current_a, or say "dc".'
    if connector.kind == "dc" and connector.min_current_a > connector.max_current_a:
        yield f"{place}: min_power_w is more than the outlet gives; lower it, or raise max_power_w."
    if connector.phase_switch_s is not None and (connector.kind == "dc" or connector.phases == 1):
        yield f"{place} phase_switch_s: only an AC outlet of three phases can change to one; leave it out."
    if connector.kind == "dc" and connector.phases == 1:
        yield f"{place} phases: a DC outlet takes its power from three phases; leave phases out."


def _twice(table: str, key: str, values: dict[str, Any]) -> Iterator[str]:
    first: dict[Any, str] = {}
    for name, value in values.items():
        if first.setdefault(value, name) != name:
            other = f"[{table}.{first[value]}]"
            yield f"[{table}.{name}] {key}: {value!r} is also that of {other}; give it its own."


def _load_faults(site: Site) -> Iterator[str]:
    metered = {meter.grid for meter in site.meter.values() if meter.grid in site.grid}
    for name, grid in site.grid.items():
        declared = grid.uncontrolled_a is not None or grid.chargepoints_only
        if name not in metered and not declared:
            yield (
                f"[grid.{name}] has no meter: add uncontrolled_a (the most its other loads take, per phase)"
                " or chargepoints_only = true."
            )
        if grid.chargepoints_only and grid.uncontrolled_a is not None:
            yield f"[grid.{name}] chargepoints_only and uncontrolled_a contradict each other; keep one."
