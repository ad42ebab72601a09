"""`edge run` beside `edge-twin emulate`: a battery and a roof on real sockets, in processes of their own."""

import asyncio
import sys
import tomllib
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import tomlkit

from tests.hardware.test_edge import INTERPRETED, ROOT, free_ports

LIBRARY = ROOT / "scenarios" / "library"
SPEED = "10"


@asynccontextmanager
async def process(*arguments):
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *map(str, arguments), cwd=ROOT, env=INTERPRETED | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


def write_story(folder: Path) -> tuple[Path, Path, int, int]:
    """The library's house without export, with links: its site file, its scenario, OCPP and API port."""
    ocpp, api, meter, battery, roof = free_ports(5)
    story = tomllib.loads((LIBRARY / "zero_export.toml").read_text("utf-8"))
    site = story["site"]
    link = {"kind": "modbus-tcp", "host": "127.0.0.1"}
    site["meter"]["main"]["link"] = link | {"map": "eastron_sdm630", "port": meter}
    site["battery"]["garage"]["link"] = link | {"map": "sunspec_battery", "port": battery}
    site["inverter"]["roof"]["link"] = link | {"map": "sunspec_inverter", "port": roof}
    local = {"host": "127.0.0.1"}
    site["box"] = {"ocpp": local | {"port": ocpp}, "api": local | {"port": api}}
    (folder / "house.toml").write_text(tomlkit.dumps(site))
    story["site"] = "house.toml"
    story["sessions"]["file"] = str(LIBRARY / story["sessions"]["file"])
    for load in (*story["load"], *story["production"]):
        load["file"] = str(LIBRARY / load["file"])
    del story["conditions"]["fault"], story["expect"]
    (folder / "story.toml").write_text(tomlkit.dumps(story))
    return folder / "house.toml", folder / "story.toml", ocpp, api


async def test_edge_run_charges_an_emulated_battery_and_curtails_an_emulated_roof(tmp_path):
    site, story, ocpp, api = write_story(tmp_path)
    seen = []

    async def both_obey(client):
        try:
            live = (await client.get(f"http://127.0.0.1:{api}/api/v1/live")).json()
        except httpx2.TransportError:
            return False
        devices = {one["name"]: one for one in live["devices"]}
        seen.append(devices)
        battery, roof = devices.get("garage"), devices.get("roof")
        if not battery or battery["takes_kw"] is None or roof["takes_kw"] is None:
            return False
        charges = battery["ordered_kw"] > 0.5 and abs(battery["takes_kw"] - battery["ordered_kw"]) < 0.1
        curtailed = 0.5 < roof["ordered_kw"] < 14 and abs(roof["takes_kw"] + roof["ordered_kw"]) < 0.1
        return charges and curtailed and battery["charge_percent"] is not None

    at = ("--speed", SPEED)
    async with (
        process("scenarios", "emulate", story, "--ocpp", f"ws://127.0.0.1:{ocpp}", *at),
        process("hardware", "run", site, *at),
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        for _ in range(240):
            if await both_obey(client):
                return
            await asyncio.sleep(0.25)
    raise AssertionError(f"they never did: {seen[-1:]}")
