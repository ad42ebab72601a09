"""`edge run` killed in mid-write with 400 transactions, until it is back.

Every time the building takes 100 A more, and while the orders that this needs are being written and sent, the
process gets kill -9 and is started again. Back means: it listens, knows every transaction that ran, has had
its first cycle and put its first order on a wire. Boxes dial again 3 to 10 s after they lost their link.
Alone: python -m tests.bench.restart
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from hardware.clock import Clock
from tests.bench.figure import Figure, say
from tests.bench.live_200 import STEP_MA, Bench

KILLS = 5
WITHIN_S = 120.0
MID_WRITE_S = (0.3, 1.5)
"""After the step, when lowerings are being written and sent."""


class Back(NamedTuple):
    """Seconds from the start of the process."""

    cycled_s: float
    known_s: float
    ordered_s: float


class Killed(Bench):
    """The bench of 400 connectors, with a process that dies."""

    async def restarts(self) -> list[Back]:
        """Kill it some times."""
        dice = random.Random("bench/restart")
        await self.emulation.open()
        running = asyncio.create_task(self.emulation.run(Clock(asyncio.get_running_loop().time)))
        await asyncio.sleep(20)  # every car has come and draws what its box gives
        self.world.watch_limits()
        found = []
        try:
            process = self._start()
            await self._ready()
            ran = await self._all_run()
            say(f"{len(ran)} transactions run")
            for _ in range(KILLS):
                await self._die_in_mid_write(process, dice.uniform(*MID_WRITE_S))
                process, back = await self._come_back(ran)
                found.append(back)
                say(f"first cycle {back.cycled_s:.1f} s, transactions {back.known_s:.1f} s,"
                    f" first order {back.ordered_s:.1f} s")  # fmt: skip
                await self._all_run()
            process.terminate()
            process.wait(30)
        finally:
            process.kill()
            running.cancel()
            await self.emulation.close()
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        with self.edge_log.open("ab") as log:
            return subprocess.Popen(self.edge_command, stdout=log, stderr=log)

    async def _die_in_mid_write(self, process: subprocess.Popen[bytes], after_s: float) -> None:
        self.world.boards[0]["own_ma"] += STEP_MA
        self.world.touch()
        await asyncio.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self.world.boards[0]["own_ma"] = 0
        self.world.touch()

    async def _come_back(self, ran: set[tuple[str, int]]) -> tuple[subprocess.Popen[bytes], Back]:
        loop = asyncio.get_running_loop()
        self.world.watch_limits()
        began_s = loop.time()
        process = self._start()
        cycled_s = await self._when(lambda: self._ask("live")["cycle"] >= 1) - began_s
        known_s = await self._when(lambda: self._running() >= ran) - began_s
        await self._when(lambda: bool(self.world.first_s))
        return process, Back(cycled_s, known_s, min(self.world.first_s.values()) - began_s)

    async def _all_run(self) -> set[tuple[str, int]]:
        """Until every connector charges; the transactions that run."""
        try:
            await self._when(lambda: self._ask("live")["charging"] == len(self.world.outlets))
        except TimeoutError:
            rest = [one for one in self._ask("live")["connectors"] if not one["charging"]]
            said = "; ".join(
                f"{one['name']} {one['status']}, gets {one['gets_a']} A: {one['why']}" for one in rest[:5]
            )
            raise RuntimeError(f"{len(rest)} connectors do not charge after {WITHIN_S:g} s: {said}") from None
        return self._running()

    async def _when(self, condition: Any) -> float:
        """The time at which it first holds; of a process that does not listen yet nothing does."""

        def holds() -> bool:
            try:
                return bool(condition())
            except (OSError, KeyError):
                return False

        async with asyncio.timeout(WITHIN_S):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - it asks another process
                await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time()

    def _running(self) -> set[tuple[str, int]]:
        return {
            (row["identity"], row["connector"])
            for row in self._ask("sessions?limit=1000")
            if not row["ended"]
        }

    def _ask(self, question: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/api/v1/{question}", timeout=10) as answer:
            return json.load(answer)


def measure() -> dict[str, Figure]:
    """Name -> value, unit, how measured."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        bench = Killed(Path(folder))
        bench.compile_kernels()
        found = asyncio.run(bench.restarts())
    worst = Back(*(max(column) for column in zip(*found, strict=True)))
    how = (
        f"worst of {KILLS} kill -9 while orders are written, 400 transactions running: listening and first"
        f" cycle {worst.cycled_s:.1f} s, every transaction known {worst.known_s:.1f} s, first order at a box"
        f" {worst.ordered_s:.1f} s after the start of the process; boxes dial again after 3 to 10 s"
    )
    return {"restart_s": Figure(max(worst), "s", how)}


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:<34}{figure.value:>12.3f} {figure.unit:<12} {figure.how}")
