"""The type of a table: a structured NumPy array of 64-bit fields, one row per asset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]

_WORD = np.dtype(np.int64)


class Layout:
    """Tables of so many rows each, behind one another in one piece of memory: cleared and copied at once."""

    def __init__(self, *tables: tuple[int, np.dtype[Any]]) -> None:
        self._places = []
        offset = 0
        for rows, kind in tables:
            self._places.append((rows, kind, offset))
            offset += rows * kind.itemsize
        self._words = offset // _WORD.itemsize

    def cleared(self) -> list[Table]:
        """New tables, all 0."""
        return self._on(np.zeros(self._words, _WORD))

    def copied(self, tables: Sequence[Table], *, frozen: bool = False) -> list[Table]:
        """A copy of tables of this layout; `frozen`: not to be written to.

        Raises ValueError where they are of another size.
        """
        whole = tables[0].base
        apart = [table for table in tables if table.base is not whole]
        if apart or not isinstance(whole, np.ndarray):
            whole = np.frombuffer(b"".join(table.tobytes() for table in tables), _WORD)
        if len(whole) != self._words:
            raise ValueError(f"the tables hold {len(whole)} numbers; those of this site hold {self._words}")
        words = whole.copy()
        words.flags.writeable = not frozen
        return self._on(words)

    def _on(self, words: NDArray[np.int64]) -> list[Table]:
        return [np.ndarray(rows, kind, words, offset) for rows, kind, offset in self._places]


def copied(table: Table) -> Table:
    """A copy of a table, ten times as fast as NumPy copies field by field."""
    if not len(table):
        return table
    return np.frombuffer(np.frombuffer(table, _WORD).copy(), table.dtype)
