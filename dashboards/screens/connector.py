"""Connector: why does it have this current, and what would give it more?"""

from __future__ import annotations

import streamlit as st

from dashboards import charts, components
from dashboards.client import Connector, ConnectorPlate, Site
from dashboards.units import amps, lasted
from dashboards.watch import Watch, is_dark, watch

NOW_S, HOUR_S = 1.5, 10


def chosen(site: Site) -> ConnectorPlate:
    """The connector of the address or of the list, both of which follow each other."""
    plates = {plate["name"]: plate for plate in site["connectors"]}
    asked = st.query_params.get("connector", "")
    names = list(plates)
    name = st.selectbox(
        "Connector",
        names,
        index=names.index(asked) if asked in plates else 0,
        format_func=lambda one: f"{plates[one]['label']} \u00b7 {plates[one]['path'][0]}",
        label_visibility="collapsed",
    )
    st.query_params["connector"] = name
    return plates[name]


@st.fragment(run_every=NOW_S)
def now(seen: Watch, plate: ConnectorPlate) -> None:
    """The reason in words, the numbers, and the chain of limits."""
    seen.look()
    site, live = seen.site, seen.live
    one = next((c for c in live["connectors"] if c["name"] == plate["name"]), None) if live else None
    if site is None or one is None:
        st.html(components.answer("stalled", seen.trouble or "The first cycle has not come yet.", ""))
        return
    if seen.trouble:
        st.html(components.band(site) + components.answer("stalled", seen.trouble, "Trying again every 2 s."))
    else:
        state = "attention" if one["stale"] or not one["online"] else "safe"
        st.html(components.band(site) + components.answer(state, one["sentence"], f"More: {one['more']}"))
    st.html(components.faded(components.facts(_facts(plate, one)), old=bool(seen.trouble)))
    if one["notes"]:
        st.html(components.faded(components.remarks(one["notes"]), old=bool(seen.trouble)))
    links = seen.chain(plate["name"])
    if links is None:
        return
    st.html("<h4>From the car to the main fuse</h4>")
    st.html(components.faded(components.chain(links), old=bool(seen.trouble)))


def _facts(plate: ConnectorPlate, one: Connector) -> list[tuple[str, str]]:
    wired = "confirmed" if plate["rotation_confirmed_by"] else "not confirmed"
    phases = " ".join(one["booked_phases"]) or "-"
    decay = f" after {lasted(plate['lease_s'])}" if plate["lease_s"] else ""
    return [
        ("gets", amps(one["gets_a"])),
        ("draws", amps(one["draws_a"])),
        ("may draw", amps(one["may_draw_a"])),
        ("phases", phases if one["phases_known"] else f"{phases}, not sure"),
        ("status", one["status"] if one["online"] else "offline"),
        ("said so", f"{lasted(one['reading_age_s'])} ago" if one["reading_age_s"] is not None else "-"),
        ("plugged in for", lasted(one["plugged_for_s"])),
        ("identity", plate["identity"]),
        ("wired", f"{plate['phase_order']}, {wired}"),
        ("if nobody commands it", amps(plate["fallback_a"]) + decay),
    ]


@st.fragment(run_every=HOUR_S)
def hour(seen: Watch, site: Site, plate: ConnectorPlate) -> None:
    """What it got and drew in the last hour."""
    history = seen.connector_hour(plate["name"])
    if history is None:
        return
    st.html("<h4>The last hour</h4>")
    figure = charts.connector_hour(plate, history, site["timezone"], dark=is_dark())
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, key=f"hour_{plate['name']}")


@st.fragment(run_every=2)
def wait(seen: Watch) -> None:
    """Until the controller answers for the first time."""
    seen.look()
    if seen.site is not None:
        st.rerun()
    st.html(components.answer("stalled", seen.trouble or "", "Trying again every 2 s."))


here = watch()
if here.site is None:
    here.look()
if here.site is None:
    wait(here)
elif here.site["connectors"]:
    plate = chosen(here.site)
    now(here, plate)
    hour(here, here.site, plate)
else:
    st.html(components.answer("safe", "This site has no connectors.", ""))
