"""Schedules by the clock on the wall, unrolled to rows (from, until, limit): Time of Use, day-ahead series.

A schedule means the clock of the site. On the two days a year when that is put on or back it holds: what
begins or ends in the hour that is left out begins or ends when the clock jumps; in the hour that comes twice
a limit begins at the first and ends at the second time that the clock shows it, so that it is rather in force
for too long than too short. Rows may overlap there: the tightest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Final, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from controller.quantities import (
    DateText,
    FrozenTable,
    Kilowatts,
    Limit,
    PhaseAmps,
    amps_and_kilowatts,
    tighter,
)

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOLIDAY: Final = "holiday"
DAYS: Final = (*WEEKDAYS, HOLIDAY)
FAR_MS: Final = 2**53
"""Later than any time that is asked about."""
DAY_MINUTES: Final = 1440


class Row(NamedTuple):
    """A limit and when it holds, UTC in ms since 1970; `until_ms` is the first instant after it."""

    from_ms: int
    until_ms: int
    limit: Limit


class Calendar(NamedTuple):
    """The clock and the holidays of a site."""

    zone: ZoneInfo
    holidays: frozenset[date] = frozenset()

    def day(self, day: date) -> str:
        """The word for this day: a holiday is a holiday and no day of the week."""
        return HOLIDAY if day in self.holidays else WEEKDAYS[day.weekday()]

    def date_of(self, utc_ms: int) -> date:
        """The date on the site's calendar."""
        return self.local(utc_ms).date()

    def local(self, utc_ms: int) -> datetime:
        """The clock on the wall, without zone."""
        return moment(utc_ms).astimezone(self.zone).replace(tzinfo=None)

    def instant_ms(self, wall: datetime, *, last: bool = False) -> int:
        """When the clock on the wall shows `wall`: the first or the last time; the jump if it never does."""
        early, late = sorted(self._readings(wall))
        if moment(late).astimezone(self.zone).replace(tzinfo=None) != wall:
            return self._jump_ms(early, late)
        return late if last else early

    def never_or_twice(self, wall: datetime) -> str:
        """`"never"` or `"twice"` when the clock does not show `wall` exactly once."""
        early, late = sorted(self._readings(wall))
        if early == late:
            return ""
        return "twice" if moment(late).astimezone(self.zone).replace(tzinfo=None) == wall else "never"

    def _readings(self, wall: datetime) -> tuple[int, int]:
        """`wall` taken by the offset before and by that after a change of the clock."""
        return milliseconds(wall.replace(tzinfo=self.zone, fold=0)), milliseconds(
            wall.replace(tzinfo=self.zone, fold=1)
        )

    def _jump_ms(self, before: int, after: int) -> int:
        """The instant between two at which the offset of the zone changes."""
        offset = moment(before).astimezone(self.zone).utcoffset()
        while after - before > 1000:
            middle = (before + after) // 2000 * 1000
            if moment(middle).astimezone(self.zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after


def milliseconds(at: datetime) -> int:
    """UTC in ms since 1970 of an aware time."""
    return round(at.timestamp() * 1000)


def moment(utc_ms: int) -> datetime:
    """Aware UTC."""
    return datetime.fromtimestamp(utc_ms // 1000, UTC) + timedelta(milliseconds=utc_ms % 1000)


def at(rows: Iterable[Row], utc_ms: int) -> Limit | None:
    """The tightest of the rows that hold now; None when none does."""
    found: Limit | None = None
    for row in rows:
        if row.from_ms <= utc_ms < row.until_ms:
            found = row.limit if found is None else tighter(found, row.limit)
    return found


def next_edge_ms(rows: Iterable[Row], utc_ms: int) -> int:
    """When the next of the rows begins or ends."""
    edges = (edge for row in rows for edge in (row.from_ms, row.until_ms) if edge > utc_ms)
    return min(edges, default=FAR_MS)


# -- Time of Use ------------------------------------------------------------------------------------


def _clock_time(value: str) -> str:
    hours, colon, minutes = value.partition(":")
    fits = colon and hours.isdigit() and minutes.isdigit() and len(minutes) == 2 and int(minutes) < 60
    if not fits or int(hours) * 60 + int(minutes) > DAY_MINUTES:
        raise ValueError(f'"{value}" is no time of day; write it like "18:00", the end of a day "24:00"')
    return value


def _weekday(value: str) -> str:
    if value not in DAYS:
        close = [day for day in DAYS if day[:3] == value.lower()[:3]]
        hint = f'did you mean "{close[0]}"?' if close else f"the days are {', '.join(DAYS)}"
        raise ValueError(f'there is no day "{value}"; {hint}')
    return value


ClockTime = Annotated[str, AfterValidator(_clock_time)]
Day = Annotated[str, AfterValidator(_weekday)]


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)


class LimitedTable(FrozenTable):
    """A table that says a limit, in amperes per phase or in kilowatts over all phases, or both."""

    limit_a: PhaseAmps | None = None
    limit_kw: Kilowatts | None = None

    def limit(self) -> Limit:
        """What it says; unlimited where it says nothing."""
        return amps_and_kilowatts(self.limit_a, self.limit_kw)

    def says_nothing(self) -> bool:
        """True without amperes and without kilowatts."""
        return self.limit_a is None and self.limit_kw is None


class Span(FrozenTable):
    """A part of every day of a schedule; one that ends before it begins ends on the next day."""

    begin: ClockTime
    end: ClockTime

    @model_validator(mode="after")
    def _lasts(self) -> Span:
        if _minutes(self.begin) == _minutes(self.end) or _minutes(self.begin) == DAY_MINUTES:
            raise ValueError(
                f'from "{self.begin}" to "{self.end}" is no span; a whole day is "00:00" to "24:00"'
            )
        return self

    def minutes(self) -> tuple[int, int]:
        """Begin and end in minutes from the midnight before it."""
        begin, end = _minutes(self.begin), _minutes(self.end)
        return begin, end if end > begin else end + DAY_MINUTES


class Segment(Span, LimitedTable):
    """A limit in a span."""

    @model_validator(mode="after")
    def _limits_something(self) -> Segment:
        if self.says_nothing():
            raise ValueError("a segment needs limit_a or limit_kw; leave it out where nothing limits")
        return self


class Recurring(FrozenTable):
    """A schedule by the clock on the wall that repeats on its days."""

    segment: tuple[Span, ...] = Field(min_length=1)
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    first_day: DateText | None = None
    last_day: DateText | None = None
    enabled: bool = True

    @field_validator("segment")
    @classmethod
    def _one_after_the_other(cls, segments: tuple[Span, ...]) -> tuple[Span, ...]:
        spans = sorted(segment.minutes() for segment in segments)
        for (_, end), (begin, _) in pairwise([*spans, (spans[0][0] + DAY_MINUTES, 0)]):
            if end > begin:
                raise ValueError(
                    f"two segments overlap from {begin // 60 % 24:02}:{begin % 60:02}; end the one where the"
                    " other begins"
                )
        return segments

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Recurring:
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise ValueError(f"first_day {self.first_day} is after last_day {self.last_day}; exchange them")
        return self

    def counts_on(self, calendar: Calendar, day: date) -> bool:
        """True on a day on which its segments begin."""
        return (
            calendar.day(day) in self.days
            and (self.first_day is None or day >= self.first_day)
            and (self.last_day is None or day <= self.last_day)
        )

    def spans(self, calendar: Calendar, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, int]]:
        """Number of a segment, its begin and its end, for all that touch a time, in no order."""
        day = calendar.date_of(from_ms) - timedelta(days=1)
        while self.enabled and day <= calendar.date_of(until_ms):
            if self.counts_on(calendar, day):
                midnight = datetime.combine(day, datetime.min.time())
                for number, segment in enumerate(self.segment):
                    begin, end = (midnight + timedelta(minutes=m) for m in segment.minutes())
                    yield number, calendar.instant_ms(begin), calendar.instant_ms(end, last=True)
            day += timedelta(days=1)


class TimeOfUse(Recurring):
    """A schedule of a grid; between its segments it limits nothing."""

    segment: tuple[Segment, ...] = Field(min_length=1)
    keep_6a: bool = False
    """It leaves every session its minimum, whatever its limit."""
    ev_current_only: bool = False
    """It limits what the connectors take, whatever a meter says."""

    def rows(self, calendar: Calendar, from_ms: int, until_ms: int) -> Iterator[Row]:
        """Every row that touches a time, in no order."""
        for number, begin_ms, end_ms in self.spans(calendar, from_ms, until_ms):
            yield Row(begin_ms, end_ms, self.segment[number].limit())

    def narrowest(self) -> Limit | None:
        """The tightest it ever says: what counts while nobody knows what time it is."""
        return narrowest(segment.limit() for segment in self.segment) if self.enabled else None


def narrowest(limits: Iterable[Limit]) -> Limit | None:
    """What several limits leave together; None of none."""
    found: Limit | None = None
    for limit in limits:
        found = limit if found is None else tighter(found, limit)
    return found


# -- series given the day before ------------------------------------------------------------------------

Kilowatt = Annotated[float, Field(strict=True, ge=0, le=20_000)] | None
STEPS_S: Final = (900, 1800, 3600)


class DayAhead(FrozenTable):
    """A series of limits in even steps, like a non-firm contract's for tomorrow; null repeats the one before.

    Days of 23 and 25 hours need no care: the steps count from `start` in true time.
    """

    start: datetime
    step_s: int
    values_kw: tuple[Kilowatt, ...] = Field(min_length=1, max_length=4000)
    fallback_kw: Kilowatts | None = None
    """Outside the series; left out: it limits nothing there."""

    @field_validator("start")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError('give an offset, like "2026-10-25T00:00:00+02:00" or a Z for UTC')
        return value

    @field_validator("step_s")
    @classmethod
    def _a_market_step(cls, value: int) -> int:
        if value not in STEPS_S:
            raise ValueError("give 900 for quarters of an hour or 3600 for hours")
        return value

    @field_validator("values_kw")
    @classmethod
    def _begins_with_a_value(cls, values: tuple[float | None, ...]) -> tuple[float | None, ...]:
        if values[0] is None:
            raise ValueError("the first value is null and there is none before it; give a number")
        return values

    def rows(self, from_ms: int, until_ms: int) -> Iterator[Row]:
        """Its steps that touch a span."""
        begin_ms, step_ms = milliseconds(self.start), self.step_s * 1000
        value = self.values_kw[0]
        for number, given in enumerate(self.values_kw):
            value = value if given is None else given
            row = Row(begin_ms + number * step_ms, begin_ms + (number + 1) * step_ms, Limit())
            if row.until_ms > from_ms and row.from_ms <= until_ms:
                yield row._replace(limit=amps_and_kilowatts(None, value))

    def fallback(self) -> Limit | None:
        """What holds outside of it; None: nothing."""
        return None if self.fallback_kw is None else amps_and_kilowatts(None, self.fallback_kw)

    def end_ms(self) -> int:
        """The first instant after it."""
        return milliseconds(self.start) + len(self.values_kw) * self.step_s * 1000

    def narrowest(self) -> Limit:
        """The tightest it ever says."""
        told = [value for value in (*self.values_kw, self.fallback_kw) if value is not None]
        return amps_and_kilowatts(None, min(told))
