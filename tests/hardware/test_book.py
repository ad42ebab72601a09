"""Commitments on disk before a raise leaves, and what a restart makes of them."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from controller.decision import Memory, first_memory
from controller.defaults import NEVER, UNKNOWN
from controller.restart import resume
from controller.site import build
from controller.topology import Topology, compile_site
from hardware.book import Book, forget_left
from hardware.links import CannotStart
from hardware.notices import Notices

ROOT = Path(__file__).parents[2]


def site_of(connectors: int, **box: Any) -> Topology:
    box = {"fed_by": "main", "fallback_a": 6, "connector": [{"number": 1, "max_current_a": 32}]} | box
    return compile_site(
        build(
            {
                "name": "One board",
                "timezone": "UTC",
                "accept_unsafe_fallback": "a test, nobody",
                "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
                "chargepoint": {f"bay_{n}": {"identity": f"CP{n}", **box} for n in range(connectors)},
            },
            "test",
        )
    )


@contextmanager
def quiet() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


class Reader:
    """A book that is open, and how often it has told that it is durable."""

    def __init__(self, path: Path, topology: Topology) -> None:
        self.durable = asyncio.Event()
        self.book = Book(path, topology, Notices(asyncio.get_running_loop().time), self.durable.set)

    async def commit(self, memory: Memory) -> None:
        self.durable.clear()
        self.book.write(memory)
        await asyncio.wait_for(self.durable.wait(), 10)


def with_targets(memory: Memory, *targets_ma: int) -> Memory:
    """The memory after one order to each connector: a raise raises the commitment, a lowering does not."""
    memory = Memory(*(table.copy() for table in memory))
    rows = memory.connectors
    rows["target_ma"] = targets_ma
    rows["committed_ma"] = [max(k, t) for k, t in zip(rows["committed_ma"], targets_ma, strict=True)]
    rows["order_seq"] += 1
    rows["observed"] = 0
    return memory


async def test_a_raise_is_covered_only_when_it_is_on_disk_and_a_lowering_at_once(tmp_path: Path) -> None:
    topology = site_of(2)
    reader = Reader(tmp_path / "book.db", topology)
    memory = with_targets(first_memory(topology), 20_000, 0)
    reader.book.write(memory)
    assert (reader.book.covers() >= [6_000, 0]).all()
    assert reader.book.covers()[0] < 20_000
    await asyncio.wait_for(reader.durable.wait(), 10)
    assert reader.book.covers().tolist() == [20_000, 6_000]
    await reader.book.close()
    again = Reader(tmp_path / "book.db", topology)
    assert again.book.covers().tolist() == [20_000, 6_000]
    await again.book.close()


async def test_what_falls_stops_covering_before_its_page_is_written(tmp_path: Path) -> None:
    """Once a lower commitment is on its way to the disk, a restart may find that one."""
    topology = site_of(1)
    reader = Reader(tmp_path / "book.db", topology)
    await reader.commit(with_targets(first_memory(topology), 20_000))
    fallen = with_targets(first_memory(topology), 8_000)
    reader.book.write(fallen)
    reader.book.write(with_targets(fallen, 20_000))
    assert reader.book.covers().tolist() == [8_000]
    await asyncio.wait_for(reader.book.close(), 10)
    assert reader.book.covers().tolist() == [20_000]


async def test_a_restart_books_the_journalled_commitment_and_raises_nobody_unseen(tmp_path: Path) -> None:
    topology = site_of(2)
    reader = Reader(tmp_path / "book.db", topology)
    memory = with_targets(first_memory(topology, proven=True), 20_000, 0)
    rows = memory.connectors
    rows["firmware"], rows["transaction"], rows["plugged"], rows["session"] = 77, [5, 0], [1, 0], [3, 2]
    rows["closed"] = [0, 1]
    rows["seen"] = 1
    await reader.commit(memory)
    await reader.book.close()

    again = Reader(tmp_path / "book.db", topology)
    await again.book.close()
    first = resume(topology, again.book.found, now_ms=1)
    rows = first.connectors
    assert rows["committed_ma"].tolist() == [20_000, 6_000]
    assert rows["target_ma"].tolist() == [20_000, 0]
    assert rows["seen"].tolist() == [0, 0]
    assert rows["proven"].tolist() == [1, 1]
    assert rows["firmware"].tolist() == [77, 77]
    assert rows["transaction"].tolist() == [5, 0]
    assert rows["observed"].tolist() == [0, 0]
    assert rows["raise_at_ms"].tolist() == [1, NEVER]
    assert rows["reading_at_ms"].tolist() == [NEVER, NEVER]
    assert rows["phases"].tolist() == [[1, 1, 1]] * 2
    assert rows["known"].tolist() == [0, 0]


async def test_a_connector_that_was_never_written_starts_at_its_declared_fallback(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "book.db", site_of(1))
    await reader.commit(with_targets(first_memory(site_of(1)), 20_000))
    await reader.book.close()
    again = Reader(tmp_path / "book.db", site_of(2))
    assert again.book.covers().tolist() == [6_000, 6_000]
    first = resume(site_of(2), again.book.found, now_ms=1)
    assert first.connectors["committed_ma"].tolist() == [20_000, 6_000]
    assert first.connectors["firmware"].tolist()[1] == UNKNOWN
    await again.book.close()


async def test_what_the_site_file_has_no_more_counts_on_through_every_restart_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    path, now = tmp_path / "book.db", 1
    reader = Reader(path, site_of(2))
    await reader.commit(with_targets(first_memory(site_of(2), proven=True), 20_000, 16_000))
    await reader.book.close()
    for _ in range(2):
        again = Reader(path, site_of(1))
        assert list(again.book.left) == ["bay_1/1"]
        memory = resume(site_of(1), again.book.found, now)
        assert memory.grids["left_ma"].tolist() == [[16_000] * 3]
        await again.commit(with_targets(memory, 21_000))
        await again.book.close()
    with pytest.raises(CannotStart, match='nothing left of "bay_7/1"; it has "bay_1/1"'):
        await forget_left(path, site_of(1), "bay_7/1")
    await forget_left(path, site_of(1), "bay_1/1")
    last = Reader(path, site_of(1))
    assert last.book.left == {}
    assert resume(site_of(1), last.book.found, now).connectors["committed_ma"].tolist() == [21_000]
    await last.book.close()
    with pytest.raises(CannotStart, match="it has nothing"):
        await forget_left(path, site_of(1), "bay_1/1")


async def test_a_leased_order_is_counted_from_the_restart_and_never_below_its_fallback(
    tmp_path: Path,
) -> None:
    topology = site_of(1, lease_s=300)
    reader = Reader(tmp_path / "book.db", topology)
    memory = first_memory(topology)
    memory.connectors["committed_ma"] = memory.connectors["target_ma"] = 0
    memory.connectors["lease_until_ms"] = 9_999_999
    await reader.commit(memory)
    await reader.book.close()
    first = resume(
        topology, reader.book.found or Reader(tmp_path / "book.db", topology).book.found, now_ms=50
    )
    assert first.connectors["lease_until_ms"].tolist() == [300_050]
    assert first.connectors["committed_ma"].tolist() == [6_000]


@pytest.mark.parametrize("damage", ["noise", "other edition"])
async def test_a_book_that_cannot_be_read_books_everything_at_its_rating(damage: str, tmp_path: Path) -> None:
    topology = site_of(2)
    path = tmp_path / "book.db"
    reader = Reader(path, topology)
    await reader.commit(with_targets(first_memory(topology), 20_000, 0))
    await reader.book.close()
    if damage == "noise":
        path.write_bytes(b"\xa5" * path.stat().st_size)
    else:
        import sqlite3

        with sqlite3.connect(path) as database:
            database.execute("UPDATE edition SET columns = 'committed_ma'")
        database.close()
    with quiet() as lines:
        again = Reader(path, topology)
        assert again.book.found is None
        assert again.book.covers().tolist() == [6_000, 6_000]
    assert any("booked at its rating" in line["event"] for line in lines)
    first = resume(topology, again.book.found, now_ms=1)
    assert first.connectors["committed_ma"].tolist() == [32_000, 32_000]
    assert first.connectors["limit_known"].tolist() == [0, 0]
    await again.commit(first)
    assert again.book.covers().tolist() == [32_000, 32_000]
    await again.book.close()


async def test_a_disk_that_takes_nothing_holds_raises_back_and_says_so_once(tmp_path: Path) -> None:
    topology = site_of(1)
    folder = tmp_path / "store"
    folder.write_text("in the way")
    with quiet() as lines:
        reader = Reader(folder / "book.db", topology)
        for target in (20_000, 22_000, 0):
            reader.book.write(with_targets(first_memory(topology), target))
            await asyncio.sleep(0.1)
        assert reader.book.covers().tolist() == [6_000]
        await reader.book.close()
    assert sum("no connector is raised until" in line["event"] for line in lines) == 1


KILLED = """
import asyncio, sys
from pathlib import Path
from controller.decision import first_memory
from tests.hardware.test_book import Reader, site_of, with_targets

async def main():
    topology = site_of(50)
    reader = Reader(Path(sys.argv[1]), topology)
    memory = first_memory(topology)
    for turn in range(1, 10_000):
        memory = with_targets(memory, *[6_000 + turn] * 50)
        await reader.commit(memory)
        print(6_000 + turn, flush=True)

asyncio.run(main())
"""


def test_a_process_killed_while_it_writes_leaves_every_commitment_that_covered_an_order(
    tmp_path: Path,
) -> None:
    topology = site_of(50)
    for attempt in range(3):
        path = tmp_path / f"book{attempt}.db"
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(path)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        for _ in range(20 + 7 * attempt):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        last = max([last, *[int(line) for line in child.stdout.read().split()]])
        child.wait()
        child.stdout.close()

        async def reopened(path: Path = path) -> list[int]:
            reader = Reader(path, topology)
            await reader.book.close()
            return [int(page["committed_ma"]) for page in (reader.book.found or {}).values()]

        committed = asyncio.run(reopened())
        assert len(committed) == 50
        assert len(set(committed)) == 1
        assert committed[0] in {last, last + 1}
