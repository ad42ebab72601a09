"""What happens to a site: its delays, how it is really wired, and what goes wrong when.

Times count from the start of the scenario, in seconds or as "hours:minutes[:seconds]".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.quantities import FrozenTable
from controller.site import RotationText, Site
from controller.table import Table
from twin.cards import CardTerms
from twin.faults import Fault, Share
from twin.protection import CURVES


class MeterLink(FrozenTable):
    """How every meter of the site is seen: a poll each `poll_s` tells the truth of `delay_s` ago."""

    delay_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    poll_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    noise_a: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of every reading on every phase."""


class ChargepointLink(FrozenTable):
    """How every chargepoint is reached; a lost message is noticed by nobody but its sender's time-out."""

    latency_s: Annotated[float, Field(ge=0, le=30)] = 0.2
    """One way."""
    loss: Share = 0.0
    """Probability that a message, either way, is lost."""


class Cable(FrozenTable):
    """What feeds a board from the one above: the impedance of one conductor; the neutral is the same."""

    r_ohm: Annotated[float, Field(ge=0, le=10)]
    x_ohm: Annotated[float, Field(ge=0, le=10)] = 0.0


class Transformer(FrozenTable):
    """What feeds the connection."""

    kva: Annotated[float, Field(ge=1, le=100_000)]
    impedance_percent: Annotated[float, Field(gt=0, le=20)] = 4.0
    resistance_percent: Annotated[float, Field(ge=0, le=20)] = 1.0

    def z_ohm(self) -> complex:
        """Its short-circuit impedance per phase, seen from the low voltage."""
        base_ohm = 3 * NOMINAL_VOLTAGE_V**2 / (self.kva * 1000)
        r = min(self.resistance_percent, self.impedance_percent) / 100
        x = math.sqrt((self.impedance_percent / 100) ** 2 - r * r)
        return complex(r * base_ohm, x * base_ohm)


class Pauses(FrozenTable):
    """A share of the cars stops `for_s` every `every_s`, and their boxes do not report it."""

    share: Share = 0.3
    every_s: Annotated[float, Field(gt=0)] = 400.0
    for_s: Annotated[float, Field(gt=0)] = 25.0
    reported: bool = False


class Sleepers(FrozenTable):
    """A share of the cars falls asleep when it has charged and is left without current."""

    share: Share = 0.1
    after_s: Annotated[float, Field(gt=0)] = 300.0
    wakes_on: Annotated[int, Field(ge=1, le=100)] = 1
    """Offers above 6 A, after the one that finds it asleep, until it wakes."""


class Conditions(FrozenTable):
    """Everything about a site that its drawing does not say."""

    meters: MeterLink = MeterLink()
    links: ChargepointLink = ChargepointLink()
    pauses: Pauses | None = None
    sleepers: Sleepers | None = None
    card: dict[str, CardTerms] = Field(default_factory=dict)
    """The card list: what is said of some cards."""
    wiring: dict[str, RotationText] = Field(default_factory=dict)
    """How a grid ("level_1") or a connector ("bay_01/1") really hangs, where the drawing is wrong."""
    fuses: Literal["pessimistic", "curves"] = "pessimistic"
    """When they open: earlier than any standard allows, or by the `breaker` of each grid."""
    dc_power_factor: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """Of every DC chargepoint on its feed; the site file knows only how much of the power it loses."""
    power_factor: dict[str, Annotated[float, Field(gt=0.1, le=1)]] = Field(default_factory=dict)
    """Of the loads on a board; what cars, inverters and batteries take or give is counted as active."""
    cable: dict[str, Cable] = Field(default_factory=dict)
    transformer: Transformer | None = None
    supply_v: Annotated[float, Field(ge=100, le=300)] = float(NOMINAL_VOLTAGE_V)
    """Line to neutral, before the transformer."""
    voltage: Literal["nominal", "real"] = "nominal"
    """What makes power of the currents of cars: 230 V, or what transformer and cables leave of `supply_v`."""
    battery_soc: Share = 0.5
    """State of charge of every battery when the story begins."""
    proven: bool = True
    """The controller starts with boxes it knows to obey; false: as after losing its journal."""
    faults: tuple[Fault, ...] = Field(default=(), alias="fault")

    @property
    def lift(self) -> float:
        """Nominal voltage over that of the supply, as far as cars feel it."""
        return NOMINAL_VOLTAGE_V / self.supply_v if self.voltage == "real" else 1.0

    @property
    def drops(self) -> bool:
        """Whether cars feel how much the site draws."""
        return self.voltage == "real" and (self.transformer is not None or bool(self.cable))

    def complaints(self, site: Site) -> Iterator[str]:
        """One sentence for everything that does not fit the site."""
        connectors = {f"{name}/{connector.number}" for name, _, connector in site.connectors()}
        for place in self.wiring:
            if place not in site.grid and place not in connectors:
                yield f'[conditions.wiring] "{place}" is neither a grid nor a connector like "bay_01/1".'
        for key, names in (("power_factor", self.power_factor), ("cable", self.cable)):
            for name in names:
                if name not in site.grid:
                    yield f'[conditions.{key}] the site has no grid "{name}"; it has {", ".join(site.grid)}.'
        for number, fault in enumerate(self.faults, start=1):
            if complaint := fault.complaint(site):
                yield f"[conditions.fault] number {number} ({fault.kind}): {complaint}"

    def wire(self, site: Site, boards: Table) -> None:
        """Put the curves of the fuses and the power factors of the loads on the boards."""
        for board, (name, grid) in zip(boards, site.grid.items(), strict=True):
            if self.fuses == "curves":
                board["curve"] = CURVES[grid.breaker]
            factor = self.power_factor.get(name, 1.0)
            board["lag_permille"] = round(math.sqrt(1 / factor**2 - 1) * 1000)

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
