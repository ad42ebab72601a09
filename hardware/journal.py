"""The journal: everything the controller saw, so that any stretch of it can be thought through again.

Kept are the inputs: a start (Memory and Image) every few minutes, then what changed in each Image, and a
check sum of each decision. Decisions are recomputed, bit for bit. Bounded by age and size; a stretch that was
cut off by a power failure is whole up to its last piece.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from controller.decision import Decision, Memory, first_memory
from controller.image import Image, blank_image, frozen
from controller.site import Site
from controller.table import Table
from controller.topology import Topology, compile_site
from hardware.durable import DurableFile, Work
from hardware.notices import Notices

PIECE_CYCLES: Final = 15
"""Cycles in a piece: what a power failure may cost of the journal."""
START_EVERY_MS: Final = 300_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sites (hash TEXT PRIMARY KEY, site TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS starts (
  id INTEGER PRIMARY KEY, site TEXT NOT NULL, layout TEXT NOT NULL, now_ms INTEGER NOT NULL,
  utc_ms INTEGER NOT NULL, memory BLOB NOT NULL, image BLOB NOT NULL, decision INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pieces (
  start INTEGER NOT NULL, number INTEGER NOT NULL, cycles INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (start, number)
) STRICT, WITHOUT ROWID;
"""
_LAYERS: Final = 8  # bytes of a changed value


class Keep(NamedTuple):
    """How much of the past a journal holds; the oldest goes first."""

    days: float = 30
    bytes: int = 3_000_000_000


KEEP: Final = Keep()


def site_hash(site: Site) -> str:
    """The name of a site in a journal."""
    return hashlib.blake2b(_text(site).encode(), digest_size=12).hexdigest()


def _text(site: Site) -> str:
    """What a journal keeps of a site; what is left out has its default."""
    return site.model_dump_json(exclude_none=True)


class Journal:
    """Writes; every method is for the thread of the event loop and none of them blocks."""

    def __init__(
        self, path: Path, site: Site, topology: Topology, notices: Notices, keep: Keep = KEEP
    ) -> None:
        self._keep = keep
        self._layout = _layout(topology)
        self._site = (site_hash(site), _text(site))
        self._file = DurableFile(path, _SCHEMA, notices, self._anew)
        database = self._file.open()
        self._start = _last_start(database)
        self._started_ms = 0
        self._number = 0
        self._memory: Memory | None = None
        self._last: Table = np.zeros(0, "i8")
        self._cycles: list[tuple[Table, Table, int]] = []

    def append(self, before: Memory, image: Image, decision: Decision, after: Memory) -> None:
        """Keep a cycle: `calculate(topology, image, before)` gave `decision` and `after`."""
        now_ms = int(image.clock[0]["now_ms"])
        cells = _cells(image)
        if before is not self._memory or now_ms - self._started_ms >= START_EVERY_MS:
            self._begin(before, image, decision, now_ms)
        else:
            step = cells - self._last
            changed = np.flatnonzero(step)
            self._cycles.append((changed, step[changed], check_sum(decision)))
            if len(self._cycles) >= PIECE_CYCLES:
                self._put_piece()
        self._last = cells
        self._memory = after

    def close(self) -> None:
        """Write what waits and close the file."""
        self._put_piece()
        self._file.close()

    def _begin(self, before: Memory, image: Image, decision: Decision, now_ms: int) -> None:
        self._put_piece()
        self._start += 1
        self._number = 0
        self._started_ms = now_ms
        utc_ms = int(image.clock[0]["utc_ms"])
        row = (self._start, self._site[0], self._layout, now_ms, utc_ms)
        body = (_packed(before), _packed(image), check_sum(decision))

        def work(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR IGNORE INTO sites VALUES (?, ?)", self._site)
            database.execute("INSERT OR REPLACE INTO starts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, *body))
            _forget(database, self._keep, utc_ms)

        self._file.put(work)

    def _anew(self) -> list[Work]:
        """The file was damaged and another one begun: the next cycle begins there with a start."""
        self._memory = None
        return []

    def _put_piece(self) -> None:
        if not self._cycles:
            return
        self._number += 1
        row = (self._start, self._number, len(self._cycles), _piece(self._cycles))
        self._cycles = []
        self._file.put(lambda database: database.execute("INSERT INTO pieces VALUES (?, ?, ?, ?)", row))


def _last_start(database: sqlite3.Connection | None) -> int:
    if database is None:
        return int(datetime.now(UTC).timestamp())
    return int(database.execute("SELECT coalesce(max(id), 0) FROM starts").fetchone()[0])


def _forget(database: sqlite3.Connection, keep: Keep, utc_ms: int) -> None:
    """Drop what is too old, and the oldest while the file is too large; freed pages are used again."""
    database.execute("DELETE FROM starts WHERE utc_ms < ?", (utc_ms - keep.days * 86_400_000,))
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - free) * size > keep.bytes:
        oldest = (
            "SELECT id FROM starts WHERE id < (SELECT max(id) FROM starts)"
            " ORDER BY id LIMIT (SELECT 1 + count(*) / 50 FROM starts)"
        )
        database.execute(f"DELETE FROM starts WHERE id IN ({oldest})")  # noqa: S608 (a constant)
    database.execute("DELETE FROM pieces WHERE start < (SELECT min(id) FROM starts)")


# -- how tables are written --------------------------------------------------------------------------


def check_sum(decision: Decision) -> int:
    """Equal for equal decisions."""
    total = 0
    for table in decision:
        total = zlib.crc32(table.tobytes(), total)
    return total


def _cells(image: Image) -> Table:
    """All numbers of an image in a row."""
    return np.concatenate([np.ascontiguousarray(table).view("i8").ravel() for table in image])


def _packed(tables: Memory | Image) -> bytes:
    """Values of one field lie together, and equal bytes of neighbouring values: half the size."""
    raw = b"".join(_layers(_fields(table).T) for table in tables)
    return zlib.compress(raw, 6)


def _fields(table: Table) -> Table:
    """One row per asset, one column per number."""
    return np.ascontiguousarray(table).view("i8").reshape(len(table), table.dtype.itemsize // 8)


Tables = TypeVar("Tables", Memory, Image)


def _unpacked(blank: Tables, body: bytes) -> Tables:
    raw = zlib.decompress(body)
    tables = []
    for table in blank:
        width = table.dtype.itemsize // 8
        size = table.size * table.dtype.itemsize
        values = _from_layers(raw[:size]).reshape(width, len(table)).T
        tables.append(np.ascontiguousarray(values).reshape(-1).view(table.dtype))
        raw = raw[size:]
    return type(blank)(*tables)


def _piece(cycles: list[tuple[Table, Table, int]]) -> bytes:
    """Counts and check sums of the cycles, then which cells changed (as gaps), then by how much."""
    heads = np.array([(len(changed), total) for changed, _, total in cycles], "<i8")
    gaps = [np.diff(changed, prepend=0) for changed, _, _ in cycles]
    steps = np.concatenate([step for _, step, _ in cycles])
    folded = (steps << 1) ^ (steps >> 63)  # small numbers of either sign have small bytes
    raw = heads.tobytes() + _layers(np.concatenate(gaps)) + _layers(folded)
    return zlib.compress(raw, 9)


def _from_piece(count: int, body: bytes) -> Iterator[tuple[Table, Table, int]]:
    raw = zlib.decompress(body)
    heads = np.frombuffer(raw[: 16 * count], "<i8").reshape(count, 2)
    total = int(heads[:, 0].sum())
    gaps = _from_layers(raw[16 * count : 16 * count + total * _LAYERS])
    folded = _from_layers(raw[16 * count + total * _LAYERS :])
    steps = ((folded >> 1) & 0x7FFF_FFFF_FFFF_FFFF) ^ -(folded & 1)
    at = 0
    for changes, decision in heads.tolist():
        yield np.cumsum(gaps[at : at + changes]), steps[at : at + changes], decision
        at += changes


def _layers(values: Table) -> bytes:
    """All lowest bytes, then all second bytes and so on."""
    return np.ascontiguousarray(values).astype("<i8").view(np.uint8).reshape(-1, _LAYERS).T.tobytes()


def _from_layers(raw: bytes) -> Table:
    layers = np.frombuffer(raw, np.uint8).reshape(_LAYERS, -1)
    return np.ascontiguousarray(layers.T).reshape(-1).view("<i8").astype("i8")


def _layout(topology: Topology) -> str:
    """Changes whenever a table of another edition could not be read."""
    tables = (*blank_image(topology), *first_memory(topology))
    described = repr([(table.dtype.descr, len(table)) for table in tables])
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()


# -- reading -------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """A moment from which a journal can be thought through again."""

    id: int
    site: str
    """Hash of the site."""
    now_ms: int
    utc_ms: int


class Stretch(NamedTuple):
    """From one start to the next: begin with `memory` and hand every image to `calculate`."""

    site: Site
    topology: Topology
    memory: Memory
    cycles: list[tuple[Image, int]]
    """Images and the check sums of the decisions that were made of them."""


def starts(path: Path) -> list[Start]:
    """Every start of a journal, oldest first. Raises ValueError with a sentence."""
    with closing(_reading(path)) as database:
        rows = database.execute("SELECT id, site, now_ms, utc_ms FROM starts ORDER BY id")
        return [Start(*row) for row in rows]


def read(path: Path, start: int) -> Stretch:
    """The cycles from a start up to the next one. Raises ValueError with a sentence."""
    with closing(_reading(path)) as database:
        row = database.execute(
            "SELECT sites.site, layout, memory, image, decision FROM starts"
            " JOIN sites ON sites.hash = starts.site WHERE id = ?",
            (start,),
        ).fetchone()
        if row is None:
            raise ValueError(f"{path}: has no start {start}; `starts` lists those it has.")
        site = Site.model_validate_json(row[0])
        topology = compile_site(site)
        if row[1] != _layout(topology):
            raise ValueError(f"{path}: start {start} was written by another edition; replay it with that.")
        memory = _unpacked(first_memory(topology), row[2])
        image = _unpacked(blank_image(topology), row[3])
        pieces = database.execute(
            "SELECT number, cycles, body FROM pieces WHERE start = ? ORDER BY number", (start,)
        ).fetchall()
    return Stretch(site, topology, memory, [(frozen(image), row[4]), *_images(topology, image, pieces)])


def _images(topology: Topology, image: Image, pieces: list[Any]) -> Iterator[tuple[Image, int]]:
    cells = _cells(image)
    for expected, (number, count, body) in enumerate(pieces, start=1):
        if number != expected:  # a piece was never written: the rest hangs in the air
            return
        for changed, steps, decision in _from_piece(count, body):
            cells = cells.copy()
            cells[changed] += steps
            yield _image(topology, cells), decision


def _image(topology: Topology, cells: Table) -> Image:
    tables = []
    for table in blank_image(topology):
        width = table.size * table.dtype.itemsize // 8
        tables.append(cells[:width].view(table.dtype))
        cells = cells[width:]
    return frozen(Image(*tables))


def _reading(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such journal; check the path.")
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        database.execute("SELECT id FROM starts LIMIT 1")
    except sqlite3.Error as error:
        raise ValueError(f"{path}: cannot be read as a journal ({error}).") from None
    return database
