"""Plots with one template: the last hour of a grid and of a connector.

Colours have one meaning everywhere (Okabe and Ito's set); phases differ by line style and label. The y axis
starts at 0, the limit is a line with its name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import plotly.graph_objects as go

from dashboards.client import Amps, ConnectorHistory, ConnectorPlate, GridHistory, GridPlate
from dashboards.units import amps, local

IMPORT, EXPORT, SOLAR, BATTERY = "#0072B2", "#56B4E9", "#F0E442", "#009E73"
CARS, OTHER, ALARM, SIMULATED = "#E69F00", "#7F7F7F", "#D55E00", "#CC79A7"
PHASE_DASHES: Final = {"L1": "solid", "L2": "dash", "L3": "dot"}
HEIGHT: Final = 280
CONFIG: Final[dict[str, Any]] = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "toImageButtonOptions": {"format": "svg", "filename": "edge"},
    "scrollZoom": False,
}


def template(*, dark: bool) -> go.layout.Template:
    """The one look of all plots, on light and on dark."""
    ink, faint = ("#fafafa", "rgba(250,250,250,.16)") if dark else ("#31333f", "rgba(49,51,63,.14)")
    axis = {"gridcolor": faint, "zerolinecolor": faint, "linecolor": faint, "fixedrange": True}
    tick = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)"}
    return go.layout.Template(
        layout={
            "font": {"color": ink, "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [IMPORT, CARS, OTHER, BATTERY, EXPORT, ALARM],
            "margin": {"l": 52, "r": 46, "t": 24, "b": 30},
            "hovermode": "x unified",
            "hoverlabel": {"bgcolor": "#262730" if dark else "#ffffff", "font": {"color": ink}},
            "showlegend": False,
            "dragmode": False,
            "xaxis": {**axis, "showgrid": False, "tickformat": "%H:%M", **tick},
            "yaxis": {**axis, "ticksuffix": " A", "rangemode": "tozero", "nticks": 6, **tick},
        }
    )


def grid_hour(plate: GridPlate, history: GridHistory, timezone: str, *, dark: bool) -> go.Figure:
    """Measured current of the three phases under their limit; what is booked, where nobody measures."""
    times = [local(at, timezone).replace(tzinfo=None) for at in history["at"]]
    figure = _hour(times, dark=dark)
    measured = plate["meter"] == "guard"
    lines = history["measured_a"] if measured else history["booked_a"]
    what = "measured" if measured else "promised"
    for (phase, dash), line in zip(PHASE_DASHES.items(), lines, strict=True):
        figure.add_scatter(
            x=times,
            y=line,
            name=f"{phase} {what}",
            mode="lines",
            line={"color": IMPORT, "dash": dash, "width": 2},
            hovertemplate="%{y:.1f} A",
        )
    highest = max(
        [0.0, *(value for line in (*lines, *history["limit_a"]) for value in line if value is not None)]
    )
    _label_ends(figure, dict(zip(PHASE_DASHES, lines, strict=True)), highest)
    for phases, limit in _limits(history["limit_a"]):
        _limit(figure, times, limit, _limit_name(plate, phases, limit), dark=dark)
    figure.update_yaxes(range=[min(0.0, _lowest(lines)), 1.12 * highest or 1.0])
    return figure


def connector_hour(
    plate: ConnectorPlate, history: ConnectorHistory, timezone: str, *, dark: bool
) -> go.Figure:
    """What a connector got, as an outline, and what its car drew."""
    times = [local(at, timezone).replace(tzinfo=None) for at in history["at"]]
    figure = _hour(times, dark=dark)
    ink = "#fafafa" if dark else "#31333f"
    figure.add_scatter(
        x=times,
        y=history["draws_a"],
        name="draws",
        mode="lines",
        fill="tozeroy",
        fillcolor="rgba(230,159,0,.35)",
        line={"color": CARS, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.1f} A",
    )
    figure.add_scatter(
        x=times,
        y=history["gets_a"],
        name="gets",
        mode="lines",
        line={"color": ink, "width": 1.5, "shape": "hv"},
        hovertemplate="%{y:.1f} A",
    )
    _label_ends(figure, {"gets": history["gets_a"], "draws": history["draws_a"]}, plate["max_a"])
    _limit(figure, times, [plate["max_a"]] * len(times), f"outlet {amps(plate['max_a'])}", dark=dark)
    figure.update_yaxes(range=[0, 1.15 * plate["max_a"]])
    return figure


def _hour(times: list[datetime], *, dark: bool) -> go.Figure:
    figure = go.Figure(layout={"template": template(dark=dark), "uirevision": "hour", "height": HEIGHT})
    if times:
        figure.update_xaxes(range=[times[-1] - timedelta(hours=1), times[-1]])
    return figure


def _limits(limits: list[list[Amps]]) -> list[tuple[list[str], list[Amps]]]:
    """Phases with the same limit share a line."""
    shared: list[tuple[list[str], list[Amps]]] = []
    for phase, limit in zip(PHASE_DASHES, limits, strict=True):
        same = next((phases for phases, known in shared if known == limit), None)
        if same is None:
            shared.append(([phase], limit))
        else:
            same.append(phase)
    return shared


def _limit_name(plate: GridPlate, phases: list[str], limit: list[Amps]) -> str:
    newest = limit[-1] if limit else None
    fuse = plate["fuse_a"][list(PHASE_DASHES).index(phases[0])]
    where = "" if len(phases) == 3 else f" {' '.join(phases)}"
    return f"{'fuse' if newest == fuse else 'limit'}{where} {amps(newest)}"


def _limit(figure: go.Figure, times: list[datetime], limit: list[Amps], name: str, *, dark: bool) -> None:
    ink = "#fafafa" if dark else "#31333f"
    figure.add_scatter(
        x=times,
        y=limit,
        mode="lines",
        name="limit",
        line={"color": ink, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.1f} A",
    )
    if limit and limit[-1] is not None:
        figure.add_annotation(
            x=0,
            xref="paper",
            y=limit[-1],
            text=name,
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 12},
        )


def _label_ends(figure: go.Figure, lines: dict[str, list[Amps]], highest: float) -> None:
    """Names at the right ends of the lines, pushed apart where they would cover each other."""
    ends = sorted((line[-1], name) for name, line in lines.items() if line and line[-1] is not None)
    apart, below = 0.075 * highest, float("-inf")
    for value, name in ends:
        below = max(float(value or 0), below + apart)
        figure.add_annotation(
            x=1,
            xref="paper",
            y=below,
            text=name,
            showarrow=False,
            xanchor="left",
            xshift=4,
            font={"size": 12},
        )


def _lowest(lines: list[list[Amps]]) -> float:
    return min([0.0, *(value for line in lines for value in line if value is not None)])
