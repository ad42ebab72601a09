"""One plan by the horizon, in a process of its own: the outlook comes on stdin, the plan leaves on stdout."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Final

import numpy as np

from controller.planners import Outlook, Plan, PlanFailed

NICE: Final = 10


def packed(table: Outlook | Plan) -> bytes:
    """An outlook or a plan as bytes without any code in them."""
    out = io.BytesIO()
    columns: dict[str, Any] = {name: np.asarray(value) for name, value in table._asdict().items()}
    np.savez(out, **columns)
    return out.getvalue()


def outlook_of(text: bytes) -> Outlook:
    """The outlook that was packed."""
    with np.load(io.BytesIO(text)) as found:
        return Outlook(int(found["now_ms"]), found["cars"], found["room_ma"], found["under"])


def plan_of(text: bytes) -> Plan:
    """The plan that was packed."""
    with np.load(io.BytesIO(text)) as found:
        return Plan(found["rows"], int(found["until_ms"]))


def main() -> int:
    """Plan once."""
    from controller.planners.horizon import horizon

    os.nice(NICE)
    try:
        plan = horizon(outlook_of(sys.stdin.buffer.read()))
    except PlanFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    sys.stdout.buffer.write(packed(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
