"""The type of a table: a structured NumPy array, one row per asset."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Table = NDArray[Any]
