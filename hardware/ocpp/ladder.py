"""Which way of saying a limit a box takes: it is offered one after the other until one is accepted.

A rung that has worked is left only when it is refused twice in a row, because a transaction that begins or
ends at this moment makes a box refuse what it takes otherwise.
"""

from __future__ import annotations

from hardware.ocpp.profiles import LADDER, Rung, usable

# These say that the message was not even looked at, so that the next rung may be tried. Any other CALLERROR
# leaves open whether the limit is in force.
NOT_PROCESSED = {
    "NotImplemented",
    "NotSupported",
    "FormationViolation",
    "FormatViolation",
    "PropertyConstraintViolation",
    "TypeConstraintViolation",
    "OccurenceConstraintViolation",
    "OccurrenceConstraintViolation",
}


class Ladder:
    """The rung in use, and what a box of `connectors` outlets can store."""

    def __init__(self, connectors: int, rung: int = 0) -> None:
        self._connectors = connectors
        self.index = rung if 0 <= rung < len(LADDER) else 0
        self.worked = rung > 0
        self.units = frozenset({"A", "W"})
        self.max_periods = 2

    @property
    def rung(self) -> Rung:
        """The rung in use."""
        return LADDER[self.index]

    def first(self, *, leased: bool) -> bool:
        """Go to the first rung from here on that this box can store; False: there is none."""
        for index in range(self.index, len(LADDER)):
            if self._usable(index, leased):
                self.index = index
                return True
        return False

    def next(self, *, leased: bool) -> bool:
        """Climb down one rung; False: all are spent, and the ladder starts from the top again."""
        for index in range(self.index + 1, len(LADDER)):
            if self._usable(index, leased):
                self.index = index
                self.worked = False
                return True
        self.restart()
        return False

    def restart(self) -> None:
        """Forget what was learnt: another firmware may take other things."""
        self.index = 0
        self.worked = False

    def _usable(self, index: int, leased: bool) -> bool:
        return usable(
            LADDER[index],
            units=self.units,
            connectors=self._connectors,
            leased=leased,
            max_periods=self.max_periods,
        )
