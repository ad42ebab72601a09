"""Batteries and inverters on Modbus TCP: golden frames of their sheets, and what they do badly."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

import pytest
import structlog

from controller.defaults import NEVER, UNKNOWN, UNLIMITED_MA
from controller.image import Answer, blank_image
from controller.site import SiteError, build
from controller.topology import compile_site
from hardware.clock import Clock, SteppedSeconds, run
from hardware.links import StorageLink, outside_loopback, read_links
from hardware.sitefile import Drawn
from hardware.storage import Order, StorageDevice, StoragePoll
from hardware.storage_maps import load_storage_map, models_in, storage_map_names
from hardware.survey import survey

# -- golden frames, by hand from the sheets -------------------------------------------------------------


def words(text, start=0):
    """Words by offset of one model, from hex digits."""
    block = bytes.fromhex(text)
    return dict(enumerate(struct.unpack(f">{len(block) // 2}H", block), start=start))


GENERIC = words("0000 2EE0  FFFF D8F0  8000 0000  020B  0000 1770  FFFF FFFF")
"""12 A, -10 A and unknown; 52.3 %; 6000 W; no word on discharging."""
INVERTER_103 = words("04D2 0064 FFFF FFFE 0000 0000 0000 0000 0000 0000 0000 01A4 0001", start=3)
"""12.34, 1.00 A and not implemented, scale -2; 420 with scale 1: 4.2 kW out."""
STORAGE_124 = dict.fromkeys((103,), INVERTER_103) | {
    124: {2: 500, 18: 1, 8: 5230, 22: 0xFFFE, 25: 0xFFFE}  # 5 kW, 52.3 %, percents in hundredths
}
PANEL = {103: INVERTER_103, 121: {2: 10_000, 22: 0}, 123: {23: 0xFFFF}}  # 10 kW, percents in tenths


def test_a_generic_battery_says_its_currents_its_charge_and_what_it_can_take():
    look = load_storage_map("generic_battery").decode({0: GENERIC}, 3)
    assert look.current_ma == (12_000, -10_000, UNKNOWN)
    assert (look.soc, look.charge_ma, look.discharge_ma) == (523, 8_695, UNLIMITED_MA)


def test_a_sunspec_inverter_gives_magnitudes_whose_direction_is_that_of_its_power():
    look = load_storage_map("sunspec_inverter").decode(PANEL, 3)
    assert look.current_ma == (-12_340, -1_000, UNKNOWN)
    takes = {**PANEL, 103: INVERTER_103 | {14: 0xFE5C}}
    assert load_storage_map("sunspec_inverter").decode(takes, 3).current_ma == (12_340, 1_000, UNKNOWN)
    mute = {**PANEL, 103: INVERTER_103 | {14: 0x8000}}
    assert load_storage_map("sunspec_inverter").decode(mute, 3).current_ma == (UNKNOWN,) * 3


@pytest.mark.parametrize("factor", [0x8000, 11, 0xFFF5])
def test_a_scale_factor_that_makes_no_sense_leaves_the_value_unknown(factor):
    broken = {**PANEL, 103: INVERTER_103 | {6: factor}}
    assert load_storage_map("sunspec_inverter").decode(broken, 3).current_ma == (UNKNOWN,) * 3


def test_a_scale_factor_is_read_with_the_values_for_it_may_change():
    other = {**PANEL, 103: INVERTER_103 | {6: 0xFFFF}}
    assert load_storage_map("sunspec_inverter").decode(other, 3).current_ma[0] == -123_400


@pytest.mark.parametrize(
    ("raw", "soc"), [(0, 0), (5230, 523), (10_000, 1000), (10_100, UNKNOWN), (0xFFFF, UNKNOWN)]
)
def test_a_charge_beyond_full_is_no_charge(raw, soc):
    cells = {**STORAGE_124, 124: STORAGE_124[124] | {8: raw}}
    assert load_storage_map("sunspec_battery").decode(cells, 3).soc == soc


ORDERS = [
    ("generic_battery", 6000, 60, {}, [(0, 100, "0000 1770 003C")]),
    ("generic_battery", -6000, 0, {}, [(0, 100, "FFFF E890 0000")]),
    ("generic_inverter", 12_345, 60, {}, [(0, 100, "0000 3039 003C")]),
    # 3333 W of 5 kW are 66.66 %: charge at least and at most so much; then both rates are put in force
    ("sunspec_battery", 3333, 60, STORAGE_124, [(124, 12, "E5F6 1A0A 0000 003C"), (124, 5, "0003")]),
    ("sunspec_battery", -3333, 60, STORAGE_124, [(124, 12, "1A0A E5F6 0000 003C"), (124, 5, "0003")]),
    ("sunspec_battery", 0, 60, STORAGE_124, [(124, 12, "0000 0000 0000 003C"), (124, 5, "0003")]),
    ("sunspec_battery", 9000, 60, STORAGE_124, [(124, 12, "D8F0 2710 0000 003C"), (124, 5, "0003")]),
    # 5678 W of 10 kW are 56.78 %, in tenths 56.7: less is fed in, never more
    ("sunspec_inverter", 5678, 90, PANEL, [(123, 5, "0237 0000 005A 0000 0001")]),
    ("sunspec_inverter", 0, 90, PANEL, [(123, 5, "0000 0000 005A 0000 0001")]),
    ("sunspec_inverter", 25_000, 90, PANEL, [(123, 5, "03E8 0000 005A 0000 0001")]),
    ("sunspec_inverter_toggled", 0, 90, PANEL, [(123, 9, "0000"), (123, 5, "0000 0000 005A 0000 0001")]),
]


@pytest.mark.parametrize(("name", "power_w", "revert_s", "read", "written"), ORDERS)
def test_an_order_in_the_words_of_the_sheet(name, power_w, revert_s, read, written):
    found = load_storage_map(name).orders(power_w, revert_s, read)
    assert found == [(model, at, list(words(text).values())) for model, at, text in written]


def test_who_does_not_say_its_rating_cannot_be_told_percents():
    blind = {**PANEL, 121: {2: 0xFFFF, 22: 0}}
    with pytest.raises(ValueError, match="it does not say its rating, so no percents of it can be told"):
        load_storage_map("sunspec_inverter").orders(5000, 60, blind)


def test_the_models_of_a_device_are_found_in_its_chain_wherever_they_stand():
    sheet = load_storage_map("sunspec_inverter")
    chain = [(1, 40_002), (103, 40_070), (120, 40_122), (121, 40_150), (123, 40_182)]
    assert models_in(chain, sheet) == {0: 0, 103: 40_070, 121: 40_150, 123: 40_182}
    assert models_in([(101, 70), (121, 150), (123, 182)], sheet)[103] == 70
    with pytest.raises(ValueError, match=r"it has no SunSpec model 123 \(it has 1, 103, 121\)"):
        models_in([(1, 2), (103, 70), (121, 150)], sheet)


@pytest.mark.parametrize("name", storage_map_names())
def test_every_map_can_be_loaded_and_ends_its_orders(name):
    assert load_storage_map(name).reverts


# -- on sockets -----------------------------------------------------------------------------------------


class Registers:
    """A device framed by hand: holding registers, and what it does badly."""

    def __init__(self, held):
        self.held = dict(held)
        self.written = []
        self.mute = False
        self.refuses = 0
        self.port = 0
        self._writers = set()

    async def _talk(self, reader, writer):
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(head[4:6], "big") - 2)
                if not self.mute:
                    answer = self._answer(head[7], body)
                    writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer)

    def _answer(self, function, body):
        start, count = struct.unpack(">HH", body[:4])
        if function == 3:
            found = [self.held.get(at) for at in range(start, start + count)]
            if None in found:
                return bytes((0x83, 2))
            return struct.pack(f">BB{count}H", 3, 2 * count, *found)
        if self.refuses:
            return bytes((0x90, self.refuses))
        told = struct.unpack(f">{count}H", body[5:])
        self.written.append((start, list(told)))
        self.held.update(enumerate(told, start=start))
        return b"\x10" + body[:4]

    @asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()


def site(kind="battery", **link):
    device = {"fed_by": "main", "revert_s": 60, "link": {"kind": "modbus-tcp", "host": "127.0.0.1"} | link}
    built = {
        "battery": {"capacity_wh": 9e3, "max_charge_w": 6e3, "max_discharge_w": 6e3},
        "inverter": {"max_power_w": 10e3, "curtailable": True},
    }[kind]
    return build(
        {
            "name": "One board",
            "timezone": "Europe/Amsterdam",
            "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
            kind: {"cellar": device | built},
            "box": {name: {"host": "127.0.0.1", "port": 0} for name in ("ocpp", "api")},
        },
        "garage.toml",
    )


class Bench:
    """A device, its row of the image, and its poll."""

    def __init__(self, port, name="generic_battery", kind="battery", seconds=None):
        self.clock = Clock(seconds or asyncio.get_running_loop().time)
        image = blank_image(compile_site(site(kind)))
        rows = image.batteries if kind == "battery" else image.inverters
        self.row = rows[0]
        link = StorageLink(kind="modbus-tcp", map=name, host="127.0.0.1", port=port, timeout_ms=300)
        self.poll = StoragePoll(kind, "cellar", StorageDevice(link, 3), 0, rows, self.clock, 1000)


HELD = GENERIC | {100: 0, 101: 0, 102: 0}


async def test_a_poll_keeps_the_row_at_what_the_device_says():
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port)
        assert (bench.row["online"], bench.row["at_ms"]) == (0, NEVER)
        await bench.poll.once()
        assert bench.row["current_ma"].tolist() == [12_000, -10_000, UNKNOWN]
        assert [int(bench.row[name]) for name in ("online", "soc", "charge_ma")] == [1, 523, 8_695]
        bench.poll.close()


async def test_an_order_is_answered_when_the_device_has_taken_its_words():
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port)
        bench.poll.order(Order(4, 3000, bench.clock.now_ms() + 60_500))
        assert bench.row["answered_seq"] == 0
        await bench.poll.passed_on()
        assert device.written == [(100, [0, 3000, 60])]
        assert [int(bench.row[name]) for name in ("answered_seq", "answer")] == [4, Answer.ACCEPTED]
        bench.poll.close()


async def test_an_order_never_lives_longer_than_the_controller_thinks():
    seconds = SteppedSeconds()
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port, seconds=seconds)
        until_ms = bench.clock.now_ms() + 60_000
        for passed_s in (0, 20.2, 59, 59.5, 61):
            seconds.value = passed_s
            bench.poll.order(Order(1, 3000, until_ms))
            await bench.poll.passed_on()
        bench.poll.order(Order(2, 3000, NEVER))
        await bench.poll.passed_on()
        assert [told[-1] for _, told in device.written] == [60, 39, 1, 0]  # the last is for ever
        bench.poll.close()


async def test_the_newest_order_takes_the_place_of_one_that_has_not_left():
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port)
        for seq, power_w in ((1, 6000), (2, -2000), (3, 0)):
            bench.poll.order(Order(seq, power_w, NEVER))
        await bench.poll.passed_on()
        await bench.poll.passed_on()
        assert device.written == [(100, [0, 0, 0])]
        assert bench.row["answered_seq"] == 3
        bench.poll.close()


@pytest.mark.parametrize(("refuses", "seq", "answer"), [(3, 1, Answer.REFUSED), (0, 0, Answer.NONE)])
async def test_what_was_refused_is_told_and_what_was_not_heard_is_not_answered(refuses, seq, answer):
    async with Registers(HELD).serving() as device:
        device.refuses, device.mute = refuses, not refuses
        bench = Bench(device.port)
        with structlog.testing.capture_logs() as said:
            for _ in range(3):
                bench.poll.order(Order(1, 3000, NEVER))
                await bench.poll.passed_on()
        assert [int(bench.row[name]) for name in ("answered_seq", "answer")] == [seq, answer]
        assert len(said) == 1
        assert said[0]["event"].startswith("Battery cellar: an order did not get through: ")
        bench.poll.close()


async def test_a_device_that_falls_silent_ages_and_counts_as_disconnected_after_ten_seconds():
    seconds = SteppedSeconds()
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port, seconds=seconds)
        await bench.poll.once()
        at_ms = int(bench.row["at_ms"])
        device.mute = True
        for passed_s, online in ((5, 1), (9.9, 1), (10.1, 0)):
            seconds.value = passed_s
            await bench.poll.once()
            assert (bench.row["online"], bench.row["at_ms"]) == (online, at_ms)
        device.mute = False
        await bench.poll.once()
        assert bench.row["online"] == 1
        bench.poll.close()


async def test_a_number_that_nobody_thought_of_ends_neither_polling_nor_orders(monkeypatch):
    async with Registers(HELD).serving() as device:
        bench = Bench(device.port)
        with structlog.testing.capture_logs() as said, monkeypatch.context() as broken:
            broken.setattr(StorageDevice, "read", lambda _: 1 / 0)
            broken.setattr(StorageDevice, "tell", lambda *_: 1 / 0)
            await bench.poll.once()
            bench.poll.order(Order(1, 3000, NEVER))
            await bench.poll.passed_on()
        assert [one["kind"] for one in said] == ["unusable", "order unusable"]
        await bench.poll.once()
        bench.poll.order(Order(2, 3000, NEVER))
        await bench.poll.passed_on()
        assert (bench.row["online"], bench.row["answered_seq"]) == (1, 2)
        bench.poll.close()


def chain(base, *models):
    """Registers of a SunSpec device: ID, length and the words of each model."""
    held = {base: 0x5375, base + 1: 0x6E53}
    at = base + 2
    for number, length, points in ((1, 66, {}), *models):
        held |= dict.fromkeys(range(at, at + length + 2), 0)
        held |= {at: number, at + 1: length} | {at + offset: word for offset, word in points.items()}
        at += length + 2
    return held | {at: 0xFFFF, at + 1: 0}


@pytest.mark.parametrize("base", [40_000, 50_000, 0])
async def test_a_sunspec_device_is_found_at_each_of_its_three_places(base):
    held = chain(base, (103, 50, PANEL[103]), (121, 30, PANEL[121]), (123, 24, PANEL[123]))
    async with Registers(held).serving() as device:
        bench = Bench(device.port, "sunspec_inverter", "inverter")
        await bench.poll.once()
        assert bench.row["current_ma"].tolist()[:2] == [-12_340, -1_000]
        bench.poll.order(Order(1, 5678, bench.clock.now_ms() + 90_500))
        await bench.poll.passed_on()
        at = base + 2 + 68 + 52 + 32
        assert device.written == [(at + 5, [567, 0, 90, 0, 1])]
        bench.poll.close()


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({0: 0, 1: 0}, 'it says "SunS" at none of 40000, 50000 and 0'),
        (chain(40_000, (103, 50, {})), "it has no SunSpec model 121 (it has 1, 103)"),
    ],
)
async def test_what_a_device_lacks_is_one_sentence(held, sentence):
    async with Registers(held).serving() as device:
        bench = Bench(device.port, "sunspec_inverter", "inverter")
        with structlog.testing.capture_logs() as said:
            for _ in range(3):
                await bench.poll.once()
        assert [one["event"] for one in said] == [f"Inverter cellar: {sentence}."]
        assert bench.row["at_ms"] == NEVER
        bench.poll.close()


def test_polling_and_orders_share_one_connection_and_do_not_mix_up():
    async def story():
        async with Registers(HELD).serving() as device:
            bench = Bench(device.port)
            task = asyncio.create_task(bench.poll.run())
            for seq in range(1, 41):
                bench.poll.order(Order(seq, 100 * seq, NEVER))
                await asyncio.sleep(0.7)
            task.cancel()
            await asyncio.wait([task])
            assert bench.row["answered_seq"] == 40
            assert device.written[-1] == (100, [0, 4000, 0])
            assert len(device._writers) == 1

    run(story(), speed=10)


# -- in the site file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "link", "sentence"),
    [
        (
            "battery",
            {"map": "sunspec_batery"},
            (
                '[battery.cellar.link] map: there is no storage map "sunspec_batery"; did you mean'
                " \"sunspec_battery\"? (it is 'sunspec_batery')."
            ),
        ),
        (
            "inverter",
            {"map": "sunspec_battery"},
            '[inverter.cellar.link] map: "sunspec_battery" is for a battery; name one for an inverter.',
        ),
        (
            "battery",
            {"map": "sunspec_battery", "poll_ms": 500},
            "[battery.cellar.link] poll_ms: there is no such key; remove it or check its spelling.",
        ),
    ],
)
def test_what_is_wrong_with_a_link_is_one_sentence(kind, link, sentence):
    with pytest.raises(SiteError) as caught:
        read_links(site(kind, **link), "garage.toml")
    assert caught.value.lines == [f"garage.toml: {sentence}"]


def test_a_device_that_leaves_the_machine_is_found():
    typed = read_links(site("inverter", map="sunspec_inverter", host="192.168.1.7"), "garage.toml")
    assert list(outside_loopback(typed)) == ["[inverter.cellar] link 192.168.1.7"]


async def test_check_looks_at_each_device_once_and_writes_nothing():
    async with Registers(HELD | words("FFFF D8F0", start=4)).serving() as device:
        drawn = site(map="generic_battery", port=device.port)
        found = await survey(Drawn(drawn, compile_site(drawn)), read_links(drawn, "garage.toml"))
        assert found.sound
        assert found.lines[-1] == (
            f"  ok     battery cellar: generic_battery at 127.0.0.1:{device.port} device 1:"
            " takes 12.0 / -10.0 / -10.0 A, charged to 52.3 %"
        )
        assert device.written == []
