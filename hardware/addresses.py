"""Where a Modbus device is: a host on the network, or a number on a serial bus that several devices share."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s/:]+$|^[0-9a-fA-F:.]+$")]
_PARITY = {"none": "N", "even": "E", "odd": "O"}
_ON_A_BUS = {"serial_port", "baud", "parity", "stop_bits"}


class Link(BaseModel):
    """A table about wires."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModbusAddress(Link):
    """A device on Modbus TCP, or behind a gateway that speaks it; or on Modbus RTU."""

    kind: Literal["modbus-tcp", "modbus-rtu"]
    host: Host = ""
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    serial_port: str = ""
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    device_id: Annotated[int, Field(ge=0, le=255)] = 1
    timeout_ms: Annotated[int, Field(ge=100, le=10_000)] = 1_000

    @field_validator("serial_port")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError('give its path, like "/dev/ttyUSB0" or better one under /dev/serial/by-id')
        return value

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> ModbusAddress:
        given = self.model_fields_set
        needed, foreign = ("serial_port", {"host", "port"}) if self.is_rtu else ("host", _ON_A_BUS)
        if odd := sorted(given & foreign):
            raise ValueError(f'kind "{self.kind}" has no {odd[0]}; remove it or change the kind')
        if needed not in given:
            raise ValueError(f'kind "{self.kind}" needs {needed}; add it')
        if self.is_rtu and not 1 <= self.device_id <= 247:
            raise ValueError(f"device_id {self.device_id}: devices on a bus have numbers from 1 to 247")
        return self

    @property
    def is_rtu(self) -> bool:
        """It is on a serial bus."""
        return self.kind == "modbus-rtu"

    @property
    def where(self) -> str:
        """For people."""
        line = self.serial_port if self.is_rtu else f"{self.host}:{self.port}"
        return f"{line} device {self.device_id}"

    @property
    def parity_letter(self) -> str:
        """N, E or O."""
        return _PARITY[self.parity]

    @property
    def settings(self) -> str:
        """How its bus speaks, like 9600 8N1."""
        return f"{self.baud} 8{self.parity_letter}{self.stop_bits}"

    @property
    def leaves_to(self) -> str:
        """The host or port by which it is outside this machine; empty: it is inside, so an emulator's."""
        if self.is_rtu:
            return "" if is_pseudo_terminal(self.serial_port) else self.serial_port
        return "" if is_loopback(self.host) else self.host


def is_pseudo_terminal(port: str) -> bool:
    """Whether this path leads to a program instead of a wire."""
    return os.path.realpath(port).startswith("/dev/pts/")


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bus_faults(places: Iterable[tuple[str, ModbusAddress]]) -> Iterator[str]:
    """What is wrong with devices that share a bus; `places` are tables like `meter.main`.

    Contacts of one module share a number, and so may the battery and the inverter of a hybrid.
    """
    first: dict[str, tuple[str, ModbusAddress]] = {}
    numbers: dict[tuple[str, int], str] = {}
    for place, to in places:
        if not to.is_rtu:
            continue
        bus = os.path.realpath(to.serial_port)
        other, like = first.setdefault(bus, (place, to))
        if to.settings != like.settings:
            yield (
                f"[{place}] says {to.settings} of {to.serial_port}, [{other}] says {like.settings}: a port"
                " has one baud, parity and stop_bits for all its devices; make them the same."
            )
        holder = numbers.setdefault((bus, to.device_id), place)
        if holder != place and not _may_be_one_device(holder, place):
            yield (
                f"[{place}] device_id: {to.device_id} is also that of [{holder}] on {to.serial_port}; give"
                " each device on a bus a number of its own."
            )


def _may_be_one_device(one: str, other: str) -> bool:
    kinds = {one.partition(".")[0], other.partition(".")[0]}
    return kinds in ({"box"}, {"battery", "inverter"})
