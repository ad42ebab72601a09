"""What is built: the site file as frozen objects, validated as a whole.

`parse` turns the TOML text of a site file into a `Site` or raises `SiteError`, whose lines each name
file, table and key and say how to mend it. Currents in the file are amperes per phase in the order of the
board's own L1 L2 L3; everything behind `topology` is milliamps in the phases of the site.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
)

from controller import electrical
from controller.defaults import MARGIN_MIN_MA, MARGIN_PER_MILLE, MAX_DEPTH
from controller.electrical import Rotation

PerPhase = tuple[float, float, float]


def _as_rotation(value: object) -> object:
    if isinstance(value, str):
        return electrical.parse_rotation(value)
    if isinstance(value, list | tuple) and sorted(map(str, value)) == ["0", "1", "2"]:
        return value
    raise ValueError('a rotation is text; write it like "L2 L3 L1" or "STR"')


RotationText = Annotated[Rotation, BeforeValidator(_as_rotation)]


def _per_phase(value: object) -> object:
    """A single number means the same on all three phases."""
    return (value, value, value) if isinstance(value, int | float) else value


Number = Annotated[int, Field(strict=True)]
Amps = Annotated[float, Field(strict=True, ge=0, le=10_000)]
PhaseAmps = Annotated[tuple[Amps, Amps, Amps], BeforeValidator(_per_phase)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SafeCurrent(_Table):
    """On meter failure the charging in the meter's grid goes on with this much per phase in all."""

    safe_current_a: Amps


def _kind_of_failure(value: object) -> str:
    return "SafeCurrent" if isinstance(value, dict | SafeCurrent) else "literal['panic']"


OnFailure = Annotated[
    Annotated[Literal["panic"], Tag("literal['panic']")] | Annotated[SafeCurrent, Tag("SafeCurrent")],
    Discriminator(_kind_of_failure),
]


class Grid(_Table):
    """A board with a fuse: a node of the tree. `main` is the grid without `fed_by`."""

    id: Number = Field(ge=0)
    fed_by: str | None = None
    rotation: RotationText = electrical.STRAIGHT
    max_current_a: PhaseAmps
    margin_a: Amps | None = None
    uncontrolled_a: PhaseAmps | None = None
    chargepoints_only: bool = False
    worst_load_a: PhaseAmps | None = None

    def margin_ma(self, limit_ma: int) -> int:
        """The band under the limit in which nothing is raised: set by hand, or max(2 A, 3 %)."""
        if self.margin_a is not None:
            return electrical.milliamps(self.margin_a)
        return max(MARGIN_MIN_MA, limit_ma * MARGIN_PER_MILLE // 1000)


class Meter(_Table):
    """An energy meter in the feed of a grid (guard) or of an uncontrollable part of it (consumer)."""

    grid: str
    role: Literal["guard", "consumer"]
    on_failure: OnFailure = "panic"
    delay_s: Annotated[float, Field(strict=True, gt=0, le=60)] = 2.0
    """Most that a reading is behind the truth when it is used: refresh of the meter plus poll."""
    error_a: Amps = 0.5
    excludes: tuple[str, ...] = ()
    """Consumer meters only: child grids whose uncontrolled load this meter does not see."""
    link: dict[str, Any] = Field(default_factory=dict)


class Connector(_Table):
    """One outlet. `rotation` says how it hangs on its board; it counts once a person has confirmed it."""

    number: Number = Field(ge=1, le=64)
    max_current_a: Amps
    min_current_a: Amps = 6.0
    step_a: Annotated[float, Field(strict=True, ge=0.1, le=63)] = 1.0
    phases: Literal[1, 3] = 3
    rotation: RotationText = electrical.STRAIGHT
    rotation_confirmed_by: str = ""
    weight_percent: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100

    @field_validator("max_current_a")
    @classmethod
    def _charges_at_all(cls, value: float) -> float:
        if value < MARGIN_MIN_MA / 1000:
            raise ValueError(f"{value:g} A cannot charge a car; give the rating of the outlet")
        return value


class Chargepoint(_Table):
    """A charging station behind one OCPP identity."""

    identity: str = Field(min_length=1, max_length=48)
    fed_by: str
    fallback_a: Amps = 0.0
    """Current per connector that it falls back to, and starts new sessions with, when nobody commands it."""
    lease_s: Annotated[int, Field(strict=True, ge=0, le=86_400)] = 0
    """Orders decay to `fallback_a` after this long; 0: the box keeps its last limit for ever."""
    sample_interval_s: Annotated[int, Field(strict=True, ge=1, le=900)] = 10
    connector: tuple[Connector, ...] = Field(min_length=1)
    link: dict[str, Any] = Field(default_factory=dict)


class Site(_Table):
    """Everything behind one grid connection, as drawn. Order of the tables is the order of all indices."""

    name: str = Field(min_length=1)
    timezone: str
    grid: dict[str, Grid] = Field(min_length=1)
    meter: dict[str, Meter] = Field(default_factory=dict)
    chargepoint: dict[str, Chargepoint] = Field(default_factory=dict)
    accept_unsafe_fallback: str = ""
    """`"reason, name"`: somebody answers for a site that is not safe when the controller dies."""
    box: dict[str, Any] = Field(default_factory=dict)
    """Addresses and paths of the box itself; typed where the box is composed."""

    @field_validator("timezone")
    @classmethod
    def _is_on_earth(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (LookupError, ValueError, OSError):
            close = get_close_matches(value, available_timezones(), n=1)
            hint = f'did you mean "{close[0]}"?' if close else 'write it like "Europe/Amsterdam"'
            raise ValueError(f"there is no such time zone; {hint}") from None

    def main(self) -> str:
        """Name of the grid that is the connection."""
        return next(name for name, grid in self.grid.items() if grid.fed_by is None)

    def path(self, grid: str) -> tuple[str, ...]:
        """Names of the grids from `grid` up to the connection, both included."""
        names = [grid]
        while (feeder := self.grid[names[-1]].fed_by) is not None:
            names.append(feeder)
        return tuple(names)

    def rotation(self, grid: str) -> Rotation:
        """Phases of the site that supply L1, L2, L3 of this board."""
        turned = electrical.STRAIGHT
        for name in reversed(self.path(grid)):
            turned = electrical.through(turned, self.grid[name].rotation)
        return turned

    def connectors(self) -> Iterator[tuple[str, Chargepoint, Connector]]:
        """Every connector with the name and table of its chargepoint, in the order of all tables."""
        for name, chargepoint in self.chargepoint.items():
            for connector in chargepoint.connector:
                yield name, chargepoint, connector


class SiteError(ValueError):
    """A site file that cannot be used; `lines` has one sentence per fault."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def parse(text: str, source: str) -> Site:
    """Read a site file. `source` is the name that errors call it by. Raises SiteError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{source}: this is not TOML: {error}"]) from None
    return build(tables, source)


def build(tables: dict[str, Any], source: str) -> Site:
    """A Site from already parsed tables. Raises SiteError."""
    try:
        site = Site.model_validate(tables)
    except ValidationError as error:
        raise SiteError(sentences(source, error)) from None
    lines = [f"{source}: {line}" for line in _faults(site)]
    if lines:
        raise SiteError(lines)
    return site


def sentences(
    source: str, error: ValidationError, model: type[BaseModel] = Site, under: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with the tables, one sentence per mistake.

    A misspelt key is one mistake, not an unknown key and a missing one; so is a list whose only entry is
    wrong, or one number that stands for three phases.
    """
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    meant = {
        (*fault["loc"][:-1], close)
        for fault in faults
        if fault["type"] == "extra_forbidden" and (close := _nearest_key(fault, model))
    }
    lines = [
        sentence(source, fault, model, under)
        for fault in faults
        if not (fault["type"] == "missing" and fault["loc"] in meant)
        and not (fault["type"] == "too_short" and any(_is_inside(place, fault["loc"]) for place in places))
    ]
    return list(dict.fromkeys(lines))


def _is_inside(place: tuple[int | str, ...], table: tuple[int | str, ...]) -> bool:
    return len(place) > len(table) and place[: len(table)] == table


def sentence(source: str, fault: Any, model: type[BaseModel] = Site, under: tuple[str, ...] = ()) -> str:
    """One pydantic error in the words of somebody who edits the file.

    `model` is what was validated, `under` the names of the tables above it.
    """
    where = [*under, *_names(fault)]
    key = where[-1] if where else "the file"
    table = ".".join(where[:-1])
    place = f"{source}: [{table}] {key}" if table else f"{source}: {key}"
    if fault["type"] == "extra_forbidden":
        close = _nearest_key(fault, model)
        hint = f'did you mean "{close}"?' if close else "remove it or check its spelling."
        return f"{place}: there is no such key; {hint}"
    if isinstance(fault["loc"][-1], int) and fault["type"] == "missing":
        return f"{place}: give one number for all phases or three, for L1, L2 and L3."
    if fault["type"] == "missing":
        return f"{place}: is missing; add it."
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "too_short":
        message = "is empty; add at least one"
    if fault["type"] == "too_long":
        message = "give one number for all phases or three, for L1, L2 and L3"
    message = message.replace("a valid tuple", "a list in square brackets")
    message = message.partition(" or instance of ")[0].replace("a valid dictionary", "a table")
    if fault["loc"][-1] == "literal['panic']":
        message = 'should be "panic" or like { safe_current_a = 16 }'
    return f"{place}: {message[0].lower()}{message[1:]} (it is {fault['input']!r})."


def _names(fault: Any) -> list[str]:
    """Names of the tables down to the key: entries of a list by number from 1, kinds of a value left out."""
    names: list[str] = []
    for at, part in enumerate(fault["loc"], start=1):
        if isinstance(part, str) and part not in ("SafeCurrent", "literal['panic']"):
            names.append(part)
        elif isinstance(part, int) and at < len(fault["loc"]):
            names[-1] += f" {part + 1}"
    return names


def _nearest_key(fault: Any, model: type[BaseModel]) -> str:
    """The key that was probably meant, or nothing."""
    path = [str(part) for part in fault["loc"]]
    return next(iter(get_close_matches(path[-1], _known_keys(model, path), n=1)), "")


def _known_keys(model: type[BaseModel], where: list[str]) -> list[str]:
    for part in where[:-1]:
        field = model.model_fields.get(part)
        nested = _models_in(field.annotation) if field else []
        model = nested[0] if nested else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _faults(site: Site) -> Iterator[str]:
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
        yield from fallback_faults(site)


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
        yield from _connector_faults(name, chargepoint)
    yield from _twice("grid", "id", {name: grid.id for name, grid in site.grid.items()})
    yield from _twice("chargepoint", "identity", {n: c.identity for n, c in site.chargepoint.items()})
    guards: dict[str, str] = {}
    for name, meter in site.meter.items():
        if meter.role == "guard" and guards.setdefault(meter.grid, name) != name:
            first = guards[meter.grid]
            yield f'[meter.{name}] role: grid "{meter.grid}" already has the guard "{first}"; keep one.'


def _connector_faults(name: str, chargepoint: Chargepoint) -> Iterator[str]:
    numbers = [connector.number for connector in chargepoint.connector]
    if len(set(numbers)) != len(numbers):
        yield f"[chargepoint.{name}] connector: a connector number occurs twice; number them 1, 2, 3."
    for connector in chargepoint.connector:
        if connector.min_current_a > connector.max_current_a:
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


def fallback_faults(site: Site) -> Iterator[str]:
    """Rule 5: worst building load plus what every box does alone must fit every fuse.

    A box without a lease keeps its last limit for ever, so what it does alone is its rating.
    """
    if site.accept_unsafe_fallback:
        return
    for name, grid in site.grid.items():
        for phase in range(3):
            limit = grid.max_current_a[phase]
            worst = _worst_load_a(site, name, phase)
            alone = sum(_alone_a(site, name, phase))
            if worst + alone > limit + 1e-9:
                yield (
                    f"[grid.{name}] if the controller dies now, {electrical.PHASES[phase]} may reach"
                    f" {worst + alone:g} A on a {limit:g} A fuse (worst load {worst:g} A, chargepoints alone"
                    f" {alone:g} A): lower fallback_a and set lease_s, or declare"
                    ' accept_unsafe_fallback = "reason, name".'
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


def _alone_a(site: Site, grid: str, phase: int) -> Iterator[float]:
    for name, chargepoint, connector in site.connectors():
        if grid not in site.path(site.chargepoint[name].fed_by):
            continue
        confirmed = connector.phases == 1 and connector.rotation_confirmed_by
        turned = electrical.through(site.rotation(chargepoint.fed_by), connector.rotation)
        if confirmed and turned[0] != site.rotation(grid)[phase]:
            continue
        yield chargepoint.fallback_a if chargepoint.lease_s else connector.max_current_a
