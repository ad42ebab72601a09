"""What the live view remembers: the last hour in a bounded number of steps, and the alarms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller import explain
from controller.decision import Alarm, Decision
from controller.defaults import UNKNOWN
from controller.explain import Kind, Scene
from controller.words import Advice

HOUR_MS: Final = 3_600_000
STEP_MS: Final = 10_000
STEPS: Final = HOUR_MS // STEP_MS
ALARMS_KEPT: Final = 500

Series = NDArray[np.int64]


class LastHour:
    """The last hour in steps of 10 s. A step keeps the highest load and the lowest limit, so no peak is lost.

    Currents mA, `UNKNOWN` where a whole step knew none. Shapes: grids `(steps, grids, 3)`, connectors
    `(steps, connectors)`.
    """

    def __init__(self, grids: int, connectors: int) -> None:
        self._at_ms = np.zeros(STEPS, np.int64)
        self._grids = {
            field: np.zeros((STEPS, grids, 3), np.int64)
            for field in ("measured_ma", "booked_ma", "other_ma", "limit_ma")
        }
        self._connectors = {
            field: np.zeros((STEPS, connectors), np.int64) for field in ("gets_ma", "draws_ma")
        }
        self._first = self._count = 0

    def add(self, utc_ms: int, decision: Decision, draws_ma: Series) -> None:
        """Take a cycle into the newest step, or begin one; a clock set back drops what is later than now."""
        while self._count and self._at_ms[self._newest()] > utc_ms:
            self._count -= 1
        fresh = not self._count or utc_ms >= self._at_ms[self._newest()] + STEP_MS
        if fresh:
            self._begin(utc_ms)
        step = self._newest()
        rows = decision.grids
        estimate_ma = rows["estimate_ma"]
        booked_ma = np.where(estimate_ma == UNKNOWN, UNKNOWN, estimate_ma + rows["committed_ma"])
        for field, now_ma, keep in (
            ("measured_ma", rows["measured_ma"], np.maximum),
            ("booked_ma", booked_ma, np.maximum),
            ("other_ma", estimate_ma, np.maximum),
            ("limit_ma", rows["limit_ma"], np.minimum),
        ):
            kept_ma = self._grids[field][step]
            kept_ma[:] = now_ma if fresh else keep(kept_ma, now_ma)
        self._connectors["gets_ma"][step] = decision.connectors["target_ma"]
        self._connectors["draws_ma"][step] = draws_ma

    def _newest(self) -> int:
        return (self._first + self._count - 1) % STEPS

    def _begin(self, utc_ms: int) -> None:
        while self._count == STEPS or (self._count and self._at_ms[self._first] <= utc_ms - HOUR_MS):
            self._first = (self._first + 1) % STEPS
            self._count -= 1
        self._count += 1
        self._at_ms[self._newest()] = utc_ms

    def of_grid(self, grid: int) -> tuple[Series, dict[str, Series]]:
        """Times (UTC ms) and `(steps, 3)` arrays by field."""
        order = self._order()
        return self._at_ms[order], {field: kept[order, grid] for field, kept in self._grids.items()}

    def of_connector(self, connector: int) -> tuple[Series, dict[str, Series]]:
        """Times (UTC ms) and `(steps,)` arrays by field."""
        order = self._order()
        return self._at_ms[order], {field: kept[order, connector] for field, kept in self._connectors.items()}

    def _order(self) -> Series:
        return (self._first + np.arange(self._count)) % STEPS


@dataclass(slots=True)
class AlarmRecord:
    """An alarm that came, and when it went; `advice` is set when it goes."""

    kind: Kind
    row: int
    alarm: Alarm
    since_ms: int
    until_ms: int | None = None
    advice: Advice | None = None


class AlarmLog:
    """The alarms that stand and those that went, newest first when read."""

    def __init__(self) -> None:
        self._standing: dict[tuple[Kind, int, Alarm], AlarmRecord] = {}
        self._gone: deque[AlarmRecord] = deque(maxlen=ALARMS_KEPT)
        self._seen = b""

    def note(self, scene: Scene, before: Scene | None, utc_ms: int) -> None:
        """Compare with the cycle before; costs next to nothing when no alarm changed."""
        tables = scene.decision
        now = (tables.site["alarm"], tables.grids["alarm"], tables.connectors["alarm"])
        seen = b"".join(column.tobytes() for column in now)
        if seen == self._seen:
            return
        self._seen = seen
        # The site's row repeats what its grids and connectors say; only what none of them says is its own.
        told = np.bitwise_or.reduce(now[1], initial=0) | np.bitwise_or.reduce(now[2], initial=0)
        now = (now[0] & ~told, now[1], now[2])
        kinds: tuple[Kind, ...] = ("site", "grid", "connector")
        standing = {
            (kind, int(row), alarm)
            for kind, column in zip(kinds, now, strict=True)
            for row in np.flatnonzero(column)
            for alarm in Alarm(int(column[row]))
        }
        for key in self._standing.keys() - standing:
            gone = self._standing.pop(key)
            gone.until_ms = utc_ms
            gone.advice = explain.advice(before or scene, *key)
            self._gone.append(gone)
        for key in standing - self._standing.keys():
            self._standing[key] = AlarmRecord(*key, since_ms=utc_ms)

    def records(self) -> list[AlarmRecord]:
        """Standing ones first, each part newest first."""
        standing = sorted(self._standing.values(), key=lambda one: (-one.since_ms, one.kind, one.row))
        return standing + sorted(self._gone, key=lambda one: -(one.until_ms or 0))
