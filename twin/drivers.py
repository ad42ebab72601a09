"""Who comes: Mesa agents that decide, day by day, whether to drive to the site, when and for how long.

Arrival, stay and energy are drawn from the distributions of ElaadNL (2019-2020). Every driver has random
streams of their own, so that one more chargepoint changes where somebody parks, never who comes. Drivers
queue for a free connector on SimPy's time and give up when their patience ends.
"""

from __future__ import annotations

import csv
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import mesa
import numpy as np
import simpy

from twin.sessions import Car, Session, draw_car
from twin.streams import stream

Column = list[float]
DAY_MS = 86_400_000
COMES = {"workplace": (0.7, 0.04), "public": (0.35, 0.35), "private": (0.5, 0.45)}
"""Chance that a driver charges on a weekday and on a day of the weekend."""
STAY_MIN_S = 600
ENERGY_MIN_WH = 1_000.0


class Population:
    """Arrival, stay and energy of one kind of charging."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._arrivals = np.cumsum(_column("elaad_arrival.csv", kind))
        self._stays_h = _column("elaad_connection_time.csv", kind)
        self._energies_kwh = _column("elaad_energy_demand.csv", kind)

    def arrival_s(self, draw: np.random.Generator) -> int:
        """Seconds of the local day."""
        quarter = int(np.searchsorted(self._arrivals, draw.random() * self._arrivals[-1], side="right"))
        return min(quarter, 95) * 900 + int(draw.integers(900))

    def stay_s(self, draw: np.random.Generator) -> int:
        """How long the car is left at the connector."""
        return max(STAY_MIN_S, round(_exceeded(self._stays_h, draw.random()) * 3600))

    def energy_wh(self, draw: np.random.Generator) -> float:
        """What the car asks for."""
        return max(ENERGY_MIN_WH, _exceeded(self._energies_kwh, draw.random()) * 1000)


def _column(name: str, kind: str) -> Column:
    text = (files("twin") / "data" / name).read_text(encoding="utf-8-sig")
    return [float(row[kind]) for row in csv.DictReader(text.splitlines())]


def _exceeded(table: Column, share: float) -> float:
    """The value that a share of all events exceeds; the table has one for every percent."""
    place = share * (len(table) - 1)
    low = int(place)
    return table[low] + (table[min(low + 1, len(table) - 1)] - table[low]) * (place - low)


class Driver(mesa.Agent):  # type: ignore[misc]
    """One driver with one car and one card."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site)
        self.site = site
        self.number = number
        # The car outlives the visits; an average visit says how strong it must be.
        self.car: Car = draw_car(site.seed, f"driver {number}", 10_000.0, 4 * 3600.0)
        site.time.process(self.live())

    def live(self) -> Generator[simpy.Event, None, None]:
        """Decide every day anew."""
        site = self.site
        for day in range(-1, site.days):
            choice = stream(site.seed, "driver", self.number, "day", day)
            midnight = site.first_midnight + timedelta(days=day)
            chance = COMES[site.population.kind][midnight.weekday() >= 5]
            comes = choice.random() < chance
            arrival = (midnight + timedelta(seconds=site.population.arrival_s(choice))).replace(
                tzinfo=site.zone
            )
            stay_s, energy_wh = site.population.stay_s(choice), site.population.energy_wh(choice)
            at_ms = round((arrival.astimezone(UTC) - site.origin_utc).total_seconds() * 1000)
            if comes and at_ms >= site.time.now:
                yield site.time.timeout(at_ms - site.time.now)
                yield from self.visit(day, stay_s, energy_wh)

    def visit(self, day: int, stay_s: int, energy_wh: float) -> Generator[simpy.Event, None, None]:
        """Queue, plug in, leave."""
        site = self.site
        place = site.free.get()
        yield place | site.time.timeout(site.patience_ms)
        if not place.triggered:
            place.cancel()
            return
        begin_ms = int(site.time.now)
        site.came(self, day, int(place.value), begin_ms, begin_ms + stay_s * 1000, energy_wh)
        # The next car needs a moment to take the place.
        yield site.time.timeout(stay_s * 1000 + 60_000)
        yield site.free.put(place.value)


class Site(mesa.Model):  # type: ignore[misc]
    """The car park as its drivers see it: connectors, free or taken. Its time begins a day early."""

    def __init__(
        self, population: str, connectors: int, start_utc: datetime, length_ms: int, zone: ZoneInfo, seed: int
    ) -> None:
        super().__init__(rng=seed)
        self.population = Population(population)
        self.zone = zone
        self.seed = seed
        self.origin_utc = start_utc - timedelta(days=1)
        local = start_utc.astimezone(zone)
        self.first_midnight = datetime(local.year, local.month, local.day)  # noqa: DTZ001
        self.days = length_ms // DAY_MS + 2
        self.length_ms = length_ms
        self.time = simpy.Environment()
        self.patience_ms = 0
        self.free: Any = simpy.Store(self.time)
        order = stream(seed, "parking").permutation(connectors)
        self.free.items = [int(row) for row in order]
        self.sessions: list[Session] = []

    def came(
        self, driver: Driver, day: int, connector: int, begin_ms: int, end_ms: int, energy_wh: float
    ) -> None:
        """Note a visit, world time; cars that are there at the start of the world come at its start."""
        plug_in_ms, plug_out_ms = max(0, begin_ms - DAY_MS), end_ms - DAY_MS
        if plug_out_ms <= 0 or plug_in_ms >= self.length_ms:
            return
        key = f"driver {driver.number} day {day}"
        pause = stream(self.seed, "card", key)
        self.sessions.append(
            Session(
                key=key,
                connector=connector,
                plug_in_ms=plug_in_ms,
                plug_out_ms=plug_out_ms,
                energy_wh=energy_wh,
                car=driver.car,
                card=f"CARD{driver.number:05d}",
                card_after_ms=int(pause.integers(2_000, 15_000)),
            )
        )


def come(
    population: str,
    drivers: int,
    connectors: int,
    start_utc: datetime,
    length_ms: int,
    zone: ZoneInfo,
    seed: int,
    patience_s: float,
) -> tuple[Session, ...]:
    """Everybody who comes and finds a place, in the order of arrival."""
    site = Site(population, connectors, start_utc, length_ms, zone, seed)
    site.patience_ms = round(patience_s * 1000)
    for number in range(drivers):
        Driver(site, number)
    site.time.run(until=length_ms + DAY_MS)
    return tuple(sorted(site.sessions, key=lambda session: (session.plug_in_ms, session.connector)))
