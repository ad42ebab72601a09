"""The typed `link` tables of a site file and its `[box]`: addresses, ports, folders of this one box."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from controller.external import ExternalLimit, Place, Terms, instruction_faults
from controller.quantities import Kilowatts, PhaseAmps
from controller.sentences import sentence
from controller.site import Battery, Inverter, Site, SiteError
from hardware.addresses import Host, Link, ModbusAddress, bus_faults, is_loopback
from hardware.registers import load_map
from hardware.storage_maps import load_storage_map

Port = Annotated[int, Field(ge=0, le=65_535)]
NO_LIMIT_KW: Final = 20_000.0
"""More than any fuse, so no limit: an open contact is heard all the same."""
INPUT_TTL_S: Final = 90
"""What an input says lives so long; it is said anew at a third of it."""
PollMs = Annotated[int, Field(ge=50, le=60_000)]


class MeterLink(ModbusAddress):
    """A meter."""

    map: str
    poll_ms: PollMs = 250

    @field_validator("map")
    @classmethod
    def _is_known(cls, value: str) -> str:
        load_map(value)
        return value


class StorageLink(ModbusAddress):
    """A battery or an inverter; it is read as often as its `sample_interval_s` says."""

    map: str

    @field_validator("map")
    @classmethod
    def _is_known(cls, value: str) -> str:
        load_storage_map(value)
        return value


class DigitalInput(ModbusAddress):
    """A contact on an I/O module: while it is active a limit on a grid holds.

    What nobody can read may be active: then the fallback holds, left out the limit itself.
    """

    grid: str
    poll_ms: PollMs = 250
    reads: Literal["discrete_input", "coil"] = "discrete_input"
    address: Annotated[int, Field(ge=0, le=65_535)]
    active: Literal["closed", "open"] = "closed"
    debounce_ms: Annotated[int, Field(ge=0, le=60_000)] = 500
    limit_a: PhaseAmps | None = None
    limit_kw: Kilowatts | None = None
    paragraph_14a: bool = False
    fallback_a: PhaseAmps | None = None
    fallback_kw: Kilowatts | None = None
    soft_limit: bool = False
    regulated_only: bool = False
    keep_6a: bool = False
    export_limit: bool = False

    @model_validator(mode="after")
    def _can_be_told(self) -> DigitalInput:
        if self.limit_a is None and self.limit_kw is None and not self.paragraph_14a:
            raise ValueError("give limit_a, limit_kw or paragraph_14a: what holds while it is active")
        for state in (True, False, None):
            self.told(state)
        return self

    def told(self, active: bool | None) -> ExternalLimit:
        """The limit while it is active, while it is not, and while nobody knows (None)."""
        fallback = {"limit_a": self.fallback_a, "limit_kw": self.fallback_kw}
        if self.fallback_a is None and self.fallback_kw is None:
            fallback = {"limit_a": self.limit_a, "limit_kw": self.limit_kw}
        said = {"limit_a": self.limit_a, "limit_kw": self.limit_kw} if active else fallback
        if active is False:
            said = {"limit_a": None, "limit_kw": NO_LIMIT_KW}
        if self.paragraph_14a:  # never below the least that the section leaves
            fallback["limit_kw"] = fallback["limit_kw"] or 0.0
        try:
            return ExternalLimit(
                **said,
                fallback_a=fallback["limit_a"],
                fallback_kw=fallback["limit_kw"],
                ttl_s=INPUT_TTL_S,
                source="digital_input",
                paragraph_14a=self.paragraph_14a,
                **{term: getattr(self, term) for term in Terms.model_fields},
            )
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


class Listen(Link):
    """An address that the box opens; port 0 takes a free one."""

    host: Host
    port: Port


class ModbusListen(Link):
    """A Modbus TCP server of the box, for the energy management of a building.

    Modbus has no protection at all, so it stays on the box and read-only unless somebody says otherwise.
    """

    host: Host = "127.0.0.1"
    port: Port = 1502
    device_ids: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] = (1,)
    writable: bool = False
    """It takes limits for grids."""

    def listen(self) -> Listen:
        """Where it listens."""
        return Listen(host=self.host, port=self.port)


ServerName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[\w-]+$")]


Profile = Literal[0, 1, 2, 3]


class SecurityTable(Link):
    """How chargepoints show who they are (OCPP 1.6 security profiles)."""

    profile: Profile = 0
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """By name of the chargepoint, where it has another."""
    tls: Listen | None = None
    certificate: str = ""
    private_key: str = ""
    client_ca: str = ""


class BoxTable(Link):
    """The box itself.

    Chargepoints come from the site's network, so the central system listens on every interface; the API has
    no users yet, so it stays on the box.
    """

    ocpp: Listen = Listen(host="0.0.0.0", port=9000)  # noqa: S104
    api: Listen = Listen(host="127.0.0.1", port=8080)
    store: str = "store"
    """Folder of ledger, journal and compiled kernels; relative to the site file."""
    unknown_cards: Literal["accept", "refuse"] = "accept"
    """What an Authorize with a card that nobody has entered is answered."""
    keys: str = ""
    """A TOML file, relative to the site file, with `identity = "key"` of each box on security profile 1."""
    security: SecurityTable = SecurityTable()
    """How chargepoints show who they are."""
    modbus: dict[ServerName, ModbusListen] = Field(default_factory=dict)
    """Modbus servers by name."""
    digital_input: dict[str, DigitalInput] = Field(default_factory=dict)
    """Contacts by name."""


class Links(NamedTuple):
    """Everything a site file says about wires."""

    box: BoxTable
    meters: dict[str, MeterLink]
    batteries: dict[str, StorageLink]
    inverters: dict[str, StorageLink]
    """Of the batteries and inverters that can be reached; the others stand at their worst in the book."""

    def devices(self) -> Iterator[tuple[str, ModbusAddress]]:
        """Everything on Modbus, by its table."""
        yield from ((f"box.digital_input.{name}", link) for name, link in self.box.digital_input.items())
        yield from ((f"meter.{name}", link) for name, link in self.meters.items())
        yield from ((f"battery.{name}", link) for name, link in self.batteries.items())
        yield from ((f"inverter.{name}", link) for name, link in self.inverters.items())

    def store(self, site_file: Path) -> Path:
        """The folder of the store."""
        return site_file.parent / self.box.store


def read_links(site: Site, source: str) -> Links:
    """The typed links of a site. Raises SiteError with one sentence per fault."""
    lines: list[str] = []
    box = _read(BoxTable, site.box, source, ("box",), lines) or BoxTable()
    meters = {}
    for name, meter in site.meter.items():
        if not meter.link:
            lines.append(
                f'{source}: [meter.{name}] link: is missing; add link = {{ kind = "modbus-tcp",'
                ' map = "eastron_sdm630", host = "192.168.10.20" } with what is installed.'
            )
            continue
        if link := _read(MeterLink, meter.link, source, ("meter", name, "link"), lines):
            meters[name] = link
    for name, chargepoint in site.chargepoint.items():
        if chargepoint.link:
            lines.append(
                f"{source}: [chargepoint.{name}] link: a chargepoint has none, it dials in itself; remove it."
            )
    for name, contact in box.digital_input.items():
        place = f"{source}: [box.digital_input.{name}]"
        found = instruction_faults(site, Place("grid", contact.grid), contact.told(active=True))
        lines += [f"{place} grid: {fault}" for fault in found]
    batteries = _storage_links(site.battery, "battery", source, lines)
    inverters = _storage_links(site.inverter, "inverter", source, lines)
    links = Links(box, meters, batteries, inverters)
    lines += [f"{source}: {fault}" for fault in bus_faults(links.devices())]
    if lines:
        raise SiteError(lines)
    return links


_A: Final = {"battery": "a battery", "inverter": "an inverter"}


def _storage_links(
    drawn: Mapping[str, Battery] | Mapping[str, Inverter],
    kind: Literal["battery", "inverter"],
    source: str,
    lines: list[str],
) -> dict[str, StorageLink]:
    """The links of all batteries or all inverters that have one, and what is wrong with them."""
    links = {}
    for name, device in drawn.items():
        place = (kind, name, "link")
        link = _read(StorageLink, device.link, source, place, lines) if device.link else None
        if link is None:
            continue
        links[name] = link
        sheet = load_storage_map(link.map)
        where = f"{source}: [{kind}.{name}"
        if sheet.kind != kind:
            lines.append(f'{where}.link] map: "{link.map}" is for {_A[sheet.kind]}; name one for {_A[kind]}.')
        elif device.revert_s and not sheet.reverts:
            lines.append(
                f"{where}] revert_s: orders of a {link.map} do not end by themselves; set revert_s = 0."
            )
    return links


Table = TypeVar("Table", bound=BaseModel)


def _read(
    model: type[Table], table: dict[str, Any], source: str, under: tuple[str, ...], lines: list[str]
) -> Table | None:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        lines += [sentence(source, fault, model, under) for fault in error.errors()]
        return None


class CannotStart(Exception):
    """One sentence: what is in the way, and how to mend it."""


def listening(listen: Listen, table: str) -> socket.socket:
    """A socket bound as the table says. Raises CannotStart."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family, backlog=256)
    except OSError as error:
        raise cannot_open(listen, table, error) from None


def cannot_open(listen: Listen, table: str, error: OSError) -> CannotStart:
    """The sentence for a port that is not to be had."""
    why = os.strerror(error.errno) if error.errno else error
    return CannotStart(
        f"[{table}] {listen.host} port {listen.port} cannot be opened ({why}); another program may have it:"
        " stop that or choose another port."
    )


def outside_loopback(links: Links) -> Iterator[str]:
    """The links that leave this machine, each as table and host."""
    hosts = {"box.ocpp": links.box.ocpp.host, "box.api": links.box.api.host}
    if links.box.security.tls is not None:
        hosts["box.security.tls"] = links.box.security.tls.host
    hosts |= {f"box.modbus.{name}": server.host for name, server in links.box.modbus.items()}
    yield from (f"[{table}] {host}" for table, host in hosts.items() if not is_loopback(host))
    for table, device in links.devices():
        if away := device.leaves_to:
            yield f"[{table}] {'' if table.startswith('box.') else 'link '}{away}"
