"""A site and its sessions as every simulator is given them, and the same as a story of ours.

What a tool cannot express it must not be blamed for: every station sees one kind of car, batteries are ideal
until they are full, nothing but cars draws, and everybody comes and leaves at a whole tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.site import Site, build
from controller.topology import compile_site
from scenarios.scenario import Story, load, prepare
from tests.bench.car_park import LIBRARY, car_park
from twin.conditions import Conditions
from twin.sessions import Car, Session, kind_of_car
from twin.streams import stream

DAY_MS = 86_400_000
WEEKDAYS, STATIONS = 4, 50
AMPS = 80
"""Of the connection of the week: far too little for 52 stations without a building."""
DAY_A = 400
"""Of the connection of the day of 200 connectors."""
PLENTY_A = 2_000.0
IDEAL_WH = 1.0
"""So little before the end an ideal battery begins to take less."""


@dataclass(frozen=True, slots=True)
class Case:
    """`told` is what a peer reads as JSON, `story` the same for us."""

    told: dict[str, Any]
    story: Story

    def with_plenty(self) -> Case:
        """Without a limit that anybody could meet."""
        grids = [grid | {"limit_a": [PLENTY_A] * 3} for grid in self.told["grids"]]
        site = self.story.site
        plenty = {
            name: grid.model_copy(update={"max_current_a": (PLENTY_A,) * 3})
            for name, grid in site.grid.items()
        }
        return _with_site(
            Case(self.told | {"grids": grids}, self.story), site.model_copy(update={"grid": plenty})
        )

    def planned(self, planner: str) -> Case:
        """Ours plans by departures, which it knows exactly."""
        return _with_site(self, self.story.site.model_copy(update={"departures": planner}))


def _with_site(case: Case, site: Site) -> Case:
    return replace(case, story=replace(case.story, site=site, topology=compile_site(site)))


def week() -> Case:
    """The week of JPL on its 52 stations, cars of one to three phases, 3 x 80 A; ticks of 5 min."""
    story = prepare(load(LIBRARY / f"jpl_2019-W20_{AMPS}.toml", mode="minute"))
    cars = [_car(name) for name in story.topology.connector_names]
    return _case(f"JPL week, 3 x {AMPS} A", story.site, cars, story.sessions, 300, story.length_ms)


def week_on_one_phase() -> Case:
    """The same week where every car and every outlet has one phase, all the same: 3 x 80 A on one line."""
    story = prepare(load(LIBRARY / f"jpl_2019-W20_{AMPS}.toml", mode="minute"))
    site = story.site
    grid = {"main": site.grid["main"].model_copy(update={"max_current_a": (3.0 * AMPS,) * 3})}
    one = {"phases": 1, "rotation": (0, 1, 2)}
    chargepoint = {
        name: box.model_copy(update={"connector": tuple(o.model_copy(update=one) for o in box.connector)})
        for name, box in site.chargepoint.items()
    }
    site = site.model_copy(update={"grid": grid, "chargepoint": chargepoint})
    cars = [Car(1, 32_000, taper_wh=IDEAL_WH)] * len(chargepoint)
    return _case(f"JPL week, {3 * AMPS} A on one phase", site, cars, story.sessions, 300, story.length_ms)


def day_of_200() -> Case:
    """Four weekdays of JPL side by side on 200 connectors in 20 grids; ticks of 1 min."""
    story = prepare(load(LIBRARY / f"jpl_2019-W20_{AMPS}.toml", mode="minute"))
    sessions = []
    for session in story.sessions:
        day = session.plug_in_ms // DAY_MS
        if day < WEEKDAYS and session.connector < STATIONS:
            begin_ms, end_ms = session.plug_in_ms - day * DAY_MS, session.plug_out_ms - day * DAY_MS
            place = day * STATIONS + session.connector
            sessions.append(
                replace(
                    session, connector=place, plug_in_ms=begin_ms, plug_out_ms=min(end_ms, DAY_MS - 60_000)
                )
            )
    tables = car_park(WEEKDAYS * STATIONS)
    tables["grid"]["main"] |= {"max_current_a": DAY_A, "worst_load_a": DAY_A // 2}
    site = build(tables, "car park")
    cars = [_car(name) for name in compile_site(site).connector_names]
    return _case("four JPL days on 200 connectors", site, cars, sessions, 60, DAY_MS)


def _car(station: str) -> Car:
    """The kind of car that this station sees, from the Dutch mix."""
    phases, max_ma, _ = kind_of_car(stream(1, "station", station).random())
    return Car(phases, max_ma, taper_wh=IDEAL_WH)


def _case(
    name: str, site: Site, cars: Sequence[Car], sessions: Iterable[Session], tick_s: int, length_ms: int
) -> Case:
    built = compile_site(site)
    kept = list(_on_ticks(sessions, cars, tick_s * 1000, length_ms))
    stations = [
        {
            "name": built.connector_names[c],
            "max_a": min(cars[c].max_ma, int(row["max_ma"])) / 1000,
            "lines": [int(row["phase"][own]) for own in range(cars[c].phases)],
        }
        for c, row in enumerate(built.connectors)
    ]
    grids = [
        {
            "name": built.grid_names[g],
            "feeder": int(row["parent"]),
            "limit_a": [float(ma) / 1000 for ma in row["limit_ma"]],
            "stations": [c for c, to in enumerate(built.connectors) if g in to["path"][: to["depth"]]],
        }
        for g, row in enumerate(built.grids)
    ]
    told = {
        "name": name,
        "tick_s": tick_s,
        "ticks": length_ms // (tick_s * 1000),
        "supply_v": NOMINAL_VOLTAGE_V,
        "stations": stations,
        "grids": grids,
        "sessions": [
            {
                "key": session.key,
                "station": session.connector,
                "from_tick": session.plug_in_ms // (tick_s * 1000),
                "to_tick": session.plug_out_ms // (tick_s * 1000),
                "energy_wh": session.energy_wh,
            }
            for session in kept
        ],
    }
    story = Story(
        name=name,
        site=site,
        topology=built,
        conditions=Conditions(),
        sessions=tuple(kept),
        loads=(),
        start_utc=datetime(2019, 5, 13, 7, tzinfo=UTC),
        length_ms=length_ms,
        seed=1,
        mode="minute",
    )
    return Case(told, story)


def _on_ticks(
    sessions: Iterable[Session], cars: Sequence[Car], tick_ms: int, length_ms: int
) -> Iterable[Session]:
    """Sessions from tick to tick, at least two long and with an empty one before the next."""
    free_ms: dict[int, int] = {}
    for session in sorted(sessions, key=lambda one: (one.plug_in_ms, one.connector)):
        begin_ms = max(session.plug_in_ms // tick_ms * tick_ms, tick_ms, free_ms.get(session.connector, 0))
        end_ms = min(session.plug_out_ms, length_ms) // tick_ms * tick_ms
        if end_ms - begin_ms < 2 * tick_ms or session.energy_wh < 1:
            continue
        free_ms[session.connector] = end_ms + tick_ms
        yield replace(
            session, plug_in_ms=begin_ms, plug_out_ms=end_ms, car=cars[session.connector], card_after_ms=0
        )
