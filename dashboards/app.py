"""EdgeManager: the frame of all pages. `streamlit run dashboards/app.py`, or `python -m dashboards`."""

from __future__ import annotations

import streamlit as st

from dashboards import components

st.set_page_config(page_title="EdgeManager", page_icon=components.ICON, layout="wide")
st.html(components.STYLE)
st.navigation(
    [
        st.Page("screens/live.py", title="Live", icon=":material/bolt:", default=True),
        st.Page("screens/connector.py", title="Connector", icon=":material/ev_station:"),
        st.Page("screens/sessions.py", title="Sessions", icon=":material/list:"),
    ],
    position="top",
).run()
