"""The book on disk: what every connector may draw, durable before the order that allows it leaves.

An order may leave once the book on disk covers its target. So a raise waits for its commit, milliseconds on
a healthy disk; a lowering never waits; and while the disk takes nothing, nothing is raised.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from controller import restart
from controller.decision import Memory, first_memory
from controller.restart import PAGE
from controller.table import Table
from controller.topology import Topology
from hardware.durable import RETRY_S, DurableFile, Work
from hardware.links import CannotStart
from hardware.notices import Notices

PATIENCE_S: Final = 2.0
_COLUMNS: Final = tuple(PAGE.names or ())
_EDITION: Final = "_".join(_COLUMNS)  # a book of another edition is not read
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS edition (columns TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS pages (
  connector TEXT PRIMARY KEY, {", ".join(f'"{name}" INTEGER NOT NULL' for name in _COLUMNS)}
) STRICT;
"""
_UPSERT: Final = f"INSERT OR REPLACE INTO pages VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608 (names of ours)


class Book:
    """Opened once; every method is for the thread of the event loop and none of them blocks."""

    def __init__(
        self, path: Path, topology: Topology, notices: Notices, on_durable: Callable[[], None]
    ) -> None:
        self._path = path
        self._topology = topology
        self._names = topology.connector_names
        self._notices = notices
        self._on_durable = on_durable
        self._writing: asyncio.Task[None] | None = None
        self._newest: Table = restart.pages(topology, first_memory(topology))
        self._on_disk: Table | None = None
        existed = path.exists()
        self._file = DurableFile(path, _SCHEMA, notices, self._known)
        self.found = self._read(self._file.open(), existed)
        """Pages by connector name; None when there was a book and it cannot be read."""
        self.left: dict[str, Table] = restart.leftovers(topology, self.found or {})
        """Pages of what an earlier site file had, and this one has no more or elsewhere."""
        self._file.put(self._keep_left)
        self._on_disk = self._pages_found()
        if self._on_disk is not None:
            self._newest = self._on_disk
        self._covered: Table = self._newest["committed_ma"].copy()

    def covers(self) -> Table:
        """The highest target of each connector that may leave now, mA: the least a restart could find."""
        return self._covered

    def write(self, memory: Memory) -> None:
        """Have the book of this cycle written; `on_durable` is called when it is on disk."""
        self._newest = restart.pages(self._topology, memory)
        self._covered = np.minimum(self._covered, self._newest["committed_ma"])
        if self._writing is not None:
            return
        if _changed(self._newest, self._on_disk).any():
            self._writing = asyncio.get_running_loop().create_task(self._write())
        else:
            self._covered = self._newest["committed_ma"].copy()

    def forget(self, connector: str) -> None:
        """What is left of a connector surely draws nothing any more: no restart counts it again."""
        del self.left[connector]
        self._file.put(
            lambda database: database.execute("DELETE FROM pages WHERE connector = ?", (connector,))
        )

    async def written(self) -> None:
        """Wait until the newest book is on disk; for ever, while the disk takes nothing."""
        if (writing := self._writing) is not None:
            await asyncio.wait([writing])

    async def close(self) -> None:
        """Write what waits and close the file."""
        if (writing := self._writing) is not None:
            await asyncio.wait([writing], timeout=PATIENCE_S)
            writing.cancel()
        await asyncio.to_thread(self._file.close)

    async def _write(self) -> None:
        """Commit the newest book, and then what came meanwhile; after a refusal of the disk, wait."""
        try:
            while _changed(self._newest, self._on_disk).any():
                book = await self._file.durable(self._upsert, lambda: None)
                if book is None:
                    self._on_disk = None  # the disk may take it later, when memory has moved on
                    self._notices.say(
                        str(self._path),
                        "raises_held",
                        "The commitments cannot be made durable, so no connector is raised until they can.",
                    )
                    await asyncio.sleep(RETRY_S)
                    continue
                self._on_disk = book
                self._covered = np.minimum(book["committed_ma"], self._newest["committed_ma"])
                self._on_durable()
        finally:
            self._writing = None

    def _upsert(self, database: sqlite3.Connection) -> Table:
        """In the writer's thread: the pages that differ from those on disk; the book that is then there."""
        book = self._newest
        self._write_pages(database, book, np.flatnonzero(_changed(book, self._on_disk)).tolist())
        return book

    def _known(self) -> list[Work]:
        """What goes into a new file when the old one was damaged while running."""
        book = self._newest
        return [lambda database: self._write_pages(database, book, list(range(len(book)))), self._keep_left]

    def _keep_left(self, database: sqlite3.Connection) -> None:
        """Before a page of its name is overwritten by what happens at its new place."""
        database.executemany(_UPSERT, [(name, *page.tolist()) for name, page in self.left.items()])

    def _write_pages(self, database: sqlite3.Connection, book: Table, rows: list[int]) -> None:
        database.execute("DELETE FROM edition WHERE columns <> ?", (_EDITION,))
        database.execute("INSERT OR IGNORE INTO edition VALUES (?)", (_EDITION,))
        database.executemany(_UPSERT, [(self._names[row], *book[row].tolist()) for row in rows])

    def _read(self, database: sqlite3.Connection | None, existed: bool) -> dict[str, Table] | None:
        if database is None:
            return None if existed else {}
        editions = [row[0] for row in database.execute("SELECT columns FROM edition")]
        if existed and editions != [_EDITION]:
            self._notices.say(
                str(self._path),
                "book_lost",
                "The commitments of the last run cannot be read: every connector is booked at its rating"
                " until it has obeyed an order.",
            )
            return None
        return {row[0]: np.array(tuple(row)[1:], PAGE) for row in database.execute("SELECT * FROM pages")}

    def _pages_found(self) -> Table | None:
        """The book as on disk in the rows of this topology, when every connector stands in it."""
        if not self.found or any(name not in self.found for name in self._names):
            return None
        return np.array([self.found[name] for name in self._names], PAGE)


def _changed(newest: Table, on_disk: Table | None) -> Table:
    """Which pages differ from those on disk."""
    return np.ones(len(newest), np.bool_) if on_disk is None else newest != on_disk


async def forget_left(path: Path, topology: Topology, connector: str) -> None:
    """Strike what is left of a connector out of the book of a box that does not run. Raises CannotStart."""
    left: list[str] = []
    if await asyncio.to_thread(path.exists):
        book = Book(path, topology, Notices(asyncio.get_running_loop().time), lambda: None)
        left = list(book.left)
        if connector in left:
            book.forget(connector)
        await book.close()
    if connector not in left:
        known = ", ".join(f'"{name}"' for name in left) or "nothing"
        raise CannotStart(f'the book has nothing left of "{connector}"; it has {known}.')
