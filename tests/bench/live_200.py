"""200 chargepoints with 400 connectors on loopback against `edge run`, at the speed of the wall.

Cars of one phase draw already when `edge` starts, as after a power failure. When all are under control the
building takes 100 A more on L1, then on L2, L3, L1 ..., always on top of what it took before, so that every
step needs its own lowerings; half-way everything is switched off and begins again. Takes a quarter of an
hour; alone: python -m tests.bench.live_200
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomlkit

from controller.site import build
from controller.topology import compile_site
from hardware.clock import Clock
from hardware.registers import Reading
from scenarios.emulate.emulation import Emulation
from tests.bench.figure import Figure, say
from twin.conditions import Conditions
from twin.sessions import Car, Session
from twin.world import World

CHARGEPOINTS, BOARDS = 200, 20
ROUNDS, STEPS, STEP_MA = 2, 51, 100_000
FUSE_MA = 4_330_000  # what all cars draw, and a little more than the margin
FULL_MA = 3_850_000
APART_S = (5.0, 6.0)
"""A third of what a phase needs between two steps: cuts that no reading has confirmed yet mask the next."""
QUIET_S = 60.0
READY_WITHIN_S = 120.0
PROVEN_S, FULL_WITHIN_S = 20.0, 400.0
ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")


class Lowering(NamedTuple):
    """A limit that came down at a box: when (seconds of the loop) and by how much."""

    at_s: float
    by_ma: int


class Step(NamedTuple):
    """One more load, from the instant of the physical step."""

    at_s: float
    seen_s: float
    """When a poll first took the higher reading off the guard meter; NaN: none did."""
    covered_s: float
    """When the lowerings that had arrived at the boxes were worth the overload; NaN: they never were."""


def car_park(ocpp: int, api: int, meter: int) -> dict[str, Any]:
    """Tables of the site: the connection with its guard, boards with ten chargepoints of two outlets each."""
    grid: dict[str, Any] = {
        "main": {"id": 0, "max_current_a": FUSE_MA // 1000, "margin_a": 20, "worst_load_a": 500},
    }
    for board in range(BOARDS - 1):
        grid[f"board_{board:02}"] = {
            "id": 1 + board,
            "fed_by": "main",
            "max_current_a": 400,
            "chargepoints_only": True,
        }
    link = {"kind": "modbus-tcp", "map": "eastron_sdm630", "host": "127.0.0.1", "port": meter, "poll_ms": 250}
    return {
        "name": "Car park of 400",
        "timezone": "Europe/Amsterdam",
        "accept_unsafe_fallback": "a bench, nobody's house",
        "box": {
            "ocpp": {"host": "127.0.0.1", "port": ocpp},
            "api": {"host": "127.0.0.1", "port": api},
        },
        "grid": grid,
        "meter": {"main": {"grid": "main", "role": "guard", "link": link}},
        "chargepoint": {
            f"bay_{n:03}": {
                "identity": f"BAY-{n:03}",
                "fed_by": f"board_{n % (BOARDS - 1):02}",
                "connector": [
                    {
                        "number": place,
                        "max_current_a": 32,
                        "phases": 1,
                        "rotation": ROTATIONS[(2 * n + place - 1) % 3],
                        "rotation_confirmed_by": "bench",
                    }
                    for place in (1, 2)
                ],
            }
            for n in range(CHARGEPOINTS)
        },
    }


class Watched(World):
    """A world that notes when limits arrive at its boxes."""

    def watch_limits(self) -> None:
        """From now on."""
        self.first_s: dict[int, float] = {}
        self.lowerings: list[Lowering] = []

    def set_pilot(self, connector: int, limit_ma: int, *more: Any, **named: Any) -> None:
        """As in every world."""
        by_ma = int(self.outlets[connector]["claimed_ma"]) - limit_ma
        super().set_pilot(connector, limit_ma, *more, **named)
        if hasattr(self, "lowerings"):
            now_s = asyncio.get_running_loop().time()
            self.first_s.setdefault(connector, now_s)
            if by_ma > 0:
                self.lowerings.append(Lowering(now_s, by_ma))


class Bench:
    """The emulator in this process and `edge` in another."""

    def __init__(self, folder: Path) -> None:
        ocpp, self.api, meter = _free_ports(3)
        site_file = folder / "site.toml"
        self.edge_log = folder / "edge.log"
        self.edge_command = [sys.executable, "-m", "hardware", "run", str(site_file)]
        self._store = folder / "store"
        tables = car_park(ocpp, self.api, meter)
        site_file.write_text(tomlkit.dumps(tables), "utf-8")
        site = build(tables, "bench")
        topology = compile_site(site)
        conditions = Conditions.model_validate(
            {"meters": {"delay_s": 0, "poll_s": 0.1, "noise_a": 0.2}, "links": {"latency_s": 0}}
        )
        self.world = Watched(
            site, topology, conditions, _cars(len(topology.connectors)), 1, datetime.now(UTC)
        )
        self.emulation = Emulation(self.world, f"ws://127.0.0.1:{ocpp}/")
        self._polled: list[tuple[float, tuple[int, int, int]]] = []
        self._listen_to_polls()

    def _listen_to_polls(self) -> None:
        displays = self.emulation._displays
        look = displays.look

        def noted(meter: int) -> tuple[Reading, int] | None:
            seen = look(meter)
            if seen:
                self._polled.append((asyncio.get_running_loop().time(), seen[0].current_ma))
            return seen

        displays.look = noted  # type: ignore[method-assign]

    def compile_kernels(self) -> None:
        """Once, as a box does on its very first start."""
        code = (
            "import sys; from pathlib import Path; from hardware.kernels import compile_once, keep_in;"
            "sys.exit(keep_in(Path(sys.argv[1])) or compile_once(print))"
        )
        subprocess.run([sys.executable, "-c", code, str(self._store)], check=True)

    @contextmanager
    def edge(self) -> Iterator[subprocess.Popen[bytes]]:
        """`edge run`, ended at the end."""
        log = self.edge_log.open("wb")
        process = subprocess.Popen(self.edge_command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
            log.close()

    async def measure(self) -> dict[str, Figure]:
        """All figures."""
        loop = asyncio.get_running_loop()
        await self.emulation.open()
        running = asyncio.create_task(self.emulation.run(Clock(loop.time)))
        await asyncio.sleep(20)  # every car has come and draws what its box gives
        self.world.watch_limits()
        try:
            with self.edge() as process:
                began_s = loop.time()
                ready_s = await self._ready() - began_s
                say(f"ready after {ready_s:.1f} s")
                await self._full()
                quiet = await self._load_of(process, QUIET_S)
                steps = await self._steps()
                say(f"{len(steps)} steps")
                for _ in range(ROUNDS - 1):
                    self.world.boards[0]["own_ma"] = 0
                    self.world.touch()
                    await self._full()
                    steps += await self._steps()
                rss_mb = max(quiet.rss_mb, _rss_mb(process.pid))
                lasted_s = loop.time() - began_s
        finally:
            running.cancel()
            await self.emulation.close()
        journal_mb = (self._store / "journal.db").stat().st_size / 1e6
        return _figures(ready_s, quiet.cpu_share, rss_mb, journal_mb * 86_400 / lasted_s, steps)

    async def _ready(self) -> float:
        """When the last connector had taken its first limit."""
        count = len(self.world.outlets)
        async with asyncio.timeout(READY_WITHIN_S):
            while len(self.world.first_s) < count:  # noqa: ASYNC110 - the world is not asyncio's
                await asyncio.sleep(0.05)
        return max(self.world.first_s.values())

    async def _full(self) -> None:
        """Until every phase is about as full as it gets."""
        await asyncio.sleep(PROVEN_S)
        async with asyncio.timeout(FULL_WITHIN_S):
            while self.world.boards[0]["current_ma"].min() < FULL_MA:  # noqa: ASYNC110
                await asyncio.sleep(1)

    async def _load_of(self, process: subprocess.Popen[bytes], seconds: float) -> Load:
        before, began_s = _cpu_s(process.pid), time.monotonic()
        await asyncio.sleep(seconds)
        spent_s = _cpu_s(process.pid) - before
        return Load(spent_s / (time.monotonic() - began_s), _rss_mb(process.pid))

    async def _steps(self) -> list[Step]:
        """One round, phase after phase; a step that overloads nothing does not count."""
        steps: list[Step] = []
        phase = 0
        while len(steps) < STEPS:
            step = await self._step(phase)
            phase = (phase + 1) % 3
            if step is not None:
                steps.append(step)
        return steps

    async def _step(self, phase: int) -> Step | None:
        """100 A more on one phase; None: it bears them."""
        loop = asyncio.get_running_loop()
        self._polled.clear()
        self.world.lowerings.clear()
        before_ma = int(self.world.boards[0]["current_ma"][phase])
        overload_ma = self._ordered_ma(phase) + STEP_MA - FUSE_MA
        at_s = loop.time()
        self.world.boards[0]["own_ma"][phase] += STEP_MA
        self.world.touch()
        await asyncio.sleep(_dice.uniform(*APART_S))
        high_ma = before_ma + STEP_MA * 0.8
        seen_s = next((s for s, currents in self._polled if currents[phase] > high_ma), float("nan"))
        covered_s, left_ma = float("nan"), overload_ma
        for lowering in self.world.lowerings:
            left_ma -= lowering.by_ma
            if left_ma <= 0:
                covered_s = lowering.at_s
                break
        return Step(at_s, seen_s, covered_s) if overload_ma > 0 else None

    def _ordered_ma(self, phase: int) -> int:
        """What flows on a phase once every box has carried out what it has been told."""
        world = self.world
        mine = world.built.connectors["phase"][:, 0] == phase
        drawn = np.minimum(world.outlets["draw_ma"][mine, 0], world.outlets["claimed_ma"][mine])
        return int(world.boards[0]["own_ma"][phase] + drawn.sum())


class Load(NamedTuple):
    """What a process takes: share of one core, resident memory."""

    cpu_share: float
    rss_mb: float


_dice = random.Random("bench/live_200")


def _cars(count: int) -> list[Session]:
    """A car of 32 A on every outlet, for hours."""
    car = Car(phases=1, max_ma=32_000)
    stay = (1_000, 86_400_000)
    return [Session(f"car {c}", c, *stay, 1e6, car, card_after_ms=10 * c) for c in range(count)]


def _figures(
    ready_s: float, cpu_share: float, rss_mb: float, journal_mb: float, steps: list[Step]
) -> dict[str, Figure]:
    from_reading = np.array([step.covered_s - step.seen_s for step in steps])
    from_step = np.array([step.covered_s - step.at_s for step in steps])
    missed = int(np.isnan(from_step).sum())
    what = (
        f"{len(steps)} steps of +100 A, until lowerings worth the overload were at the boxes ({missed} never)"
    )
    p99 = 99.0
    return {
        "live_200_ready_s": Figure(
            ready_s, "s", "start of edge to the first limit at the last of 400 connectors"
        ),
        "live_200_reading_to_wire_p99_s": Figure(
            _worst(from_reading, p99), "s", f"p99 from the poll that read it; {what}"
        ),
        "live_200_step_to_wire_p99_s": Figure(
            _worst(from_step, p99), "s", f"p99 from the physical step; {what}"
        ),
        "live_200_cpu_share": Figure(cpu_share * 100, "% of a core", f"edge, {QUIET_S:g} s without steps"),
        "live_200_rss_mb": Figure(rss_mb, "MB", "edge, resident, at the end"),
        "journal_mb_per_day": Figure(journal_mb, "MB", "journal.db over the whole run, scaled to a day"),
    }


def _worst(values: Any, percent: float) -> float:
    """A percentile in which a step that was never covered counts as endless."""
    return float(np.percentile(np.nan_to_num(values, nan=1e9), percent))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return ports


def measure() -> dict[str, Figure]:
    """Name -> value, unit, how measured."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        bench = Bench(Path(folder))
        bench.compile_kernels()
        return asyncio.run(bench.measure())


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:<34}{figure.value:>12.3f} {figure.unit:<12} {figure.how}")
