"""One connector behind OCPP: its row of the process image, its transaction, and the life of its newest order.

An order waits until it can be said: with a transaction as a charging profile; without one it is already
fulfilled when the verified default is not above it, else it waits for a transaction to begin.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from controller.defaults import NEVER, PHASE_COUNT, UNKNOWN
from controller.image import Answer, Source, Status
from controller.site import Connector
from controller.topology import SOLAR_MODES
from hardware.cards import Card
from hardware.ledger import Transaction
from hardware.ocpp.readings import Currents

IN_USE_MA: Final = 500
MOMENT_MS: Final = 1_000  # messages that cross may come in the wrong order
STATUSES: Final = {
    "Available": Status.AVAILABLE,
    "Preparing": Status.PREPARING,
    "Charging": Status.CHARGING,
    "SuspendedEV": Status.SUSPENDED_EV,
    "SuspendedEVSE": Status.SUSPENDED_EVSE,
    "Finishing": Status.FINISHING,
    "Reserved": Status.RESERVED,
    "Unavailable": Status.UNAVAILABLE,
    "Faulted": Status.FAULTED,
}
OCCUPIED: Final = {Status.CHARGING, Status.SUSPENDED_EV, Status.SUSPENDED_EVSE}


class Order(NamedTuple):
    """A limit put down by the controller; `lease_until_ms` may be NEVER."""

    seq: int
    limit_ma: int
    lease_until_ms: int = NEVER
    phases: int = 0
    """To charge on, 1 or 3, where the box can choose; 0: it cannot."""


class Outlet:
    """`row` is its live record in the table of reports; `now_ms` and `utc` are the box's clock."""

    def __init__(
        self,
        spec: Connector,
        key: str,
        row: Any,
        now_ms: Callable[[], int],
        utc: Callable[[], datetime],
    ) -> None:
        self.spec = spec
        self.key = key
        self.row = row
        self._now_ms = now_ms
        self._utc = utc
        self.max_ma = round(spec.max_current_a * 1000)
        self.min_ma = round(spec.min_current_a * 1000)
        self.efficiency = spec.efficiency if spec.kind == "dc" else None
        """Of a DC outlet; None: AC."""
        self.waiting: Order | None = None
        self.tried_again = False
        self.rests_until_ms = 0
        self.written: Order | None = None
        """The order that last left, in this transaction."""
        self.written_phases: int = spec.phases
        self.transaction: Transaction | None = None
        self.began_ms = NEVER
        self.ended = 0
        """Number of the transaction that ended last: a reading that comes late may still name it."""
        self.restore_default = False
        """A transaction was controlled through the default profile, which must become the fallback again."""
        self.status_asked = False
        self.out_of_service: bool | None = False
        """It was told so, and has said that it does; None: told so, or back, and nothing heard yet."""
        self.told_again_ms = 0
        """Before this the last resort is not said once more."""

    # -- orders -------------------------------------------------------------------------------------

    def put(self, order: Order) -> None:
        """A newer order takes the place of one that has not left."""
        self.waiting = order
        self.tried_again = False
        self.rests_until_ms = 0
        self.settle()

    def settle(self) -> None:
        """Answer an order that the default already fulfils."""
        if self.waiting is None or self.transaction is not None or not self.row["online"]:
            return
        default_ma = self.row["default_ma"]
        if default_ma != UNKNOWN and self.waiting.limit_ma <= default_ma:
            self.answer(self.waiting, Answer.ACCEPTED)
            self.written = self.waiting
            self.waiting = None

    def answer(self, order: Order, answer: Answer) -> None:
        """Report the outcome of an order in the row."""
        self.row["answered_seq"] = order.seq
        self.row["answer"] = int(answer)
        self.row["answered_at_ms"] = self._now_ms()

    def is_ready(self) -> bool:
        """An order can leave now."""
        return (
            self.waiting is not None
            and self.transaction is not None
            and bool(self.row["online"])
            and self._now_ms() >= self.rests_until_ms
        )

    def is_lowering(self) -> bool:
        """The waiting order takes current away from what was last said."""
        if self.waiting is None:
            return False
        if self.written is not None:
            return self.waiting.limit_ma < self.written.limit_ma
        default_ma = self.row["default_ma"]
        return self.waiting.limit_ma < (self.max_ma if default_ma == UNKNOWN else int(default_ma))

    def phases_in_use(self, order: Order) -> int:
        """Phases that the last reading shows under load, or the last known; no more than ordered."""
        if self.efficiency is not None:
            return len(self.row["current_ma"])
        loaded = sum(1 for ma in self.row["current_ma"] if ma != UNKNOWN and ma > IN_USE_MA)
        return min(loaded or self.written_phases, order.phases or PHASE_COUNT)

    # -- what the box reports -----------------------------------------------------------------------

    def hear_status(self, status: Status, at_ms: int) -> bool:
        """A live StatusNotification. True: no transaction runs any more, whatever was not heard."""
        self.row["status"] = int(status)
        self.row["status_at_ms"] = at_ms
        free = status == Status.AVAILABLE and at_ms > self.began_ms + MOMENT_MS
        return free and self.transaction is not None

    def hear_current(self, current_ma: Currents, at_ms: int) -> None:
        """A live reading, in the connector's own phases."""
        if at_ms < self.row["reading_at_ms"]:
            return
        self.row["current_ma"] = current_ma
        self.row["reading_at_ms"] = at_ms

    def begin(self, transaction: Transaction, card: Card, *, accepted: bool = True) -> None:
        """A transaction runs, on this card; `started_utc` may be long ago. Not accepted: without current."""
        if self.transaction is not None and self.transaction.id == transaction.id:
            return
        self.transaction = transaction
        now_ms = self._now_ms()
        # A Relative schedule counts from its true start, which may be before this process.
        self.began_ms = now_ms - max(0, int((self._utc() - transaction.started_utc).total_seconds() * 1000))
        self.written_phases = self.spec.phases
        self.row["transaction"] = transaction.id
        self.row["transaction_at_ms"] = now_ms
        self._note_card(card)
        if not accepted:
            self.row["wish_ma"] = 0
            self.row["wish_source"] = Source.CARD
        below_default = self.written is not None and self.written.limit_ma < self.row["default_ma"]
        if self.waiting is None and below_default:
            self.waiting = self.written  # it was answered because nothing ran; now it has to be said
        self.written = None

    def _note_card(self, card: Card) -> None:
        """What the list says of a card, into the row."""
        self.row["weight_percent"] = card.weight_percent
        self.row["wish_ma"] = self.max_ma if card.wish_ma is None else min(card.wish_ma, self.max_ma)
        self.row["wish_source"] = Source.CARD if self.row["wish_ma"] < self.max_ma else Source.FUSE
        self.row["minimum_speed"] = card.minimum_speed
        self.row["never_zero"] = card.never_zero
        self.row["priority_class"] = card.priority_class
        self.row["solar"] = SOLAR_MODES.get(card.solar, 0)

    def end(self, at_ms: int) -> None:
        """The transaction is over and its TxProfile with it; an order for it that has not left is void."""
        self.ended = self.transaction.id if self.transaction is not None else self.ended
        self.transaction = None
        self.row["transaction"] = 0
        self.row["soc_percent"] = UNKNOWN
        self.row["transaction_at_ms"] = at_ms
        self._note_card(Card(""))
        self.written = None
        self.settle()
        if self.waiting is not None:
            self.answer(self.waiting, Answer.UNKNOWN)
            self.waiting = None
