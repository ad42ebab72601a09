"""`edge-twin size`: what to install, found by living through every design with the production controller.

A study names the connections, the numbers of chargepoints, who comes and what the building takes. Every
design is run over all seeds in minute mode; the one that is enough is looked at again, second by second, on
its worst day, because minutes say nothing about fuses. What comes out is `Findings`, which size_page prints.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from rich.console import Console

from controller.sentences import sentences
from controller.site import Site, SiteError, build
from controller.topology import compile_site
from hardware.sitefile import read_text
from scenarios.drawing import PhaseDay
from scenarios.figures import possible_wh
from scenarios.onlookers import Bins, Both, Waits
from scenarios.optimum import bounds
from scenarios.parallel import cores, finished, progress_bar
from scenarios.run import play
from scenarios.scenario import Generated, Mode, Story
from scenarios.size_page import Design, Findings, Outcome, WorstDay, choice, page
from twin.conditions import Conditions
from twin.sessions import Session
from twin.sources import Load, Series

STEPS_A = (25, 35, 40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 630, 909)
"""Steps that grid operators sell, A per phase; 909 A is 630 kVA."""
UNLIMITED_A = 4_000
"""A connection on which nobody is ever held back: what the same cars draw without control."""


ROTATIONS = ("L1 L2 L3", "L2 L3 L1", "L3 L1 L2")
DAY_MS = 86_400_000
QUARTERS = 96
DAY_BIN_MS = 300_000


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _fuse(value: object) -> object:
    """Amperes of a connection written like 3x80 or 3 x 80 A."""
    match = re.fullmatch(r"3\s*[x×]\s*(\d+)(\s*A)?", value) if isinstance(value, str) else None
    if match is None or int(match[1]) not in STEPS_A:
        known = ", ".join(f"3x{step}" for step in STEPS_A)
        raise ValueError(f"there is no such connection step; the steps are {known}")
    return int(match[1])


def _no_twice(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a value occurs twice; name every one once")
    return tuple(sorted(values))


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError):
        raise ValueError("there is no such time zone; write it like Europe/Amsterdam") from None
    return name


def _some(parts: tuple[float, float, float]) -> tuple[float, float, float]:
    if not sum(parts):
        raise ValueError("give three parts, not all 0, like [1, 1, 1]")
    return parts


Part = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=500)]
Several = AfterValidator(_no_twice)


class StudyChargepoint(_Table):
    """One chargepoint as it would be bought many times; they hang on L1, L2, L3 in turn."""

    max_current_a: Annotated[float, Field(ge=6, le=80)] = 16.0
    phases: Annotated[int, Field(ge=1, le=3)] = 3
    rotation_confirmed: bool = True


class Building(Series):
    """The load beside the cars: a column of a CSV."""

    split: Annotated[tuple[Part, Part, Part], AfterValidator(_some)] = (1.0, 1.0, 1.0)
    """Parts on L1, L2, L3."""


class Study(_Table):
    """A study file."""

    name: str = Field(min_length=1)
    timezone: Annotated[str, AfterValidator(_zone)] = "Europe/Amsterdam"
    start: date
    days: Annotated[int, Field(ge=1, le=366)] = 5
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Several] = Field(min_length=1)
    wanted_served_percent: Annotated[float, Field(gt=0, le=100)] = 95.0
    connections: Annotated[tuple[Annotated[int, BeforeValidator(_fuse)], ...], Several] = Field(min_length=1)
    chargepoints: Annotated[tuple[Count, ...], Several] = Field(min_length=1)
    chargepoint: StudyChargepoint = StudyChargepoint()
    sessions: Generated
    building: Building | None = None


def read(path: Path) -> Study:
    """Read a study file. Raises SiteError with one sentence per fault."""
    try:
        tables = tomllib.loads(read_text(path))
        return Study.model_validate(tables)
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    except ValidationError as error:
        raise SiteError(sentences(str(path), error, Study)) from None


class Work(NamedTuple):
    """One design to live through with one seed; `folder` is where the study's files are."""

    study: Study
    folder: Path
    design: Design
    seed: int


def works(study: Study, folder: Path) -> list[Work]:
    """Everything that a study asks for, and every fleet once without any limit."""
    fuses = [*study.connections, UNLIMITED_A]
    return [
        Work(study, folder, Design(fuse, count), seed)
        for fuse in fuses
        for count in study.chargepoints
        for seed in study.seeds
    ]


def live(work: Work) -> Outcome:
    """Live through one design in minute mode."""
    design = work.design
    story = draw_story(work, "minute")
    bins, waits = Bins(story.length_ms, 900_000), Waits()
    result = play(story, onlooker=Both(bins, waits))
    came = {session.key for session in result.sessions}
    away = [session for session in story.sessions if session.key not in came]
    missed_wh = [
        possible_wh(story, replace(session, connector=0), min(session.plug_out_ms, story.length_ms))
        for session in away
    ]
    counted = [session for session in result.sessions if session.possible_wh >= 1]
    return Outcome(
        design=design,
        seed=work.seed,
        cars=len(counted) + len(away),
        turned_away=len(away),
        fully_charged=sum(session.delivered_wh >= session.possible_wh - 100 for session in counted),
        asked_wh=sum(session.possible_wh for session in counted) + sum(missed_wh),
        served_wh=sum(session.delivered_wh for session in counted),
        bound_wh=1000 * bounds(result).limit_kwh if design.fuse_a != UNLIMITED_A else 0.0,
        shares=tuple(session.share for session in counted) + (0.0,) * len(away),
        waits_s=waits.seconds(),
        quarter_a=tuple(float(amps) for amps in bins.mean_a().max(axis=1)),
        peak_a=max(result.grids[0].peak_a),
    )


def draw_story(work: Work, mode: Mode) -> Story:
    """The whole span of the study with one design and one seed."""
    study = work.study
    site = draw_site(study, work.design)
    topology = compile_site(site)
    return Story(
        name=f"{study.name}, {work.design.connection}, {work.design.chargepoints} chargepoints",
        site=site,
        topology=topology,
        conditions=Conditions(),
        sessions=_who_comes(study, work.folder, work.seed, work.design.chargepoints),
        loads=_loads(study, work.folder),
        start_utc=_midnight_utc(study, 0),
        length_ms=study.days * DAY_MS,
        seed=work.seed,
        mode=mode,
    )


def draw_site(study: Study, design: Design) -> Site:
    """One board behind one guard meter, its chargepoints on L1, L2, L3 in turn."""
    point = study.chargepoint
    connector = {
        "number": 1,
        "max_current_a": point.max_current_a,
        "phases": point.phases,
        "rotation_confirmed_by": "the study" if point.rotation_confirmed else "",
    }
    chargepoints = {
        f"bay_{number + 1:03d}": {
            "identity": f"STUDY-{number + 1:03d}",
            "fed_by": "main",
            "lease_s": 300,
            "connector": [connector | {"rotation": ROTATIONS[number % 3]}],
        }
        for number in range(design.chargepoints)
    }
    tables = {
        "name": study.name,
        "timezone": study.timezone,
        "grid": {"main": {"id": 0, "max_current_a": design.fuse_a}},
        "meter": {"main": {"grid": "main", "role": "guard", "on_failure": "panic"}},
        "chargepoint": chargepoints,
    }
    return build(tables, study.name)


def _midnight_utc(study: Study, day: int) -> datetime:
    local = datetime.combine(study.start + timedelta(days=day), datetime.min.time(), ZoneInfo(study.timezone))
    return local.astimezone(UTC)


@lru_cache(maxsize=8)
def _who_comes(study: Study, folder: Path, seed: int, connectors: int) -> tuple[Session, ...]:
    """Everybody who comes; whether there is a place is seen in the world."""
    # Mesa costs more than a second: only those who want drivers pay it.
    from twin.drivers import come

    point = study.chargepoint
    strengths = [round(point.max_current_a * 1000) * point.phases] * connectors
    crowd = study.sessions.crowd(folder, strengths)
    length_ms = study.days * DAY_MS
    return come(crowd, _midnight_utc(study, 0), length_ms, ZoneInfo(study.timezone), seed)


def _loads(study: Study, folder: Path) -> tuple[Load, ...]:
    building = study.building
    if building is None:
        return ()
    first, second, third = (part / sum(building.split) for part in building.split)
    zone = ZoneInfo(study.timezone)
    peak_w, profile = building.read(folder, zone)
    return (Load("main", peak_w, profile, (first, second, third), zone),)


def look_closely(work: Work, day: int) -> WorstDay:
    """One day of a run again in true mode, with what minute mode said of it beside it."""
    study = work.study
    first_ms = day * DAY_MS
    sessions = tuple(
        replace(
            session,
            plug_in_ms=max(0, session.plug_in_ms - first_ms),
            plug_out_ms=session.plug_out_ms - first_ms,
        )
        for session in draw_story(work, "true").sessions
        if session.plug_out_ms > first_ms and session.plug_in_ms < first_ms + DAY_MS
    )
    story = replace(
        draw_story(work, "true"), sessions=sessions, start_utc=_midnight_utc(study, day), length_ms=DAY_MS
    )
    bins = Bins(DAY_MS, DAY_BIN_MS)
    result = play(story, onlooker=bins)
    minutes = play(replace(story, mode="minute"))
    figures = result.figures
    building, cars = bins.building_a(), bins.cars_a()
    phases = [
        PhaseDay(
            building[:, p].round(2).tolist(),
            cars[:, p].round(2).tolist(),
            bins.peak_a[:, p].round(2).tolist(),
            float(work.design.fuse_a),
        )
        for p in range(3)
    ]
    return WorstDay(
        date=f"{study.start + timedelta(days=day):%A %-d %B %Y}",
        seed=work.seed,
        first_hour=0.0,
        bin_h=DAY_BIN_MS / 3_600_000,
        phases=(phases[0], phases[1], phases[2]),
        own_as=figures.own_as,
        disturbance_as=figures.disturbance_as,
        lie_as=figures.lie_as,
        longest_over_s=figures.longest_over_s,
        most_over_a=max(0.0, max(result.grids[0].peak_a) - work.design.fuse_a),
        trips=figures.fuse_trips,
        minute_wh=minutes.figures.delivered_kwh * 1000,
        true_wh=figures.delivered_kwh * 1000,
    )


def worst_day(outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """Seed and day of the highest quarter hour."""
    quarter = {
        (outcome.seed, index // QUARTERS): amps
        for outcome in outcomes
        for index, amps in sorted(enumerate(outcome.quarter_a), key=lambda pair: pair[1])
    }
    return max(quarter, key=lambda place: quarter[place])


def find(study: Study, folder: Path, outcomes: list[Outcome], command: str, text: str) -> Findings:
    """The findings of a finished sweep, the worst day of the recommended design looked at closely."""
    limited = tuple(sorted(outcome for outcome in outcomes if outcome.design.fuse_a != UNLIMITED_A))
    unlimited = [outcome for outcome in outcomes if outcome.design.fuse_a == UNLIMITED_A]
    findings = Findings(
        name=study.name,
        wanted_percent=study.wanted_served_percent,
        span=f"{study.days} days" if study.days > 1 else "1 day",
        outcomes=limited,
        uncontrolled_a=tuple(
            (count, max(outcome.peak_a for outcome in unlimited if outcome.design.chargepoints == count))
            for count in study.chargepoints
        ),
        worst_day=None,
        assumptions=_assumptions(study),
        version=f"edge-twin {version('edge-twin')}",
        command=command,
        study_text=text,
    )
    chosen = choice(findings)
    seed, day = worst_day(outcome for outcome in limited if outcome.design == chosen)
    return findings._replace(worst_day=look_closely(Work(study, folder, chosen, seed), day))


def _assumptions(study: Study) -> tuple[tuple[str, str], ...]:
    point, building = study.chargepoint, study.building
    who = study.sessions
    whose = {"workplace": "at work", "public": "in public", "private": "at home"}[who.population]
    habits = f"as measured {whose} (ElaadNL)"
    if who.habits:
        habits = f"by habit, {', '.join(f'{name} {part:g}' for name, part in who.habits.items())}"
    patience = "as long as its habit says" if who.patience_s is None else f"{who.patience_s / 60:g} min"
    load = "None beside the cars."
    if building is not None:
        load = f"Column {building.column} of {building.file.name}, in {building.unit}."
        if building.peak_kw is not None:
            load = f"Column {building.column} of {building.file.name}, in {building.unit}."
        if building.peak_kw is not None:
            load = f"Peak {building.peak_kw:g} kW, shape of column {building.column} in {building.file.name}."
    return (
        (
            "What drivers ask for",
            "All that their car could take from plug-in to departure if nothing held it back.",
        ),
        (
            "Drivers",
            f"{who.drivers}; who comes, when and for how much {habits}.",
        ),
        ("No free chargepoint", f"A driver waits {patience} and then leaves."),
        (
            "Cars",
            "Phases and currents as registered in the Netherlands: half 3 x 16 A, two fifths 1 x 16 A."
            if who.fleet is None
            else f"The models of {who.fleet.name}.",
        ),
        (
            "Chargepoints",
            f"{point.phases} x {point.max_current_a:g} A, on L1, L2, L3 in turn, rotation "
            + ("confirmed." if point.rotation_confirmed else "not confirmed."),
        ),
        ("Building", load),
        ("Margin", "The controller keeps 3 % of the fuse, at least 2 A, free."),
        ("Days", f"From {study.start:%A %-d %B %Y}, {study.timezone}."),
        (
            "Sweep",
            "Minute mode: the production controller decides every minute. The worst day: every second.",
        ),
    )


def main(path: Path, output: Path, jobs: int | None) -> int:
    """Read the study, live through it on all cores, write the page. Returns the exit code."""
    study = read(path)
    _loads(study, path.parent)
    todo = works(study, path.parent)
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    try:
        with progress_bar(console) as bar:
            task = bar.add_task("designs", total=len(todo) + 1)
            for _, outcome in finished(live, todo, jobs or cores(), preload=["scenarios.size"]):
                outcomes.append(outcome)
                bar.advance(task)
            bar.update(task, description="worst day, second by second")
            command = f"edge-twin size {path} -o {output}"
            findings = find(study, path.parent, outcomes, command, read_text(path))
            bar.advance(task)
    except KeyboardInterrupt:
        console.print(f"Stopped after {len(outcomes)} of {len(todo)} runs; no report was written.")
        return 130
    output.write_text(page(findings), "utf-8")
    chosen = choice(findings)
    served = [outcome.served_percent for outcome in outcomes if outcome.design == chosen]
    console.print(
        f"{chosen.connection} with {chosen.chargepoints} chargepoints serves {min(served):.1f} to"
        f" {max(served):.1f} % of what drivers ask for. Report: {output}",
        highlight=False,
        soft_wrap=True,
    )
    return 0
