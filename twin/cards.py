"""What the card list of a site says of the cards of its drivers."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from controller.quantities import FrozenTable


class CardTerms(FrozenTable):
    """What it says of a card."""

    weight_percent: Annotated[int, Field(ge=1, le=1000)] = 100
    minimum_speed: bool = False
    never_zero: bool = False
    priority_class: Annotated[int, Field(ge=0, le=9)] = 0
    """0: that of the outlet."""
    solar: Literal["off", "boost", "solar_only"] | None = None
    """How it charges with surplus of sun; left out: as its grid says."""


UNLISTED: Final = CardTerms()
"""Of a card that is not on it."""
