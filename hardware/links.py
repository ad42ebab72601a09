"""The typed `link` tables of a site file and its `[box]`: addresses, ports, folders of this one box."""

from __future__ import annotations

import ipaddress
import os
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from controller.sentences import sentence
from controller.site import Site, SiteError
from hardware.registers import load_map
from hardware.sitefile import read_text

Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/:]+$|^[0-9a-fA-F:.]+$")]


class _Link(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModbusTcp(_Link):
    """A meter on Modbus TCP, or behind a gateway that speaks it."""

    kind: Literal["modbus-tcp"]
    map: str
    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    device_id: Annotated[int, Field(ge=0, le=255)] = 1
    poll_ms: Annotated[int, Field(ge=50, le=60_000)] = 250
    timeout_ms: Annotated[int, Field(ge=100, le=10_000)] = 1_000

    @field_validator("map")
    @classmethod
    def _is_known(cls, value: str) -> str:
        load_map(value)
        return value


class Listen(_Link):
    """An address that the box opens; port 0 takes a free one."""

    host: Host
    port: Port


class ModbusListen(_Link):
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


class BoxTable(_Link):
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
    modbus: dict[ServerName, ModbusListen] = Field(default_factory=dict)
    """Modbus servers by name."""


class Links(NamedTuple):
    """Everything a site file says about wires."""

    box: BoxTable
    meters: dict[str, ModbusTcp]

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
        if link := _read(ModbusTcp, meter.link, source, ("meter", name, "link"), lines):
            meters[name] = link
    for name, chargepoint in site.chargepoint.items():
        if chargepoint.link:
            lines.append(
                f"{source}: [chargepoint.{name}] link: a chargepoint has none, it dials in itself; remove it."
            )
    if lines:
        raise SiteError(lines)
    return Links(box, meters)


def read_keys(site: Site, links: Links, site_file: Path) -> dict[str, str]:
    """Keys of the chargepoints by identity. Raises SiteError."""
    if not links.box.keys:
        return {}
    path = site_file.parent / links.box.keys
    try:
        keys = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    known = [chargepoint.identity for chargepoint in site.chargepoint.values()]
    lines = [
        f"{path}: {identity}: no chargepoint has this identity." for identity in keys if identity not in known
    ]
    lines += [
        f"{path}: {identity}: a key is text of 1 to 40 characters; put it in quotes."
        for identity, key in keys.items()
        if not (isinstance(key, str) and 1 <= len(key) <= 40)
    ]
    if lines:
        raise SiteError(lines)
    return keys


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
    hosts = {"[box.ocpp]": links.box.ocpp.host, "[box.api]": links.box.api.host}
    hosts |= {f"[box.modbus.{name}]": server.host for name, server in links.box.modbus.items()}
    hosts |= {f"[meter.{name}] link": link.host for name, link in links.meters.items()}
    for place, host in hosts.items():
        if not _is_loopback(host):
            yield f"{place} {host}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
