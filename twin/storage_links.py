"""Batteries and inverters seen through their links: polled readings, orders that take their way.

A poll is answered at once; what is dead or silent does not answer, and its row grows old. An order reaches
its device a latency later, as its answer does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from controller.decision import Decision
from controller.defaults import UNKNOWN
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.image import Answer, Image
from controller.kernel import kernel
from controller.table import Table
from twin.vehicles import FAR_MS
from twin.world import World


@kernel
def poll(seen: Table, rows: Table, built: Table, due_ms: Any, now_ms: int, every_look: bool) -> None:
    """Read every device that is due."""
    for n in range(len(rows)):
        if now_ms < due_ms[n] and not every_look:
            continue
        sample_ms = built[n]["sample_ms"]
        at_ms = now_ms // sample_ms * sample_ms
        due_ms[n] = at_ms + sample_ms
        if rows[n]["dead"] != 0 or rows[n]["silent"] != 0:
            continue
        seen[n]["at_ms"] = now_ms if every_look else at_ms
        for own in range(3):
            used = own == 0 or built[n]["phases"] == 3
            seen[n]["current_ma"][own] = rows[n]["flow_ma"] if used else 0


@kernel
def poll_charge(seen: Table, cells: Table, batteries: Table) -> None:
    """The state of charge that came with the newest readings."""
    for b in range(len(cells)):
        if cells[b]["dead"] != 0 or cells[b]["silent"] != 0:
            continue
        soc = int(cells[b]["stored_wh"] * 1000.0 / batteries[b]["capacity_wh"])
        seen[b]["soc"] = UNKNOWN if cells[b]["soc_lost"] != 0 else soc


@kernel
def next_poll(seen: Table, rows: Table, due_ms: Any, same_ma: int) -> int:
    """When a reading comes that differs from what is seen."""
    soon_ms = FAR_MS
    for n in range(len(rows)):
        answers = rows[n]["dead"] == 0 and rows[n]["silent"] == 0
        if answers and abs(rows[n]["flow_ma"] - seen[n]["current_ma"][0]) > same_ma:
            soon_ms = min(soon_ms, due_ms[n])
    return int(soon_ms)


@kernel
def moved(seen: Table, last: Table, same_ma: int) -> bool:
    """Whether a reading or an answer says anything new."""
    for n in range(len(seen)):
        if seen[n]["answered_seq"] != last[n]["answered_seq"] or seen[n]["online"] != last[n]["online"]:
            return True
        if abs(seen[n]["current_ma"][0] - last[n]["current_ma"][0]) > same_ma:
            return True
    return False


class StorageLinks:
    """The links of all batteries and inverters of a site."""

    def __init__(
        self,
        world: World,
        seen: Image,
        latency_ms: int,
        after: Callable[[int, Callable[[], None]], None],
        *,
        instant: bool,
    ) -> None:
        self._world, self._instant, self._latency_ms, self._after = world, instant, latency_ms, after
        built = world.topology
        self._kinds: list[tuple[Table, Table, Table, Any]] = [
            (seen.batteries, world.cells, built.batteries, np.zeros(len(world.cells), "i8")),
            (seen.inverters, world.panels, built.inverters, np.zeros(len(world.panels), "i8")),
        ]
        for rows, *_ in self._kinds:
            rows["online"] = 1
        self.any = len(world.cells) + len(world.panels) > 0
        """Whether the site has any."""

    def listen(self) -> None:
        """Take the readings that are due now."""
        for seen, rows, built, due_ms in self._kinds:
            poll(seen, rows, built, due_ms, self._world.now_ms, self._instant)
        poll_charge(self._kinds[0][0], self._world.cells, self._world.topology.batteries)

    def next_reading_ms(self, same_ma: int) -> int:
        """When a reading may arrive that differs by more than `same_ma`, if nothing happens on the site."""
        return min(next_poll(seen, rows, due_ms, same_ma) for seen, rows, _, due_ms in self._kinds)

    def moved(self, last: Image, same_ma: int) -> bool:
        """Whether the image says anything new."""
        return moved(self._kinds[0][0], last.batteries, same_ma) or moved(
            self._kinds[1][0], last.inverters, same_ma
        )

    def distribute(self, decision: Decision) -> None:
        """Put the orders of a decision on their links."""
        for kind, wanted in enumerate((decision.batteries, decision.inverters)):
            for n in np.flatnonzero(wanted["put"]):
                row = wanted[n]
                target_ma = self._in_watts(kind, int(n), int(row["power_w"]))
                order = partial(
                    self._obey, kind, int(n), int(row["order_seq"]), target_ma, int(row["until_ms"])
                )
                self._after(0 if self._instant else self._latency_ms, order)

    def _in_watts(self, kind: int, n: int, power_w: int) -> int:
        """What a device that is told watts makes of them, mA on each of its phases."""
        phases = int(self._kinds[kind][2][n]["phases"])
        current_ma = abs(power_w) * 1000 // (NOMINAL_VOLTAGE_V * phases)
        return current_ma if power_w >= 0 else -current_ma

    def _obey(self, kind: int, n: int, seq: int, target_ma: int, until_ms: int) -> None:
        _, rows, built, _ = self._kinds[kind]
        answer = self._world.order_device(rows[n], built[n], target_ma, until_ms, at_once=self._instant)
        if answer != Answer.NONE:
            self._after(0 if self._instant else self._latency_ms, partial(self._answer, kind, n, seq, answer))

    def _answer(self, kind: int, n: int, seq: int, answer: Answer) -> None:
        row = self._kinds[kind][0][n]
        if seq > row["answered_seq"]:
            row["answered_seq"], row["answer"] = seq, answer
            row["answered_at_ms"] = self._world.now_ms
