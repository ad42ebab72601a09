"""Security profiles of OCPP 1.6 on real sockets: who is let in with what, and what a refusal says."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from websockets.exceptions import InvalidStatus

from controller.site import SiteError, build
from hardware.links import read_links
from hardware.security import Admission, read_security
from tests.hardware.certificates import Certificates
from tests.hardware.ocpp_peer import dial, peer, site_of, world
from tests.hardware.test_ocpp_hostile import KEY, basic

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def tables(**security):
    return {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
        "chargepoint": {
            name: {"identity": identity, "fed_by": "main", "connector": [{"number": 1, "max_current_a": 32}]}
            for name, identity in (("bay_1", "CP-1"), ("bay_2", "CP-2"))
        },
        "box": {"keys": "keys.toml", "security": security},
    }


TLS = {
    "tls": {"host": "127.0.0.1", "port": 0},
    "certificate": "server.pem",
    "private_key": "server.key",
    "client_ca": "ca.pem",
}


def admission(folder, keys=f'"CP-1" = "{KEY}"', **security):
    """As `edge run` reads it from the files of a folder."""
    path = folder / "keys.toml"
    path.write_text(keys + "\n")
    path.chmod(0o600)
    site = build(tables(**security), "garage.toml")
    return read_security(site, read_links(site, "garage.toml"), folder / "garage.toml")


def faults(folder, **given):
    with pytest.raises(SiteError) as caught:
        admission(folder, **given)
    return [line.replace(str(folder), "~") for line in caught.value.lines]


@asynccontextmanager
async def guarded(folder, profile, certificates=None, keys=f'"CP-1" = "{KEY}"', **more):
    """A central system on which CP-1 has a profile, and one door more for TLS."""
    certificates = certificates or Certificates(folder)
    made = admission(folder, keys if profile in (1, 2) else "", profiles={"bay_1": profile}, **(TLS | more))
    async with world(folder, site_of("CP-1", "CP-2"), admission=made) as here:
        here.tls_port = await here.central.serve_tls("127.0.0.1", 0, made.tls)
        yield here, certificates


def inside(certificates, identity=None, newest=None):
    """The TLS of a chargepoint."""
    context = ssl.create_default_context(cafile=str(certificates.root))
    if newest:
        context.maximum_version = newest
    if identity:
        context.load_cert_chain(*certificates.client(identity))
    return context


async def comes_in(here, tls=None, headers=None, identity="CP-1"):
    """101, or the number of the refusal."""
    options = {"additional_headers": headers or {}}
    if tls:
        options["ssl"] = tls
    try:
        async with peer(here, identity, port=here.tls_port if tls else here.port, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


RIGHT, WRONG, NONE = basic("CP-1", KEY), basic("CP-1", "wrong"), {}


@pytest.mark.parametrize(
    ("profile", "over_tls", "certificate", "headers", "status"),
    [
        (0, False, None, NONE, 101),
        (0, True, None, NONE, 101),
        (0, True, "CP-1", NONE, 101),
        (1, False, None, RIGHT, 101),
        (1, False, None, WRONG, 401),
        (1, False, None, NONE, 401),
        (1, True, None, RIGHT, 101),
        (1, True, None, NONE, 401),
        (2, False, None, RIGHT, 403),
        (2, False, None, NONE, 403),
        (2, True, None, RIGHT, 101),
        (2, True, None, WRONG, 401),
        (2, True, None, NONE, 401),
        (2, True, "CP-1", NONE, 101),
        (2, True, "CP-2", RIGHT, 403),
        (3, False, None, RIGHT, 403),
        (3, True, None, RIGHT, 403),
        (3, True, "CP-2", RIGHT, 403),
        (3, True, "CP-1", NONE, 101),
    ],
)
async def test_nobody_comes_in_with_less_than_his_profile(
    tmp_path, profile, over_tls, certificate, headers, status
):
    async with guarded(tmp_path, profile) as (here, certificates):
        tls = inside(certificates, certificate) if over_tls else None
        assert await comes_in(here, tls, headers) == status
        assert here.rows[0]["online"] == (status == 101)
        kinds = {101: set(), 401: {"wrong_key"}, 403: {"profile_too_low", "wrong_certificate"}}[status]
        said = [notice for notice in here.said if notice.kind in {"wrong_key", "profile_too_low"} | kinds]
        assert len(said) == (status != 101)
        assert {notice.kind for notice in said} <= kinds


async def test_a_refusal_says_who_came_how_and_what_to_do(tmp_path):
    async with guarded(tmp_path, 3) as (here, certificates):
        await comes_in(here)
        await comes_in(here, inside(certificates, "CP-2"))
    assert [notice.sentence for notice in here.said if notice.where == "CP-1"] == [
        (
            "CP-1 at 127.0.0.1 came over ws://, not wss://, but has security profile 3; set its"
            " SecurityProfile and its address, or lower its profile in [box.security]: refused with 403."
        ),
        (
            'CP-1 at 127.0.0.1 came with the client certificate of "CP-2" or "cp-2.invalid"; give it one'
            " with its identity as common name: refused with 403."
        ),
    ]


async def failed(here, tls):
    """What the box said of a TLS that failed."""
    with suppress(Exception):
        async with asyncio.timeout(10):
            box = await dial(here.tls_port, "CP-1", ssl=tls, additional_headers=RIGHT)
            await box.socket.recv()
            pytest.fail("it was let in")
    await here.until(lambda: any(notice.kind == "tls" for notice in here.said))
    (notice,) = [notice for notice in here.said if notice.kind == "tls"]
    assert notice.where == "127.0.0.1"
    return notice.sentence


async def test_a_certificate_of_somebody_unknown_is_one_line(tmp_path):
    async with guarded(tmp_path, 3) as (here, certificates):
        other = tmp_path / "other"
        other.mkdir()
        tls = inside(certificates)
        tls.load_cert_chain(*Certificates(other).client("CP-1"))
        assert "its client certificate is not good (unable to get local issuer" in await failed(here, tls)


async def test_a_certificate_that_has_expired_is_one_line(tmp_path):
    async with guarded(tmp_path, 3) as (here, certificates):
        tls = inside(certificates)
        old = certificates.client("CP-1", not_before=YESTERDAY - timedelta(days=9), not_after=YESTERDAY)
        tls.load_cert_chain(*old)
        assert "(certificate has expired): look at its dates" in await failed(here, tls)


@pytest.mark.parametrize(
    ("with_alert", "words"),
    [
        (True, "it does not know who signed our certificate: install that root in it."),
        (
            False,
            "it hung up in the middle; mostly it refuses our certificate: look at its clock, the root in",
        ),
    ],
)
async def test_a_box_that_does_not_trust_ours_is_one_line(tmp_path, with_alert, words):
    other = tmp_path / "other"
    other.mkdir()
    async with guarded(tmp_path, 2) as (here, _):
        tls = inside(Certificates(other))
        if with_alert:
            await asyncio.to_thread(_knock, here.tls_port, tls)
        said = await failed(here, None if with_alert else tls)
    assert said.startswith(f"127.0.0.1 was refused by TLS: {words}")


def _knock(port, tls):
    """A handshake whose end is told to the peer."""
    with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
        tls.wrap_socket(raw, server_hostname="127.0.0.1")


async def test_a_tls_that_is_too_old_is_one_line(tmp_path):
    async with guarded(tmp_path, 2) as (here, certificates):
        tls = inside(certificates)
        tls.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            tls.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            tls.maximum_version = ssl.TLSVersion.TLSv1_1
        assert "speaks a TLS older than 1.2" in await failed(here, tls)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_newer_are_spoken_with_forward_secrecy(tmp_path, version):
    async with guarded(tmp_path, 2) as (here, certificates):
        tls = inside(certificates, newest=version)
        box = await dial(here.tls_port, "CP-1", ssl=tls, additional_headers=RIGHT)
        name, protocol, _ = box.socket.transport.get_extra_info("cipher")
        assert protocol in ("TLSv1.2", "TLSv1.3")
        assert name.startswith(("ECDHE", "TLS_"))
        await box.socket.close()


async def test_plain_words_to_the_door_of_tls_are_one_line_and_harm_nobody(tmp_path):
    async with guarded(tmp_path, 2) as (here, certificates):
        assert "it speaks ws:// to the port for wss://" in await failed(here, None)
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", here.tls_port)
            writer.close()
        assert await comes_in(here, inside(certificates), RIGHT) == 101


async def test_a_client_that_hangs_in_the_handshake_does_not_hold_up_the_end(tmp_path):
    async with guarded(tmp_path, 2) as (here, _):
        _, writer = await asyncio.open_connection("127.0.0.1", here.tls_port)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(3):
            await here.central.close()
        writer.close()


async def test_orders_reach_a_chargepoint_inside_tls(tmp_path):
    async with guarded(tmp_path, 3) as (here, certificates):
        tls = inside(certificates, "CP-1")
        async with peer(here, "CP-1", port=here.tls_port, ssl=tls) as box:
            await box.start()
            await here.until(lambda: here.rows[0]["transaction"] != 0)
            await here.answered(here.order({0: 16}))
            assert box.asked("SetChargingProfile")


async def test_the_messages_of_the_white_paper_get_an_answer(tmp_path):
    async with world(tmp_path, site_of("CP-1")) as here, peer(here) as box:
        event = {"type": "InvalidFirmwareSignature", "timestamp": "2027-01-15T08:00:00Z"}
        assert await box.call("SecurityEventNotification", event) == {}
        assert await box.call("SignCertificate", {"csr": "-----BEGIN"}) == {"status": "Rejected"}
        assert {"security_event", "sign_certificate"} <= here.kinds()


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (60, ""),
        (8, "The certificate of the box ends on "),
        (-1, "The certificate of the box has ended;"),
    ],
)
def test_the_end_of_our_certificate_is_told_a_month_before(tmp_path, days, words):
    now = datetime.now(UTC)
    begins = now - timedelta(days=90)
    Certificates(tmp_path).server("127.0.0.1", not_before=begins, not_after=now + timedelta(days=days))
    ending = admission(tmp_path, **TLS).ending(now)
    assert ending.startswith(words)
    assert bool(ending) == bool(words)


# -- what the files say --------------------------------------------------------------------------------


def test_profiles_come_from_the_default_and_the_exceptions(tmp_path):
    Certificates(tmp_path)
    made = admission(tmp_path, profile=1, profiles={"bay_2": 0})
    assert (made.profiles, made.keys, made.tls) == ({"CP-1": 1, "CP-2": 0}, {"CP-1": KEY}, None)
    made = admission(tmp_path, profile=3, **TLS)
    assert made.profiles == {"CP-1": 3, "CP-2": 3}
    assert made.tls.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_chargepoint_with_a_key_and_no_profile_must_bring_the_key(tmp_path):
    made = admission(tmp_path)
    assert made.refusal("CP-1", "", None).kind == "wrong_key"
    assert made.refusal("CP-1", RIGHT["Authorization"], None) is None
    assert made.refusal("CP-2", "", None) is None
    for profile in (1, 2, 3):  # a profile whose key got lost on the way
        assert Admission({"CP-1": profile}, {}).refusal("CP-1", "", None) is not None


@pytest.mark.parametrize(
    ("security", "sentences"),
    [
        (
            {"profile": 1},
            [
                (
                    '~/garage.toml: [box.security] bay_2 has profile 1 and no key: put "CP-2" = "..." into'
                    " keys.toml."
                )
            ],
        ),
        (
            {"profiles": {"CP-1": 1}},
            [
                (
                    '~/garage.toml: [box.security] profiles: there is no chargepoint "CP-1"; give the name'
                    " of a table, not its identity."
                )
            ],
        ),
        (
            {"profiles": {"bay_1": 2}},
            [
                (
                    "~/garage.toml: [box.security] tls: is missing; profile 2 needs an address like { host ="
                    ' "0.0.0.0", port = 9443 } with certificate and private_key.'
                )
            ],
        ),
        (
            {"profile": 3, "tls": TLS["tls"]},
            [
                "~/garage.toml: [box.security] certificate: is missing; tls needs it, a PEM file.",
                "~/garage.toml: [box.security] private_key: is missing; tls needs it, a PEM file.",
                (
                    "~/garage.toml: [box.security] client_ca: is missing; profile 3 needs who has signed the"
                    " certificates of the chargepoints."
                ),
            ],
        ),
        (TLS | {"certificate": "none.pem"}, ["~/none.pem: there is no such file; check the path."]),
        (
            TLS | {"private_key": "locked.key"},
            ["~/locked.key: is encrypted and nobody is there to type the passphrase; decrypt it."],
        ),
        (
            TLS | {"private_key": "open.key"},
            [
                (
                    "~/open.key: others may read or change this secret; chmod 600 ~/open.key, owned by the"
                    " user of Edge."
                )
            ],
        ),
        (
            TLS | {"private_key": "CP-1.key"},
            [
                (
                    "~/garage.toml: [box.security] certificate and private_key do not belong together"
                    " (KEY_VALUES_MISMATCH); make them anew."
                )
            ],
        ),
        (
            TLS | {"client_ca": "empty.pem"},
            ["~/empty.pem: has no certificate in PEM (NO_CERTIFICATE_OR_CRL_FOUND)."],
        ),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence_each(tmp_path, security, sentences):
    made = Certificates(tmp_path)
    made.client("CP-1")
    (tmp_path / "empty.pem").write_text("nothing\n")
    (tmp_path / "locked.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    (tmp_path / "open.key").write_bytes((tmp_path / "server.key").read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    assert faults(tmp_path, **security) == sentences


def test_keys_stand_in_a_file_of_their_own_and_belong_to_chargepoints_of_the_site(tmp_path):
    assert faults(tmp_path, keys='"CP-9" = "secret"\n"CP-1" = 5') == [
        "~/keys.toml: CP-9: no chargepoint has this identity.",
        "~/keys.toml: CP-1: a key is text of 1 to 40 characters; put it in quotes.",
    ]
    assert faults(tmp_path, keys="nonsense")[0].startswith("~/keys.toml: this is not TOML: ")
    admission(tmp_path)
    keys, site = tmp_path / "keys.toml", build(tables(), "garage.toml")
    for mode in (0o600, 0o640, 0o604, 0o660):
        keys.chmod(mode)
        if mode in (0o600, 0o640):
            read_security(site, read_links(site, "garage.toml"), tmp_path / "garage.toml")
            continue
        with pytest.raises(SiteError, match="others may read or change this secret"):
            read_security(site, read_links(site, "garage.toml"), tmp_path / "garage.toml")
    keys.unlink()
    with pytest.raises(SiteError, match=r"keys.toml: there is no such file"):
        read_security(site, read_links(site, "garage.toml"), tmp_path / "garage.toml")
