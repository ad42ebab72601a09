"""What one open page knows: the newest answers, and the last good ones while the controller is away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import streamlit as st

from dashboards.client import (
    Alarm,
    ChainLink,
    ConnectorHistory,
    EdgeApi,
    GridHistory,
    Live,
    Refused,
    Site,
    Unreachable,
)

Answer = TypeVar("Answer")

SITE_EVERY_S: Final = 20.0
"""The drawing changes seldom; a restart of the controller is noticed by its cycle number."""


@st.cache_resource(show_spinner=False)
def api() -> EdgeApi:
    """One connection pool for all pages."""
    return EdgeApi()


class Watch:
    """The site as last seen. `trouble` is a sentence while there is no answer."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.live: Live | None = None
        self.alarms: list[Alarm] = []
        self.trouble: str | None = None
        self._site_at_s = 0.0
        self._answers: dict[str, Any] = {}

    def look(self) -> None:
        """Ask once; keep what was known if there is no answer."""
        try:
            live = api().live()
            restarted = self.live is not None and live["cycle"] < self.live["cycle"]
            if self.site is None or self.trouble or restarted or self._old():
                self.site, self._site_at_s = api().site(), time.monotonic()
            self.live, self.alarms = live, api().alarms()
            self.trouble = None
        except (Unreachable, Refused) as error:
            self.trouble = str(error)

    def grid_hour(self, name: str) -> GridHistory | None:
        """The last hour of a grid."""
        return self._newest(f"grid {name}", lambda: api().grid_history(name))

    def connector_hour(self, name: str) -> ConnectorHistory | None:
        """The last hour of a connector."""
        return self._newest(f"connector {name}", lambda: api().connector_history(name))

    def chain(self, name: str) -> list[ChainLink] | None:
        """The limits from a car to the main fuse."""
        return self._newest(f"chain {name}", lambda: api().chain(name))

    def _newest(self, key: str, ask: Callable[[], Answer]) -> Answer | None:
        """A fresh answer, or the last good one."""
        with contextlib.suppress(Unreachable, Refused):
            self._answers[key] = ask()
        kept: Answer | None = self._answers.get(key)
        return kept

    def _old(self) -> bool:
        return time.monotonic() - self._site_at_s > SITE_EVERY_S


def watch() -> Watch:
    """The watch of this browser page."""
    if "watch" not in st.session_state:
        st.session_state["watch"] = Watch()
    kept: Watch = st.session_state["watch"]
    return kept


def is_dark() -> bool:
    """Whether the browser shows the dark theme."""
    return st.context.theme.type == "dark"
