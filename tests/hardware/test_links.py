"""What is wrong in a link table or with the file itself is one sentence: place, fault, mend."""

import os
from pathlib import Path
from typing import Any

import pytest

from controller.site import SiteError, build
from hardware.links import BoxTable, Links, Listen, MeterLink, outside_loopback, read_links
from hardware.sitefile import read_site

METER = {"kind": "modbus-tcp", "map": "eastron_sdm630", "host": "127.0.0.1"}

ON_BUS = {"kind": "modbus-rtu", "map": "eastron_sdm630", "serial_port": "/dev/ttyRS485"}


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
            'garage.toml: [meter.main] link: kind "modbus-tcp" needs host; add it.',
        ),
        (
            METER | {"port": 70_000},
            "garage.toml: [meter.main.link] port: input should be less than or equal to 65535 (it is 70000).",
        ),
        (
            METER | {"kind": "modbus-ascii"},
            (
                "garage.toml: [meter.main.link] kind: input should be 'modbus-tcp' or 'modbus-rtu' (it is"
                " 'modbus-ascii')."
            ),
        ),
        (
            METER | {"baud": 9600},
            ('garage.toml: [meter.main] link: kind "modbus-tcp" has no baud; remove it or change the kind.'),
        ),
        (
            METER | {"kind": "modbus-rtu"},
            ('garage.toml: [meter.main] link: kind "modbus-rtu" has no host; remove it or change the kind.'),
        ),
        (
            {"kind": "modbus-rtu", "map": "eastron_sdm630"},
            'garage.toml: [meter.main] link: kind "modbus-rtu" needs serial_port; add it.',
        ),
        (
            ON_BUS | {"serial_port": "COM3"},
            (
                'garage.toml: [meter.main.link] serial_port: give its path, like "/dev/ttyUSB0" or better one'
                " under /dev/serial/by-id (it is 'COM3')."
            ),
        ),
        (
            ON_BUS | {"baud": 9500},
            (
                "garage.toml: [meter.main.link] baud: input should be 1200, 2400, 4800, 9600, 19200, 38400,"
                " 57600 or 115200 (it is 9500)."
            ),
        ),
        (
            ON_BUS | {"device_id": 250},
            ("garage.toml: [meter.main] link: device_id 250: devices on a bus have numbers from 1 to 247."),
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
    assert list(outside_loopback(Links(inside, {"main": MeterLink(**METER)}, {}, {}))) == []
    away = {
        "main": MeterLink(**METER | {"host": "meter.garage"}),
        "roof": MeterLink(**METER | {"host": "::1"}),
    }
    assert list(outside_loopback(Links(BoxTable(), away, {}, {}))) == [
        "[box.ocpp] 0.0.0.0",
        "[meter.main] link meter.garage",
    ]


def on_a_bus(second: dict[str, Any], **tables: Any) -> list[str]:
    """What is said of a site whose main meter is device 1 on a bus."""
    drawn = {
        "name": "One board",
        "timezone": "Europe/Amsterdam",
        "grid": {
            "main": {"id": 0, "max_current_a": 100},
            "hall": {"id": 1, "fed_by": "main", "max_current_a": 80},
        },
        "meter": {
            "main": {"grid": "main", "role": "guard", "link": ON_BUS},
            "hall": {"grid": "hall", "role": "guard", "link": ON_BUS | second},
        },
        "accept_unsafe_fallback": "a test, nobody",
        **tables,
    }
    try:
        read_links(build(drawn, "garage.toml"), "garage.toml")
    except SiteError as error:
        return error.lines
    return []


TAKEN = (
    "garage.toml: [{}] device_id: {} is also that of [{}] on /dev/ttyRS485; give each device on a bus a"
    " number of its own."
)


def test_devices_of_a_bus_speak_alike_and_have_numbers_of_their_own() -> None:
    assert on_a_bus({"device_id": 2}) == []
    assert on_a_bus({"serial_port": "/dev/ttyOTHER", "baud": 19200}) == []
    assert on_a_bus({}) == [TAKEN.format("meter.hall", 1, "meter.main")]
    assert on_a_bus({"device_id": 2, "baud": 19200, "parity": "even"}) == [
        (
            "garage.toml: [meter.hall] says 19200 8E1 of /dev/ttyRS485, [meter.main] says 9600 8N1: a port"
            " has one baud, parity and stop_bits for all its devices; make them the same."
        )
    ]


def test_only_a_hybrid_and_the_contacts_of_a_module_share_a_number() -> None:
    device = {"kind": "modbus-rtu", "serial_port": "/dev/ttyRS485", "device_id": 3}
    hybrid = {
        "battery": {
            "cellar": {"fed_by": "main", "capacity_wh": 9e3, "max_charge_w": 6e3, "max_discharge_w": 6e3}
            | {"link": device | {"map": "sunspec_battery"}}
        },
        "inverter": {
            "roof": {"fed_by": "main", "max_power_w": 9e3} | {"link": device | {"map": "sunspec_inverter"}}
        },
    }
    contact = {"kind": "modbus-rtu", "serial_port": "/dev/ttyRS485", "grid": "main", "limit_a": 16}
    module = {
        name: contact | {"device_id": 4, "address": address}
        for name, address in (("ripple", 0), ("dimming", 1))
    }
    assert on_a_bus({"device_id": 2}, **hybrid, box={"digital_input": module}) == []
    assert on_a_bus({"device_id": 3}, **hybrid) == [
        TAKEN.format("battery.cellar", 3, "meter.hall"),
        TAKEN.format("inverter.roof", 3, "meter.hall"),
    ]


def test_a_serial_port_is_outside_this_machine_unless_it_is_an_emulators(tmp_path: Path) -> None:
    master, slave = os.openpty()
    try:
        made = tmp_path / "bus"
        made.symlink_to(os.ttyname(slave))
        inside = BoxTable(ocpp=Listen(host="127.0.0.1", port=0))
        for port, away in ((str(made), []), ("/dev/ttyRS485", ["[meter.main] link /dev/ttyRS485"])):
            meter = MeterLink(**ON_BUS | {"serial_port": port})
            assert list(outside_loopback(Links(inside, {"main": meter}, {}, {}))) == away
    finally:
        os.close(master)
        os.close(slave)


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
