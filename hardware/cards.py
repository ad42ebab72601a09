"""The local card list: who may charge, with which weight, while no back office is asked.

Card numbers are at most 20 characters and the same in capitals and small letters (OCPP 1.6 section 7.28).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from controller.topology import SOLAR_MODES
from hardware.ledger import Ledger

LONGEST_TAG: Final = 20
NORMAL_PERCENT: Final = 100
LAST_CLASS: Final = 9


@dataclass(frozen=True)
class Card:
    """A card of the list. `seen` cards were used here and nobody has decided about them."""

    tag: str
    state: Literal["accepted", "blocked", "seen"] = "accepted"
    weight_percent: int = NORMAL_PERCENT
    wish_ma: int | None = None
    """Most that this card's sessions get; None: whatever the outlet can."""
    minimum_speed: bool = False
    """Its sessions charge at the least current."""
    never_zero: bool = False
    """Its car does not wake up again: the last to be turned off."""
    priority_class: int = 0
    """1 is served before 9; 0: that of the outlet."""
    solar: str = ""
    """How it charges with surplus of sun: off, boost, solar_only; "": as its grid says."""
    expires_utc: datetime | None = None
    parent: str = ""
    name: str = ""
    uses: int = 0
    last_used_utc: datetime | None = None


class Cards:
    """Answers Authorize from memory; the ledger keeps the list.

    `unknown_cards` decides about cards nobody has entered: `accept` lets them charge and remembers them.
    """

    def __init__(
        self,
        ledger: Ledger,
        utc: Callable[[], datetime],
        unknown_cards: Literal["accept", "refuse"] = "accept",
    ) -> None:
        self._ledger = ledger
        self._utc = utc
        self._unknown_cards = unknown_cards
        self._cards = {row["tag"]: _card(row) for row in ledger.load_cards()}

    def __iter__(self) -> Any:
        """Every card, in the order of their numbers."""
        return iter(sorted(self._cards.values(), key=lambda card: card.tag))

    def find(self, tag: str) -> Card | None:
        """The card of that number."""
        return self._cards.get(tag.upper())

    def put(self, card: Card) -> None:
        """Enter a card or change it. Raises ValueError with a sentence."""
        if not 1 <= len(card.tag) <= LONGEST_TAG:
            raise ValueError(f'card "{card.tag}": a number has 1 to {LONGEST_TAG} characters')
        if not 1 <= card.weight_percent <= 1000:
            raise ValueError(f'card "{card.tag}": weight_percent is 1 to 1000, not {card.weight_percent}')
        if not 0 <= card.priority_class <= LAST_CLASS:
            raise ValueError(
                f'card "{card.tag}": priority_class is 1 to {LAST_CLASS}, or 0, not {card.priority_class}'
            )
        if card.solar and card.solar not in SOLAR_MODES:
            known = ", ".join(SOLAR_MODES)
            raise ValueError(f'card "{card.tag}": solar is one of {known}, or left out, not "{card.solar}"')
        card = replace(card, tag=card.tag.upper())
        self._cards[card.tag] = card
        self._ledger.keep_card(_row(card))

    def remove(self, tag: str) -> None:
        """Forget a card; no error when there is none."""
        if self._cards.pop(tag.upper(), None) is not None:
            self._ledger.drop_card(tag.upper())

    def authorize(self, tag: str) -> dict[str, str]:
        """The idTagInfo of OCPP: Accepted, Blocked, Expired or Invalid."""
        card = self.find(tag)
        if card is None or card.state == "seen":
            return {"status": "Accepted" if self._unknown_cards == "accept" else "Invalid"}
        if card.state == "blocked":
            return {"status": "Blocked"}
        info = {"status": "Accepted"}
        if card.expires_utc is not None:
            info["status"] = "Accepted" if card.expires_utc > self._utc() else "Expired"
            info["expiryDate"] = card.expires_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        if card.parent:
            info["parentIdTag"] = card.parent
        return info

    def used(self, tag: str) -> Card:
        """Count a use and return the card, new to the list if nobody has entered it."""
        card = self.find(tag) or Card(tag.upper(), state="seen")
        card = replace(card, uses=card.uses + 1, last_used_utc=self._utc())
        self._cards[card.tag] = card
        self._ledger.keep_card(_row(card))
        return card


def _row(card: Card) -> dict[str, Any]:
    row = {name: getattr(card, name) for name in Card.__dataclass_fields__}
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


def _card(row: dict[str, Any]) -> Card:
    times = {key: row[key] and datetime.fromisoformat(row[key]) for key in ("expires_utc", "last_used_utc")}
    marks = {key: bool(row[key]) for key in ("minimum_speed", "never_zero")}
    return Card(**{**row, **times, **marks})
