"""The car park: which connector a driver takes, who waits for one, who gives up."""

from __future__ import annotations

from typing import Any

from twin.sessions import Session

TURNOVER_MS = 60_000
"""What the next car needs to take a place."""


class Parking:
    """Who waits, the highest priority first and then whoever came first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, Session]] = []

    @staticmethod
    def free_bay(session: Session, outlets: Any) -> int | None:
        """The free connector that the driver likes best; a dark one is of no use."""
        for row in session.bays:
            if not outlets[row]["plugged"] and outlets[row]["powered"]:
                return row
        return None

    @property
    def queue(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, number: int, session: Session) -> None:
        """Join the queue."""
        self._waiting.append((-session.priority, session.plug_in_ms, number, session))
        self._waiting.sort(key=lambda place: place[:3])

    def give_up(self, number: int) -> None:
        """Leave the queue; nothing happens to who is not in it."""
        self._waiting = [place for place in self._waiting if place[2] != number]

    def next_for(self, row: int) -> int | None:
        """Take the first who would take this connector out of the queue."""
        for place in self._waiting:
            if row in place[3].bays:
                self._waiting.remove(place)
                return place[2]
        return None
