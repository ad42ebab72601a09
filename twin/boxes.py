"""How a chargepoint behaves, whoever talks to it: the simulated link or the emulator on a real wire.

Without an order a transaction runs at the start current (TxDefaultProfile = `fallback_a`). An order is a
TxProfile: it needs a running transaction, ends with it, and decays to the start current with its lease.
"""

from __future__ import annotations

from typing import Any, Final

from controller.defaults import DOWN_MS, NEVER
from controller.image import Answer
from controller.kernel import direct, kernel
from controller.table import Table

ACCEPTED: Final = int(Answer.ACCEPTED)
REFUSED: Final = int(Answer.REFUSED)
BOX_STEP_MA: Final = 100  # OCPP says a tenth of an ampere
FULL_MA: Final = 1_000_000  # more than any outlet has
LOWERINGS: Final = 1  # what a box may be deaf for; 2: all limits


@kernel
def _as_given(outlet: Any, limit_ma: int) -> int:
    """What the box makes of a limit: whole steps, or all it has after a pause."""
    step_ma = outlet["step_ma"]
    if outlet["resumes_full"] != 0 and outlet["pilot_ma"] == 0 and limit_ma > 0:
        return FULL_MA
    if step_ma > 0:
        return int(-(-limit_ma // step_ma) * step_ma)
    return int(limit_ma if step_ma == 0 else limit_ma // -step_ma * -step_ma)


@kernel
def _pass_on(outlet: Any, phases: int, switch_ms: int, now_ms: int) -> None:
    """Charge on one phase or on three, where the box can; it does so under load too, which is counted."""
    single = int(phases == 1)
    if switch_ms == 0 or phases == 0 or single == outlet["single"] or outlet["sticks"] != 0:
        return
    outlet["single"] = single
    outlet["changes"] += 1
    rested = outlet["pilot_ma"] == 0 and now_ms >= outlet["off_since_ms"] + switch_ms
    outlet["hot_changes"] += int(outlet["draw_ma"][0] > 0 or not rested)


@kernel
def hold(
    outlets: Table,
    connectors: Table,
    c: int,
    limit_ma: int,
    phases: int,
    until_ms: int,
    then_ma: int,
    now_ms: int,
) -> None:
    """What the box says it holds from now on, and what it holds: not the same where it has a fault.

    `phases` to charge on are 1 or 3; 0 says nothing of them.
    """
    outlet = outlets[c]
    _pass_on(outlet, phases, connectors[c]["switch_ms"], now_ms)
    before = outlet["claimed_ma"]
    if outlet["left_until_ms"] > now_ms:
        before = max(before, outlet["left_ma"])
    outlet["left_ma"] = before
    outlet["left_until_ms"] = now_ms + DOWN_MS
    outlet["claimed_ma"] = limit_ma
    given_ma = _as_given(outlet, limit_ma)
    if outlet["deaf"] == 0 or (outlet["deaf"] == LOWERINGS and given_ma > outlet["pilot_ma"]):
        if given_ma == 0 and outlet["pilot_ma"] > 0:
            outlet["off_since_ms"] = now_ms
        outlet["pilot_ma"] = min(given_ma, connectors[c]["max_ma"], outlet["cable_ma"])
    outlet["decays_at_ms"] = NEVER if outlet["deaf"] != 0 else until_ms
    outlet["decay_to_ma"] = then_ma


@kernel
def take_order(
    outlets: Table, connectors: Table, c: int, limit_ma: int, phases: int, until_ms: int, now_ms: int
) -> int:
    """Give one connector a new limit until `until_ms` (NEVER: for good); returns the box's Answer."""
    outlet = outlets[c]
    if outlet["refusing"] != 0 or outlet["transaction"] == 0:
        return REFUSED
    hold(outlets, connectors, c, limit_ma, phases, until_ms, connectors[c]["fallback_ma"], now_ms)
    return ACCEPTED


@direct
@kernel
def obey_at_once(
    orders: Table, seen: Table, outlets: Table, connectors: Table, writes: Any, now_ms: int
) -> bool:
    """Let every box take its order and answer in this instant; True when there was any."""
    any_order = False
    for c in range(len(orders)):
        if orders[c]["put"] == 0 or outlets[c]["offline"] != 0:
            continue
        any_order = True
        limit_ma = orders[c]["target_ma"] // BOX_STEP_MA * BOX_STEP_MA
        phases = orders[c]["order_phases"]
        answer = take_order(outlets, connectors, c, limit_ma, phases, orders[c]["lease_until_ms"], now_ms)
        if answer == ACCEPTED:
            writes[c] += 1
        seen[c]["answered_seq"] = orders[c]["order_seq"]
        seen[c]["answer"] = answer
        seen[c]["answered_at_ms"] = now_ms
    return any_order
