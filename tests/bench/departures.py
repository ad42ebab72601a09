"""What planning by departures brings over a real week, and what wrong departures cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenarios.optimum import bounds
from scenarios.run import Result, play
from scenarios.scenario import Story, Wishes, load, prepare
from tests.bench.car_park import LIBRARY
from tests.bench.figure import Figure, say

CONNECTIONS_A = (160, 80)
KNOWN: dict[str, Any] = {
    "exact": {},
    "wrong": {"error_s": 3600},
    "cards": {"known": "cards"},
}
WORDS = {
    "": "no planner",
    "exact": "departures and needs known exactly",
    "wrong": "every departure wrong by an hour, early or late by a coin",
    "cards": "departures and needs from the past of each station within the week, for the data name no cards",
}
CASES = ("off", *(f"{planner}_{known}" for planner in ("least_laxity", "horizon") for known in KNOWN))
WHAT = ("unmet_kwh", "fully_served_percent", "well_served_percent", "p10_share_percent")


def measure() -> dict[str, Figure]:
    """ISO week 2019-W20 of JPL in minute mode, on both connections."""
    found: dict[str, Figure] = {}
    for amps in CONNECTIONS_A:
        story = prepare(load(LIBRARY / f"jpl_2019-W20_{amps}.toml", mode="minute"))
        for case in CASES:
            result = play(_planned(story, case))
            if case == "off":
                best = bounds(result)
                how = (
                    "of what cars could take alone; linear programme of perfect foresight, limit less margin"
                )
                unmet_kwh = result.figures.possible_kwh - best.margin_kwh
                found[f"departures_{amps}_bound_unmet_kwh"] = Figure(unmet_kwh, "kWh", how)
            found |= {f"departures_{amps}_{case}_{name}": one for name, one in _figures(case, result).items()}
    return found


def _planned(story: Story, case: str) -> Story:
    """The story with the planner and the knowledge of this case."""
    departures, _, known = case.rpartition("_") if case != "off" else ("off", "", "")
    site = story.site.model_copy(update={"departures": departures})
    stations = tuple(replace(session, card=f"station {session.connector}") for session in story.sessions)
    return replace(story, site=site, sessions=stations, wishes=Wishes(**KNOWN.get(known, {})))


def _figures(case: str, result: Result) -> dict[str, Figure]:
    figures = result.figures
    counted = [session for session in result.sessions if session.possible_wh >= 1]
    well = 100 * sum(session.share >= 0.95 for session in counted) / len(counted)
    unmet_kwh = figures.possible_kwh - figures.delivered_kwh
    words = WORDS[case.rpartition("_")[2] if case != "off" else ""]
    how = (
        f"{words}; minute mode, {figures.sessions} sessions, {figures.delivered_kwh:,.0f} kWh served,"
        f" {figures.writes_per_connector_day:.0f} writes per connector and day, {figures.wall_s:.0f} s"
    )
    say(
        f"{case}: {unmet_kwh:,.0f} kWh unmet, {figures.fully_served_percent:.1f} % fully served, {well:.1f} %"
        f" to 95 %, p10 {figures.p10_share_percent:.1f} %, {figures.wall_s:.0f} s"
    )
    values = (unmet_kwh, figures.fully_served_percent, well, figures.p10_share_percent)
    units = ("kWh", "%", "%", "%")
    return {name: Figure(value, unit, how) for name, value, unit in zip(WHAT, values, units, strict=True)}
