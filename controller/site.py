"""What is built: the site file as frozen objects, validated as a whole.

`parse` turns the TOML text of a site file into a `Site` or raises `SiteError`, whose lines each name
file, table and key and say how to mend it. Currents in the file are amperes per phase in the order of the
board's own L1 L2 L3; everything behind `topology` is milliamps in the phases of the site.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from controller import electrical
from controller.breaker import Breaker
from controller.calendar import TimeOfUse
from controller.defaults import (
    MARGIN_MIN_MA,
    MARGIN_PER_MILLE,
    MAX_STEPS,
    METER_ERROR_MA,
    PANIC_PER_MILLE,
    PHASE_COUNT,
)
from controller.electrical import Rotation
from controller.external import Input, ProfileSet
from controller.faults import faults
from controller.quantities import Amps, DateText, Number, PhaseAmps
from controller.quantities import FrozenTable as _Table
from controller.sentences import sentences
from controller.setpoints import BatterySchedule, Strategy

PerPhase = tuple[float, float, float]


def _as_rotation(value: object) -> object:
    if isinstance(value, str):
        return electrical.parse_rotation(value)
    if isinstance(value, list | tuple) and sorted(map(str, value)) == ["0", "1", "2"]:
        return value
    raise ValueError('a rotation is text; write it like "L2 L3 L1" or "STR"')


RotationText = Annotated[Rotation, BeforeValidator(_as_rotation)]


def _no_word(value: object) -> object:
    if not isinstance(value, str):
        return value
    raise ValueError("give the amperes that may flow back, like 25, or leave it out for as much as import")


Power = Annotated[float, Field(strict=True, ge=0, le=100_000_000)]
Soc = Annotated[float, Field(strict=True, ge=0, le=1)]
Watts = Annotated[float, Field(strict=True, gt=0, le=10_000_000)]
SolarDelay = Annotated[float, Field(strict=True, ge=0, le=3600)]
PriorityClass = Annotated[int, Field(strict=True, ge=1, le=9)]


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
    max_power_w: Power | None = None
    max_apparent_va: Power | None = None
    max_mean_power_w: Power | None = None
    """Most that the mean of each quarter of an hour may be: a contract, a capacity tariff."""
    max_unbalance_a: Annotated[float, Field(strict=True, gt=0, le=10_000)] | None = None
    panic_a: Amps | None = None
    """So far above the fuse everything under it goes off; without it a tenth of the fuse."""
    breaker: Breaker = "gG"
    max_export_a: Annotated[PhaseAmps | None, BeforeValidator(_no_word)] = None
    """Most that may flow back, left out: as much as the fuse lets in."""
    max_export_w: Power | None = None
    export_margin_a: Amps | None = None
    """Band under a limit of export that is kept free, left out: 0.5 A and 3 %."""
    export_panic_a: Amps | None = None
    """So far above a limit of export whatever feeds in goes off, left out: 2 A or a tenth of it."""
    solar: Literal["off", "boost", "solar_only"] | None = None
    """How cars charge with surplus of sun, left out: as under the feeding grid."""
    solar_start_s: SolarDelay | None = None
    solar_stop_s: SolarDelay | None = None
    """Left out: as under the feeding grid, like the mode."""
    margin_a: Amps | None = None
    uncontrolled_a: PhaseAmps | None = None
    chargepoints_only: bool = False
    feeds_in: bool = False
    """Something on this board feeds in that is not drawn: its boards may take more than its meter shows."""
    worst_load_a: PhaseAmps | None = None
    time_of_use: tuple[TimeOfUse, ...] = ()
    profile: tuple[ProfileSet, ...] = ()
    input: tuple[Input, ...] = ()

    def margin_ma(self, limit_ma: int) -> int:
        """The band under the limit in which nothing is raised: set by hand, or max(2 A, 3 %)."""
        if self.margin_a is not None:
            return electrical.milliamps(self.margin_a)
        return max(MARGIN_MIN_MA, limit_ma * MARGIN_PER_MILLE // 1000)

    def panic_ma(self, limit_ma: int) -> int:
        """The line beyond which everything under the fuse goes off."""
        if self.panic_a is not None:
            return limit_ma + electrical.milliamps(self.panic_a)
        return limit_ma * PANIC_PER_MILLE // 1000


class Meter(_Table):
    """An energy meter in the feed of a grid (guard) or of an uncontrollable part of it (consumer)."""

    grid: str
    role: Literal["guard", "consumer"]
    on_failure: OnFailure = "panic"
    delay_s: Annotated[float, Field(strict=True, gt=0, le=60)] = 2.0
    """Most that a reading is behind the truth when it is used: refresh of the meter plus poll."""
    error_a: Amps = METER_ERROR_MA / 1000
    invert_polarity: bool = False
    """The meter or its transformers are mounted backwards on all phases."""
    measures: Literal["currents", "magnitudes", "total_power"] = "currents"
    """What it knows: currents with their direction, without it, or only the power of all phases together."""
    phases_differ_a: Amps | None = None
    """Total power only: most by which a phase carries more than a third; left out: one may carry it all."""
    excludes: tuple[str, ...] = ()
    """Consumer meters only: child grids whose uncontrolled load this meter does not see."""
    link: dict[str, Any] = Field(default_factory=dict)


class Connector(_Table):
    """One outlet. `rotation` says how it hangs on its board; it counts once a person has confirmed it.

    A DC outlet is rated in watts at the car; its currents are those of its feed, the same on three phases.
    """

    number: Number = Field(ge=1, le=64)
    kind: Literal["ac", "dc"] = "ac"
    max_current_a: Amps
    min_current_a: Amps = 6.0
    max_power_w: Watts | None = None
    min_power_w: Watts | None = None
    efficiency: Annotated[float, Field(strict=True, ge=0.5, le=1)] = 0.93
    """Of a DC outlet: what comes out at the car of what goes in."""
    step_a: Annotated[float, Field(strict=True, ge=0.1, le=63)] = 1.0
    steps_a: Annotated[tuple[Amps, ...], Field(max_length=MAX_STEPS)] = ()
    """The only set-points that the box knows, ascending; empty: multiples of `step_a`."""
    phases: Literal[1, 3] = 3
    phase_switch_s: Annotated[float, Field(strict=True, ge=1, le=3600)] | None = None
    """It can be told to charge on one phase, after so long at 0 A; left out: it cannot."""
    rotation: RotationText = electrical.STRAIGHT
    rotation_confirmed_by: str = ""
    weight_percent: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100
    priority_class: PriorityClass = 5
    """1 is served before 9; see `Site.sharing`."""

    @model_validator(mode="before")
    @classmethod
    def _feed_of_a_dc_outlet(cls, table: Any) -> Any:
        """Currents of the feed from watts at the car: the largest rounded up, so that it is never less."""
        if not isinstance(table, dict) or table.get("kind") != "dc":
            return table
        watts, efficiency = table.get("max_power_w"), table.get("efficiency", 0.93)
        if not isinstance(watts, int | float) or not isinstance(efficiency, int | float) or efficiency <= 0:
            raise ValueError('a connector of kind "dc" needs max_power_w, like 50000')
        table = dict(table)
        fed_a = electrical.feed_ma(watts, efficiency) / 1000
        table["max_current_a"] = min(float(table.get("max_current_a", fed_a)), fed_a)
        if isinstance(least := table.get("min_power_w"), int | float):
            table["min_current_a"] = electrical.feed_ma(least, efficiency) / 1000
        return table

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
    writes_per_day: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Orders per connector that its memory bears; once they are spent nothing is raised for a while."""
    max_current_a: PhaseAmps | None = None
    """Most that all its connectors take together; it becomes a board of its own."""
    connector: tuple[Connector, ...] = Field(min_length=1)
    profile: tuple[ProfileSet, ...] = ()
    link: dict[str, Any] = Field(default_factory=dict)


class _Storing(_Table):
    """What batteries and inverters have in common: a board, phases, and how they follow an order."""

    fed_by: str
    phases: Literal[1, 3] = 3
    rotation: RotationText = electrical.STRAIGHT
    revert_s: Annotated[int, Field(strict=True, ge=0, le=86_400)] = 0
    """An order ends by itself after this long; 0: the device keeps its last one for ever."""
    response_s: Annotated[float, Field(strict=True, gt=0, le=60)] = 2.0
    """Longest time from the arrival of an order to its power."""
    sample_interval_s: Annotated[int, Field(strict=True, ge=1, le=5)] = 1
    link: dict[str, Any] = Field(default_factory=dict)


class Battery(_Storing):
    """A stationary battery with its own inverter. Powers are those of all its phases together."""

    capacity_wh: Annotated[float, Field(strict=True, gt=0, le=1e9)]
    max_charge_w: Power
    max_discharge_w: Power
    efficiency: Annotated[float, Field(strict=True, ge=0.3, le=1)] = 0.9
    """Of what is charged, how much comes out again."""
    soc_min: Soc = 0.1
    soc_max: Soc = 1.0
    reserve: Soc = 0.2
    """State of charge that only peak shaving may use, and under which no discharge counts for a limit."""
    strategy: Strategy = "standby"
    target_w: Power | None = None
    """Import of the connection that peak shaving holds; it rises with the highest quarter of the month."""
    grid_charging: bool = False
    """Peak shaving charges it from the grid, and not from surplus alone."""
    feeds_cars: bool = False
    """Self-consumption covers cars too, and not the other load alone."""
    before_cars: bool = False
    """It takes surplus before cars that charge with the sun, and not what they leave."""
    counts_for_fuse: bool = False
    """Its confirmed discharge makes room under fuses, and not under contracts alone."""
    fallback_w: Power = 0.0
    """Most that it charges with when no order is in force."""
    schedule: tuple[BatterySchedule, ...] = ()


class Inverter(_Storing):
    """A generator that feeds a board; `curtailable` where its power can be limited."""

    max_power_w: Power
    curtailable: bool = False


Departures = Literal["off", "least_laxity", "horizon"]
STATION = " station"


def station(chargepoint: str) -> str:
    """Name of the board that stands for the limit of a whole chargepoint."""
    return f"{chargepoint}{STATION}"


class Site(_Table):
    """Everything behind one grid connection, as drawn. Order of the tables is the order of all indices."""

    name: str = Field(min_length=1)
    timezone: str
    holidays: tuple[DateText, ...] = ()
    grid: dict[str, Grid] = Field(min_length=1)
    meter: dict[str, Meter] = Field(default_factory=dict)
    chargepoint: dict[str, Chargepoint] = Field(default_factory=dict)
    battery: dict[str, Battery] = Field(default_factory=dict)
    inverter: dict[str, Inverter] = Field(default_factory=dict)
    departures: Departures = "off"
    """Whether a planner beside the loop uses what is known of departures and needs, and which."""
    sharing: Literal["minimum for all first", "strict"] = "minimum for all first"
    """Priority classes: who gets its minimum first, or who is served in full before the next class begins."""
    learn_phases: bool = False
    """Learn the phases of unconfirmed outlets from lone steps, for which cars are lowered now and then."""
    accept_unsafe_fallback: str = ""
    """`"reason, name"`: somebody answers for a site that is not safe when the controller dies."""
    box: dict[str, Any] = Field(default_factory=dict)
    """Addresses and paths of the box itself; typed where the box is composed."""

    @field_validator("accept_unsafe_fallback")
    @classmethod
    def _somebody_answers(cls, value: str) -> str:
        reason, _, who = value.rpartition(",")
        if value and not (reason.strip() and who.strip()):
            raise ValueError('somebody must answer for it: write it like "load shed by a relay, J. Smit"')
        return value

    @field_validator("timezone")
    @classmethod
    def _is_on_earth(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (LookupError, ValueError, OSError):
            close = get_close_matches(value, available_timezones(), n=1)
            hint = f'did you mean "{close[0]}"?' if close else 'write it like "Europe/Amsterdam"'
            raise ValueError(f"there is no such time zone; {hint}") from None

    @model_validator(mode="after")
    def _stations_are_boards(self) -> Site:
        """A station limit is a board between the station and its grid, without load and so without margin.

        A profile for several outlets needs one too: else each could only get its even part of it. Wires,
        sums, fuses and reasons need to know of nothing else. Read again, a site stays as it is.
        """
        for name, chargepoint in self.chargepoint.items():
            board = station(name)
            limit = chargepoint.max_current_a
            if limit is None and chargepoint.profile and len(chargepoint.connector) > 1:
                limit = (sum(outlet.max_current_a for outlet in chargepoint.connector),) * PHASE_COUNT
            if limit is None or chargepoint.fed_by not in self.grid or board in self.grid:
                continue  # without a limit, with a fault that is told elsewhere, or drawn already
            self.grid[board] = Grid(
                id=1 + max(grid.id for grid in self.grid.values()),
                fed_by=chargepoint.fed_by,
                max_current_a=limit,
                margin_a=0.0,
                chargepoints_only=True,
            )
            self.chargepoint[name] = chargepoint.model_copy(update={"fed_by": board})
        return self

    def station_of(self, grid: str) -> str | None:
        """The chargepoint whose own limit this grid stands for."""
        name = grid.removesuffix(STATION)
        of = self.chargepoint.get(name)
        return name if of is not None and of.max_current_a is not None and of.fed_by == grid else None

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

    def nearest(self, grid: str, key: str) -> Any:
        """What the nearest grid at or above this one says under a key; None: none says anything."""
        said = (getattr(self.grid[name], key) for name in self.path(grid))
        return next((value for value in said if value is not None), None)

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
        raise SiteError(sentences(source, error, Site)) from None
    lines = [f"{source}: {line}" for line in faults(site)]
    if lines:
        raise SiteError(lines)
    return site
