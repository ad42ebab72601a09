"""What must never be lost: transactions, cards and what is known of every box, in SQLite.

A transaction is on disk before its answer leaves. When the disk is full or gone, the answer (Accepted still)
is given from memory and the record is written later: a session is worth more than its receipt.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from controller.defaults import HISTORY_SESSIONS
from hardware.durable import DurableFile, Work
from hardware.notices import Notices

FIRST_ID: Final = 1_000_000_000  # own transaction ids: clear of every back office's, within 31 bits
IDS_AHEAD: Final = 1_000
ENERGY_EVERY_S: Final = 300

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cards (
  tag TEXT PRIMARY KEY, state TEXT NOT NULL, weight_percent INTEGER NOT NULL, wish_ma INTEGER,
  expires_utc TEXT, parent TEXT NOT NULL, name TEXT NOT NULL, uses INTEGER NOT NULL, last_used_utc TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS boxes (
  identity TEXT PRIMARY KEY, vendor TEXT NOT NULL, model TEXT NOT NULL, firmware TEXT NOT NULL,
  boots INTEGER NOT NULL, rung INTEGER NOT NULL, commissioned INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS transactions (
  id INTEGER PRIMARY KEY, identity TEXT NOT NULL, connector INTEGER NOT NULL, tag TEXT NOT NULL,
  timestamp TEXT NOT NULL, meter_start_wh INTEGER NOT NULL,
  started_utc TEXT NOT NULL, clock_trusted INTEGER NOT NULL, request TEXT NOT NULL,
  energy_wh INTEGER, energy_utc TEXT,
  ended_utc TEXT, meter_stop_wh INTEGER, reason TEXT, stop_request TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS by_start ON transactions (identity, timestamp);
CREATE TABLE IF NOT EXISTS meter_values (
  transaction_id INTEGER NOT NULL, at_utc TEXT NOT NULL, energy_wh INTEGER NOT NULL,
  PRIMARY KEY (transaction_id, at_utc)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orphans (
  identity TEXT NOT NULL, transaction_id INTEGER NOT NULL, ended_utc TEXT NOT NULL,
  stop_request TEXT NOT NULL,
  UNIQUE (identity, stop_request)
) STRICT;
"""

_ADDED: Final = (
    ("cards", "minimum_speed", "INTEGER NOT NULL DEFAULT 0"),
    ("cards", "never_zero", "INTEGER NOT NULL DEFAULT 0"),
    ("cards", "priority_class", "INTEGER NOT NULL DEFAULT 0"),
    ("cards", "solar", "TEXT NOT NULL DEFAULT ''"),
)


@dataclass(frozen=True)
class Transaction:
    """A transaction that has begun; `request` is the StartTransaction.req as it came, for later delivery."""

    id: int
    identity: str
    connector: int
    tag: str
    timestamp: str
    """As the box wrote it: part of what makes a repeated message the same."""
    meter_start_wh: int
    started_utc: datetime
    clock_trusted: bool
    request: str
    ended: bool = False


@dataclass(frozen=True)
class Stop:
    """What a StopTransaction.req says; `request` is its text."""

    ended_utc: datetime
    meter_stop_wh: int
    reason: str
    request: str


@dataclass(frozen=True)
class BoxRecord:
    """What is remembered of a chargepoint from one connection to the next."""

    identity: str
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    boots: int = 0
    rung: int = 0
    commissioned: bool = False


class Ledger:
    """Opened once per process; every method is for the thread of the event loop and none of them blocks."""

    def __init__(self, path: Path, notices: Notices) -> None:
        self._path = path
        self._energy_written: dict[int, datetime] = {}
        self._open: dict[int, Transaction] = {}
        self._boxes: dict[str, BoxRecord] = {}
        self._cards: dict[str, dict[str, Any]] = {}
        self._next_id = FIRST_ID + int(datetime.now(UTC).timestamp() / 10) % 500_000_000
        self._file = DurableFile(path, _SCHEMA, notices, self._known, _ADDED)
        database = self._file.open()
        if database is not None:
            self._load(database)

    def close(self) -> None:
        """Write what waits and close the file."""
        self._file.close()

    # -- reading: from memory -----------------------------------------------------------------------

    def load_cards(self) -> list[dict[str, Any]]:
        """Rows of the card list."""
        return list(self._cards.values())

    def box(self, identity: str) -> BoxRecord:
        """What is remembered of a chargepoint; blank when it is new."""
        return self._boxes.get(identity) or BoxRecord(identity)

    def transaction(self, identity: str, transaction_id: int) -> Transaction | None:
        """An open transaction."""
        found = self._open.get(transaction_id)
        return found if found is not None and found.identity == identity else None

    def running(self, identity: str, connector: int) -> Transaction | None:
        """The newest open transaction of a connector; older ones have lost their StopTransaction."""
        mine = [t for t in self._open.values() if (t.identity, t.connector) == (identity, connector)]
        return max(mine, key=lambda transaction: transaction.id, default=None)

    def history(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest transactions from the file, newest first. Blocks: call it in another thread."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute(
                "SELECT * FROM transactions ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [dict(row) for row in rows]

    def past(self, tags: set[str], limit: int = HISTORY_SESSIONS) -> dict[str, list[tuple[int, int]]]:
        """Stay in ms and Wh of the newest finished transactions of each card, the newest last. Blocks."""
        found: dict[str, list[tuple[int, int]]] = {}
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)) as database:
            for tag in tags:
                rows = database.execute(
                    "SELECT started_utc, ended_utc, meter_stop_wh - meter_start_wh FROM transactions"
                    " WHERE tag = ? AND ended_utc IS NOT NULL AND clock_trusted ORDER BY id DESC LIMIT ?",
                    (tag, limit),
                ).fetchall()
                found[tag] = [(_span_ms(began, ended), int(wh)) for began, ended, wh in reversed(rows)]
        return found

    # -- writing ------------------------------------------------------------------------------------

    async def begin(self, started: Transaction) -> Transaction:
        """Make a transaction durable; `started.id` is chosen here. A repeated one keeps its first id."""
        mine = replace(started, id=self._next_id)
        self._next_id += 1
        found: Transaction = await self._file.durable(
            lambda database: _insert(database, mine), lambda: self._in_memory(mine)
        )
        if not found.ended:
            self._open.setdefault(found.id, found)
        return found

    async def end(self, identity: str, transaction_id: int, stop: Stop) -> bool:
        """Make the end of a transaction durable; False: nobody knows it, it is recorded as an orphan."""
        is_open = self.transaction(identity, transaction_id) is not None
        known: bool = await self._file.durable(
            lambda database: _update(database, identity, transaction_id, stop), lambda: is_open
        )
        if is_open:
            self._open.pop(transaction_id, None)
            self._energy_written.pop(transaction_id, None)
        return known

    def energy(self, transaction_id: int, energy_wh: int, at: datetime) -> None:
        """Note the register of a running transaction; a row of its course every 5 minutes."""
        before = self._energy_written.get(transaction_id)
        if before is not None and (at - before).total_seconds() < ENERGY_EVERY_S:
            return
        self._energy_written[transaction_id] = at
        when = at.isoformat()

        def work(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT OR IGNORE INTO meter_values VALUES (?, ?, ?)", (transaction_id, when, energy_wh)
            )
            database.execute(
                "UPDATE transactions SET energy_wh = ?, energy_utc = ? WHERE id = ?",
                (energy_wh, when, transaction_id),
            )

        self._file.put(work)

    def keep_card(self, row: dict[str, Any]) -> None:
        """Enter or replace a row of the card list."""
        self._cards[row["tag"]] = row
        self._file.put(lambda database: _replace(database, "cards", row))

    def drop_card(self, tag: str) -> None:
        """Remove a row of the card list."""
        self._cards.pop(tag, None)
        self._file.put(lambda database: database.execute("DELETE FROM cards WHERE tag = ?", (tag,)))

    def keep_box(self, box: BoxRecord) -> None:
        """Remember what is known of a chargepoint."""
        if self._boxes.get(box.identity) != box:
            self._boxes[box.identity] = box
            self._file.put(lambda database: _replace(database, "boxes", asdict(box)))

    # -- the file -----------------------------------------------------------------------------------

    def _load(self, database: sqlite3.Connection) -> None:
        self._cards = {row["tag"]: dict(row) for row in database.execute("SELECT * FROM cards")}
        for row in database.execute("SELECT * FROM boxes"):
            self._boxes[row["identity"]] = BoxRecord(
                **{**dict(row), "commissioned": bool(row["commissioned"])}
            )
        for row in database.execute("SELECT * FROM transactions WHERE ended_utc IS NULL"):
            self._open[row["id"]] = _transaction(row)
        reserved = database.execute("SELECT next FROM counters WHERE name = 'transaction'").fetchone()
        self._next_id = reserved["next"] if reserved else FIRST_ID

    def _known(self) -> list[Work]:
        """What memory knows, for a new file: cards, boxes and open transactions."""
        rows = [("cards", row) for row in list(self._cards.values())]
        rows += [("boxes", asdict(box)) for box in list(self._boxes.values())]
        works: list[Work] = [partial(_replace, table=table, row=row) for table, row in rows]
        works += [partial(_insert, started=started) for started in list(self._open.values())]
        return works

    def _in_memory(self, started: Transaction) -> Transaction:
        key = (started.identity, started.connector, started.tag, started.timestamp, started.meter_start_wh)
        for known in list(self._open.values()):
            if key == (known.identity, known.connector, known.tag, known.timestamp, known.meter_start_wh):
                return known
        return started


def _span_ms(began_utc: str, ended_utc: str) -> int:
    span = datetime.fromisoformat(ended_utc) - datetime.fromisoformat(began_utc)
    return round(span.total_seconds() * 1000)


def _insert(database: sqlite3.Connection, started: Transaction) -> Transaction:
    """Insert, or find the same; with a box whose clock repeats old times only open ones are the same."""
    row = database.execute(
        "SELECT * FROM transactions WHERE identity = ? AND connector = ? AND tag = ? AND timestamp = ?"
        " AND meter_start_wh = ? AND (ended_utc IS NULL OR clock_trusted)",
        (started.identity, started.connector, started.tag, started.timestamp, started.meter_start_wh),
    ).fetchone()
    if row is not None:
        return _transaction(row)
    # Ids given from memory while the disk is full must not be given again after a restart.
    reserved = started.id + IDS_AHEAD
    database.execute("INSERT OR REPLACE INTO counters VALUES ('transaction', ?)", (reserved,))
    values = {**asdict(started), "started_utc": started.started_utc.isoformat()}
    values.pop("ended")
    _replace(database, "transactions", values)
    return started


def _replace(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join("?" * len(row))
    # Table and column names are ours, never a peer's.
    database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})", tuple(row.values()))  # noqa: S608


def _transaction(row: sqlite3.Row) -> Transaction:
    return Transaction(
        id=row["id"],
        identity=row["identity"],
        connector=row["connector"],
        tag=row["tag"],
        timestamp=row["timestamp"],
        meter_start_wh=row["meter_start_wh"],
        started_utc=datetime.fromisoformat(row["started_utc"]),
        clock_trusted=bool(row["clock_trusted"]),
        request=row["request"],
        ended=row["ended_utc"] is not None,
    )


def _update(database: sqlite3.Connection, identity: str, transaction_id: int, stop: Stop) -> bool:
    """End a transaction once; an end of something unknown is kept as an orphan, and False."""
    known = database.execute(
        "SELECT ended_utc FROM transactions WHERE id = ? AND identity = ?", (transaction_id, identity)
    ).fetchone()
    if known is None:
        database.execute(
            "INSERT OR IGNORE INTO orphans VALUES (?, ?, ?, ?)",
            (identity, transaction_id, stop.ended_utc.isoformat(), stop.request),
        )
        return False
    if known["ended_utc"] is None:
        database.execute(
            "UPDATE transactions SET ended_utc = ?, meter_stop_wh = ?, reason = ?, stop_request = ?"
            " WHERE id = ?",
            (stop.ended_utc.isoformat(), stop.meter_stop_wh, stop.reason, stop.request, transaction_id),
        )
    return True
