"""`edge-twin demo`: a busy site, live.

The emulator runs in this process; `edge run` and the dashboard are processes of their own, on free ports.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from controller.site import Site, SiteError
from hardware.clock import Clock, run
from scenarios.emulate.command import FASTEST, world_of
from scenarios.emulate.emulation import Emulation
from scenarios.scenario import Story, load, prepare
from twin.world import World

STORY = Path(__file__).parent / "library" / "demo.toml"
SPEED = 20.0
READY_S = 90.0
"""Compiling the kernels on a first start takes most of it."""
END_S = 10.0
LOOK_S = 0.25
LAST_LINES = 12


class ChildEnded(Exception):
    """A process of the demo has ended by itself; the sentence says which and shows its last words."""


@dataclass(frozen=True)
class Ports:
    """Free ports of this machine."""

    ocpp: int
    api: int
    dashboard: int
    meters: dict[str, int]


class Child:
    """A process of the demo, in a session of its own so that Ctrl-C reaches only its parent."""

    def __init__(self, name: str, command: list[str], folder: Path, **environment: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises ChildEnded when it does not run any more."""
        code = self._process.poll()
        if code is not None:
            words = self._log.read_text("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
            said = "\n".join(f"  {line}" for line in words) or "  (nothing)"
            raise ChildEnded(f"The {self.name} has ended with exit code {code}. Its last words:\n{said}")

    def end(self) -> None:
        """Ask it to end; insist after a while."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Tally:
    """What the true site goes through: peaks and ampere seconds over the limits, per grid and phase."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.limit_ma = world.built.grids["limit_ma"]
        self.peak_ma = np.zeros_like(self.limit_ma)
        self.over_as = np.zeros(self.limit_ma.shape)
        world.watch = self._count

    def _count(self, span_ms: int) -> None:
        current = self._world.boards["current_ma"]
        np.maximum(self.peak_ma, current, out=self.peak_ma)
        self.over_as += np.maximum(current - self.limit_ma, 0) * (span_ms / 1e6)


def main(seconds: float | None = None, speed: float = SPEED, scenario: Path = STORY) -> int:
    """Show the demo for `seconds` of the wall, to the end of its story or until Ctrl-C. Raises SiteError."""
    if not 0.1 <= speed <= FASTEST:
        raise SiteError([f"--speed {speed:g}: a clock runs here at 0.1 to {FASTEST:g} times the real speed."])
    story = prepare(load(scenario))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="edge-demo-") as folder:
        try:
            return _show(story, Path(folder), seconds, speed)
        except ChildEnded as ended:
            sys.stderr.write(f"{ended}\n")
            return 1


def _show(story: Story, folder: Path, seconds: float | None, speed: float) -> int:
    ports = _free_ports(story.site)
    story = _moved(story, ports)
    site_file = folder / "site.toml"
    site_file.write_text(_site_text(story.site), "utf-8")
    world = world_of(story)
    tally = Tally(world)
    emulation = Emulation(world, f"ws://127.0.0.1:{ports.ocpp}")
    ends_at = None if seconds is None else time.monotonic() + seconds
    _say(f"{story.name}: {len(emulation.wires)} chargepoints, {speed:g} times as fast as real time.")
    with _children(folder, site_file, ports, speed) as children:
        try:
            _wait_for("controller", ports.ocpp, children)
            run(_play(emulation, children, ports, story.length_ms, ends_at, LOOK_S * speed), speed)
        except KeyboardInterrupt:
            _say("")
    _say(_summary(story, emulation, tally))
    return 0


@contextmanager
def _children(folder: Path, site_file: Path, ports: Ports, speed: float) -> Iterator[list[Child]]:
    children: list[Child] = []
    try:
        edge = ["-m", "hardware", "run", str(site_file), "--speed", f"{speed:g}"]
        children.append(Child("controller", edge, folder))
        page = ["-m", "dashboards", "--port", str(ports.dashboard)]
        children.append(Child("dashboard", page, folder, EDGE_API=f"http://127.0.0.1:{ports.api}"))
        yield children
    finally:
        for child in reversed(children):
            child.end()


def _wait_for(name: str, port: int, children: list[Child]) -> None:
    """Wait until somebody listens on a port."""
    give_up_at = time.monotonic() + READY_S
    while not _listens(port):
        for child in children:
            child.check()
        if time.monotonic() > give_up_at:
            raise ChildEnded(f"The {name} does not listen on port {port} after {READY_S:g} s.")
        time.sleep(0.1)


async def _play(
    emulation: Emulation,
    children: list[Child],
    ports: Ports,
    length_ms: int,
    ends_at: float | None,
    look_s: float,
) -> None:
    """Let the world run and watch over the processes every `look_s` of site time, until it is over."""
    await emulation.open()
    running = asyncio.create_task(emulation.run(Clock(asyncio.get_running_loop().time)))
    announced = False
    try:
        while emulation.world.now_ms < length_ms and (ends_at is None or time.monotonic() < ends_at):
            for child in children:
                child.check()
            if running.done():
                running.result()
            if not announced and await asyncio.to_thread(_serves, ports.dashboard):
                announced = True
                _say(f"Open http://127.0.0.1:{ports.dashboard} in a browser. Ctrl-C ends.")
            await asyncio.sleep(look_s)
    finally:
        running.cancel()
        await emulation.close()


# -- where things are ----------------------------------------------------------------------------------


def _free_ports(site: Site) -> Ports:
    sockets = [socket.socket() for _ in range(3 + len(site.meter))]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ocpp, api, dashboard, *meters = (int(one.getsockname()[1]) for one in sockets)
    finally:
        for one in sockets:
            one.close()
    return Ports(ocpp, api, dashboard, dict(zip(site.meter, meters, strict=True)))


def _box(ports: Ports) -> dict[str, Any]:
    return {
        "ocpp": {"host": "127.0.0.1", "port": ports.ocpp},
        "api": {"host": "127.0.0.1", "port": ports.api},
        "unknown_cards": "accept",
    }


def _moved(story: Story, ports: Ports) -> Story:
    """The story with its meters on free ports of this machine."""
    meters = {
        name: meter.model_copy(
            update={"link": meter.link | {"host": "127.0.0.1", "port": ports.meters[name]}}
        )
        for name, meter in story.site.meter.items()
    }
    return replace(story, site=story.site.model_copy(update={"meter": meters, "box": _box(ports)}))


def _site_text(site: Site) -> str:
    """A site file for `edge`, on loopback only."""
    return tomlkit.dumps(site.model_dump(mode="json", exclude_defaults=True))


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def _serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# -- what is said --------------------------------------------------------------------------------------


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _summary(story: Story, emulation: Emulation, tally: Tally) -> str:
    world = emulation.world
    came = [stay for stay in world.stays if stay.came]
    served_kwh = float(world.outlets["energy_wh"].sum()) / 1000
    writes = sum(wire.box.writes for wire in emulation.wires)
    lines = [
        (
            f"{world.now_ms / 60_000:.0f} minutes of site time: {served_kwh:.1f} kWh into {len(came)} cars,"
            f" {sum(stay.over for stay in came)} of which have left; {writes} limits written."
        ),
        f"{'peak A (limit)':<16}{'L1':>14}{'L2':>14}{'L3':>14}{'over A s':>12}",
    ]
    for grid, name in enumerate(story.topology.grid_names):
        peaks = "".join(
            f"{peak / 1000:>7.1f} ({limit / 1000:g})".rjust(14)
            for peak, limit in zip(tally.peak_ma[grid], tally.limit_ma[grid], strict=True)
        )
        lines.append(f"{name:<16}{peaks}{tally.over_as[grid].sum():>12.1f}")
    return "\n".join(lines)
