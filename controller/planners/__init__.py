"""Departure-aware planning beside the loop: who can wait, told to the cycle as weights and caps.

A planner looks at a frozen `Outlook` (who is plugged in, when they leave, what they still need, what room
there is) and answers with a `Plan`: a weight and a cap per connector, integers, valid for a while. `hand_in`
enters it into the image of the next cycle, where it can only narrow what fuses, book and rounds allow. No
plan, a plan that has expired, or one made for a car that has left: the image stays as it is.

Times are `now_ms` time, energies Wh, currents mA, phases of the site. Planners may compute with floats;
nothing but integers leaves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np

from controller.defaults import (
    LINES,
    NEVER,
    PHASE_COUNT,
    PLAN_VALID_MS,
    TOGETHER,
    UNKNOWN,
    UNLIMITED_MA,
)
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.table import Table

if TYPE_CHECKING:  # the process that plans on the box needs none of them, and starts in half the time
    from controller.decision import Decision, Memory
    from controller.image import Image
    from controller.site import Departures
    from controller.topology import Topology

MAS_PER_WH: Final = 3_600_000 // NOMINAL_VOLTAGE_V
"""Charge over all phases that is a watt-hour at nominal voltage, mA s (15,652)."""

CAR = np.dtype(
    [
        ("connector", "i8"),  # row of the topology
        ("session", "i8"),  # its number at that connector
        ("since_ms", "i8"),  # plug-in
        ("departure_ms", "i8"),  # NEVER: nobody knows
        ("got_wh", "i8"),
        ("need_wh", "i8"),  # still to come, UNKNOWN
        ("min_ma", "i8"),
        ("max_ma", "i8"),  # outlet, and car where it has shown less
        ("phases", "i8", (3,)),  # booked
        ("must_run", "i8"),  # 1: never without current, for it does not wake up again
    ]
)
PLANNED = np.dtype(
    [
        ("connector", "i8"),
        ("session", "i8"),
        ("weight_percent", "i8"),
        ("cap_ma", "i8"),  # UNKNOWN: none
    ]
)


class Wish(NamedTuple):
    """What is known or expected of the car at a connector: when it leaves, and its energy since plug-in."""

    departure_ms: int = NEVER
    energy_wh: int = UNKNOWN


class Outlook(NamedTuple):
    """What a planner may know: `cars` has the dtype CAR, `room_ma[grid, line]` is what cars may take now."""

    now_ms: int
    cars: Table
    room_ma: Table
    under: Table
    """1 where a car hangs under a grid, [car, grid]."""


class Plan(NamedTuple):
    """Rows of PLANNED, in force until `until_ms`."""

    rows: Table
    until_ms: int


class Planner(Protocol):
    """Turns an outlook into a plan."""

    def __call__(self, outlook: Outlook, /) -> Plan:
        """The plan from `outlook.now_ms` on. Raises PlanFailed when it finds none."""
        ...


class PlanFailed(Exception):
    """No plan was found; the site goes on with another planner, or with none."""


def look_ahead(
    topology: Topology, image: Image, decision: Decision, memory: Memory, wishes: dict[int, Wish]
) -> Outlook:
    """What a planner may know after a cycle; `wishes` by row of the connector. Full cars are left out."""
    rows, seen = memory.connectors, image.connectors
    here = np.flatnonzero((rows["transaction"] != 0) & (rows["full"] == 0) & (seen["online"] == 1))
    cars = np.zeros(len(here), CAR)
    under = np.zeros((len(here), len(topology.grids)), "i8")
    for car, above, c in zip(cars, under, here.tolist(), strict=True):
        kept, built = rows[c], topology.connectors[c]
        wish = wishes.get(c, Wish())
        car["connector"], car["session"], car["since_ms"] = c, kept["session"], kept["since_ms"]
        car["departure_ms"] = wish.departure_ms if wish.departure_ms > image.clock[0]["now_ms"] else NEVER
        car["got_wh"] = kept["charge_mas"] // MAS_PER_WH
        car["need_wh"] = UNKNOWN
        if wish.energy_wh != UNKNOWN:
            car["need_wh"] = max(wish.energy_wh - car["got_wh"], 0)
        car["min_ma"], car["max_ma"] = built["min_ma"], min(built["max_ma"], kept["cap_ma"])
        car["phases"] = kept["phases"]
        car["must_run"] = seen[c]["never_zero"]
        above[built["path"][: built["depth"]]] = 1
    grids = decision.grids
    room_ma = np.full((len(grids), LINES), UNLIMITED_MA)
    phases = grids["limit_ma"] - grids["margin_ma"] - grids["estimate_ma"]
    phases[grids["estimate_ma"] == UNKNOWN] = 0
    room_ma[:, :PHASE_COUNT] = phases
    together = grids["lines"] == LINES
    sums = grids[together]
    room_ma[together, TOGETHER] = sums["sum_limit_ma"] - sums["sum_margin_ma"] - sums["sum_estimate_ma"]
    room_ma = np.maximum(room_ma, 0)
    return Outlook(int(image.clock[0]["now_ms"]), cars, room_ma, under)


def blank_plan(outlook: Outlook) -> Plan:
    """A plan that changes nothing, to be filled by a planner."""
    rows = np.zeros(len(outlook.cars), PLANNED)
    rows["connector"], rows["session"] = outlook.cars["connector"], outlook.cars["session"]
    rows["weight_percent"], rows["cap_ma"] = 100, UNKNOWN
    return Plan(rows, outlook.now_ms + PLAN_VALID_MS)


def hand_in(image: Image, memory: Memory, plan: Plan | None) -> Image:
    """The image with the plan entered where its car is still there; the same image when there is no plan.

    Weights multiply those of cards, caps only narrow; `wish_source` says PLANNER where nobody else's cap is
    narrower.
    """
    if plan is None or image.clock[0]["now_ms"] >= plan.until_ms:
        return image
    from controller.image import Source

    connectors = image.connectors.copy()
    for planned in plan.rows:
        c = planned["connector"]
        row = connectors[c]
        if memory.connectors[c]["session"] != planned["session"]:
            continue
        row["weight_percent"] = max(row["weight_percent"] * planned["weight_percent"] // 100, 1)
        if planned["cap_ma"] == UNKNOWN or planned["cap_ma"] < row["wish_ma"]:
            if planned["cap_ma"] != UNKNOWN:
                row["wish_ma"] = planned["cap_ma"]
            row["wish_source"] = Source.PLANNER
    connectors.flags.writeable = False
    return image._replace(connectors=connectors)


def planner(departures: Departures) -> Planner | None:
    """The planner of a site; None: it wants none. Raises ModuleNotFoundError when it needs SciPy."""
    if departures == "off":
        return None
    from controller.planners.least_laxity import least_laxity

    if departures == "least_laxity":
        return least_laxity
    import scipy.optimize  # noqa: F401 - now and not at the first plan

    from controller.planners.horizon import horizon

    def horizon_or_less(outlook: Outlook) -> Plan:
        try:
            return horizon(outlook)
        except PlanFailed:
            return least_laxity(outlook)

    return horizon_or_less
