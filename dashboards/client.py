"""The HTTP contract as the dashboard uses it: amperes, `None` is unknown and never 0, times ISO in UTC."""

from __future__ import annotations

import os
from typing import Any, Final, Literal, TypedDict, cast

import httpx2

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8080"
ANSWER_S: Final = 3.0

Amps = float | None


class GridPlate(TypedDict):
    """A grid as drawn."""

    name: str
    fed_by: str | None
    depth: int
    fuse_a: list[Amps]
    meter: str
    meter_address: str | None


class ConnectorPlate(TypedDict):
    """An outlet as built."""

    name: str
    label: str
    identity: str
    path: list[str]
    max_a: float
    min_a: float
    phases: int
    phase_order: str
    rotation_confirmed_by: str
    weight_percent: int
    fallback_a: float
    lease_s: int


class DeadController(TypedDict):
    """What happens if the controller dies now."""

    safe: bool
    sentences: list[str]
    accepted: str


class Site(TypedDict):
    """The site as drawn, and the world it stands in."""

    name: str
    timezone: str
    world: Literal["site", "emulated", "simulated"]
    speed: float | None
    scenario: str | None
    grids: list[GridPlate]
    connectors: list[ConnectorPlate]
    if_the_controller_dies: DeadController


class Phase(TypedDict):
    """One phase of a grid now."""

    phase: str
    measured_a: Amps
    limit_a: Amps
    other_a: Amps
    booked_a: Amps


class Note(TypedDict):
    """What a person should know that is no alarm."""

    label: str
    text: str
    more: str


class Grid(TypedDict):
    """A grid now."""

    name: str
    phases: list[Phase]
    meter_age_s: float | None
    meter_lost: bool
    notes: list[Note]


class Connector(TypedDict):
    """A connector now."""

    name: str
    status: str
    online: bool
    plugged: bool
    charging: bool
    gets_a: Amps
    may_draw_a: Amps
    draws_a: Amps
    draws_per_phase_a: list[Amps]
    booked_phases: list[str]
    phases_known: bool
    rotation_hint: str
    reading_age_s: float | None
    stale: bool
    plugged_for_s: float | None
    code: str
    mark: str
    why: str
    sentence: str
    more: str
    notes: list[Note]


class Alarm(TypedDict):
    """What is wrong, since when, and what to do."""

    kind: str
    name: str
    danger: bool
    text: str
    next_step: str
    since: str
    until: str | None


class Device(TypedDict):
    """A battery or an inverter now."""

    kind: Literal["battery", "inverter"]
    name: str
    online: bool
    stale: bool
    takes_kw: float | None
    ordered_kw: float
    charge_percent: float | None
    strategy: str | None
    why: str


class Live(TypedDict):
    """The newest cycle."""

    cycle: int
    at: str | None
    age_s: float | None
    state: Literal["safe", "attention", "danger", "starting", "stalled", "ended"]
    sentence: str
    plugged: int
    charging: int
    grids: list[Grid]
    if_the_controller_dies: DeadController | None
    connectors: list[Connector]
    devices: list[Device]


class GridHistory(TypedDict):
    """The last hour of a grid, a list per phase."""

    at: list[str]
    measured_a: list[list[Amps]]
    booked_a: list[list[Amps]]
    limit_a: list[list[Amps]]


class ConnectorHistory(TypedDict):
    """The last hour of a connector."""

    at: list[str]
    gets_a: list[Amps]
    draws_a: list[Amps]


class ChainLink(TypedDict):
    """One of the limits between a car and the main fuse."""

    what: Literal["car", "order", "outlet", "grid"]
    name: str
    phase: str | None
    limit_a: Amps
    booked_a: Amps
    binding: bool
    note: str


class Charge(TypedDict):
    """One transaction."""

    identity: str
    connector: int
    card: str
    began: str
    ended: str | None
    energy_wh: float | None
    reason: str | None


class Unreachable(Exception):
    """The controller does not answer; the message says what to check."""


class Refused(Exception):
    """The controller answers, but not this; the message is its own sentence."""


class EdgeApi:
    """The controller at one address. Every question raises `Unreachable` or `Refused`, a sentence."""

    def __init__(self, address: str | None = None) -> None:
        self.address = (address or os.environ.get("EDGE_API") or DEFAULT_ADDRESS).rstrip("/")
        self._http = httpx2.Client(base_url=self.address, timeout=ANSWER_S)

    def site(self) -> Site:
        """The site as drawn."""
        return cast("Site", self._ask("/api/v1/site"))

    def live(self) -> Live:
        """The newest cycle."""
        return cast("Live", self._ask("/api/v1/live"))

    def grid_history(self, grid: str) -> GridHistory:
        """The last hour of a grid."""
        return cast("GridHistory", self._ask("/api/v1/history", grid=grid))

    def connector_history(self, connector: str) -> ConnectorHistory:
        """The last hour of a connector."""
        return cast("ConnectorHistory", self._ask("/api/v1/history", connector=connector))

    def chain(self, connector: str) -> list[ChainLink]:
        """The limits from a car to the main fuse."""
        return cast("list[ChainLink]", self._ask("/api/v1/chain", connector=connector)["links"])

    def alarms(self) -> list[Alarm]:
        """Those that stand, then those that went, newest first."""
        return cast("list[Alarm]", self._ask("/api/v1/alarms"))

    def sessions(self) -> list[Charge]:
        """Who charged, newest first."""
        return cast("list[Charge]", self._ask("/api/v1/sessions"))

    def commands(self) -> list[str]:
        """What may be asked for."""
        return cast("list[str]", self._ask("/api/v1/commands"))

    def command(self, name: str) -> str:
        """Do it; its answer is a sentence."""
        return str(self._asked("POST", f"/api/v1/commands/{name}", {})["sentence"])

    def _ask(self, path: str, **query: str) -> Any:
        return self._asked("GET", path, query)

    def _asked(self, method: str, path: str, query: dict[str, str]) -> Any:
        try:
            answer = self._http.request(method, path, params=query)
            said = answer.json()
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            raise Unreachable(
                f"No answer from the controller at {self.address}. Check that it runs there,"
                " that this machine reaches it, and that EDGE_API names its address."
            ) from None
        if answer.is_success or answer.status_code == 503:
            return said
        raise Refused(str(said.get("error", "It gave no reason.")))
