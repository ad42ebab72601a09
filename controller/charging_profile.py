"""Charging profiles in the shape of OCPP 1.6 (section 7), for a grid or a chargepoint.

A recurring profile recurs by the clock on the wall of the site, so "from 18:00" stays 18:00 in summer; an
absolute one counts true seconds from its start. Of the profiles of one stack the highest level that has
something to say at an instant counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from controller import electrical
from controller.calendar import FAR_MS, Calendar, Row, milliseconds, narrowest
from controller.quantities import FrozenTable, Limit, milliamps_of

RECURS_S: Final = {"Daily": 86_400, "Weekly": 7 * 86_400}
MOST_PERIODS: Final = 1000


class _Ocpp(FrozenTable):
    """Keys in OCPP's spelling."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class SchedulePeriod(_Ocpp):
    """From `startPeriod` seconds after the start of the schedule on."""

    start_period: Annotated[int, Field(ge=0)]
    limit: Annotated[float, Field(ge=0, le=100_000_000)]
    number_phases: Literal[1, 2, 3] | None = None

    def means(self, unit: str) -> Limit:
        """The limit: amperes are per phase, watts the sum."""
        if unit == "A":
            ma = min(electrical.milliamps(self.limit), Limit().sum_ma)
            return Limit(phase_ma=(ma, ma, ma))
        return Limit(sum_ma=milliamps_of(self.limit), phases=self.number_phases or 3)


class ChargingSchedule(_Ocpp):
    """The periods of a profile; the last one lasts to the end of `duration`, or on."""

    duration: Annotated[int, Field(gt=0)] | None = None
    start_schedule: datetime | None = None
    charging_rate_unit: Literal["A", "W"]
    charging_schedule_period: tuple[SchedulePeriod, ...] = Field(min_length=1, max_length=MOST_PERIODS)
    min_charging_rate: Annotated[float, Field(ge=0)] | None = None

    @field_validator("charging_schedule_period")
    @classmethod
    def _in_order(cls, periods: tuple[SchedulePeriod, ...]) -> tuple[SchedulePeriod, ...]:
        if periods[0].start_period != 0:
            raise ValueError(f"the first startPeriod is {periods[0].start_period}; it must be 0")
        for one, other in pairwise(periods):
            if other.start_period <= one.start_period:
                raise ValueError(
                    f"startPeriod {other.start_period} stands after {one.start_period}; put the periods in"
                    " order of time"
                )
        return periods


class ChargingProfile(_Ocpp):
    """One profile. Times without an offset are those of the site's clock."""

    charging_profile_id: int
    stack_level: Annotated[int, Field(ge=0)]
    charging_profile_purpose: Literal["ChargePointMaxProfile", "TxDefaultProfile"] = "ChargePointMaxProfile"
    charging_profile_kind: Literal["Absolute", "Recurring"]
    recurrency_kind: Literal["Daily", "Weekly"] | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    charging_schedule: ChargingSchedule

    @model_validator(mode="after")
    def _complete(self) -> ChargingProfile:
        schedule = self.charging_schedule
        if schedule.start_schedule is None:
            raise ValueError("startSchedule is missing in chargingSchedule; say when it starts")
        if (self.charging_profile_kind == "Recurring") != (self.recurrency_kind is not None):
            raise ValueError("recurrencyKind goes with chargingProfileKind Recurring, and only with it")
        last = schedule.charging_schedule_period[-1].start_period
        if self.recurrency_kind is not None and last >= RECURS_S[self.recurrency_kind]:
            raise ValueError(
                f"startPeriod {last} is never reached: the profile starts again after"
                f" {RECURS_S[self.recurrency_kind]} s"
            )
        return self

    def times(self) -> Iterator[tuple[str, datetime]]:
        """Its dates by their names."""
        named = {
            "startSchedule": self.charging_schedule.start_schedule,
            "validFrom": self.valid_from,
            "validTo": self.valid_to,
        }
        yield from ((name, value) for name, value in named.items() if value is not None)

    def counts_watts(self) -> bool:
        """True when its limits are a power."""
        return self.charging_schedule.charging_rate_unit == "W"

    def names_phases(self) -> bool:
        """True when every period says for how many phases it is meant."""
        return all(period.number_phases for period in self.charging_schedule.charging_schedule_period)

    def ends_ms(self, calendar: Calendar) -> int:
        """When it has nothing to say any more."""
        ends = [FAR_MS]
        if self.valid_to is not None:
            ends.append(_utc_ms(calendar, self.valid_to, last=True))
        schedule = self.charging_schedule
        if self.recurrency_kind is None and schedule.duration is not None:
            ends.append(self._start_ms(calendar) + schedule.duration * 1000)
        return min(ends)

    def rows(self, calendar: Calendar, from_ms: int, until_ms: int) -> Iterator[Row]:
        """Every row that touches a span, cut to the time in which the profile is valid."""
        valid_from_ms = _utc_ms(calendar, self.valid_from) if self.valid_from else 0
        valid_to_ms = _utc_ms(calendar, self.valid_to, last=True) if self.valid_to else FAR_MS
        recurs = self.recurrency_kind is not None
        for row in self._recurring(calendar, from_ms, until_ms) if recurs else self._absolute(calendar):
            cut = row._replace(
                from_ms=max(row.from_ms, valid_from_ms), until_ms=min(row.until_ms, valid_to_ms)
            )
            if cut.from_ms < cut.until_ms and cut.until_ms > from_ms and cut.from_ms <= until_ms:
                yield cut

    def _start_ms(self, calendar: Calendar) -> int:
        start = self.charging_schedule.start_schedule
        return _utc_ms(calendar, start) if start is not None else 0

    def _spans(self, length_s: int | None) -> Iterator[tuple[int, int | None, Limit]]:
        """Begin and end of every period in seconds from the start, within `length_s`."""
        schedule = self.charging_schedule
        periods = schedule.charging_schedule_period
        ends = [*(period.start_period for period in periods[1:]), None]
        for period, end in zip(periods, ends, strict=True):
            until = min((s for s in (end, length_s) if s is not None), default=None)
            if until is None or until > period.start_period:
                yield period.start_period, until, period.means(schedule.charging_rate_unit)

    def _absolute(self, calendar: Calendar) -> Iterator[Row]:
        start_ms = self._start_ms(calendar)
        for begin_s, end_s, limit in self._spans(self.charging_schedule.duration):
            end_ms = FAR_MS if end_s is None else start_ms + end_s * 1000
            yield Row(start_ms + begin_s * 1000, end_ms, limit)

    def _recurring(self, calendar: Calendar, from_ms: int, until_ms: int) -> Iterator[Row]:
        """By the clock on the wall: in the week of a change too the weekend ends at midnight."""
        every_s = RECURS_S[self.recurrency_kind or "Daily"]
        length_s = min(self.charging_schedule.duration or every_s, every_s)
        first = calendar.local(self._start_ms(calendar))
        since = calendar.local(from_ms) - first
        number = max(0, int(since.total_seconds()) // every_s - 1)
        while True:
            wall = first + timedelta(seconds=number * every_s)
            if calendar.instant_ms(wall) > until_ms:
                return
            for begin_s, end_s, limit in self._spans(length_s):
                begin = wall + timedelta(seconds=begin_s)
                end = wall + timedelta(seconds=end_s or length_s)
                yield Row(calendar.instant_ms(begin), calendar.instant_ms(end, last=True), limit)
            number += 1

    def narrowest(self) -> Limit | None:
        """The tightest it ever says: what counts while nobody knows what time it is."""
        unit = self.charging_schedule.charging_rate_unit
        return narrowest(period.means(unit) for period in self.charging_schedule.charging_schedule_period)


def stacked(
    profiles: Iterable[ChargingProfile], calendar: Calendar, from_ms: int, until_ms: int
) -> list[list[Row]]:
    """Rows of the levels of a stack, the highest level first."""
    levels: dict[int, list[Row]] = {}
    for profile in profiles:
        levels.setdefault(profile.stack_level, []).extend(profile.rows(calendar, from_ms, until_ms))
    return [levels[level] for level in sorted(levels, reverse=True)]


def clock_faults(profile: ChargingProfile, calendar: Calendar) -> Iterator[str]:
    """One sentence for every time without offset that the clock of the site shows never or twice."""
    for name, value in profile.times():
        if value.tzinfo is None and (how_often := calendar.never_or_twice(value)):
            yield (
                f"{name}: the clock of {calendar.zone.key} shows {value} {how_often}, because it is put"
                f" {'on' if how_often == 'never' else 'back'} then; give an offset, like {value}+01:00."
            )


def _utc_ms(calendar: Calendar, value: datetime, *, last: bool = False) -> int:
    return calendar.instant_ms(value, last=last) if value.tzinfo is None else milliseconds(value)
