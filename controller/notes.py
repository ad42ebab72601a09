"""Notes on connectors and grids: what a person should know that is no alarm (docs/notes.md).

Each follows from this cycle and a few times remembered for it; nothing here changes an order.
"""

from __future__ import annotations

from controller.commitments import tolerance_ma
from controller.decision import Because, Note
from controller.defaults import (
    DOWN_MS,
    LINES,
    NEVER,
    PHASE_COUNT,
    PHASE_IDLE_MA,
    PHASE_IN_USE_MA,
    STUBBORN_AFTER_MS,
    STUBBORN_MA,
    TOGETHER,
    UNKNOWN,
)
from controller.image import Source, Status
from controller.kernel import kernel
from controller.waking import ASLEEP
from controller.work import Cycle

FULL = int(Note.FULL)
ONE_PHASE = int(Note.ONE_PHASE_CHARGING)
TWO_PHASES = int(Note.TWO_PHASE_CHARGING)
PROFILE_REFUSED = int(Note.CHARGING_PROFILE_REFUSED)
VALUES_TIMEOUT = int(Note.METER_VALUES_TIMEOUT)
COMMUNICATION = int(Note.COMMUNICATION_ERROR)
NOT_READY = int(Note.NOT_READY)
UNSUPPORTED = int(Note.UNSUPPORTED)
IN_ERROR = int(Note.IN_ERROR)
SLEEP = int(Note.SLEEP_MODE_DETECTED)
STATION_LIMIT = int(Note.STATION_LIMIT)
ISO_15118 = int(Note.ISO_15118)
STUBBORN = int(Note.STUBBORN)
OVERSHOOT = int(Note.OVERSHOOT)
BY_TOU = int(Note.LIMIT_BY_TOU)
BY_PROFILE = int(Note.LIMIT_BY_PROFILE)
FROM_OUTSIDE = int(Note.LIMIT_FROM_OUTSIDE)
MAINTENANCE = int(Note.MAINTENANCE)
EMERGENCY = int(Note.EMERGENCY_STOP)
OUT_OF_SERVICE = int(Note.OUT_OF_SERVICE)
OVER_EXPORT = int(Note.OVER_EXPORT)
ONE_PHASE_REFUSED = int(Note.ONE_PHASE_REFUSED)
LIMITS = BY_TOU | BY_PROFILE | FROM_OUTSIDE

FAULTED = int(Status.FAULTED)
BECAUSE_FUSE = int(Because.FUSE)
BECAUSE_TURN = int(Because.TURN)
SOURCE_TOU = int(Source.TIME_OF_USE)
SOURCE_PROFILE = int(Source.PROFILE)
SOURCE_API = int(Source.API)
SOURCE_FALLBACK = int(Source.FALLBACK)
SOURCE_MAINTENANCE = int(Source.MAINTENANCE)
SOURCE_EMERGENCY = int(Source.EMERGENCY_STOP)


@kernel
def note_grids(cy: Cycle) -> None:
    """The notes of the grids, which those of the connectors quote."""
    for g in range(len(cy.grids)):
        note = _limit_note(cy, g)
        grid = cy.grids[g]
        for p in range(3):
            if grid["guarded"] == 1 and grid["measured_ma"][p] > grid["limit_ma"][p]:
                note |= OVERSHOOT
        if grid["over_export"] == 1:
            note |= OVER_EXPORT
        note |= _stop_note(cy.seen_grids[g]["stop"])
        cy.wanted_grids[g]["note"] = note


@kernel
def note_connector(cy: Cycle, c: int) -> None:
    """The notes of a connector, after its report."""
    _watch_limit(cy, c)
    cy.wanted[c]["note"] = _box_note(cy, c) | _car_note(cy, c)


@kernel
def _stop_note(stop: int) -> int:
    if stop == SOURCE_EMERGENCY:
        return EMERGENCY
    return MAINTENANCE if stop == SOURCE_MAINTENANCE else 0


@kernel
def _limit_note(cy: Cycle, g: int) -> int:
    """Whose limit rules the grid on some phase, or on their sum where that is tighter than all together."""
    grid = cy.grids[g]
    note = 0
    whole = 0
    for p in range(PHASE_COUNT):
        whole += grid["limit_ma"][p]
        note |= _source_note(grid["source"][p])
    if grid["lines"] == LINES and grid["limit_ma"][TOGETHER] < whole:
        note |= _source_note(grid["source"][TOGETHER])
    return note


@kernel
def _source_note(source: int) -> int:
    if source == SOURCE_TOU:
        return BY_TOU
    if source == SOURCE_PROFILE:
        return BY_PROFILE
    return FROM_OUTSIDE if SOURCE_API <= source <= SOURCE_FALLBACK else 0


@kernel
def _watch_limit(cy: Cycle, c: int) -> None:
    """Since when it has drawn clearly more than a limit that its box has had the time to enforce."""
    kept = cy.kept[c]
    if not _above_limit(cy, c, STUBBORN_MA):
        kept["above_since_ms"] = NEVER
    elif kept["above_since_ms"] == NEVER:
        kept["above_since_ms"] = cy.clock[0]["now_ms"]


@kernel
def _above_limit(cy: Cycle, c: int, by_ma: int) -> bool:
    kept = cy.kept[c]
    work = cy.work[c]
    if work["active"] == 0 or work["fresh"] == 0 or kept["limit_known"] == 0:
        return False
    answered = kept["answer_at_ms"] != NEVER and work["heard_ms"] >= kept["answer_at_ms"] + DOWN_MS
    return bool((kept["observed"] == 1 or answered) and work["draw_ma"] > kept["target_ma"] + by_ma)


@kernel
def _box_note(cy: Cycle, c: int) -> int:
    """What concerns the chargepoint and its link."""
    seen = cy.seen[c]
    kept = cy.kept[c]
    work = cy.work[c]
    note = _stop_note(work["stop"])
    if kept["barred"] == 1:
        note |= OUT_OF_SERVICE
    if kept["refused_at_ms"] != NEVER:
        note |= PROFILE_REFUSED
    if kept["switch_failed"] == 1 and kept["plugged"] == 1:
        note |= ONE_PHASE_REFUSED
    if seen["online"] == 0:
        return note | COMMUNICATION
    if seen["unsupported"] == 1:
        note |= UNSUPPORTED
    elif kept["seen"] == 0 or (work["active"] == 0 and seen["default_ma"] == UNKNOWN):
        note |= NOT_READY
    if seen["status"] == FAULTED:
        note |= IN_ERROR
    if work["active"] == 1 and work["fresh"] == 0:
        note |= VALUES_TIMEOUT
    return note


@kernel
def _car_note(cy: Cycle, c: int) -> int:
    """What concerns the car."""
    now = cy.clock[0]["now_ms"]
    kept = cy.kept[c]
    work = cy.work[c]
    note = 0
    if kept["plugged"] == 1 and cy.seen[c]["soc_percent"] != UNKNOWN:
        note |= ISO_15118
    if work["active"] == 0:
        return note
    because = cy.wanted[c]["because"]
    if because in (BECAUSE_FUSE, BECAUSE_TURN) and work["why_grid"] >= 0:
        if cy.built_grids[work["why_grid"]]["station"] != 0:
            note |= STATION_LIMIT
        if because == BECAUSE_FUSE:
            note |= cy.wanted_grids[work["why_grid"]]["note"] & LIMITS
    if kept["sleep"] >= ASLEEP:
        note |= SLEEP
    elif kept["full"] == 1:
        note |= FULL
    if kept["above_since_ms"] != NEVER and now - kept["above_since_ms"] >= STUBBORN_AFTER_MS:
        note |= STUBBORN
    elif _above_limit(cy, c, tolerance_ma(kept["target_ma"])):
        note |= OVERSHOOT
    return note | _phase_note(cy, c)


@kernel
def _phase_note(cy: Cycle, c: int) -> int:
    """On an outlet of three phases, as the last reading shows them; between 0.5 A and 4 A it says nothing."""
    used = 0
    idle = 0
    possible = 0
    for p in range(3):
        possible += cy.built[c]["possible"][p]
        used += int(cy.kept[c]["reading_ma"][p] >= PHASE_IN_USE_MA)
        idle += int(cy.kept[c]["reading_ma"][p] < PHASE_IDLE_MA)
    if possible != PHASE_COUNT or used + idle != PHASE_COUNT or cy.work[c]["draw_ma"] < PHASE_IN_USE_MA:
        return 0
    return ONE_PHASE if used == 1 else TWO_PHASES if used == PHASE_COUNT - 1 else 0
