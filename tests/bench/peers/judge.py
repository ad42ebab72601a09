"""One judge for all: figures from the mean power of every station in every tick, whoever simulated it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """What came of a case. Shares are delivered over what the car could have taken alone."""

    us_per_station_tick: float
    energy_kwh: float
    served_percent: float
    p10_share_percent: float
    jain_index: float
    peak_over_a: float
    """Most over any limit of a grid on any phase, mean of a tick."""
    over_minutes: float
    """How long some grid was over its limit by more than half an ampere."""


def judge(told: dict[str, Any], ran: dict[str, Any]) -> Outcome:
    """Figures of a run: `power_w` [tick, station] in ticks of its own `tick_s`, and `cpu_s`."""
    tick_s, supply_v = ran["tick_s"], told["supply_v"]
    power_w = np.asarray(ran["power_w"], "f8")
    ticks_per = told["tick_s"] // tick_s
    shares, possible_wh = [], 0.0
    for session in told["sessions"]:
        station = told["stations"][session["station"]]
        ticks = slice(session["from_tick"] * ticks_per, session["to_tick"] * ticks_per)
        got_wh = float(power_w[ticks, session["station"]].sum()) * tick_s / 3600
        stay_h = (session["to_tick"] - session["from_tick"]) * told["tick_s"] / 3600
        most_wh = min(session["energy_wh"], station["max_a"] * len(station["lines"]) * supply_v * stay_h)
        possible_wh += most_wh
        shares.append(min(1.0, got_wh / most_wh))
    over_a = _over_a(told, power_w)
    share = np.array(shares)
    energy_wh = float(power_w.sum()) * tick_s / 3600
    return Outcome(
        us_per_station_tick=ran["cpu_s"] * 1e6 / (ran["ticks"] * len(told["stations"])),
        energy_kwh=energy_wh / 1000,
        served_percent=100 * energy_wh / possible_wh,
        p10_share_percent=100 * float(np.percentile(share, 10)),
        jain_index=float(share.sum() ** 2 / (len(share) * (share**2).sum())),
        peak_over_a=max(0.0, float(over_a.max())),
        over_minutes=float((over_a > 0.5).sum()) * tick_s / 60,
    )


def _over_a(told: dict[str, Any], power_w: np.ndarray) -> np.ndarray:
    """The worst excess of every tick, over all grids and phases."""
    line_a = np.zeros((3, *power_w.shape))
    for number, station in enumerate(told["stations"]):
        for line in station["lines"]:
            line_a[line, :, number] = power_w[:, number] / (told["supply_v"] * len(station["lines"]))
    worst = np.full(len(power_w), -np.inf)
    for grid in told["grids"]:
        sums = line_a[:, :, grid["stations"]].sum(axis=2)
        worst = np.maximum(worst, (sums - np.array(grid["limit_a"])[:, None]).max(axis=0))
    return worst
