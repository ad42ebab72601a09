"""What is told from outside: limits with a time to live, charging profiles, day-ahead series and stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from controller import electrical
from controller.calendar import Calendar, DayAhead, LimitedTable
from controller.charging_profile import ChargingProfile, clock_faults
from controller.defaults import (
    DIMMED_DEVICE_W,
    DIMMED_FIRST_PER_MILLE,
    DIMMED_LEAST_PER_MILLE,
    DIMMED_STEP_PER_MILLE,
    NEVER,
)
from controller.quantities import (
    FrozenTable,
    Kilowatts,
    Limit,
    PhaseAmps,
    TimeToLive,
    amps_and_kilowatts,
    milliamps_of,
)
from controller.setpoints import Setpoint

if TYPE_CHECKING:
    from controller.site import Site

Kind = Literal["hard", "soft", "charging", "export"]
SourceWord = Literal["api", "modbus", "digital_input", "grid_operator"]
KINDS: Final[tuple[Kind, ...]] = ("hard", "soft", "charging", "export")


class Terms(FrozenTable):
    """How a limit counts; without any of them nothing softens it."""

    soft_limit: bool = False
    """Short overruns are no alarm."""
    regulated_only: bool = False
    """It limits what the connectors take, whatever a meter says."""
    keep_6a: bool = False
    """It leaves every session its minimum."""
    export_limit: bool = False
    """It limits what flows back."""

    @model_validator(mode="after")
    def _agree(self) -> Terms:
        if self.export_limit and (self.regulated_only or self.keep_6a):
            raise ValueError(
                "export_limit is about what flows back: regulated_only and keep_6a have no place in it; take"
                " them out"
            )
        return self

    def kind(self) -> Kind:
        """The row it narrows."""
        if self.export_limit:
            return "export"
        if self.regulated_only:
            return "charging"
        return "soft" if self.soft_limit or self.keep_6a else "hard"


class ProfileSet(Terms):
    """A charging profile and how it counts."""

    profile: ChargingProfile


class ExternalLimit(LimitedTable, Terms):
    """A limit that holds for `ttl_s`; renewed in time or not, its fallback holds after that."""

    ttl_s: TimeToLive
    source: SourceWord = "api"
    fallback_a: PhaseAmps | None = None
    fallback_kw: Kilowatts | None = None
    paragraph_14a: bool = False
    """Never below the least that section 14a EnWG leaves the devices behind this grid; without `limit_kw`
    just that."""

    @model_validator(mode="after")
    def _says_something(self) -> ExternalLimit:
        if self.paragraph_14a and (self.limit_a is not None or self.fallback_a is not None):
            raise ValueError("paragraph_14a is about power: give limit_kw and fallback_kw, or leave them out")
        if self.says_nothing() and not self.paragraph_14a:
            raise ValueError("give limit_a or limit_kw; to lift a limit delete it")
        return self

    def kind(self) -> Kind:
        """Section 14a speaks of controllable devices alone."""
        return "charging" if self.paragraph_14a else super().kind()

    def told(self, least_ma: int) -> Limit:
        """What holds while it lives; `least_ma` is the sum that section 14a leaves."""
        if self.paragraph_14a:
            return Limit(sum_ma=max(least_ma, self.limit().sum_ma if self.limit_kw is not None else 0))
        return self.limit()

    def fallback(self, least_ma: int) -> Limit | None:
        """What holds after that; None: nothing."""
        if self.fallback_a is None and self.fallback_kw is None:
            return None
        limit = amps_and_kilowatts(self.fallback_a, self.fallback_kw)
        return limit._replace(sum_ma=max(least_ma, limit.sum_ma)) if self.paragraph_14a else limit


class Input(Terms):
    """A line from outside that a grid has: while it says nothing that lives, its fallback holds."""

    source: SourceWord
    fallback_a: PhaseAmps | None = None
    fallback_kw: Kilowatts | None = None

    @model_validator(mode="after")
    def _falls_back_to_something(self) -> Input:
        if self.fallback_a is None and self.fallback_kw is None:
            raise ValueError("give fallback_a or fallback_kw: what holds while nothing is heard")
        return self

    def fallback(self) -> Limit:
        """What holds while nothing is heard."""
        return amps_and_kilowatts(self.fallback_a, self.fallback_kw)


class Stop(FrozenTable):
    """Everything at or under a place goes to 0 A until the stop is taken back."""

    reason: Literal["maintenance", "emergency_stop"]
    by: str = Field(default="", max_length=200)


What = ExternalLimit | ProfileSet | DayAhead | Stop | Setpoint


PlaceKind = Literal["grid", "chargepoint", "connector", "battery", "inverter"]


class Place(NamedTuple):
    """What an instruction is for: a grid, a chargepoint with all its connectors, or a single device."""

    kind: PlaceKind
    name: str
    """Of a connector `chargepoint/number`."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """What was told for a place, and until when it lives, `now_ms` time; NEVER: until it is taken back."""

    place: Place
    what: What
    until_ms: int = NEVER
    doubtful: bool = False
    """After a restart without clock nobody knows whether it still lives: it and its fallback both hold."""


def least_dimmed_ma(devices: int) -> int:
    """P_min of section 14a EnWG (BNetzA BK6-22-300) for so many devices above 4.2 kW; sum of currents."""
    if devices < 1:
        return 0
    shared = max(
        DIMMED_LEAST_PER_MILLE,
        DIMMED_FIRST_PER_MILLE - max(0, devices - 2) * DIMMED_STEP_PER_MILLE,
    )
    return milliamps_of(DIMMED_DEVICE_W + (devices - 1) * shared * DIMMED_DEVICE_W / 1000)


def dimmable(site: Site, grid: str) -> int:
    """Outlets and batteries behind a grid that can charge with more than 4.2 kW."""
    outlets_w = [
        electrical.watts(electrical.milliamps(outlet.max_current_a), outlet.phases)
        for _, chargepoint, outlet in site.connectors()
        if grid in site.path(chargepoint.fed_by)
    ]
    batteries_w = [
        battery.max_charge_w for battery in site.battery.values() if grid in site.path(battery.fed_by)
    ]
    return sum(power_w > DIMMED_DEVICE_W for power_w in [*outlets_w, *batteries_w])


def calendar_of(site: Site) -> Calendar:
    """The clock and the holidays of a site."""
    return Calendar(ZoneInfo(site.timezone), frozenset(site.holidays))


def instruction_faults(site: Site, place: Place, what: What) -> Iterator[str]:
    """What is wrong with an instruction for this site, one sentence each."""
    known = {
        "grid": list(site.grid),
        "chargepoint": list(site.chargepoint),
        "connector": [f"{name}/{outlet.number}" for name, _, outlet in site.connectors()],
        "battery": list(site.battery),
        "inverter": list(site.inverter),
    }[place.kind]
    if place.name not in known:
        close = get_close_matches(place.name, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else f"the site has {', '.join(known[:5]) or 'none'}."
        yield f'there is no {place.kind} "{place.name}"; {hint}'
        return
    if isinstance(what, Setpoint) and place.kind == "battery" and what.strategy == "peak_shaving":
        if what.target_kw is None and site.battery[place.name].target_w is None:
            yield "peak shaving needs target_kw, for the site file gives this battery no target_w; add it."
    if isinstance(what, Setpoint) and place.kind != "battery":
        yield f"a set-point is for a battery; give the {place.kind} a limit or a stop."
    if place.kind in {"battery", "inverter"} and not isinstance(what, Stop | Setpoint):
        yield f"limits are for grids, chargepoints and connectors; this is for a {place.kind}."
    if isinstance(what, Stop | Setpoint) or place.kind in {"battery", "inverter"}:
        return
    if isinstance(what, ProfileSet):
        yield from clock_faults(what.profile, calendar_of(site))
        if place.kind != "grid" and what.profile.counts_watts() and not what.profile.names_phases():
            yield (
                "numberPhases: a profile in W for an outlet must say for how many phases it is meant; add"
                " numberPhases to every period."
            )
        if place.kind == "grid" and what.profile.counts_watts() and _fewer_phases(what.profile):
            yield "numberPhases: W on a grid are the sum of its three phases; leave numberPhases out."
    if place.kind == "grid":
        return
    if isinstance(what, DayAhead):
        yield "a day-ahead series is for a grid; give a charging profile instead."
    elif what.export_limit:
        yield "export_limit is for a grid; nothing flows back out of an outlet."
    elif isinstance(what, ExternalLimit) and what.paragraph_14a:
        yield "paragraph_14a is for a grid with all devices behind it; give limit_kw for this one."


def _fewer_phases(profile: ChargingProfile) -> bool:
    return any(
        period.number_phases in (1, 2) for period in profile.charging_schedule.charging_schedule_period
    )
