"""One clear line for everything that goes wrong outside: who, what, how to mend; never a flood of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

QUIET_S: Final = 60.0
MOST_REMEMBERED: Final = 2_000
LONGEST_QUOTE: Final = 120


@dataclass(frozen=True)
class Notice:
    """A thing that went wrong: `where` (identity, file), a short `kind` for counting, and a sentence."""

    where: str
    kind: str
    sentence: str


class Notices:
    """Writes the first of a kind at once and then one line a minute that counts the others.

    May be called from any thread; `on_notice` runs in the thread of the caller and must not block.
    """

    def __init__(
        self, seconds: Callable[[], float], on_notice: Callable[[Notice], None] | None = None
    ) -> None:
        self._seconds = seconds
        self._on_notice = on_notice
        self._log = structlog.get_logger("edge")
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def say(self, where: str, kind: str, sentence: str) -> None:
        """Log a sentence, unless the same kind at the same place was logged less than a minute ago."""
        with self._lock:
            unsaid = self._due(where, kind, self._seconds())
        if unsaid is None:
            return
        more = f" ({unsaid} more like this since the last line)" if unsaid else ""
        self._log.warning(sentence + more, where=where, kind=kind)
        if self._on_notice is not None:
            self._on_notice(Notice(where, kind, sentence))

    def _due(self, where: str, kind: str, now: float) -> int | None:
        """How many were kept quiet since the last line; None while it is too early for another."""
        said_at, unsaid = self._last.get((where, kind), (now - QUIET_S, 0))
        if now - said_at < QUIET_S:
            self._last[where, kind] = (said_at, unsaid + 1)
            return None
        self._last[where, kind] = (now, 0)
        self._last.move_to_end((where, kind))
        while len(self._last) > MOST_REMEMBERED:
            self._last.popitem(last=False)
        return unsaid


def quoted(text: object) -> str:
    """What a peer sent, safe to print on one line."""
    shown = repr(text)
    return shown if len(shown) <= LONGEST_QUOTE else shown[:LONGEST_QUOTE] + "..."
