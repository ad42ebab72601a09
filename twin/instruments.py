"""The truth seen through links: a `Plant` over a World, with the delays and faults of its conditions.

Every time in the image is when the news arrived: the clocks of meters and boxes are not trusted, so a value
may be older than its stamp by the delay of its link. Statuses, transactions and answers are messages in
flight; meter values are taken and delivered by one kernel over all connectors (`twin/readings.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from controller.decision import Alarm, Decision
from controller.defaults import NEVER, UNLIMITED_MA
from controller.image import Image, blank_image, frozen
from controller.kernel import direct, kernel
from controller.table import Table
from controller.topology import SOLAR_MODES
from twin.boxes import obey_at_once
from twin.cards import UNLISTED
from twin.events import CardPresented, Event, LinkChanged, StatusChanged, TransactionEnded, TransactionStarted
from twin.orders import hear_answers, is_lost, next_answer, obey, posts, send
from twin.outside import Outside, Told
from twin.readings import SLOTS, hear_connectors, hear_meters, links, poll_meters
from twin.storage_links import StorageLinks
from twin.streams import number
from twin.world import World

OUT_OF_SERVICE: Final = int(Alarm.OUT_OF_SERVICE)


@kernel
def _apart(one: Table, other: Table, same_ma: int) -> bool:
    for own in range(3):
        if abs(one[own] - other[own]) > same_ma:
            return True
    return False


@direct
@kernel
def next_news(
    probes: Table,
    seen: Table,
    outlets: Table,
    polls: Table,
    meters: Table,
    posts: Table,
    orders: Table,
    latency_ms: int,
    same_ma: int,
) -> int:
    """When anything arrives that differs from what is seen, while nothing changes."""
    soon = next_answer(posts, orders)
    for m in range(len(polls)):
        for n in range(polls[m]["count"]):
            slot = (polls[m]["first"] + n) % SLOTS
            if _apart(polls[m]["current_ma"][slot], meters[m]["current_ma"], same_ma):
                soon = min(soon, polls[m]["arrives_ms"][slot])
    for c in range(len(probes)):
        probe = probes[c]
        for n in range(probe["count"]):
            slot = (probe["first"] + n) % SLOTS
            if _apart(probe["current_ma"][slot], seen[c]["current_ma"], same_ma):
                soon = min(soon, probe["arrives_ms"][slot])
        if outlets[c]["offline"] == 0 and _apart(outlets[c]["draw_ma"], seen[c]["current_ma"], same_ma):
            if outlets[c]["transaction"] != 0:
                soon = min(soon, probe["due_ms"] + latency_ms + outlets[c]["late_ms"])
            if probe["asked_at_ms"] != NEVER:
                soon = min(soon, probe["asked_at_ms"] + latency_ms + outlets[c]["late_ms"])
    return int(soon)


@direct
@kernel
def listen(
    seen: Table,
    meters: Table,
    probes: Table,
    polls: Table,
    posts: Table,
    gauges: Table,
    clamps: Table,
    outlets: Table,
    connectors: Table,
    now_ms: int,
    latency_ms: int,
    loss: int,
    every_tick: bool,
) -> None:
    """Deliver everything that has arrived."""
    hear_meters(meters, polls, gauges, now_ms)
    hear_connectors(seen, probes, clamps, outlets, connectors, now_ms, latency_ms, loss, every_tick)
    hear_answers(seen, posts, now_ms)


def _everybody(_card: str) -> bool:
    return True


class SimulatedPlant:
    """The links of a site, simulated: what is measured is late, what is ordered takes its way.

    With `instant` nothing takes time and every meter and connector is read at every look (minute mode).
    """

    def __init__(
        self,
        world: World,
        *,
        instant: bool = False,
        accepts: Callable[[str], bool] = _everybody,
        told: Sequence[Told] = (),
    ) -> None:
        self.world = world
        self.instant = instant
        self.accepts = accepts
        conditions = world.conditions
        self.latency_ms = 0 if instant else round(conditions.links.latency_s * 1000)
        self.delay_ms = 0 if instant else round(conditions.meters.delay_s * 1000)
        self.poll_ms = round(conditions.meters.poll_s * 1000)
        self.noise_ma = 0.0 if instant else conditions.meters.noise_a * 1000
        self.loss = 0 if instant else round(conditions.links.loss * 2**31)
        """Chance of 2^31 that a message does not arrive."""
        self.writes = np.zeros(len(world.outlets), "i8")
        """Limits accepted by every connector so far."""
        names = world.topology.connector_names
        self._posts = posts(world.seed, names)
        self._probes = links(world.seed, "reading", names)
        self._polls = links(world.seed, "noise", world.topology.meter_names)
        self._polled_ms = -1
        self._out = np.zeros(len(names), np.bool_)
        self._anybody_out = False
        self._image = blank_image(world.topology)
        self._chargepoints = list(world.site.chargepoint)
        self._start_utc_ms = round(world.start_utc.timestamp() * 1000)
        self.storage = StorageLinks(world, self._image, self.latency_ms, self._after, instant=instant)
        self._outside = Outside(world, self._image, told)
        self._boot()
        world.listen(self._hear)
        self.advance(world.now_ms)

    def _boot(self) -> None:
        """Every box has been brought in before the story begins: known, and its start current verified."""
        rows = self._image.connectors
        for row, (name, _, _) in enumerate(self.world.site.connectors()):
            rows[row]["firmware"] = number("firmware", name)
            self._report(row)

    def _report(self, row: int) -> None:
        """What a box says when its link comes up."""
        seen, outlet, now_ms = self._image.connectors[row], self.world.outlets[row], self.world.now_ms
        if outlet["offline"]:
            return
        seen["online"] = 1
        seen["default_ma"] = self.world.topology.connectors[row]["fallback_ma"]
        seen["status"], seen["status_at_ms"] = outlet["status"], now_ms
        if seen["transaction"] != outlet["transaction"]:
            seen["transaction"], seen["transaction_at_ms"] = outlet["transaction"], now_ms
            self._note_card(row)

    # -- time --------------------------------------------------------------------------------------

    def advance(self, until_ms: int) -> None:
        """Take the world to `until_ms`, looking at the meters on the way when they would be polled."""
        world = self.world
        if self.instant:
            world.advance(until_ms)
            self._poll()
        else:
            # Older samples than these are not the newest any more when the controller looks.
            oldest_ms = until_ms - self.delay_ms - self.poll_ms + 1
            next_ms = self._polled_ms + 1
            poll_ms = -(-max(oldest_ms, next_ms) // self.poll_ms) * self.poll_ms
            while poll_ms <= until_ms:
                world.advance(poll_ms)
                self._poll()
                self._listen()
                poll_ms += self.poll_ms
            if world.now_ms == until_ms and self._polled_ms == until_ms:
                return
            world.advance(until_ms)
        self._listen()

    def _poll(self) -> None:
        world = self.world
        built = world.built
        self._polled_ms = world.now_ms
        poll_meters(
            self._polls,
            built.meters,
            world.gauges,
            built.grids,
            world.boards,
            world.now_ms,
            self.delay_ms,
            self.noise_ma,
        )

    def _listen(self) -> None:
        world, image = self.world, self._image
        listen(
            image.connectors,
            image.meters,
            self._probes,
            self._polls,
            self._posts,
            world.gauges,
            world.clamps,
            world.outlets,
            world.topology.connectors,
            world.now_ms,
            self.latency_ms,
            self.loss,
            self.instant,
        )
        if self.storage.any:
            self.storage.listen()

    @property
    def seen(self) -> Image:
        """The image as it stands; it goes on changing."""
        return self._image

    def next_news_ms(self, same_ma: int, decision: Decision) -> int:
        """When a reading that differs by more than `same_ma`, or an answer that says anything, may arrive.

        If nothing happens on the site until then.
        """
        world = self.world
        soon_ms = next_news(
            self._probes,
            self._image.connectors,
            world.outlets,
            self._polls,
            self._image.meters,
            self._posts,
            decision.connectors,
            self.latency_ms,
            same_ma,
        )
        return min(soon_ms, self.storage.next_reading_ms(same_ma)) if self.storage.any else soon_ms

    # -- the two faces of a Plant ------------------------------------------------------------------

    def measure(self) -> Image:
        """A frozen image of what has arrived by now."""
        clock = self._image.clock[0]
        clock["now_ms"] = self.world.now_ms
        clock["utc_ms"] = self._start_utc_ms + self.world.now_ms
        clock["utc_trusted"] = 1
        return frozen(self._image)

    def distribute(self, decision: Decision) -> None:
        """Put the orders and the requests for readings on their links."""
        world, rows = self.world, decision.connectors
        seen, connectors = self._image.connectors, world.topology.connectors
        if self.storage.any:
            self.storage.distribute(decision)
        if self._anybody_out or decision.site["alarm"][0] & OUT_OF_SERVICE:
            self._keep_out(rows)
        if self.instant:
            if obey_at_once(rows, seen, world.outlets, connectors, self.writes, world.now_ms):
                world.touch()
        elif send(
            rows, self._posts, self._probes, seen, world.outlets, world.now_ms, self.latency_ms, self.loss
        ):
            self._after(self.latency_ms, self._obey)

    def _keep_out(self, rows: Table) -> None:
        """The last resort: a contactor that opens whatever its electronics say, and no card is taken."""
        self._out[:] = rows["unavailable"] == 1
        self._anybody_out = bool(self._out.any())
        for c in (rows["stop_transaction"] == 1).nonzero()[0].tolist():
            if self._image.connectors[c]["online"] and not is_lost(
                self._posts[c], self.world.outlets[c], self.loss
            ):
                self._after(self.latency_ms, partial(self.world.stop_transaction, c, "Remote"))

    def _obey(self) -> None:
        """Orders have reached their boxes."""
        world, connectors = self.world, self.world.topology.connectors
        now_ms, late_ms, loss = world.now_ms, self.latency_ms, self.loss
        if obey(self._posts, world.outlets, connectors, self.writes, now_ms, late_ms, loss):
            world.touch()
        hear_answers(self._image.connectors, self._posts, now_ms)

    # -- messages from the boxes -------------------------------------------------------------------

    def _after(self, delay_ms: int, action: Callable[[], None]) -> None:
        if delay_ms:
            self.world.at(self.world.now_ms + delay_ms, action)
        else:
            action()

    def _hear(self, event: Event) -> None:
        """A box has something to say; it arrives a latency later, if its link is up then."""
        if isinstance(event, LinkChanged):
            self._link_changed(event)
        elif isinstance(event, CardPresented):
            self._after(2 * self.latency_ms, partial(self._card, event))
        elif isinstance(event, StatusChanged | TransactionStarted | TransactionEnded):
            self._after(self.latency_ms, partial(self._note, event))

    def _note(self, event: StatusChanged | TransactionStarted | TransactionEnded) -> None:
        seen, now_ms = self._image.connectors[event.connector], self.world.now_ms
        if not seen["online"]:
            return
        if isinstance(event, StatusChanged):
            seen["status"], seen["status_at_ms"] = event.status, now_ms
            return
        seen["transaction"] = event.transaction if isinstance(event, TransactionStarted) else 0
        seen["transaction_at_ms"] = now_ms
        self._note_card(event.connector)

    def _note_card(self, row: int) -> None:
        """What the card list says of the card that charges here, and the box of its cable."""
        seen, outlet, world = self._image.connectors[row], self.world.outlets[row], self.world
        runs = seen["transaction"] != 0 and outlet["session"] >= 0
        terms = UNLISTED
        if runs:
            session = world.stays[int(outlet["session"])].session
            terms = world.conditions.card.get(session.card, session.terms)
        for name in ("weight_percent", "minimum_speed", "never_zero", "priority_class"):
            seen[name] = getattr(terms, name)
        seen["solar"] = SOLAR_MODES[terms.solar] if terms.solar else 0
        seen["cable_ma"] = min(outlet["cable_ma"] if runs else UNLIMITED_MA, UNLIMITED_MA)

    def _card(self, event: CardPresented) -> None:
        outlet = self.world.outlets[event.connector]
        if not outlet["plugged"] or self._out[event.connector]:
            return
        if self.accepts(event.card):
            self.world.start_transaction(event.connector)
        else:
            self.world.refuse_card(event.connector)

    def _link_changed(self, event: LinkChanged) -> None:
        rows = self.world.rows_of(event.chargepoint)
        if event.up:
            for row in rows:
                self._after(self.latency_ms, partial(self._report, row))
        else:
            hear_answers(self._image.connectors, self._posts, self.world.now_ms)
            self._image.connectors["online"][rows] = 0
