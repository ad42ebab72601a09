"""Recordings: what changed in the inputs of every cycle, and a checkpoint of the Memory every few minutes.

Decisions are not stored, only their checksums: `replay` computes them again from any checkpoint, and they are
the same bit for bit or `Diverged` says where. The file is Parquet, a row per cycle, and carries the site
itself; it is written as the run goes on, so that a run of a year holds no more than one of an hour. At a
checkpoint every number of the image counts as changed: a replay reads nothing that lies before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from zlib import crc32

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from controller.cycle import calculate
from controller.decision import Decision, Memory, first_memory
from controller.image import Image, blank_image
from controller.kernel import kernel
from controller.site import Site, SiteError
from controller.topology import Topology, compile_site

FORMAT: Final = 2
CHECKPOINT_MS: Final = 600_000
GROUP_CYCLES: Final = 4_096
GROUP_NUMBERS: Final = 1 << 18
GROUP_CHECKPOINTS: Final = 64
"""A row group is written when it has so many rows, changes or checkpoints: what a recorder holds at most."""
MEMORIES: Final = tuple(f"memory_{name}" for name in Memory._fields)
SCHEMA: Final = pa.schema(
    [
        ("now_ms", pa.int64()),
        ("checksum", pa.uint32()),  # of the decision
        ("places", pa.list_(pa.int32())),  # numbers of the image that changed, and to what
        ("values", pa.list_(pa.int64())),
        ("checkpoint", pa.bool_()),
        *((name, pa.list_(pa.int64())) for name in MEMORIES),  # before the cycle; at checkpoints only
    ]
)


@kernel
def _changes(new: Any, old: Any, offset: int, places: Any, values: Any, count: int) -> int:
    """Append place and value of every number that changed, and bring `old` up to date."""
    for i in range(len(new)):
        if new[i] != old[i]:
            old[i] = new[i]
            places[count] = offset + i
            values[count] = new[i]
            count += 1
    return count


def _numbers(table: Any) -> Any:
    """A table as the plain row of its 64-bit numbers."""
    return table.view("i8").reshape(-1)


def _zero(image: Image) -> tuple[Any, ...]:
    return tuple(np.zeros_like(_numbers(table)) for table in image)


def checksum(decision: Decision) -> int:
    """32 bits over everything in a decision."""
    value = 0
    for table in decision:
        value = crc32(np.ascontiguousarray(table).data, value)
    return value


def site_hash(site: Site) -> str:
    """Names a site by what it says."""
    return sha256(site.model_dump_json().encode()).hexdigest()


class Recorder:
    """A Journal that writes a run to one file while it goes on.

    The file is there, or replaced, once the run has ended well; a run that breaks off leaves none.
    """

    def __init__(
        self, path: Path, site: Site, topology: Topology, memory: Memory, about: dict[str, Any]
    ) -> None:
        """`memory` is that before the first cycle."""
        about |= {"format": FORMAT, "site": site.model_dump(mode="json"), "site_hash": site_hash(site)}
        self._path, self._part = path, path.with_name(path.name + ".part")
        schema = SCHEMA.with_metadata({"edge": json.dumps(about)})
        self._writer = parquet.ParquetWriter(self._part, schema, compression="zstd", write_statistics=False)
        self._last = _zero(blank_image(topology))
        self._widest = sum(len(part) for part in self._last)
        self._places = np.zeros(GROUP_NUMBERS + self._widest, "i4")
        self._values = np.zeros(GROUP_NUMBERS + self._widest, "i8")
        self._count = 0
        self._clock: list[tuple[int, int]] = []
        self._ends: list[int] = [0]
        self._checkpoints: dict[int, tuple[Any, ...]] = {}
        self._checkpoint_due_ms = 0
        self._memory = memory

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def append(self, image: Image, decision: Decision, memory: Memory) -> None:
        """Keep what a cycle saw."""
        now_ms = int(image.clock[0]["now_ms"])
        if now_ms >= self._checkpoint_due_ms:
            self._checkpoint_due_ms = now_ms + CHECKPOINT_MS
            if len(self._checkpoints) == GROUP_CHECKPOINTS:
                self._write()
            self._checkpoints[len(self._clock)] = tuple(_numbers(table).copy() for table in self._memory)
            for last in self._last:
                last[:] = 0
        offset = 0
        for table, last in zip(image, self._last, strict=True):
            self._count = _changes(_numbers(table), last, offset, self._places, self._values, self._count)
            offset += len(last)
        self._ends.append(self._count)
        self._clock.append((now_ms, checksum(decision)))
        self._memory = memory
        if self._count >= GROUP_NUMBERS or len(self._clock) >= GROUP_CYCLES:
            self._write()

    def _write(self) -> None:
        """What is held becomes a row group."""
        if not self._clock:
            return
        clock = np.array(self._clock, "i8")
        ends = pa.array(self._ends, pa.int32())
        kept = np.zeros(len(clock), "?")
        kept[list(self._checkpoints)] = True
        columns = [
            pa.array(clock[:, 0]),
            pa.array(clock[:, 1].astype("u4")),
            pa.ListArray.from_arrays(ends, pa.array(self._places[: self._count])),
            pa.ListArray.from_arrays(ends, pa.array(self._values[: self._count])),
            pa.array(kept),
        ]
        for number in range(len(MEMORIES)):
            columns.append(self._memories(len(clock), number))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._writer.schema))
        self._count, self._clock, self._ends, self._checkpoints = 0, [], [0], {}

    def _memories(self, rows: int, number: int) -> Any:
        """A table of the Memory as a column: null but at checkpoints."""
        tables: list[Any] = [None] * rows
        for row, kept in self._checkpoints.items():
            tables[row] = kept[number]
        return pa.array(tables, pa.list_(pa.int64()))


class Replayed(NamedTuple):
    """One cycle, computed again."""

    number: int
    image: Image
    decision: Decision
    memory: Memory


class Diverged(RuntimeError):
    """The same inputs led to another decision, which they never may."""


class _Group(NamedTuple):
    """A row group read back: arrays by column, lists as their numbers with the bounds of each row."""

    first: int
    checksums: Any
    bounds: Any
    places: Any
    values: Any
    memories: tuple[Any, ...]

    def changes(self, row: int) -> tuple[Any, Any]:
        """Places and values of one of its rows."""
        begin, end = self.bounds[row], self.bounds[row + 1]
        return self.places[begin:end], self.values[begin:end]


class Recording:
    """A recording read back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with parquet.ParquetFile(path) as file:
                if not file.schema_arrow.equals(SCHEMA):
                    raise ValueError("its columns are others")
                self.about: dict[str, Any] = json.loads(file.schema_arrow.metadata[b"edge"])
                self.cycles = file.metadata.num_rows
                kept = file.read(["checkpoint"])["checkpoint"].to_numpy()
        except (OSError, KeyError, ValueError) as error:
            words = str(error).splitlines()[0].rstrip(".")
            raise SiteError([f"{path}: is no recording that can be read: {words}."]) from None
        self.site = Site.model_validate(self.about["site"])
        self.topology = compile_site(self.site)
        self.checkpoints = [int(cycle) for cycle in np.flatnonzero(kept)]

    def _groups(self, begin: int) -> Iterator[_Group]:
        """The row groups from that with row `begin` on, one at a time."""
        with parquet.ParquetFile(self._path) as file:
            first = 0
            for number in range(file.num_row_groups):
                end = first + file.metadata.row_group(number).num_rows
                if begin < end:
                    table = file.read_row_group(number).combine_chunks()
                    columns = {name: table[name].chunk(0) for name in table.column_names}
                    yield _Group(
                        first,
                        columns["checksum"].to_numpy(),
                        columns["places"].offsets.to_numpy(),
                        columns["places"].values.to_numpy(),
                        columns["values"].values.to_numpy(),
                        tuple(columns[name] for name in MEMORIES),
                    )
                first = end

    def _memory(self, group: _Group, row: int) -> Memory:
        tables = []
        for name, column, blank in zip(
            Memory._fields, group.memories, first_memory(self.topology), strict=True
        ):
            stored = column[row].values.to_numpy()
            if stored.nbytes != blank.nbytes:
                raise Diverged(f"the Memory of this version has another shape in {name} than the recording")
            tables.append(stored.copy().view(blank.dtype).reshape(blank.shape))
        return Memory(*tables)

    def replay(self, checkpoint: int = 0) -> Iterator[Replayed]:
        """Every cycle from a checkpoint on.

        Raises Diverged at the first decision, or Memory at a checkpoint, that is not the recorded one.
        """
        begin = self.checkpoints[checkpoint]
        numbers = np.concatenate(_zero(blank_image(self.topology)))
        kept_at = set(self.checkpoints[checkpoint:])
        memory = first_memory(self.topology)
        for group in self._groups(begin):
            for row in range(max(0, begin - group.first), len(group.checksums)):
                cycle = group.first + row
                if cycle in kept_at:
                    numbers[:] = 0
                    kept = self._memory(group, row)
                    if cycle > begin and not _same(memory, kept):
                        raise Diverged(f"cycle {cycle}: the Memory is not that of the checkpoint")
                    memory = kept
                places, values = group.changes(row)
                numbers[places] = values
                image = self._image(numbers)
                decision, memory = calculate(self.topology, image, memory)
                if checksum(decision) != int(group.checksums[row]):
                    raise Diverged(f"cycle {cycle}: the decision is not the recorded one")
                yield Replayed(cycle, image, decision, memory)

    def _image(self, numbers: Any) -> Image:
        tables, offset = [], 0
        for blank in blank_image(self.topology):
            length = len(_numbers(blank))
            table = numbers[offset : offset + length].copy().view(blank.dtype).reshape(blank.shape)
            table.flags.writeable = False
            tables.append(table)
            offset += length
        return Image(*tables)


def _same(one: Memory, other: Memory) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def replay(path: Path, checkpoint: int = 0) -> Iterator[Replayed]:
    """Replay a file from one of its checkpoints. Raises SiteError for the file, Diverged for the outcome."""
    yield from Recording(path).replay(checkpoint)
