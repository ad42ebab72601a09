"""The charging profiles inside an emulated chargepoint and the limit they leave in force.

Pure: time is an argument, ms of the box's own UTC clock; limits are mA per phase. The rules are those of
OCPP 1.6 section 3.13 with errata 3.34 and 3.37: within a purpose the highest stack level that is valid and
covers the instant applies, TxProfile *replaces* TxDefaultProfile, ChargePointMaxProfile caps the sum of all
connectors, and where no profile says anything the rating of the hardware is the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

NOMINAL_VOLTAGE_V = 230
SMALLEST_MA = 6_000
"""Below this a box gives 0 A: IEC 61851-1 knows no smaller duty cycle."""
DAY_MS = 86_400_000
_RECURRENCE_MS = {"Daily": DAY_MS, "Weekly": 7 * DAY_MS}

Purpose = Literal["TxProfile", "TxDefaultProfile", "ChargePointMaxProfile"]
Kind = Literal["Absolute", "Relative", "Recurring"]


PURPOSES: tuple[Purpose, ...] = ("TxProfile", "TxDefaultProfile", "ChargePointMaxProfile")


class Refused(ValueError):
    """A profile that this box does not take, why, and the `status` it answers with."""

    status = "Rejected"


class NotSupported(Refused):
    """A profile for a purpose that this box does not know."""

    status = "NotSupported"


class Period(NamedTuple):
    """From `start_ms` after the start of the schedule at most `limit_ma` on each phase."""

    start_ms: int
    limit_ma: int
    phases: int = 3
    """That it is meant for: numberPhases, three where not given."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One csChargingProfiles as stored; times are UTC ms, None where the message had no such field."""

    id: int
    connector: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    periods: tuple[Period, ...]
    installed_ms: int
    start_ms: int | None = None
    duration_ms: int | None = None
    recurrence_ms: int | None = None
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    transaction: int | None = None

    def period(self, now_ms: int, began_ms: int | None) -> Period | None:
        """What rules at `now_ms` when the transaction began at `began_ms`; None: it says nothing then."""
        start_ms = self._starts(now_ms, began_ms)
        if now_ms < start_ms or not self._valid(now_ms):
            return None
        if self.duration_ms is not None and now_ms >= start_ms + self.duration_ms:
            return None
        return [p for p in self.periods if start_ms + p.start_ms <= now_ms][-1]

    def changes(self, now_ms: int, until_ms: int, began_ms: int | None) -> Iterator[int]:
        """Instants in (now, until] at which what it says may change."""
        starts = [self._starts(now_ms, began_ms)]
        while self.recurrence_ms and starts[-1] < until_ms:
            starts.append(starts[-1] + self.recurrence_ms)
        ends = [self.duration_ms] if self.duration_ms is not None else []
        offsets = [*(period.start_ms for period in self.periods), *ends]
        instants = [start_ms + offset for start_ms in starts for offset in offsets]
        instants += [at_ms for at_ms in (self.valid_from_ms, self.valid_to_ms) if at_ms is not None]
        return (at_ms for at_ms in instants if now_ms < at_ms <= until_ms)

    def _valid(self, now_ms: int) -> bool:
        early = self.valid_from_ms is not None and now_ms < self.valid_from_ms
        late = self.valid_to_ms is not None and now_ms >= self.valid_to_ms
        return not early and not late

    def _starts(self, now_ms: int, began_ms: int | None) -> int:
        """Start of the schedule that counts at `now_ms`.

        Relative counts from the start of the transaction; without one a car that comes now would start now.
        For the whole chargepoint, where there is no transaction to count from, it counts from installation.
        """
        if self.kind == "Relative":
            if self.purpose == "ChargePointMaxProfile":
                return self.installed_ms
            return now_ms if began_ms is None else began_ms
        start_ms = self.start_ms or 0
        if self.recurrence_ms and now_ms > start_ms:
            return now_ms - (now_ms - start_ms) % self.recurrence_ms
        return start_ms


def read_profile(connector: int, message: dict[str, Any], now_ms: int, efficiency: float = 0.0) -> Profile:
    """A Profile from the csChargingProfiles of a message that satisfies the schema. Raises Refused.

    With `efficiency` the outlet is DC, and limits are watts at the car.
    """
    schedule = message["chargingSchedule"]
    if efficiency and schedule["chargingRateUnit"] != "W":
        raise Refused("a DC outlet is told watts")
    kind, recurrency = message["chargingProfileKind"], message.get("recurrencyKind")
    start = schedule.get("startSchedule")
    if kind != "Relative" and start is None:
        raise Refused(f"a profile of kind {kind} needs startSchedule")
    if (kind == "Recurring") != (recurrency is not None):
        raise Refused("recurrencyKind belongs to kind Recurring, and only there")
    starts = [period["startPeriod"] for period in schedule["chargingSchedulePeriod"]]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise Refused("the first period must start at 0 and each later one after the one before")
    duration = schedule.get("duration")
    return Profile(
        id=message["chargingProfileId"],
        connector=connector,
        stack_level=message["stackLevel"],
        purpose=message["chargingProfilePurpose"],
        kind=kind,
        periods=tuple(
            _period(p, schedule["chargingRateUnit"], efficiency) for p in schedule["chargingSchedulePeriod"]
        ),
        installed_ms=now_ms,
        start_ms=None if start is None or kind == "Relative" else utc_ms(start),
        duration_ms=None if duration is None else duration * 1000,
        recurrence_ms=_RECURRENCE_MS[recurrency] if recurrency else None,
        valid_from_ms=_optional_ms(message.get("validFrom")),
        valid_to_ms=_optional_ms(message.get("validTo")),
        transaction=message.get("transactionId"),
    )


def _period(period: dict[str, Any], unit: str, efficiency: float) -> Period:
    """Watts are the sum over `numberPhases`, 3 where not given; amperes are per phase; DC is fed by three."""
    limit = float(period["limit"])
    phases = period.get("numberPhases", 3)
    if efficiency:
        limit /= 3 * NOMINAL_VOLTAGE_V * efficiency
    elif unit == "W":
        limit /= NOMINAL_VOLTAGE_V * phases
    return Period(period["startPeriod"] * 1000, int(limit * 1000 + 1e-6), phases)


def utc_ms(text: str) -> int:
    """Milliseconds since 1970 of an OCPP dateTime; without a zone it is UTC. Raises Refused."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f'"{text}" is not a dateTime') from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return round(at.timestamp() * 1000)


def _optional_ms(text: str | None) -> int | None:
    return None if text is None else utc_ms(text)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the store must know of a running transaction: its number and when it began (UTC ms)."""

    id: int
    began_ms: int


class ProfileStore:
    """All profiles of one chargepoint with connectors 1..n, whose ratings are `hardware_ma`."""

    def __init__(
        self,
        hardware_ma: tuple[int, ...],
        *,
        max_stack_level: int = 8,
        max_periods: int = 24,
        max_installed: int = 20,
        purposes: tuple[Purpose, ...] = PURPOSES,
    ) -> None:
        self._hardware_ma = dict(enumerate(hardware_ma, start=1))
        self._max_stack_level = max_stack_level
        self._max_periods = max_periods
        self._max_installed = max_installed
        self._purposes = purposes
        self._profiles: list[Profile] = []
        self._transactions: dict[int, Transaction] = {}

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What is installed, oldest first."""
        return tuple(self._profiles)

    def install(self, profile: Profile) -> None:
        """Keep a profile in place of the one it replaces. Raises Refused."""
        self._check(profile)
        kept = [old for old in self._profiles if not _replaces(profile, old)]
        if len(kept) >= self._max_installed:
            raise Refused(f"{self._max_installed} profiles are installed, there is no room for more")
        if profile.purpose == "TxProfile" and profile.transaction is None:
            profile = replace(profile, transaction=self._transactions[profile.connector].id)
        self._profiles = [*kept, profile]

    def clear(self, matches: Callable[[Profile], bool]) -> bool:
        """Forget every profile that matches; False when there was none."""
        kept = [profile for profile in self._profiles if not matches(profile)]
        cleared = len(kept) < len(self._profiles)
        self._profiles = kept
        return cleared

    def begin(self, connector: int, transaction: Transaction) -> None:
        """A transaction has been given its number: from now on it may have TxProfiles."""
        self._transactions[connector] = transaction

    def end(self, connector: int) -> None:
        """The transaction has ended and takes its TxProfiles with it."""
        self._transactions.pop(connector, None)
        self.clear(lambda profile: profile.purpose == "TxProfile" and profile.connector == connector)

    def reboot(self) -> None:
        """Power has been away: no transaction, no TxProfile; everything else is kept."""
        self._transactions.clear()
        self.clear(lambda profile: profile.purpose == "TxProfile")

    def limits_ma(self, now_ms: int, charging: tuple[int, ...]) -> dict[int, int]:
        """Limit in force per connector.

        The cap of the chargepoint is shared evenly by the connectors in `charging`, first come first served
        when it does not reach to 6 A for each; the others are told what they would start with.
        """
        limits = {c: self._transaction_layer(c, now_ms).limit_ma for c in self._hardware_ma}
        cap = self._cap_ma(now_ms)
        if cap is None:
            return limits
        shared = _share(cap, {c: limits[c] for c in charging})
        return {c: shared.get(c, min(limit, cap)) for c, limit in limits.items()}

    def phases(self, connector: int, now_ms: int) -> int:
        """Phases that the limit of a connector in force is meant for."""
        return self._transaction_layer(connector, now_ms).phases

    def composite(self, connector: int, now_ms: int, duration_s: int) -> list[tuple[int, int]]:
        """Rows (seconds from now, limit mA): the minimum of the layers; connector 0 is the sum of all."""
        until_ms = now_ms + duration_s * 1000
        instants = [now_ms, *sorted(t for t in self._changes(now_ms, until_ms) if t < until_ms)]
        rows: list[tuple[int, int]] = []
        for at_ms in instants:
            limit = self._composite_ma(connector, at_ms)
            if not rows or rows[-1][1] != limit:
                rows.append(((at_ms - now_ms) // 1000, limit))
        return rows

    def next_change_ms(self, now_ms: int, within_ms: int = DAY_MS) -> int | None:
        """Next instant at which a limit may change by itself."""
        return min(self._changes(now_ms, now_ms + within_ms), default=None)

    def _check(self, profile: Profile) -> None:
        connector, purpose = profile.connector, profile.purpose
        if purpose not in self._purposes:
            raise NotSupported(f"{purpose} is not supported")
        if connector != 0 and connector not in self._hardware_ma:
            raise Refused(f"there is no connector {connector}")
        if profile.stack_level > self._max_stack_level:
            raise Refused(f"stackLevel {profile.stack_level} is above {self._max_stack_level}")
        if len(profile.periods) > self._max_periods:
            raise Refused(f"more than {self._max_periods} periods")
        if purpose == "ChargePointMaxProfile" and connector != 0:
            raise Refused("ChargePointMaxProfile is for connector 0 only")
        if purpose == "TxProfile":
            running = self._transactions.get(connector)
            if running is None:
                raise Refused(f"no transaction is running on connector {connector}")
            if profile.transaction not in (None, running.id):
                raise Refused(f"transaction {profile.transaction} is not running on connector {connector}")
        elif profile.transaction is not None:
            raise Refused("transactionId belongs to TxProfile only")

    def _transaction_layer(self, connector: int, now_ms: int) -> Period:
        """TxProfile, else TxDefaultProfile of the connector, else of connector 0, else the hardware."""
        transaction = self._transactions.get(connector)
        said = None
        if transaction is not None:
            said = self._top("TxProfile", connector, now_ms, transaction)
        for scope in (connector, 0):
            if said is None:
                said = self._top("TxDefaultProfile", scope, now_ms, transaction)
        hardware = Period(0, self._hardware_ma[connector])
        return hardware if said is None else said._replace(limit_ma=min(said.limit_ma, hardware.limit_ma))

    def _cap_ma(self, now_ms: int) -> int | None:
        cap = self._top("ChargePointMaxProfile", 0, now_ms, None)
        return None if cap is None else cap.limit_ma

    def _top(
        self, purpose: Purpose, connector: int, now_ms: int, transaction: Transaction | None
    ) -> Period | None:
        """What the highest stack level says that is valid now and covers the instant."""
        began_ms = transaction.began_ms if transaction else None
        stack = [p for p in self._profiles if p.purpose == purpose and p.connector == connector]
        for profile in sorted(stack, key=lambda p: p.stack_level, reverse=True):
            period = profile.period(now_ms, began_ms)
            if period is not None:
                return period
        return None

    def _composite_ma(self, connector: int, at_ms: int) -> int:
        cap = self._cap_ma(at_ms)
        wanted = [connector] if connector else list(self._hardware_ma)
        total = sum(self._transaction_layer(c, at_ms).limit_ma for c in wanted)
        return total if cap is None else min(total, cap)

    def _changes(self, now_ms: int, until_ms: int) -> set[int]:
        found: set[int] = set()
        for profile in self._profiles:
            for connector in [profile.connector] if profile.connector else [*self._hardware_ma]:
                transaction = self._transactions.get(connector)
                began_ms = transaction.began_ms if transaction else None
                found.update(profile.changes(now_ms, until_ms, began_ms))
        return found


def _replaces(new: Profile, old: Profile) -> bool:
    """Same number, or same place in the stack."""
    place = (new.purpose, new.stack_level, new.connector)
    return new.id == old.id or place == (old.purpose, old.stack_level, old.connector)


def _share(cap_ma: int, limits_ma: dict[int, int]) -> dict[int, int]:
    """Even shares of a cap; the last to come gets nothing while that would leave less than 6 A for each."""
    served = [c for c, limit in limits_ma.items() if limit > 0]
    while served and cap_ma // len(served) < SMALLEST_MA:
        served.pop()
    shares = dict.fromkeys(limits_ma, 0)
    left_ma = cap_ma
    for place, connector in enumerate(sorted(served, key=lambda c: limits_ma[c])):
        shares[connector] = min(limits_ma[connector], left_ma // (len(served) - place))
        left_ma -= shares[connector]
    return shares
