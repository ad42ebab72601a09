"""The type of a table: a structured NumPy array, one row per asset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]

_WORD = np.dtype(np.int64)


def zeroed(*wanted: tuple[int, np.dtype[Any]]) -> Iterator[Table]:
    """Tables of so many rows of 64-bit fields, cleared; one piece of memory, which takes half the time."""
    words = np.zeros(sum(rows * kind.itemsize for rows, kind in wanted) // _WORD.itemsize, _WORD)
    offset = 0
    for rows, kind in wanted:
        yield np.ndarray(rows, kind, words, offset)
        offset += rows * kind.itemsize


def copied(table: Table) -> Table:
    """A copy of a table of 64-bit fields, ten times as fast as NumPy copies field by field."""
    if not len(table):
        return table
    return np.frombuffer(np.frombuffer(table, _WORD).copy(), table.dtype)
