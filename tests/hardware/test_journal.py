"""The journal gives back what the controller saw, bit for bit, and stays small."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.cycle import calculate
from controller.decision import Memory, empty_decision, first_memory
from controller.defaults import NEVER, UNKNOWN
from controller.image import Answer, Image, Status, blank_image, frozen
from controller.site import Site, build
from controller.topology import Topology, compile_site
from hardware import journal
from hardware.journal import KEEP, Journal, Keep, check_sum
from hardware.notices import Notices


def site_of(chargepoints: int, grids: int, *, metered: bool = True) -> Site:
    load: dict[str, Any] = {} if metered else {"chargepoints_only": True}
    boards = {
        f"board_{g}": {"id": g + 1, "fed_by": "main", "max_current_a": 200} | load for g in range(grids)
    }
    connectors = [{"number": n, "max_current_a": 32} for n in (1, 2)]
    return build(
        {
            "name": "Garage",
            "timezone": "UTC",
            "accept_unsafe_fallback": "a test, nobody",
            "grid": {"main": {"id": 0, "max_current_a": 2000} | load, **boards},
            "meter": {
                grid: {"grid": grid, "role": "guard"} for grid in (["main", *boards] if metered else [])
            },
            "chargepoint": {
                f"bay_{n}": {"identity": f"CP{n}", "fed_by": f"board_{n % grids}", "connector": connectors}
                for n in range(chargepoints)
            },
        },
        "test",
    )


class Garage:
    """Cars that draw what they were allowed, noisy meters; no claim to physics, only to being varied."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.random = np.random.default_rng(5)
        self.image = blank_image(topology)
        self.load = self.random.uniform(20_000, 60_000, (len(topology.meters), 3))
        rows = self.image.connectors
        rows["online"], rows["firmware"], rows["default_ma"] = 1, 7, 0
        rows["status"], rows["status_at_ms"] = Status.CHARGING, 1
        rows["transaction"], rows["transaction_at_ms"] = np.arange(len(rows)) + 1, 1

    def look(self, now_ms: int, allowed_ma: Any, order_seq: Any) -> Image:
        image, random = self.image, self.random
        image.clock["now_ms"], image.clock["utc_ms"] = now_ms, 1_700_000_000_000 + now_ms
        rows = image.connectors
        rows["answered_at_ms"][rows["answered_seq"] != order_seq] = now_ms - 100
        rows["answered_seq"], rows["answer"] = order_seq, Answer.ACCEPTED
        due = np.flatnonzero(np.arange(len(rows)) % 10 == now_ms // 1000 % 10)
        rows["reading_at_ms"][due] = now_ms - random.integers(0, 1000, len(due))
        draw = np.maximum(allowed_ma[due, None] + random.normal(-300, 100, (len(due), 3)), 0) // 10 * 10
        rows["current_ma"][due] = np.where(allowed_ma[due, None] > 0, draw, 0)
        self.load += random.normal(0, 200, self.load.shape)
        image.meters["at_ms"] = now_ms - random.integers(0, 260, len(image.meters))
        image.meters["current_ma"] = self.load
        return frozen(image)


def recorded(path: Path, cycles: int, keep: Keep = KEEP) -> tuple[Site, list[tuple[Memory, Image, int]]]:
    """A journal of a small garage under the real controller, and what really happened."""
    site = site_of(3, 2)
    topology = compile_site(site)
    written = Journal(path, site, topology, Notices(time.monotonic), keep)
    garage = Garage(topology)
    memory = first_memory(topology, proven=True)
    happened = []
    for second in range(1, cycles + 1):
        rows = memory.connectors
        image = garage.look(1000 * second + 3, rows["target_ma"], rows["order_seq"])
        decision, after = calculate(topology, image, memory)
        written.append(memory, image, decision, after)
        happened.append((memory, image, check_sum(decision)))
        memory = after
    written.close()
    return site, happened


def same(one: Any, other: Any) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_every_start_replays_to_the_same_memory_and_the_same_decisions(tmp_path: Path) -> None:
    site, happened = recorded(tmp_path / "journal.db", 700)
    starts = journal.starts(tmp_path / "journal.db")
    assert [start.now_ms for start in starts] == [1_003, 301_003, 601_003]
    assert any(memory.connectors["target_ma"].max() > 6_000 for memory, _, _ in happened)
    seen = 0
    for start in starts:
        stretch = journal.read(tmp_path / "journal.db", start.id)
        assert stretch.site == site
        memory = stretch.memory
        for image, expected in stretch.cycles:
            was, saw, decided = happened[seen]
            assert same(memory, was)
            assert same(image, saw)
            decision, memory = calculate(stretch.topology, image, memory)
            assert check_sum(decision) == decided == expected
            seen += 1
    assert seen == 700


@pytest.mark.parametrize("metered", [True, False])
def test_any_number_in_an_image_survives_the_journal(metered: bool, tmp_path: Path) -> None:
    site = site_of(4, 2, metered=metered)
    topology = compile_site(site)
    random = np.random.default_rng(3)
    special = np.array([0, 1, -1, NEVER, UNKNOWN, 2**63 - 1, -(2**63), 32_000], "i8")
    written = Journal(tmp_path / "journal.db", site, topology, Notices(time.monotonic))
    memory = first_memory(topology)
    images = []
    for second in range(40):
        image = blank_image(topology)
        for table in image:
            cells = table.view("i8")
            cells[:] = random.choice(special, cells.shape)
        image.clock["now_ms"] = second * 1000
        images.append(frozen(image))
        written.append(memory, images[-1], empty_decision(topology), memory)
    written.close()
    (start,) = journal.starts(tmp_path / "journal.db")
    stretch = journal.read(tmp_path / "journal.db", start.id)
    assert len(stretch.cycles) == 40
    assert all(same(one, image) for one, (image, _) in zip(images, stretch.cycles, strict=True))


def test_a_memory_that_does_not_follow_from_the_last_cycle_begins_a_new_stretch(tmp_path: Path) -> None:
    site = site_of(1, 1)
    topology = compile_site(site)
    written = Journal(tmp_path / "journal.db", site, topology, Notices(time.monotonic))
    garage = Garage(topology)
    for second, memory in enumerate([first_memory(topology), first_memory(topology, proven=True)]):
        image = garage.look(1000 * second, memory.connectors["target_ma"], memory.connectors["order_seq"])
        written.append(memory, image, *calculate(topology, image, memory))
    written.close()
    starts = journal.starts(tmp_path / "journal.db")
    stretches = [journal.read(tmp_path / "journal.db", start.id) for start in starts]
    assert [int(stretch.memory.connectors["proven"][0]) for stretch in stretches] == [0, 1]


def test_a_stretch_with_a_piece_missing_ends_before_the_hole(tmp_path: Path) -> None:
    recorded(tmp_path / "journal.db", 100)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("DELETE FROM pieces WHERE number = 3")
    (start,) = journal.starts(tmp_path / "journal.db")
    assert len(journal.read(tmp_path / "journal.db", start.id).cycles) == 1 + 2 * journal.PIECE_CYCLES


def test_the_oldest_goes_when_the_journal_is_too_old_or_too_large(tmp_path: Path) -> None:
    recorded(tmp_path / "old.db", 1500, Keep(days=0.004))
    assert [start.now_ms for start in journal.starts(tmp_path / "old.db")] == [901_003, 1_201_003]
    recorded(tmp_path / "large.db", 1500, Keep(bytes=1))
    assert [start.now_ms for start in journal.starts(tmp_path / "large.db")] == [1_201_003]
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        assert database.execute("SELECT min(start) FROM pieces").fetchone() == (4,)


def test_what_cannot_be_replayed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    recorded(path, 3)
    with pytest.raises(ValueError, match=r"has no start 9"):
        journal.read(path, 9)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE starts SET layout = 'older'")
    with pytest.raises(ValueError, match=r"written by another edition"):
        journal.read(path, 1)
    with pytest.raises(ValueError, match=r"no such journal"):
        journal.starts(tmp_path / "none.db")
    (tmp_path / "noise.db").write_bytes(b"\xa5" * 5000)
    with pytest.raises(ValueError, match=r"cannot be read as a journal"):
        journal.starts(tmp_path / "noise.db")


def test_a_damaged_journal_is_put_aside_and_another_one_begun(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"\xa5" * 5000)
    recorded(tmp_path / "journal.db", 3)
    assert len(journal.starts(tmp_path / "journal.db")) == 1
    assert len(list(tmp_path.glob("journal.db.damaged-*"))) == 1


def test_a_day_of_400_drawing_connectors_behind_20_meters_takes_less_than_100_mb(tmp_path: Path) -> None:
    """Readings each 10 s, meters each second, every value noisy; the starts are counted from one real one."""
    site = site_of(200, 19)
    topology = compile_site(site)
    written = Journal(tmp_path / "journal.db", site, topology, Notices(time.monotonic))
    garage = Garage(topology)
    memory = first_memory(topology, proven=True)
    decision = empty_decision(topology)
    allowed = garage.random.integers(6, 33, len(topology.connectors)) * 1000
    for second in range(1, 301):
        image = garage.look(1000 * second, allowed, memory.connectors["order_seq"])
        written.append(memory, image, decision, memory)
    written.close()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database:
        (pieces,) = database.execute("SELECT sum(length(body)) FROM pieces").fetchone()
        pages = (tmp_path / "journal.db").stat().st_size
    assert pieces > 100_000
    assert pages * 86_400 / 300 < 100_000_000
