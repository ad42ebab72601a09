"""Least laxity: who could wait least rises most.

Laxity is the time that a car could wait and still be full when it leaves (Liu and Layland 1973 for jobs, Lee
et al., arXiv 2012.02636, for cars). The share of its time left that it must charge at full current is 1 when
no laxity is left; weights go with the square of that share, and filling does the rest.
"""

from __future__ import annotations

from typing import Any

from controller.defaults import NEVER, PLAN_WEIGHT_MAX, PLAN_WEIGHT_MIN, UNKNOWN
from controller.electrical import watts
from controller.planners import Outlook, Plan, blank_plan


def least_laxity(outlook: Outlook) -> Plan:
    """Weights alone, no caps; a car whose departure or need nobody knows keeps its own weight."""
    plan = blank_plan(outlook)
    for car, row in zip(outlook.cars, plan.rows, strict=True):
        if car["departure_ms"] != NEVER and car["need_wh"] != UNKNOWN:
            row["weight_percent"] = _weight_percent(car, outlook.now_ms)
    return plan


def _weight_percent(car: Any, now_ms: int) -> int:
    power_w = max(watts(int(car["max_ma"]), max(int(car["phases"].sum()), 1)), 1)
    needed_ms = int(car["need_wh"]) * 3_600_000 // power_w
    busy_per_mille = min(needed_ms * 1000 // max(int(car["departure_ms"]) - now_ms, 1), 1000)
    return max(PLAN_WEIGHT_MAX * busy_per_mille**2 // 1_000_000, PLAN_WEIGHT_MIN)
