"""Live: is the site safe, and is everybody charging as well as can be?"""

from __future__ import annotations

import csv
import io

import pandas as pd
import streamlit as st

from dashboards import charts, components
from dashboards.client import GridHistory, Refused, Site, Unreachable
from dashboards.watch import Watch, api, is_dark, watch

NOW_S, TABLE_S, HOUR_S = 1.5, 2, 10


@st.fragment(run_every=NOW_S)
def now(seen: Watch) -> None:
    """The answer, the grids, the alarms and the connectors; one look for all of them."""
    waited = seen.site is None
    seen.look()
    if waited and seen.site is not None:
        st.rerun()  # the other parts of the page stand still until somebody knows the site
    site, live = seen.site, seen.live
    if site is None or live is None:
        st.html(components.answer("stalled", seen.trouble or "", "Trying again every 2 s."))
        return
    if seen.trouble:
        last = components.below(site, live, seen.alarms)
        top = components.answer("stalled", seen.trouble, f"Trying again every 2 s. Last seen: {last}")
    else:
        top = components.answer(live["state"], live["sentence"], components.below(site, live, seen.alarms))
    st.html(components.band(site) + top)
    left, right = st.columns([7, 3], gap="medium")
    left.html(components.faded(components.tree(site, live), old=bool(seen.trouble)))
    right.html(components.faded(components.alarms(seen.alarms, site["timezone"]), old=bool(seen.trouble)))
    if live["devices"]:
        st.html(components.faded(components.devices(live), old=bool(seen.trouble)))
    st.html(components.faded(components.tiles(site, live), old=bool(seen.trouble)))


@st.fragment(run_every=HOUR_S)
def hour(seen: Watch) -> None:
    """The last hour of one grid, all three phases under their limit."""
    if seen.site is None:
        return
    names = [grid["name"] for grid in seen.site["grids"]]
    st.html("<h4>The last hour</h4>")
    name = st.pills("Grid", names, default=names[0], key="hour_of", label_visibility="collapsed") or names[0]
    plate = next(grid for grid in seen.site["grids"] if grid["name"] == name)
    history = seen.grid_hour(name)
    if history is None:
        return
    figure = charts.grid_hour(plate, history, seen.site["timezone"], dark=is_dark())
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, key="hour")
    st.download_button(
        "CSV",
        _as_csv(history),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        type="tertiary",
    )


@st.fragment(run_every=TABLE_S)
def table(seen: Watch) -> None:
    """Every connector with what it gets, draws and why."""
    if seen.site is None or seen.live is None:
        return
    st.html("<h4>Why each connector has its current</h4>")
    st.dataframe(
        _rows(seen.site, seen),
        hide_index=True,
        placeholder="-",
        key="connectors",
        height=min(38 + 35 * len(seen.live["connectors"]), 460),
        column_config={
            "Gets": st.column_config.NumberColumn("Gets", format="%.1f A", width=70),
            "Draws": st.column_config.NumberColumn("Draws", format="%.1f A", width=70),
            "Why": st.column_config.TextColumn("Why", width="large"),
            "What would give more": st.column_config.TextColumn(width="large"),
        },
    )


def _rows(site: Site, seen: Watch) -> pd.DataFrame:
    plates = {plate["name"]: plate for plate in site["connectors"]}
    live = seen.live["connectors"] if seen.live else []
    return pd.DataFrame(
        {
            "Connector": [plates[one["name"]]["label"] for one in live],
            "Gets": pd.array([one["gets_a"] for one in live], dtype="Float64"),
            "Draws": pd.array([one["draws_a"] for one in live], dtype="Float64"),
            "Why": [one["why"] for one in live],
            "What would give more": [one["more"] for one in live],
            "Board": [plates[one["name"]]["path"][0] for one in live],
            "Status": [one["status"] for one in live],
        }
    )


def _as_csv(history: GridHistory) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    kinds = ("measured", "booked", "limit")
    writer.writerow(["at", *(f"{kind}_{phase}_a" for kind in kinds for phase in charts.PHASE_DASHES)])
    lines = [*history["measured_a"], *history["booked_a"], *history["limit_a"]]
    writer.writerows(zip(history["at"], *lines, strict=True))
    return text.getvalue()


def again(seen: Watch) -> None:
    """A simulated run can be started anew; a site cannot."""
    if seen.site is None or seen.site["world"] == "site":
        return
    try:
        if "restart" in api().commands() and st.button("Start the run again", icon=":material/replay:"):
            st.toast(api().command("restart"))
    except (Unreachable, Refused) as error:
        st.toast(str(error))


now(watch())
hour(watch())
table(watch())
again(watch())
