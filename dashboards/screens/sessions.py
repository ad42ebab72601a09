"""Sessions: who charged, newest first."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import components
from dashboards.client import Refused, Unreachable
from dashboards.watch import api


@st.fragment(run_every=10)
def sessions() -> None:
    """The ledger as a table that sorts and downloads."""
    try:
        rows = api().sessions()
    except (Unreachable, Refused) as error:
        st.html(components.answer("stalled" if isinstance(error, Unreachable) else "ended", str(error), ""))
        return
    st.html(components.answer("safe", f"{len(rows)} sessions." if rows else "No session yet.", ""))
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, placeholder="-", key="sessions")


sessions()
