"""`edge-twin serve`: a scenario in simulated time behind the same HTTP contract as a site.

The run goes on in a thread of its own, paced or as fast as it goes; when it is over its last cycle stays to
be looked at, and it can be started again from the dashboard or by `POST /api/v1/commands/restart`.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import uvicorn

from controller.cycle import calculate
from controller.decision import first_memory
from controller.site import SiteError
from hardware.api import create_app
from hardware.liveview import LiveView
from scenarios.planning import Beside
from scenarios.scenario import Story, load, prepare
from twin.instruments import SimulatedPlant
from twin.pace import Pace
from twin.world import Stay, World

NAP_S: Final = 0.2
"""Longest sleep, so that a stop or a restart is heard."""


class Stage:
    """A story that is played for onlookers: `view` shows it, `restart` begins it again, `close` ends it."""

    def __init__(self, story: Story, speed: float | None) -> None:
        self.view = LiveView(story.site, story.topology, world="simulated", speed=speed, scenario=story.name)
        self._story = story
        self._speed = speed
        self._world: World | None = None
        self._again = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._perform, name="twin", daemon=True)

    def open(self) -> None:
        """Begin to play."""
        self._thread.start()

    def close(self) -> None:
        """Stop playing."""
        self._closed.set()
        self._again.set()
        self._thread.join()

    def restart(self) -> str:
        """Begin again, with the same seed."""
        self._again.set()
        return f"{self._story.name} begins again."

    def sessions(self, limit: int = 100) -> list[Mapping[str, Any]]:
        """What came of the cars so far, newest first, in the columns of the ledger."""
        world = self._world
        if world is None:
            return []
        came = [stay for stay in list(world.stays) if stay.came]
        came.sort(key=lambda stay: -stay.session.plug_in_ms)
        return [self._row(world, stay) for stay in came[:limit]]

    def _row(self, world: World, stay: Stay) -> Mapping[str, Any]:
        story, session = self._story, stay.session
        name, _, number = story.topology.connector_names[session.connector].rpartition("/")
        so_far_wh = float(world.outlets[session.connector]["energy_wh"]) - stay.began_wh
        began = story.start_utc + timedelta(milliseconds=session.plug_in_ms)
        ended = story.start_utc + timedelta(milliseconds=session.plug_out_ms)
        return {
            "identity": story.site.chargepoint[name].identity,
            "connector": int(number),
            "tag": session.card,
            "started_utc": began,
            "ended_utc": ended if stay.over else None,
            "meter_start_wh": 0,
            "energy_wh": stay.delivered_wh if stay.over else so_far_wh,
            "meter_stop_wh": None,
            "reason": "EVDisconnected" if stay.over else None,
        }

    def _perform(self) -> None:
        while not self._closed.is_set():
            self._again.clear()
            self.view.restart()
            self._play()
            self.view.end()
            self._again.wait()

    def _play(self) -> None:
        story = self._story
        world = World(
            story.site,
            story.topology,
            story.conditions,
            story.sessions,
            story.seed,
            story.start_utc,
            story.loads,
            story.length_ms,
        )
        self._world = world
        plant = SimulatedPlant(world, instant=story.mode == "minute", told=story.told)
        pace = Pace(plant, story.cycle_ms, story.length_ms)
        memory = first_memory(story.topology, proven=story.conditions.proven)
        began_s = time.monotonic()
        beside = Beside(story, world)
        while not self._again.is_set():
            seen = plant.measure()
            image = beside.enter(seen, memory)
            decision, memory = calculate(story.topology, image, memory)
            beside.note(image, decision)
            plant.distribute(decision)
            self.view.update(image, decision, memory, int(image.clock[0]["utc_ms"]))
            if self._speed is None:
                if not pace.next_cycle(seen, decision):
                    return
            elif not self._paced(plant, pace.cycle_ms, began_s):
                return

    def _paced(self, plant: SimulatedPlant, cycle_ms: int, began_s: float) -> bool:
        """The next cycle at its time on the wall, without jumps, which an onlooker would take for a halt."""
        now_ms = plant.world.now_ms
        if now_ms >= self._story.length_ms:
            return False
        plant.advance(min(now_ms + cycle_ms, self._story.length_ms))
        due_s = began_s + plant.world.now_ms / 1000 / (self._speed or 1.0)
        while (wait_s := due_s - time.monotonic()) > 0 and not self._again.is_set():
            time.sleep(min(wait_s, NAP_S))
        return True


def main(scenario: Path, port: int = 8080, speed: float | None = 60.0, host: str = "127.0.0.1") -> int:
    """Serve a scenario until Ctrl-C; `speed` None is as fast as it goes. Raises SiteError."""
    if speed is not None and not 0.1 <= speed <= 100_000:
        raise SiteError([f"--speed {speed:g}: give 0.1 to 100000, or 0 for as fast as it goes."])
    stage = Stage(prepare(load(scenario)), speed)
    app = create_app(stage.view, {"restart": stage.restart}, sessions=stage.sessions)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with _listening(host, port) as bound:
        address = "http://{}:{}".format(*bound.getsockname())
        sys.stderr.write(f"{scenario} plays at {address}/docs; for its pages: EDGE_API={address}")
        sys.stderr.write(" python -m dashboards. Ctrl-C ends.\n")
        stage.open()
        try:
            server.run([bound])
        finally:
            stage.close()
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SiteError(
            [f"--port {port}: {host}:{port} cannot be listened on ({error.strerror}); name another port."]
        ) from None
