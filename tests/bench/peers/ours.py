"""Our twin in minute mode with the production controller in the loop, measured like the others."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from controller.decision import Decision
from controller.image import Image
from scenarios.run import play
from tests.bench.peers.case import Case
from twin.pace import TICK_MS
from twin.world import World


class _Registers:
    """Energy registers of all outlets at every whole tick."""

    def __init__(self, case: Case) -> None:
        ticks = case.story.length_ms // TICK_MS
        self.energy_wh = np.zeros((ticks + 1, len(case.told["stations"])))

    def begin(self, world: World) -> None:
        self._world = world

    def instant(self, span_ms: int) -> None:
        pass

    def cycle(self, image: Image, decision: Decision) -> None:
        tick, within_ms = divmod(self._world.now_ms, TICK_MS)
        if not within_ms:
            self.energy_wh[tick] = self._world.outlets["energy_wh"]


def run(case: Case, repeats: int = 1) -> dict[str, Any]:
    """What a driver hands back for a peer; CPU is the least of some runs without the registers."""
    registers = _Registers(case)
    play(case.story, onlooker=registers)
    cpu_s = []
    for _ in range(repeats):
        began_s = time.process_time()
        play(case.story)
        cpu_s.append(time.process_time() - began_s)
    tick_s = TICK_MS // 1000
    power_w = np.diff(registers.energy_wh, axis=0) * 3600 / tick_s
    return {"tick_s": tick_s, "ticks": len(power_w), "cpu_s": min(cpu_s), "power_w": power_w}
