"""A scenario: a site, who comes, what happens, and how the story must end.

`load` reads a scenario file or raises SiteError with one sentence per fault; `prepare` makes of it a `Story`,
which is everything that a run needs and names no file any more. Paths in a file are relative to that file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from controller.sentences import sentence
from controller.site import Site, SiteError, build
from controller.topology import Topology, compile_site
from scenarios.emulate.passes import Security
from twin.conditions import Conditions
from twin.faults import Seconds
from twin.fleet import read_fleet
from twin.habits import HABIT_OF, Charging, parted, read_habits
from twin.outside import Told
from twin.sessions import Session, read_sessions
from twin.sources import Load, Motor, Series, Source
from twin.sun import Sun

if TYPE_CHECKING:
    from twin.drivers import Crowd

Mode = Literal["true", "minute"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FromFile(_Table):
    """Real sessions from a CSV (ACN-Data or our own columns)."""

    kind: Literal["csv"]
    file: Path
    energy: Literal["requested", "delivered"] = "requested"
    """Which energy of an ACN file its driver wants here."""


class Generated(_Table):
    """Drivers who come by their habits."""

    kind: Literal["generator"]
    population: Charging = "workplace"
    """Habit of `drivers`: commuter, visitor or resident."""
    drivers: Annotated[int, Field(ge=1, le=20_000)]
    habits: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Parts of the drivers, by habit, in place of `population`."""
    habits_file: Path | None = None
    """Habits of your own."""
    fleet: Path | None = None
    """The vehicles that come."""
    holidays: tuple[date, ...] | None = None
    """On these days as on Sundays."""
    patience_s: Seconds | None = None
    """How long everybody waits for a free connector."""
    outside_c: Annotated[float, Field(ge=-40, le=50)] | None = None
    """Temperature in which the vehicles have stood."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def crowd(self, folder: Path, connectors: Sequence[int], direct: frozenset[int] = frozenset()) -> Crowd:
        """Who may come to connectors of so much power (mA times phases), some of them DC.

        Raises SiteError.
        """
        # Mesa costs more than a second: only those who want drivers pay it.
        from twin.drivers import Crowd

        habits = read_habits(folder / self.habits_file if self.habits_file else None)
        fleet = read_fleet(folder / self.fleet if self.fleet else None)
        drivers = parted(self.drivers, self.habits or {HABIT_OF[self.population]: 1.0})
        lines = []
        for name in drivers:
            if name not in habits:
                close = get_close_matches(name, habits, n=1)
                hint = f'did you mean "{close[0]}"?' if close else f"the habits are {', '.join(habits)}."
                lines.append(f'[sessions] habits: there is no habit "{name}"; {hint}')
            elif missing := set(habits[name].vehicles) - fleet.vehicles:
                kind = min(missing)
                lines.append(f'[sessions] fleet: has no vehicle "{kind}" for habit "{name}"; add a row.')
        if lines:
            raise SiteError(lines)
        days = None if self.holidays is None else frozenset(self.holidays)
        return Crowd(drivers, connectors, habits, fleet, days, self.patience_s, self.outside_c, direct)


class LoadProfile(Series):
    """A building load, or with `generates` a generator, from a column of a CSV."""

    grid: str
    generates: bool = False
    split: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Parts on the board's own L1, L2, L3."""


class Production(Series):
    """What an inverter could feed in, from a column of a CSV."""

    inverter: str


class Bound(_Table):
    """What a figure may be at the end."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """True within the bounds, both included."""
        return (self.at_least is None or value >= self.at_least - 1e-9) and (
            self.at_most is None or value <= self.at_most + 1e-9
        )

    def words(self) -> str:
        """The bounds as a text."""
        parts = []
        if self.at_least is not None:
            parts.append(f"at least {self.at_least:g}")
        if self.at_most is not None:
            parts.append(f"at most {self.at_most:g}")
        return " and ".join(parts) or "anything"


Quantity = Literal["current_a", "cars_a", "committed_a", "target_a", "draw_a", "flow_a"]


_QUANTITIES = {
    "grid": ("current_a", "cars_a", "committed_a", "target_a"),
    "battery": ("flow_a", "target_a"),
    "": ("draw_a", "committed_a", "target_a"),
}


class During(Bound):
    """What must hold in every cycle of a span, for a grid on every phase or for a connector.

    `current_a`, `cars_a` and `draw_a` are the truth of the twin, `committed_a` and `target_a` the book.
    """

    from_s: Seconds
    until_s: Seconds
    grid: str | None = None
    connector: str | None = None
    battery: str | None = None
    quantity: Quantity


class Wishes(_Table):
    """What the planner of a site with `departures` is told of the cars that come."""

    known: Literal["exact", "told", "cards"] = "exact"
    """When a car leaves and what it asks for; the departure as its driver tells it; or what the past of its
    card in this run lets expect."""
    error_s: Seconds = 0.0
    """A departure that is told is wrong by this much, early or late by a coin."""


class Scenario(_Table):
    """A scenario file. `start` without an offset is local time of the site."""

    name: str = Field(min_length=1)
    site: str | dict[str, Any]
    """Path of a site file, or the site itself."""
    start: datetime
    length_s: Seconds = Field(gt=0)
    seed: int = Field(default=1, ge=0)
    mode: Mode = "true"
    cycle_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    sessions: FromFile | Generated = Field(discriminator="kind")
    loads: tuple[LoadProfile, ...] = Field(default=(), alias="load")
    productions: tuple[Production, ...] = Field(default=(), alias="production")
    suns: tuple[Sun, ...] = Field(default=(), alias="sun")
    motors: tuple[Motor, ...] = Field(default=(), alias="motor")
    told: tuple[Told, ...] = Field(default=(), alias="instruction")
    """What comes from outside: limits, profiles, series, stops."""
    conditions: Conditions = Conditions()
    security: Security = Field(default_factory=Security)
    wishes: Wishes = Wishes()
    expect: dict[str, Bound] = Field(default_factory=dict)
    """Bounds on the figures of merit, by their names."""
    during: tuple[During, ...] = ()
    _source: Path = PrivateAttr(default=Path("scenario"))

    @property
    def source(self) -> Path:
        """The file it came from; its paths are relative to that."""
        return self._source

    def read_from(self, path: Path) -> Scenario:
        """The same scenario, as read from this file."""
        self._source = path
        return self


@dataclass(frozen=True, slots=True)
class Story:
    """Everything a run needs, prepared: nothing is read any more."""

    name: str
    site: Site
    topology: Topology
    conditions: Conditions
    sessions: tuple[Session, ...]
    loads: tuple[Source, ...]
    start_utc: datetime
    length_ms: int
    seed: int
    mode: Mode = "true"
    cycle_ms: int = 1_000
    wishes: Wishes = field(default_factory=Wishes)
    expect: dict[str, Bound] = field(default_factory=dict)
    during: tuple[During, ...] = ()
    told: tuple[Told, ...] = ()
    remarks: tuple[str, ...] = ()


def load(path: Path | str, *, seed: int | None = None, mode: Mode | None = None) -> Scenario:
    """Read a scenario file; `seed` and `mode` replace those of the file. Raises SiteError."""
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SiteError([f"{path}: cannot be read: {error.strerror}; give the path of a scenario."]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    if isinstance(tables.get("start"), date) and not isinstance(tables["start"], datetime):
        tables["start"] = datetime.combine(tables["start"], datetime.min.time())
    tables |= {key: value for key, value in (("seed", seed), ("mode", mode)) if value is not None}
    try:
        scenario = Scenario.model_validate(tables).read_from(path)
    except ValidationError as error:
        raise SiteError([sentence(str(path), fault, Scenario) for fault in error.errors()]) from None
    lines = [f"{path}: {line}" for line in _expectation_faults(scenario)]
    if lines:
        raise SiteError(lines)
    return scenario


def _expectation_faults(scenario: Scenario) -> Iterator[str]:
    # Imported here: figures come from a run, and a run needs scenarios.
    from scenarios.figures import Figures
    from scenarios.strain import Strained

    known = [*Figures.names(), *Strained.names()]
    if "transformer_percent" in scenario.expect and scenario.conditions.transformer is None:
        yield "[expect] transformer_percent: there is no transformer; give [conditions.transformer] kva."
    for name in scenario.expect:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"the figures are {', '.join(known)}."
            yield f"[expect] {name}: there is no such figure; {hint}"
    for number, during in enumerate(scenario.during, start=1):
        places = [place for place in (during.grid, during.connector, during.battery) if place is not None]
        if len(places) != 1:
            yield f"[during] number {number}: name either a grid, a connector or a battery."
        elif (
            during.quantity not in _QUANTITIES["grid" if during.grid else "battery" if during.battery else ""]
        ):
            yield (
                f"[during] number {number} quantity: a connector has draw_a, a grid current_a and cars_a,"
                " a battery flow_a."
            )
        if during.until_s <= during.from_s:
            yield f"[during] number {number} until_s: must be later than from_s."


def prepare(scenario: Scenario) -> Story:
    """Read everything the scenario names. Raises SiteError."""
    source, folder = str(scenario.source), scenario.source.parent
    site = _site(scenario)
    lines = [f"{source}: {line}" for line in _reference_faults(scenario, site)]
    if lines:
        raise SiteError(lines)
    zone = _zone(site)
    topology = compile_site(site)
    start = scenario.start if scenario.start.tzinfo else scenario.start.replace(tzinfo=zone)
    start_utc = start.astimezone(UTC)
    length_ms = round(scenario.length_s * 1000)
    loads: list[Source] = []
    for table in scenario.loads:
        peak_w, profile = table.read(folder, zone)
        whole = sum(table.split)
        first, second, third = (part / whole for part in table.split)
        signed_w = -peak_w if table.generates else peak_w
        loads.append(Load(table.grid, signed_w, profile, (first, second, third), zone))
    for production in scenario.productions:
        peak_w, profile = production.read(folder, zone)
        each = 1 / site.inverter[production.inverter].phases
        loads.append(Load("", peak_w, profile, (each, each, each), zone, production.inverter))
    loads += [motor.load(scenario.seed) for motor in scenario.motors]
    loads += [sun.load(site, folder, start_utc, length_ms, scenario.seed) for sun in scenario.suns]
    remarks: tuple[str, ...] = ()
    if isinstance(scenario.sessions, FromFile):
        sessions, remarks = read_sessions(
            folder / scenario.sessions.file,
            topology.connector_names,
            start_utc,
            zone,
            scenario.seed,
            scenario.sessions.energy,
            length_ms,
        )
    else:
        from twin.drivers import come

        outlets = [outlet for _, _, outlet in site.connectors()]
        strengths = [round(outlet.max_current_a * 1000) * outlet.phases for outlet in outlets]
        direct = frozenset(row for row, outlet in enumerate(outlets) if outlet.kind == "dc")
        crowd = scenario.sessions.crowd(folder, strengths, direct)
        sessions = come(crowd, start_utc, length_ms, zone, scenario.seed)
    return Story(
        name=scenario.name,
        site=site,
        topology=topology,
        conditions=scenario.conditions,
        sessions=sessions,
        loads=tuple(loads),
        start_utc=start_utc,
        length_ms=length_ms,
        seed=scenario.seed,
        mode=scenario.mode,
        cycle_ms=round(scenario.cycle_s * 1000),
        wishes=scenario.wishes,
        expect=scenario.expect,
        during=scenario.during,
        told=scenario.told,
        remarks=remarks,
    )


def _site(scenario: Scenario) -> Site:
    if isinstance(scenario.site, dict):
        return build(scenario.site, f"{scenario.source}: [site]")
    path = scenario.source.parent / scenario.site
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SiteError([f"{scenario.source}: site: {path} cannot be read: {error.strerror}."]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    return build(tables, str(path))


def _zone(site: Site) -> ZoneInfo:
    try:
        return ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise SiteError(
            [f'timezone: there is no "{site.timezone}"; write it like Europe/Amsterdam.']
        ) from None


def _reference_faults(scenario: Scenario, site: Site) -> Iterator[str]:
    yield from scenario.conditions.complaints(site)
    connectors = [f"{name}/{connector.number}" for name, _, connector in site.connectors()]
    for number, table in enumerate(scenario.loads, start=1):
        if table.grid not in site.grid:
            yield f'[load] number {number} grid: the site has no grid "{table.grid}".'
        if sum(table.split) <= 0 or min(table.split) < 0:
            yield f"[load] number {number} split: give three parts, none below 0, like [1, 1, 1]."
    names = [motor.name for motor in scenario.motors]
    for number, motor in enumerate(scenario.motors, start=1):
        if motor.grid not in site.grid:
            yield f'[motor] number {number} grid: the site has no grid "{motor.grid}".'
        if motor.name in names[: number - 1]:
            yield f'[motor] number {number} name: there is another "{motor.name}"; give each its own.'
    for number, production in enumerate(scenario.productions, start=1):
        if production.inverter not in site.inverter:
            yield f'[production] number {number} inverter: the site has no inverter "{production.inverter}".'
    for number, sun in enumerate(scenario.suns, start=1):
        yield from (f"[sun] number {number} {fault}" for fault in sun.complaints(site))
    for number, told in enumerate(scenario.told, start=1):
        yield from (f"[instruction] number {number} {fault}" for fault in told.complaints(site))
    for number, during in enumerate(scenario.during, start=1):
        if during.battery is not None and during.battery not in site.battery:
            yield f'[during] number {number} battery: the site has no battery "{during.battery}".'
        if during.grid is not None and during.grid not in site.grid:
            yield f'[during] number {number} grid: the site has no grid "{during.grid}".'
        if during.connector is not None and during.connector not in connectors:
            yield (
                f'[during] number {number} connector: the site has no connector "{during.connector}";'
                ' write it like "bay_01/1".'
            )
