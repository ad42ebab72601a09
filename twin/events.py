"""What happens on a site, for whoever has to react: small frozen facts in the order of time."""

from __future__ import annotations

from dataclasses import dataclass

from controller.image import Status


@dataclass(frozen=True, slots=True)
class Plugged:
    """A car has been connected."""

    at_ms: int
    connector: int


@dataclass(frozen=True, slots=True)
class CardPresented:
    """Somebody holds a card to the box: answer with `start_transaction` or `refuse_card`."""

    at_ms: int
    connector: int
    card: str


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The status of a connector is another one since `at_ms`."""

    at_ms: int
    connector: int
    status: Status


@dataclass(frozen=True, slots=True)
class TransactionStarted:
    """A transaction runs; `energy_wh` is the register at its start."""

    at_ms: int
    connector: int
    transaction: int
    energy_wh: float


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A transaction is over; `reason` is one of OCPP's (EVDisconnected, Local, Remote, PowerLoss)."""

    at_ms: int
    connector: int
    transaction: int
    energy_wh: float
    reason: str


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The car has left."""

    at_ms: int
    connector: int


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The link of a chargepoint went down or came back."""

    at_ms: int
    chargepoint: str
    up: bool


@dataclass(frozen=True, slots=True)
class FuseTripped:
    """The fuse of a grid has opened and everything under it is dark."""

    at_ms: int
    grid: str


Event = (
    Plugged
    | CardPresented
    | StatusChanged
    | TransactionStarted
    | TransactionEnded
    | Unplugged
    | LinkChanged
    | FuseTripped
)
