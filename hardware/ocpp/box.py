"""One chargepoint behind its OCPP identity, through all its connections: what it says, and what it is sent.

It has one queue: lowerings, then raises, then commands and asks, then configuration; what is next is decided
when the line is free. No order leaves before the box has been accepted, which it is by its BootNotification,
or by any other message of a box that reconnects without one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from controller.defaults import NEVER, UNKNOWN
from controller.image import Answer
from controller.site import Chargepoint
from hardware.cards import Card, Cards
from hardware.clock import Clock
from hardware.ledger import Ledger, Transaction
from hardware.notices import Notices
from hardware.ocpp import profiles
from hardware.ocpp.boxclock import BoxClock
from hardware.ocpp.frames import Payload
from hardware.ocpp.ladder import NOT_PROCESSED, Ladder
from hardware.ocpp.link import LINK_LOST, Link, Outcome, Outgoing
from hardware.ocpp.outlet import Order, Outlet
from hardware.ocpp.profiles import Lease, Limit, Rung
from hardware.ocpp.readings import Currents

CALL_S: Final = 10.0
CONFIGURE_S: Final = 30.0
AGAIN_MS: Final = 1_000  # rest before an order is said again to a box that took the same before
YOUNG_MS: Final = 5_000  # a transaction so young may not be known to the whole of its box yet
RESTORE_AGAIN_S: Final = 10.0
TOLD_AGAIN_MS: Final = 10_000  # the last resort is said again until the box has done it


class Box:
    """Rows of the image are written here and nowhere else; every method is for the thread of the loop."""

    def __init__(
        self,
        name: str,
        site: Chargepoint,
        rows: Iterable[Any],
        clock: Clock,
        ledger: Ledger,
        cards: Cards,
        notices: Notices,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.site = site
        self.identity = site.identity
        self.clock = clock
        self.ledger = ledger
        self.cards = cards
        self.changed = on_change
        self._notices = notices
        self.outlets = {
            spec.number: Outlet(spec, f"{name}/{spec.number}", row, clock.now_ms, clock.utc)
            for spec, row in zip(site.connector, rows, strict=True)
        }
        self.record = ledger.box(site.identity)
        self.ladder = Ladder(len(self.outlets), self.record.rung)
        if self.has_dc():
            self.ladder.units = frozenset({"W"})
        self.box_clock = BoxClock()
        self.configuration: dict[str, str] = {}
        self.link: Link | None = None
        self.can_trigger = True
        self.default_on_zero = False
        self.accepted = asyncio.Event()
        self.set_up_due = asyncio.Event()
        self.can_tell_composite = True
        self.read_only: set[str] = set()
        self.boot_asked_until_ms = NEVER
        self.last_key = ""
        """Configuration key changed last, and when: a boot right after it is blamed on it."""
        self.last_key_at_ms = NEVER
        self.shunned_keys: set[str] = set()
        self._commands: deque[Outgoing] = deque()
        self._asks: dict[int, None] = {}
        self._settings: deque[Outgoing] = deque()

    @property
    def online(self) -> bool:
        """The link is up and the box has been accepted."""
        return any(outlet.row["online"] for outlet in self.outlets.values())

    def say(self, kind: str, sentence: str) -> None:
        """One line about this box."""
        self._notices.say(self.identity, kind, f"{self.identity} {sentence}")

    # -- the link -----------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """A socket is open; the box is not accepted yet."""
        self.link = link
        self.accepted.clear()
        self.can_trigger = self.can_tell_composite = True

    def accept(self) -> None:
        """The conversation is open: its connectors can be commanded, and what ran before runs still."""
        if self.online or self.link is None:
            return
        for outlet in self.outlets.values():
            outlet.row["firmware"] = self.firmware_number()
            running = self.ledger.running(self.identity, outlet.spec.number)
            if running is not None and outlet.transaction is None:
                self.begin(outlet, running.id)
            outlet.row["online"] = 1
            outlet.settle()
        self.accepted.set()
        self.link.wake()
        self.changed()

    def disconnected(self, link: Link) -> None:
        """The socket is gone; what it was asked and did not answer is unknown."""
        if self.link is not link:
            return
        self.link = None
        for outlet in self.outlets.values():
            outlet.row["online"] = 0
        self._asks.clear()
        for queue in (self._commands, self._settings):
            while queue:
                queue.popleft().done(Outcome(None, LINK_LOST))
        self.changed()

    def firmware_number(self) -> int:
        """Changes with vendor, model, firmware and with every boot that we did not ask for.

        OCPP 1.6 cannot tell a reboot, which may lose limits, from a reconnection announced by a
        BootNotification: every one counts. The count outlives this process, so that a restart of ours alone
        changes nothing.
        """
        record = self.record
        if not record.vendor:
            return 0
        text = "\n".join((record.vendor, record.model, record.firmware, str(record.boots)))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 2

    # -- what is put down ---------------------------------------------------------------------------

    def put(self, number: int, order: Order) -> None:
        """An order for a connector; never blocks."""
        outlet = self.outlets[number]
        limit_ma = profiles.sayable_ma(order.limit_ma, outlet.min_ma)
        outlet.put(order._replace(limit_ma=limit_ma))
        if self.link is not None and outlet.is_ready():
            self.link.wake()
            if outlet.is_lowering():
                self.link.hurry()

    def ask(self, number: int) -> None:
        """Have a connector read its meter now."""
        if self.link is not None and self.can_trigger and self.online:
            self._asks[number] = None
            self.link.wake()

    def keep_out(self, number: int, *, unavailable: bool, stop: bool) -> None:
        """The last resort: out of service or back in, its transaction stopped; said until it is done."""
        outlet = self.outlets[number]
        now_ms = self.clock.now_ms()
        settled = unavailable == outlet.out_of_service and not (stop and outlet.transaction)
        if settled or self.link is None or not outlet.row["online"] or now_ms < outlet.told_again_ms:
            return
        outlet.told_again_ms = now_ms + TOLD_AGAIN_MS
        if stop and outlet.transaction is not None:
            running: Payload = {"transactionId": outlet.transaction.id}
            self._commands.append(Outgoing("RemoteStopTransaction", running, CALL_S, lambda _: None))
        if unavailable != outlet.out_of_service:
            outlet.out_of_service = None
            wanted: Payload = {"connectorId": number, "type": "Inoperative" if unavailable else "Operative"}
            done = partial(self._kept_out, outlet, unavailable)
            self._commands.append(Outgoing("ChangeAvailability", wanted, CALL_S, done))
        self.link.wake()

    def _kept_out(self, outlet: Outlet, unavailable: bool, outcome: Outcome) -> None:
        if outcome.status in {"Accepted", "Scheduled"}:
            outlet.out_of_service = unavailable

    async def command(self, action: str, payload: Payload) -> Outcome:
        """A CALL on somebody's behalf, before asks and configuration."""
        return await self._queued(self._commands, action, payload, CALL_S)

    async def configure(self, action: str, payload: Payload) -> Outcome:
        """A CALL of the set-up, after everything else."""
        return await self._queued(self._settings, action, payload, CONFIGURE_S)

    async def _queued(
        self, queue: deque[Outgoing], action: str, payload: Payload, timeout_s: float
    ) -> Outcome:
        if self.link is None:
            return Outcome(None, LINK_LOST)
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result(outcome)

        queue.append(Outgoing(action, payload, timeout_s, done))
        self.link.wake()
        return await answered

    def next_call(self) -> Outgoing | None:
        """What to send on a free line."""
        ready = [outlet for outlet in self.outlets.values() if outlet.is_ready()]
        ready.sort(key=lambda outlet: not outlet.is_lowering())
        for outlet in ready:
            order, outlet.waiting = outlet.waiting, None
            if order is not None and outlet.transaction is not None:
                outgoing = self._say_order(outlet, order, outlet.transaction)
                if outgoing is not None:
                    return outgoing
        for outlet in self.outlets.values():
            if outlet.restore_default and outlet.row["online"]:
                return self._say_default(outlet)
        if self._commands:
            return self._commands.popleft()
        if self._asks:
            number = next(iter(self._asks))
            del self._asks[number]
            payload = {"requestedMessage": "MeterValues", "connectorId": number}
            return Outgoing("TriggerMessage", payload, CALL_S, self._asked)
        return self._settings.popleft() if self._settings else None

    def _asked(self, outcome: Outcome) -> None:
        if outcome.status == "NotImplemented" or outcome.error in {"NotImplemented", "NotSupported"}:
            self.can_trigger = False

    # -- the life of an order on the wire -----------------------------------------------------------

    def _say_order(self, outlet: Outlet, order: Order, transaction: Transaction) -> Outgoing | None:
        """An order as a charging profile; None when no rung can say it, which is answered."""
        leased = order.lease_until_ms != NEVER
        if not self.ladder.first(leased=leased):
            self._refuse(outlet, order)
            return None
        rung = self.ladder.rung
        outlet.written = order
        outlet.written_phases = outlet.phases_in_use(order)
        default_ma = int(outlet.row["default_ma"])
        if rung.purpose != profiles.TX and default_ma != UNKNOWN:
            outlet.row["default_ma"] = max(default_ma, order.limit_ma)
        limit = Limit(
            connector=self._profile_connector(outlet, rung),
            limit_ma=order.limit_ma,
            phases=outlet.written_phases,
            transaction=transaction.id,
            running_s=(self.clock.now_ms() - outlet.began_ms) // 1000,
            lease=self._lease(outlet, order) if leased else None,
            efficiency=outlet.efficiency,
            number_phases=order.phases,
        )
        payload = profiles.set_charging_profile(rung, limit, self.clock.utc(), self.ladder.max_periods)
        done = partial(self._conclude, outlet, order, rung, default_ma)
        return Outgoing("SetChargingProfile", payload, CALL_S, done)

    def _lease(self, outlet: Outlet, order: Order) -> Lease:
        # Rounded down twice, whole seconds of the box end never later than the lease.
        began_s = (self.clock.now_ms() - outlet.began_ms) // 1000
        ends_s = (order.lease_until_ms - outlet.began_ms) // 1000
        return Lease(max(0, ends_s - began_s), self.fallback_ma(outlet))

    def has_dc(self) -> bool:
        """Amperes of a limit would be those at the car, which say nothing about its feed: watts only."""
        return any(outlet.efficiency is not None for outlet in self.outlets.values())

    def fallback_ma(self, outlet: Outlet) -> int:
        """The declared fallback as the box can say it."""
        return profiles.sayable_ma(round(self.site.fallback_a * 1000), outlet.min_ma)

    def _profile_connector(self, outlet: Outlet, rung: Rung) -> int:
        """A single outlet is controlled where its default was installed, which may be connector 0."""
        whole = rung.purpose == profiles.TX_DEFAULT and self.default_on_zero and len(self.outlets) == 1
        return 0 if whole else outlet.spec.number

    def _conclude(self, outlet: Outlet, order: Order, rung: Rung, default_ma: int, outcome: Outcome) -> None:
        """Accepted, refused (then the next rung is tried at once), or unknown."""
        if outcome.status == "Accepted":
            self.ladder.worked = True
            self.remember(rung=self.ladder.index)
            if rung.purpose != profiles.TX:
                outlet.row["default_ma"] = order.limit_ma
                outlet.restore_default |= outlet.transaction is None
            outlet.answer(order, Answer.ACCEPTED)
        elif outcome.payload is None and outcome.error not in NOT_PROCESSED:
            outlet.answer(order, Answer.UNKNOWN)
        else:
            if rung.purpose != profiles.TX:
                outlet.row["default_ma"] = default_ma
            self._climb_down(outlet, order, rung)
        self.changed()

    def _climb_down(self, outlet: Outlet, order: Order, rung: Rung) -> None:
        if outlet.waiting is not None:
            return  # a newer order has come meanwhile and tries its own luck
        if outlet.transaction is None:
            outlet.written = None
            outlet.waiting = order
            outlet.settle()
            return
        age_ms = self.clock.now_ms() - int(outlet.row["transaction_at_ms"])
        if (self.ladder.worked or age_ms < YOUNG_MS) and not outlet.tried_again:
            outlet.tried_again = True
            outlet.rests_until_ms = self.clock.now_ms() + AGAIN_MS
            outlet.waiting = order
            asyncio.get_running_loop().call_later(AGAIN_MS / 1000 + 0.01, self._wake)
            return
        leased = order.lease_until_ms != NEVER
        if rung != self.ladder.rung or self.ladder.next(leased=leased):
            outlet.waiting = order
        else:
            self._refuse(outlet, order)

    def _refuse(self, outlet: Outlet, order: Order) -> None:
        self.ladder.restart()
        self.say("profiles_refused", f"refuses every charging profile on connector {outlet.spec.number}.")
        outlet.answer(order, Answer.REFUSED)
        self.changed()

    def _wake(self) -> None:
        if self.link is not None:
            self.link.wake()

    def _say_default(self, outlet: Outlet) -> Outgoing:
        """The fallback in place of a live limit that was said as a default."""
        outlet.restore_default = False
        payload = self.default_profile(self.ladder.rung, outlet)
        return Outgoing("SetChargingProfile", payload, CALL_S, partial(self._restored, outlet))

    def default_profile(self, rung: Rung, outlet: Outlet, connector: int | None = None) -> Payload:
        """SetChargingProfile.req that makes the fallback what rules without a TxProfile."""
        where = self._profile_connector(outlet, rung) if connector is None else connector
        limit_ma = self.fallback_ma(outlet)
        if rung.unit == "W" and outlet.efficiency is None:  # all of it may flow on one phase
            limit_ma //= outlet.spec.phases
        limit = Limit(where, limit_ma, outlet.spec.phases, efficiency=outlet.efficiency)
        return profiles.set_charging_profile(rung, limit, self.clock.utc())

    def _restored(self, outlet: Outlet, outcome: Outcome) -> None:
        if outcome.status == "Accepted":
            outlet.row["default_ma"] = self.fallback_ma(outlet)
        elif outlet.transaction is None:
            asyncio.get_running_loop().call_later(RESTORE_AGAIN_S, self._restore_again, outlet)
        outlet.settle()
        self.changed()

    def _restore_again(self, outlet: Outlet) -> None:
        outlet.restore_default = outlet.transaction is None
        self._wake()

    # -- what is known ------------------------------------------------------------------------------

    def begin(self, outlet: Outlet, transaction_id: int) -> None:
        """A transaction of the ledger runs on a connector now."""
        transaction = self.ledger.transaction(self.identity, transaction_id)
        if transaction is None:
            return
        accepted = self.cards.authorize(transaction.tag)["status"] == "Accepted"
        card = self.cards.find(transaction.tag)
        outlet.begin(transaction, card or Card(transaction.tag), accepted=accepted)
        self._wake()
        self.changed()

    def adopt(self, outlet: Outlet, transaction_id: int) -> None:
        """A transaction that another central system has begun: controlled, and recorded as an orphan."""
        self.say("adopted", f"runs transaction {transaction_id}, which did not begin here; controlled.")
        utc = self.clock.utc()
        number = outlet.spec.number
        foreign = Transaction(transaction_id, self.identity, number, "", "", 0, utc, False, "")
        outlet.begin(foreign, Card(""))
        self._wake()
        self.changed()

    def end(self, outlet: Outlet, at_ms: int) -> None:
        """No transaction runs on a connector any more."""
        outlet.restore_default |= self.ladder.worked and self.ladder.rung.purpose != profiles.TX
        outlet.end(at_ms)
        self._wake()
        self.changed()

    def hear_current(self, outlet: Outlet, current_ma: Currents, at_ms: int) -> None:
        """A live reading. A limit in watts is said again when the car takes it on other phases."""
        outlet.hear_current(current_ma, at_ms)
        said = outlet.written if outlet.waiting is None and outlet.transaction is not None else None
        if said and self.ladder.rung.unit == "W" and outlet.phases_in_use(said) != outlet.written_phases:
            outlet.waiting = said
            self._wake()
        self.changed()

    def default_is(self, outlet: Outlet, limit_ma: int) -> None:
        """What rules without a transaction has been verified (UNKNOWN: it has not)."""
        outlet.row["default_ma"] = limit_ma
        outlet.settle()
        self.changed()

    def unsupported(self, refused: bool) -> None:
        """It has refused every default profile when it was brought in, or has taken one after all."""
        for outlet in self.outlets.values():
            outlet.row["unsupported"] = int(refused and self.online)
        self.changed()

    def booted(self, vendor: str, model: str, firmware: str, *, asked: bool) -> None:
        """A BootNotification; one that we did not ask for may mean that limits are lost."""
        old = self.record
        other = (old.vendor, old.model, old.firmware) != (vendor, model, firmware)
        if other:
            self.ladder = Ladder(len(self.outlets))
            if self.has_dc():
                self.ladder.units = frozenset({"W"})
            self.shunned_keys.clear()
        self.remember(
            vendor=vendor,
            model=model,
            firmware=firmware,
            boots=old.boots + (0 if asked else 1),
            rung=self.ladder.index,
            commissioned=old.commissioned and not other,
        )
        for outlet in self.outlets.values():
            outlet.row["firmware"] = self.firmware_number()
            if not asked:
                outlet.row["default_ma"] = UNKNOWN
        self.changed()

    def remember(self, **facts: Any) -> None:
        """Change what is kept of this box from one process to the next."""
        self.record = replace(self.record, **facts)
        self.ledger.keep_box(self.record)
