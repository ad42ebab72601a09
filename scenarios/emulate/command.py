"""`edge-twin emulate`: a scenario on loopback sockets, for a controller that is started by somebody else."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from controller.site import SiteError
from hardware.clock import Clock, run
from hardware.links import read_links
from scenarios.emulate.emulation import Emulation
from scenarios.emulate.passes import read_passes
from scenarios.scenario import Story, load, prepare
from twin.world import World

FASTEST = 200.0
LOOK_S = 2.0


def main(
    scenario: Path, ocpp_url: str, speed: float = 1.0, seconds: float | None = None, tls_url: str = ""
) -> int:
    """Emulate until the story, `seconds` of the wall or the user's patience ends. Raises SiteError."""
    if not ocpp_url.startswith(("ws://", "wss://")):
        raise SiteError([f'--ocpp "{ocpp_url}": give the address of a central system, like ws://host:9000.'])
    if tls_url and not tls_url.startswith("wss://"):
        raise SiteError([f'--ocpp-tls "{tls_url}": give an address like wss://host:9443.'])
    if not 0.1 <= speed <= FASTEST:
        raise SiteError([f"--speed {speed:g}: a clock runs here at 0.1 to {FASTEST:g} times the real speed."])
    tables = load(scenario)
    story = prepare(tables)
    read_links(story.site, str(scenario))
    passes = read_passes(tables.security, story.site, scenario.parent, str(scenario))
    tls_url = tls_url or (ocpp_url if ocpp_url.startswith("wss://") else "")
    if not tls_url and any(shown.profile >= 2 for shown in passes.values()):
        raise SiteError(["--ocpp-tls is missing: security profiles 2 and 3 dial wss://HOST:PORT."])
    emulation = Emulation(world_of(story), ocpp_url, passes=passes, tls_url=tls_url)
    said = f"{_counted(len(emulation.wires), 'chargepoint')} and {_counted(len(story.site.meter), 'meter')}"
    sys.stderr.write(
        f"Emulating {said} of {story.name}, {speed:g} times as fast as real time. Ctrl-C ends.\n"
    )
    limit_s = min(story.length_ms / 1000, float("inf") if seconds is None else seconds * speed)
    run(_play(emulation, ocpp_url, limit_s), speed)
    served_wh = float(emulation.world.outlets["energy_wh"].sum())
    sys.stderr.write(
        f"Ended after {_clock(emulation.world.now_ms)} of site time: {served_wh / 1000:.1f} kWh.\n"
    )
    return 0


def world_of(story: Story) -> World:
    """The world of a prepared story, at its first instant."""
    return World(
        story.site,
        story.topology,
        story.conditions,
        story.sessions,
        story.seed,
        story.start_utc,
        story.loads,
        story.length_ms,
    )


async def _play(emulation: Emulation, url: str, limit_s: float) -> None:
    """Run for `limit_s` of site time or to SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        await emulation.open()
    except OSError as error:
        raise SiteError([f"a meter cannot listen: {error.strerror}; is another emulator running?"]) from None
    for bus in emulation.buses:
        numbers = ", ".join(map(str, sorted(bus.devices)))
        like = bus.like
        sys.stderr.write(
            f"Serial bus {like.serial_port} is {bus.name}, {like.settings}, devices {numbers}.\n"
        )
    running = asyncio.create_task(emulation.run(Clock(loop.time)))
    waits = [running, asyncio.create_task(ended.wait()), asyncio.create_task(_tell_links(emulation, url))]
    try:
        done, _ = await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a fault of the program is not to be hidden
    finally:
        for task in waits:
            task.cancel()
        await emulation.close()


async def _tell_links(emulation: Emulation, url: str) -> None:
    """Say how many chargepoints are connected, and why none is."""
    told = ""
    while True:
        await asyncio.sleep(LOOK_S)
        wires = emulation.wires
        connected = sum(wire.connected for wire in wires)
        refused = next(
            (f"{wire.box.nameplate.identity}: {wire.refused}" for wire in wires if wire.refused), ""
        )
        say = f"{connected} of {len(wires)} chargepoints are connected to {url}"
        say += f" ({refused})" if refused else ""
        if say != told:
            told = say
            sys.stderr.write(f"{say}.\n")


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _clock(now_ms: int) -> str:
    minutes, seconds = divmod(now_ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
