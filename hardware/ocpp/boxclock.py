"""How old is what a chargepoint says, whatever its own clock says.

Boxes without a battery start in 1970, some write local time and call it UTC. A box is told the time by
BootNotification.conf and Heartbeat.conf; a reading that we have just triggered shows how wrong it is still.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

LIVE_MS: Final = 60_000  # older messages are history: they come from a queue and move nothing
PROMPT_MS: Final = 3_000  # a delay that small is the line's, not the message's
FIRST_YEAR: Final = 2020


class BoxClock:
    """Learns the error of one clock."""

    def __init__(self) -> None:
        self._error_ms: int | None = None

    def is_plausible(self, timestamp: datetime | None, utc: datetime) -> bool:
        """Whether a time may be written into a receipt: not before 2020 and not in the future."""
        return (
            timestamp is not None
            and timestamp.year >= FIRST_YEAR
            and (timestamp - utc).total_seconds() * 1000 <= LIVE_MS
        )

    def learn(self, timestamp: datetime | None, utc: datetime) -> None:
        """`timestamp` is known to have been written just now."""
        if timestamp is not None:
            self._error_ms = _since_ms(timestamp, utc)

    def forget(self) -> None:
        """The box has just been told the time."""
        self._error_ms = None

    def age_ms(self, timestamp: datetime | None, utc: datetime) -> int:
        """Age of a message received at `utc`; 0 when its time makes no sense at all."""
        if timestamp is None:
            return 0
        lag_ms = _since_ms(timestamp, utc)
        ages = [lag_ms] if timestamp.year >= FIRST_YEAR else []
        if self._error_ms is not None:
            ages.append(lag_ms - self._error_ms)
        age_ms = min((age for age in ages if age >= -LIVE_MS), default=0)
        return age_ms if age_ms > PROMPT_MS else 0


def _since_ms(timestamp: datetime, utc: datetime) -> int:
    return int((utc - timestamp).total_seconds() * 1000)
