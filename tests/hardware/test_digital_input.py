"""Contacts behind an I/O module, on real sockets: what they limit, and what holds while nobody reads them."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from controller.image import blank_image
from controller.site import SiteError, build
from controller.topology import compile_site
from hardware.clock import Clock, SteppedSeconds, run
from hardware.digital_input import ContactPoll, DebouncedContact, forget_removed
from hardware.links import DigitalInput, Links, outside_loopback, read_links
from hardware.notices import Notices
from hardware.outside import Outside
from hardware.sitefile import Drawn
from hardware.survey import survey
from tests.controller.told import SITE, flat, line

TOPOLOGY = compile_site(SITE)
WEDNESDAY = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)
RIPPLE = {"kind": "modbus-tcp", "host": "127.0.0.1", "grid": "main", "address": 3, "limit_a": 16}


class Module:
    """An I/O module with one contact, framed by hand: nothing is shared with the library that polls."""

    def __init__(self):
        self.closed = False
        self.asked = set()
        self.port = 0
        self._writers = set()

    async def _talk(self, reader, writer):
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                request = await reader.readexactly(12)
                self.asked.add((request[7], *struct.unpack(">HH", request[8:])))
                writer.write(request[:4] + b"\0\4" + request[6:8] + bytes((1, self.closed)))

    @asynccontextmanager
    async def serving(self, port=0):
        server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()


class Box:
    def __init__(self, folder, link, at=WEDNESDAY, seconds=None):
        self.clock = Clock(seconds or asyncio.get_running_loop().time, at)
        self.outside = Outside(folder / "instructions.db", SITE, TOPOLOGY, self.clock, Notices(lambda: 0.0))
        self.poll = ContactPoll("ripple", DigitalInput(**link), self.outside, self.clock)

    def in_force(self, grid=0):
        live = blank_image(TOPOLOGY)
        live.clock[0]["now_ms"], live.clock[0]["utc_ms"] = self.clock.now_ms(), self.clock.utc_ms()
        live.clock[0]["utc_trusted"] = 1
        return line(self.outside.narrow(live).grids[grid])

    async def until(self, found, within_s=30):
        async with asyncio.timeout(within_s):
            while self.in_force() != found:  # noqa: ASYNC110 - nobody could set an event
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def polling(self):
        task = asyncio.create_task(self.poll.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.outside.close()


LIMITED = {"hard": (flat(16), None, "DIGITAL_INPUT", False)}


@pytest.mark.parametrize("active", ["closed", "open"])
@pytest.mark.parametrize(("register", "function"), [("discrete_input", 2), ("coil", 1)])
def test_a_limit_holds_while_its_contact_is_active(tmp_path, register, function, active):
    async def story():
        async with Module().serving() as module:
            module.closed = active == "open"
            link = RIPPLE | {"port": module.port, "reads": register, "active": active}
            box = Box(tmp_path, link)
            async with box.polling():
                await box.until({})
                module.closed = not module.closed
                await box.until(LIMITED)
                module.closed = not module.closed
                await box.until({})
            assert module.asked == {(function, 3, 1)}

    run(story(), speed=10)


def test_before_it_is_read_and_while_it_cannot_be_read_its_fallback_holds(tmp_path):
    async def story():
        module = Module()
        async with module.serving():
            pass  # the port is known, nobody is there
        box = Box(tmp_path, RIPPLE | {"port": module.port, "fallback_a": 6, "timeout_ms": 200})
        async with box.polling():
            fallback = {"hard": (flat(6), None, "DIGITAL_INPUT", False)}
            assert box.in_force() == fallback
            async with module.serving(module.port):
                await box.until({})
                module.closed = True
                await box.until(LIMITED)
            lost_ms = box.clock.now_ms()
            await box.until(fallback)
            assert 9_000 <= box.clock.now_ms() - lost_ms <= 14_000
            async with module.serving(module.port):
                await box.until(LIMITED)

    with structlog.testing.capture_logs() as said:
        run(story(), speed=10)
    sentences = [one["event"] for one in said if one["log_level"] == "warning"]
    assert sum("nobody knows its state, so its fallback holds" in sentence for sentence in sentences) == 1
    assert 1 <= len(sentences) <= 4


def test_without_a_fallback_of_its_own_the_limit_itself_is_the_worst_case(tmp_path):
    async def story():
        box = Box(tmp_path, RIPPLE | {"port": 9, "timeout_ms": 100})
        async with box.polling():
            assert box.in_force() == LIMITED

    run(story())


async def test_an_open_contact_is_heard_and_goes_on_being_heard(tmp_path):
    seconds = SteppedSeconds()
    async with Module().serving() as module:
        box = Box(tmp_path, RIPPLE | {"port": module.port}, seconds=seconds)
        for _ in range(40):
            await box.poll.once()
            ((told, instruction),) = box.outside.all()
            assert box.outside.left_s(instruction) > 55
            assert box.in_force() == {}
            seconds.value += 5
        assert (told.key, told.what.source) == ("grid/main/limits/input ripple", "digital_input")
        box.poll.close()
        box.outside.close()


def test_if_nothing_polls_any_more_the_fallback_holds(tmp_path):
    async def story():
        async with Module().serving() as module:
            box = Box(tmp_path, RIPPLE | {"port": module.port, "fallback_a": 6})
            task = asyncio.create_task(box.poll.run())
            await box.until({"hard": (flat(6), None, "DIGITAL_INPUT", False)})
            await box.until({})
            task.cancel()
            await asyncio.wait([task])
            await box.until({"hard": (flat(6), None, "FALLBACK", False)}, within_s=100)
            box.outside.close()

    run(story(), speed=50)


def test_section_14a_leaves_its_least_while_active_and_while_nobody_knows(tmp_path):
    async def story():
        async with Module().serving() as module:
            module.closed = True
            link = {key: value for key, value in RIPPLE.items() if key != "limit_a"}
            box = Box(tmp_path, link | {"port": module.port, "paragraph_14a": True})
            least_kw = round(4.2 + 2 * 0.75 * 4.2, 1)  # three outlets above 4.2 kW
            dimmed = {"charging": ((None,) * 3, least_kw, "DIGITAL_INPUT", False)}
            async with box.polling():
                assert box.in_force() == dimmed
                await asyncio.sleep(1)
                assert box.in_force() == dimmed
                module.closed = False
                await box.until({})

    run(story(), speed=5)


# -- debounce -------------------------------------------------------------------------------------------

BOUNCES = [
    ([(0, 0), (100, 1), (200, 0), (300, 1), (400, 0), (900, 0)], False),
    ([(0, 0), (100, 1), (350, 1), (599, 1)], False),
    ([(0, 0), (100, 1), (350, 1), (600, 1)], True),
    ([(0, 1), (100, 0), (500, 0)], True),
    ([(0, 1), (100, 0), (600, 0)], False),
    ([(0, 1)], True),  # the first reading counts at once
    ([], None),
]


@pytest.mark.parametrize(("readings", "taken"), BOUNCES)
def test_another_state_counts_once_it_has_lasted(readings, taken):
    contact = DebouncedContact(500)
    for at_ms, active in readings:
        contact.hear(active=bool(active), at_ms=at_ms)
    assert contact.active is taken


@pytest.mark.parametrize(("now_ms", "taken"), [(9_999, False), (10_000, None)])
def test_what_was_not_heard_for_ten_seconds_nobody_knows(now_ms, taken):
    contact = DebouncedContact(500)
    contact.hear(active=False, at_ms=0)
    contact.age(now_ms)
    assert contact.active is taken


# -- from one process and one file to the next ----------------------------------------------------------


def test_a_contact_that_the_site_file_has_no_more_holds_nothing(tmp_path):
    async def story(folder, contacts):
        box = Box(folder, RIPPLE | {"port": 9, "timeout_ms": 100})
        async with box.polling():
            pass
        box = Box(folder, RIPPLE | {"port": 9}, WEDNESDAY + timedelta(seconds=200))
        await forget_removed(box.outside, {name: DigitalInput(**link) for name, link in contacts.items()})
        found = box.in_force()
        box.outside.close()
        return found

    still = {"hard": (flat(16), None, "FALLBACK", False)}
    rows = [({}, {}), ({"ripple": RIPPLE}, still), ({"ripple": RIPPLE | {"grid": "level"}}, {})]
    for n, (contacts, found) in enumerate(rows):
        (tmp_path / str(n)).mkdir()
        assert run(story(tmp_path / str(n), contacts)) == found


def links(**contact):
    tables = {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
        "box": {
            "ocpp": {"host": "127.0.0.1", "port": 0},
            "api": {"host": "127.0.0.1", "port": 0},
            "digital_input": {"ripple": RIPPLE | contact},
        },
    }
    site = build(tables, "garage.toml")
    return site, read_links(site, "garage.toml")


@pytest.mark.parametrize(
    ("contact", "sentence"),
    [
        ({"grid": "mian"}, '[box.digital_input.ripple] grid: there is no grid "mian"; did you mean "main"?'),
        (
            {"limit_a": None},
            "[box.digital_input] ripple: give limit_a, limit_kw or paragraph_14a: what holds while it is active.",  # noqa: E501
        ),
        (
            {"paragraph_14a": True},
            (
                "[box.digital_input] ripple: paragraph_14a is about power: give limit_kw and fallback_kw, or"
                " leave them out."
            ),
        ),
        ({"adress": 4}, '[box.digital_input.ripple] adress: there is no such key; did you mean "address"?'),
    ],
)
def test_what_is_wrong_with_a_contact_is_one_sentence(contact, sentence):
    with pytest.raises(SiteError) as caught:
        links(**contact)
    (said,) = caught.value.lines
    assert said == f"garage.toml: {sentence}"


def test_a_contact_that_leaves_the_machine_is_found():
    _, typed = links(host="192.168.1.9")
    assert list(outside_loopback(Links(typed.box, {}, {}, {}))) == ["[box.digital_input.ripple] 192.168.1.9"]


async def test_check_reads_each_contact_once():
    async with Module().serving() as module:
        module.closed = True
        site, typed = links(port=module.port)
        found = await survey(Drawn(site, compile_site(site)), typed)
    assert found.sound
    assert found.lines[-1] == (
        f"  ok     input ripple: discrete_input 3 at 127.0.0.1:{module.port} device 1: closed, its limit on main"  # noqa: E501
    )
    site, typed = links(port=module.port)
    found = await survey(Drawn(site, compile_site(site)), typed)
    assert not found.sound
    assert found.lines[-1].endswith(f"device 1: no connection to 127.0.0.1:{module.port}")
