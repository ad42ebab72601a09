"""Electric cars on their outlets: what each draws under its pilot, in closed form and therefore at any step.

A car hears a lower limit after `down_ms` and obeys at once; it hears a higher one after `up_ms` and climbs
`ramp_ma_s`. Its battery takes the full current until `taper_wh` are left and then falls linearly with what
is left down to `TAPER_END` of its maximum, where it is full (two-stage linear battery, as in ACN-Sim, with
an end). `step` walks every car through the exact segments of that story, so the energy metered does not
depend on how often it is called. One row per connector of the topology; phases are the outlet's own.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from controller.defaults import NEVER
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.image import Status
from controller.kernel import kernel
from controller.table import Table

FAR_MS: Final = 2**62
"""Later than everything: no event is due."""
PILOT_MIN_MA: Final = 6_000  # a lower pilot is no offer                               [IEC 61851-1]
TAPER_END: Final = 0.1
NEWS_MA: Final = 300.0  # a draw that drifted by this much is worth a look at the readings
_WH: Final = NOMINAL_VOLTAGE_V / 1000.0 / 3600.0  # Wh on one phase per mA and second
_FULL_WH: Final = 1e-6
_TINY: Final = 1e-9

AVAILABLE: Final = int(Status.AVAILABLE)
PREPARING: Final = int(Status.PREPARING)
CHARGING: Final = int(Status.CHARGING)
SUSPENDED_EV: Final = int(Status.SUSPENDED_EV)
SUSPENDED_EVSE: Final = int(Status.SUSPENDED_EVSE)
FINISHING: Final = int(Status.FINISHING)

OUTLET = np.dtype(
    [
        # the box
        ("plugged", "i8"),
        ("status", "i8"),
        ("status_at_ms", "i8"),
        ("status_changed", "i8"),  # 1: not yet told as an event
        ("transaction", "i8"),  # number of the running transaction, 0: none
        ("transaction_at_ms", "i8"),  # when it began or ended
        ("finished", "i8"),  # 1: the transaction ended and the car is still plugged in
        ("session", "i8"),  # index of the session, -1
        ("powered", "i8"),
        ("pilot_ma", "i8"),  # limit in force at the box
        ("decays_at_ms", "i8"),  # when the box falls back to `decay_to_ma`, NEVER
        ("decay_to_ma", "i8"),
        ("claimed_ma", "i8"),  # limit the box says is in force
        ("left_ma", "i8"),  # the higher one being left until `left_until_ms`
        ("left_until_ms", "i8"),
        # faults of the box and its link
        ("offline", "i8"),
        ("deaf", "i8"),  # 1: accepts lower limits and does not carry them out
        ("step_ma", "i8"),  # it rounds every limit up to whole steps of this and does not say so; 0: no
        ("refusing", "i8"),  # 1: rejects every limit
        ("late_ms", "i8"),  # answers this much later than its link would
        # the car
        ("car_phases", "i8"),
        ("car_max_ma", "f8"),
        ("car_min_ma", "f8"),
        ("down_ms", "i8"),
        ("up_ms", "i8"),
        ("ramp_ma_s", "f8"),
        ("taper_wh", "f8"),
        ("paused", "i8"),
        ("quiet", "i8"),  # 1: a pause of the car does not show in the status
        # what it does
        ("goal_ma", "f8"),  # current it goes for
        ("react_at_ms", "i8"),  # when it begins to, NEVER: it has begun
        ("follow_ma", "f8"),  # current it would draw with an empty battery
        ("need_wh", "f8"),  # what the battery still takes
        ("energy_wh", "f8"),  # register of the box, never reset
        ("draw_ma", "i8", (3,)),
        ("next_ms", "i8"),  # when its status may change next
        ("news_ms", "i8"),  # when its draw differs by NEWS_MA from now
    ]
)


@kernel
def _ceiling_ma(max_ma: float, taper_wh: float, need_wh: float) -> float:
    """Most that the battery takes with `need_wh` left."""
    if need_wh <= 0.0:
        return 0.0
    if need_wh >= taper_wh:
        return max_ma
    return max_ma * (TAPER_END + (1.0 - TAPER_END) * need_wh / taper_wh)


@kernel
def _taper_from_wh(current_ma: float, max_ma: float, taper_wh: float) -> float:
    """What is left when the battery no longer takes `current_ma`; 0 or less: it always does."""
    return taper_wh * (current_ma / max_ma - TAPER_END) / (1.0 - TAPER_END)


@kernel
def _ramp_s(from_ma: float, slope_ma_s: float, charge_mas: float) -> float:
    """Seconds in which a climbing current carries `charge_mas`."""
    return (math.sqrt(from_ma * from_ma + 2.0 * slope_ma_s * charge_mas) - from_ma) / slope_ma_s


@kernel
def _meets_ceiling_s(
    follow: float, slope: float, max_ma: float, taper_wh: float, need: float, k: float
) -> float:
    """Seconds until a climbing current meets the falling ceiling, once that falls; `k` is Wh per mA s."""
    b = max_ma * (1.0 - TAPER_END) / taper_wh
    half = 0.5 * b * k * slope
    linear = slope + b * k * follow
    gap = _ceiling_ma(max_ma, taper_wh, need) - follow
    return (math.sqrt(linear * linear + 4.0 * half * gap) - linear) / (2.0 * half)


@kernel
def _charge(rows: Table, i: int, seconds: float) -> None:
    """Charge one car for `seconds` in which its goal does not change: climb, hold, taper, stop."""
    r = rows[i]
    max_ma, taper_wh = r["car_max_ma"], r["taper_wh"]
    follow, goal, need = r["follow_ma"], r["goal_ma"], r["need_wh"]
    k = _WH * r["car_phases"]
    climbing = r["react_at_ms"] == NEVER and goal > follow
    slope = r["ramp_ma_s"]
    left_s, before = seconds, need
    while left_s > 0.0 and need > 0.0 and (follow > 0.0 or climbing):
        taper_from = _taper_from_wh(follow, max_ma, taper_wh)
        if follow > 0.0 and need <= taper_from + _TINY:
            rate = k * max_ma * (1.0 - TAPER_END) / taper_wh
            floor_wh = TAPER_END * taper_wh / (1.0 - TAPER_END)
            run_s = min(left_s, math.log((need + floor_wh) / floor_wh) / rate)
            need = (need + floor_wh) * math.exp(-rate * run_s) - floor_wh
            if climbing:
                follow = min(goal, follow + slope * run_s)
        elif climbing:
            run_s = min(left_s, (goal - follow) / slope, _ramp_s(follow, slope, need / k))
            if need > taper_wh + _TINY:
                run_s = min(run_s, _ramp_s(follow, slope, (need - taper_wh) / k))
            else:
                run_s = min(run_s, _meets_ceiling_s(follow, slope, max_ma, taper_wh, need, k))
            need -= k * (follow + 0.5 * slope * run_s) * run_s
            # On the ceiling, rounding must not leave it a hair below: the taper takes over from here.
            follow = min(goal, follow + slope * run_s + _TINY * max_ma)
        else:
            run_s = min(left_s, (need - max(taper_from, 0.0)) / (k * follow))
            need -= k * follow * run_s
        if climbing and follow >= goal - _TINY * max_ma:
            follow, climbing = goal, False
        left_s -= run_s
        if need < _FULL_WH:
            need = 0.0
    if climbing:  # a full car still follows its pilot, for when it wants more
        follow = min(goal, follow + slope * left_s)
    r["energy_wh"] += before - need
    r["need_wh"] = need
    r["follow_ma"] = follow


@kernel
def _plan(rows: Table, i: int, now_ms: int) -> None:
    """What the car goes for under the pilot of this instant, and when it begins to."""
    r = rows[i]
    pilot = r["pilot_ma"]
    if r["plugged"] == 0 or r["transaction"] == 0 or r["powered"] == 0 or r["paused"] != 0:
        r["follow_ma"] = 0.0  # the contactor is open
        r["goal_ma"] = 0.0
        r["react_at_ms"] = NEVER
        return
    wanted = 0.0
    if pilot >= PILOT_MIN_MA and pilot >= r["car_min_ma"]:
        wanted = min(float(pilot), r["car_max_ma"])
    if wanted == r["goal_ma"]:
        return
    follow = r["follow_ma"]
    if wanted < follow:
        at_ms = now_ms + r["down_ms"]
        if r["goal_ma"] < follow and r["react_at_ms"] != NEVER:
            at_ms = min(at_ms, r["react_at_ms"])
        r["react_at_ms"] = at_ms
    elif wanted > follow:
        if r["goal_ma"] <= follow:
            r["react_at_ms"] = now_ms + r["up_ms"]
    else:
        r["react_at_ms"] = NEVER
    r["goal_ma"] = wanted


@kernel
def _foresee(rows: Table, i: int, now_ms: int) -> None:
    """When the status may change next, and when the draw will have moved enough to be looked at."""
    r = rows[i]
    soon, news = FAR_MS, FAR_MS
    if r["decays_at_ms"] != NEVER:
        soon = r["decays_at_ms"]
    follow, goal, need = r["follow_ma"], r["goal_ma"], r["need_wh"]
    if r["react_at_ms"] != NEVER:
        soon = min(soon, r["react_at_ms"])
    elif goal > follow:
        news = now_ms + 1_000
    if follow > 0.0 and need > 0.0:
        k = _WH * r["car_phases"]
        max_ma, taper_wh = r["car_max_ma"], r["taper_wh"]
        taper_from = max(_taper_from_wh(follow, max_ma, taper_wh), 0.0)
        if need > taper_from + _TINY:
            hold_s = (need - taper_from) / (k * follow)
            news = min(news, now_ms + int(hold_s * 1000.0) + 1)
            if taper_from == 0.0:
                soon = min(soon, now_ms + int(hold_s * 1000.0) + 1)
        else:
            rate = k * max_ma * (1.0 - TAPER_END) / taper_wh
            floor_wh = TAPER_END * taper_wh / (1.0 - TAPER_END)
            full_s = math.log((need + floor_wh) / floor_wh) / rate
            soon = min(soon, now_ms + int(full_s * 1000.0) + 1)
            moved_wh = NEWS_MA * taper_wh / (max_ma * (1.0 - TAPER_END))
            if moved_wh < need:
                drift_s = math.log((need + floor_wh) / (need - moved_wh + floor_wh)) / rate
                news = min(news, now_ms + int(drift_s * 1000.0) + 1)
    r["next_ms"] = soon
    r["news_ms"] = min(soon, news)


@kernel
def _show(rows: Table, i: int, now_ms: int) -> None:
    """Set draw and status to what this instant shows."""
    r = rows[i]
    ceiling = _ceiling_ma(r["car_max_ma"], r["taper_wh"], r["need_wh"])
    draw = round(min(r["follow_ma"], ceiling))
    for phase in range(3):
        r["draw_ma"][phase] = draw if phase < r["car_phases"] else 0
    if r["powered"] == 0:
        return  # a dark box tells nothing
    if r["plugged"] == 0:
        status = AVAILABLE
    elif r["transaction"] == 0:
        status = FINISHING if r["finished"] != 0 else PREPARING
    elif draw > 0:
        status = CHARGING
        r["quiet"] *= r["paused"]  # it draws again: nothing to hide any more
    elif r["pilot_ma"] < PILOT_MIN_MA:
        status = SUSPENDED_EVSE
    elif r["quiet"] != 0:
        status = CHARGING
    else:
        status = SUSPENDED_EV
    if status != r["status"]:
        r["status"] = status
        r["status_at_ms"] = now_ms
        r["status_changed"] = 1


@kernel
def step(rows: Table, from_ms: int, to_ms: int) -> tuple[int, int, int]:
    """Take every car from `from_ms` to `to_ms`; equal times only hear new pilots.

    Returns when any status may change next, when any draw is worth a look, and how many statuses changed.
    """
    soon, news, changed = FAR_MS, FAR_MS, 0
    for i in range(len(rows)):
        r = rows[i]
        if r["plugged"] == 0 and r["status"] == AVAILABLE and r["draw_ma"][0] == 0:
            r["next_ms"] = r["news_ms"] = FAR_MS
            continue
        now_ms = from_ms
        while True:
            if r["decays_at_ms"] != NEVER and r["decays_at_ms"] <= now_ms:
                r["left_ma"], r["left_until_ms"] = r["claimed_ma"], now_ms + r["down_ms"]
                r["pilot_ma"] = r["decay_to_ma"]
                r["claimed_ma"] = r["decay_to_ma"]
                r["decays_at_ms"] = NEVER
            _plan(rows, i, now_ms)
            if r["react_at_ms"] != NEVER and r["react_at_ms"] <= now_ms:
                r["react_at_ms"] = NEVER
                # A car that begins to draw shows it at once, be it a milliamp.
                r["follow_ma"] = min(max(r["follow_ma"], 1.0), r["goal_ma"])
            if now_ms >= to_ms:
                break
            end_ms = to_ms
            if r["decays_at_ms"] != NEVER:
                end_ms = min(end_ms, r["decays_at_ms"])
            if r["react_at_ms"] != NEVER:
                end_ms = min(end_ms, r["react_at_ms"])
            if r["transaction"] != 0:
                _charge(rows, i, (end_ms - now_ms) / 1000.0)
            now_ms = end_ms
        _show(rows, i, to_ms)
        _foresee(rows, i, to_ms)
        soon = min(soon, r["next_ms"])
        news = min(news, r["news_ms"])
        changed += r["status_changed"]
    return soon, news, changed
