"""The `edge` command as a process: what it prints, what it refuses, and how it comes back after kill -9."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from pymodbus.client import AsyncModbusTcpClient

from hardware.clock import Clock, run
from hardware.registers import Reading, load_map
from tests.hardware.garage import charging, write_site
from tests.hardware.test_modbus import instrument

ROOT = Path(__file__).parents[2]
INTERPRETED = os.environ | {"NUMBA_DISABLE_JIT": "1"}  # a compiler for each store would be all that is tested


def edge(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "hardware", *map(str, arguments)],
        cwd=ROOT,
        env=INTERPRETED,
        capture_output=True,
        text=True,
        timeout=60,
    )


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


class Running:
    """An `edge run` that has said where it listens."""

    def __init__(self, process, seconds, line):
        self.process = process
        self.seconds = seconds
        self.line = line


@asynccontextmanager
async def running(site, *arguments):
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hardware", "run", str(site), *arguments,
        cwd=ROOT, env=INTERPRETED, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(600):
            line = (await process.stdout.readline()).decode()
            if not line:
                pytest.fail((await process.stderr.read()).decode())
        yield Running(process, time.monotonic() - started, line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def live(port, page="live"):
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{port}/api/v1/{page}")).json()


async def until(condition, within_s):
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - it asks another process
            await asyncio.sleep(0.1)


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "edge: Missing argument 'SITE.toml'.\n"),
        (["fly"], "edge: No such command 'fly'.\n"),
        (["run", "none.toml"], "none.toml: there is no such file; check the path.\n"),
        (["check", "tests"], "tests: is a folder; name the .toml file in it.\n"),
        (["check", "Makefile"], "Makefile: this is not TOML: "),
        (["forget", "none.toml"], "edge: Missing argument 'CONNECTOR'.\n"),
        (["run", "none.toml", "--speed", "fast"], "edge: Invalid value for '--speed': "),
    ],
)
def test_what_a_user_gives_wrong_is_one_sentence_and_exit_code_2(arguments, sentence):
    done = edge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_every_fault_of_a_site_file_is_one_line(tmp_path):
    site = write_site(tmp_path)
    text = site.read_text().replace("max_current_a = 63", "max_curent_a = 63").replace("fed_by", "fed_bye")
    site.write_text(text)
    done = edge("run", site)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        '[grid.main] max_curent_a: there is no such key; did you mean "max_current_a"?',
        '[chargepoint.bay_1] fed_bye: there is no such key; did you mean "fed_by"?',
    ]


def test_a_faster_clock_is_refused_unless_every_link_is_on_this_machine(tmp_path):
    site = write_site(tmp_path)
    for inside, outside, place in (
        ('ocpp = { host = "127.0.0.1"', 'ocpp = { host = "0.0.0.0"', "[box.ocpp] 0.0.0.0"),
        ('api = { host = "127.0.0.1"', 'api = { host = "192.168.1.4"', "[box.api] 192.168.1.4"),
        ("[box]", '[box.modbus.ems]\nhost = "0.0.0.0"\n[box]', "[box.modbus.ems] 0.0.0.0"),
    ):
        text = site.read_text()
        site.write_text(text.replace(inside, outside))
        done = edge("run", site, "--speed", "20")
        assert done.returncode == 2
        assert done.stderr.startswith("edge: --speed 20 is refused: cars and fuses keep real time, and ")
        assert place in done.stderr
        assert done.stderr.count("\n") == 1
        site.write_text(text)
    assert edge("run", site, "--speed", "0.5").stderr == "edge: --speed is 1 or more\n"


def test_the_version_is_printed():
    assert edge("--version").stdout.startswith("edge 0.")


def test_the_registers_of_a_site_are_printed_as_csv(tmp_path):
    done = edge("map", write_site(tmp_path, chargepoints=2))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "address,logical,block,of,name,words,type,unit,access,meaning"
    assert "100,40101,grid,main,type,1,u16,,read,2: grid" in lines
    assert (
        "125,40126,grid,main,limit_l1,1,u16,0.1 A,write,limit: limit on L1 of this board; none: no limit"
        in lines
    )
    assert lines[-1] == "301,40302,end,,length,1,u16,,read,0"


# -- check ---------------------------------------------------------------------------------------------


async def test_check_prints_the_tree_and_tries_each_link_once(tmp_path):
    sheet = load_map("eastron_sdm630")
    async with instrument(sheet.encode(Reading((10_000, 20_000, 30_000)))) as meter:
        site = write_site(tmp_path, meter=meter, chargepoints=2)
        done = await asyncio.to_thread(edge, "check", site)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Small garage (Europe/Amsterdam)",
        "",
        "main: fuse 63 A, measured",
        "  meter main: guard, when lost everything under it goes off",
        "  chargepoint bay_1 (CP-1): starts at 0 A, left alone it keeps its last limit",
        "    connector 1: 6 to 32 A, 3 phases, L1 L2 L3 (not confirmed)",
        "  chargepoint bay_2 (CP-2): starts at 0 A, left alone it keeps its last limit",
        "    connector 1: 6 to 32 A, 3 phases, L1 L2 L3 (not confirmed)",
        "",
        "If the controller dies now: not every fuse holds.",
        (
            "  [grid.main] if the controller dies now, L1 may reach 127 A on a 63 A fuse"
            " (worst load 63 A, chargepoints alone 64 A)."
        ),
        "  Accepted: a test, nobody",
        "",
        "Links",
        "  ok     [box.ocpp] 127.0.0.1 port of its choice can be opened",
        "  ok     [box.api] 127.0.0.1 port of its choice can be opened",
        (
            f"  ok     meter main: eastron_sdm630 at 127.0.0.1:{meter} device 1:"
            " 10.0 / 20.0 / 30.0 A at 230.0 / 230.0 / 230.0 V"
        ),
    ]


async def test_check_says_what_is_wrong_with_a_link_and_ends_with_exit_code_1(tmp_path):
    (nobody,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await asyncio.to_thread(edge, "check", write_site(tmp_path, ocpp=port, meter=nobody))
    assert done.returncode == 1
    faults = [line.strip() for line in done.stdout.splitlines() if "FAULT" in line]
    assert faults == [
        (
            f"FAULT  [box.ocpp] 127.0.0.1 port {port} cannot be opened (Address already in use);"
            " another program may have it: stop that or choose another port."
        ),
        (
            f"FAULT  meter main: eastron_sdm630 at 127.0.0.1:{nobody} device 1:"
            f" no connection to 127.0.0.1:{nobody}"
        ),
    ]


# -- run -----------------------------------------------------------------------------------------------


async def test_run_ends_cleanly_when_told_to_and_refuses_a_second_one_on_its_store(tmp_path):
    ocpp, api = free_ports(2)
    site = write_site(tmp_path, ocpp=ocpp, api=api)
    async with running(site) as first:
        assert first.line == (
            f'Edge controls "Small garage": OCPP 1.6J on ws://127.0.0.1:{ocpp}/, API on http://127.0.0.1:{api}/\n'
        )
        second = await asyncio.to_thread(edge, "run", site)
        assert second.returncode == 2
        assert "another edge runs on this store" in second.stderr
        assert second.stderr.count("\n") == 1
        first.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.process.wait(), 15) == 0
    with socket.create_server(("127.0.0.1", ocpp)):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        blocked = await asyncio.to_thread(edge, "run", write_site(elsewhere, ocpp=ocpp, api=api))
    assert blocked.returncode == 2
    assert f"[box.ocpp] 127.0.0.1 port {ocpp} cannot be opened (Address already in use)" in blocked.stderr
    assert blocked.stderr.count("\n") == 1


async def test_on_sighup_it_takes_the_site_file_as_it_is_now_unless_that_is_wrong(
    tmp_path,
):
    ocpp, api = free_ports(2)
    site = write_site(tmp_path, ocpp=ocpp, api=api)
    right = site.read_text("utf-8")

    async def is_called(name):
        try:
            return await has_cycled(api) and (await live(api, "site"))["name"] == name
        except httpx2.TransportError:
            return False  # between two lives

    async with running(site) as box:
        await until(lambda: is_called("Small garage"), within_s=60)
        site.write_text(right.replace("Small garage", "Large garage") + "\n[grid.odd]\nid = 0\n", "utf-8")
        box.process.send_signal(signal.SIGHUP)
        line = (await asyncio.wait_for(box.process.stderr.readline(), 30)).decode()
        assert "[grid.odd]" in line
        assert "The site goes on as it was." in line
        assert await is_called("Small garage")
        site.write_text(right.replace("Small garage", "Large garage"), "utf-8")
        box.process.send_signal(signal.SIGHUP)
        await until(lambda: is_called("Large garage"), within_s=60)
        box.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(box.process.wait(), 15) == 0


async def test_what_an_energy_management_writes_holds_in_the_next_cycle(tmp_path):
    ocpp, api, modbus = free_ports(3)
    more = f"[box.modbus.ems]\nport = {modbus}\nwritable = true\n"
    async with running(write_site(tmp_path, ocpp=ocpp, api=api, more=more)) as box:
        assert box.line.endswith(f"API on http://127.0.0.1:{api}/, Modbus ems on 127.0.0.1:{modbus}\n")
        client = AsyncModbusTcpClient("127.0.0.1", port=modbus)
        assert await client.connect()
        assert not (await client.write_registers(122, [60, 0xFFFF, 0xFFFF, 160, 160, 105, 0xFFFF])).isError()

        async def allowed_ma():
            words = (await client.read_holding_registers(153, count=6)).registers
            return client.convert_from_registers(words, client.DATATYPE.INT32)

        async def holds():
            return await allowed_ma() == [16_000, 16_000, 10_500]

        await until(holds, within_s=60)
        phases = (await live(api))["grids"][0]["phases"]
        assert [phase["limit_a"] for phase in phases] == [16, 16, 10.5]
        client.close()


def test_a_killed_edge_comes_back_with_its_transactions_and_raises_nobody_it_has_not_heard(tmp_path):
    """Both processes live ten times as fast; how long it takes to be back is a figure of `make bench`."""
    ocpp, api = free_ports(2)
    site = write_site(tmp_path, ocpp=ocpp, api=api)

    async def charges():
        return (await live(api))["charging"] == 1

    async def story():
        utc = Clock(asyncio.get_running_loop().time).utc
        async with running(site, "--speed", "10") as first, charging(ocpp, utc) as car:
            await until(charges, within_s=300)
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
            allowed_a, transaction = car.limits_a[-1], car.transaction
        assert allowed_a >= 6

        async with running(site, "--speed", "10"):
            await until(lambda: has_cycled(api), within_s=200)
            async with charging(ocpp, utc, boots=False) as car:
                car.box.replies["TriggerMessage"] = {"status": "Accepted"}
                await asyncio.sleep(30)
                assert all(limit <= allowed_a for limit in car.limits_a)
                assert (await live(api))["charging"] == 0
                car.transaction = transaction
                car.limits_a.append(allowed_a)
                await car.box.status("Charging")
                reporting = asyncio.create_task(car.charge())
                await until(charges, within_s=300)
                reporting.cancel()
                await asyncio.wait([reporting])

    run(story(), speed=10)


async def has_cycled(port):
    try:
        return (await live(port))["cycle"] >= 2
    except (httpx2.TransportError, KeyError):
        return False
