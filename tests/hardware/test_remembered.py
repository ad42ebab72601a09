"""What a restart must not forget: wishes of drivers and a battery's peak of the month, kill -9 included."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.decision import first_memory
from controller.defaults import NEVER, UNKNOWN
from controller.planners import Wish
from controller.site import build
from controller.topology import compile_site
from hardware.notices import Notices
from hardware.remembered import PEAKS_EVERY_MS, Remembered
from hardware.wishes import Wishes

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 5, 12, 12, 0, tzinfo=UTC)
NOON_MS = round(NOON.timestamp() * 1000)


def topology_of(connectors=2, battery="cellar"):
    return compile_site(
        build(
            {
                "name": "One board",
                "timezone": "UTC",
                "accept_unsafe_fallback": "a test, nobody",
                "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
                "chargepoint": {
                    f"bay_{n}": {
                        "identity": f"CP{n}",
                        "fed_by": "main",
                        "connector": [{"number": 1, "max_current_a": 32}],
                    }
                    for n in range(1, connectors + 1)
                },
                "battery": {
                    battery: {
                        "fed_by": "main",
                        "capacity_wh": 9e3,
                        "max_charge_w": 6e3,
                        "max_discharge_w": 6e3,
                    }
                },
            },
            "test",
        )
    )


TOPOLOGY = topology_of()


def memory_of(session=7, plugged=1, taken_wh=0):
    memory = first_memory(TOPOLOGY)
    memory.connectors["session"], memory.connectors["plugged"] = session, plugged
    memory.connectors["charge_mas"] = -(-taken_wh * 3_600_000 // 230)
    return memory


@contextmanager
def process(folder, topology=TOPOLOGY):
    """What one process of the box remembers."""
    remembered = Remembered(folder / "remembered.db", topology, Notices(lambda: 0.0))
    try:
        yield Wishes(topology.connector_names, "UTC", remembered), remembered
    finally:
        remembered.close()


def standing(wishes, memory):
    return wishes.standing(memory, 5_000, NOON_MS, trusted=True)


# -- wishes ---------------------------------------------------------------------------------------------


def test_a_wish_stands_again_after_a_restart(tmp_path):
    with process(tmp_path) as (wishes, _):
        wishes.put("bay_1/1", NOON + timedelta(hours=2), 20, memory_of(), NOON)
        wishes.put("bay_2/1", None, 5, memory_of(), NOON)
    with process(tmp_path) as (wishes, _):
        assert standing(wishes, memory_of()) == {0: Wish(7_205_000, 20_000), 1: Wish(NEVER, 5_000)}


def test_what_the_car_has_taken_since_is_not_wished_for_again(tmp_path):
    with process(tmp_path) as (wishes, _):
        wishes.put("bay_1/1", None, 20, memory_of(), NOON)
        standing(wishes, memory_of(taken_wh=6_000))
        standing(wishes, memory_of(taken_wh=6_400))  # too little for a write
    for taken_wh, needs_wh in ((1_500, 14_000), (600, 12_500), (0, 11_900)):  # each counts from 0 again
        with process(tmp_path) as (wishes, _):
            assert standing(wishes, memory_of(taken_wh=taken_wh))[0].energy_wh == needs_wh


def test_a_departure_without_energy_stays_one(tmp_path):
    with process(tmp_path) as (wishes, _):
        wishes.put("bay_1/1", NOON + timedelta(hours=2), None, memory_of(taken_wh=3_000), NOON)
    with process(tmp_path) as (wishes, _):
        assert standing(wishes, memory_of())[0].energy_wh == UNKNOWN


@pytest.mark.parametrize("other", [{"session": 8}, {"plugged": 0}])
def test_the_wish_of_a_car_that_has_left_meanwhile_is_forgotten(tmp_path, other):
    with process(tmp_path) as (wishes, _):
        wishes.put("bay_1/1", None, 20, memory_of(), NOON)
    with process(tmp_path) as (wishes, _):
        assert standing(wishes, memory_of(**other)) == {}
    with process(tmp_path) as (wishes, _):
        assert standing(wishes, memory_of()) == {}


def test_the_wish_at_an_outlet_that_the_site_file_has_no_more_is_forgotten(tmp_path):
    with process(tmp_path) as (wishes, _):
        wishes.put("bay_2/1", None, 20, memory_of(), NOON)
    with process(tmp_path, topology_of(connectors=1)):
        pass
    with process(tmp_path) as (wishes, _):
        assert standing(wishes, memory_of()) == {}


KILLED = """
    import asyncio, sys
    from pathlib import Path
    from tests.hardware.test_remembered import *

    async def story():
        with process(Path(sys.argv[1])) as (wishes, remembered):
            for kwh in range(1, 1000):
                wishes.put("bay_1/1", None, kwh / 10, memory_of(), NOON)
                assert await wishes.durable("bay_1/1")
                print(kwh, flush=True)

    asyncio.run(story())
"""


def test_a_wish_that_was_answered_survives_kill_9(tmp_path):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5 + 3 * attempt):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        last = max([last, *[int(line) for line in child.stdout.read().split()]])
        child.wait()
        child.stdout.close()
        with process(folder) as (wishes, _):
            assert standing(wishes, memory_of())[0].energy_wh in {100 * last, 100 * (last + 1)}


def test_a_disk_that_takes_nothing_is_said(tmp_path):
    async def story():
        with process(tmp_path) as (wishes, _):
            with closing(sqlite3.connect(tmp_path / "remembered.db")) as database:
                database.execute("DROP TABLE wishes")
            wishes.put("bay_1/1", None, 20, memory_of(), NOON)
            return await wishes.durable("bay_1/1")

    assert asyncio.run(story()) is False


# -- peaks ----------------------------------------------------------------------------------------------

PEAK = {"month": 677, "peak_ma": 91_000, "quarter": 1_980_000, "quarter_mas": 5_000_000}


def peaking(**more):
    memory = first_memory(TOPOLOGY)
    for field, value in (PEAK | more).items():
        memory.batteries[0][field] = value
    return memory


def found(folder, topology=TOPOLOGY):
    with process(folder, topology) as (_, remembered):
        memory = first_memory(topology)
        remembered.restore(memory)
        return {field: int(memory.batteries[0][field]) for field in PEAK}


def test_the_peak_of_the_month_stands_again_after_a_restart(tmp_path):
    with process(tmp_path) as (_, remembered):
        remembered.note(peaking(), 1_000, trusted=True)
    assert found(tmp_path) == PEAK
    assert found(tmp_path, topology_of(battery="attic")) == dict.fromkeys(PEAK, 0)


def test_a_peak_is_written_once_a_minute_and_only_by_a_trusted_calendar(tmp_path):
    with process(tmp_path) as (_, remembered):
        remembered.note(peaking(), 1_000, trusted=True)
        remembered.note(peaking(peak_ma=92_000), 1_000 + PEAKS_EVERY_MS - 1, trusted=True)
        remembered.note(peaking(peak_ma=0, month=0), 1_000 + PEAKS_EVERY_MS, trusted=False)
    assert found(tmp_path) == PEAK
    with process(tmp_path) as (_, remembered):
        remembered.note(peaking(peak_ma=92_000), 1_000, trusted=True)
        remembered.note(peaking(peak_ma=93_000), 1_000 + PEAKS_EVERY_MS, trusted=True)
    assert found(tmp_path)["peak_ma"] == 93_000


PEAKS_KILLED = """
    import sys, time
    from pathlib import Path
    from tests.hardware.test_remembered import *

    with process(Path(sys.argv[1])) as (_, remembered):
        remembered.note(peaking(), 1_000, trusted=True)
        while True:
            with closing(sqlite3.connect(Path(sys.argv[1]) / "remembered.db")) as database:
                if database.execute("SELECT count(*) FROM peaks").fetchone()[0]:
                    print("kept", flush=True)
            time.sleep(0.1)
"""


def test_a_peak_survives_kill_9_seconds_after_it_was_noted(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PEAKS_KILLED), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "kept\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert found(tmp_path) == PEAK
