"""How a chargepoint behaves, whoever talks to it: the simulated link or the emulator on a real wire.

Without an order a transaction runs at the start current (TxDefaultProfile = `fallback_a`). An order is a
TxProfile: it needs a running transaction, ends with it, and decays to the start current with its lease.
"""

from __future__ import annotations

from controller.defaults import NEVER
from controller.image import Answer
from twin.world import World


def order(world: World, connector: int, limit_ma: int, lease_until_ms: int = NEVER) -> Answer:
    """Give one connector a new limit; the box says what it makes of it, which proves nothing."""
    outlet = world.outlets[connector]
    if outlet["refusing"] or not outlet["transaction"]:
        return Answer.REFUSED
    fallback_ma = int(world.topology.connectors[connector]["fallback_ma"])
    world.set_pilot(connector, limit_ma, lease_until_ms, fallback_ma)
    return Answer.ACCEPTED


def clear(world: World, connector: int) -> None:
    """The order is withdrawn: back to the start current."""
    world.set_pilot(connector, int(world.topology.connectors[connector]["fallback_ma"]))
