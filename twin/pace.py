"""How time passes between two cycles of the controller.

*Minute mode*: ticks of 60 s, links without delay, and two looks within a tick while orders are on their way,
so that they act within the tick. *True mode*: cycles of a second; while nothing is unsettled the world runs
on to the first second at which the image differs from the one that the controller last saw, or to the time
at which a timer of the controller is due. A reading that arrives unchanged (within `SAME_MA`) is no reason
for a cycle; only its time stamp is refreshed.
"""

from __future__ import annotations

from typing import Final

from controller.decision import Decision
from controller.image import Image
from controller.kernel import direct, kernel
from controller.table import Table
from twin.instruments import SimulatedPlant
from twin.orders import is_news

TICK_MS: Final = 60_000
LOOKS_MS: Final = (12_000, 24_000)
"""Within a tick that is not settled: cars have followed a lower limit, then a higher one."""
SAME_MA: Final = 300
"""Readings that differ by less are the same: well inside the pooled tolerance of any estimate."""
ALTERING: Final = {"meter_silent", "meter_reads", "chargepoint_reads", "readings_silent"}
SILENCING: Final = ("silent", "altered")
STORAGE_MS: Final = 5_000  # longest jump where batteries and inverters move by themselves
RESTLESS_MS: Final = 5_000  # longest jump where messages may be lost: a missing reading is news too


@direct
@kernel
def differs(seen: Table, last: Table, meters: Table, last_meters: Table, wanted: Table) -> bool:
    """True when the image says anything new, the ages of its readings aside."""
    for m in range(len(meters)):
        for p in range(3):
            if abs(meters[m]["current_ma"][p] - last_meters[m]["current_ma"][p]) > SAME_MA:
                return True
    for c in range(len(seen)):
        now, was = seen[c], last[c]
        if (
            now["online"] != was["online"]
            or now["status"] != was["status"]
            or now["transaction"] != was["transaction"]
            or now["default_ma"] != was["default_ma"]
            or now["wish_ma"] != was["wish_ma"]
            or now["weight_percent"] != was["weight_percent"]
            or now["minimum_speed"] != was["minimum_speed"]
            or now["never_zero"] != was["never_zero"]
            or now["priority_class"] != was["priority_class"]
            or now["cable_ma"] != was["cable_ma"]
            or now["stop"] != was["stop"]
            or now["solar"] != was["solar"]
        ):
            return True
        if now["answered_seq"] != was["answered_seq"] and is_news(now["answer"], wanted[c]):
            return True
        for p in range(3):
            if abs(now["current_ma"][p] - was["current_ma"][p]) > SAME_MA:
                return True
    return False


class Pace:
    """Takes a plant from one cycle to the next."""

    def __init__(self, plant: SimulatedPlant, cycle_ms: int, end_ms: int) -> None:
        self.plant = plant
        self.cycle_ms = TICK_MS if plant.instant else cycle_ms
        self.end_ms = end_ms
        conditions = plant.world.conditions
        self._restless_ms = end_ms
        self._may_alter = any(fault.kind in ALTERING for fault in conditions.faults)
        if plant.storage.any:
            self._restless_ms = STORAGE_MS
        if conditions.links.loss > 0:
            self._restless_ms = RESTLESS_MS
        if conditions.meters.noise_a > 0 or plant.poll_ms != cycle_ms:
            self._restless_ms = 0

    def next_cycle(self, image: Image, decision: Decision) -> bool:
        """Advance the plant to its next cycle; False when the story is over."""
        now_ms = self.plant.world.now_ms
        if now_ms >= self.end_ms:
            return False
        site = decision.site[0]
        if self.plant.instant:
            self.plant.advance(min(self.end_ms, self._next_tick(now_ms, settled=bool(site["settled"]))))
            return True
        if not self._restless_ms or self._silence():
            self.plant.advance(min(self.end_ms, now_ms + self.cycle_ms))
            return True
        due_ms = min(self.end_ms, self._whole(int(site["next_ms"])), now_ms + self._restless_ms)
        due_ms = max(due_ms, now_ms + self.cycle_ms)
        self._run_on(image, decision, min(due_ms, self.end_ms))
        return True

    def _next_tick(self, now_ms: int, *, settled: bool) -> int:
        """The next whole tick, or while orders are unsettled the next look at what they did."""
        tick_ms = now_ms // TICK_MS * TICK_MS
        looks = [tick_ms + within_ms for within_ms in LOOKS_MS if tick_ms + within_ms > now_ms]
        return looks[0] if looks and not settled else tick_ms + TICK_MS

    def _run_on(self, image: Image, decision: Decision, due_ms: int) -> None:
        """Advance to `due_ms` or to the first whole cycle at which there is something to see."""
        plant, world = self.plant, self.plant.world
        while world.now_ms < due_ms:
            soon_ms = min(world.next_news_ms(), plant.next_news_ms(SAME_MA, decision))
            stop_ms = max(self._whole(soon_ms), world.now_ms + self.cycle_ms)
            plant.advance(min(stop_ms, due_ms))
            seen, wanted = plant.seen, decision.connectors
            if differs(seen.connectors, image.connectors, seen.meters, image.meters, wanted):
                return
            if plant.storage.any and plant.storage.moved(image, SAME_MA):
                return
            if self._silence() or seen.grids.tobytes() != image.grids.tobytes():
                return

    def _silence(self) -> bool:
        """A reading that does not come, or not as it is foreseen, is news that no reading brings."""
        if not self._may_alter:
            return False
        world = self.plant.world
        return any(bool(table[name].any()) for table in (world.gauges, world.clamps) for name in SILENCING)

    def _whole(self, at_ms: int) -> int:
        """The first cycle not before `at_ms`."""
        return -(-at_ms // self.cycle_ms) * self.cycle_ms
