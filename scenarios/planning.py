"""The planner beside the loop of a simulated run: it is told wishes, plans every five minutes, and is heard.

It works at an instant of simulated time, so that a run is the same every time. A plan enters the image
after `measure`: links and pace see what the links say, the controller and the recording what was handed in.
"""

from __future__ import annotations

from controller.decision import Decision, Memory
from controller.defaults import NEVER, PLAN_EVERY_MS
from controller.image import Image
from controller.planners import MAS_PER_WH, Plan, Wish, hand_in, look_ahead, planner
from controller.planners.history import Past, expect
from scenarios.scenario import Story
from twin.streams import stream
from twin.world import Stay, World


class Beside:
    """What stands beside the loop of one run; does nothing on a site with `departures = "off"`."""

    def __init__(self, story: Story, world: World) -> None:
        self._story, self._world = story, world
        self._planner = planner(story.site.departures)
        self._plan: Plan | None = None
        self._last: tuple[Image, Decision] | None = None
        self._due_ms = 0
        wrong_ms = round(story.wishes.error_s * 1000)
        self._wrong_ms = {
            session.key: wrong_ms * (1 if stream(story.seed, "wish", session.key).random() < 0.5 else -1)
            for session in (story.sessions if wrong_ms else ())
        }

    def note(self, image: Image, decision: Decision) -> None:
        """What the last cycle saw and decided."""
        self._last = (image, decision)

    def enter(self, image: Image, memory: Memory) -> Image:
        """The image with the plan of the moment, which is made anew when it is time."""
        now_ms = int(image.clock[0]["now_ms"])
        if self._planner is None or self._last is None:
            return image
        if now_ms >= self._due_ms:
            self._due_ms = now_ms // PLAN_EVERY_MS * PLAN_EVERY_MS + PLAN_EVERY_MS
            outlook = look_ahead(self._story.topology, *self._last, memory, self._wishes(now_ms, memory))
            self._plan = self._planner(outlook)
        return hand_in(image, memory, self._plan)

    def _wishes(self, now_ms: int, memory: Memory) -> dict[int, Wish]:
        here = [stay for stay in self._world.stays if stay.came and not stay.over]
        if self._story.wishes.known != "cards":
            return {stay.session.connector: self._told(stay) for stay in here}
        past: dict[str, list[Past]] = {}
        for stay in self._world.stays:
            if stay.came and stay.over:
                stay_ms = stay.session.plug_out_ms - stay.session.plug_in_ms
                past.setdefault(stay.session.card, []).append(Past(stay_ms, round(stay.delivered_wh)))
        wishes = {}
        for stay in here:
            row = memory.connectors[stay.session.connector]
            got_wh = int(row["charge_mas"]) // MAS_PER_WH
            begun_ms = stay.session.plug_in_ms
            wishes[stay.session.connector] = expect(past.get(stay.session.card, []), begun_ms, now_ms, got_wh)
        return wishes

    def _told(self, stay: Stay) -> Wish:
        session = stay.session
        departure_ms = session.plug_out_ms
        if self._story.wishes.known == "told" and session.told_out_ms is not None:
            departure_ms = session.told_out_ms
        departure_ms += self._wrong_ms.get(session.key, 0)
        return Wish(departure_ms if departure_ms > 0 else NEVER, round(session.energy_wh))
