"""What is wrong in a link table or with the file itself is one sentence: place, fault, mend."""

from pathlib import Path
from typing import Any

import pytest

from controller.site import SiteError, build
from hardware.links import BoxTable, Links, Listen, ModbusTcp, outside_loopback, read_keys, read_links
from hardware.sitefile import read_site

METER = {"kind": "modbus-tcp", "map": "eastron_sdm630", "host": "127.0.0.1"}


def links(meter: dict[str, Any] = METER, box: dict[str, Any] | None = None) -> Links:
    tables = {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {"main": {"id": 0, "max_current_a": 100}},
        "meter": {"main": {"grid": "main", "role": "guard", "link": meter}},
        "box": box or {},
    }
    return read_links(build(tables, "garage.toml"), "garage.toml")


@pytest.mark.parametrize(
    ("meter", "sentence"),
    [
        (
            METER | {"map": "eastron_sdm360"},
            (
                'garage.toml: [meter.main.link] map: there is no register map "eastron_sdm360"; did you mean'
                " \"eastron_sdm630\"? (it is 'eastron_sdm360')."
            ),
        ),
        (
            METER | {"pol_ms": 5},
            'garage.toml: [meter.main.link] pol_ms: there is no such key; did you mean "poll_ms"?',
        ),
        (
            {key: value for key, value in METER.items() if key != "host"},
            "garage.toml: [meter.main.link] host: is missing; add it.",
        ),
        (
            METER | {"port": 70_000},
            "garage.toml: [meter.main.link] port: input should be less than or equal to 65535 (it is 70000).",
        ),
        (
            METER | {"kind": "modbus-rtu"},
            "garage.toml: [meter.main.link] kind: input should be 'modbus-tcp' (it is 'modbus-rtu').",
        ),
        (
            {},
            (
                'garage.toml: [meter.main] link: is missing; add link = { kind = "modbus-tcp", map ='
                ' "eastron_sdm630", host = "192.168.10.20" } with what is installed.'
            ),
        ),
    ],
)
def test_a_wrong_meter_link_is_named_with_its_mend(meter: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SiteError) as caught:
        links(meter)
    assert caught.value.lines == [sentence]


def test_a_wrong_key_of_the_box_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SiteError) as caught:
        links(box={"stor": "/var/edge"})
    assert caught.value.lines == ['garage.toml: [box] stor: there is no such key; did you mean "store"?']
    with pytest.raises(SiteError) as caught:
        links(box={"ocpp": {"host": "127.0.0.1", "prot": 1, "port": 9}})
    assert caught.value.lines == ['garage.toml: [box.ocpp] prot: there is no such key; did you mean "port"?']


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SiteError) as caught:
        links(METER | {"poll_ms": 1, "device_id": 300}, box={"unknown_cards": "maybe"})
    assert len(caught.value.lines) == 3


def test_a_box_that_says_nothing_listens_to_the_site_and_keeps_its_api_to_itself() -> None:
    box = links().box
    assert (box.ocpp, box.api) == (Listen(host="0.0.0.0", port=9000), Listen(host="127.0.0.1", port=8080))
    assert links().store(Path("/etc/edge/garage.toml")) == Path("/etc/edge/store")


def test_links_that_leave_the_machine_are_found() -> None:
    inside = BoxTable(ocpp=Listen(host="127.0.0.1", port=0), api=Listen(host="localhost", port=0))
    assert list(outside_loopback(Links(inside, {"main": ModbusTcp(**METER)}, {}, {}))) == []
    away = {
        "main": ModbusTcp(**METER | {"host": "meter.garage"}),
        "roof": ModbusTcp(**METER | {"host": "::1"}),
    }
    assert list(outside_loopback(Links(BoxTable(), away, {}, {}))) == [
        "[box.ocpp] 0.0.0.0",
        "[meter.main] link meter.garage",
    ]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "site.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    for path, sentence in (
        (tmp_path / "no.toml", "there is no such file; check the path."),
        (tmp_path, "is a folder; name the .toml file in it."),
        (binary, "is not UTF-8 text (byte 0); save it as UTF-8."),
        (broken / "x.toml", "cannot be read"),
        (broken, "this is not TOML"),
    ):
        with pytest.raises(SiteError) as caught:
            read_site(path)
        assert len(caught.value.lines) == 1
        assert caught.value.lines[0].startswith(f"{path}: {sentence}")


def test_a_tree_too_deep_to_compile_is_one_sentence(tmp_path: Path) -> None:
    deep = tmp_path / "deep.toml"
    grids = [
        "name = 'Deep'\ntimezone = 'UTC'\n[grid.g0]\nid = 0\nmax_current_a = 9\nchargepoints_only = true\n"
    ]
    grids += [
        f"[grid.g{n}]\nid = {n}\nfed_by = 'g{n - 1}'\nmax_current_a = 9\nchargepoints_only = true\n"
        for n in range(1, 9)
    ]
    deep.write_text("".join(grids))
    with pytest.raises(
        SiteError, match=r"deep.toml: \[grid.g8\] is more than 8 levels deep; flatten the tree."
    ):
        read_site(deep)


def test_keys_stand_in_a_file_of_their_own_and_belong_to_chargepoints_of_the_site(tmp_path: Path) -> None:
    tables = {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
        "chargepoint": {
            "bay": {"identity": "CP-1", "fed_by": "main", "connector": [{"number": 1, "max_current_a": 32}]}
        },
        "box": {"keys": "keys.toml"},
    }
    site = build(tables, "garage.toml")
    typed = read_links(site, "garage.toml")
    keys = tmp_path / "keys.toml"
    keys.write_text('"CP-1" = "secret"\n')
    assert read_keys(site, typed, tmp_path / "garage.toml") == {"CP-1": "secret"}
    keys.write_text('"CP-2" = "secret"\n"CP-1" = 5\n')
    with pytest.raises(SiteError) as caught:
        read_keys(site, typed, tmp_path / "garage.toml")
    assert caught.value.lines == [
        f"{keys}: CP-2: no chargepoint has this identity.",
        f"{keys}: CP-1: a key is text of 1 to 40 characters; put it in quotes.",
    ]
    keys.unlink()
    with pytest.raises(SiteError, match=r"keys.toml: there is no such file"):
        read_keys(site, typed, tmp_path / "garage.toml")
