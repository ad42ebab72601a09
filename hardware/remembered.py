"""What a restart would forget though somebody counts on it: wishes of drivers, a battery's peak of the month.

Neither decides about safety, so nothing waits for it in the loop: a wish is on disk before its answer, a peak
within a minute.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from controller.decision import Memory
from controller.topology import Topology
from hardware.durable import DurableFile, Work
from hardware.notices import Notices

PEAKS_EVERY_MS: Final = 60_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS wishes (
  connector TEXT PRIMARY KEY, session INTEGER NOT NULL, departure_utc_ms INTEGER NOT NULL,
  energy_wh INTEGER NOT NULL, got_wh INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS peaks (
  battery TEXT PRIMARY KEY, month INTEGER NOT NULL, peak_ma INTEGER NOT NULL,
  quarter INTEGER NOT NULL, quarter_mas INTEGER NOT NULL
) STRICT;
"""
_PEAK: Final = ("month", "peak_ma", "quarter", "quarter_mas")
"""Columns of `peaks`, as in `BATTERY_MEMORY`."""


class KeptWish(NamedTuple):
    """A wish as it was told; `got_wh` is what its session had taken when it was last written."""

    session: int
    departure_utc_ms: int
    energy_wh: int
    got_wh: int = 0


class Remembered:
    """Opened once; no method blocks. `forget` and `put` may be called from any thread."""

    def __init__(self, path: Path, topology: Topology, notices: Notices) -> None:
        self._names = topology.battery_names
        self._peaks_due_ms = 0
        self.wishes: dict[str, KeptWish] = {}
        self._peaks: dict[str, tuple[int, ...]] = {}
        self._file = DurableFile(path, _SCHEMA, notices, self._known)
        database = self._file.open()
        for row in database.execute("SELECT * FROM wishes") if database is not None else ():
            self.wishes[row["connector"]] = KeptWish(*tuple(row)[1:])
        for row in database.execute("SELECT * FROM peaks") if database is not None else ():
            self._peaks[row["battery"]] = tuple(row)[1:]

    def close(self) -> None:
        """Write what waits and close the file."""
        self._file.close()

    # -- wishes ---------------------------------------------------------------------------------------

    def put(self, connector: str, wish: KeptWish) -> None:
        """Have it written within seconds."""
        self.wishes[connector] = wish
        self._file.put(_wish(connector, wish))

    async def durable(self, connector: str) -> bool:
        """True once the wish of a connector is on disk; False when the disk does not take it."""
        return bool(await self._file.durable(_wish(connector, self.wishes[connector]), _not_on_disk))

    def forget(self, connector: str) -> None:
        """Its session is over."""
        if self.wishes.pop(connector, None) is not None:
            self._file.put(
                lambda database: database.execute("DELETE FROM wishes WHERE connector = ?", (connector,))
            )

    # -- peaks ----------------------------------------------------------------------------------------

    def restore(self, memory: Memory) -> None:
        """Put the peaks back into a Memory that knows of none."""
        for row, name in enumerate(self._names):
            for field, value in zip(_PEAK, self._peaks.get(name, ()), strict=False):
                memory.batteries[row][field] = value

    def note(self, memory: Memory, now_ms: int, *, trusted: bool) -> None:
        """Keep the peaks of this cycle, once a minute; without a trusted calendar nobody knows the month."""
        if not self._names or not trusted or now_ms < self._peaks_due_ms:
            return
        self._peaks_due_ms = now_ms + PEAKS_EVERY_MS
        for row, name in enumerate(self._names):
            peak = tuple(int(memory.batteries[row][field]) for field in _PEAK)
            if self._peaks.get(name) != peak:
                self._peaks[name] = peak
                self._file.put(_peak(name, peak))

    def _known(self) -> list[Work]:
        wishes = [_wish(connector, wish) for connector, wish in list(self.wishes.items())]
        return wishes + [_peak(name, peak) for name, peak in list(self._peaks.items())]


def _not_on_disk() -> bool:
    return False


def _wish(connector: str, wish: KeptWish) -> Work:
    def write(database: sqlite3.Connection) -> bool:
        database.execute("INSERT OR REPLACE INTO wishes VALUES (?, ?, ?, ?, ?)", (connector, *wish))
        return True

    return write


def _peak(battery: str, peak: tuple[int, ...]) -> Work:
    def write(database: sqlite3.Connection) -> None:
        database.execute("INSERT OR REPLACE INTO peaks VALUES (?, ?, ?, ?, ?)", (battery, *peak))

    return write
