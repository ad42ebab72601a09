"""A SQLite file with one writer thread, for what must be on disk before an answer leaves.

WAL and synchronous=FULL. Nothing here blocks the caller. While the disk is full or gone, who waits is
answered from memory and the work is kept for later; a damaged file is put aside under another name and a new
one begun from what memory knows.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hardware.notices import Notices

LAZY_S: Final = 2.0  # what need not be durable at once is written together
RETRY_S: Final = 10.0
PATIENCE_S: Final = 10.0  # drivers and boxes do not wait longer than this for an answer
MOST_LAZY_UNWRITTEN: Final = 5_000
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

Work = Callable[[sqlite3.Connection], Any]


@dataclass
class _Job:
    work: Work
    otherwise: Callable[[], Any] | None = None
    """The answer while the disk does not take it; None: nobody waits."""
    done: Future[Any] | None = None

    def answer(self, result: Any) -> None:
        if self.done is not None:
            with suppress(InvalidStateError):  # answered already, or nobody waits any more
                self.done.set_result(result)


class DurableFile:
    """`known` lists the work that puts into a new file what memory knows, when the old one is damaged.

    `added` are columns (table, name, declaration) that files of older editions do not have yet.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        notices: Notices,
        known: Callable[[], list[Work]],
        added: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        self._path = path
        self._schema = schema
        self._added = added
        self._notices = notices
        self._known = known
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unwritten: list[_Job] = []
        self._database: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._write, name=path.name, daemon=True)

    def open(self) -> sqlite3.Connection | None:
        """Open the file and start writing. The connection is for reading once, before any work is put."""
        self._database = self._reopen()
        self._thread.start()
        return self._database

    def close(self) -> None:
        """Write what waits and close the file."""
        self._jobs.put(None)
        self._thread.join(timeout=30)

    def put(self, work: Work) -> None:
        """Have something written within seconds."""
        self._jobs.put(_Job(work))

    async def durable(self, work: Work, otherwise: Callable[[], Any]) -> Any:
        """The result of `work` once it is on disk, or that of `otherwise` while the disk does not take it."""
        done: Future[Any] = Future()
        self._jobs.put(_Job(work, otherwise, done))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.wrap_future(done)
        except TimeoutError:  # a disk that hangs; the work stays in the queue
            self._complain(TimeoutError(f"it has not answered for {PATIENCE_S:g} s"))
            return otherwise()

    # -- in the writer's thread ---------------------------------------------------------------------

    def _write(self) -> None:
        going = True
        while going:
            jobs, going = self._batch()
            self._unwritten += jobs
            if self._unwritten:
                self._flush()
        if self._database is not None:
            self._database.close()

    def _batch(self) -> tuple[list[_Job], bool]:
        """Jobs to write together, and whether more will come."""
        jobs: list[_Job] = []
        patience_s = RETRY_S if self._unwritten else None
        while True:
            try:
                job = self._jobs.get(timeout=patience_s)
            except queue.Empty:
                return jobs, True
            if job is None:
                return jobs, False
            jobs.append(job)
            patience_s = 0 if job.done is not None or patience_s == 0 else LAZY_S

    def _flush(self) -> None:
        """Write everything that waits in one commit; who waits for an answer gets one either way."""
        try:
            answers = self._commit(self._unwritten)
        except (sqlite3.Error, OSError) as error:
            if not (_is_damage(error) and self._begin_anew(error)):
                self._keep_for_later(error)
            return
        for job, answer in zip(self._unwritten, answers, strict=True):
            job.answer(answer)
        self._unwritten = []

    def _keep_for_later(self, error: BaseException) -> None:
        for job in self._unwritten:
            job.answer(job.otherwise() if job.otherwise else None)
        lazy = [job for job in self._unwritten if job.otherwise is None]
        too_many = set(map(id, lazy[:-MOST_LAZY_UNWRITTEN]))
        self._unwritten = [job for job in self._unwritten if id(job) not in too_many]
        self._complain(error)

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        if self._database is None:
            self._database = self._reopen()
        database = self._database
        if database is None:
            raise sqlite3.OperationalError("unable to open database file")
        try:
            database.execute("BEGIN IMMEDIATE")
            answers = [self._one(database, job) for job in jobs]
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise
        return answers

    def _one(self, database: sqlite3.Connection, job: _Job) -> Any:
        """A record that no database would take must not keep the others from it."""
        try:
            return job.work(database)
        except (OverflowError, UnicodeError, sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
            self._notices.say(str(self._path), "record_unwritable", f"A record cannot be kept: {error}.")
            return job.otherwise() if job.otherwise else None

    def _begin_anew(self, error: BaseException) -> bool:
        """Put the damaged file aside and write into a new one what memory knows."""
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        try:
            self._set_aside(error)
            known = [_Job(work) for work in self._known()]
            answers = self._commit(known + self._unwritten)[len(known) :]
        except (sqlite3.Error, OSError):
            return False
        for job, answer in zip(self._unwritten, answers, strict=True):
            job.answer(answer)
        self._unwritten = []
        return True

    def _reopen(self) -> sqlite3.Connection | None:
        """The file, ready to write; None when it cannot be had now."""
        try:
            try:
                return _connect(self._path, self._schema, self._added)
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                return _connect(self._path, self._schema, self._added)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            return None

    def _set_aside(self, error: BaseException) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self._notices.say(
            str(self._path),
            "file_damaged",
            f"{self._path} is damaged ({error}); it is kept as {aside.name} and a new one is begun:"
            " have its records recovered from there.",
        )

    def _complain(self, error: BaseException) -> None:
        self._notices.say(
            str(self._path),
            "file_unwritable",
            f"{self._path} cannot be written ({error}): work goes on from memory and {len(self._unwritten)}"
            " records wait; free disk space or mend the path before the next restart.",
        )


def _is_damage(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _connect(path: Path, schema: str, added: tuple[tuple[str, str, str], ...]) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            fault = sqlite3.DatabaseError(str(verdict))
            fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise fault
        database.executescript(schema)
        for table, column, declaration in added:
            there = {row["name"] for row in database.execute(f"PRAGMA table_info({table})")}
            if column not in there:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
    except sqlite3.Error:
        database.close()
        raise
    return database
