"""Limits of grids as registers: what is written is told like anything else from outside (`Outside.tell`).

One instruction per server, grid and group of registers. Its time to live is the watchdog: every successful
write starts it again, and when it has passed the fallback holds. With no limit in its registers the
instruction is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from controller.external import ExternalLimit, Instruction, Place
from hardware.outside import Outside, Told

NONE: Final = 0xFFFF
TENTHS: Final = 10
TTL_S: Final = 120
"""Until another time is written (the time-out of comparable interfaces)."""
GROUPS: Final = ("limit", "export")
"""What flows to the grid, and what flows back."""
FIELDS: Final = (
    ("ttl", "s", "it holds so long after each write, 1 to 65534"),
    ("fallback", "0.1 A", "what holds after that, per phase; none: nothing"),
    ("fallback_power", "0.1 kW", "the same for the phases together"),
    ("l1", "0.1 A", "limit on L1 of this board; none: no limit"),
    ("l2", "0.1 A", "limit on L2"),
    ("l3", "0.1 A", "limit on L3"),
    ("power", "0.1 kW", "limit of the phases together"),
)
"""Name, unit and meaning, in the order of the registers."""
_TTL, _FALLBACK, _FALLBACK_POWER, _L1, _POWER = 0, 1, 2, 3, 6


class Line(NamedTuple):
    """The registers of one group of a grid."""

    grid: str
    group: str


class LimitRegisters:
    """The limits that one server tells, by grid and group. For the thread of the event loop."""

    def __init__(self, server: str, outside: Outside | None, *, writable: bool) -> None:
        self._server = server
        self._outside = outside
        self.writable = writable
        self._prepared: dict[Line, tuple[int, int, int]] = {}  # time and fallbacks before there is a limit

    def words(self, line: Line) -> list[int]:
        """The registers as they stand, NONE where nothing is said."""
        if not self.writable:
            return [NONE] * len(FIELDS)
        found = self._standing(line)
        if found is None:
            return [*self._prepared.get(line, (TTL_S, NONE, NONE)), NONE, NONE, NONE, NONE]
        limit: Any = found[0].what
        three = limit.limit_a or (None, None, None)
        fallback = limit.fallback_a[0] if limit.fallback_a else None
        rest = (fallback, limit.fallback_kw, *three, limit.limit_kw)
        return [limit.ttl_s, *(NONE if value is None else round(value * TENTHS) for value in rest)]

    def state(self, line: Line) -> int | None:
        """0 nothing told, 1 in force, 2 not renewed; None: this server tells nothing."""
        left_s = self.left_s(line)
        if not self.writable:
            return None
        return 0 if left_s is None else 1 if left_s > 0 else 2

    def left_s(self, line: Line) -> int | None:
        """What is left of its time to live, rounded up."""
        found = self._standing(line)
        if found is None or self._outside is None:
            return None
        return -int(-(self._outside.left_s(found[1]) or 0) // 1)

    async def tell(self, written: Mapping[Line, Mapping[int, int]]) -> None:
        """Tell what was written, all of it or nothing. Raises ValueError with a sentence."""
        wanted = {line: self._after(line, fields) for line, fields in written.items()}
        limits = {line: self._checked(line, words) for line, words in wanted.items()}
        await asyncio.gather(*(self._tell(line, wanted[line], limit) for line, limit in limits.items()))

    async def _tell(self, line: Line, words: list[int], limit: ExternalLimit | None) -> None:
        if self._outside is None:
            return
        place, number = Place("grid", line.grid), self._number(line)
        self._prepared[line] = (words[_TTL], words[_FALLBACK], words[_FALLBACK_POWER])
        if limit is None:
            await self._outside.withdraw(place, "limits", number)
        else:
            await self._outside.tell(place, "limits", number, limit, limit.ttl_s)

    def _after(self, line: Line, fields: Mapping[int, int]) -> list[int]:
        """The registers as a write leaves them."""
        return [fields.get(at, word) for at, word in enumerate(self.words(line))]

    def _checked(self, line: Line, words: list[int]) -> ExternalLimit | None:
        """The limit that registers tell, None: none. Raises ValueError."""
        if words[_TTL] in {0, NONE}:
            raise ValueError(f"{line.group}_ttl is {words[_TTL]}: a limit lives 1 to 65534 s")
        three, power = words[_L1:_POWER], words[_POWER]
        if {*three, power} == {NONE}:
            return None
        try:
            limit = ExternalLimit(
                limit_a=None if set(three) == {NONE} else tuple(word / TENTHS for word in three),
                limit_kw=None if power == NONE else power / TENTHS,
                fallback_a=None if words[_FALLBACK] == NONE else (words[_FALLBACK] / TENTHS,) * 3,
                fallback_kw=None if words[_FALLBACK_POWER] == NONE else words[_FALLBACK_POWER] / TENTHS,
                ttl_s=words[_TTL],
                source="modbus",
                export_limit=line.group == "export",
            )
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"])) from None
        for fault in self._outside.faults(Place("grid", line.grid), limit) if self._outside else ():
            raise ValueError(fault)
        return limit

    def _standing(self, line: Line) -> tuple[Told, Instruction] | None:
        if self._outside is None or not self.writable:
            return None
        return self._outside.find(Place("grid", line.grid), "limits", self._number(line))

    def _number(self, line: Line) -> str:
        return f"modbus {self._server} {line.group}"
