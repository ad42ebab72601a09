"""What drivers and their apps tell of a session: when it leaves, and how much it needs.

A wish belongs to the session that is plugged in when it is told and is forgotten with it, not with a restart
of the box. Wishes decide nothing: a planner may use them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from controller.decision import Memory
from controller.defaults import NEVER, UNKNOWN, WISH_MAX_MS, WISH_MAX_WH
from controller.electrical import watts
from controller.planners import Wish
from hardware.remembered import KeptWish, Remembered

KEPT_EVERY_WH: Final = 500
"""What a session has taken is written so often: after a restart it is counted from 0 again."""


class Wishes:
    """The wishes of the sessions that are plugged in; `put` may be called from any thread."""

    def __init__(self, connector_names: tuple[str, ...], timezone: str, remembered: Remembered) -> None:
        self._names = connector_names
        self._zone = ZoneInfo(timezone)
        self._remembered = remembered
        self._told: dict[int, KeptWish] = {}
        for name, wish in list(remembered.wishes.items()):
            if name in connector_names:
                self._told[connector_names.index(name)] = left = _left_of(wish)
                remembered.put(name, left)
            else:
                remembered.forget(name)

    def put(
        self, name: str, departure: datetime | None, energy_kwh: float | None, memory: Memory, utc: datetime
    ) -> str:
        """Take a wish for the session at `chargepoint/number`, instead of what it said before.

        A departure without offset is local time. Raises KeyError or ValueError with a sentence.
        """
        if name not in self._names:
            raise KeyError(f'There is no connector "{name}"; name it like {self._names[0]}.')
        row = self._names.index(name)
        if not memory.connectors[row]["plugged"]:
            raise ValueError(f"No car is plugged in at {name}; tell its wish when it is.")
        if departure is None and energy_kwh is None:
            raise ValueError("Tell a departure, an energy_kwh, or both.")
        leaves_ms = UNKNOWN
        if departure is not None:
            leaves_ms = self._checked(departure, utc)
        energy_wh = UNKNOWN
        if energy_kwh is not None:
            if not 0 < energy_kwh * 1000 <= WISH_MAX_WH:
                raise ValueError(
                    f"{energy_kwh:g} kWh is no energy a car can take; give more than 0 and at most"
                    f" {WISH_MAX_WH // 1000} kWh."
                )
            energy_wh = round(energy_kwh * 1000)
        self._told[row] = KeptWish(int(memory.connectors[row]["session"]), leaves_ms, energy_wh)
        self._keep(row, memory)
        return self._said(name, leaves_ms, energy_wh)

    async def durable(self, name: str) -> bool:
        """True once the wish at a connector is on disk; False when the disk does not take it."""
        return await self._remembered.durable(name)

    def _checked(self, departure: datetime, utc: datetime) -> int:
        """Ms of UTC; raises ValueError with a sentence."""
        if departure.tzinfo is None:
            departure = departure.replace(tzinfo=self._zone)
        left_ms = (departure - utc).total_seconds() * 1000
        local = f"{departure.astimezone(self._zone):%Y-%m-%d %H:%M}"
        if left_ms <= 0:
            raise ValueError(
                f"The departure {local} is in the past; it is {utc.astimezone(self._zone):%H:%M}."
            )
        if left_ms > WISH_MAX_MS:
            raise ValueError(
                f"The departure {local} is more than {WISH_MAX_MS // 86_400_000} days away; leave it out."
            )
        return int(departure.timestamp() * 1000)

    def _said(self, name: str, leaves_ms: int, energy_wh: int) -> str:
        parts = []
        if energy_wh != UNKNOWN:
            parts.append(f"needs {energy_wh / 1000:g} kWh")
        if leaves_ms != UNKNOWN:
            leaves = datetime.fromtimestamp(leaves_ms / 1000, UTC).astimezone(self._zone)
            parts.append(f"leaves {leaves:%Y-%m-%d %H:%M}")
        return f"The car at {name} {' and '.join(parts)}."

    def standing(self, memory: Memory, now_ms: int, utc_ms: int, *, trusted: bool) -> dict[int, Wish]:
        """Wishes by row, of sessions that are still there; departures only by a trusted calendar."""
        found = {}
        for row, told in list(self._told.items()):
            if memory.connectors[row]["session"] != told.session or not memory.connectors[row]["plugged"]:
                if self._told.get(row) is told:  # and not of the next session, told this moment
                    del self._told[row]
                    self._remembered.forget(self._names[row])
                continue
            kept = self._remembered.wishes.get(self._names[row])
            if kept is not None and _taken_wh(memory, row) >= kept.got_wh + KEPT_EVERY_WH:
                self._keep(row, memory)
            departs = trusted and told.departure_utc_ms != UNKNOWN
            leaves_ms = now_ms + told.departure_utc_ms - utc_ms if departs else NEVER
            found[row] = Wish(leaves_ms if leaves_ms > now_ms else NEVER, told.energy_wh)
        return found

    def _keep(self, row: int, memory: Memory) -> None:
        self._remembered.put(self._names[row], self._told[row]._replace(got_wh=_taken_wh(memory, row)))


def _taken_wh(memory: Memory, row: int) -> int:
    """What the session has taken since it was plugged in, or since the start of this process."""
    return watts(int(memory.connectors[row]["charge_mas"]), 1) // 3600


def _left_of(wish: KeptWish) -> KeptWish:
    """What is left of a wish, counted anew from now on."""
    if wish.energy_wh == UNKNOWN:
        return wish._replace(got_wh=0)
    return wish._replace(energy_wh=max(wish.energy_wh - wish.got_wh, 0), got_wh=0)
