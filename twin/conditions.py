"""What happens to a site: its delays, how it is really wired, and what goes wrong when.

Times count from the start of the scenario, in seconds or as "hours:minutes[:seconds]".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from controller.quantities import FrozenTable
from controller.site import RotationText, Site
from twin.faults import Fault, Share


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


class Pauses(FrozenTable):
    """A share of the cars stops `for_s` every `every_s`, and their boxes do not report it."""

    share: Share = 0.3
    every_s: Annotated[float, Field(gt=0)] = 400.0
    for_s: Annotated[float, Field(gt=0)] = 25.0
    reported: bool = False


class Conditions(FrozenTable):
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
