"""`edge check`: the site as drawn, what happens when the controller dies, and one try of each link."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from controller.defaults import UNKNOWN
from controller.electrical import PHASES
from controller.faults import remarks
from controller.outage import fallback_faults
from controller.site import Chargepoint, Connector, Meter, Site
from hardware.digital_input import read_contact
from hardware.links import CannotStart, DigitalInput, Links, Listen, MeterLink, StorageLink, listening
from hardware.modbus import ModbusMeter
from hardware.modbus_line import DeviceSilent, Lines
from hardware.modbus_link import ModbusLink
from hardware.registers import Reading
from hardware.security import OPEN, Admission
from hardware.sitefile import Drawn
from hardware.storage import StorageDevice

VOLTS = (180.0, 270.0)
"""Line to neutral; outside, a meter is mapped or wired wrongly."""


class Survey(NamedTuple):
    """Lines to print, and whether every link answered."""

    lines: list[str]
    sound: bool


async def survey(drawn: Drawn, links: Links, admission: Admission = OPEN) -> Survey:
    """Everything that can be said of a site before it is run."""
    site = drawn.site
    lines = [
        f"{site.name} ({site.timezone})",
        "",
        *_tree(site, site.main(), ""),
        "",
        *_verdict(site),
        "",
        *_remarks(site, links, admission),
    ]
    tries = [_try_port("box.ocpp", links.box.ocpp), _try_port("box.api", links.box.api)]
    if links.box.security.tls is not None:
        tries.append(_try_port("box.security.tls", links.box.security.tls))
    tries += [_try_port(f"box.modbus.{name}", table.listen()) for name, table in links.box.modbus.items()]
    lines_to = Lines()
    tries += await asyncio.gather(*(_try_meter(name, link, lines_to) for name, link in links.meters.items()))
    devices = [
        *((f"battery {name}", link, site.battery[name].phases) for name, link in links.batteries.items()),
        *((f"inverter {name}", link, site.inverter[name].phases) for name, link in links.inverters.items()),
    ]
    tries += await asyncio.gather(*(_try_storage(*device, lines_to) for device in devices))
    contacts = links.box.digital_input.items()
    tries += await asyncio.gather(*(_try_contact(name, link, lines_to) for name, link in contacts))
    lines += ["Links"] + [f"  {'ok   ' if fine else 'FAULT'}  {text}" for fine, text in tries]
    return Survey(lines, all(fine for fine, _ in tries))


def _tree(site: Site, name: str, indent: str) -> Iterator[str]:
    grid = site.grid[name]
    rotation = "" if grid.fed_by is None else f", {' '.join(PHASES[p] for p in grid.rotation)} of its feeder"
    yield f"{indent}{name}: fuse {_three(grid.max_current_a)} A, {_load(site, name)}{rotation}"
    for meter_name, meter in site.meter.items():
        if meter.grid == name:
            yield f"{indent}  meter {meter_name}: {meter.role}, {_on_failure(meter)}"
    for box_name, box in site.chargepoint.items():
        if box.fed_by == name:
            yield f"{indent}  chargepoint {box_name} ({box.identity}): {_alone(box)}"
            yield from (f"{indent}    {_outlet(connector)}" for connector in box.connector)
    for child, drawn in site.grid.items():
        if drawn.fed_by == name:
            yield from _tree(site, child, indent + "  ")


def _three(values: tuple[float, float, float]) -> str:
    one = f"{values[0]:g}"
    return one if len(set(values)) == 1 else " / ".join(f"{value:g}" for value in values)


def _load(site: Site, name: str) -> str:
    grid = site.grid[name]
    if any(meter.grid == name for meter in site.meter.values()):
        return "measured"
    if grid.chargepoints_only:
        return "chargepoints only"
    return f"other loads at most {_three(grid.uncontrolled_a or (0, 0, 0))} A"


def _on_failure(meter: Meter) -> str:
    if meter.on_failure == "panic":
        return "when lost everything under it goes off"
    return f"when lost {meter.on_failure.safe_current_a:g} A for all under it"


def _alone(box: Chargepoint) -> str:
    if box.lease_s:
        return f"left alone it falls to {box.fallback_a:g} A within {box.lease_s} s"
    return f"starts at {box.fallback_a:g} A, left alone it keeps its last limit"


def _outlet(connector: Connector) -> str:
    phases = "3 phases" if connector.phases == 3 else "1 phase"
    rotation = " ".join(PHASES[p] for p in connector.rotation)
    by = connector.rotation_confirmed_by
    confirmed = f"confirmed by {by}" if by else "not confirmed"
    return (
        f"connector {connector.number}: {connector.min_current_a:g} to {connector.max_current_a:g} A,"
        f" {phases}, {rotation} ({confirmed})"
    )


def _verdict(site: Site) -> Iterator[str]:
    faults = list(fallback_faults(site.model_copy(update={"accept_unsafe_fallback": ""})))
    if not faults:
        yield "If the controller dies now: every fuse holds."
        return
    yield "If the controller dies now: not every fuse holds."
    yield from (f"  {fault.split(': lower fallback_a')[0]}." for fault in faults)
    yield f"  Accepted: {site.accept_unsafe_fallback}"


def _remarks(site: Site, links: Links, admission: Admission) -> Iterator[str]:
    found = list(remarks(site))
    out_of_reach = [f"[battery.{name}]" for name in site.battery if name not in links.batteries]
    out_of_reach += [f"[inverter.{name}]" for name in site.inverter if name not in links.inverters]
    found += [f"{place} has no link: nobody reads or commands it." for place in out_of_reach]
    if ending := admission.ending(datetime.now(UTC)):
        found.append(ending)
    if found:
        yield from ("Remarks", *(f"  {remark}" for remark in found), "")


def _try_port(table: str, listen: Listen) -> tuple[bool, str]:
    try:
        listening(listen, table).close()
    except CannotStart as fault:
        return False, str(fault)
    return True, f"[{table}] {listen.host} port {listen.port or 'of its choice'} can be opened"


async def _try_meter(name: str, link: MeterLink, lines: Lines) -> tuple[bool, str]:
    meter = ModbusMeter(name, link, lines)
    place = f"meter {name}: {link.map} at {link.where}"
    try:
        reading = await meter.read()
        words = _in_words(reading) + await _energy(meter)
    except DeviceSilent as fault:
        return False, f"{place}: {fault.sentence}"
    finally:
        meter.close()
    fault_text = _implausible(reading)
    return not fault_text, f"{place}: {words}{fault_text}"


async def _try_contact(name: str, link: DigitalInput, lines: Lines) -> tuple[bool, str]:
    wire = ModbusLink(link, lines)
    place = f"input {name}: {link.reads} {link.address} at {link.where}"
    try:
        closed = await read_contact(wire, link)
    except DeviceSilent as fault:
        return False, f"{place}: {fault.sentence}"
    finally:
        wire.close()
    state = "closed" if closed else "open"
    return True, f"{place}: {state}, {'its limit' if state == link.active else 'no limit'} on {link.grid}"


async def _try_storage(name: str, link: StorageLink, phases: int, lines: Lines) -> tuple[bool, str]:
    """One look; nothing is written."""
    device = StorageDevice(link, phases, lines)
    place = f"{name}: {link.map} at {link.where}"
    try:
        look = await device.read()
    except DeviceSilent as fault:
        return False, f"{place}: {fault.sentence}"
    finally:
        device.close()
    own = look.current_ma[:phases]
    words = f"takes {' / '.join(_number(value) for value in own)} A"
    if look.soc != UNKNOWN:
        words += f", charged to {look.soc / 10:g} %"
    return UNKNOWN not in own, f"{place}: {words}"


async def _energy(meter: ModbusMeter) -> str:
    """To be compared with the display of the meter; not every meter gives it."""
    try:
        energy_wh = await meter.read_energy_wh()
    except DeviceSilent:
        return ""
    return "" if energy_wh == UNKNOWN else f", {energy_wh / 1000:.1f} kWh imported"


def _in_words(reading: Reading) -> str:
    currents = " / ".join(_number(value) for value in reading.current_ma)
    if set(reading.voltage_mv) == {UNKNOWN}:
        return f"{currents} A"
    return f"{currents} A at {' / '.join(_number(value) for value in reading.voltage_mv)} V"


def _number(thousandths: int) -> str:
    return "unknown" if thousandths == UNKNOWN else f"{thousandths / 1000:.1f}"


def _implausible(reading: Reading) -> str:
    low, high = VOLTS
    if UNKNOWN in reading.current_ma:
        return "; a current is unknown, so the controller would take this meter for lost"
    if any(value != UNKNOWN and not low <= value / 1000 <= high for value in reading.voltage_mv):
        return f"; a voltage is outside {low:g} to {high:g} V: check the map, the word order and the wiring"
    return ""
