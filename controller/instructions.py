"""The limits from outside that are in force: schedules, profiles, series, external limits and stops as rows.

`in_force` is one pure function of the site, what has been told and the time. The tightest limit of a kind
wins and gives its source; nothing is ever wider than the fuse, and one instruction more never widens anything
(a higher level of a stack of profiles replaces the lower ones of its own stack alone: that is what levels are
for). Without a trusted calendar every schedule counts with the tightest limit it ever says, so that a wrong
clock can raise nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from controller import electrical
from controller.calendar import FAR_MS, Calendar, DayAhead, Row, at, narrowest, next_edge_ms
from controller.charging_profile import ChargingProfile, stacked
from controller.defaults import CLOCK_STEP_MS, LOOK_AHEAD_MS, NEVER, UNLIMITED_MA
from controller.external import (
    KINDS,
    ExternalLimit,
    Instruction,
    Kind,
    Place,
    ProfileSet,
    Stop,
    calendar_of,
    dimmable,
    least_dimmed_ma,
)
from controller.image import GRID_INSTRUCTION, Image, Source, frozen
from controller.quantities import Limit
from controller.setpoints import BATTERY_ORDER, INVERTER_ORDER, BatteryOrder, Setpoint
from controller.site import Battery, Site
from controller.table import Table, copied
from controller.topology import STRATEGIES, Topology

CAP = np.dtype(
    [
        ("wish_ma", "i8"),  # most that anybody outside wants it to have
        ("wish_source", "i8"),
        ("stop", "i8"),  # 0, or Source.MAINTENANCE, Source.EMERGENCY_STOP
    ]
)


class InForce(NamedTuple):
    """Rows for the image as they hold until `next_ms` (`now_ms` time); `caps` are those of the connectors."""

    grids: Table
    caps: Table
    batteries: Table
    inverters: Table
    next_ms: int


class _Claim(NamedTuple):
    """One limit that somebody wants to hold now at a place."""

    place: Place
    kind: Kind
    keeps: bool
    limit: Limit
    source: Source


class _Moment:
    """An instant to look at, and the next one at which something changes."""

    def __init__(self, calendar: Calendar, now_ms: int, utc_ms: int, *, trusted: bool) -> None:
        self.calendar = calendar
        self.now_ms = now_ms
        self.utc_ms = utc_ms
        self.horizon_ms = utc_ms + LOOK_AHEAD_MS
        self.trusted = trusted
        self.next_ms = FAR_MS

    def changes_at(self, now_ms: int) -> None:
        """Something changes at that `now_ms` time."""
        self.next_ms = min(self.next_ms, now_ms)

    def highest(self, levels: list[list[Row]]) -> Limit | None:
        """What the first list of rows that holds now says."""
        edge_ms = min([next_edge_ms(rows, self.utc_ms) for rows in levels] + [self.horizon_ms])
        self.changes_at(self.now_ms + edge_ms - self.utc_ms)
        found = (at(rows, self.utc_ms) for rows in levels)
        return next((limit for limit in found if limit is not None), None)


def in_force(
    site: Site,
    topology: Topology,
    told: Mapping[str, Instruction],
    now_ms: int,
    utc_ms: int,
    *,
    utc_trusted: bool,
) -> InForce:
    """Everything that holds at this instant, phases of the site, mA rounded down."""
    moment = _Moment(calendar_of(site), now_ms, utc_ms, trusted=utc_trusted)
    claims = [*_drawn(site, moment), *_told(site, told, moment), *_unheard(site, told, moment)]
    claims = [_of_its_board(site, claim) for claim in claims]
    grids, caps, batteries, inverters = _nothing(topology)
    for name, mine in _by_name(claims, "grid").items():
        row = topology.grid_names.index(name)
        _narrow_grid(grids[row], topology.grids[row], site.rotation(name), mine)
    _narrow_outlets(site, topology, caps, claims)
    for instruction in told.values():
        if isinstance(instruction.what, Stop):
            source = Source[instruction.what.reason.upper()]
            _stop(topology, grids, caps, instruction.place, source)
            _stop_devices(site, batteries, inverters, instruction.place, source)
    _order_batteries(site, told, moment, batteries)
    return InForce(grids, caps, batteries, inverters, moment.next_ms)


def _nothing(topology: Topology) -> tuple[Table, Table, Table, Table]:
    grids = np.zeros(len(topology.grids), GRID_INSTRUCTION)
    for field in GRID_INSTRUCTION.names or ():
        if field.endswith("_ma"):
            grids[field] = UNLIMITED_MA
    caps = np.zeros(len(topology.connectors), CAP)
    caps["wish_ma"] = topology.connectors["max_ma"]
    batteries = np.zeros(len(topology.batteries), BATTERY_ORDER)
    batteries["target_ma"] = UNLIMITED_MA
    return grids, caps, batteries, np.zeros(len(topology.inverters), INVERTER_ORDER)


# -- who claims what ------------------------------------------------------------------------------------


def _drawn(site: Site, moment: _Moment) -> Iterator[_Claim]:
    """Schedules of the site file."""
    for name, grid in site.grid.items():
        for schedule in grid.time_of_use:
            limit = schedule.narrowest()
            if moment.trusted and schedule.enabled:
                rows = schedule.rows(moment.calendar, moment.utc_ms, moment.horizon_ms)
                limit = moment.highest([list(rows)])
            kind: Kind = "charging" if schedule.ev_current_only else "soft"
            if limit is not None:
                yield _Claim(Place("grid", name), kind, schedule.keep_6a, limit, Source.TIME_OF_USE)
    drawn = [(Place("grid", name), profile) for name, grid in site.grid.items() for profile in grid.profile]
    for name, chargepoint in site.chargepoint.items():
        drawn += [(Place("chargepoint", name), profile) for profile in chargepoint.profile]
    yield from _stacks(drawn, moment)


def _told(site: Site, told: Mapping[str, Instruction], moment: _Moment) -> Iterator[_Claim]:
    """Everything that came in from outside; in the order of its keys, so that the same is always the same."""
    profiles: list[tuple[Place, ProfileSet]] = []
    series: dict[Place, list[DayAhead]] = {}
    for _, instruction in sorted(told.items()):
        what, alive = instruction.what, _alive(instruction, moment)
        if isinstance(what, ProfileSet) and (alive or instruction.doubtful):
            profiles.append((instruction.place, what))
        elif isinstance(what, ExternalLimit):
            yield from _external(site, instruction, what, alive=alive)
        elif isinstance(what, DayAhead) and (alive or instruction.doubtful):
            series.setdefault(instruction.place, []).append(what)
    for place, contract in series.items():
        yield from _non_firm(place, contract, moment)
    yield from _stacks(profiles, moment)


def _alive(instruction: Instruction, moment: _Moment) -> bool:
    if instruction.until_ms == NEVER:
        return True
    if instruction.until_ms > moment.now_ms:
        moment.changes_at(instruction.until_ms)
        return True
    return False


def _external(site: Site, instruction: Instruction, limit: ExternalLimit, *, alive: bool) -> Iterator[_Claim]:
    place = instruction.place
    least_ma = least_dimmed_ma(dimmable(site, place.name)) if limit.paragraph_14a else 0
    if alive:
        yield _Claim(place, limit.kind(), limit.keep_6a, limit.told(least_ma), Source[limit.source.upper()])
    if not alive or instruction.doubtful:
        fallback = limit.fallback(least_ma)
        if fallback is not None:
            yield _Claim(place, limit.kind(), limit.keep_6a, fallback, Source.FALLBACK)


def _unheard(site: Site, told: Mapping[str, Instruction], moment: _Moment) -> Iterator[_Claim]:
    """Inputs of the site file that say nothing now, be it that they never did.

    What is said of what flows back says nothing of what is taken.
    """
    heard = {
        (instruction.place.name, instruction.what.source, instruction.what.export_limit)
        for instruction in told.values()
        if isinstance(instruction.what, ExternalLimit)
        and instruction.place.kind == "grid"
        and not instruction.doubtful
        and _alive(instruction, moment)
    }
    for name, grid in site.grid.items():
        for line in grid.input:
            if (name, line.source, line.export_limit) not in heard:
                place = Place("grid", name)
                yield _Claim(place, line.kind(), line.keep_6a, line.fallback(), Source.FALLBACK)


def _non_firm(place: Place, contract: list[DayAhead], moment: _Moment) -> Iterator[_Claim]:
    """The series of a grid are one: where none of them says anything their fallback holds."""
    limit, source = narrowest(series.narrowest() for series in contract), Source.NON_FIRM
    if moment.trusted:
        spans = (series.rows(moment.utc_ms, moment.horizon_ms) for series in contract)
        limit = moment.highest([[row for rows in spans for row in rows]])
    if limit is None:
        fallbacks = (series.fallback() for series in contract)
        limit, source = narrowest(limit for limit in fallbacks if limit is not None), Source.FALLBACK
    if limit is not None:
        yield _Claim(place, "hard", False, limit, source)


def _stacks(profiles: Iterable[tuple[Place, ProfileSet]], moment: _Moment) -> Iterator[_Claim]:
    """Profiles of one place, purpose and terms are one stack; the tightest of several stacks wins later."""

    def stack_of(entry: tuple[Place, ProfileSet]) -> tuple[Any, ...]:
        place, one = entry
        return (*place, one.kind(), one.keep_6a, one.profile.charging_profile_purpose)

    for _, grouped in groupby(sorted(profiles, key=stack_of), key=stack_of):
        entries = list(grouped)
        place, first = entries[0]
        stack = [one.profile for _, one in entries]
        limit = _of_stack(stack, moment)
        if limit is not None:
            yield _Claim(place, first.kind(), first.keep_6a, limit, Source.PROFILE)


def _of_stack(stack: list[ChargingProfile], moment: _Moment) -> Limit | None:
    if not moment.trusted:
        said = (profile.narrowest() for profile in stack)
        return narrowest(limit for limit in said if limit is not None)
    return moment.highest(stacked(stack, moment.calendar, moment.utc_ms, moment.horizon_ms))


# -- what is left of it ---------------------------------------------------------------------------------


def _of_its_board(site: Site, claim: _Claim) -> _Claim:
    """A chargepoint of several connectors that has a board to itself is limited there, as a whole."""
    if claim.place.kind != "chargepoint" or len(site.chargepoint[claim.place.name].connector) < 2:
        return claim
    board = site.chargepoint[claim.place.name].fed_by
    feeders = [grid.fed_by for grid in site.grid.values()] + [box.fed_by for box in site.chargepoint.values()]
    feeders += [device.fed_by for device in (*site.battery.values(), *site.inverter.values())]
    if feeders.count(board) > 1:
        return claim
    return claim._replace(place=Place("grid", board), kind="charging")


def _by_name(claims: Iterable[_Claim], kind: str) -> dict[str, list[_Claim]]:
    found: dict[str, list[_Claim]] = {}
    for claim in claims:
        if claim.place.kind == kind:
            found.setdefault(claim.place.name, []).append(claim)
    return found


def _narrow_grid(row: Any, grid: Any, rotation: electrical.Rotation, claims: list[_Claim]) -> None:
    """The tightest of each kind, where it is tighter than the fuse.

    One row cannot say "10 A, but 6 A for everybody" and "40 A, and no more" at once: a soft limit that keeps
    nobody's minimum counts as a hard one while another keeps it.
    """
    tightest = dict.fromkeys(KINDS, FAR_MS)
    claims = [claim for claim in claims if _tightness(claim.limit, grid["limit_ma"], rotation) < FAR_MS]
    keeping = any(claim.kind == "soft" and claim.keeps for claim in claims)
    for kind in ("soft", "charging"):
        row[f"{kind}_keeps_minimum"] = int(any(claim.kind == kind and claim.keeps for claim in claims))
    for claim in claims:
        kind = "hard" if claim.kind == "soft" and keeping and not claim.keeps else claim.kind
        if kind == "charging" and not claim.keeps:
            row["charging_keeps_minimum"] = 0
        for own, phase in enumerate(rotation):
            if claim.limit.phase_ma[own] < grid["limit_ma"][phase]:
                row[f"{kind}_ma"][phase] = min(row[f"{kind}_ma"][phase], claim.limit.phase_ma[own])
        if claim.limit.sum_ma < grid["limit_ma"].sum():
            row[f"{kind}_sum_ma"] = min(row[f"{kind}_sum_ma"], claim.limit.sum_ma)
        rank = _tightness(claim.limit, grid["limit_ma"], rotation)
        if rank < tightest[kind]:
            tightest[kind], row[f"{kind}_source"] = rank, claim.source


def _tightness(limit: Limit, fuse_ma: Any, rotation: electrical.Rotation) -> int:
    """The least mA that a limit leaves a phase where it is tighter than the fuse; FAR_MS: nowhere."""
    tight = [limit.sum_ma // 3] if limit.sum_ma < fuse_ma.sum() else []
    tight += [ma for own, ma in enumerate(limit.phase_ma) if ma < fuse_ma[rotation[own]]]
    return min(tight, default=FAR_MS)


def _narrow_outlets(site: Site, topology: Topology, caps: Table, claims: list[_Claim]) -> None:
    """A connector's own limits, and its even part of what its chargepoint may take."""
    own, shared = _by_name(claims, "connector"), _by_name(claims, "chargepoint")
    if not own and not shared:
        return
    for row, (name, chargepoint, outlet) in enumerate(site.connectors()):
        parts = [(claim, 1) for claim in own.get(f"{name}/{outlet.number}", [])]
        parts += [(claim, len(chargepoint.connector)) for claim in shared.get(name, [])]
        for claim, part in parts:
            most_ma = claim.limit.outlet_ma(outlet.phases) // part
            if claim.keeps:
                most_ma = max(most_ma, int(topology.connectors[row]["min_ma"]))
            if most_ma < caps[row]["wish_ma"]:
                caps[row]["wish_ma"], caps[row]["wish_source"] = most_ma, claim.source


def _stop(topology: Topology, grids: Table, caps: Table, place: Place, source: Source) -> None:
    """An emergency stop outranks maintenance."""
    if place.kind == "grid":
        rows, names = grids, [place.name == name for name in topology.grid_names]
    elif place.kind == "connector":
        rows, names = caps, [place.name == name for name in topology.connector_names]
    elif place.kind != "chargepoint":
        return  # a device may bear the name of a chargepoint
    else:
        rows, names = caps, [place.name == name.rpartition("/")[0] for name in topology.connector_names]
    rows["stop"][names] = np.maximum(rows["stop"][names], source)


def _stop_devices(site: Site, batteries: Table, inverters: Table, place: Place, source: Source) -> None:
    """The batteries and inverters at or under a place."""
    for kind, rows, devices in (("battery", batteries, site.battery), ("inverter", inverters, site.inverter)):
        for row, (name, device) in zip(rows, devices.items(), strict=True):
            under = place.kind == "grid" and place.name in site.path(device.fed_by)
            if under or place == (kind, name):
                row["stop"] = max(row["stop"], source)


def _order_batteries(site: Site, told: Mapping[str, Instruction], moment: _Moment, rows: Table) -> None:
    """What was told, or else what the schedule says now; of several the first."""
    for row, (name, battery) in zip(rows, site.battery.items(), strict=True):
        found: list[tuple[BatteryOrder, Source]] = []
        for _, instruction in sorted(told.items()):
            what, mine = instruction.what, instruction.place == ("battery", name)
            if isinstance(what, Setpoint) and mine and _alive(instruction, moment):
                found.append((what, Source.API))
        found += [(order, Source.TIME_OF_USE) for order in _scheduled(battery, moment)]
        if found:
            order, row["setpoint_source"] = found[0]
            row["strategy"] = STRATEGIES[order.word()]
            row["setpoint_ma"] = order.setpoint_ma(battery.phases)
            row["target_ma"] = order.target_ma()


def _scheduled(battery: Battery, moment: _Moment) -> Iterator[BatteryOrder]:
    """Segments that hold now; while nobody knows what time it is, none."""
    for schedule in battery.schedule if moment.trusted else ():
        if not schedule.enabled:
            continue
        for number, begin_ms, end_ms in schedule.spans(moment.calendar, moment.utc_ms, moment.horizon_ms):
            if begin_ms <= moment.utc_ms < end_ms:
                yield schedule.segment[number]
            for edge_ms in (begin_ms, end_ms):
                if edge_ms > moment.utc_ms:
                    moment.changes_at(moment.now_ms + edge_ms - moment.utc_ms)
    if battery.schedule:
        moment.changes_at(moment.now_ms + moment.horizon_ms - moment.utc_ms)


def narrowed(image: Image, rows: InForce) -> Image:
    """A frozen copy of an image with the rows in force; what a card wants stays where it is narrower."""
    connectors = copied(image.connectors)
    tighter = rows.caps["wish_ma"] < connectors["wish_ma"]
    connectors["wish_ma"][tighter] = rows.caps["wish_ma"][tighter]
    connectors["wish_source"][tighter] = rows.caps["wish_source"][tighter]
    np.maximum(connectors["stop"], rows.caps["stop"], out=connectors["stop"])
    batteries, inverters = copied(image.batteries), copied(image.inverters)
    image = image._replace(grids=rows.grids, connectors=connectors, batteries=batteries, inverters=inverters)
    put_orders(image, rows)
    return frozen(image)


def put_orders(image: Image, rows: InForce) -> None:
    """Write what batteries and inverters are told into an image that is one's own."""
    for table, orders in ((image.batteries, rows.batteries), (image.inverters, rows.inverters)):
        for field in orders.dtype.names or ():
            table[field] = orders[field]


class Standing:
    """What has been told, and what of it is in force: worked out anew when it changes, else looked up."""

    def __init__(self, site: Site, topology: Topology) -> None:
        self._site = site
        self._topology = topology
        self._told: dict[str, Instruction] = {}
        self._rows: InForce | None = None
        self._calendar: tuple[int, bool] = (0, False)

    @property
    def told(self) -> Mapping[str, Instruction]:
        """Everything told, by its key."""
        return self._told

    def tell(self, key: str, instruction: Instruction) -> None:
        """Something new, or instead of what this key said before."""
        self._told, self._rows = self._told | {key: instruction}, None

    def withdraw(self, key: str) -> None:
        """Take back what this key said; nothing happens when it said nothing."""
        self._told = {one: instruction for one, instruction in self._told.items() if one != key}
        self._rows = None

    def at(self, now_ms: int, utc_ms: int, *, utc_trusted: bool) -> InForce:
        """What is in force now; the same object as long as nothing changes."""
        rows, calendar = self._rows, (utc_ms - now_ms, utc_trusted)
        moved = abs(calendar[0] - self._calendar[0]) > CLOCK_STEP_MS or calendar[1] != self._calendar[1]
        if rows is None or now_ms >= rows.next_ms or moved:
            told = self._told
            rows = in_force(self._site, self._topology, told, now_ms, utc_ms, utc_trusted=utc_trusted)
            self._calendar = calendar
            if told is self._told:  # another thread has told nothing meanwhile
                self._rows = rows
        return rows
