"""The customer's report of a sizing study: one HTML file without a script or a request, ready to print.

First what an owner asks (answer, curve, what drivers notice), then what an engineer checks (worst day per
phase, load duration, assumptions, what is not modelled, seeds, version, the command that reproduces it).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from scenarios import drawing
from scenarios.drawing import THIN, Curve, PhaseDay, Point


class Design(NamedTuple):
    """What one could install: fuse per phase in A, and how many chargepoints."""

    fuse_a: int
    chargepoints: int

    @property
    def connection(self) -> str:
        """The connection as the grid operator writes it."""
        return f"3{THIN}×{THIN}{self.fuse_a}{THIN}A"

    @property
    def power_kw(self) -> float:
        """Three phases at 230 V."""
        return self.fuse_a * 3 * 230 / 1000


class Outcome(NamedTuple):
    """One design lived through with one seed."""

    design: Design
    seed: int
    cars: int  # that came, those without a free chargepoint included
    turned_away: int
    fully_charged: int
    asked_wh: float
    served_wh: float
    bound_wh: float  # most that perfect foresight could have served
    shares: tuple[float, ...]  # of each car: served over asked, 0 for those turned away
    waits_s: tuple[float, ...]  # from plug-in to the first current
    quarter_a: tuple[float, ...]  # heaviest phase, means of quarter hours
    peak_a: float  # highest current on any phase

    @property
    def served_percent(self) -> float:
        """Energy served of what was asked."""
        return 100 * self.served_wh / self.asked_wh if self.asked_wh else 100.0


class WorstDay(NamedTuple):
    """The day on which the recommended design came closest to its fuse, again in true mode."""

    date: str
    seed: int
    first_hour: float
    bin_h: float
    phases: tuple[PhaseDay, PhaseDay, PhaseDay]
    own_as: float
    disturbance_as: float
    lie_as: float
    longest_over_s: float
    most_over_a: float
    trips: int
    minute_wh: float
    true_wh: float


class Findings(NamedTuple):
    """Everything a report says."""

    name: str
    wanted_percent: float
    span: str
    outcomes: tuple[Outcome, ...]
    uncontrolled_a: tuple[tuple[int, float], ...]  # per number of chargepoints: peak that needs no control, A
    worst_day: WorstDay | None
    assumptions: tuple[tuple[str, str], ...]
    version: str
    command: str
    study_text: str


def group(findings: Findings) -> dict[Design, list[Outcome]]:
    """The outcomes of every design, smallest connection first."""
    designs = sorted({outcome.design for outcome in findings.outcomes})
    return {design: [o for o in findings.outcomes if o.design == design] for design in designs}


def choice(findings: Findings) -> Design:
    """The smallest connection, then the fewest chargepoints, that serves what is wanted with every seed.

    When none does: the design that serves most with its worst seed.
    """
    worst = {d: min(o.served_percent for o in runs) for d, runs in group(findings).items()}
    enough = [design for design, percent in worst.items() if percent >= findings.wanted_percent]
    return min(enough) if enough else max(worst, key=lambda design: (worst[design], -design.fuse_a))


_BANNER = "Simulated with the production controller. Nothing here was measured at this site."


def page(findings: Findings) -> str:
    """The report as HTML."""
    style = Path(__file__).with_name("page.css").read_text("utf-8")
    chosen = choice(findings)
    body = [
        f'<div class="twin" role="note">{_BANNER}</div><main>',
        f'<p class="eyebrow">{_text(findings.name)} · what do we need to install?</p>',
        f"<h1>{_answer(findings, chosen)}</h1>",
        f'<p class="lead">{_reasons(findings, chosen)}</p>',
        _curve(findings, chosen),
        _drivers(findings, chosen),
        _table(findings, chosen),
        '<div class="engineer"><p class="eyebrow">For the engineer</p>',
        _worst(findings, chosen),
        _duration(findings, chosen),
        _assumptions(findings),
        _not_modelled(),
        _origin(findings),
        "</div></main>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(findings.name)}: sizing</title><style>{style}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _text(words: str) -> str:
    return escape(words, quote=False)


def _percent(value: float) -> str:
    """One decimal where it tells something, never "100 %" for a little less."""
    if value >= 99.95:
        return f"100{THIN}%"
    return f"{min(value, 99.9):.1f}{THIN}%"


def _range(values: Iterable[float]) -> tuple[float, float, float]:
    known = list(values)
    return mean(known), min(known), max(known)


def _served(runs: Sequence[Outcome]) -> Point:
    return Point(*_range(run.served_percent for run in runs))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _answer(findings: Findings, chosen: Design) -> str:
    served = _served(group(findings)[chosen])
    what = f"a {chosen.connection} connection with {_plural(chosen.chargepoints, 'chargepoint')}"
    wanted = f"{findings.wanted_percent:g}{THIN}%"
    if served.low >= findings.wanted_percent:
        share = _percent(served.middle)
        return f"{what[0].upper()}{what[1:]} serves {share} of the energy that drivers ask for."
    return (
        f"None of these designs serves {wanted} of the energy that drivers ask for; {what} comes closest"
        f" with {_percent(served.middle)}."
    )


def _reasons(findings: Findings, chosen: Design) -> str:
    designs = group(findings)
    served = _served(designs[chosen])
    runs = len(designs[chosen])
    between = (
        f"Over {_plural(runs, 'simulated run')} of {findings.span} it was between {_percent(served.low)} and"
        f" {_percent(served.high)}; wanted is at least {findings.wanted_percent:g}{THIN}% in every run."
    )
    words = [between]
    smaller = [d for d in designs if d.chargepoints == chosen.chargepoints and d.fuse_a < chosen.fuse_a]
    if smaller:
        below = max(smaller)
        words.append(
            f"One step smaller, {below.connection}, would serve {_percent(_served(designs[below]).middle)}."
        )
    peak = dict(findings.uncontrolled_a).get(chosen.chargepoints)
    if peak is not None and peak > chosen.fuse_a:
        words.append(
            f"Without control the same cars and building would draw up to {peak:.0f}{THIN}A on one phase:"
            f" the controller saves {peak - chosen.fuse_a:.0f}{THIN}A of connection."
        )
    return _text(" ".join(words))


def _curve(findings: Findings, chosen: Design) -> str:
    designs = group(findings)
    fuses = sorted({design.fuse_a for design in designs})
    steps = [(Design(f, 0).connection, f"{Design(f, 0).power_kw:.0f}{THIN}kW") for f in fuses]
    counts = sorted({design.chargepoints for design in designs})
    curves = [
        Curve(
            _plural(count, "chargepoint"),
            tuple(_served(designs[Design(fuse, count)]) for fuse in fuses),
            accent=count == chosen.chargepoints,
        )
        for count in counts
    ]
    bound = [_bound_percent(designs[Design(fuse, chosen.chargepoints)]) for fuse in fuses]
    drawn = "".join(
        drawing.served_curve(steps, curves, bound, findings.wanted_percent, wide=wide)
        for wide in (True, False)
    )
    lines = ["connection_a,chargepoints,served_percent_mean,served_percent_low,served_percent_high"]
    for design, runs in designs.items():
        point = _served(runs)
        lines.append(
            f"{design.fuse_a},{design.chargepoints},{point.middle:.2f},{point.low:.2f},{point.high:.2f}"
        )
    accent = _plural(chosen.chargepoints, "chargepoint")
    return (
        f"<figure><h2>Energy served, by size of the connection</h2>{drawn}<figcaption>Orange: {accent}."
        " The band is the range over the seeds. Dotted: the most that anybody could serve who knew beforehand"
        " when every driver comes and leaves."
        f" {_download('curve.csv', lines)}</figcaption></figure>"
    )


def _bound_percent(runs: Sequence[Outcome]) -> float:
    return min(100.0, mean(100 * run.bound_wh / run.asked_wh if run.asked_wh else 100.0 for run in runs))


def _download(name: str, lines: Sequence[str]) -> str:
    content = b64encode(("\n".join(lines) + "\n").encode()).decode()
    return f'<a class="download" download="{name}" href="data:text/csv;base64,{content}">{name}</a>'


_BUCKETS = (
    ("leave with all they asked for", 0.995, 9.0),
    ("leave with 80 % or more of it", 0.8, 0.995),
    ("leave with half or more", 0.5, 0.8),
    ("leave with less than half", 1e-9, 0.5),
    ("get nothing", -1.0, 1e-9),
)


def _drivers(findings: Findings, chosen: Design) -> str:
    runs = group(findings)[chosen]
    shares = [share for run in runs for share in run.shares]
    rows = []
    for words, low, high in _BUCKETS:
        part = 100 * sum(low <= share < high for share in shares) / max(1, len(shares))
        rows.append(
            f'<tr><td class="number">{_percent(part)}</td><td>{words.replace(" %", THIN + "%")}</td>'
            f'<td class="bar"><i style="width:{part:.2f}%"></i></td></tr>'
        )
    return (
        f"<section><h2>What drivers notice with {_text(chosen.connection)} and"
        f' {_plural(chosen.chargepoints, "chargepoint")}</h2><table class="bars">{"".join(rows)}</table>'
        f'<p class="note">Of all {len(shares)} cars of all runs.</p></section>'
    )


_COLUMNS = (
    "Connection",
    "Charge­points",
    "Energy served",
    "Range over seeds",
    "Fully charged",
    "9 of 10 cars get at least",
    "No free chargepoint, cars a day",
    "Wait for current, 9 of 10 within",
    "Best possible with foresight",
)


def _table(findings: Findings, chosen: Design) -> str:
    rows, lines = (
        [],
        ["connection_a,chargepoints,served,low,high,full,p10,turned_away_per_day,wait_p90_s,bound"],
    )
    for design, runs in group(findings).items():
        cells = _row(design, runs)
        mark = ' class="chosen"' if design == chosen else ""
        name = f"{cells[0]}<b> recommended</b>" if design == chosen else cells[0]
        if design == chosen and _served(runs).low < findings.wanted_percent:
            name = f"{cells[0]}<b> closest</b>"
        rows.append(
            f"<tr{mark}><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells[1:]) + "</tr>"
        )
        plain = [cell.replace(THIN, " ") for cell in cells[2:]]
        lines.append(",".join([str(design.fuse_a), str(design.chargepoints), *plain]))
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    return (
        f'<section><h2>All designs</h2><div class="scroll"><table class="designs">'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="note">{_download("designs.csv", lines)}</p></section>'
    )


def _row(design: Design, runs: Sequence[Outcome]) -> list[str]:
    served = _served(runs)
    cars = sum(run.cars for run in runs)
    shares = sorted(share for run in runs for share in run.shares)
    waits = sorted(wait for run in runs for wait in run.waits_s)
    days = sum(len(run.quarter_a) for run in runs) / 96
    return [
        design.connection,
        str(design.chargepoints),
        _percent(served.middle),
        f"{served.low:.1f}–{served.high:.1f}{THIN}%",
        _percent(100 * sum(run.fully_charged for run in runs) / cars) if cars else "–",
        _percent(100 * min(1.0, shares[len(shares) // 10])) if shares else "–",
        f"{sum(run.turned_away for run in runs) / max(days, 1e-9):.1f}",
        _duration_words(waits[min(len(waits) - 1, len(waits) * 9 // 10)]) if waits else "–",
        _percent(_bound_percent(runs)),
    ]


def _duration_words(seconds: float) -> str:
    """Whole minutes, rounded up: minute mode knows no more."""
    return f"{-(-seconds // 60):.0f}{THIN}min"


def _worst(findings: Findings, chosen: Design) -> str:
    day = findings.worst_day
    if day is None:
        return ""
    top = 1.08 * max(max(*phase.peak_a, phase.limit_a) for phase in day.phases)
    plots = "".join(
        drawing.phase_day(f"L{index + 1}", phase, day.first_hour, day.bin_h, top=top, wide=wide)
        for index, phase in enumerate(day.phases)
        for wide in (True, False)
    )
    lines = ["hour,phase,building_a,cars_a,peak_a"]
    for index, phase in enumerate(day.phases):
        for b, (building, cars, peak) in enumerate(
            zip(phase.building_a, phase.cars_a, phase.peak_a, strict=True)
        ):
            hour = day.first_hour + b * day.bin_h
            lines.append(f"{hour:.3f},L{index + 1},{building:.1f},{cars:.1f},{peak:.1f}")
    return (
        f"<section><h2>The worst day, second by second</h2><p>{_verdict(day, chosen)}</p><figure>{plots}"
        '<figcaption><span class="key building"></span>building <span class="key ev"></span>cars'
        ' <span class="key grid"></span>highest current in each interval.'
        f" {day.date}, seed {day.seed}. {_download('worst_day.csv', lines)}</figcaption></figure>"
        f"{_day_figures(day)}</section>"
    )


def _verdict(day: WorstDay, chosen: Design) -> str:
    peak = max(max(phase.peak_a) for phase in day.phases)
    said = (
        f"{day.date} is the day with the highest quarter hour on {chosen.connection}. Run again in true mode,"
        " with the controller's own cycle and the real delays of meters, chargepoints and cars, the highest"
        f" current was {peak:.1f}{THIN}A."
    )
    if day.trips:
        ending = f"A fuse would have tripped ({_plural(day.trips, 'trip')}): do not build this design."
    elif day.own_as > 0:
        ending = (
            f"The controller itself caused {day.own_as:.0f}{THIN}A·s above a fuse: report this as a fault."
        )
    elif day.most_over_a > 0:
        ending = (
            f"A fuse was exceeded by at most {day.most_over_a:.1f}{THIN}A and for at most"
            f" {day.longest_over_s:.0f}{THIN}s at a time, after steps of the building's load; none tripped."
        )
    else:
        ending = "No fuse was ever exceeded."
    return _text(f"{said} {ending}")


def _day_figures(day: WorstDay) -> str:
    difference = 100 * (day.minute_wh / day.true_wh - 1) if day.true_wh else 0.0
    figures = [
        ("Over the fuse, caused by the controller", f"{day.own_as:.0f}{THIN}A·s"),
        ("Over the fuse, caused by steps of the building's load", f"{day.disturbance_as:.0f}{THIN}A·s"),
        ("Over the fuse, caused by chargepoints that disobey", f"{day.lie_as:.0f}{THIN}A·s"),
        ("Fuse trips", str(day.trips)),
        ("Energy of the cars on that day, true mode", f"{day.true_wh / 1000:.1f}{THIN}kWh"),
        ("The same in minute mode", f"{day.minute_wh / 1000:.1f}{THIN}kWh ({difference:+.2f}{THIN}%)"),
    ]
    return _pairs(figures)


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in pairs)
    return f'<table class="pairs">{rows}</table>'


def _duration(findings: Findings, chosen: Design) -> str:
    quarters = [a for run in group(findings)[chosen] for a in run.quarter_a]
    if not quarters:
        return ""
    ordered = sorted((100 * a / chosen.fuse_a for a in quarters), reverse=True)
    thin = ordered[:: max(1, len(ordered) // 400)]
    drawn = "".join(drawing.duration(thin, wide=wide) for wide in (True, False))
    busy = 100 * sum(share >= 90 for share in ordered) / len(ordered)
    lines = ["share_of_fuse_percent", *(f"{share:.1f}" for share in thin)]
    return (
        f"<figure><h2>How long the connection is how full</h2>{drawn}<figcaption>Means of quarter hours on"
        f" the heaviest phase, highest first. {_percent(busy)} of the time it is at least 90{THIN}% full."
        f" {_download('duration.csv', lines)}</figcaption></figure>"
    )


def _assumptions(findings: Findings) -> str:
    return f"<section><h2>Assumptions</h2>{_pairs(findings.assumptions)}</section>"


NOT_MODELLED = (
    (
        "Voltage drop and reactive power",
        "Currents are counted at 230 V and cos φ 1: real currents may be some % higher.",
    ),
    ("Growth of the fleet", "Cars per day stay as given. Size for the fleet you expect."),
    (
        "Drivers who move their car when it is full",
        "A full car keeps its chargepoint until its driver leaves.",
    ),
    (
        "Price and delivery time of a connection",
        "Not included: ask the grid operator for the steps around the answer.",
    ),
    (
        "Solar panels and batteries",
        "Neither helps nor harms here. Solar would lower the building's load by day.",
    ),
    (
        "Failures of chargepoints and meters",
        "The sweep runs without faults; energy served falls while a device is down.",
    ),
)


def _not_modelled() -> str:
    return f"<section><h2>Not modelled, and what it would change</h2>{_pairs(NOT_MODELLED)}</section>"


def _origin(findings: Findings) -> str:
    seeds = sorted({outcome.seed for outcome in findings.outcomes})
    pairs = [("Version", findings.version), ("Seeds", ", ".join(map(str, seeds)))]
    return (
        f"<section><h2>Do it again</h2>{_pairs(pairs)}<pre>{_text(findings.command)}</pre>"
        f"<h3>The study</h3><pre>{_text(findings.study_text)}</pre></section>"
    )
