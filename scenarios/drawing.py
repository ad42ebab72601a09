"""Plots as inline SVG: no script, no font, no request, so that a page opens the same in ten years.

Colours and line styles mean one thing on every page: grid blue, cars orange, building grey, L1 solid,
L2 dashed, L3 dotted. They are classes of page.css, so that dark mode and paper work.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

THIN = "\u202f"  # narrow space, before every unit


class Point(NamedTuple):
    """A value with its range over the seeds."""

    middle: float
    low: float
    high: float


class Curve(NamedTuple):
    """One line over the categories of the x axis; `accent` marks the one that the page is about."""

    label: str
    points: tuple[Point, ...]
    accent: bool


class Frame:
    """The plotting area of a drawing and the way from values to places on it."""

    def __init__(self, width: float, height: float, margin: tuple[float, float, float, float]) -> None:
        self.width, self.height = width, height
        self.top, self.right, self.bottom, self.left = margin
        self.x_range = (0.0, 1.0)
        self.y_range = (0.0, 1.0)
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Place of a value on the y axis."""
        low, high = self.y_range
        return (
            self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)
        )

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words at a place of the drawing."""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through values."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline class="line {kind}" points="{places}"/>')

    def area(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str) -> None:
        """The area between two lines."""
        there = [(x, high) for x, high in zip(xs, highs, strict=True)]
        back = [(x, low) for x, low in zip(xs, lows, strict=True)][::-1]
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in there + back)
        self.parts.append(f'<polygon class="{kind}" points="{places}"/>')

    def level(self, value: float, words: str, kind: str = "limit") -> None:
        """A horizontal line across the plot with its name above its right end."""
        self.line([(self.x_range[0], value), (self.x_range[1], value)], kind)
        self.text(self.width - self.right - 4, self.y(value) - 5, words, "halo", "end")

    def y_axis(self, values: Sequence[float], unit: str) -> None:
        """Rules across the plot; the unit stands at the topmost number."""
        for value in values:
            y = self.y(value)
            self.parts.append(
                f'<line class="tick" x1="{self.left}" x2="{self.width - self.right:.1f}"'
                f' y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            words = f"{value:g}{THIN}{unit}" if value == values[-1] else f"{value:g}"
            self.text(self.left - 8, y + 4, words, "quiet", "end")

    def x_axis(self, ticks: Sequence[tuple[float, str]], below: Sequence[str] = ()) -> None:
        """Numbers or names under the plot, with a second line of words under them if given."""
        base = self.height - self.bottom
        self.parts.append(
            f'<line class="axis" x1="{self.left}" x2="{self.width - self.right:.1f}"'
            f' y1="{base}" y2="{base}"/>'
        )
        for index, (value, words) in enumerate(ticks):
            self.text(self.x(value), base + 18, words, "", "middle")
            if below:
                self.text(self.x(value), base + 34, below[index], "quiet", "middle")

    def svg(self, description: str, kind: str = "") -> str:
        """The drawing; `description` is what a screen reader says."""
        return (
            f'<svg class="{kind}" viewBox="0 0 {self.width:g} {self.height:g}" role="img"'
            f' aria-label="{escape(description, quote=True)}">{"".join(self.parts)}</svg>'
        )


def nice_steps(top: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to at least `top`."""
    rough = max(top, 1e-9) / count
    size = 10.0 ** len(str(int(rough))) / 10
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [step * index for index in range(int(-(-top // step)) + 1)]


def served_curve(
    steps: Sequence[tuple[str, str]],
    curves: Sequence[Curve],
    bound: Sequence[float],
    target: float,
    *,
    wide: bool,
) -> str:
    """Energy served in percent over the connection steps `(name, kW)`, a line per number of chargepoints.

    `bound` is the best possible for the accented curve, empty: not drawn.
    """
    frame = Frame(880, 400, (26, 140, 52, 56)) if wide else Frame(360, 330, (26, 12, 52, 50))
    lowest = min(point.low for curve in curves for point in curve.points)
    bottom = 0.0 if lowest < 50 else 10.0 * int(lowest // 10)
    frame.x_range = (-0.3, len(steps) - (0.95 if wide else 0.8))
    frame.y_range = (bottom, 100.0)
    spacing = 10 if bottom else 20
    frame.y_axis([float(value) for value in range(int(bottom), 101, spacing)], "%")
    names = [
        name if wide else name.removeprefix(f"3{THIN}×{THIN}").removesuffix(f"{THIN}A") for name, _ in steps
    ]
    frame.x_axis(list(enumerate(names)), [kw for _, kw in steps] if wide else [])
    if not wide:
        frame.text(
            (frame.left + frame.width) / 2,
            frame.height - 12,
            f"connection, 3{THIN}×{THIN}A",
            "quiet",
            "middle",
        )
    frame.line([(frame.x_range[0], target), (frame.x_range[1], target)], "limit")
    frame.text(frame.left + 4, frame.y(target) - 6, f"wanted {target:g}{THIN}%", "halo")
    for curve in sorted(curves, key=lambda curve: curve.accent):
        _range_line(frame, curve, steps)
    if bound:
        frame.line(list(enumerate(bound)), "bound")
    if wide:
        _end_labels(frame, curves)
    return frame.svg("Energy served over the size of the connection", "wide" if wide else "narrow")


def _range_line(frame: Frame, curve: Curve, steps: Sequence[tuple[str, str]]) -> None:
    kind = "ev" if curve.accent else "other"
    xs = [float(x) for x in range(len(curve.points))]
    frame.area(xs, [p.low for p in curve.points], [p.high for p in curve.points], f"band-{kind}")
    frame.line([(x, p.middle) for x, p in zip(xs, curve.points, strict=True)], kind)
    for x, point, (name, _) in zip(xs, curve.points, steps, strict=True):
        hover = f"{name}, {curve.label}: {point.middle:.1f} % ({point.low:.1f} to {point.high:.1f} %)"
        frame.parts.append(
            f'<circle class="dot-{kind}" cx="{frame.x(x):.1f}" cy="{frame.y(point.middle):.1f}"'
            f' r="{4 if curve.accent else 3}"><title>{escape(hover)}</title></circle>'
        )


def _end_labels(frame: Frame, curves: Sequence[Curve]) -> None:
    """Names at the right ends, pushed apart where the lines meet."""
    ends = sorted(curves, key=lambda curve: curve.points[-1].middle)
    lowest = frame.height - frame.bottom - 2
    for curve in ends:
        own = frame.y(curve.points[-1].middle) + 4
        at = min(own, lowest)
        lowest = at - 17
        x = frame.x(len(curve.points) - 1) + 14
        frame.text(x, at, curve.label, "strong" if curve.accent else "quiet")


class PhaseDay(NamedTuple):
    """One phase of the connection over a day: per bin, means of the parts and the maximum of the whole, A."""

    building_a: Sequence[float]
    cars_a: Sequence[float]
    peak_a: Sequence[float]
    limit_a: float


def phase_day(name: str, day: PhaseDay, first_hour: float, bin_h: float, *, top: float, wide: bool) -> str:
    """Building, cars on top of it, and the highest current of every bin against the fuse."""
    frame = Frame(880, 210, (24, 24, 26, 56)) if wide else Frame(360, 190, (24, 16, 26, 50))
    hours = [first_hour + index * bin_h for index in range(len(day.peak_a))]
    frame.x_range = (hours[0], hours[-1] + bin_h)
    ticks = nice_steps(top, 3)
    frame.y_range = (0.0, ticks[-1])
    frame.y_axis(ticks, "A")
    every = 4 if wide else 6
    frame.x_axis(
        [(h, f"{h % 24:02d}:00") for h in range(int(hours[0]), int(hours[-1]) + 2) if h % every == 0]
    )
    whole = [b + c for b, c in zip(day.building_a, day.cars_a, strict=True)]
    frame.area(hours, [0.0] * len(hours), [max(b, 0.0) for b in day.building_a], "area-building")
    frame.area(hours, [max(b, 0.0) for b in day.building_a], [max(w, 0.0) for w in whole], "area-ev")
    frame.line([(h, max(p, 0.0)) for h, p in zip(hours, day.peak_a, strict=True)], "grid")
    frame.level(day.limit_a, f"fuse {day.limit_a:g}{THIN}A")
    frame.text(frame.left, 15, name, "strong")
    return frame.svg(f"{name} over the worst day", "wide" if wide else "narrow")


def duration(shares: Sequence[float], *, wide: bool) -> str:
    """Quarter hours sorted from the highest: load of the heaviest phase in percent of the fuse."""
    frame = Frame(880, 260, (20, 24, 44, 56)) if wide else Frame(360, 220, (20, 20, 44, 50))
    frame.x_range = (0.0, 100.0)
    frame.y_range = (0.0, max(110.0, *shares))
    frame.y_axis([0, 25, 50, 75, 100], "%")
    frame.x_axis([(value, f"{value}{THIN}%") for value in (0, 25, 50, 75, 100)])
    frame.text((frame.left + frame.width) / 2, frame.height - 6, "of all quarter hours", "quiet", "middle")
    ordered = sorted(shares, reverse=True)
    most = max(1, len(ordered) - 1)
    frame.area([100 * i / most for i in range(len(ordered))], [0.0] * len(ordered), ordered, "band-ev")
    frame.line([(100 * index / most, share) for index, share in enumerate(ordered)], "grid")
    frame.level(100.0, "fuse")
    return frame.svg("How long the connection is how full", "wide" if wide else "narrow")
