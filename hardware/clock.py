"""The one clock of the box: monotonic milliseconds since start, and UTC anchored to them.

`ScaledEventLoop` makes time pass faster for a whole process: every sleep, time-out, ping and poll of
asyncio, websockets and pymodbus runs on `loop.time()`, so the production code is the same at any speed.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any


class Clock:
    """`now_ms` never jumps; `utc` is what the calendar said at start plus what has passed since."""

    def __init__(self, seconds: Callable[[], float], utc_at_start: datetime | None = None) -> None:
        self._seconds = seconds
        self._origin_s = seconds()
        self._utc_at_start = utc_at_start or datetime.now(UTC)

    def now_ms(self) -> int:
        """Milliseconds since the clock was made, starting at 1 so that 0 is never a real time."""
        return 1 + int((self._seconds() - self._origin_s) * 1000)

    def utc(self) -> datetime:
        """Aware UTC."""
        return self._utc_at_start + timedelta(seconds=self._seconds() - self._origin_s)

    def utc_ms(self) -> int:
        """UTC in ms since 1970."""
        return int(self.utc().timestamp() * 1000)


class SteppedSeconds:
    """A source of seconds that moves only when told to: the clock of lock-step tests."""

    def __init__(self) -> None:
        self.value = 0.0

    def __call__(self) -> float:
        """Seconds as last set."""
        return self.value


class _ScaledSelector(selectors.DefaultSelector):
    """Waits `speed` times shorter than it is asked to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / self._speed if timeout and timeout > 0 else timeout)


class ScaledEventLoop(asyncio.SelectorEventLoop):
    """An event loop on which `speed` seconds pass in one second of the wall."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._wall_s = time.monotonic()
        super().__init__(_ScaledSelector(speed))

    def time(self) -> float:
        """Scaled monotonic seconds."""
        return self._wall_s + (time.monotonic() - self._wall_s) * self._speed


def run(main: Any, speed: float = 1.0) -> Any:
    """`asyncio.run` on a loop of the given speed."""
    with asyncio.Runner(loop_factory=lambda: ScaledEventLoop(speed)) as runner:
        return runner.run(main)
