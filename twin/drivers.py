"""Who comes: Mesa agents that decide, visit by visit, whether to drive to the site, when and for how much.

What is random about a driver hangs on the driver's own streams, named by habit and number, and what all share
about a day on the habit's: one more driver, chargepoint or fault reshuffles nobody. A visit names the
connectors in the order in which its driver would take them; the world decides which of them is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import erfc, sqrt
from statistics import NormalDist
from zoneinfo import ZoneInfo

import mesa
import numpy as np
from numpy.typing import NDArray

from twin.fleet import Fleet, read_fleet
from twin.habits import (
    SUNDAY,
    Curve,
    Floats,
    Habit,
    banded,
    blended,
    dutch_holidays,
    even,
    rank_in,
    read_habits,
    weekday,
)
from twin.parking import TURNOVER_MS
from twin.sessions import UNPLACED, Session
from twin.streams import number, stream

DAY_MS = 86_400_000
STAY_MIN_S = 120
ENERGY_MIN_WH = 100.0
FULLEST = 0.97  # nobody arrives emptier than this leaves
PLASTIC = 1.2207440846057596  # root of x^4 = x + 1
LIKES_BIG = 0.9  # correlation of what a driver needs with the battery that was bought


@dataclass(frozen=True, slots=True)
class Ways:
    """A habit in the span of a world: its curves; of every day its chance, its season, whether it is free."""

    workday: Curve
    weekend: Curve
    stays: tuple[Curve, ...]
    weekend_stays: tuple[Curve, ...]
    energies: tuple[Curve, ...]
    error: Curve
    tie: Floats
    chances: Floats
    season: Floats
    free: NDArray[np.bool_]
    fleet: Fleet

    @classmethod
    def of(cls, name: str, site: Site) -> Ways:
        """The habit of this name at a site."""
        habit, days = site.crowd.habits[name], site.calendar
        return cls(
            workday=habit.arrivals,
            weekend=habit.weekend_arrivals,
            stays=habit.stays,
            weekend_stays=habit.weekend_stays,
            energies=habit.energies,
            error=even(habit.error_h),
            tie=np.asarray(np.linalg.cholesky(habit.correlations), np.float64),
            chances=habit.chances(days, site.holidays, stream(site.seed, "days", name)),
            season=np.array([habit.season(day) for day in days]),
            free=np.array([weekday(day, site.holidays) >= SUNDAY - 1 for day in days]),
            fleet=site.crowd.fleet.only(habit.vehicles),
        )


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who may come: `drivers` by habit; and to what: the power of every connector (mA times phases)."""

    drivers: Mapping[str, int]
    connectors: Sequence[int]
    habits: Mapping[str, Habit] = field(default_factory=read_habits)
    fleet: Fleet = field(default_factory=read_fleet)
    holidays: frozenset[date] | None = None
    """Those of the Netherlands if left out."""
    patience_s: float | None = None
    """Of everybody; left out: as their habit says."""
    outside_c: float | None = None
    """Temperature in which the cars have stood; left out: warm."""
    direct: frozenset[int] = frozenset()
    """Rows of the connectors that are DC."""


class Driver(mesa.Agent):  # type: ignore[misc]
    """One driver with one car, one card, and habits of one's own."""

    def __init__(self, site: Site, habit: str, place: int) -> None:
        super().__init__(site)
        self.site = site
        self.name = f"{habit} {place}"
        self.habit = site.crowd.habits[habit]
        self.ways = site.ways[habit]
        self.card = f"{habit[:4].upper()}{place:05d}"
        own = stream(site.seed, "driver", self.name)
        self.usual = _scattered(stream(site.seed, "usual", habit).random(3), place)
        need = float(self.ways.tie[2] @ self.usual)
        rank = _rank(LIKES_BIG * need + sqrt(1 - LIKES_BIG**2) * float(own.standard_normal()))
        self.model_bought = self.ways.fleet.model(rank)
        self.car = self.model_bought.car(own)
        self.moves = bool(own.random() < self.habit.moves_when_full)
        self.bays = self.liked_bays()

    def liked_bays(self) -> tuple[int, ...]:
        """All connectors that the car can use, the one taken first before the others."""
        power = np.array(self.site.crowd.connectors)
        near = stream(self.site.seed, "bay", self.name).random(len(power))
        order = np.lexsort((near, -power)) if self.habit.hurry else np.argsort(near)
        model, direct = self.model_bought, self.site.crowd.direct
        return tuple(row for row in order.tolist() if model.charges_at(direct=row in direct))

    def live(self) -> None:
        """Decide about every visit in turn; who can use no connector does not come."""
        if not self.bays:
            return
        site, habit, full_wh = self.site, self.habit, self.model_bought.usable_wh
        carried_wh, free_ms = 0.0, -10 * DAY_MS
        for begin_ms, end_ms, need_wh, told_ms, card_ms, key in self.wanted():
            if begin_ms < free_ms:
                continue  # still there
            carried_wh = min(carried_wh + need_wh, FULLEST * full_wh)
            if 1 - carried_wh / full_wh > habit.plug_in_below:
                continue
            free_ms = end_ms + TURNOVER_MS
            if end_ms > 0 and begin_ms < site.length_ms:
                # Who is there at the start of the world comes at its start.
                visit = Session(
                    key, UNPLACED, max(0, begin_ms), end_ms, carried_wh, self.car, self.card, card_ms
                )
                site.sessions.append(self.told(visit, told_ms))
            carried_wh = 0.0

    def wanted(self) -> list[tuple[int, int, float, int, int, str]]:
        """Every visit as it comes to mind: begin, end, Wh, departure as told, pause for the card, name."""
        site, habit, ways = self.site, self.habit, self.ways
        shape = (len(site.calendar), habit.visits)
        coins = stream(site.seed, "coins", self.name).random((*shape, 3))
        moods = stream(site.seed, "moods", self.name).standard_normal((*shape, 3))
        at, visit = np.nonzero(coins[..., 0] < ways.chances[:, None])
        moods = (sqrt(habit.regular) * self.usual + sqrt(1 - habit.regular) * moods[at, visit]) @ ways.tie.T
        ranks = _ranks(moods)
        hours = np.where(ways.free[at], ways.weekend.at(ranks[:, 0]), ways.workday.at(ranks[:, 0]))
        stay_h = blended(ways.stays, ranks[:, 0], ranks[:, 1])
        if habit.weekend_stay_h:
            free_h = blended(ways.weekend_stays, ranks[:, 0], ranks[:, 1])
            stay_h = np.where(ways.free[at], free_h, stay_h)
        stay_ms = np.maximum(STAY_MIN_S, np.round(stay_h * 3600)).astype(int) * 1000
        energy_kwh = banded(ways.energies, rank_in(ways.stays, stay_h), ranks[:, 2])
        need_wh = np.maximum(ENERGY_MIN_WH, 1000 * energy_kwh * ways.season[at])
        error_ms = np.round(ways.error.at(coins[at, visit, 1]) * 3600).astype(int) * 1000
        card_ms = (2_000 + 13_000 * coins[at, visit, 2]).astype(int)
        found = []
        for n, day in enumerate(at):
            begin_ms = site.world_ms(site.calendar[day], float(hours[n]))
            end_ms = begin_ms + int(stay_ms[n])
            told_ms = max(begin_ms + 60_000, end_ms + int(error_ms[n]))
            key = f"{self.name}, day {day} visit {visit[n]}"
            found.append((begin_ms, end_ms, float(need_wh[n]), told_ms, int(card_ms[n]), key))
        return sorted(found)

    def told(self, visit: Session, told_ms: int) -> Session:
        """The visit with what its driver is like."""
        habit, patience_s = self.habit, self.site.crowd.patience_s
        cold, cold_dc = self.model_bought.accepts(self.site.crowd.outside_c)
        return replace(
            visit,
            bays=self.bays,
            patience_ms=round((habit.patience_s if patience_s is None else patience_s) * 1000),
            priority=habit.priority,
            terms=habit.card,
            moves_after_ms=round(habit.moves_after_s * 1000) if self.moves else None,
            cold=cold,
            cold_dc=cold_dc,
            told_out_ms=told_ms,
        )


class Site(mesa.Model):  # type: ignore[misc]
    """The site as its drivers know it: a calendar, connectors, and who has decided to come."""

    def __init__(self, crowd: Crowd, start_utc: datetime, length_ms: int, zone: ZoneInfo, seed: int) -> None:
        super().__init__(rng=seed)
        self.crowd, self.zone, self.seed = crowd, zone, seed
        self.start_utc, self.length_ms = start_utc.astimezone(UTC), length_ms
        first = start_utc.astimezone(zone).date() - timedelta(days=1)
        # A day early: who came yesterday may be there at the start.
        self.calendar = [first + timedelta(days=day) for day in range(length_ms // DAY_MS + 3)]
        years = range(first.year, self.calendar[-1].year + 1)
        self.holidays = dutch_holidays(years) if crowd.holidays is None else crowd.holidays
        self.ways = {name: Ways.of(name, self) for name in crowd.drivers}
        self.sessions: list[Session] = []

    def world_ms(self, day: date, hour: float) -> int:
        """World time of a local hour, to the second."""
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
        local = (midnight + timedelta(seconds=round(hour * 3600))).replace(tzinfo=self.zone)
        return round((local.astimezone(UTC) - self.start_utc).total_seconds()) * 1000


def _scattered(shift: Floats, place: int) -> Floats:
    """Normal draws of the n-th driver such that all together lie evenly (Kronecker sequence of Roberts)."""
    points = (shift + (place + 1) * np.array([1 / PLASTIC, 1 / PLASTIC**2, 1 / PLASTIC**3])) % 1.0
    return np.array([NormalDist().inv_cdf(min(max(point, 1e-6), 1 - 1e-6)) for point in points])


def _rank(mood: float) -> float:
    """Share of all draws below a standard normal one."""
    return 0.5 * erfc(-mood / sqrt(2))


_ranks = np.vectorize(_rank, otypes=[np.float64])


def come(crowd: Crowd, start_utc: datetime, length_ms: int, zone: ZoneInfo, seed: int) -> tuple[Session, ...]:
    """Everybody who comes, in the order of arrival; who finds a free connector is seen in the world."""
    site = Site(crowd, start_utc, length_ms, zone, seed)
    for habit, count in crowd.drivers.items():
        for place in range(count):
            Driver(site, habit, place)
    site.agents.do("live")
    return tuple(sorted(site.sessions, key=lambda session: (session.plug_in_ms, number(session.key))))
