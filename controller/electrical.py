"""Phases, rotation, amperes and watts, and the one sign rule.

Positive flows from the grid towards the load. Per-phase values are always L1, L2, L3 *of the site*;
a board or a connector that is wired in another order carries a `Rotation`.
"""

from __future__ import annotations

from math import ceil, floor

PHASES = ("L1", "L2", "L3")
L1, L2, L3 = 0, 1, 2
LINE_NAMES = (*PHASES, "L1+L2+L3")
"""Phases of a grid and their sum, as people read them."""

NOMINAL_VOLTAGE_V = 230
"""Line to neutral (IEC 60038)."""

Rotation = tuple[int, int, int]
"""`rotation[i]` is the phase of the feeder that supplies the device's own phase `i`."""

STRAIGHT: Rotation = (0, 1, 2)

_LETTERS = {"R": 0, "S": 1, "T": 2, "L1": 0, "L2": 1, "L3": 2}


def parse_rotation(text: str) -> Rotation:
    """Read `"L2 L3 L1"` or OCPP's `"STR"` (ConnectorPhaseRotation, OCPP 1.6 section 9.1.9).

    Raises ValueError with a sentence that names what is wrong.
    """
    words = text.split() if " " in text.strip() else list(text.strip())
    unknown = [word for word in words if word not in _LETTERS]
    if unknown or len(words) != 3:
        raise ValueError(f'rotation "{text}" is not three phases; write it like "L2 L3 L1" or "STR"')
    first, second, third = (_LETTERS[word] for word in words)
    if len({first, second, third}) != 3:
        twice = next(word for word in words if words.count(word) > 1)
        raise ValueError(f'rotation "{text}" names phase {twice} twice; every phase must occur once')
    return (first, second, third)


def through(feeder: Rotation, device: Rotation) -> Rotation:
    """Rotation of a device relative to the site, given that of the board it hangs on."""
    return (feeder[device[0]], feeder[device[1]], feeder[device[2]])


def milliamps(amps: float) -> int:
    """Amperes to whole milliamps, rounded to the nearest."""
    return round(amps * 1000)


def milliamps_per_phase(power_w: float, phases: int) -> int:
    """Current on each phase of a balanced device at nominal voltage and unity power factor, rounded down."""
    return int(power_w * 1000 / (NOMINAL_VOLTAGE_V * phases))


def watts(current_ma: int, phases: int) -> int:
    """Active power of a balanced load at nominal voltage and unity power factor, rounded down."""
    return current_ma * NOMINAL_VOLTAGE_V * phases // 1000


def feed_ma(power_w: float, efficiency: float) -> int:
    """Current on each of the three phases that feed a DC outlet giving this power, rounded up."""
    return ceil(power_w * 1000 / (3 * NOMINAL_VOLTAGE_V * efficiency) - 1e-6)


def fed_w(current_ma: int, efficiency: float) -> int:
    """Power that a DC outlet gives when its feed carries this on each of three phases, rounded down."""
    return floor(current_ma * 3 * NOMINAL_VOLTAGE_V * efficiency / 1000 + 1e-6)
