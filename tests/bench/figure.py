"""What a measurement hands back, and how it tells that it goes on."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Figure(NamedTuple):
    """A measured number."""

    value: float
    unit: str
    how: str


def say(words: str) -> None:
    """A line of progress."""
    print(f"  {words}", file=sys.stderr, flush=True)
