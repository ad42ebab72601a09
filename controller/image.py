"""What is seen: the process image, tables of raw readings with the times at which they were observed.

Adapters write their own rows; `measure` hands a frozen copy to `calculate`. Every time is `now_ms` time
(monotonic since boot, ms), every current mA, positive from the grid towards the load. What has not been
heard is `UNKNOWN` (values) or `NEVER` (times), never 0. Phases are the device's *own* L1 L2 L3 here;
`calculate` turns them into phases of the site.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np

from controller.defaults import NEVER, UNKNOWN, UNLIMITED_MA
from controller.table import Layout, Table
from controller.topology import Topology


class Status(IntEnum):
    """OCPP 1.6 ChargePointStatus of a connector; NONE until the first StatusNotification."""

    NONE = 0
    AVAILABLE = 1
    PREPARING = 2
    CHARGING = 3
    SUSPENDED_EV = 4
    SUSPENDED_EVSE = 5
    FINISHING = 6
    RESERVED = 7
    UNAVAILABLE = 8
    FAULTED = 9


class Source(IntEnum):
    """Who set a limit that is narrower than the fuse."""

    FUSE = 0
    CONTRACT = 1  # power of the connection, kW or kVA
    QUARTER = 2  # mean power of the running quarter of an hour
    UNBALANCE = 3  # difference between the phases
    SAFE_CURRENT = 4  # its meter is lost
    TIME_OF_USE = 5
    PROFILE = 6  # a charging profile
    API = 7
    MODBUS = 8
    DIGITAL_INPUT = 9
    GRID_OPERATOR = 10
    NON_FIRM = 11  # a series of hours given the day before
    FALLBACK = 12  # what was last told from outside has expired
    MAINTENANCE = 13
    EMERGENCY_STOP = 14
    CARD = 15
    PLANNER = 16


class Answer(IntEnum):
    """What is known of the newest order that was put on a link."""

    NONE = 0  # not answered yet
    ACCEPTED = 1  # by the box; proves nothing
    REFUSED = 2  # every way of saying it was refused
    UNKNOWN = 3  # time-out, CALLERROR or socket lost: it may or may not be in force


CLOCK = np.dtype(
    [
        ("now_ms", "i8"),  # monotonic since boot
        ("utc_ms", "i8"),  # of the calendar
        ("utc_trusted", "i8"),
    ]
)
METER_READING = np.dtype(
    [
        ("at_ms", "i8"),  # newest reading, whatever it says
        ("current_ma", "i8", (3,)),  # UNKNOWN where the meter gave none (NaN, no answer on a phase)
        ("total_ma", "i8"),  # of a meter that knows only total power: that power at nominal voltage
    ]
)
GRID_INSTRUCTION = np.dtype(
    [
        # Limits from outside, in force now; UNLIMITED_MA: none. `sum` is over the three phases together: a
        # power at nominal voltage. Phases of the site.
        ("hard_ma", "i8", (3,)),  # nothing softens it
        ("hard_sum_ma", "i8"),
        ("hard_source", "i8"),
        ("soft_ma", "i8", (3,)),  # short overruns are no alarm
        ("soft_sum_ma", "i8"),
        ("soft_source", "i8"),
        ("soft_keeps_minimum", "i8"),  # 1: it leaves every session its minimum
        ("charging_ma", "i8", (3,)),  # on what the connectors take, whatever else there is
        ("charging_sum_ma", "i8"),
        ("charging_source", "i8"),
        ("charging_keeps_minimum", "i8"),
        ("export_ma", "i8", (3,)),  # on what may flow back
        ("export_sum_ma", "i8"),
        ("export_source", "i8"),
        ("stop", "i8"),  # 0, or Source.MAINTENANCE, Source.EMERGENCY_STOP: everything under it to 0
    ]
)
CONNECTOR_REPORT = np.dtype(
    [
        ("online", "i8"),  # its link is up and it has been accepted
        (
            "firmware",
            "i8",
        ),  # a number that changes with model, firmware or a reboot that may have lost limits
        ("default_ma", "i8"),  # start current in force without a transaction, verified; UNKNOWN before that
        ("status", "i8"),
        ("status_at_ms", "i8"),
        ("transaction", "i8"),  # number of the running transaction, 0: none
        ("transaction_at_ms", "i8"),  # when that began or ended
        ("reading_at_ms", "i8"),  # newest meter values
        ("current_ma", "i8", (3,)),
        ("total_ma", "i8"),  # of a box that tells its power only: that at nominal voltage; else UNKNOWN
        ("answered_seq", "i8"),  # newest order that was answered
        ("answer", "i8"),
        ("answered_at_ms", "i8"),
        ("weight_percent", "i8"),  # of the session's card; 100 normal
        ("wish_ma", "i8"),  # most that anybody outside wants it to have
        ("wish_source", "i8"),
        ("minimum_speed", "i8"),  # 1: its card charges at the minimum
        ("solar", "i8"),  # mode of its card or session, 0: that of its grid
        ("never_zero", "i8"),  # 1: its car does not wake up again, so it is the last to be turned off
        ("priority_class", "i8"),  # of its card, 1 first; 0: that of the outlet
        ("cable_ma", "i8"),  # rating of the cable, UNLIMITED_MA where the box does not say
        ("stop", "i8"),  # 0, or Source.MAINTENANCE, Source.EMERGENCY_STOP
        ("unsupported", "i8"),  # 1: it refused what it was brought in with; a person must help
        ("soc_percent", "i8"),  # state of charge of the car, UNKNOWN where nobody says
        ("released", "i8"),  # counts how often a person has put it back into service
    ]
)


_DEVICE_REPORT = [
    ("online", "i8"),
    ("at_ms", "i8"),  # newest reading
    ("current_ma", "i8", (3,)),  # positive: it takes; negative: it feeds in; UNKNOWN where it gave none
    ("answered_seq", "i8"),
    ("answer", "i8"),
    ("answered_at_ms", "i8"),
    ("stop", "i8"),  # 0, or Source.MAINTENANCE, Source.EMERGENCY_STOP
]
BATTERY_REPORT = np.dtype(
    [
        ("soc", "i8"),  # state of charge, per mille; UNKNOWN
        ("charge_ma", "i8"),  # most that it says it can take now, per phase; UNLIMITED_MA: it does not say
        ("discharge_ma", "i8"),
        ("strategy", "i8"),  # from outside, 0: that of the site file
        ("setpoint_ma", "i8"),  # from outside, for strategy MANUAL, per phase
        ("setpoint_source", "i8"),
        ("target_ma", "i8"),  # from outside, for peak shaving; UNLIMITED_MA: that of the site file
        *_DEVICE_REPORT,  # last: Numba takes a row with the same beginning for the same
    ]
)
INVERTER_REPORT = np.dtype(_DEVICE_REPORT)


class Image(NamedTuple):
    """One frozen look at the world: `clock` has one row, the others one row per asset of the topology."""

    clock: Table
    meters: Table
    grids: Table
    connectors: Table
    batteries: Table
    inverters: Table


IMAGE_KINDS = [CLOCK, METER_READING, GRID_INSTRUCTION, CONNECTOR_REPORT, BATTERY_REPORT, INVERTER_REPORT]


def blank_image(topology: Topology) -> Image:
    """The image before anything has been heard."""
    grids, meters, *others = topology.rows
    image = Image(*_layout(meters, grids, *others).cleared())
    image.meters["at_ms"] = NEVER
    image.meters["current_ma"] = UNKNOWN
    image.meters["total_ma"] = UNKNOWN
    for kind in ("hard", "soft", "charging", "export"):
        image.grids[f"{kind}_ma"] = UNLIMITED_MA
        image.grids[f"{kind}_sum_ma"] = UNLIMITED_MA
    connectors = image.connectors
    connectors["default_ma"] = UNKNOWN
    for field in ("status_at_ms", "transaction_at_ms", "reading_at_ms", "answered_at_ms"):
        connectors[field] = NEVER
    connectors["current_ma"] = UNKNOWN
    connectors["soc_percent"] = UNKNOWN
    connectors["total_ma"] = UNKNOWN
    connectors["weight_percent"] = 100
    connectors["cable_ma"] = UNLIMITED_MA
    connectors["wish_ma"] = topology.connectors["max_ma"]
    for devices in (image.batteries, image.inverters):
        devices["at_ms"] = NEVER
        devices["answered_at_ms"] = NEVER
        devices["current_ma"] = UNKNOWN
    image.batteries["soc"] = UNKNOWN
    for field in ("charge_ma", "discharge_ma", "target_ma"):
        image.batteries[field] = UNLIMITED_MA
    return image


def frozen(image: Image) -> Image:
    """A copy that nobody writes to."""
    _, meters, grids, connectors, batteries, inverters = map(len, image)
    return Image(*_layout(meters, grids, connectors, batteries, inverters).copied(image, frozen=True))


@cache
def _layout(meters: int, grids: int, connectors: int, batteries: int, inverters: int) -> Layout:
    return Layout(*zip((1, meters, grids, connectors, batteries, inverters), IMAGE_KINDS, strict=True))
