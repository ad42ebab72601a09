"""What the core asks of the world: a plant to look at and to give orders to, and a journal.

Both worlds implement these: the twin with simulated instruments, the box with Modbus and OCPP. Neither
call may block: an adapter keeps its rows fresh in the background, an order is only put down.
"""

from __future__ import annotations

from typing import Protocol

from controller.decision import Decision, Memory
from controller.image import Image


class Plant(Protocol):
    """Everything behind the links of a site, seen and commanded together."""

    def measure(self) -> Image:
        """A frozen image of the newest values with their times."""
        ...

    def distribute(self, decision: Decision) -> None:
        """Put down the orders of `decision.connectors` with `put == 1`, and asks with `ask == 1`.

        A link sends `target_ma` (rounded down to what the box can say) as order `order_seq`, to decay at
        `lease_until_ms`; a newer order replaces one that has not left yet; a lowering jumps every queue.
        The outcome shows in `answered_seq`, `answer`, `answered_at_ms` of a later image.
        """
        ...


class Journal(Protocol):
    """Where cycles are kept."""

    def append(self, image: Image, decision: Decision, memory: Memory) -> None:
        """Make the cycle durable before any raise it books leaves the box."""
        ...
