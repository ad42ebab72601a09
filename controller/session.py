"""From what a connector reports to sessions: one state machine for both worlds.

A session lasts from plug-in to plug-out, a transaction runs inside it. Everything learnt about a car
(phases, cap, charge) is forgotten when it leaves.
"""

from __future__ import annotations

from typing import Any

from controller.defaults import NEVER, UNKNOWN
from controller.image import Status
from controller.kernel import kernel
from controller.work import Cycle

AVAILABLE = int(Status.AVAILABLE)
NONE = int(Status.NONE)
PREPARING = int(Status.PREPARING)
FINISHING = int(Status.FINISHING)
CHARGING = int(Status.CHARGING)
SUSPENDED_EV = int(Status.SUSPENDED_EV)
SUSPENDED_EVSE = int(Status.SUSPENDED_EVSE)


@kernel
def follow_session(cy: Cycle, c: int) -> None:
    """Advance a connector's session and transaction to what it reports now."""
    now = cy.clock[0]["now_ms"]
    seen = cy.seen[c]
    kept = cy.kept[c]
    if seen["online"] == 0:
        return
    if seen["status"] != NONE:
        kept["seen"] = 1
    plugged = int(seen["transaction"] != 0 or (seen["status"] >= PREPARING and seen["status"] <= FINISHING))
    if plugged != kept["plugged"]:
        kept["plugged"] = plugged
        if plugged == 1:
            _begin(cy.built[c], kept, now)
    if seen["transaction"] != kept["transaction"]:
        kept["transaction"] = seen["transaction"]
        _transaction_changed(cy.built[c], seen, kept, now)
    _hear_event(seen, kept)


@kernel
def occupied(seen: Any) -> bool:
    """It says that a car charges or pauses: a transaction runs, whether or not anybody has announced it."""
    return bool(seen["status"] in (CHARGING, SUSPENDED_EV, SUSPENDED_EVSE))


@kernel
def _begin(built: Any, kept: Any, now: int) -> None:
    kept["session"] += 1
    kept["since_ms"] = now
    kept["charge_mas"] = 0
    kept["cap_ma"] = built["max_ma"]
    kept["slack_since_ms"] = NEVER
    kept["lift_wait_ms"] = 0
    kept["lifted_at_ms"] = NEVER
    kept["full"] = 0
    kept["probe_at_ms"] = NEVER
    kept["solar_on"] = 0
    kept["solar_since_ms"] = NEVER
    kept["solar_tried_ms"] = NEVER
    kept["sleep"] = 0
    kept["wake_at_ms"] = NEVER
    kept["wake_tries"] = 0
    kept["delicate"] = 0
    kept["learn_tries"] = 0
    kept["learn_cap_ma"] = 0
    kept["switch_failed"] = 0
    kept["off_since_ms"] = now
    kept["on_since_ms"] = NEVER
    kept["proof_failed_at_ms"] = NEVER
    book_every_phase(built, kept)


@kernel
def book_every_phase(built: Any, kept: Any) -> None:
    """Back to the worst case: the connector counts on every phase that it could use."""
    possible = 0
    for p in range(3):
        kept["phases"][p] = built["possible"][p]
        possible += built["possible"][p]
    kept["known"] = int(possible == 1 or built["balanced"] == 1)
    kept["evidence"] = 0
    kept["evidence_count"] = 0
    kept["spread"] = 0
    kept["learnt"] = 0
    kept["learnt_steps"] = 0


@kernel
def _transaction_changed(built: Any, seen: Any, kept: Any, now: int) -> None:
    """TxProfiles die with their transaction: what rules is the default, once it is verified, on all phases.

    The change is treated as an order that the box gave itself, so the commitment falls only by the
    ordinary rules of observation.
    """
    kept["fall_since_ms"] = NEVER
    kept["switching"] = 0
    kept["switch_since_ms"] = NEVER
    if kept["single"] == 1:
        kept["single"] = 0
        book_every_phase(built, kept)
    if seen["default_ma"] == UNKNOWN:
        kept["limit_known"] = 0
        return
    if kept["transaction"] != 0 and kept["limit_known"] == 0:
        return
    kept["target_ma"] = seen["default_ma"]
    kept["lowest_ma"] = min(kept["lowest_ma"], seen["default_ma"])
    kept["committed_ma"] = max(kept["committed_ma"], seen["default_ma"])
    kept["observed"] = 0
    kept["answer_at_ms"] = seen["transaction_at_ms"] if seen["transaction_at_ms"] != NEVER else now
    kept["sends"] = 0
    kept["retried"] = 0
    kept["refused_at_ms"] = NEVER
    kept["lease_until_ms"] = NEVER
    kept["assured_until_ms"] = NEVER
    kept["on_since_ms"] = NEVER


@kernel
def _hear_event(seen: Any, kept: Any) -> None:
    """A status that says "draws nothing" is a reading of 0 A; it never releases a commitment."""
    quiet = seen["status"] in (AVAILABLE, PREPARING, SUSPENDED_EV, SUSPENDED_EVSE, FINISHING)
    at = NEVER
    if quiet:
        at = seen["status_at_ms"]
    if seen["transaction"] == 0:
        at = max(at, seen["transaction_at_ms"])
    if at > kept["event_at_ms"]:
        kept["event_at_ms"] = at
