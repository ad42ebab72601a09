"""`edge-twin calibrate`: habits from real sessions, and how far the drivers they make are from the real ones.

A distance passes when it is within the band of the data themselves: 95 % of the distances between the data
and as many of their days drawn again are smaller. From four weeks on, a habit of one half of the days is
judged on the other half too, by the band between two such draws. Departures are not fitted: they test all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from controller.site import SiteError
from twin.fleet import Fleet, Model
from twin.habits import SUNDAY, Floats, Habit, between, even, odd_week, weekday
from twin.sessions import read_sessions

HELD_OUT_DAYS = 28
"""With so many days half of them judge what the others made."""
WEEKEND_MIN = 100
"""So many sessions on free days have arrivals of their own."""
Ints = NDArray[np.int64]
STATIONS = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
RUNS = 9
RESAMPLES = 200
TURNS_MIN, TURNS_SURELY = 4, 5.0
"""A weekday is another one in every second week if the means of so many days are so many errors apart."""
COMES = (0.35, 0.9)
"""Between these is taken for the chance of the busiest weekday: only its product with the number of drivers
can be seen, and a hint in how little the days scatter."""
REGULAR = 0.1
"""Sessions without cards do not tell how much of the scatter is between drivers: so little that it does not
show how few they are."""
TRIALS, UNJUDGED = 4, 1_000_000
"""Ties are moved by so many runs, of seeds from here on, that nobody judges."""
BANDS, BAND_MIN = 32, 50
"""Stays by parts of the arrivals, energies by parts of the stays: at most so many, of so many sessions."""
STEPS = 50
"""Quantiles of a part are given in so many steps."""
GRID = np.linspace(0.0005, 0.9995, 1000)
ANY_CAR = Fleet([Model("any", "car", 1.0, 250_000.0, (80_000, 80_000, 80_000), 6_000)])
"""What sessions say of cars they say in kWh; a battery must not cut that once more."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days one after the other, also the empty ones, with the sessions that begin on them."""

    dates: tuple[date, ...]
    weekdays: Ints
    """0 to 6; a holiday is a Sunday."""
    at: Ints
    """Place of the day of each session."""
    arrival_h: Floats
    stay_h: Floats
    energy_kwh: Floats
    error_h: Floats
    """Departure as told less the real one, of those who told."""

    @property
    def departure_h(self) -> Floats:
        """Hour of the local day of arrival, beyond 24 on the next."""
        return self.arrival_h + self.stay_h

    @property
    def counts(self) -> Ints:
        """How many came on each day."""
        return np.bincount(self.at, minlength=len(self.dates))

    def pick(self, places: Ints) -> Days:
        """These days in this order; a place may occur more than once."""
        order = np.argsort(self.at, kind="stable")
        edges = np.searchsorted(self.at[order], np.arange(len(self.dates) + 1))
        rows = [order[edges[place] : edges[place + 1]] for place in places]
        kept = np.concatenate(rows)
        return replace(
            self,
            dates=tuple(self.dates[place] for place in places),
            weekdays=self.weekdays[places],
            at=np.repeat(np.arange(len(places)), [len(row) for row in rows]),
            arrival_h=self.arrival_h[kept],
            stay_h=self.stay_h[kept],
            energy_kwh=self.energy_kwh[kept],
        )


class Distance(NamedTuple):
    """One way to look at the fit: how far off, and how far off the data are from themselves."""

    name: str
    unit: str
    found: float
    band: float
    held_out: tuple[float, float] | None
    """The same two of a habit that was made of other days; None: too few days."""

    @property
    def passed(self) -> bool:
        """Within the band."""
        return self.found <= self.band


class Fit(NamedTuple):
    """A habit and how it was judged."""

    name: str
    habit: Habit
    drivers: int
    data: Days
    model: Days
    """What its drivers did on those days, in several runs on end: the law and not one draw of it."""
    again: tuple[Days, ...]
    """The days of the data drawn again."""
    distances: tuple[Distance, ...]

    @property
    def title(self) -> str:
        """What it is, in a line."""
        days = self.data
        return f"{self.name}: {self.drivers} drivers, {len(days.at)} sessions on {len(days.dates)} days"


def read(path: Path, zone: ZoneInfo, holidays: Sequence[date] = ()) -> tuple[Days, tuple[str, ...]]:
    """Sessions of a CSV by their local days, and what was wrong with the rows. Raises SiteError."""
    stations = [f"station {number}" for number in range(STATIONS)]
    found = read_sessions(path, stations, EPOCH, zone, 1, "delivered")
    if len(found.sessions) < 50:
        raise SiteError(
            [f"{path}: has {len(found.sessions)} usable sessions; calibration needs at least 50."]
        )
    begins = [(EPOCH + timedelta(milliseconds=s.plug_in_ms)).astimezone(zone) for s in found.sessions]
    first = min(begins).toordinal()
    dates = tuple(date.fromordinal(first + place) for place in range(max(begins).toordinal() - first + 1))
    told = [s for s in found.sessions if s.told_out_ms is not None]
    days = Days(
        dates=dates,
        weekdays=np.array([weekday(day, frozenset(holidays)) for day in dates]),
        at=np.array([begin.toordinal() - first for begin in begins]),
        arrival_h=np.array([b.hour + b.minute / 60 + b.second / 3600 for b in begins]),
        stay_h=np.array([(s.plug_out_ms - s.plug_in_ms) / 3.6e6 for s in found.sessions]),
        energy_kwh=np.array([s.energy_wh / 1000 for s in found.sessions]),
        error_h=np.array([((s.told_out_ms or 0) - s.plug_out_ms) / 3.6e6 for s in told]),
    )
    return days, found.remarks


def fit(data: Days, regular: float = REGULAR) -> tuple[Habit, int]:
    """The habit of these sessions and how many drivers with it there are."""
    counts, weekdays = data.counts, data.weekdays
    means = _means(data)
    drivers = max(1, ceil(means.max() / _comes(counts, weekdays)))
    chances = means / drivers
    free_day = weekdays[data.at] >= SUNDAY - 1
    arrival = _ranks(data.arrival_h)
    weekend, workday = None, data.arrival_h
    if free_day.sum() >= WEEKEND_MIN:
        weekend, workday = data.arrival_h[free_day], data.arrival_h[~free_day]
        arrival[free_day], arrival[~free_day] = _ranks(weekend), _ranks(workday)
    bands = max(1, min(BANDS, len(data.at) // BAND_MIN))
    weekend_stay_h, stay = None, np.zeros(len(data.at))
    if weekend is None:
        stay_h, stay = _parted(data.stay_h, arrival, bands)
    else:
        stay_h, stay[~free_day] = _parted(data.stay_h[~free_day], arrival[~free_day], _bands(~free_day))
        weekend_stay_h, stay[free_day] = _parted(data.stay_h[free_day], arrival[free_day], _bands(free_day))
    energy_kwh, energy = _parted(data.energy_kwh, _ranks(data.stay_h), bands, blend=False)
    moods = [_normal(ranks) for ranks in (arrival, stay, energy)]
    tie = np.clip(np.corrcoef(moods), -0.95, 0.95)
    habit = Habit(
        weekday=tuple(float(round(chance, 4)) for chance in chances),
        spread=_spread(data, chances, drivers),
        regular=regular,
        arrival_h=_quantiles(workday),
        weekend_arrival_h=None if weekend is None else _quantiles(weekend),
        stay_h=stay_h,
        weekend_stay_h=weekend_stay_h,
        energy_kwh=energy_kwh,
        arrival_stay=round(float(tie[0, 1]), 3),
        arrival_energy=round(float(tie[0, 2]), 3),
        stay_energy=round(float(tie[1, 2]), 3),
        error_h=_quantiles(data.error_h) if len(data.error_h) >= 50 else (0.0, 0.0),
    )
    return habit, drivers


def _settled(habit: Habit, drivers: int, data: Days) -> tuple[Habit, int]:
    """The habit with its ties moved by what its own drivers, few as they are, make of them."""
    made = _together([live(habit, drivers, data, UNJUDGED + run) for run in range(TRIALS)])
    ties = {}
    for name, tied in TIES.items():
        # Half of the way: energies hang on their ties too.
        tie = getattr(habit, name) + 0.5 * (tied(data) - tied(made))
        ties[name] = round(float(np.clip(tie, -0.95, 0.95)), 3)
    try:
        return Habit.model_validate(habit.model_dump() | ties), drivers
    except ValidationError:
        return habit, drivers  # they would contradict each other


def _comes(counts: Ints, weekdays: Ints) -> float:
    """Chance on the busiest weekday: of drivers who come or not, variance over mean is 1 less the chance."""
    workdays = [counts[weekdays == w] for w in range(5)]
    scatter = [float(some.var(ddof=1) / some.mean()) for some in workdays if len(some) > 1 and some.any()]
    return float(np.clip(1 - np.median(scatter), *COMES)) if scatter else COMES[1]


def _means(data: Days) -> Floats:
    """Cars by weekday, 7 of them; 14 where some weekday is another one in every second week."""
    counts, weekdays = data.counts, data.weekdays
    odd = np.array([odd_week(day) for day in data.dates])
    every = np.array([counts[weekdays == w].mean() if (weekdays == w).any() else 0.0 for w in range(7)])
    means = np.tile(every, 2)
    turns = False
    for w in range(7):
        halves = [counts[(weekdays == w) & (odd == turn)] for turn in (0, 1)]
        if min(map(len, halves)) < TURNS_MIN:
            continue
        error = float(np.sqrt(sum(half.var(ddof=1) / len(half) for half in halves)))
        if abs(halves[0].mean() - halves[1].mean()) > TURNS_SURELY * max(error, 0.01 * every[w]):
            turns = True
            means[w], means[w + 7] = halves[0].mean(), halves[1].mean()
    return means if turns else every


def _bands(some: NDArray[np.bool_]) -> int:
    """In how many parts so many sessions may be cut."""
    return max(1, min(BANDS, int(some.sum()) // BAND_MIN))


def _spread(data: Days, chances: Floats, drivers: int) -> tuple[float, ...]:
    """Scatter of each weekday beyond what drivers who each come or not would give, relative to its mean."""
    spreads = [0.0] * 7
    odd = np.array([odd_week(day) for day in data.dates])
    expected = drivers * chances[(data.weekdays + 7 * odd) % len(chances)]
    for w in range(7):
        here = data.weekdays == w
        days, chance = data.counts[here], float(expected[here].mean()) / drivers if here.any() else 0.0
        if len(days) > 1 and chance > 0 and drivers > 1:
            off = days - expected[here]
            chosen = expected[here] / drivers
            beyond = float((off**2).sum()) / (len(days) - 1) - drivers * float((chosen * (1 - chosen)).mean())
            spreads[w] = round(min(1.0, (max(0.0, beyond) / (drivers * (drivers - 1))) ** 0.5 / chance), 4)
    return tuple(spreads)


def _ranks(values: Floats) -> Floats:
    return (np.argsort(np.argsort(values)) + 0.5) / len(values)


def _parted(
    values: Floats, before: Floats, bands: int, *, blend: bool = True
) -> tuple[tuple[tuple[float, ...], ...], Floats]:
    """Quantiles of each part by the rank of what came before, and the rank of each value where it stands."""
    part = np.minimum((before * bands).astype(int), bands - 1)
    found = tuple(_quantiles(values[part == band], STEPS) for band in range(bands))
    ranks = np.zeros(len(values))
    if not blend:
        for band in range(bands):
            ranks[part == band] = _ranks(values[part == band])
        return found, ranks
    low, share = between(before, bands)
    for n, value in enumerate(values):
        one, other = (even(found[min(low[n] + more, bands - 1)]) for more in (0, 1))
        curve = (1 - share[n]) * one.at(GRID) + share[n] * other.at(GRID)
        ranks[n] = (np.searchsorted(curve, value, "left") + np.searchsorted(curve, value, "right")) / 2
    return found, np.clip(ranks / len(GRID), GRID[0], GRID[-1])


def _normal(ranks: Floats) -> Floats:
    return np.array([NormalDist().inv_cdf(rank) for rank in ranks])


def _quantiles(values: Floats, most: int = 100) -> tuple[float, ...]:
    """As many steps as there are values for, up to the most."""
    steps = max(1, min(most, len(values) - 1))
    return tuple(float(round(value, 2)) for value in np.quantile(values, np.linspace(0.0, 1.0, steps + 1)))


def live(habit: Habit, drivers: int, data: Days, seed: int) -> Days:
    """What drivers with this habit would have done on the same days."""
    # Mesa costs more than a second: only those who want drivers pay it.
    from twin.drivers import Crowd, come

    first = data.dates[0]
    free = frozenset(day for day, w in zip(data.dates, data.weekdays, strict=True) if w == SUNDAY)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    crowd = Crowd({"measured": drivers}, [1], {"measured": habit}, ANY_CAR, free)
    sessions = come(crowd, start, len(data.dates) * DAY_MS, ZoneInfo("UTC"), seed)
    fresh = [s for s in sessions if s.plug_in_ms > 0]
    begin_ms = np.array([s.plug_in_ms for s in fresh])
    return replace(
        data,
        at=begin_ms // DAY_MS,
        arrival_h=begin_ms % DAY_MS / 3.6e6,
        stay_h=np.array([s.plug_out_ms - s.plug_in_ms for s in fresh]) / 3.6e6,
        energy_kwh=np.array([s.energy_wh / 1000 for s in fresh]),
    )


def calibrate(source: str, data: Days, seed: int = 1) -> Fit:
    """Make a habit of the data and judge it."""
    every = np.arange(len(data.dates))
    draw = np.random.default_rng(seed)
    again = [_again(data, every, draw) for _ in range(RESAMPLES)]
    habit, drivers = _settled(*fit(data), data)
    model = _together([live(habit, drivers, data, seed + run) for run in range(RUNS)])
    found = [far(model, data) for _, _, far in MEASURES]
    bands = [_band(far, [(data, days) for days in again]) for _, _, far in MEASURES]
    other = _held_out(data, every, draw, seed) if len(every) >= HELD_OUT_DAYS else [None] * len(MEASURES)
    rows = zip(MEASURES, found, bands, other, strict=True)
    distances = [Distance(name, unit, own, band, held) for (name, unit, _), own, band, held in rows]
    return Fit(source, habit, drivers, data, model, tuple(again), tuple(distances))


def _held_out(
    data: Days, every: Ints, draw: np.random.Generator, seed: int
) -> list[tuple[float, float] | None]:
    """Distance and band of each measure for a habit that is judged on the days it was not made of."""
    # A second Friday that is always free must not always fall to the same side.
    side = (every + every // 14) % 2
    making, judging = every[side == 0], every[side == 1]
    habit, drivers = _settled(*fit(data.pick(making)), data.pick(making))
    model = _together([live(habit, drivers, data, seed + run).pick(judging) for run in range(RUNS)])
    pairs = [(_again(data, making, draw), _again(data, judging, draw)) for _ in range(RESAMPLES)]
    return [(far(model, data.pick(judging)), _band(far, pairs)) for _, _, far in MEASURES]


def _band(far: Callable[[Days, Days], float], pairs: Sequence[tuple[Days, Days]]) -> float:
    return float(np.quantile([far(one, other) for one, other in pairs], 0.95))


def _together(runs: Sequence[Days]) -> Days:
    """All runs as one long run."""
    length = len(runs[0].dates)
    return replace(
        runs[0],
        dates=runs[0].dates * len(runs),
        weekdays=np.tile(runs[0].weekdays, len(runs)),
        at=np.concatenate([run.at + length * number for number, run in enumerate(runs)]),
        arrival_h=np.concatenate([run.arrival_h for run in runs]),
        stay_h=np.concatenate([run.stay_h for run in runs]),
        energy_kwh=np.concatenate([run.energy_kwh for run in runs]),
    )


def _again(data: Days, like: Ints, draw: np.random.Generator) -> Days:
    """As many days of each weekday as these, drawn with replacement from all days.

    Where there is one of each weekday, working days stand for each other, and free days.
    """
    every, kind = np.arange(len(data.dates)), data.weekdays
    if len(every) < 14:
        kind = np.where(kind >= SUNDAY - 1, SUNDAY, 0)
    pools = [every[kind == own] for own in kind[like]]
    return data.pick(np.array([draw.choice(pool) for pool in pools]))


def dispersion(days: Days) -> float:
    """Variance over mean of the number of cars, weekday by weekday; 1 is chance (Poisson)."""
    counts, weekdays = days.counts, days.weekdays
    scatter = whole = 0.0
    for own in np.unique(weekdays):
        some = counts[weekdays == own]
        if len(some) > 1:
            scatter += len(some) * float(some.var(ddof=1))
            whole += float(some.sum())
    return scatter / whole if whole else 1.0


def _steps(one: Floats, other: Floats) -> float:
    """Largest distance between two distribution functions (Kolmogorov and Smirnov)."""
    every = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(values), every, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _moved(one: Floats, other: Floats) -> float:
    """How far the values must be moved on average to become the others (Wasserstein)."""
    return float(np.abs(np.quantile(one, GRID) - np.quantile(other, GRID)).mean())


def _tied(one: str, other: str) -> Callable[[Days], float]:
    def tie(days: Days) -> float:
        first, second = (np.argsort(np.argsort(getattr(days, name))) for name in (one, other))
        return float(np.asarray(np.corrcoef(first, second))[0, 1])

    return tie


def _both(name: str, far: Callable[[Floats, Floats], float]) -> Callable[[Days, Days], float]:
    return lambda one, other: far(getattr(one, name), getattr(other, name))


def _apart(figure: Callable[[Days], float]) -> Callable[[Days, Days], float]:
    return lambda one, other: abs(figure(one) - figure(other))


TIES = {
    "arrival_stay": _tied("arrival_h", "stay_h"),
    "arrival_energy": _tied("arrival_h", "energy_kwh"),
    "stay_energy": _tied("stay_h", "energy_kwh"),
}
SHOWN = (("arrival", "arrival_h", "h"), ("stay", "stay_h", "h"), ("energy", "energy_kwh", "kWh"))
DEPARTURE = ("departure, not fitted", "departure_h", "h")
CARS = ("cars a day", "counts", "cars")
MEASURES: tuple[tuple[str, str, Callable[[Days, Days], float]], ...] = (
    *(
        (f"{name}: Kolmogorov-Smirnov", "", _both(field, _steps))
        for name, field, _ in (*SHOWN, DEPARTURE, CARS)
    ),
    *(
        (f"{name}: Wasserstein", unit, _both(field, _moved))
        for name, field, unit in (*SHOWN, DEPARTURE, CARS)
    ),
    ("rank correlation of arrival and stay", "", _apart(_tied("arrival_h", "stay_h"))),
    ("rank correlation of arrival and energy", "", _apart(_tied("arrival_h", "energy_kwh"))),
    ("rank correlation of stay and energy", "", _apart(_tied("stay_h", "energy_kwh"))),
    ("dispersion of cars a day", "", _apart(dispersion)),
)


def words(far: Distance) -> tuple[str, str, str, str, str]:
    """Distance and band, the verdict, and the same of other days."""
    other = [f"{value:.3f}" for value in far.held_out] if far.held_out else ["", ""]
    verdict = "within" if far.passed else "beyond"
    return f"{far.found:.3f} {far.unit}", f"{far.band:.3f} {far.unit}", verdict, other[0], other[1]


def as_toml(name: str, habit: Habit) -> str:
    """The table of a habits file, with what is not as by default."""
    lines = [f"[{json.dumps(name)}]"]
    for key, value in habit.model_dump(exclude_defaults=True).items():
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def main(path: Path, zone_name: str, holidays: Sequence[date], output: Path, habits: Path | None) -> int:
    """Calibrate, print the distances, write the page; 1 when a distance is beyond its band."""
    from rich.console import Console
    from rich.table import Table

    from scenarios.calibrate_page import page

    try:
        zone = ZoneInfo(zone_name)
    except (KeyError, ValueError):
        raise SiteError([f"--timezone {zone_name}: there is none; write it like Europe/Amsterdam."]) from None
    data, remarks = read(path, zone, holidays)
    for remark in remarks:
        sys.stderr.write(f"{remark}\n")
    name = path.name.split(".", maxsplit=1)[0]
    found = calibrate(name, data)
    table = Table(title=found.title)
    for column in ("distance", "found", "band of the data", "", "on other days", "band"):
        table.add_column(column, justify="left" if column == "distance" else "right")
    for far in found.distances:
        table.add_row(far.name, *words(far))
    Console().print(table)
    output.write_text(page(found), encoding="utf-8")
    if habits is not None:
        habits.write_text(f"# {found.title}\n\n{as_toml(name, found.habit)}", encoding="utf-8")
    return int(not all(far.passed for far in found.distances))
