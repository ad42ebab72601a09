"""One scenario from its first instant to its last: twin, controller, recording, figures and verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from controller.cycle import calculate
from controller.decision import Decision, Memory, first_memory
from controller.image import Image
from controller.ports import Journal
from scenarios.figures import BUCKET_S, Delays, Figures, Served, Tally, judge, served
from scenarios.planning import Beside
from scenarios.scenario import During, Scenario, Story, prepare
from scenarios.strain import GridStrain, Strain, Strained
from twin.instruments import SimulatedPlant
from twin.pace import Pace
from twin.world import World

Progress = Callable[[float], None]
"""Told the share of the story that is over, 0..1."""


class Onlooker(Protocol):
    """Somebody who watches a run and has no part in it."""

    def begin(self, world: World) -> None:
        """The world is made and nothing has happened."""
        ...

    def instant(self, span_ms: int) -> None:
        """Nothing changes in kind for `span_ms` from now."""
        ...

    def cycle(self, image: Image, decision: Decision) -> None:
        """What the controller saw and what it wants."""
        ...


@dataclass(frozen=True, slots=True)
class GridPeak:
    """The worst of a grid over the run, per phase of the site."""

    grid: str
    limit_a: tuple[float, float, float]
    peak_a: tuple[float, float, float]
    over_as: float
    own_as: float
    lie_as: float
    heat: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation, what came of it, and whether it holds; None: this run could not measure it."""

    expected: str
    found: str
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    story: Story
    figures: Figures
    grids: tuple[GridPeak, ...]
    sessions: tuple[Served, ...]
    verdicts: tuple[Verdict, ...]
    delays: Delays
    load_a: Any = field(repr=False)
    """Mean uncontrolled load, A, [step of `load_step_s`, grid, phase of the site]."""
    load_step_s: int = BUCKET_S
    strain: tuple[GridStrain, ...] = ()
    """Of the wires, where the conditions say what they are or an expectation asks."""

    @property
    def passed(self) -> bool:
        """True when no expectation is broken."""
        return all(verdict.holds is not False for verdict in self.verdicts)


def run(scenario: Scenario, *, progress: Progress | None = None, recording: Path | None = None) -> Result:
    """Run a scenario, recording it where told. Raises SiteError when what it names cannot be used."""
    return play(prepare(scenario), progress=progress, recording=recording)


def play(
    story: Story,
    *,
    progress: Progress | None = None,
    recording: Path | None = None,
    onlooker: Onlooker | None = None,
) -> Result:
    """Run a prepared story."""
    began = time.perf_counter()
    world = World(
        story.site,
        story.topology,
        story.conditions,
        story.sessions,
        story.seed,
        story.start_utc,
        story.loads,
        story.length_ms,
    )
    plant = SimulatedPlant(world, instant=story.mode == "minute", told=story.told)
    tally = Tally(story, world, plant.seen.connectors)
    strain = Strain(world) if _strains(story) else None
    watch = _one_after_the_other(tally.interval, strain.interval) if strain else tally.interval
    if onlooker:
        onlooker.begin(world)
        watch = _one_after_the_other(watch, onlooker.instant)
    world.watch = watch
    watches = [_Watch(during, story) for during in story.during]
    memory = first_memory(story.topology, proven=story.conditions.proven)
    with _recorder(story, memory, recording) as recorder:
        cycles = _loop(story, plant, memory, recorder, watches, onlooker, progress)
    sessions = served(story, world)
    wall_s = time.perf_counter() - began
    figures = judge(story, world, tally, sessions, int(plant.writes.sum()), cycles, wall_s)
    return Result(
        story=story,
        figures=figures,
        grids=_peaks(story, world, tally),
        sessions=sessions,
        verdicts=(
            *_verdicts(story, figures, strain.worst() if strain else None),
            *(watch.verdict() for watch in watches),
        ),
        delays=tally.delays,
        load_a=tally.load_as / BUCKET_S,
        strain=strain.found() if strain else (),
    )


def _recorder(story: Story, memory: Memory, path: Path | None) -> AbstractContextManager[Journal | None]:
    """What writes the recording, if one is wanted."""
    if path is None:
        return nullcontext()
    # Imported here: Arrow costs more than many a run.
    from scenarios.recording import Recorder

    about: dict[str, Any] = {"name": story.name, "seed": story.seed, "mode": story.mode}
    about["start_utc"] = story.start_utc.isoformat()
    return Recorder(path, story.site, story.topology, memory, about)


def _one_after_the_other(
    first: Callable[[int], None], second: Callable[[int], None]
) -> Callable[[int], None]:
    def both(span_ms: int) -> None:
        first(span_ms)
        second(span_ms)

    return both


def _loop(
    story: Story,
    plant: SimulatedPlant,
    memory: Memory,
    recorder: Journal | None,
    watches: list[_Watch],
    onlooker: Onlooker | None,
    progress: Progress | None,
) -> int:
    """Cycle until the story is over; returns how many cycles that took."""
    pace = Pace(plant, story.cycle_ms, story.length_ms)
    told, cycles = 0.0, 0
    beside = Beside(story, plant.world)
    while True:
        seen = plant.measure()
        image = beside.enter(seen, memory)
        decision, memory = calculate(story.topology, image, memory)
        beside.note(image, decision)
        if recorder:
            recorder.append(image, decision, memory)
        plant.distribute(decision)
        cycles += 1
        if onlooker:
            onlooker.cycle(image, decision)
        for watch in watches:
            watch.look(plant.world, decision)
        share = plant.world.now_ms / story.length_ms
        if progress and share - told >= 0.005:
            progress(share)
            told = share
        if not pace.next_cycle(seen, decision):
            break
    if progress:
        progress(1.0)
    return cycles


class _Watch:
    """Looks at one quantity in every cycle of its span."""

    def __init__(self, during: During, story: Story) -> None:
        self._during = during
        self._from_ms, self._until_ms = round(during.from_s * 1000), round(during.until_s * 1000)
        built = story.topology
        names = built.grid_names if during.grid else built.connector_names
        if during.battery:
            names = built.battery_names
        self._row = names.index(during.grid or during.connector or during.battery or "")
        self._least, self._most = float("inf"), float("-inf")

    def look(self, world: World, decision: Decision) -> None:
        """Take this cycle's values into account."""
        if not self._from_ms <= world.now_ms <= self._until_ms:
            return
        values = np.atleast_1d(self._values(world, decision)) / 1000.0
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))

    def _values(self, world: World, decision: Decision) -> Any:
        during, row = self._during, self._row
        if during.grid:
            tables = {"current_a": world.boards["current_ma"], "cars_a": world.boards["cars_ma"]}
            booked = {"committed_a": "committed_ma", "target_a": "targets_ma"}
            if during.quantity in booked:
                return decision.grids[booked[during.quantity]][row]
            return tables[during.quantity][row]
        if during.battery and during.quantity == "flow_a":
            return world.cells["flow_ma"][row]
        if during.battery:
            return decision.batteries["target_ma"][row]
        if during.quantity == "draw_a":
            draws = world.outlets["draw_ma"][row]
            return draws[np.abs(draws).argmax()]
        return decision.connectors[during.quantity.replace("_a", "_ma")][row]

    def verdict(self) -> Verdict:
        """What the span showed."""
        during = self._during
        place = during.grid or during.connector or during.battery
        expected = (
            f"{place} {during.quantity} {during.words()} from {during.from_s:g} s to {during.until_s:g} s"
        )
        if self._most < self._least:
            return Verdict(expected, "no cycle in this span", holds=False)
        holds = during.holds(self._least) and during.holds(self._most)
        return Verdict(expected, f"{self._least:g} to {self._most:g}", holds)


def _strains(story: Story) -> bool:
    """Whether anybody wants to know what wires and fuses bear."""
    conditions = story.conditions
    asked = not set(Strained.names()).isdisjoint(story.expect)
    return asked or bool(conditions.cable) or conditions.transformer is not None


def _verdicts(story: Story, figures: Figures, strained: Strained | None) -> list[Verdict]:
    found = []
    for name, bound in story.expect.items():
        value = float(getattr(strained if name in Strained.names() else figures, name))
        if story.mode == "minute" and name.endswith(("_as", "over_s")):
            found.append(Verdict(f"{name} {bound.words()}", "not measured in minute mode", holds=None))
            continue
        found.append(Verdict(f"{name} {bound.words()}", f"{value:g}", bound.holds(value)))
    return found


def _peaks(story: Story, world: World, tally: Tally) -> tuple[GridPeak, ...]:
    found = []
    for g, name in enumerate(story.topology.grid_names):
        row, limit = tally.rows[g], world.built.grids[g]["limit_ma"] / 1000.0
        peak = row["peak_ma"] / 1000.0
        found.append(
            GridPeak(
                grid=name,
                limit_a=(float(limit[0]), float(limit[1]), float(limit[2])),
                peak_a=(float(peak[0]), float(peak[1]), float(peak[2])),
                over_as=float(row["over_as"].sum()),
                own_as=float(row["own_as"].sum()),
                lie_as=float(row["lie_as"].sum()),
                heat=float(row["heat"].max()),
            )
        )
    return tuple(found)
