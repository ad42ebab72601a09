"""`edge-twin emulate`: a scenario on loopback, for whoever speaks OCPP and Modbus."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from controller.site import SiteError
from scenarios.emulate.command import main
from tests.scenarios.central import Central

STORY = Path("scenarios/library/demo.toml")


@pytest.mark.parametrize(
    ("url", "speed", "word"),
    [
        ("http://127.0.0.1:9000", 1, "ws://"),
        ("ws://127.0.0.1:9000", 0, "--speed"),
        ("ws://x", 1000, "--speed"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(url, speed, word):
    with pytest.raises(SiteError, match=word) as refused:
        main(STORY, url, speed)
    assert len(refused.value.lines) == 1


async def _emulator(url, *arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scenarios", "emulate", str(STORY), "--ocpp", url, *arguments),
        stderr=asyncio.subprocess.PIPE,
    )


async def test_every_chargepoint_of_the_scenario_dials_in_and_sigint_ends_it():
    async with Central().listening() as central:
        emulator = await _emulator(central.url, "--speed", "20")
        await central.until(lambda: len({i for i, _, _ in central.heard}) == 12, timeout=60)
        await central.until(lambda: central.all("StartTransaction"), timeout=60)
        emulator.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(emulator.communicate(), 20)
    assert emulator.returncode == 0
    assert b"12 chargepoints and 1 meter of" in said
    assert b"site time" in said


async def test_without_a_central_system_it_says_so_and_ends_in_time():
    emulator = await _emulator("ws://127.0.0.1:9", "--speed", "20", "--seconds", "2")
    _, said = await asyncio.wait_for(emulator.communicate(), 60)
    assert emulator.returncode == 0
    assert b"ws://127.0.0.1:9" in said
