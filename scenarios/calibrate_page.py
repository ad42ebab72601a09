"""The page of a calibration: how the drivers of a habit come, beside those it was made of; one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from scenarios.calibrate import CARS, DEPARTURE, SHOWN, Days, Distance, Fit, dispersion, words
from scenarios.drawing import Frame, nice_steps

SHARES = np.linspace(0.0, 1.0, 101)


def page(fit: Fit) -> str:
    """The whole page."""
    style = Path(__file__).with_name("page.css").read_text("utf-8")
    failed = [far for far in fit.distances if not far.passed]
    verdict = "Every distance is within the band of the data themselves."
    if failed:
        verdict = (
            f"{len(failed)} of {len(fit.distances)} distances are beyond the band of the data themselves."
        )
    figures = "".join(_figure(fit, *shown) for shown in (*SHOWN, DEPARTURE, CARS))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Calibration of {escape(fit.name)}</title><style>{style}</style></head><body><main>"
        f'<p class="eyebrow">Calibration of drivers</p><h1>{escape(fit.name)}</h1>'
        f'<p class="lead">{escape(verdict)}</p><p class="note">{escape(fit.title)}. {_how()}</p>'
        f"{_table(fit.distances)}{_scatter(fit)}{figures}</main></body></html>\n"
    )


def _how() -> str:
    return (
        "Grey: the data, with the band that holds 95 % of their days drawn again with replacement."
        " Orange: the drivers of the habit. The band of a distance: 95 % of the distances between the data"
        " and their days drawn again are smaller. On other days: a habit of one half of the days, judged on"
        " the other half, and the band between two such draws."
    )


def _table(distances: Sequence[Distance]) -> str:
    rows = "".join(
        f"<tr><th>{escape(far.name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in words(far))}</tr>"
        for far in distances
    )
    columns = ("distance", "found", "band of the data", "", "on other days", "band")
    heads = "".join(f"<th>{name}</th>" for name in columns)
    return (
        '<section><h2>Distances</h2><div class="scroll"><table class="designs">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _scatter(fit: Fit) -> str:
    """Mean and scatter of the number of cars, in words."""
    own, data, cars = dispersion(fit.model), dispersion(fit.data), fit.model.counts.mean()
    return (
        f'<p class="note">Cars a day: {cars:.1f}, in the data {fit.data.counts.mean():.1f}. Variance'
        f" over mean, weekday by weekday: {own:.2f}, in the data {data:.2f}; chance alone would give 1.</p>"
    )


def _figure(fit: Fit, name: str, field: str, unit: str) -> str:
    """Distribution functions of one quantity."""

    def quantiles(days: Days) -> list[float]:
        return [float(value) for value in np.quantile(getattr(days, field), SHARES)]

    model = np.array(quantiles(fit.model))
    bands = np.quantile([quantiles(days) for days in fit.again], (0.025, 0.975), axis=0)
    data = quantiles(fit.data)
    drawings = []
    for wide in (True, False):
        frame = Frame(880, 260, (20, 24, 44, 56)) if wide else Frame(360, 220, (20, 20, 44, 50))
        # The longest percent would press the rest together.
        ticks = nice_steps(max(data[98], float(model[98])), 6 if wide else 4)
        frame.x_range, frame.y_range = (0.0, ticks[-1]), (0.0, 100.0)
        frame.y_axis([0, 25, 50, 75, 100], "%")
        frame.x_axis([(tick, f"{tick:g}") for tick in ticks])
        frame.text((frame.left + frame.width) / 2, frame.height - 6, unit, "quiet", "middle")
        shown = SHARES <= 0.98
        low, high = (np.minimum(band[shown], ticks[-1]) for band in bands)
        outline = [*zip(low, 100 * SHARES[shown], strict=True)]
        outline += [*zip(high, 100 * SHARES[shown], strict=True)][::-1]
        places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in outline)
        frame.parts.append(f'<polygon class="band-other" points="{places}"/>')
        for values, kind in ((np.array(data), "other"), (model, "ev")):
            kept = shown & (values <= ticks[-1])
            frame.line(list(zip(values[kept], 100 * SHARES[kept], strict=True)), kind)
        drawings.append(frame.svg(f"Distribution of {name}", "wide" if wide else "narrow"))
    return f"<figure><h2>{escape(name[0].upper() + name[1:])}</h2>{''.join(drawings)}</figure>"
