"""Whether uncontrolled physics depends on how often anybody looks at it."""

from __future__ import annotations

from tests.bench.figure import Figure, say
from tests.twin.test_vehicles import metered_wh

STEPS_S = (1, 10, 60, 300)


def measure() -> dict[str, Figure]:
    """Energy of the same 40 sessions of a day at four steps, nobody controlling."""
    metered_kwh = {}
    for step_s in STEPS_S:
        metered_kwh[step_s] = float(metered_wh(step_s * 1000).sum()) / 1000
        say(f"a day in steps of {step_s} s: {metered_kwh[step_s]:.6f} kWh")
    spread = 100 * (max(metered_kwh.values()) / min(metered_kwh.values()) - 1)
    how = "highest against lowest kWh of 40 uncontrolled sessions of a day, in steps of "
    steps = ", ".join(f"{step_s} s: {kwh:.4f}" for step_s, kwh in metered_kwh.items())
    return {"physics_step_spread_percent": Figure(spread, "%", how + steps)}
