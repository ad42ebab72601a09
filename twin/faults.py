"""What goes wrong on a site, and when: meters, links, boxes, cars, boards, batteries and inverters.

A fault is a small frozen table with a span (`at_s`, `for_s`, `every_s`) and a `switch` that turns it on and
off on the world; to add one, write such a class and name it in `Fault`. docs/faults.md says which fault of
the field each of them plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from controller.defaults import NEVER
from controller.electrical import PHASES, milliamps
from controller.quantities import FrozenTable, PhaseAmps
from controller.site import Site
from twin.readings import WHOLE
from twin.storage import goes_its_own_way

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


def _on_each(value: object) -> object:
    """A single number means the same on all three phases."""
    return (value, value, value) if isinstance(value, int | float) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=400 * 86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=-1_000, le=1_000)]
SignedAmps = Annotated[float, Field(ge=-1e7, le=1e7)]
StepAmps = Annotated[float, Field(ge=0.1, le=63)]
Phase = Literal["L1", "L2", "L3"]


class _Fault(FrozenTable):
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


# -- instruments --------------------------------------------------------------------------------------------


def _alter(gauge: Any, reads: _Reads, *, on: bool) -> None:
    gauge["altered"] = int(on)
    gauge["factor"] = reads.factor
    gauge["offset_ma"] = [round(offset_a * 1000) for offset_a in reads.offset_a]
    gauge["noise_ma"], gauge["coarse_ma"] = reads.noise_a * 1000, milliamps(reads.step_a)
    gauge["renew_ms"], gauge["late_ms"] = round(reads.renew_s * 1000), round(reads.late_s * 1000)
    gauge["loss"] = round(reads.loss * WHOLE)


class _Reads(_Fault):
    factor: Annotated[tuple[Factor, Factor, Factor], BeforeValidator(_on_each)] = (1.0, 1.0, 1.0)
    """What it says of what flows: 2 a wrong ratio, -1 a turned transformer, 0 a liar."""
    offset_a: Annotated[tuple[SignedAmps, SignedAmps, SignedAmps], BeforeValidator(_on_each)] = (0.0,) * 3
    noise_a: Annotated[float, Field(ge=0, le=100)] = 0.0
    step_a: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Resolution; 0: as fine as can be."""
    renew_s: Annotated[float, Field(ge=0, le=3_600)] = 0.0
    """It says the same for that long, with new times."""
    late_s: Annotated[float, Field(ge=0, le=600)] = 0.0
    """A reading arrives that much later, those behind it too."""
    loss: Share = 0.0
    """Share of the readings that do not arrive."""


class MeterReads(_Reads):
    """A meter whose readings are distorted, coarse, seldom renewed, late or lost."""

    kind: Literal["meter_reads"]
    meter: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set its gauge."""
        _alter(world.gauges[world.topology.meter_names.index(self.meter)], self, on=on)


class ChargepointReads(_Reads):
    """The same of the meter values of a chargepoint."""

    kind: Literal["chargepoint_reads"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the gauges of its connectors."""
        for row in world.rows_of(self.chargepoint):
            _alter(world.clamps[row], self, on=on)


class MeterFault(_Fault):
    """A meter that gives nothing, the same value for ever, or that somebody has wired wrongly."""

    kind: Literal["meter_silent", "meter_frozen", "meter_reversed", "meter_swapped"]
    meter: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of its gauge."""
        world.gauges[world.topology.meter_names.index(self.meter)][self.kind.removeprefix("meter_")] = int(on)


class MeterNan(_Fault):
    """A meter that answers without a number, on one phase or on all."""

    kind: Literal["meter_nan"]
    meter: str
    phase: Phase | None = None

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flags of its gauge."""
        flags = world.gauges[world.topology.meter_names.index(self.meter)]["nan"]
        flags[:] = [int(on and self.phase in (None, name)) for name in PHASES]


class ReadingsFault(_Fault):
    """A chargepoint that sends no meter values, the same for ever, or those of L1 as L2."""

    kind: Literal["readings_silent", "readings_frozen", "readings_swapped"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of the gauges of its connectors."""
        for row in world.rows_of(self.chargepoint):
            world.clamps[row][self.kind.removeprefix("readings_")] = int(on)


# -- links and boxes ----------------------------------------------------------------------------------------


class ChargepointOffline(_Fault):
    """The link to a chargepoint is down; the box goes on by itself."""

    kind: Literal["chargepoint_offline"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Cut or mend the link."""
        world.set_offline(self.chargepoint, offline=on)


class ChargepointLossy(_Fault):
    """Orders, answers and meter values of one chargepoint get lost."""

    kind: Literal["chargepoint_lossy"]
    chargepoint: str
    loss: Share

    def switch(self, world: World, *, on: bool) -> None:
        """Set the chance of all its outlets."""
        for row in world.rows_of(self.chargepoint):
            world.outlets[row]["loss"] = min(round(self.loss * WHOLE), WHOLE) if on else 0


BOX_FLAGS = {
    "ignores_lowerings": ("deaf", 1),
    "ignores_limits": ("deaf", 2),
    "refuses_limits": ("refusing", 1),
    "resumes_full": ("resumes_full", 1),
    "contactor_sticks": ("sticks", 1),
    "reports_faulted": ("faulted", 1),
}


class BoxFault(_Fault):
    """A box that accepts and ignores, rejects, forgets after a pause, stays on its phases or is broken."""

    kind: Literal[
        "ignores_lowerings",
        "ignores_limits",
        "refuses_limits",
        "resumes_full",
        "contactor_sticks",
        "reports_faulted",
    ]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Set the flag of all its outlets."""
        field, value = BOX_FLAGS[self.kind]
        for row in world.rows_of(self.chargepoint):
            world.outlets[row][field] = value if on else 0
        world.touch()


class Late(_Fault):
    """A box that takes `late_s` longer for every answer, or whose current follows that much later."""

    kind: Literal["answers_late", "follows_late"]
    chargepoint: str
    late_s: Seconds

    def switch(self, world: World, *, on: bool) -> None:
        """Set the extra delay of all its outlets."""
        field = "late_ms" if self.kind == "answers_late" else "slow_ms"
        for row in world.rows_of(self.chargepoint):
            world.outlets[row][field] = round(self.late_s * 1000) if on else 0


class Rounds(_Fault):
    """A box that knows only steps of `step_a` and takes the one below or above."""

    kind: Literal["rounds_down", "rounds_up"]
    chargepoint: str
    step_a: StepAmps

    def switch(self, world: World, *, on: bool) -> None:
        """Set the step of all its outlets; one that rounds down has it negative."""
        step_ma = milliamps(self.step_a) if on else 0
        for row in world.rows_of(self.chargepoint):
            world.outlets[row]["step_ma"] = step_ma if self.kind == "rounds_up" else -step_ma


# -- cars ---------------------------------------------------------------------------------------------------


class CarWaits(_Fault):
    """The car at a chargepoint takes nothing for a while and says so: a timer, a hot battery."""

    kind: Literal["car_waits"]
    chargepoint: str

    def switch(self, world: World, *, on: bool) -> None:
        """Let it pause."""
        for row in world.rows_of(self.chargepoint):
            world.outlets[row]["paused"] = int(on)
        world.touch()


class CarPhases(_Fault):
    """The car at a chargepoint goes to another number of phases, and back to those it came with."""

    kind: Literal["car_phases"]
    chargepoint: str
    phases: Annotated[int, Field(ge=1, le=3)]

    def switch(self, world: World, *, on: bool) -> None:
        """Set the number or give it back."""
        for row in world.rows_of(self.chargepoint):
            came_with = world.phases_of_car(row)
            if came_with:
                world.outlets[row]["car_phases"] = self.phases if on else came_with
        world.touch()


class DrawsOver(_Fault):
    """The car at a chargepoint draws `share` more than it is offered."""

    kind: Literal["draws_over"]
    chargepoint: str
    share: Share

    def switch(self, world: World, *, on: bool) -> None:
        """Set what it takes on top."""
        for row in world.rows_of(self.chargepoint):
            world.outlets[row]["extra_permille"] = round(self.share * 1000) if on else 0
        world.touch()


class FeedsBack(_Fault):
    """The car at a chargepoint feeds back: somebody else has told it to, this controller never does."""

    kind: Literal["car_feeds_back"]
    chargepoint: str
    current_a: Annotated[float, Field(gt=0, le=80)]
    at_most_kwh: Annotated[float, Field(gt=0, le=1000)] = 10.0

    def switch(self, world: World, *, on: bool) -> None:
        """Let the cars that are there begin or end."""
        for row in world.rows_of(self.chargepoint):
            outlet = world.outlets[row]
            most_ma = int(world.topology.connectors[row]["max_ma"])
            outlet["gives_ma"] = min(milliamps(self.current_a), most_ma) if on and outlet["plugged"] else 0
            outlet["spare_wh"] = self.at_most_kwh * 1000
        world.touch()


# -- boards -------------------------------------------------------------------------------------------------


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


class PhaseLost(_Fault):
    """A phase of a board carries nothing, and cars that use it stop."""

    kind: Literal["phase_lost"]
    grid: str
    phase: Phase

    def switch(self, world: World, *, on: bool) -> None:
        """Take it away or give it back."""
        board = world.topology.grid_names.index(self.grid)
        world.boards[board]["lost"][world.board_phases(board)[PHASES.index(self.phase)]] = int(on)
        world.power_changed()


class Blackout(_Fault):
    """Nothing reaches a board and all under it; when it is back its boxes start anew."""

    kind: Literal["blackout"]
    grid: str

    def switch(self, world: World, *, on: bool) -> None:
        """Take the supply away or give it back."""
        world.boards[world.topology.grid_names.index(self.grid)]["cut_off"] = int(on)
        world.power_changed()


class FuseReset(_Fault):
    """Somebody puts a new fuse in, or a tripped breaker on again; the span does not matter."""

    kind: Literal["fuse_reset"]
    grid: str

    def switch(self, world: World, *, on: bool) -> None:
        """Close it, cold."""
        board = world.boards[world.topology.grid_names.index(self.grid)]
        if on and (board["tripped"] or board["melted"].any()):
            board["tripped"], board["tripped_at_ms"] = 0, NEVER
            for field in ("melted", "used", "heat"):
                board[field] = 0
            world.power_changed()


# -- batteries and inverters --------------------------------------------------------------------------------


class BatteryFights(_Fault):
    """A battery whose own system does not give way: it accepts orders and charges with all it has."""

    kind: Literal["battery_fights"]
    battery: str

    def switch(self, world: World, *, on: bool) -> None:
        """Let it take what it wants; when that ends it waits for orders."""
        b = world.topology.battery_names.index(self.battery)
        goes_its_own_way(world.cells[b], int(world.built.batteries[b]["charge_ma"]) if on else None)
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
    MeterReads
    | ChargepointReads
    | MeterFault
    | MeterNan
    | ReadingsFault
    | ChargepointOffline
    | ChargepointLossy
    | BoxFault
    | Late
    | Rounds
    | CarWaits
    | CarPhases
    | DrawsOver
    | FeedsBack
    | LoadStep
    | PhaseLost
    | Blackout
    | FuseReset
    | BatteryFights
    | BatteryFault
    | InverterFault
    | Cloud,
    Field(discriminator="kind"),
]
