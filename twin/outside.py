"""What is told to a site from outside in the course of a story, and the rows of it in the image.

Each instruction comes, runs out and is taken back at its own instant of the world, so that true and minute
mode look again exactly then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from pydantic import model_validator

from controller.calendar import FAR_MS, DayAhead
from controller.defaults import NEVER
from controller.external import (
    ExternalLimit,
    Instruction,
    Place,
    PlaceKind,
    ProfileSet,
    Stop,
    What,
    instruction_faults,
)
from controller.image import Image
from controller.instructions import Standing, put_orders
from controller.quantities import FrozenTable
from controller.setpoints import Setpoint
from controller.site import Site
from twin.faults import Seconds
from twin.world import World


class Told(FrozenTable):
    """One instruction of a story: when, for what, and one of limit, profile, series or stop."""

    at_s: Seconds
    until_s: Seconds | None = None
    """When it is taken back; left out: it lives as long as it says."""
    name: str = ""
    """One of the same name takes its place."""
    grid: str | None = None
    chargepoint: str | None = None
    connector: str | None = None
    battery: str | None = None
    inverter: str | None = None
    limit: ExternalLimit | None = None
    profile: ProfileSet | None = None
    series: DayAhead | None = None
    stop: Stop | None = None
    setpoint: Setpoint | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Told:
        if len(self._places()) != 1:
            raise ValueError("name one grid, chargepoint, connector, battery or inverter")
        if len(self._says()) != 1:
            raise ValueError("give one limit, profile, series, stop or setpoint")
        if self.until_s is not None and self.until_s <= self.at_s:
            raise ValueError("until_s must be later than at_s")
        return self

    def _places(self) -> list[Place]:
        kinds: list[PlaceKind] = ["grid", "chargepoint", "connector", "battery", "inverter"]
        named = [(kind, getattr(self, kind)) for kind in kinds]
        return [Place(kind, name) for kind, name in named if name is not None]

    def _says(self) -> list[What]:
        says = (self.limit, self.profile, self.series, self.stop, self.setpoint)
        return [what for what in says if what is not None]

    def place(self) -> Place:
        """What it is for."""
        return self._places()[0]

    def what(self) -> What:
        """What it says."""
        return self._says()[0]

    def complaints(self, site: Site) -> Iterator[str]:
        """What does not fit the site, one sentence each."""
        yield from instruction_faults(site, self.place(), self.what())


class Outside:
    """The instructions that stand in a world; it keeps the rows of the image as they are in force."""

    def __init__(self, world: World, image: Image, story: Sequence[Told]) -> None:
        self._world = world
        self._image = image
        self._standing = Standing(world.site, world.topology)
        self._start_utc_ms = round(world.start_utc.timestamp() * 1000)
        self._due_ms = FAR_MS
        self._look()
        for number, told in enumerate(story):
            key = told.name or f"{number:04}"
            world.at(round(told.at_s * 1000), partial(self._tell, key, told))
            if told.until_s is not None:
                world.at(round(told.until_s * 1000), partial(self._withdraw, key))

    def _tell(self, key: str, told: Told) -> None:
        what = told.what()
        until_ms = NEVER
        if isinstance(what, ExternalLimit | Setpoint):
            until_ms = self._world.now_ms + what.ttl_s * 1000
        self._standing.tell(key, Instruction(told.place(), what, until_ms))
        self._look()

    def _withdraw(self, key: str) -> None:
        self._standing.withdraw(key)
        self._look()

    def _look(self) -> None:
        """Fill the rows with what is in force now, and look again when that changes."""
        now_ms = self._world.now_ms
        rows = self._standing.at(now_ms, self._start_utc_ms + now_ms, utc_trusted=True)
        self._image.grids[:] = rows.grids
        for field in rows.caps.dtype.names or ():
            self._image.connectors[field] = rows.caps[field]
        put_orders(self._image, rows)
        if rows.next_ms not in {self._due_ms, FAR_MS}:
            self._due_ms = rows.next_ms
            self._world.at(rows.next_ms, partial(self._look_at, rows.next_ms))

    def _look_at(self, due_ms: int) -> None:
        if due_ms == self._due_ms:  # else something told meanwhile has moved the next change
            self._look()
