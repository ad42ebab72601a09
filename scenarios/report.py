"""The figures of a run as a table for people."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from scenarios.run import Result

NOT_MEASURED = "not measured in minute mode"


def table(result: Result) -> Group:
    """Figures, grids and verdicts of a run, to be printed with rich."""
    parts: list[Table] = [_figures(result), _grids(result)]
    if result.strain:
        parts.append(_strain(result))
    if result.verdicts:
        parts.append(_verdicts(result))
    return Group(*parts)


def rows(result: Result) -> list[tuple[str, str]]:
    """Name and value of every figure, with its unit."""
    figures = result.figures
    truth = result.story.mode == "true"

    def over(amp_seconds: float) -> str:
        return f"{amp_seconds:,.1f} A s" if truth else NOT_MEASURED

    return [
        ("sessions", f"{figures.sessions}"),
        (
            "energy served",
            (
                f"{figures.delivered_kwh:,.1f} kWh of {figures.possible_kwh:,.1f} possible"
                f" and {figures.asked_kwh:,.1f} asked"
            ),
        ),
        ("  of what the cars could have taken", f"{figures.served_of_possible_percent:.1f} %"),
        ("  of what was asked", f"{figures.served_of_asked_percent:.1f} %"),
        ("sessions fully served", f"{figures.fully_served_percent:.1f} %"),
        (
            "share of a session: worst, 10th percentile",
            f"{figures.worst_share_percent:.1f} %, {figures.p10_share_percent:.1f} %",
        ),
        ("Jain index of the shares", f"{figures.jain_index:.3f}"),
        ("over a limit", over(figures.over_as)),
        ("  own-caused", over(figures.own_as)),
        ("  lie-caused", over(figures.lie_as)),
        ("  disturbance-caused", over(figures.disturbance_as)),
        ("longest time over", f"{figures.longest_over_s:.1f} s" if truth else NOT_MEASURED),
        ("fuses tripped", f"{figures.fuse_trips}"),
        ("limits written", f"{figures.writes_per_connector_day:.1f} per connector and day"),
        ("cycles", f"{figures.cycles:,}"),
        ("wall time", f"{figures.wall_s:.2f} s"),
        (
            "true delays",
            f"T_R {result.delays.reaction_ms / 1000:g} s, T_B {result.delays.blind_ms / 1000:g} s",
        ),
    ]


def _figures(result: Result) -> Table:
    story = result.story
    days = story.length_ms / 86_400_000
    title = f"{story.name}: {days:g} days, {story.mode} mode, seed {story.seed}"
    grid = Table(title=title, title_justify="left", show_header=False)
    grid.add_column("figure")
    grid.add_column("value")
    for name, value in rows(result):
        grid.add_row(name, value)
    return grid


def _grids(result: Result) -> Table:
    grid = Table(title="Highest current against the limit, A", title_justify="left")
    for name in ("grid", "L1", "L2", "L3", "over A s", "own A s", "lie A s", "fuse heat"):
        grid.add_column(name, justify="left" if name == "grid" else "right")
    truth = result.story.mode == "true"
    for peak in result.grids:
        phases = [f"{most:.1f} / {limit:g}" for most, limit in zip(peak.peak_a, peak.limit_a, strict=True)]
        sums = [f"{value:,.1f}" if truth else "-" for value in (peak.over_as, peak.own_as, peak.lie_as)]
        grid.add_row(peak.grid, *phases, *sums, f"{peak.heat:.2f}")
    return grid


def _strain(result: Result) -> Table:
    grid = Table(title="Wires: the worst of each, and what they lost", title_justify="left")
    for name in ("grid", "neutral A", "lowest V", "highest kVA", "lost kWh"):
        grid.add_column(name, justify="left" if name == "grid" else "right")
    for row in result.strain:
        values = (row.neutral_a, row.lowest_v, row.apparent_kva, row.loss_kwh)
        grid.add_row(row.grid, *(f"{value:,.1f}" for value in values))
    return grid


def _verdicts(result: Result) -> Table:
    grid = Table(title="Expected", title_justify="left")
    for name in ("expectation", "found", "verdict"):
        grid.add_column(name)
    for verdict in result.verdicts:
        word = {True: "holds", False: "[red]BROKEN[/red]", None: "open"}[verdict.holds]
        grid.add_row(verdict.expected, verdict.found, word)
    return grid
