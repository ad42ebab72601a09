"""`edge-twin regress`: generated stories on all cores, every rule judged on the twin's truth.

A seed that breaks a rule is printed with the command that plays it again; every tenth seed is played twice
and must give the same figures to the last bit.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from hashlib import sha256

from rich.console import Console
from rich.table import Table

from scenarios.generate import draw_story
from scenarios.judge import Judge
from scenarios.parallel import cores, finished, progress_bar
from scenarios.run import Result, play
from scenarios.scenario import Story

TWICE_EVERY = 10
OWN_AS = 0.5  # less is the rounding of readings: a tenth of an ampere for a cycle


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed; `broken` has one sentence per fault, `rules` counts them."""

    seed: int
    broken: tuple[str, ...]
    rules: tuple[tuple[str, int], ...]
    connectors: int = 0
    levels: int = 0
    kinds: tuple[str, ...] = ()
    cycles: int = 0
    served_percent: float = 100.0
    over_as: float = 0.0
    lie_as: float = 0.0
    wall_s: float = 0.0


def replay_command(seed: int) -> str:
    """What to type to see it again."""
    return f"edge-twin regress --only-seed {seed}"


def judge_seed(seed: int, draw: Callable[[int], Story] = draw_story) -> Outcome:
    """Play one seed and judge it. A crash is a broken rule like any other."""
    try:
        story = draw(seed)
        judge, result = _watched(story)
    except Exception:  # noqa: BLE001 - a crash is a finding, and the other seeds go on
        return Outcome(seed, (f"crash: {traceback.format_exc().strip()}",), (("crash", 1),))
    broken, rules = list(judge.broken), judge.counts
    figures = result.figures
    if figures.own_as > OWN_AS:
        rules["own-caused overshoot"] += 1
        broken.append(f"own-caused overshoot: {_own_words(result)}")
    if seed % TWICE_EVERY == 0 and _mark(result) != _mark(_watched(draw(seed))[1]):
        rules["not the same twice"] += 1
        broken.append("not the same twice: two runs of this seed gave different figures")
    return Outcome(
        seed=seed,
        broken=tuple(broken),
        rules=tuple(sorted(rules.items())),
        connectors=len(story.topology.connectors),
        levels=int(story.topology.connectors["depth"].max()),
        kinds=_kinds(story),
        cycles=figures.cycles,
        served_percent=figures.served_of_possible_percent,
        over_as=figures.over_as,
        lie_as=figures.lie_as,
        wall_s=figures.wall_s,
    )


def _watched(story: Story) -> tuple[Judge, Result]:
    judge = Judge()
    return judge, play(story, onlooker=judge)


def _own_words(result: Result) -> str:
    worst = max(result.grids, key=lambda grid: grid.own_as)
    return (
        f"{result.figures.own_as:.2f} A s, most of it in {worst.grid} (limit"
        f" {'/'.join(f'{amps:g}' for amps in worst.limit_a)} A,"
        f" peak {'/'.join(f'{amps:.1f}' for amps in worst.peak_a)} A)"
    )


def _mark(result: Result) -> str:
    """Everything that a run has measured but its wall time, as one number."""
    figures = astuple(result.figures)[:-1]
    return sha256(repr((figures, result.grids, result.sessions)).encode()).hexdigest()


def _kinds(story: Story) -> tuple[str, ...]:
    conditions = story.conditions
    kinds: set[str] = {fault.kind for fault in conditions.faults}
    kinds |= {"message_loss"} if conditions.links.loss else set()
    kinds |= {"unreported_pauses"} if conditions.pauses and not conditions.pauses.reported else set()
    kinds |= {"unproven_start"} if not conditions.proven else set()
    kinds |= {"wrong_drawing"} if conditions.wiring else set()
    return tuple(sorted(kinds))


def main(count: int, first_seed: int, jobs: int | None, judge: Callable[[int], Outcome] = judge_seed) -> int:
    """Judge `count` seeds; prints failures as they come and a summary. Returns the exit code."""
    console = Console(stderr=True)
    out = Console()
    began = time.monotonic()
    outcomes: list[Outcome] = []
    seeds = range(first_seed, first_seed + count)
    code = 0
    try:
        with progress_bar(console) as progress:
            task = progress.add_task("seeds", total=count)
            for _, outcome in finished(judge, seeds, jobs or cores(), preload=["scenarios.regress"]):
                outcomes.append(outcome)
                if outcome.broken:
                    _print_failure(out, outcome)
                failures = sum(bool(outcome.broken) for outcome in outcomes)
                progress.update(task, advance=1, description=f"seeds, {failures} failed")
    except KeyboardInterrupt:
        out.print(f"Stopped after {len(outcomes)} of {count} seeds.")
        code = 130
    _print_summary(out, outcomes, time.monotonic() - began)
    return code or int(any(outcome.broken for outcome in outcomes))


def explain(seed: int) -> int:
    """Play one seed alone and print what it is, every figure, and what it broke."""
    from scenarios.report import table

    out = Console()
    story = draw_story(seed)
    _, result = _watched(story)
    topology, links = story.topology, story.conditions.links
    out.print(
        f"Seed {seed}: {len(topology.grids)} grids, {len(topology.connectors)} connectors,"
        f" {len(story.sessions)} sessions, {story.length_ms / 60_000:g} min,"
        f" latency {links.latency_s:g} s, loss {100 * links.loss:g} %, {', '.join(_kinds(story))}"
    )
    for fault in story.conditions.faults:
        if fault.kind != "load_step":
            out.print(f"  {fault!r}", highlight=False)
    out.print(table(result))
    outcome = judge_seed(seed)
    if outcome.broken:
        _print_failure(out, outcome)
    else:
        out.print("Every rule was kept.")
    return int(bool(outcome.broken))


def _print_failure(out: Console, outcome: Outcome) -> None:
    out.print(f"Seed {outcome.seed} failed. See it again: {replay_command(outcome.seed)}", style="bold")
    for words in outcome.broken:
        out.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)
    more = sum(times for _, times in outcome.rules) - len(outcome.broken)
    if more > 0:
        out.print(f"  and {more} more of the same")


def _print_summary(out: Console, outcomes: list[Outcome], seconds: float) -> None:
    if not outcomes:
        return
    failed = [outcome for outcome in outcomes if outcome.broken]
    rules = Counter(rule for outcome in failed for rule, _ in outcome.rules)
    out.print(_histogram("connectors", (10 * ((o.connectors - 1) // 10) + 1 for o in outcomes), "{0}-{1}", 9))
    out.print(_histogram("levels of boards", (o.levels for o in outcomes), "{0}", 1))
    out.print(_counted("stories with", Counter(kind for o in outcomes for kind in o.kinds)))
    over = sum(outcome.over_as for outcome in outcomes)
    lies = sum(outcome.lie_as for outcome in outcomes)
    cycles = sum(outcome.cycles for outcome in outcomes)
    served = sum(outcome.served_percent for outcome in outcomes) / len(outcomes)
    out.print(
        f"{len(outcomes)} seeds, {cycles:,} cycles in {seconds:.0f} s; {served:.1f} % of the possible"
        f" energy served; over a limit {over:,.0f} A s, {lies:,.0f} of them by lying boxes.",
        highlight=False,
        soft_wrap=True,
    )
    if failed:
        out.print(_counted("seeds that broke", rules))
        out.print(f"[bold]{len(failed)} of {len(outcomes)} seeds failed.[/bold]", highlight=False)
    else:
        out.print("Every rule was kept.")


def _histogram(title: str, values: Iterable[int], label: str, width: int) -> Table:
    counts = Counter(values)
    named = Counter({label.format(value, value + width): counts[value] for value in sorted(counts)})
    return _counted(title, named, ordered=False)


def _counted(title: str, counts: Counter[str], *, ordered: bool = True) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1))
    most = max(counts.values(), default=1)
    for name, number in counts.most_common() if ordered else counts.items():
        table.add_row(name, f"{number}", "█" * max(1, round(30 * number / most)))
    return table
