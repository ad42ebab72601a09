"""What happens to a site: its delays, how it is really wired, and what goes wrong when.

A fault is a small frozen table with a span (`at_s`, `for_s`, `every_s`) and a `switch` that turns it on and
off on the world; to add one, write such a class and name it in `Fault`. Times count from the start of the
scenario, in seconds or as "hours:minutes[:seconds]".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from controller.electrical import milliamps
from controller.quantities import PhaseAmps
from controller.site import RotationText, Site

if TYPE_CHECKING:
    from twin.world import World


def _seconds(value: object) -> object:
    """Seconds from a number or from "hours:minutes[:seconds]"."""
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
        raise ValueError(f'"{value}" is no time: give seconds, or "hours:minutes" like "8:30"')
    hours, minutes, seconds = (int(part) for part in [*parts, "0"][:3])
    return hours * 3600 + minutes * 60 + seconds


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=400 * 86_400)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MeterLink(_Table):
    """How every meter of the site is seen: a poll each `poll_s` tells the truth of `delay_s` ago."""

    delay_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    poll_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    noise_a: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of every reading on every phase."""


class ChargepointLink(_Table):
    """How every chargepoint is reached; a lost message is noticed by nobody but its sender's time-out."""

    latency_s: Annotated[float, Field(ge=0, le=30)] = 0.2
    """One way."""
    loss: Share = 0.0
    """Probability that a message, either way, is lost."""


class Pauses(_Table):
    """A share of the cars stops `for_s` every `every_s`, and their boxes do not report it."""

    share: Share = 0.3
    every_s: Annotated[float, Field(gt=0)] = 400.0
    for_s: Annotated[float, Field(gt=0)] = 25.0
    reported: bool = False


class _Fault(_Table):
    at_s: Seconds
    for_s: Seconds | None = None
    """How long it lasts; left out: to the end."""
    every_s: Seconds | None = None
    """It comes again this often."""

    def spans_ms(self, end_ms: int) -> Iterator[tuple[int, int | None]]:
        """Begin and end of every occurrence before `end_ms`, world time."""
        begin = round(self.at_s * 1000)
        while begin < end_ms:
            yield begin, None if self.for_s is None else begin + round(self.for_s * 1000)
            if not self.every_s:
                return
            begin += round(self.every_s * 1000)

    def complaint(self, site: Site) -> str:
        """What the fault names that the site does not have; empty: nothing."""
        for kind in ("meter", "chargepoint", "grid", "battery", "inverter"):
            name = getattr(self, kind, None)
            if name is not None and name not in getattr(site, kind):
                known = ", ".join(getattr(site, kind))
                return f'{kind}: the site has no {kind} "{name}"; it has {known}.'
        if self.every_s is not None and (self.for_s is None or self.for_s >= self.every_s):
            return "every_s: what comes again must end before: give a for_s below every_s."
        return ""

    def switch(self, world: World, *, on: bool) -> None:
        """Begin or end it."""
        raise NotImplementedError


class MeterFault(_Fault):
    """A meter that gives nothing, the same value for ever, no numbers, or that somebody has wired wrongly."""

    kind: Literal["meter_silent", "meter_frozen", "meter_nan", "meter_reversed", "meter_swapped"]
    meter: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of its gauge."""
        world.gauges[world.topology.meter_names.index(self.meter)][self.kind.removeprefix("meter_")] = int(on)


class ChargepointOffline(_Fault):
    """The link to a chargepoint is down; the box goes on by itself."""

    kind: Literal["chargepoint_offline"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Cut or mend the link."""
        world.set_offline(self.chargepoint, offline=on)


class BoxFault(_Fault):
    """A box that accepts lowerings and does not carry them out, or that rejects every limit."""

    kind: Literal["ignores_lowerings", "refuses_limits"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of all its outlets."""
        field = "deaf" if self.kind == "ignores_lowerings" else "refusing"
        for row in world.rows_of(self.chargepoint):
            world.outlets[row][field] = int(on)


class AnswersLate(_Fault):
    """A box that takes `late_s` longer for every answer."""

    kind: Literal["answers_late"]
    chargepoint: str
    late_s: Seconds

    def switch(self, world: World, *, on: bool) -> None:
        """Set the extra delay of all its outlets."""
        for row in world.rows_of(self.chargepoint):
            world.outlets[row]["late_ms"] = round(self.late_s * 1000) if on else 0


class LoadStep(_Fault):
    """Another load on a board, amperes per phase in the board's own order; with `every_s` a series."""

    kind: Literal["load_step"]
    grid: str
    current_a: PhaseAmps

    def switch(self, world: World, *, on: bool) -> None:
        """Put it on the board or take it off."""
        board = world.topology.grid_names.index(self.grid)
        phases = world.board_phases(board)
        for own, amps in enumerate(self.current_a):
            world.boards[board]["own_ma"][phases[own]] += milliamps(amps) if on else -milliamps(amps)
        world.touch()


class BatteryFault(_Fault):
    """A battery that dies with its link, whose readings do not arrive, or that does not know its charge."""

    kind: Literal["battery_dies", "battery_silent", "soc_lost"]
    battery: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of its row."""
        field = {"battery_dies": "dead", "battery_silent": "silent", "soc_lost": "soc_lost"}[self.kind]
        world.cells[world.topology.battery_names.index(self.battery)][field] = int(on)
        world.touch()


class InverterFault(_Fault):
    """An inverter that dies, that accepts limits and ignores them, or whose readings do not arrive."""

    kind: Literal["inverter_dies", "inverter_ignores", "inverter_silent"]
    inverter: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of its row."""
        field = {"inverter_dies": "dead", "inverter_ignores": "deaf", "inverter_silent": "silent"}[self.kind]
        world.panels[world.topology.inverter_names.index(self.inverter)][field] = int(on)
        world.touch()


class Cloud(_Fault):
    """A cloud over an inverter leaves `share` of what the sun gives; with `every_s` a broken sky."""

    kind: Literal["cloud"]
    inverter: str
    share: Share = 0.2

    def switch(self, world: World, *, on: bool) -> None:
        """Draw it over the inverter or away."""
        row = world.panels[world.topology.inverter_names.index(self.inverter)]
        row["cloud"] = round(self.share * 1000) if on else 1000
        world.touch()


Fault = Annotated[
    MeterFault
    | ChargepointOffline
    | BoxFault
    | AnswersLate
    | LoadStep
    | BatteryFault
    | InverterFault
    | Cloud,
    Field(discriminator="kind"),
]


class Conditions(_Table):
    """Everything about a site that its drawing does not say."""

    meters: MeterLink = MeterLink()
    links: ChargepointLink = ChargepointLink()
    pauses: Pauses | None = None
    wiring: dict[str, RotationText] = Field(default_factory=dict)
    """How a grid ("level_1") or a connector ("bay_01/1") really hangs, where the drawing is wrong."""
    battery_soc: Share = 0.5
    """State of charge of every battery when the story begins."""
    proven: bool = True
    """The controller starts with boxes it knows to obey; false: as after losing its journal."""
    faults: tuple[Fault, ...] = Field(default=(), alias="fault")

    def complaints(self, site: Site) -> Iterator[str]:
        """One sentence for everything that does not fit the site."""
        connectors = {f"{name}/{connector.number}" for name, _, connector in site.connectors()}
        for place in self.wiring:
            if place not in site.grid and place not in connectors:
                yield f'[conditions.wiring] "{place}" is neither a grid nor a connector like "bay_01/1".'
        for number, fault in enumerate(self.faults, start=1):
            if complaint := fault.complaint(site):
                yield f"[conditions.fault] number {number} ({fault.kind}): {complaint}"

    def as_built(self, site: Site) -> Site:
        """The site with its rotations as they really are."""
        grids = {
            name: grid.model_copy(update={"rotation": self.wiring.get(name, grid.rotation)})
            for name, grid in site.grid.items()
        }
        chargepoints: dict[str, Any] = {}
        for name, chargepoint in site.chargepoint.items():
            outlets = tuple(
                outlet.model_copy(
                    update={"rotation": self.wiring.get(f"{name}/{outlet.number}", outlet.rotation)}
                )
                for outlet in chargepoint.connector
            )
            chargepoints[name] = chargepoint.model_copy(update={"connector": outlets})
        return site.model_copy(update={"grid": grids, "chargepoint": chargepoints})


IDEAL = Conditions(meters=MeterLink(delay_s=0.0), links=ChargepointLink(latency_s=0.0))
"""Nothing takes time and nothing fails: minute mode."""
