"""The HTTP contract: what `edge` and `edge-twin serve` answer alike.

Currents are amperes in the phases of the site, L1 L2 L3, positive from the grid towards the load; `null` is
unknown and never 0. Times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

World = Literal["site", "emulated", "simulated"]
Amps = float | None
Three = Annotated[list[Amps], Field(min_length=3, max_length=3, description="L1, L2, L3 of the site, A")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class GridPlate(_Model):
    """A grid as drawn: its place in the tree and its fuse."""

    name: str
    fed_by: str | None = Field(description="the feeding grid; null for the connection")
    depth: int = Field(description="0 for the connection")
    fuse_a: Three
    margin_a: Three
    rotation: str = Field(description="the site's phases on the board's own L1 L2 L3")
    meter: Literal["guard", "consumer", "none"]
    meter_address: str | None


class ConnectorPlate(_Model):
    """An outlet as built."""

    name: str = Field(description="the stable key, chargepoint/number")
    label: str = Field(description="as people say it")
    chargepoint: str
    identity: str = Field(description="OCPP identity")
    path: list[str] = Field(description="grids above it, own board first, the connection last")
    max_a: float
    min_a: float
    phases: int
    phase_order: str = Field(description="the site's phases on the outlet's own L1 L2 L3, as drawn")
    rotation_confirmed_by: str = Field(description="empty: nobody has confirmed the phases")
    weight_percent: int
    fallback_a: float = Field(description="what it falls back to when nobody commands it")
    lease_s: int = Field(description="after which it falls back; 0: never")


class DeadController(_Model):
    """What happens if the controller dies now."""

    safe: bool
    sentences: list[str] = Field(description="why it is not safe, one line per grid")
    accepted: str = Field(description="reason and name of who accepted that it is not safe")


class SitePlate(_Model):
    """The site as drawn."""

    name: str
    timezone: str
    world: World = Field(description="whether this is the site itself, an emulated or a simulated one")
    speed: float | None = Field(description="seconds that pass in a second; null: as fast as it goes")
    scenario: str | None
    version: str
    grids: list[GridPlate] = Field(description="a feeder stands before what it feeds")
    connectors: list[ConnectorPlate]
    if_the_controller_dies: DeadController


class PhaseLive(_Model):
    """One phase of a grid."""

    phase: Literal["L1", "L2", "L3"]
    measured_a: Amps = Field(description="by its guard meter")
    limit_a: Amps = Field(description="in force now")
    other_a: Amps = Field(description="estimate of the load that nobody controls")
    booked_a: Amps = Field(description="other load plus the most that the connectors may draw")
    targets_a: Amps = Field(description="sum of what the connectors get")
    bears_s: float | None = Field(
        description="for how long the fuse bears what flows now; null: for ever, or nobody measures."
        " Typical curves, unverified"
    )


class NoteLive(_Model):
    """What a person should know that is no alarm."""

    label: str
    text: str
    more: str = Field(description="what would give the connector more, or end it")


class GridLive(_Model):
    """A grid now."""

    name: str
    phases: list[PhaseLive]
    meter_age_s: float | None = Field(description="age of the newest reading of its meter")
    meter_lost: bool
    notes: list[NoteLive]


class ConnectorLive(_Model):
    """A connector now."""

    name: str
    status: str = Field(description="OCPP status in words")
    online: bool
    plugged: bool
    charging: bool
    gets_a: Amps = Field(description="the last limit put down")
    may_draw_a: Amps = Field(description="the most it may draw, given all that was sent or lost")
    draws_a: Amps = Field(description="its highest phase")
    draws_per_phase_a: Three
    booked_phases: list[str] = Field(description="phases on which it is booked")
    phases_known: bool
    rotation_hint: str = Field(
        description="how it hangs on its board by what one-phase cars taught; a person has to confirm it"
    )
    reading_age_s: float | None = Field(description="since it last said what it draws")
    stale: bool = Field(description="what it draws is not known any more; the last reading is shown")
    plugged_for_s: float | None
    code: str = Field(description="the rule that set its current")
    mark: str = Field(description="the same in one word")
    why: str
    sentence: str
    more: str = Field(description="what would give it more")
    notes: list[NoteLive]


class DeviceLive(_Model):
    """A battery or an inverter now; powers over its phases at nominal voltage."""

    kind: Literal["battery", "inverter"]
    name: str
    online: bool
    stale: bool = Field(description="its power is not known any more; the last reading is shown")
    takes_kw: float | None = Field(description="negative: it feeds in; null: it has not said yet")
    ordered_kw: float = Field(description="of an inverter the most that it may feed in")
    charge_percent: float | None = Field(description="state of charge of a battery; null: unknown")
    strategy: str | None = Field(description="of a battery, now in force")
    why: str


class AlarmLive(_Model):
    """What is wrong, since when, and what to do."""

    kind: Literal["site", "grid", "connector"]
    name: str
    code: str
    danger: bool
    text: str
    next_step: str
    since: datetime
    until: datetime | None = Field(description="null: it still stands")


class Live(_Model):
    """One cycle, and the answer on top of it."""

    cycle: int = Field(description="counts cycles since the start; 0: none yet")
    at: datetime | None
    age_s: float | None = Field(description="seconds since that cycle, by the clock on the wall")
    state: Literal["safe", "attention", "danger", "starting", "stalled", "ended"]
    sentence: str
    plugged: int
    charging: int
    if_the_controller_dies: DeadController | None = Field(description="by the live state; null: none yet")
    grids: list[GridLive]
    connectors: list[ConnectorLive]
    devices: list[DeviceLive] = Field(description="batteries and inverters")
    alarms: list[AlarmLive] = Field(description="those that stand, newest first")


class GridHistory(_Model):
    """The last hour of a grid: highest values and lowest limit of each step, per phase L1 L2 L3."""

    name: str
    at: list[datetime]
    measured_a: list[list[Amps]]
    booked_a: list[list[Amps]]
    other_a: list[list[Amps]]
    limit_a: list[list[Amps]]


class ConnectorHistory(_Model):
    """The last hour of a connector: the last value of each step."""

    name: str
    at: list[datetime]
    gets_a: list[Amps]
    draws_a: list[Amps]


class ChainLink(_Model):
    """One of the limits between a car and the main fuse."""

    what: Literal["car", "order", "outlet", "grid"]
    name: str
    phase: str | None
    limit_a: Amps
    booked_a: Amps
    binding: bool
    note: str


class Chain(_Model):
    """From the car up to the main fuse; the binding limit is marked."""

    connector: str
    links: list[ChainLink]


class Charge(_Model):
    """One transaction of the ledger."""

    identity: str = Field(description="OCPP identity of the chargepoint")
    connector: int
    card: str
    began: datetime
    ended: datetime | None = Field(description="null: it runs")
    energy_wh: float | None = Field(description="so far, or in all")
    reason: str | None = Field(description="why it ended")


class Instruction(_Model):
    """What the site has been told from outside, and how long it still lives."""

    place: Literal["grid", "chargepoint", "connector", "battery", "inverter"]
    name: str
    kind: Literal["limits", "profiles", "series", "stops", "setpoints"]
    id: str
    told: datetime = Field(description="when, by the clock of the box")
    left_s: float | None = Field(description="of its time to live; null: until it is taken back")
    expired: bool = Field(description="its time is over and its fallback holds")
    durable: bool = Field(default=True, description="false: the disk did not take it, a restart loses it")
    says: dict[str, Any] = Field(description="as it was told")


class Health(_Model):
    """Whether the controller runs."""

    ok: bool
    sentence: str
    cycle: int
    age_s: float | None
    alarms: int
    version: str


class Fault(_Model):
    """Every error: one sentence that says what, where and how to mend it."""

    error: str
