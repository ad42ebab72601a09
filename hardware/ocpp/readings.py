"""What a chargepoint's MeterValues say about current and energy, read the way boxes really write them.

Rules: values are strings; units may carry k or m; `L1` and `L1-N` are the same; the inlet's meter counts only
where there is no other; what is missing stays UNKNOWN. Currents are mA in the connector's *own* phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from controller.defaults import UNKNOWN
from controller.electrical import NOMINAL_VOLTAGE_V, feed_ma

ABSURD_FACTOR: Final = 10  # a current above this many times the rating is no reading (mA sold as A)
CURRENT, POWER, ENERGY, VOLTAGE, SOC = (
    "Current.Import",
    "Power.Active.Import",
    "Energy.Active.Import.Register",
    "Voltage",
    "SoC",
)
_SCALE: Final = {
    CURRENT: {"": Decimal(1000), "A": Decimal(1000), "mA": Decimal(1), "kA": Decimal(1_000_000)},
    POWER: {"": Decimal(1), "W": Decimal(1), "kW": Decimal(1000)},
    ENERGY: {"": Decimal(1), "Wh": Decimal(1), "kWh": Decimal(1000)},
    VOLTAGE: {"": Decimal(1), "V": Decimal(1)},
    SOC: {"": Decimal(1), "Percent": Decimal(1)},
}
_PHASES: Final = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_ALL: Final = -1

Currents = tuple[int, int, int]


class Sample(NamedTuple):
    """One `meterValue` element: what was measured at `timestamp` (text of the box, may be empty)."""

    timestamp: str
    current_ma: Currents | None
    energy_wh: int | None
    context: str
    faults: tuple[str, ...]
    soc_percent: int = UNKNOWN
    total_ma: int = UNKNOWN
    """Where only the power of all phases is told: that at nominal voltage; the phases are UNKNOWN then."""


def parse_timestamp(text: str) -> datetime | None:
    """Aware UTC; None when it is no time. A time without zone is taken as UTC."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return None


def read_samples(
    meter_values: Iterable[dict[str, Any]], phases: int, max_ma: int, efficiency: float | None = None
) -> list[Sample]:
    """Every element of a valid MeterValues.req, for a connector of 1 or 3 phases rated at `max_ma`.

    With `efficiency` it is DC: what it gives the car is told, and what its feed carries is meant.
    """
    return [_sample(element, phases, max_ma, efficiency) for element in meter_values]


def _sample(element: dict[str, Any], phases: int, max_ma: int, efficiency: float | None) -> Sample:
    faults: list[str] = []
    values: dict[str, dict[int, Decimal]] = {}
    sampled = element["sampledValue"]
    for measurand in _SCALE:
        values[measurand] = _collect(measurand, sampled, faults)
    current = _current(values, phases) if efficiency is None else _feed(values, efficiency)
    total = UNKNOWN
    if current is not None and all(ma == UNKNOWN for ma in current) and _ALL in values[POWER]:
        total = _total_ma(values[POWER])
    largest_ma = max((abs(ma) for ma in (*(current or ()), total) if ma != UNKNOWN), default=0)
    if largest_ma > ABSURD_FACTOR * max_ma:
        faults.append(f"a current of {largest_ma // 1000} A on an outlet of {max_ma // 1000} A")
        current = None
    energy = values[ENERGY].get(_ALL)
    context = next((str(value["context"]) for value in sampled if "context" in value), "")
    return Sample(
        str(element.get("timestamp", "")),
        current,
        None if energy is None else int(energy),
        context,
        tuple(faults),
        _soc_percent(values[SOC]),
        total,
    )


def _soc_percent(found: dict[int, Decimal]) -> int:
    soc = found.get(_ALL)
    return int(soc) if soc is not None and 0 <= soc <= 100 else UNKNOWN


def _collect(measurand: str, sampled: list[dict[str, Any]], faults: list[str]) -> dict[int, Decimal]:
    """Values of one measurand by phase (own phase or _ALL), in mA, W, Wh or V."""
    mine = [
        value
        for value in sampled
        if value.get("measurand", ENERGY) == measurand and value.get("format") != "SignedData"
    ]
    # The car's own battery tells its state of charge; a current at the inlet is that of another meter.
    outside = [v for v in mine if measurand == SOC or v.get("location", "Outlet") != "Inlet"]
    found: dict[int, Decimal] = {}
    for value in outside or mine:
        phase = _PHASES.get(value.get("phase", ""), _ALL if "phase" not in value else None)
        if phase is None:
            continue  # neutral or between two phases: says nothing about a phase
        scale = _SCALE[measurand].get(value.get("unit", ""))
        number = _number(value["value"])
        if scale is None or number is None:
            faults.append(f"{measurand} of {value['value'][:40]!r} {value.get('unit', '')}".rstrip())
            continue
        found[phase] = number * scale
    return found


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    # An exponent as large as 1e999999 would take all memory when it becomes a whole number.
    return number if number.is_finite() and abs(number) < Decimal(10) ** 12 else None


def _current(values: dict[str, dict[int, Decimal]], phases: int) -> Currents | None:
    """Per-phase current from the best that was measured; None when nothing tells."""
    current, power = values[CURRENT], values[POWER]
    if any(phase in current for phase in range(3)):
        return _own_phases({p: int(ma) for p, ma in current.items() if p != _ALL}, phases)
    if _ALL in current:  # some boxes mean the largest, some the sum: the largest is the safe reading of both
        return _own_phases(dict.fromkeys(range(3), int(current[_ALL])), phases)
    if any(phase in power for phase in range(3)):
        volts = {p: _volts(values[VOLTAGE], p) for p in range(3)}
        per_phase = {p: int(w * 1000 / volts[p]) for p, w in power.items() if p != _ALL}
        return _own_phases(per_phase, phases)
    if _ALL in power:
        return _own_phases({0: _total_ma(power)} if phases == 1 else {}, phases)
    return None


def _total_ma(power: dict[int, Decimal]) -> int:
    return int(power[_ALL] * 1000 / NOMINAL_VOLTAGE_V)


def _feed(values: dict[str, dict[int, Decimal]], efficiency: float) -> Currents | None:
    """Current of the feed of a DC outlet from its power, or else from current and voltage at the car."""
    power, current, volts = (values[measurand].get(_ALL) for measurand in (POWER, CURRENT, VOLTAGE))
    if power is None and current is not None and volts is not None:
        power = current * volts / 1000
    if power is None:
        return None
    fed = feed_ma(max(0.0, float(power)), efficiency)
    return (fed, fed, fed)


def _volts(measured: dict[int, Decimal], phase: int) -> Decimal:
    volts = measured.get(phase, measured.get(_ALL, Decimal(NOMINAL_VOLTAGE_V)))
    return volts if 100 <= volts <= 300 else Decimal(NOMINAL_VOLTAGE_V)


def _own_phases(found: dict[int, int], phases: int) -> Currents:
    """A phase that the outlet does not have carries 0; one that was not reported is UNKNOWN."""
    missing = (UNKNOWN, 0, 0) if phases == 1 else (UNKNOWN, UNKNOWN, UNKNOWN)
    if phases == 1:
        found = {0: found[0]} if 0 in found else {}
    return (found.get(0, missing[0]), found.get(1, missing[1]), found.get(2, missing[2]))
