"""The set-points that a box knows: multiples of its step, or the few of its maker's list."""

from __future__ import annotations

from typing import Any

from controller.kernel import kernel


@kernel
def at_most_ma(built: Any, current_ma: int) -> int:
    """The largest set-point not above it; 0 below the first of a list."""
    if built["steps"] == 0:
        return int(current_ma // built["step_ma"] * built["step_ma"])
    found = 0
    for i in range(built["steps"]):
        if built["steps_ma"][i] <= current_ma:
            found = built["steps_ma"][i]
    return found


@kernel
def above_ma(built: Any, current_ma: int) -> int:
    """The next set-point above it; the last of a list has none above and stays."""
    if built["steps"] == 0:
        return int((current_ma // built["step_ma"] + 1) * built["step_ma"])
    for i in range(built["steps"]):
        if built["steps_ma"][i] > current_ma:
            return int(built["steps_ma"][i])
    return int(built["steps_ma"][built["steps"] - 1])
