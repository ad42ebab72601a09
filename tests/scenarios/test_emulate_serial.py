"""Emulated serial buses, read by a client that the emulator knows nothing of, and by the box."""

import asyncio
import os
import stat

import pytest
from pymodbus.client import AsyncModbusSerialClient

from controller.site import SiteError, build
from controller.topology import compile_site
from hardware.addresses import ModbusAddress
from hardware.clock import Clock, run
from hardware.links import MeterLink, StorageLink
from hardware.modbus import ModbusMeter
from hardware.modbus_line import DeviceSilent, Lines
from hardware.registers import map_names
from hardware.sitefile import read_site
from hardware.storage import StorageDevice
from hardware.storage_maps import load_storage_map, storage_map_names
from scenarios.emulate.emulation import Emulation
from scenarios.emulate.meters import RegisterServer
from scenarios.emulate.serial_bus import SerialBus, checksum
from tests.hardware.test_edge import free_ports, live, running, until
from tests.scenarios.emulated import START, car, registers, stage
from tests.scenarios.test_emulate_meters import STEP, floats
from twin.conditions import Conditions
from twin.world import World


def rtu(folder, sheet="eastron_sdm630", device=1, **more):
    port = str(folder / "bus")
    return {
        "kind": "modbus-rtu",
        "map": sheet,
        "serial_port": port,
        "device_id": device,
        "baud": 115200,
    } | more


async def ask(port, start=0, count=18, function=4, device=1, **settings):
    """What a device on a serial bus answers to a client whose port has these settings."""
    client = AsyncModbusSerialClient(str(port), timeout=0.3, retries=0, **({"baudrate": 115200} | settings))
    assert await client.connect()
    return await registers(client, start, count, function, device)


GOLDEN = ["010300000002c40b", "1103006b00037687", "1106000100039a9b", "110500acff004e8b"]


@pytest.mark.parametrize("frame", GOLDEN)
def test_the_checksum_is_that_of_the_books(frame):
    frame = bytes.fromhex(frame)
    assert checksum(frame[:-2]) == frame[-2:]
    assert checksum(frame) == b"\0\0"


async def test_a_meter_on_a_bus_speaks_the_sheet_of_an_sdm630(tmp_path):
    conditions = Conditions(fault=[STEP], meters={"delay_s": 0})
    async with stage(conditions=conditions, link=rtu(tmp_path)) as played:
        await played.to(20)
        block = floats(await ask(tmp_path / "bus"))
        assert block[3:6] == pytest.approx([12.345, 20, 3.5])


FAULTS = [
    ({"kind": "meter_nan", "meter": "main"}, [float("nan")] * 3),
    ({"kind": "meter_frozen", "meter": "main"}, [0, 0, 0]),
    ({"kind": "meter_reads", "meter": "main", "loss": 1}, [0, 0, 0]),
    ({"kind": "meter_reads", "meter": "main", "late_s": 12}, [0, 0, 0]),
    ({"kind": "meter_reads", "meter": "main", "factor": 2}, [24.69, 40, 7]),
]


@pytest.mark.parametrize(("fault", "amps"), FAULTS)
async def test_the_faults_of_a_meter_are_played_on_a_bus_too(tmp_path, fault, amps):
    conditions = Conditions(fault=[STEP, fault | {"at_s": 5}], meters={"delay_s": 0})
    async with stage(conditions=conditions, link=rtu(tmp_path)) as played:
        await played.to(20)
        block = floats(await ask(tmp_path / "bus", start=6, count=6))
        assert block == pytest.approx(amps, nan_ok=True)


async def test_a_silent_meter_says_nothing(tmp_path):
    fault = {"kind": "meter_silent", "meter": "main", "at_s": 5, "for_s": 10}
    async with stage(conditions=Conditions(fault=[fault]), link=rtu(tmp_path)) as played:
        await played.to(6)
        with pytest.raises(Exception, match="No response"):
            await ask(tmp_path / "bus")
        await played.to(16)
        assert len(await ask(tmp_path / "bus")) == 18


WRONG = [({"function": 3}, 1), ({"start": 100, "count": 2}, 2), ({"start": 0, "count": 60}, 2)]


@pytest.mark.parametrize(("question", "exception"), WRONG)
async def test_a_wrong_question_gets_the_exception_of_the_protocol(tmp_path, question, exception):
    async with stage(link=rtu(tmp_path)) as played:
        await played.to(2)
        assert await ask(tmp_path / "bus", **question) == exception


UNHEARD = {
    "another speed": {"baudrate": 9600},
    "two stop bits": {"stopbits": 2},
    "no such device": {"device": 9},
}


@pytest.mark.parametrize("question", UNHEARD.values(), ids=UNHEARD)
async def test_who_is_not_meant_or_hears_another_speed_is_silent(tmp_path, question):
    async with stage(link=rtu(tmp_path)) as played:
        await played.to(2)
        with pytest.raises(Exception, match="No response"):
            await ask(tmp_path / "bus", **question)
        assert len(await ask(tmp_path / "bus")) == 18


async def test_the_box_says_at_which_speed_nobody_answered(tmp_path):
    async with stage(link=rtu(tmp_path)) as played:
        await played.to(2)
        wrong = MeterLink(**rtu(tmp_path, baud=19200, parity="even", timeout_ms=200))
        with pytest.raises(DeviceSilent, match=r"no answer from .*bus device 1 in 200 ms \(19200 8E1\)"):
            await ModbusMeter("main", wrong).read()


# -- the wire ------------------------------------------------------------------------------------------


class Ends:
    """A bus with an echo as device 1, and a client that writes bytes."""

    def __init__(self, folder, baud=115200):
        port = str(folder / "bus")
        self.bus = SerialBus(ModbusAddress(kind="modbus-rtu", serial_port=port, baud=baud))
        self.bus.devices[1] = RegisterServer(1, lambda function, body: bytes([function]) + body)

    async def __aenter__(self):
        self.bus.open()
        self.client = AsyncModbusSerialClient(self.bus.like.serial_port, baudrate=self.bus.like.baud)
        await self.client.connect()  # sets the speed
        self.client.close()
        self.fd = os.open(self.bus.like.serial_port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        return self

    async def __aexit__(self, *_):
        os.close(self.fd)
        await self.bus.close()

    async def heard(self, seconds):
        await asyncio.sleep(seconds)
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""


FRAME = bytes.fromhex("010300000002c40b")


async def test_a_frame_ends_with_silence_and_not_with_a_length(tmp_path):
    async with Ends(tmp_path, baud=1200) as ends:
        os.write(ends.fd, FRAME[:3])
        await asyncio.sleep(0.01)  # less than 3.5 characters, which are 29 ms
        os.write(ends.fd, FRAME[3:])
        assert await ends.heard(0.4) == FRAME
        os.write(ends.fd, FRAME[:3])
        await asyncio.sleep(0.1)
        os.write(ends.fd, FRAME[3:])
        assert await ends.heard(0.4) == b""


async def test_an_answer_takes_the_time_of_its_wire(tmp_path):
    async with Ends(tmp_path, baud=1200) as ends:
        os.write(ends.fd, FRAME)
        assert await ends.heard(0.10) == b""  # question 67 ms, silence 29 ms, answer 67 ms
        assert await ends.heard(0.30) == FRAME


async def test_who_talks_into_an_answer_hears_neither(tmp_path):
    async with Ends(tmp_path, baud=1200) as ends:
        os.write(ends.fd, FRAME)
        await asyncio.sleep(0.08)
        os.write(ends.fd, b"\xff")
        assert await ends.heard(0.4) == b""


BROKEN = [FRAME[:-1] + b"\0", b"\x01", b"\xff" * 300, b"\x02" + FRAME[1:], b"\0\x03\0\0\0\1\x85\xdb"]


@pytest.mark.parametrize("frame", BROKEN)
async def test_a_broken_frame_gets_no_answer_and_ends_nothing(tmp_path, frame):
    async with Ends(tmp_path) as ends:
        os.write(ends.fd, frame)
        assert await ends.heard(0.1) == b""
        os.write(ends.fd, FRAME)
        assert await ends.heard(0.1) == FRAME


async def test_the_path_is_made_and_taken_away_and_what_is_there_already_is_kept(tmp_path):
    port = tmp_path / "bus"
    async with Ends(tmp_path) as ends:
        assert stat.S_ISCHR(port.stat().st_mode)
        assert str(port.readlink()) == ends.bus.name
    assert not port.is_symlink()
    port.symlink_to("/dev/pts/9999")  # what a killed emulator leaves
    async with Ends(tmp_path):
        assert port.exists()
    for there in (port, tmp_path / "none" / "bus"):
        if there == port:
            there.write_text("mine")
        bus = SerialBus(ModbusAddress(kind="modbus-rtu", serial_port=str(there)))
        with pytest.raises(SiteError, match="cannot be emulated") as refused:
            bus.open()
        assert len(refused.value.lines) == 1
        await bus.close()
    assert port.read_text() == "mine"


# -- every map, on one bus -----------------------------------------------------------------------------


def many(folder):
    """A site with a device of every map that there is on one bus, numbered from 1."""
    numbers = iter(range(1, 100))
    grid = {"main": {"id": 0, "max_current_a": 100, "worst_load_a": 20, "feeds_in": True}}
    tables = {"meter": {}, "battery": {}, "inverter": {}}
    for at, sheet in enumerate(map_names(), start=1):
        grid[f"b{at}"] = {"id": at, "fed_by": "main", "max_current_a": 80}
        link = rtu(folder, sheet, next(numbers))
        tables["meter"][sheet] = {"grid": f"b{at}", "role": "guard", "link": link}
    for sheet in storage_map_names():
        kind = load_storage_map(sheet).kind
        built = {"capacity_wh": 9e3, "max_charge_w": 6e3, "max_discharge_w": 6e3, "revert_s": 60}
        tables[kind][sheet] = {"fed_by": "main", "link": rtu(folder, sheet, next(numbers))} | (
            built if kind == "battery" else {"max_power_w": 10_000, "revert_s": 60}
        )
    top = {"meter": {"grid": "main", "role": "guard", "link": rtu(folder, device=99)}}
    tables["meter"] |= {"main": top["meter"]}
    return build(
        {
            "name": "All",
            "timezone": "Europe/Amsterdam",
            "accept_unsafe_fallback": "a test, nobody",
            "grid": grid,
        }
        | tables,
        "test",
    )


async def test_every_map_is_served_and_read_on_one_bus_and_storage_obeys(tmp_path):
    drawn = many(tmp_path)
    world = World(drawn, compile_site(drawn), Conditions(fault=[STEP]), [], 1, START)
    emulation, lines = Emulation(world, "ws://127.0.0.1:9"), Lines()
    await emulation.open()
    emulation.advance(20_000)
    try:
        assert [len(bus.devices) for bus in emulation.buses] == [
            len(map_names()) + len(storage_map_names()) + 1
        ]
        meters = {
            name: ModbusMeter(name, MeterLink(**meter.link), lines) for name, meter in drawn.meter.items()
        }
        readings = await asyncio.gather(*(meter.read() for meter in meters.values()))
        by_name = dict(zip(meters, readings, strict=True))
        assert by_name.pop("main").current_ma == pytest.approx((12_345, 20_000, 3_500), abs=60)
        assert {reading.current_ma for reading in by_name.values()} == {(0, 0, 0)}
        devices = {**drawn.battery, **drawn.inverter}
        for name, device in devices.items():
            one = StorageDevice(StorageLink(**device.link), 3, lines)
            assert (await one.read()).current_ma == (0, 0, 0)
            await one.tell(2000 if name in drawn.battery else 0, 60)
        emulation.advance(30_000)
        flows = {name: int(world.cells[row]["flow_ma"]) for row, name in enumerate(drawn.battery)}
        assert all(flow == pytest.approx(2898, abs=60) for flow in flows.values()), flows
    finally:
        await emulation.close()


async def test_a_device_that_two_tables_share_is_refused_in_one_sentence(tmp_path):
    drawn = many(tmp_path).model_dump(exclude_unset=True)
    device = {"kind": "modbus-rtu", "serial_port": str(tmp_path / "bus"), "device_id": 50}
    drawn["battery"]["generic_battery"]["link"] = device | {"map": "sunspec_battery"}
    drawn["inverter"]["generic_inverter"]["link"] = device | {"map": "sunspec_inverter"}
    site = build(drawn, "test")
    world = World(site, compile_site(site), Conditions(), [], 1, START)
    with pytest.raises(SiteError, match="device 50 is two tables"):
        Emulation(world, "ws://127.0.0.1:9")


# -- the box on the bus --------------------------------------------------------------------------------

SITE_FILE = """
name = "On a bus"
timezone = "Europe/Amsterdam"
accept_unsafe_fallback = "a test, nobody"

[grid.main]
id = 0
max_current_a = 40

[grid.shop]
id = 1
fed_by = "main"
max_current_a = 35

[meter.main]
grid = "main"
role = "guard"
on_failure = {{ safe_current_a = 10 }}
link = {{ kind = "modbus-rtu", map = "eastron_sdm630", serial_port = "{port}", device_id = 1, {line} }}

[meter.shop]
grid = "shop"
role = "guard"
link = {{ kind = "modbus-rtu", map = "abb_b2x", serial_port = "{port}", device_id = 2, {line} }}

[chargepoint.bay_1]
identity = "CP-1"
fed_by = "main"
lease_s = 300
connector = [{{ number = 1, max_current_a = 32 }}]

[chargepoint.bay_2]
identity = "CP-2"
fed_by = "main"
lease_s = 300
connector = [{{ number = 1, max_current_a = 32 }}]

[chargepoint.bay_3]
identity = "CP-3"
fed_by = "shop"
lease_s = 300
connector = [{{ number = 1, max_current_a = 32 }}]

[box]
ocpp = {{ host = "127.0.0.1", port = {ocpp} }}
api = {{ host = "127.0.0.1", port = {api} }}
"""
LINE = 'baud = 19200, parity = "even", timeout_ms = 1000'
SPEED = 4


@pytest.mark.timeout(400)
def test_a_site_is_controlled_by_meters_on_a_bus_also_after_its_adapter_was_pulled(tmp_path):
    run(_pulled(tmp_path), SPEED)


async def _pulled(folder):
    ocpp, api = free_ports(2)
    path = folder / "site.toml"
    path.write_text(SITE_FILE.format(port=folder / "bus", line=LINE, ocpp=ocpp, api=api))
    drawn, topology = read_site(path)
    load = {"kind": "load_step", "grid": "main", "at_s": 0, "current_a": [4, 4, 4]}
    cars = [car(connector=bay, at_s=60, max_a=32) for bay in range(3)]
    world = World(drawn, topology, Conditions(fault=[load]), cars, 1, START)
    main = list(topology.grid_names).index("main")
    emulation = Emulation(world, f"ws://127.0.0.1:{ocpp}")
    await emulation.open()
    moving = asyncio.create_task(emulation.run(Clock(asyncio.get_running_loop().time)))

    def amps():
        return int(world.boards[main]["current_ma"].max()) / 1000

    async def lost():
        return any(grid["meter_lost"] for grid in (await live(api))["grids"])

    async def found():
        return not await lost()

    try:
        async with running(path, "--speed", str(SPEED)):
            async with asyncio.timeout(200):
                while not 34 <= amps() <= 40:  # noqa: ASYNC110 - the world moves
                    await asyncio.sleep(1)
            assert await found()
            await emulation.buses[0].close()
            await until(lost, 100)
            async with asyncio.timeout(100):
                while amps() > 4 + 10 + 1:  # noqa: ASYNC110 - the load, and the safe current
                    await asyncio.sleep(1)
            emulation.buses[0].open()
            await until(found, 100)
            async with asyncio.timeout(300):
                while not 34 <= amps() <= 40:  # noqa: ASYNC110
                    await asyncio.sleep(1)
    finally:
        moving.cancel()
        await asyncio.wait([moving])
        await emulation.close()
