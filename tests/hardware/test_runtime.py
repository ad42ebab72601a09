"""The box as a whole on real sockets: cycles, orders that wait for the disk, and a controller that fails."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest
import structlog

from controller.cycle import calculate
from controller.decision import empty_decision
from controller.defaults import NEVER
from controller.external import Place, Stop
from controller.image import Source
from controller.site import parse
from controller.topology import compile_site
from hardware import journal
from hardware.clock import Clock, SteppedSeconds, run
from hardware.journal import check_sum
from hardware.kernels import rehearse
from hardware.links import read_links
from hardware.liveview import LiveView
from hardware.notices import Notices
from hardware.runtime import RETREAT_AFTER, Box
from tests.hardware.garage import charging, site_text
from tests.hardware.test_modbus import answer, raw

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """A compiler must not run while a scaled clock does."""
    rehearse(calculate)


@asynccontextmanager
async def box_of(store, *, seconds=None, think=calculate, poll=True, **options):
    """A box that listens; its cycles are run by the test."""
    site = parse(site_text(**options), "garage.toml")
    loop = asyncio.get_running_loop()
    topology = compile_site(site)
    store.mkdir(exist_ok=True)
    clock = Clock(seconds or loop.time)
    view = LiveView(site, topology)
    notices = Notices(loop.time)
    box = Box(site, topology, read_links(site, "garage.toml"), store, clock, think, view, notices)
    box.port = await box.open(poll=poll)
    box.view, box.clock = view, clock
    try:
        yield box
    finally:
        await box.close()


async def until(condition, within_s=60.0):
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - it watches tables, nobody could set an event
            await asyncio.sleep(0.02)


def test_a_car_gets_its_current_and_every_cycle_can_be_thought_through_again(tmp_path):
    async def story():
        async with box_of(tmp_path / "store") as box, charging(box.port, box.clock.utc) as car:
            looping = asyncio.create_task(box.run())
            await until(lambda: car.draws_a == 20, within_s=120)
            assert box.view.snapshot().charging == 1
            looping.cancel()
            await asyncio.wait([looping])

    run(story(), speed=10)
    starts = journal.starts(tmp_path / "store" / "journal.db")
    cycles = 0
    for start in starts:
        stretch = journal.read(tmp_path / "store" / "journal.db", start.id)
        memory = stretch.memory
        for image, expected in stretch.cycles:
            decision, memory = calculate(stretch.topology, image, memory)
            assert check_sum(decision) == expected
            cycles += 1
    assert cycles > 10


CELLAR = """
[battery.cellar]
fed_by = "main"
capacity_wh = 9000
max_charge_w = 6000
max_discharge_w = 6000
strategy = "peak_shaving"
target_w = 5000
"""


async def test_a_battery_goes_on_from_its_peak_of_the_month_after_a_restart_of_the_box(tmp_path):
    async with box_of(tmp_path / "store", more=CELLAR) as box:
        box.cycle()
        box.memory.batteries["peak_ma"] = 91_000
        box.remembered.note(box.memory, 10**9, trusted=True)
    async with box_of(tmp_path / "store", more=CELLAR) as box:
        for _ in range(3):
            box.cycle()
        assert int(box.memory.batteries["peak_ma"][0]) == 91_000


def test_a_stepped_clock_drives_the_box_one_cycle_at_a_time(tmp_path):
    """Nothing happens between cycles, and the image carries the stepped time alone."""
    seconds = SteppedSeconds()
    asked = 0

    async def reply(request, writer):
        nonlocal asked
        asked += 1
        writer.write(answer(request, 22.5 + asked % 2))

    async def story():
        options = {"seconds": seconds, "poll": False}
        async with (
            raw(reply) as meter,
            box_of(tmp_path / "store", meter=meter, **options) as box,
            charging(box.port, box.clock.utc) as car,
        ):
            await until(lambda: box.measure().connectors[0]["transaction"] == car.transaction)
            for step in range(60):
                seconds.value = 2.0 * step
                await car.meter()
                await box.read_meters()
                decision = box.cycle()
                await box.passed_on()
                image = box.measure()
                assert decision.site[0]["now_ms"] == 1 + 2_000 * step
                assert image.meters[0]["at_ms"] == image.clock[0]["now_ms"] == 1 + 2_000 * step
                flows_ma = [22_500 + asked % 2 * 1_000] * 3
                assert image.meters[0]["current_ma"].tolist() == flows_ma
                assert decision.grids[0]["measured_ma"].tolist() == flows_ma
                order = decision.connectors[0]
                if order["put"]:
                    await until(
                        lambda seq=order["order_seq"]: box.measure().connectors[0]["answered_seq"] == seq
                    )
                    assert car.limits_a[-1] == order["target_ma"] // 100 / 10
            assert asked == 60
            assert len(car.limits_a) >= 2

    run(story())


def test_a_reading_above_the_fuse_is_thought_about_at_once(tmp_path):
    """The timer runs each second; five steps at any moment of it are each seen within 0.3 s."""
    amperes = 10.0
    seen = []

    async def reply(request, writer):
        writer.write(answer(request, amperes))

    def watch(topology, image, memory):
        if image.meters[0]["current_ma"].max() > 63_000:
            seen.append(asyncio.get_running_loop().time())
        return empty_decision(topology), memory

    async def story():
        nonlocal amperes
        async with raw(reply) as meter, box_of(tmp_path / "store", meter=meter, think=watch) as box:
            looping = asyncio.create_task(box.run())
            for step in range(5):
                amperes = 10.0
                await asyncio.sleep(1.0 + 0.21 * step)
                seen.clear()
                stepped_s = asyncio.get_running_loop().time()
                amperes = 70.0
                await until(lambda: seen, within_s=5)
                assert seen[0] - stepped_s < 0.3
            looping.cancel()
            await asyncio.wait([looping])

    run(story(), speed=1)


def test_a_stop_is_thought_about_at_once_and_holds_after_a_restart(tmp_path):
    stopped = []

    def watch(topology, image, memory):
        if image.grids[0]["stop"] == Source.EMERGENCY_STOP:
            stopped.append(asyncio.get_running_loop().time())
        return empty_decision(topology), memory

    async def story():
        async with box_of(tmp_path / "store", think=watch) as box:
            looping = asyncio.create_task(box.run())
            await asyncio.sleep(1.3)
            told_s = asyncio.get_running_loop().time()
            stop = Stop(reason="emergency_stop", by="J. Smit")
            await box.outside.tell(Place("grid", "main"), "stops", "emergency_stop", stop, None)
            await until(lambda: stopped, within_s=5)
            assert stopped[0] - told_s < 0.3
            looping.cancel()
            await asyncio.wait([looping])
        async with box_of(tmp_path / "store") as box:
            assert box.measure().grids[0]["stop"] == Source.EMERGENCY_STOP

    run(story(), speed=1)


def test_no_raise_leaves_while_its_commitment_cannot_be_made_durable(tmp_path):
    """The book's file cannot be opened at all; orders of 0 A still leave."""

    async def story(broken):
        store = tmp_path / ("broken" if broken else "sound")
        store.mkdir()
        if broken:
            (store / "book.db").mkdir()
        with structlog.testing.capture_logs() as lines:
            async with box_of(store) as box, charging(box.port, box.clock.utc) as car:
                looping = asyncio.create_task(box.run())
                await until(lambda: box.memory.connectors["target_ma"].max() > 0)
                await asyncio.sleep(15)
                looping.cancel()
                await asyncio.wait([looping])
                assert box.memory.connectors["seen"].tolist() == [1]
                return car.limits_a, lines

    limits_a, lines = run(story(broken=True), speed=10)
    assert max(limits_a, default=0) == 0
    assert any("no connector is raised until" in line["event"] for line in lines)
    limits_a, _ = run(story(broken=False), speed=10)
    assert max(limits_a) >= 10


def test_a_controller_that_fails_again_and_again_goes_down_to_the_fallback_and_comes_back(tmp_path):
    def broken(*_):
        raise ZeroDivisionError("by nothing")

    async def story():
        with structlog.testing.capture_logs() as lines:
            async with box_of(tmp_path / "store") as box, charging(box.port, box.clock.utc) as car:
                looping = asyncio.create_task(box.run())
                await until(lambda: car.draws_a == 20, within_s=120)
                before = len(car.limits_a)
                box.calculate = broken
                await asyncio.sleep(RETREAT_AFTER - 1.5)
                assert len(car.limits_a) == before
                await until(lambda: car.limits_a[-1] == 0, within_s=10)
                assert box.memory.connectors["committed_ma"].max() >= 20_000
                await asyncio.sleep(10)
                assert set(car.limits_a[before:]) == {0}
                box.calculate = calculate
                await until(lambda: car.draws_a == 20, within_s=180)
                looping.cancel()
                await asyncio.wait([looping])
        faults = [line["event"] for line in lines if "ZeroDivisionError" in line["event"]]
        assert 1 <= len(faults) <= 2
        assert "nothing is raised" in faults[0]

    run(story(), speed=10)


def test_after_a_restart_nobody_is_raised_before_the_box_has_heard_from_it(tmp_path):
    """The chargepoint reconnects, as after a power cut of the box alone, and says nothing at first."""

    async def story():
        async with box_of(tmp_path / "store") as box, charging(box.port, box.clock.utc) as car:
            looping = asyncio.create_task(box.run())
            await until(lambda: car.draws_a == 20, within_s=120)
            booked = box.memory.connectors["committed_ma"].tolist()
            looping.cancel()
            await asyncio.wait([looping])
            transaction, allowed_a = car.transaction, car.limits_a[-1]
        async with box_of(tmp_path / "store") as box:
            rows = box.memory.connectors
            assert rows["committed_ma"].tolist() == booked
            assert rows["transaction"].tolist() == [transaction]
            assert (rows["seen"].tolist(), rows["reading_at_ms"].tolist()) == ([0], [NEVER])
            looping = asyncio.create_task(box.run())
            async with charging(box.port, box.clock.utc, boots=False) as car:
                car.box.replies["TriggerMessage"] = {"status": "Accepted"}
                await asyncio.sleep(30)
                assert all(limit <= allowed_a for limit in car.limits_a)
                assert np.all(box.memory.connectors["committed_ma"] >= booked)
                car.transaction = transaction
                await car.box.status("Charging")
                reporting = asyncio.create_task(car.charge())
                car.limits_a.append(allowed_a)
                await until(lambda: box.memory.connectors["seen"].tolist() == [1])
                await until(lambda: box.view.snapshot().charging == 1, within_s=120)
                reporting.cancel()
                await asyncio.wait([reporting])
            looping.cancel()
            await asyncio.wait([looping])

    run(story(), speed=10)
