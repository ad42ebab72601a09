"""Sessions: who charged, newest first."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import components
from dashboards.client import Charge, Refused, Site, Unreachable
from dashboards.units import lasted, local
from dashboards.watch import api


@st.fragment(run_every=10)
def sessions() -> None:
    """The ledger as a table that sorts and downloads."""
    try:
        site, charges = api().site(), api().sessions()
    except (Unreachable, Refused) as error:
        state = "stalled" if isinstance(error, Unreachable) else "ended"
        st.html(components.answer(state, str(error), "Trying again every 10 s."))
        return
    running = sum(charge["ended"] is None for charge in charges)
    said = f"{running} of the last {len(charges)} sessions run." if charges else "No session yet."
    st.html(components.band(site) + components.answer("safe", said, site["name"]))
    if charges:
        st.dataframe(
            _rows(site, charges),
            hide_index=True,
            placeholder="-",
            key="sessions",
            height=min(38 + 35 * len(charges), 700),
            column_config={
                "Energy": st.column_config.NumberColumn(format="%.1f kWh"),
                "Began": st.column_config.DatetimeColumn(format="D MMM HH:mm"),
            },
        )


def _rows(site: Site, charges: list[Charge]) -> pd.DataFrame:
    labels = {
        (plate["identity"], int(plate["name"].rpartition("/")[2])): plate["label"]
        for plate in site["connectors"]
    }
    zone = site["timezone"]
    energy_kwh = [None if one["energy_wh"] is None else one["energy_wh"] / 1000 for one in charges]
    return pd.DataFrame(
        {
            "Connector": [
                labels.get((one["identity"], one["connector"]), one["identity"]) for one in charges
            ],
            "Began": [local(one["began"], zone).replace(tzinfo=None) for one in charges],
            "Took": [_took(one, zone) for one in charges],
            "Energy": pd.array(energy_kwh, dtype="Float64"),
            "Card": [one["card"] for one in charges],
            "Ended because": [one["reason"] for one in charges],
        }
    )


def _took(charge: Charge, zone: str) -> str:
    if charge["ended"] is None:
        return "runs"
    return lasted((local(charge["ended"], zone) - local(charge["began"], zone)).total_seconds())


sessions()
