"""Recordings: what changed in the inputs of every cycle, and a checkpoint of the Memory every few minutes.

Decisions are not stored, only their checksums: `replay` computes them again from any checkpoint, and they are
the same bit for bit or `Diverged` says where. The file is an npz of columns; it carries the site itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile
from zlib import crc32

import numpy as np

from controller.cycle import calculate
from controller.decision import Decision, Memory, first_memory
from controller.image import Image, blank_image
from controller.kernel import kernel
from controller.site import Site, SiteError
from controller.topology import Topology, compile_site

FORMAT: Final = 1
CHECKPOINT_MS: Final = 600_000


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
    """A Journal that keeps a run in memory and writes it to one file at the end."""

    def __init__(self, site: Site, topology: Topology, about: dict[str, Any]) -> None:
        self._about = about | {
            "format": FORMAT,
            "site": site.model_dump(mode="json"),
            "site_hash": site_hash(site),
        }
        blank = blank_image(topology)
        self._last = _zero(blank)
        self._widest = sum(len(part) for part in self._last)
        self._places = np.zeros(1 << 16, "i4")
        self._values = np.zeros(1 << 16, "i8")
        self._count = 0
        self._ends: list[int] = []
        self._sums: list[int] = []
        self._checkpoint_cycles: list[int] = []
        self._checkpoints: list[tuple[Any, ...]] = []
        self._checkpoint_due_ms = 0
        self._memory = first_memory(topology)

    def begin(self, memory: Memory) -> None:
        """The Memory before the first cycle."""
        self._memory = memory

    def append(self, image: Image, decision: Decision, memory: Memory) -> None:
        """Keep what a cycle saw."""
        now_ms = int(image.clock[0]["now_ms"])
        if now_ms >= self._checkpoint_due_ms:
            self._checkpoint_due_ms = now_ms + CHECKPOINT_MS
            self._checkpoint_cycles.append(len(self._ends))
            self._checkpoints.append(tuple(_numbers(table).copy() for table in self._memory))
        if self._count + self._widest > len(self._places):
            self._places = np.concatenate([self._places, np.zeros_like(self._places)])
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        offset = 0
        for table, last in zip(image, self._last, strict=True):
            self._count = _changes(_numbers(table), last, offset, self._places, self._values, self._count)
            offset += len(last)
        self._ends.append(self._count)
        self._sums.append(checksum(decision))
        self._memory = memory

    def save(self, path: Path) -> None:
        """Write the recording; an existing file is replaced."""
        columns: dict[str, Any] = {
            "about": np.array(json.dumps(self._about)),
            "places": self._places[: self._count],
            "values": self._values[: self._count],
            "ends": np.array(self._ends, "i8"),
            "checksums": np.array(self._sums, "u4"),
            "checkpoint_cycles": np.array(self._checkpoint_cycles, "i8"),
        }
        for number, name in enumerate(Memory._fields):
            columns[f"memory_{name}"] = np.array([tables[number] for tables in self._checkpoints])
        with path.open("wb") as file:
            np.savez_compressed(file, **columns)


class Replayed(NamedTuple):
    """One cycle, computed again."""

    number: int
    image: Image
    decision: Decision
    memory: Memory


class Diverged(RuntimeError):
    """The same inputs led to another decision, which they never may."""


class Recording:
    """A recording read back."""

    def __init__(self, path: Path) -> None:
        try:
            # Opened here: NumPy leaves a file that it does not understand open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
                self._columns = {name: columns[name] for name in columns.files}
            self.about: dict[str, Any] = json.loads(str(self._columns["about"]))
        except (OSError, BadZipFile, KeyError, ValueError, EOFError) as error:
            raise SiteError([f"{path}: is no recording that can be read: {error}."]) from None
        if self.about["format"] != FORMAT:
            raise SiteError([f"{path}: is a recording of format {self.about['format']}, not {FORMAT}."])
        self.site = Site.model_validate(self.about["site"])
        self.topology = compile_site(self.site)
        self.cycles = len(self._columns["ends"])
        self.checkpoints = [int(cycle) for cycle in self._columns["checkpoint_cycles"]]

    def _memory(self, checkpoint: int) -> Memory:
        tables = []
        for name, blank in zip(Memory._fields, first_memory(self.topology), strict=True):
            stored = self._columns[f"memory_{name}"][checkpoint]
            if stored.size * stored.itemsize != blank.nbytes:
                raise Diverged(f"the Memory of this version has another shape in {name} than the recording")
            tables.append(stored.view(blank.dtype).reshape(blank.shape).copy())
        return Memory(*tables)

    def _changes(self, begin: int, end: int) -> tuple[Any, Any]:
        ends = self._columns["ends"]
        first = int(ends[begin - 1]) if begin else 0
        last = int(ends[end - 1]) if end else 0
        return self._columns["places"][first:last], self._columns["values"][first:last]

    def replay(self, checkpoint: int = 0) -> Iterator[Replayed]:
        """Every cycle from a checkpoint on.

        Raises Diverged at the first decision, or Memory at a checkpoint, that is not the recorded one.
        """
        begin = self.checkpoints[checkpoint]
        memory = self._memory(checkpoint)
        numbers = np.concatenate(_zero(blank_image(self.topology)))
        places, values = self._changes(0, begin)
        numbers[places] = values
        later = {cycle: number for number, cycle in enumerate(self.checkpoints) if number > checkpoint}
        for cycle in range(begin, self.cycles):
            if cycle in later and not _same(memory, self._memory(later[cycle])):
                raise Diverged(f"cycle {cycle}: the Memory is not that of the checkpoint")
            places, values = self._changes(cycle, cycle + 1)
            numbers[places] = values
            image = self._image(numbers)
            decision, memory = calculate(self.topology, image, memory)
            if checksum(decision) != int(self._columns["checksums"][cycle]):
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
