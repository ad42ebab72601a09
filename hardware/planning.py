"""The planner beside the loop of the box: its own task, and for the horizon a process of its own.

Outlooks are made of tables that nobody writes any more, so planning shares nothing with the loop. A plan that
takes too long is killed and one by least laxity comes instead; whatever fails, the loop goes on with the plan
it has until that ends by itself.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from controller.decision import Decision, Memory
from controller.defaults import NEVER, PLAN_EVERY_MS, PLAN_LIMIT_MS, UNKNOWN
from controller.image import Image
from controller.planners import MAS_PER_WH, Outlook, Plan, PlanFailed, Wish, hand_in, look_ahead
from controller.planners.history import Past, expect
from controller.planners.least_laxity import least_laxity
from controller.site import Departures, Site, SiteError
from controller.topology import Topology
from hardware.ledger import Ledger
from hardware.notices import Notices
from hardware.plan_once import packed, plan_of
from hardware.wishes import Wishes


def refuse_without_scipy(site: Site, source: str) -> None:
    """Raises SiteError when the site asks for a planner that is not installed."""
    if site.departures == "horizon" and find_spec("scipy") is None:
        line = (
            f'{source}: departures: "horizon" needs SciPy, which is not installed; install it with'
            ' pip install "edge-twin[planner]", or write "least_laxity".'
        )
        raise SiteError([line])


@dataclass(frozen=True, slots=True)
class Moment:
    """A finished cycle, and what the next one starts from."""

    image: Image
    decision: Decision
    memory: Memory


class Planning:
    """Plans every five minutes of the loop's time; `plan` is the newest, None before the first."""

    def __init__(
        self, site: Site, topology: Topology, ledger: Ledger, wishes: Wishes, notices: Notices
    ) -> None:
        self.plan: Plan | None = None
        self.departures: Departures = site.departures
        self._topology = topology
        self._identities = [
            (chargepoint.identity, connector.number) for _, chargepoint, connector in site.connectors()
        ]
        self._ledger, self._wishes, self._notices = ledger, wishes, notices
        self._worker: subprocess.Popen[bytes] | None = None

    def enter(self, image: Image, memory: Memory) -> Image:
        """The image with the newest plan; without it when it cannot be entered."""
        try:
            return hand_in(image, memory, self.plan)
        except Exception as error:  # noqa: BLE001 - a plan must never end a cycle
            self.plan = None
            self._notices.say("planner", "bad_plan", f"A plan was thrown away ({error}).")
            return image

    async def run(self, newest: Callable[[], Moment | None]) -> None:
        """Plan until cancelled; returns at once on a site that wants no plans."""
        if self.departures == "off":
            return
        try:
            while True:
                moment = newest()
                if moment is not None:
                    await self.once(moment)
                await asyncio.sleep(PLAN_EVERY_MS / 1000 if moment is not None else 1.0)
        finally:
            if self._worker is not None:
                self._worker.kill()

    async def once(self, moment: Moment) -> None:
        """One plan from this moment, which may be some seconds old when it is ready."""
        try:
            cards = self._cards(moment.memory)
            self.plan = await asyncio.to_thread(self._think, moment, cards)
        except Exception as error:  # noqa: BLE001 - a planner must never end anything
            self._notices.say("planner", "no_plan", f"No plan was made ({type(error).__name__}: {error}).")

    def _cards(self, memory: Memory) -> dict[int, str]:
        """The card of each running transaction, by row."""
        running = {}
        for row in np.flatnonzero(memory.connectors["transaction"]).tolist():
            if transaction := self._ledger.running(*self._identities[row]):
                running[row] = transaction.tag
        return running

    def _think(self, moment: Moment, cards: dict[int, str]) -> Plan:
        clock = moment.image.clock[0]
        now_ms, utc_ms = int(clock["now_ms"]), int(clock["utc_ms"])
        told = self._wishes.standing(moment.memory, now_ms, utc_ms, trusted=bool(clock["utc_trusted"]))
        expected = self._expected(cards, moment.memory, now_ms)
        wishes = {row: _both(told.get(row, Wish()), expected.get(row, Wish())) for row in {*told, *expected}}
        outlook = look_ahead(self._topology, moment.image, moment.decision, moment.memory, wishes)
        if self.departures == "horizon" and (outlook.cars["departure_ms"] != NEVER).any():
            try:
                return self._horizon(outlook)
            except (PlanFailed, OSError, ValueError) as error:
                words = f"The horizon found no plan ({error}); least laxity plans instead."
                self._notices.say("planner", "horizon_failed", words)
        return least_laxity(outlook)

    def _expected(self, cards: dict[int, str], memory: Memory, now_ms: int) -> dict[int, Wish]:
        """What the past of each card lets expect; nothing where the ledger cannot be read."""
        past = self._ledger.past(set(cards.values())) if cards else {}
        found = {}
        for row, card in cards.items():
            kept = memory.connectors[row]
            sessions = [Past(stay_ms, energy_wh) for stay_ms, energy_wh in past.get(card, [])]
            got_wh = int(kept["charge_mas"]) // MAS_PER_WH
            found[row] = expect(sessions, int(kept["since_ms"]), now_ms, got_wh)
        return found

    def _horizon(self, outlook: Outlook) -> Plan:
        """The plan of a process of its own, which is killed when it takes too long."""
        with subprocess.Popen(
            [sys.executable, "-m", "hardware.plan_once"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as self._worker:
            try:
                out, complaint = self._worker.communicate(packed(outlook), timeout=PLAN_LIMIT_MS / 1000)
            except subprocess.TimeoutExpired:
                raise PlanFailed(f"it takes longer than {PLAN_LIMIT_MS / 1000:g} s") from None
            finally:
                self._worker.kill()
        if not out:
            lines = complaint.decode(errors="replace").strip().splitlines()
            raise PlanFailed(lines[-1] if lines else "the process died")
        return plan_of(out)


def _both(told: Wish, expected: Wish) -> Wish:
    """What was told, and where nothing was told what is expected."""
    return Wish(
        expected.departure_ms if told.departure_ms == NEVER else told.departure_ms,
        expected.energy_wh if told.energy_wh == UNKNOWN else told.energy_wh,
    )
