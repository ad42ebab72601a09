"""How far a reading is believed: by age, plausibility and completeness; what is assumed when it is not.

Turns the phases of the devices into the phases of the site, here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from controller.commitments import tolerance_ma
from controller.defaults import (
    CYCLE_MS,
    LINK_MS,
    METER_ABSURD_FACTOR,
    METER_FRESH_MS,
    METER_FROZEN_MOVE_MA,
    METER_FROZEN_MS,
    METER_LOST_MS,
    METER_RETURN_SAMPLES,
    NEVER,
    PHASE_COUNT,
    SAMPLE_GRACE_MS,
    TOTAL_POWER_PER_MILLE,
    UNKNOWN,
    UNLIMITED_MA,
)
from controller.kernel import kernel
from controller.session import book_every_phase
from controller.topology import GUARD, MAGNITUDES, TOTAL_POWER
from controller.work import Cycle

EVERY_PHASE = 7  # as bits
TOO_MUCH = 10  # a reading above this many times the rating of the outlet is no reading


@kernel
def believe_meters(cy: Cycle) -> None:
    """Take over new plausible readings; call a meter lost after METER_LOST_MS without one."""
    now = cy.clock[0]["now_ms"]
    for m in range(len(cy.built_meters)):
        built = cy.built_meters[m]
        kept = cy.kept_meters[m]
        grid = cy.grids[built["grid"]]
        _believe_meter(cy, m)
        if built["role"] != cy.built_grids[built["grid"]]["kind"]:
            continue  # a consumer meter beside a guard: `controller.comparison`
        age = now - max(kept["at_ms"], 0)
        if age > METER_LOST_MS:
            kept["lost"] = 1
            kept["good_samples"] = 0
        if age > METER_FRESH_MS or kept["at_ms"] == NEVER:
            grid["ageing"] = 1
            grid["held"] = 1
        if kept["lost"] == 1:
            grid["safe_ma"] = (
                min(grid["safe_ma"], built["safe_ma"]) if grid["lost"] == 1 else built["safe_ma"]
            )
            grid["lost"] = 1
        grid["blind_ms"] = max(grid["blind_ms"], built["delay_ms"] + CYCLE_MS)
        if built["role"] == GUARD and kept["lost"] == 0 and kept["at_ms"] != NEVER:
            grid["guarded"] = 1
            grid["measured_at_ms"] = kept["at_ms"]
            in_doubt = built["measures"] == MAGNITUDES or kept["swapped"] == 1
            grid["undirected"] = EVERY_PHASE if in_doubt else kept["reversed"]
            for p in range(3):
                grid["measured_ma"][p] = _worst_of(kept, p)


@kernel
def _worst_of(kept: Any, p: int) -> int:
    """A phase of a guard whose wiring is in doubt: a magnitude where its sign is, else the highest phase."""
    value = int(kept["current_ma"][p])
    if kept["reversed"] & (1 << p) != 0:
        value = abs(value)
    if kept["swapped"] == 1:
        for q in range(3):
            value = max(value, int(abs(kept["current_ma"][q])))
    return value


@kernel
def _believe_meter(cy: Cycle, m: int) -> None:
    built = cy.built_meters[m]
    seen = cy.seen_meters[m]
    kept = cy.kept_meters[m]
    if seen["at_ms"] <= kept["at_ms"]:
        return
    limit = cy.built_grids[built["grid"]]["limit_ma"]
    ceiling = METER_ABSURD_FACTOR * max(limit[0], limit[1], limit[2])
    kept["absurd"] = 0
    for own in range(3):
        value = _own_phase(built, seen, own)
        if value == UNKNOWN or value > ceiling or value < -ceiling:
            kept["absurd"] = 1
    if kept["absurd"] == 1:
        kept["good_samples"] = 0
        return
    changed = kept["at_ms"] == NEVER
    kept["at_ms"] = seen["at_ms"]
    for own in range(3):
        value = _own_phase(built, seen, own)
        p = built["phase"][own]
        changed = changed or value != kept["current_ma"][p]
        kept["current_ma"][p] = value
    _watch_frozen(kept, changed)
    if kept["lost"] == 1 and kept["frozen"] == 0:
        kept["good_samples"] += 1
        if kept["good_samples"] >= METER_RETURN_SAMPLES:
            kept["lost"] = 0


@kernel
def _own_phase(built: Any, seen: Any, own: int) -> int:
    """What the meter says of its own phase, positive towards the load, or UNKNOWN.

    Total power says nothing of a phase: one may carry all of it, unless the site file says how far they
    differ; and the current is higher than the power by the power factor.
    """
    if built["measures"] == TOTAL_POWER:
        total = int(seen["total_ma"])
        if total == UNKNOWN:
            return UNKNOWN
        total = max(total * built["sign"], 0) * TOTAL_POWER_PER_MILLE // 1000
        if built["differ_ma"] == UNLIMITED_MA:
            return int(total)
        return int(min(total, total // PHASE_COUNT + built["differ_ma"]))
    value = int(seen["current_ma"][own])
    if value == UNKNOWN:
        return UNKNOWN
    if built["measures"] == MAGNITUDES:
        return abs(value)
    return int(value * built["sign"])


@kernel
def _watch_frozen(kept: Any, changed: bool) -> None:
    """A guard that says the same for a minute while the cars under it change is frozen.

    Cars that took more would look like less load of the building, and make room for more cars: so it is
    lost. Where they only took less the building looks larger than it is, which is safe.
    """
    if changed:
        kept["same_since_ms"] = kept["at_ms"]
        kept["frozen"] = 0
        for p in range(3):
            kept["moved_ma"][p] = 0
        return
    if kept["at_ms"] - kept["same_since_ms"] < METER_FROZEN_MS:
        return
    for p in range(3):
        if abs(kept["moved_ma"][p]) > METER_FROZEN_MOVE_MA:
            kept["frozen"] = 1
        if kept["moved_ma"][p] > METER_FROZEN_MOVE_MA:
            kept["lost"] = 1
            kept["good_samples"] = 0


@kernel
def believe_connector(cy: Cycle, c: int) -> None:
    """Newest draw of a connector in the phases of the site, and whether it is fresh."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    draw = 0
    for p in range(3):
        draw += max(kept["reading_ma"][p], 0)
    kept["charge_mas"] += draw * max(now - cy.kept_site[0]["now_ms"], 0) // 1000
    _take_reading(cy, c)
    work["heard_ms"] = kept["reading_at_ms"]
    silent = kept["event_at_ms"] > kept["reading_at_ms"]
    if silent:
        work["heard_ms"] = kept["event_at_ms"]
    work["active"] = int(kept["transaction"] != 0)
    age = now - work["heard_ms"]
    work["fresh"] = int(
        cy.seen[c]["online"] == 1
        and work["heard_ms"] != NEVER
        and age <= cy.built[c]["sample_ms"] + SAMPLE_GRACE_MS
    )
    for p in range(3):
        work["reading_ma"][p] = kept["reading_ma"][p]
        if silent:
            work["reading_ma"][p] = 0
        work["draw_ma"] = max(work["draw_ma"], work["reading_ma"][p])
    _spread_unknown(cy, c)
    for d in range(cy.built[c]["depth"]):
        work["blind_ms"] = max(work["blind_ms"], cy.grids[cy.built[c]["path"][d]]["blind_ms"])
    work["blind_ms"] = max(work["blind_ms"], CYCLE_MS)


@kernel
def _take_reading(cy: Cycle, c: int) -> None:
    seen = cy.seen[c]
    kept = cy.kept[c]
    if seen["reading_at_ms"] <= kept["reading_at_ms"]:
        return
    highest = UNKNOWN
    for own in range(3):
        highest = max(highest, seen["current_ma"][own])
    if highest == UNKNOWN and seen["total_ma"] != UNKNOWN:
        highest = _share_of_total(cy.built[c], kept, max(seen["total_ma"], 0))
    elif highest != UNKNOWN:
        kept["spread"] = 0
    if highest == UNKNOWN or highest > TOO_MUCH * cy.built[c]["max_ma"]:
        return
    kept["previous_at_ms"] = kept["reading_at_ms"]
    kept["reading_at_ms"] = seen["reading_at_ms"]
    cy.work[c]["news"] = 1
    for own in range(3):
        p = cy.built[c]["phase"][own]
        value = seen["current_ma"][own]
        if kept["learnt"] == 1:  # which of its own phases is which is not known, only where they are
            value = highest * kept["phases"][p]
        elif value == UNKNOWN:
            value = highest
        moved = max(value, 0) - kept["reading_ma"][p]
        kept["reading_ma"][p] = max(value, 0)
        if moved != 0 and kept["previous_at_ms"] != NEVER:
            _tell_guards(cy, c, p, moved)


@kernel
def _share_of_total(built: Any, kept: Any, total: int) -> int:
    """Current on the highest phase of a box that tells only its whole power.

    Spread over three phases a car on one phase that ignores its limit would pass for obedient; all on one, a
    car on three would pass for a liar. So the power flows on as few phases as an obedient box needs for it,
    and on more only where no lowering is open, or where the power has clearly fallen.
    """
    limit = kept["target_ma"] if kept["limit_known"] == 1 else built["max_ma"]
    phases = max(int(kept["spread"]), 1)
    lowering = kept["observed"] == 0 and kept["fall_since_ms"] != NEVER
    if not lowering or total * 4 <= kept["total_ma"] * 3:
        while phases < PHASE_COUNT and total > phases * (limit + tolerance_ma(limit)):
            phases += 1
    kept["spread"] = phases
    kept["total_ma"] = total
    return int(total // phases)


@kernel
def _tell_guards(cy: Cycle, c: int, p: int, moved: int) -> None:
    """Both readings are younger than the guard's own: it should have seen the difference."""
    for d in range(cy.built[c]["depth"]):
        m = cy.built_grids[cy.built[c]["path"][d]]["guard"]
        if m < 0 or cy.kept_meters[m]["same_since_ms"] == NEVER:
            continue
        since = cy.kept_meters[m]["same_since_ms"] + cy.built_meters[m]["delay_ms"] + LINK_MS
        if cy.kept[c]["previous_at_ms"] >= since:
            cy.kept_meters[m]["moved_ma"][p] += moved


@kernel
def _spread_unknown(cy: Cycle, c: int) -> None:
    """Unknown phases carry the highest phase; current on a phase taken off puts that back at once."""
    kept = cy.kept[c]
    work = cy.work[c]
    tolerance = tolerance_ma(work["draw_ma"])
    for p in range(3):
        if kept["known"] == 1 and kept["phases"][p] == 0 and work["reading_ma"][p] > tolerance:
            book_every_phase(cy.built[c], kept)
            kept["phases"][p] = 1
            kept["known"] = 0
    if kept["known"] == 0:
        for p in range(3):
            work["reading_ma"][p] = work["draw_ma"] * kept["phases"][p]
