"""The controller as others may see it: the newest cycle, the last hour and the alarms, as the HTTP contract.

`update` is called after every cycle and keeps references only; sentences and models are made when somebody
asks, at most once per cycle, in the asking thread. So no viewer slows the loop.
"""

from __future__ import annotations

import importlib.metadata
import time
from difflib import get_close_matches
from threading import Lock
from typing import Final, Literal, NamedTuple

from controller import explain
from controller.decision import Decision, Memory
from controller.defaults import NEVER, UNKNOWN
from controller.electrical import PHASES
from controller.explain import Scene
from controller.image import Image
from controller.outage import fallback_faults
from controller.site import Site
from controller.topology import CONSUMER, GUARD, Topology
from hardware import contract, snapshot
from hardware.recent import AlarmLog, LastHour

STALLED_S: Final = 10.0
"""No cycle for this long, by the wall: the loop hangs."""

_METERS: Final[dict[int, Literal["guard", "consumer"]]] = {GUARD: "guard", CONSUMER: "consumer"}


class _Cycle(NamedTuple):
    scene: Scene
    utc_ms: int
    number: int
    wall_s: float


class LiveView:
    """What a controller shows of itself, on a site or in a world that only looks like one.

    Safe to read from threads. The tables given to `update` must not be written afterwards.
    """

    def __init__(
        self,
        site: Site,
        topology: Topology,
        *,
        world: contract.World = "site",
        speed: float | None = 1.0,
        scenario: str | None = None,
    ) -> None:
        self._site = site
        self._topology = topology
        self._world: contract.World = world
        self._speed = speed
        self._scenario = scenario
        self._addresses = {
            name: str(meter.link["host"]) for name, meter in site.meter.items() if "host" in meter.link
        }
        self._lock = Lock()
        self._latest: _Cycle | None = None
        self._made: tuple[int, contract.Live] | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was shown: another run begins."""
        with self._lock:
            self._hour = LastHour(len(self._topology.grids), len(self._topology.connectors))
            self._alarms = AlarmLog()
            self._latest = self._made = None
            self._ended = False

    def end(self) -> None:
        """The run is over; its last cycle stays to be looked at."""
        self._ended = True

    def update(self, image: Image, decision: Decision, memory: Memory, utc_ms: int) -> None:
        """Take the newest cycle."""
        scene = Scene(self._site, self._topology, image, decision, memory, self._addresses)
        rows = memory.connectors
        draws_ma = rows["reading_ma"].max(axis=1)
        draws_ma[rows["reading_at_ms"] == NEVER] = UNKNOWN
        draws_ma[rows["event_at_ms"] > rows["reading_at_ms"]] = 0
        with self._lock:
            before = self._latest
            self._hour.add(utc_ms, decision, draws_ma)
            self._alarms.note(scene, before.scene if before else None, utc_ms)
            number = before.number + 1 if before else 1
            self._latest = _Cycle(scene, utc_ms, number, time.monotonic())

    def newest(self) -> tuple[Scene, int, float] | None:
        """The newest cycle, its number, and its age in s by the wall."""
        with self._lock:
            cycle = self._latest
        return None if cycle is None else (cycle.scene, cycle.number, time.monotonic() - cycle.wall_s)

    def plate(self) -> contract.SitePlate:
        """The site as drawn."""
        faults = list(fallback_faults(self._site.model_copy(update={"accept_unsafe_fallback": ""})))
        return contract.SitePlate(
            name=self._site.name,
            timezone=self._site.timezone,
            world=self._world,
            speed=self._speed,
            scenario=self._scenario,
            version=importlib.metadata.version("edge-twin"),
            grids=sorted((self._grid_plate(name) for name in self._site.grid), key=lambda grid: grid.depth),
            connectors=[self._connector_plate(row) for row in range(len(self._topology.connectors))],
            if_the_controller_dies=contract.DeadController(
                safe=not faults, sentences=faults, accepted=self._site.accept_unsafe_fallback
            ),
        )

    def _grid_plate(self, name: str) -> contract.GridPlate:
        row = self._topology.grids[self._topology.grid_names.index(name)]
        meter = next((meter for meter in self._site.meter if self._site.meter[meter].grid == name), "")
        return contract.GridPlate(
            name=name,
            fed_by=self._site.grid[name].fed_by,
            depth=len(self._site.path(name)) - 1,
            fuse_a=snapshot.series(row["limit_ma"]),
            margin_a=snapshot.series(row["margin_ma"]),
            rotation=" ".join(PHASES[phase] for phase in self._site.rotation(name)),
            meter=_METERS.get(int(row["kind"]), "none"),
            meter_address=self._addresses.get(meter),
        )

    def _connector_plate(self, row: int) -> contract.ConnectorPlate:
        name = self._topology.connector_names[row]
        chargepoint, _, number = name.rpartition("/")
        box = self._site.chargepoint[chargepoint]
        outlet = next(outlet for outlet in box.connector if outlet.number == int(number))
        return contract.ConnectorPlate(
            name=name,
            label=explain.connector_name(self._topology, row),
            chargepoint=chargepoint,
            identity=box.identity,
            path=list(self._site.path(box.fed_by)),
            max_a=outlet.max_current_a,
            min_a=outlet.min_current_a,
            phases=outlet.phases,
            phase_order=" ".join(PHASES[phase] for phase in self._topology.connectors[row]["phase"]),
            rotation_confirmed_by=outlet.rotation_confirmed_by,
            weight_percent=outlet.weight_percent,
            fallback_a=box.fallback_a,
            lease_s=box.lease_s,
        )

    def snapshot(self) -> contract.Live:
        """The newest cycle; made once and shared by all who ask during it."""
        with self._lock:
            cycle = self._latest
            records = self._alarms.records()
            made = self._made
        if cycle is None:
            return contract.Live(
                cycle=0,
                at=None,
                age_s=None,
                state="starting",
                sentence="Starting: nothing has been measured yet.",
                plugged=0,
                charging=0,
                if_the_controller_dies=None,
                grids=[],
                connectors=[],
                devices=[],
                alarms=[],
            )
        if made is None or made[0] != cycle.number:
            made = (cycle.number, snapshot.live(cycle.scene, cycle.number, cycle.utc_ms, records))
            with self._lock:
                self._made = made
        age_s = time.monotonic() - cycle.wall_s
        if self._ended:
            over = {"state": "ended", "sentence": f"The run is over. {made[1].sentence}"}
        elif age_s > STALLED_S:
            sentence = (
                f"The controller has not calculated for {age_s:.0f}{explain.THIN}s; all below is that old."
                " Chargepoints with a lease fall back by themselves. Look at its log, then start it again."
            )
            over = {"state": "stalled", "sentence": sentence}
        else:
            over = {}
        return made[1].model_copy(update={"age_s": round(age_s, 3), **over})

    def alarms(self) -> list[contract.AlarmLive]:
        """Those that stand, then those that went, newest first."""
        with self._lock:
            cycle, records = self._latest, self._alarms.records()
        return [snapshot.alarm(cycle.scene, record) for record in records] if cycle else []

    def history(self, grid: str) -> contract.GridHistory:
        """The last hour of a grid. Raises KeyError, a sentence, for a name that is not drawn."""
        row = _row("grid", grid, self._topology.grid_names)
        with self._lock:
            at_ms, kept = self._hour.of_grid(row)
        lines = {name: [snapshot.series(phase) for phase in kept_ma.T] for name, kept_ma in kept.items()}
        return contract.GridHistory(
            name=grid,
            at=snapshot.moments(at_ms),
            measured_a=lines["measured_ma"],
            booked_a=lines["booked_ma"],
            other_a=lines["other_ma"],
            limit_a=lines["limit_ma"],
        )

    def connector_history(self, connector: str) -> contract.ConnectorHistory:
        """The last hour of a connector. Raises KeyError, a sentence, for a name that is not drawn."""
        row = _row("connector", connector, self._topology.connector_names)
        with self._lock:
            at_ms, kept = self._hour.of_connector(row)
        return contract.ConnectorHistory(
            name=connector,
            at=snapshot.moments(at_ms),
            gets_a=snapshot.series(kept["gets_ma"]),
            draws_a=snapshot.series(kept["draws_ma"]),
        )

    def chain(self, connector: str) -> contract.Chain:
        """The limits from a car to the main fuse. Raises KeyError for a name that is not drawn."""
        row = _row("connector", connector, self._topology.connector_names)
        cycle = self._latest
        return contract.Chain(
            connector=connector,
            links=snapshot.chain(cycle.scene, row) if cycle else [],
        )

    def health(self) -> contract.Health:
        """Whether cycles come."""
        live = self.snapshot()
        return contract.Health(
            ok=live.state not in ("starting", "stalled"),
            sentence=live.sentence,
            cycle=live.cycle,
            age_s=live.age_s,
            alarms=len(live.alarms),
            version=importlib.metadata.version("edge-twin"),
        )


def _row(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name in names:
        return names.index(name)
    close = [one for one in names if one.startswith(f"{name}/")] or get_close_matches(name, names, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"the site has {', '.join(names[:5])} ..."
    raise KeyError(f'There is no {kind} "{name}"; {hint}')
