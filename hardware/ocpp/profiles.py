"""Charging profiles as Edge writes them, and the rungs of the ladder that is climbed down when a box refuses.

A live limit is a TxProfile; the net under it is a TxDefaultProfile of the declared fallback (OCPP 1.6
section 3.13). Limits are tenths of an ampere, rounded down; 0 or at least the minimum, never between.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from controller.electrical import NOMINAL_VOLTAGE_V, fed_w, feed_ma

TX, TX_DEFAULT, MAXIMUM = "TxProfile", "TxDefaultProfile", "ChargePointMaxProfile"
RELATIVE, ABSOLUTE = "Relative", "Absolute"
STACK_LEVEL: Final = 0  # the one level that every box has; foreign profiles are cleared, not outbid
BACKDATED_S: Final = 60  # an Absolute schedule that starts now has not begun on a box whose clock is behind
_ID_OF: Final = {TX: 1, TX_DEFAULT: 2, MAXIMUM: 3}


class Rung(NamedTuple):
    """One way of saying a limit."""

    purpose: str
    kind: str
    unit: str


_KINDS_AND_UNITS: Final = ((RELATIVE, "A"), (ABSOLUTE, "A"), (RELATIVE, "W"), (ABSOLUTE, "W"))
LADDER: Final = (
    *(Rung(purpose, kind, unit) for purpose in (TX, TX_DEFAULT) for kind, unit in _KINDS_AND_UNITS),
    Rung(MAXIMUM, ABSOLUTE, "A"),
    Rung(MAXIMUM, RELATIVE, "A"),
    Rung(MAXIMUM, ABSOLUTE, "W"),
)


class Lease(NamedTuple):
    """When a limit decays by itself, in s from now (0: it has), and to what."""

    ends_in_s: int
    fallback_ma: int


class Limit(NamedTuple):
    """A limit for one connector in the world's terms."""

    connector: int
    limit_ma: int
    phases: int
    """Phases that a limit in watts is meant for."""
    transaction: int | None = None
    running_s: int = 0
    """How long the transaction has been running."""
    lease: Lease | None = None
    efficiency: float | None = None
    """Of a DC outlet, whose limit is the power at the car; None: AC."""
    number_phases: int = 0
    """Phases that the box shall charge on, where it can choose; 0: not said."""


def sayable_ma(limit_ma: int, min_ma: int) -> int:
    """The largest legal set-point not above `limit_ma`: whole tenths of an ampere, 0 below the minimum."""
    return 0 if limit_ma < min_ma else limit_ma // 100 * 100


def usable(rung: Rung, *, units: frozenset[str], connectors: int, leased: bool, max_periods: int) -> bool:
    """Whether a rung makes sense on a box with these abilities."""
    if rung.unit not in units or (rung.purpose == MAXIMUM and connectors != 1):
        return False
    # A box of one period can still decay: its TxProfile ends and the default profile takes over.
    return not leased or max_periods >= 2 or rung.purpose == TX


def set_charging_profile(rung: Rung, limit: Limit, now: datetime, max_periods: int = 2) -> dict[str, Any]:
    """SetChargingProfile.req. `now` is UTC; `max_periods` is what the box can store."""
    schedule: dict[str, Any] = {"chargingRateUnit": rung.unit}
    origin_s = limit.running_s  # a Relative schedule starts with the transaction
    if rung.kind == ABSOLUTE:
        schedule["startSchedule"] = _iso(now - timedelta(seconds=BACKDATED_S))
        origin_s = BACKDATED_S
    schedule["chargingSchedulePeriod"] = _periods(rung, limit, origin_s, max_periods, schedule)
    profile: dict[str, Any] = {
        "chargingProfileId": 10 * limit.connector + _ID_OF[rung.purpose],
        "stackLevel": STACK_LEVEL,
        "chargingProfilePurpose": rung.purpose,
        "chargingProfileKind": rung.kind,
        "chargingSchedule": schedule,
    }
    if rung.purpose == TX:
        profile["transactionId"] = limit.transaction
    connector = 0 if rung.purpose == MAXIMUM else limit.connector
    return {"connectorId": connector, "csChargingProfiles": profile}


def _periods(
    rung: Rung, limit: Limit, origin_s: int, max_periods: int, schedule: dict[str, Any]
) -> list[dict[str, Any]]:
    lease = limit.lease
    if lease is None:
        return [_period(rung, 0, limit.limit_ma, limit)]
    if lease.ends_in_s <= 0:
        return [_period(rung, 0, min(lease.fallback_ma, limit.limit_ma), limit)]
    first = _period(rung, 0, limit.limit_ma, limit)
    if max_periods < 2:
        schedule["duration"] = origin_s + lease.ends_in_s
        return [first]
    return [first, _period(rung, origin_s + lease.ends_in_s, lease.fallback_ma, limit)]


def _period(rung: Rung, start_s: int, limit_ma: int, meant: Limit) -> dict[str, Any]:
    if meant.efficiency is not None:
        return {"startPeriod": start_s, "limit": fed_w(limit_ma, meant.efficiency)}
    if rung.unit == "W":
        watts = limit_ma * NOMINAL_VOLTAGE_V * meant.phases // 1000
        return {"startPeriod": start_s, "limit": watts, "numberPhases": meant.number_phases or meant.phases}
    tenths = limit_ma // 100
    # The shortest text of tenths / 10 has one decimal; a sum of floats would not.
    period = {"startPeriod": start_s, "limit": tenths // 10 if tenths % 10 == 0 else tenths / 10}
    return period | {"numberPhases": meant.number_phases} if meant.number_phases else period


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def composite_ma(answer: dict[str, Any], phases: int, efficiency: float | None = None) -> int | None:
    """The highest limit of a GetCompositeSchedule.conf in mA per phase; None when it says nothing."""
    schedule = answer.get("chargingSchedule")
    if answer.get("status") != "Accepted" or not schedule or not schedule["chargingSchedulePeriod"]:
        return None
    highest = max(float(period["limit"]) for period in schedule["chargingSchedulePeriod"])
    if efficiency is not None:
        return feed_ma(highest, efficiency) if schedule["chargingRateUnit"] == "W" else None
    if schedule["chargingRateUnit"] == "W":
        return int(highest * 1000 / (NOMINAL_VOLTAGE_V * phases))
    return round(highest * 1000)
