"""The Site compiled once to index tables: who hangs under what, on which phases, behind which fuse.

Row `i` of every table of the image, the memory and the decision belongs to row `i` here: grids, meters and
connectors in the order of the site file. Currents are mA in the phases of the *site*.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from controller import electrical
from controller.breaker import time_constant_ms
from controller.defaults import DAY_MS, MAX_DEPTH, MAX_STEPS, SOLAR_START_MS, SOLAR_STOP_MS, UNLIMITED_MA
from controller.outage import dead_load_a
from controller.site import Battery, Inverter, SafeCurrent, Site
from controller.table import Table
from controller.wiring import Traces, trace

GUARD, CONSUMER, NO_METER = 0, 1, 2
CURRENTS, MAGNITUDES, TOTAL_POWER = 0, 1, 2  # what a meter measures
OF_FILE, DRAWN = 1, 2  # a station's limit: `max_current_a` of the chargepoint, or a board drawn for it alone
PANIC = -1  # safe_ma of a meter whose failure shuts its grid down

GRID = np.dtype(
    [
        ("parent", "i8"),  # row of the feeding grid, -1: the connection
        ("kind", "i8"),  # GUARD, CONSUMER or NO_METER
        ("guard", "i8"),  # row of the guard meter, -1
        ("limit_ma", "i8", (3,)),  # fuse
        ("margin_ma", "i8", (3,)),
        ("panic_ma", "i8", (3,)),  # beyond it everything goes off
        ("power_ma", "i8"),  # most over the three phases together, UNLIMITED_MA: any
        ("mean_power_ma", "i8"),  # the same for the mean of a quarter of an hour
        ("unbalance_ma", "i8"),  # most that one phase may carry above another
        ("tau_ms", "i8"),  # time constant of the fuse's heat
        ("uncontrolled_ma", "i8", (3,)),  # declared, where nobody measures
        ("export_ma", "i8", (3,)),  # most that may flow back
        ("export_sum_ma", "i8"),
        ("export_margin_ma", "i8"),  # band under its limits of export, UNLIMITED_MA: a little
        ("export_panic_ma", "i8"),  # so far above them whatever feeds in goes off, UNLIMITED_MA: a little
        ("worst_load_ma", "i8", (3,)),  # declared for the dead controller
        ("dead_load_ma", "i8", (3,)),  # the same as its rule counts it, with what batteries do alone
        ("accepted", "i8"),  # 1: somebody answers for a site that is not safe without its controller
        ("station", "i8"),  # OF_FILE or DRAWN: it feeds the connectors of one chargepoint and nothing else
        ("excluded", "i8"),  # 1: the consumer meter of the parent does not see this grid's load
        ("feeds_in", "i8"),  # 1: something feeds in here that nobody has drawn
        ("sourceless", "i8"),  # 1: neither here nor on a board under it does anything feed in
        ("beside", "i8"),  # 1: consumer meters beside its guard
        ("id", "i8"),  # of the site file, for ever
    ]
)
METER = np.dtype(
    [
        ("grid", "i8"),
        ("role", "i8"),  # GUARD or CONSUMER
        ("phase", "i8", (3,)),  # site phase of the meter's own L1 L2 L3
        ("delay_ms", "i8"),  # T_G less the wait for the cycle
        ("error_ma", "i8"),
        ("safe_ma", "i8"),  # safe current per phase, or PANIC
        ("sign", "i8"),  # -1: mounted backwards
        ("measures", "i8"),  # CURRENTS, MAGNITUDES or TOTAL_POWER
        ("differ_ma", "i8"),  # total power: most that a phase has above a third, UNLIMITED_MA: all of it
    ]
)
CONNECTOR = np.dtype(
    [
        ("chargepoint", "i8"),
        ("depth", "i8"),  # number of grids above
        ("path", "i8", (MAX_DEPTH,)),  # their rows, own board first, the connection last
        ("phase", "i8", (3,)),  # site phase of the connector's own L1 L2 L3
        ("possible", "i8", (3,)),  # 1: it could load this site phase
        ("confirmed", "i8"),  # a person has confirmed the rotation
        ("max_ma", "i8"),
        ("min_ma", "i8"),
        ("step_ma", "i8"),
        ("steps", "i8"),  # number of set-points that the box knows, 0: multiples of `step_ma`
        ("weight", "i8"),  # percent
        ("fallback_ma", "i8"),
        ("lease_ms", "i8"),
        ("solar", "i8"),  # mode of its grid
        ("sample_ms", "i8"),
        # what few cycles look at stands last, so that the rest lies closer together
        ("learns", "i8"),  # 1: rotation not confirmed, its phases may be learnt from lone steps
        ("somebody_learns", "i8"),  # 1: so it is with any connector of the site
        ("switch_ms", "i8"),  # at 0 A before it changes between one phase and three; 0: it cannot
        ("write_ms", "i8"),  # part of a day that an order uses up of what its box bears; 0: any number
        ("balanced", "i8"),  # 1: loads all three phases alike, whatever car (DC)
        ("priority_class", "i8"),  # 1 first
        ("strict", "i8"),  # 1: a class is served in full before the next begins
        ("solar_start_ms", "i8"),
        ("solar_stop_ms", "i8"),
        ("steps_ma", "i8", (MAX_STEPS,)),  # set-points ascending
    ]
)


OFF, BOOST, SOLAR_ONLY = 1, 2, 3
"""Solar modes; 0 in an image: that of the grid."""
SOLAR_MODES = {"off": OFF, "boost": BOOST, "solar_only": SOLAR_ONLY}
STANDBY, SELF_CONSUMPTION, PEAK_SHAVING, MANUAL = 1, 2, 3, 4
"""Strategies of a battery; 0 in an image: nobody outside says."""
STRATEGIES = {
    "standby": STANDBY,
    "self_consumption": SELF_CONSUMPTION,
    "peak_shaving": PEAK_SHAVING,
    "manual": MANUAL,
}
_DEVICE = [
    ("depth", "i8"),  # number of grids above
    ("path", "i8", (MAX_DEPTH,)),
    ("phase", "i8", (3,)),  # site phase of its own L1 L2 L3
    ("uses", "i8", (3,)),  # 1: it loads this site phase
    ("phases", "i8"),  # how many
    ("revert_ms", "i8"),  # 0: never
    ("response_ms", "i8"),
    ("sample_ms", "i8"),
]
BATTERY = np.dtype(
    [
        *_DEVICE,
        ("charge_ma", "i8"),  # most per phase
        ("discharge_ma", "i8"),
        ("fallback_ma", "i8"),  # most that it charges with when no order is in force
        ("capacity_wh", "i8"),
        ("efficiency", "i8"),  # per mille, there and back
        ("soc_min", "i8"),  # per mille
        ("soc_max", "i8"),
        ("reserve", "i8"),
        ("strategy", "i8"),
        ("target_ma", "i8"),  # import of the connection that peak shaving holds, sum of the phases
        ("grid_charging", "i8"),
        ("feeds_cars", "i8"),
        ("before_cars", "i8"),
        ("counts_for_fuse", "i8"),
    ]
)
INVERTER = np.dtype(
    [
        *_DEVICE,
        ("max_ma", "i8"),  # most that it feeds in, per phase
        ("curtailable", "i8"),
    ]
)


class Topology(NamedTuple):
    """Tables of a site; `leaves_first` orders the grids so that children come before their feeder."""

    grids: Table
    meters: Table
    connectors: Table
    batteries: Table
    inverters: Table
    leaves_first: Table
    rows: tuple[int, int, int, int, int]
    """How many grids, meters, connectors, batteries and inverters."""
    grid_names: tuple[str, ...]
    meter_names: tuple[str, ...]
    traces: Traces
    """The wires again, for the last check alone."""
    connector_names: tuple[str, ...]
    """`chargepoint/number`, the stable key of a connector."""
    battery_names: tuple[str, ...]
    inverter_names: tuple[str, ...]

    def station_of(self, grid: int) -> str | None:
        """The chargepoint whose own limit this grid stands for."""
        if self.grids[grid]["station"] != OF_FILE:
            return None
        return self.connector_names[self.connectors["path"][:, 0].tolist().index(grid)].rpartition("/")[0]


def compile_site(site: Site) -> Topology:
    """Compile a validated site. Raises ValueError when the tree is deeper than MAX_DEPTH."""
    names = tuple(site.grid)
    deepest = max(names, key=lambda name: len(site.path(name)))
    if len(site.path(deepest)) > MAX_DEPTH:
        raise ValueError(f"[grid.{deepest}] is more than {MAX_DEPTH} levels deep; flatten the tree")
    order = sorted(range(len(names)), key=lambda g: -len(site.path(names[g])))
    tables = (
        _grids(site, names),
        _meters(site, names),
        _connectors(site, names),
        _batteries(site, names),
        _inverters(site, names),
    )
    grids, meters, connectors, batteries, inverters = map(len, tables)
    return Topology(
        *tables,
        leaves_first=np.array(order, dtype="i8"),
        rows=(grids, meters, connectors, batteries, inverters),
        traces=trace(site),
        grid_names=names,
        meter_names=tuple(site.meter),
        connector_names=tuple(f"{name}/{connector.number}" for name, _, connector in site.connectors()),
        battery_names=tuple(site.battery),
        inverter_names=tuple(site.inverter),
    )


def _grids(site: Site, names: tuple[str, ...]) -> Table:
    table = np.zeros(len(names), GRID)
    meters = list(site.meter.values())
    sources = [*site.battery.values(), *site.inverter.values()]
    feeding = {source.fed_by for source in sources} | {n for n, grid in site.grid.items() if grid.feeds_in}
    sunny = {name for name, grid in site.grid.items() if grid.solar in ("boost", "solar_only")}
    fed = {above for name in feeding | sunny for above in site.path(name)}
    for row, (name, grid) in zip(table, site.grid.items(), strict=True):
        row["id"] = grid.id
        row["parent"] = names.index(grid.fed_by) if grid.fed_by else -1
        roles = {meter.role: m for m, meter in enumerate(meters) if meter.grid == name}
        row["guard"] = roles.get("guard", -1)
        row["kind"] = GUARD if "guard" in roles else CONSUMER if "consumer" in roles else NO_METER
        row["station"] = OF_FILE if site.station_of(name) else DRAWN * _is_station(site, name)
        row["excluded"] = any(name in meter.excludes for meter in meters)
        row["accepted"] = bool(site.accept_unsafe_fallback)
        row["feeds_in"], row["sourceless"] = name in feeding, name not in fed
        row["beside"] = "guard" in roles and "consumer" in roles
        row["power_ma"] = min(_together_ma(grid.max_power_w), _together_ma(grid.max_apparent_va))
        row["mean_power_ma"] = _together_ma(grid.max_mean_power_w)
        row["export_sum_ma"] = row["power_ma"]
        if grid.max_export_w is not None:
            row["export_sum_ma"] = _together_ma(grid.max_export_w)
        for key in ("export_margin", "export_panic"):
            amps = getattr(grid, f"{key}_a")
            row[f"{key}_ma"] = UNLIMITED_MA if amps is None else electrical.milliamps(amps)
        row["unbalance_ma"] = UNLIMITED_MA
        if grid.max_unbalance_a is not None:
            row["unbalance_ma"] = electrical.milliamps(grid.max_unbalance_a)
        row["tau_ms"] = time_constant_ms(grid.breaker, max(grid.max_current_a))
        rotation = site.rotation(name)
        for own, phase in enumerate(rotation):
            limit_ma = electrical.milliamps(grid.max_current_a[own])
            row["limit_ma"][phase] = limit_ma
            row["margin_ma"][phase] = grid.margin_ma(limit_ma)
            back_a = (grid.max_export_a or grid.max_current_a)[own]
            row["export_ma"][phase] = min(electrical.milliamps(back_a), limit_ma)
            row["panic_ma"][phase] = grid.panic_ma(limit_ma)
            row["uncontrolled_ma"][phase] = electrical.milliamps((grid.uncontrolled_a or (0, 0, 0))[own])
            row["dead_load_ma"][phase] = electrical.milliamps(dead_load_a(site, name, own))
            row["worst_load_ma"][phase] = electrical.milliamps((grid.worst_load_a or grid.max_current_a)[own])
    return table


def _is_station(site: Site, grid: str) -> bool:
    """Whether a board feeds nothing but the connectors of one chargepoint with several."""
    tables = (site.grid, site.battery, site.inverter)
    others = any(user.fed_by == grid for table in tables for user in table.values())
    fed = [chargepoint for chargepoint in site.chargepoint.values() if chargepoint.fed_by == grid]
    alone = site.grid[grid].chargepoints_only and not others and len(fed) == 1
    return alone and len(fed[0].connector) > 1


def _together_ma(power_w: float | None) -> int:
    """A power as the sum of the currents of three phases at nominal voltage, rounded down."""
    return UNLIMITED_MA if power_w is None else int(power_w * 1000) // electrical.NOMINAL_VOLTAGE_V


def _meters(site: Site, names: tuple[str, ...]) -> Table:
    table = np.zeros(len(site.meter), METER)
    for row, meter in zip(table, site.meter.values(), strict=True):
        row["grid"] = names.index(meter.grid)
        row["role"] = GUARD if meter.role == "guard" else CONSUMER
        row["phase"] = site.rotation(meter.grid)
        row["delay_ms"] = round(meter.delay_s * 1000)
        row["error_ma"] = electrical.milliamps(meter.error_a)
        safe = meter.on_failure
        row["safe_ma"] = electrical.milliamps(safe.safe_current_a) if isinstance(safe, SafeCurrent) else PANIC
        row["sign"] = -1 if meter.invert_polarity else 1
        row["measures"] = ("currents", "magnitudes", "total_power").index(meter.measures)
        differ_a = meter.phases_differ_a
        row["differ_ma"] = UNLIMITED_MA if differ_a is None else electrical.milliamps(differ_a)
    return table


def _connectors(site: Site, names: tuple[str, ...]) -> Table:
    everything = list(site.connectors())
    chargepoints = list(site.chargepoint)
    table = np.zeros(len(everything), CONNECTOR)
    for row, (name, chargepoint, connector) in zip(table, everything, strict=True):
        path = [names.index(grid) for grid in site.path(chargepoint.fed_by)]
        row["chargepoint"] = chargepoints.index(name)
        row["depth"] = len(path)
        row["path"][: len(path)] = path
        turned = electrical.through(site.rotation(chargepoint.fed_by), connector.rotation)
        row["phase"] = turned
        row["confirmed"] = bool(connector.rotation_confirmed_by)
        row["learns"] = site.learn_phases and connector.kind == "ac" and not row["confirmed"]
        only_one = connector.phases == 1 and row["confirmed"]
        row["possible"] = [int(not only_one or phase == turned[0]) for phase in range(3)]
        row["max_ma"] = electrical.milliamps(connector.max_current_a)
        row["min_ma"] = electrical.milliamps(max(connector.min_current_a, *connector.steps_a[:1], 0.0))
        row["step_ma"] = electrical.milliamps(connector.step_a)
        row["balanced"] = connector.kind == "dc"
        row["write_ms"] = DAY_MS // chargepoint.writes_per_day if chargepoint.writes_per_day else 0
        row["switch_ms"] = round((connector.phase_switch_s or 0) * 1000)
        row["steps"] = len(connector.steps_a)
        row["steps_ma"][: len(connector.steps_a)] = [electrical.milliamps(step) for step in connector.steps_a]
        row["weight"] = connector.weight_percent
        row["priority_class"] = connector.priority_class
        row["strict"] = site.sharing == "strict"
        row["fallback_ma"] = electrical.milliamps(chargepoint.fallback_a)
        row["solar"] = SOLAR_MODES[site.nearest(chargepoint.fed_by, "solar") or "off"]
        for key, usual_ms in (("start", SOLAR_START_MS), ("stop", SOLAR_STOP_MS)):
            delay_s = site.nearest(chargepoint.fed_by, f"solar_{key}_s")
            row[f"solar_{key}_ms"] = usual_ms if delay_s is None else round(delay_s * 1000)
        row["lease_ms"] = chargepoint.lease_s * 1000
        row["sample_ms"] = chargepoint.sample_interval_s * 1000
    table["somebody_learns"] = table["learns"].any()
    return table


def _wire(row: Any, device: Battery | Inverter, site: Site, names: tuple[str, ...]) -> None:
    path = [names.index(grid) for grid in site.path(device.fed_by)]
    row["depth"] = len(path)
    row["path"][: len(path)] = path
    turned = electrical.through(site.rotation(device.fed_by), device.rotation)
    row["phase"] = turned
    row["uses"] = [int(device.phases == 3 or phase == turned[0]) for phase in range(3)]
    row["phases"] = device.phases
    row["revert_ms"] = device.revert_s * 1000
    row["response_ms"] = round(device.response_s * 1000)
    row["sample_ms"] = device.sample_interval_s * 1000


def _batteries(site: Site, names: tuple[str, ...]) -> Table:
    table = np.zeros(len(site.battery), BATTERY)
    for row, battery in zip(table, site.battery.values(), strict=True):
        _wire(row, battery, site, names)
        for key in ("charge", "discharge"):
            power_w = getattr(battery, f"max_{key}_w")
            row[f"{key}_ma"] = electrical.milliamps_per_phase(power_w, battery.phases)
        row["fallback_ma"] = electrical.milliamps_per_phase(battery.fallback_w, battery.phases)
        row["capacity_wh"] = round(battery.capacity_wh)
        for key in ("efficiency", "soc_min", "soc_max", "reserve"):
            row[key] = round(getattr(battery, key) * 1000)
        row["strategy"] = STRATEGIES[battery.strategy]
        target_w = battery.target_w
        row["target_ma"] = UNLIMITED_MA if target_w is None else electrical.milliamps_per_phase(target_w, 1)
        for key in ("grid_charging", "feeds_cars", "before_cars", "counts_for_fuse"):
            row[key] = getattr(battery, key)
    return table


def _inverters(site: Site, names: tuple[str, ...]) -> Table:
    table = np.zeros(len(site.inverter), INVERTER)
    for row, inverter in zip(table, site.inverter.values(), strict=True):
        _wire(row, inverter, site, names)
        row["max_ma"] = electrical.milliamps_per_phase(inverter.max_power_w, inverter.phases)
        row["curtailable"] = inverter.curtailable
    return table
