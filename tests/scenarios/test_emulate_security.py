"""Emulated chargepoints with security profiles, at the door of the box and of the whole commands."""

import asyncio
import signal
import sys

import pytest

from controller.site import SiteError
from controller.topology import compile_site
from hardware.sitefile import read_site
from scenarios.emulate.answers import answer_of
from scenarios.emulate.chargepoint import Chargepoint
from scenarios.emulate.command import main
from scenarios.emulate.outlets import Nameplate
from scenarios.emulate.passes import Pass, Security, read_passes
from scenarios.emulate.truth import Outlets
from scenarios.scenario import load
from tests.hardware.certificates import Certificates
from tests.hardware.test_edge import INTERPRETED, ROOT, free_ports, live, running, until
from tests.scenarios.emulated import START, site
from twin.conditions import Conditions
from twin.world import World

KEYS = {"CP-1": "sixteen letters!", "CP-2": "00112233445566778899aabbccddeeff00112233"}

SITE_FILE = """
name = "Four doors"
timezone = "Europe/Amsterdam"
accept_unsafe_fallback = "a test, nobody"

[grid.main]
id = 0
max_current_a = 100
chargepoints_only = true

{chargepoints}
[box]
ocpp = {{ host = "127.0.0.1", port = {ocpp} }}
api = {{ host = "127.0.0.1", port = {api} }}
keys = "keys.toml"

[box.security]
profiles = {{ bay_1 = 1, bay_2 = 2, bay_3 = 3 }}
tls = {{ host = "127.0.0.1", port = {tls} }}
certificate = "server.pem"
private_key = "server.key"
client_ca = "ca.pem"
"""
CHARGEPOINT = """[chargepoint.bay_{n}]
identity = "CP-{n}"
fed_by = "main"
connector = [{{ number = 1, max_current_a = 32 }}]
"""
STORY = """
name = "Four doors"
site = "site.toml"
start = 2026-06-01T08:00:00
length_s = 3600
sessions = {{ kind = "generator", drivers = 1 }}

[security]
profiles = {profiles}
keys = "{keys}"
ca = "ca.pem"
certificates = "."
"""
PROFILES = "{ bay_1 = 1, bay_2 = 2, bay_3 = 3 }"


def files(folder, profiles=PROFILES, keys="keys.toml"):
    """Site, story, keys and certificates of four chargepoints with profiles 0 to 3; returns the ports."""
    ports = free_ports(3)
    boxes = "\n".join(CHARGEPOINT.format(n=n) for n in range(4))
    ocpp, api, tls = ports
    (folder / "site.toml").write_text(SITE_FILE.format(chargepoints=boxes, ocpp=ocpp, api=api, tls=tls))
    (folder / "story.toml").write_text(STORY.format(profiles=profiles, keys=keys))
    for name, change in (("keys.toml", "{}"), ("wrong.toml", "{}?")):
        lines = [f'"{identity}" = "{change.format(key)}"\n' for identity, key in KEYS.items()]
        (folder / name).write_text("".join(lines))
        (folder / name).chmod(0o600)
    Certificates(folder).client("CP-3")
    return ports


async def emulator(folder, ocpp, tls):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scenarios", "emulate", str(folder / "story.toml")),
        *("--ocpp", f"ws://127.0.0.1:{ocpp}", "--ocpp-tls", f"wss://127.0.0.1:{tls}"),
        cwd=ROOT,
        env=INTERPRETED,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.timeout(240)
async def test_every_profile_comes_in_and_a_wrong_key_does_not(tmp_path):
    ocpp, api, tls = files(tmp_path)

    async def online():
        return {row["name"] for row in (await live(api))["connectors"] if row["online"]}

    async with running(tmp_path / "site.toml") as edge:
        assert f"ws://127.0.0.1:{ocpp}/ and wss://127.0.0.1:{tls}/" in edge.line
        right = await emulator(tmp_path, ocpp, tls)

        async def all_are_in():
            return await online() == {f"bay_{n}/1" for n in range(4)}

        await until(all_are_in, 60)
        right.send_signal(signal.SIGINT)
        await asyncio.wait_for(right.communicate(), 30)

        files_of_edge = (tmp_path / "site.toml").read_text()
        files(tmp_path, keys="wrong.toml")
        (tmp_path / "site.toml").write_text(files_of_edge)
        wrong = await emulator(tmp_path, ocpp, tls)

        async def only_without_key():
            return await online() == {"bay_0/1"}

        await until(only_without_key, 60)
        await asyncio.sleep(3)
        wrong.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(wrong.communicate(), 30)
        edge.process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(edge.process.communicate(), 30)
    assert b"1 of 4 chargepoints are connected" in said
    assert b"CP-1: server rejected WebSocket connection: HTTP 401" in said
    assert b"CP-1 at 127.0.0.1 came with a wrong key or none" in log
    assert b"127.0.0.1 was refused by TLS" in log  # another CA than the one that Edge knows


def test_a_scenario_says_what_its_chargepoints_show(tmp_path):
    files(tmp_path)
    drawn, _ = read_site(tmp_path / "site.toml")
    tables = load(tmp_path / "story.toml")
    passes = read_passes(tables.security, drawn, tmp_path, "story.toml")
    assert [shown.profile for shown in passes.values()] == [0, 1, 2, 3]
    assert [shown.headers("CP-1") for shown in passes.values()] == [
        {},
        {"Authorization": "Basic Q1AtMTpzaXh0ZWVuIGxldHRlcnMh"},
        passes["bay_2"].headers("CP-1"),
        {},
    ]
    assert passes["bay_2"].tls is not passes["bay_3"].tls


@pytest.mark.parametrize(
    ("security", "sentence"),
    [
        ({"profiles": {"bay_9": 1}}, '[security] profiles: there is no chargepoint "bay_9".'),
        (
            {"profiles": {"bay_1": 1}},
            '[security] keys: profile 1 of bay_1 needs a file with "CP-1" = "its key".',
        ),
        (
            {"profiles": {"bay_1": 3}},
            "[security] ca: profile 3 of bay_1 needs the root certificate that it trusts.",
        ),
        (
            {"profiles": {"bay_1": 1}, "keys": "none.toml"},
            "none.toml: cannot be read: No such file or directory.",
        ),
        (
            {"profiles": {"bay_3": 3}, "ca": "keys.toml", "certificates": "."},
            "keys.toml: has no certificate in PEM",
        ),
        (
            {"profiles": {"bay_1": 3}, "ca": "ca.pem", "certificates": "."},
            "CP-1.key: cannot be read: No such file",
        ),
    ],
)
def test_what_is_missing_for_a_profile_is_one_sentence(tmp_path, security, sentence):
    files(tmp_path)
    drawn, _ = read_site(tmp_path / "site.toml")
    with pytest.raises(SiteError) as caught:
        read_passes(Security(**security), drawn, tmp_path, "story.toml")
    assert sentence in caught.value.lines[0]


def test_profiles_with_tls_need_an_address_for_it(tmp_path):
    files(tmp_path)
    for more, sentence in (({}, "--ocpp-tls is missing"), ({"tls_url": "ws://x"}, "address like wss://")):
        with pytest.raises(SiteError, match=sentence):
            main(tmp_path / "story.toml", "ws://127.0.0.1:9", **more)


def test_a_chargepoint_takes_a_new_key_and_never_shows_it():
    drawn = site(1)
    world = World(drawn, compile_site(drawn), Conditions(), [], 1, START)
    shown = Pass(1, "sixteen letters!")
    plate = Nameplate("CP-1", (32_000, 32_000))
    box = Chargepoint(plate, Outlets(world, [0, 1]), lambda: world.now_ms, START, shown)
    ask = answer_of(box)
    change = {"key": "AuthorizationKey"}
    assert ask("ChangeConfiguration", change | {"value": "short"}) == {"status": "Rejected"}
    assert ask("ChangeConfiguration", change | {"value": "another sixteen letters"}) == {"status": "Accepted"}
    assert shown.key == "another sixteen letters"
    known = ask("GetConfiguration", {})["configurationKey"]
    assert {"key": "SecurityProfile", "readonly": True, "value": "1"} in known
    assert "another" not in str(known)
