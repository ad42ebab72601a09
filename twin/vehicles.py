"""Electric cars on their outlets: what each draws under its pilot, in closed form and therefore at any step.

A car hears a lower limit after `down_ms` and obeys at once; it hears a higher one after `up_ms` and climbs
`ramp_ma_s`. Its battery takes what its curve of power over what is left allows (`curves`). `step` walks every
car through the exact segments of that story, so the energy metered does not depend on how often it is called.
One row per connector of the topology; phases are the outlet's own.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from controller.defaults import NEVER
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.image import Status
from controller.kernel import kernel
from controller.table import Table
from twin import curves
from twin.sessions import Car

FAR_MS: Final = 2**62
"""Later than everything: no event is due."""
PILOT_MIN_MA: Final = 6_000  # a lower pilot is no offer                               [IEC 61851-1]
STEADY_MA: Final = 8_000  # from here on the power factor is that of the full current
NEWS_MA: Final = 300.0  # a draw that drifted by this much is worth a look at the readings
_WH: Final = NOMINAL_VOLTAGE_V / 1000.0 / 3600.0  # Wh on one phase per mA and second
FAR_S: Final = 1e18
_FULL_WH: Final = 1e-6
_TINY: Final = 1e-9

AVAILABLE: Final = int(Status.AVAILABLE)
PREPARING: Final = int(Status.PREPARING)
CHARGING: Final = int(Status.CHARGING)
SUSPENDED_EV: Final = int(Status.SUSPENDED_EV)
SUSPENDED_EVSE: Final = int(Status.SUSPENDED_EVSE)
FINISHING: Final = int(Status.FINISHING)
FAULTED: Final = int(Status.FAULTED)

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
        ("refusing", "i8"),  # 1: rejects every limit
        ("direct", "i8"),  # 1: DC, told in watts: no pilot and so no least current
        ("feed_factor", "f8"),  # its power factor on its feed
        ("cable_ma", "i8"),  # rating of the cable, that the box keeps
        ("late_ms", "i8"),  # answers this much later than its link would
        ("slow_ms", "i8"),  # its current follows this much later than the car would
        ("loss", "i8"),  # chance of 2^31 that a message of this box gets lost, beside that of all
        ("step_ma", "i8"),  # whole steps of its pilot, untold: above 0 the next one up, under 0 the one down
        ("resumes_full", "i8"),  # 1: the first limit after 0 A is accepted and forgotten
        ("single", "i8"),  # 1: the box passes on one phase of three
        ("sticks", "i8"),  # 1: its contactor stays as it is
        ("off_since_ms", "i8"),  # since when it offers nothing
        ("changes", "i8"),  # between one phase and three
        ("hot_changes", "i8"),  # of these under load, or before the pause of the box was over
        ("faulted", "i8"),  # 1: its status is Faulted whatever it does
        ("lost", "i8", (3,)),  # 1: this phase of its supply is dead
        # the car
        ("car_phases", "i8"),
        ("car_max_ma", "f8"),
        ("car_min_ma", "f8"),
        ("down_ms", "i8"),
        ("up_ms", "i8"),
        ("ramp_ma_s", "f8"),
        ("power_factor", "f8"),  # from STEADY_MA on
        ("power_factor_6a", "f8"),
        *curves.FIELDS,
        ("extra_permille", "i8"),  # draws this much more than it is offered
        ("sleeps_after_ms", "i8"),  # 0: never
        ("wakes_on", "i8"),  # offers after the one that finds it asleep
        ("knocks", "i8"),  # offers that are left until it wakes; above 0: asleep
        ("left_alone_ms", "i8"),  # since when it has no offer after it has charged, NEVER
        ("paused", "i8"),
        ("quiet", "i8"),  # 1: a pause of the car does not show in the status
        ("gives_ma", "i8"),  # feeds back so much on each of its phases, whatever it is offered
        ("spare_wh", "f8"),  # what it may still feed back
        # what it does
        ("goal_ma", "f8"),  # current it goes for
        ("react_at_ms", "i8"),  # when it begins to, NEVER: it has begun
        ("follow_ma", "f8"),  # current it would draw with an empty battery
        ("need_wh", "f8"),  # what the battery still takes
        ("energy_wh", "f8"),  # import register of the box, never reset
        ("given_wh", "f8"),  # export register, never reset
        ("draw_ma", "i8", (3,)),
        ("next_ms", "i8"),  # when its status may change next
        ("news_ms", "i8"),  # when its draw differs by NEWS_MA from now
    ]
)


def free(count: int) -> Table:
    """Outlets without cars."""
    table = np.zeros(count, OUTLET)
    table["status"] = Status.AVAILABLE
    table["powered"] = 1
    table["session"] = -1
    table["cable_ma"] = FAR_MS
    for field in ("decays_at_ms", "react_at_ms", "transaction_at_ms", "left_alone_ms"):
        table[field] = NEVER
    table["car_phases"] = 1
    for field in ("car_max_ma", "feed_factor", "lift"):
        table[field] = 1.0
    return table


def seat(row: Any, car: Car, need_wh: float) -> None:
    """Put a car, as it is behind this outlet, into its row."""
    row["car_phases"], row["car_max_ma"], row["car_min_ma"] = car.phases, float(car.max_ma), float(car.min_ma)
    row["down_ms"], row["up_ms"], row["ramp_ma_s"] = car.down_ms, car.up_ms, car.ramp_ma_s
    row["power_factor"], row["power_factor_6a"] = car.power_factor, car.power_factor_6a
    row["sleeps_after_ms"], row["wakes_on"] = car.sleeps_after_ms, car.wakes_on
    row["knocks"], row["left_alone_ms"] = 0, NEVER
    row["need_wh"] = need_wh
    row["gives_ma"], row["spare_wh"] = 0, 0.0
    curves.bend(row, car.takes())


@kernel
def phases_in_use(r: Any) -> int:
    """Phases that the car charges on."""
    return 1 if r["single"] != 0 else int(r["car_phases"])


@kernel
def _watt_hours(r: Table) -> float:
    """Wh per mA and second on the phases in use, at the power factor of the current that it goes for."""
    current = float(max(r["goal_ma"], r["follow_ma"]))
    part = min(max((current - PILOT_MIN_MA) / (STEADY_MA - PILOT_MIN_MA), 0.0), 1.0)
    factor = r["power_factor_6a"] + part * (r["power_factor"] - r["power_factor_6a"])
    return float(_WH * phases_in_use(r) * factor / r["lift"])


@kernel
def _ramp_s(from_ma: float, slope_ma_s: float, charge_mas: float) -> float:
    """Seconds in which a climbing current carries `charge_mas`."""
    return (math.sqrt(from_ma * from_ma + 2.0 * slope_ma_s * charge_mas) - from_ma) / slope_ma_s


@kernel
def _meets_s(follow: float, slope: float, ceiling: float, fall: float, k: float) -> float:
    """Seconds until a climbing current meets a ceiling that falls by `fall` mA per Wh taken."""
    half = 0.5 * fall * k * slope
    linear = slope + fall * k * follow
    gap = ceiling - follow
    if half <= 0.0:
        return gap / linear
    return (math.sqrt(linear * linear + 4.0 * half * gap) - linear) / (2.0 * half)


@kernel
def _charge(rows: Table, i: int, seconds: float) -> None:
    """Charge one car for `seconds` in which its goal does not change: climb, hold, taper, stop."""
    r = rows[i]
    follow, goal, need = r["follow_ma"], r["goal_ma"], r["need_wh"]
    k = _watt_hours(r)
    climbing = r["react_at_ms"] == NEVER and goal > follow
    slope = r["ramp_ma_s"]
    left_s, before = seconds, need
    while left_s > 0.0 and need > 0.0 and (follow > 0.0 or climbing):
        piece = curves.piece(r, need)
        floor_wh, fall = r["knot_wh"][piece], curves.fall(r, piece)
        ceiling = curves.ceiling_ma(r, need)
        rest_s = FAR_S
        if follow > 0.0 and follow >= ceiling * (1.0 - _TINY):
            rest_s = curves.taper_s(curves.floor_ma(r, piece), ceiling, fall, need - floor_wh, k)
            run_s = min(left_s, rest_s)
            need = floor_wh if run_s == rest_s else need - curves.tapered_wh(ceiling, fall, k, run_s)
            if climbing:
                follow = min(goal, follow + slope * run_s)
        elif climbing:
            rest_s = _ramp_s(follow, slope, (need - floor_wh) / k)
            run_s = min(left_s, (goal - follow) / slope, rest_s, _meets_s(follow, slope, ceiling, fall, k))
            need = floor_wh if run_s == rest_s else need - k * (follow + 0.5 * slope * run_s) * run_s
            # On the ceiling, rounding must not leave it a hair below: the taper takes over from here.
            follow = min(goal, follow + slope * run_s + _TINY * r["car_max_ma"])
        else:
            rest_s = (need - floor_wh) / (k * follow)
            run_s = min(left_s, rest_s)
            if fall > 0.0:
                run_s = min(run_s, (ceiling - follow) / fall / (k * follow) + _TINY)
            need = floor_wh if run_s == rest_s else need - k * follow * run_s
        if climbing and follow >= goal - _TINY * r["car_max_ma"]:
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
def _supplied(r: Any) -> bool:
    """Whether every phase that the car uses is alive; one that misses a phase opens its contactor."""
    for own in range(phases_in_use(r)):
        if r["lost"][own] != 0:
            return False
    return bool(r["powered"] != 0)


@kernel
def _connected(r: Any) -> bool:
    """Whether the car and the grid are one circuit."""
    return bool(r["plugged"] != 0 and r["transaction"] != 0 and r["paused"] == 0 and _supplied(r))


@kernel
def _gives_ma(r: Any) -> int:
    """What a connected car feeds back on each of its phases now."""
    return int(r["gives_ma"] if r["spare_wh"] > 0.0 else 0)


@kernel
def _give(r: Any, seconds: float) -> None:
    """Feed back for `seconds`, or until nothing may be given any more; the battery wants it back later."""
    given_wh = min(_WH * phases_in_use(r) / r["lift"] * r["gives_ma"] * seconds, r["spare_wh"])
    r["given_wh"] += given_wh
    r["need_wh"] += given_wh
    r["spare_wh"] -= given_wh
    if r["spare_wh"] < _FULL_WH:
        r["spare_wh"] = 0.0


@kernel
def _sleeps(r: Any, offered: bool, now_ms: int) -> bool:
    """Whether the car stays asleep under this pilot: the first offer finds it so, later ones wake it."""
    if not offered:
        if r["left_alone_ms"] == NEVER and r["goal_ma"] > 0.0:
            r["left_alone_ms"] = now_ms
        if r["knocks"] > 0 and r["left_alone_ms"] == NEVER:
            r["left_alone_ms"] = FAR_MS  # asleep, and without an offer again
        return False
    alone_ms = r["left_alone_ms"]
    r["left_alone_ms"] = NEVER
    if alone_ms == FAR_MS and r["pilot_ma"] > PILOT_MIN_MA:
        r["knocks"] -= 1
    elif alone_ms not in (NEVER, FAR_MS) and now_ms - alone_ms >= r["sleeps_after_ms"]:
        r["knocks"] = r["wakes_on"]
    return bool(r["knocks"] > 0)


@kernel
def _plan(rows: Table, i: int, now_ms: int) -> None:
    """What the car goes for under the pilot of this instant, and when it begins to."""
    r = rows[i]
    pilot = r["pilot_ma"]
    if not _connected(r) or _gives_ma(r) > 0:
        r["follow_ma"] = 0.0  # the contactor is open, or what flows through it flows back
        r["goal_ma"] = 0.0
        r["react_at_ms"] = NEVER
        return
    wanted = 0.0
    offered = pilot > 0 and (pilot >= PILOT_MIN_MA or r["direct"] != 0) and pilot >= r["car_min_ma"]
    asleep = r["sleeps_after_ms"] > 0 and _sleeps(r, offered, now_ms)
    if offered and not asleep:
        wanted = min(float(pilot + pilot * r["extra_permille"] // 1000), r["car_max_ma"])
        if r["direct"] != 0:
            wanted *= r["lift"] / r["feed_factor"]
    if wanted == r["goal_ma"]:
        return
    follow = r["follow_ma"]
    if wanted < follow:
        at_ms = now_ms + r["down_ms"] + r["slow_ms"]
        if r["goal_ma"] < follow and r["react_at_ms"] != NEVER:
            at_ms = min(at_ms, r["react_at_ms"])
        r["react_at_ms"] = at_ms
    elif wanted > follow:
        if r["goal_ma"] <= follow:
            r["react_at_ms"] = now_ms + r["up_ms"] + r["slow_ms"]
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
    if r["gives_ma"] > 0 and r["draw_ma"][0] < 0:
        rate_wh_s = _WH * phases_in_use(r) / r["lift"] * r["gives_ma"]
        soon = min(soon, now_ms + int(r["spare_wh"] / rate_wh_s * 1000.0) + 1)
    if r["react_at_ms"] != NEVER:
        soon = min(soon, r["react_at_ms"])
    elif goal > follow:
        news = now_ms + 1_000
    if follow > 0.0 and need > 0.0:
        k, piece = _watt_hours(r), curves.piece(r, need)
        ceiling, fall = curves.ceiling_ma(r, need), curves.fall(r, piece)
        rest_wh = need - r["knot_wh"][piece]
        if follow >= ceiling * (1.0 - _TINY):
            floor_ma = curves.floor_ma(r, piece)
            rest_s = curves.taper_s(floor_ma, ceiling, fall, rest_wh, k)
            if fall > 0.0 and ceiling - NEWS_MA > floor_ma:
                news = min(
                    news, now_ms + int(math.log(ceiling / (ceiling - NEWS_MA)) / (k * fall) * 1000.0) + 1
                )
            ends = piece == 0
        else:
            rest_s = rest_wh / (k * follow)
            meets = fall > 0.0 and curves.floor_ma(r, piece) < follow
            if meets:
                rest_s = min(rest_s, (ceiling - follow) / fall / (k * follow))
            ends = piece == 0 and not meets
        news = min(news, now_ms + int(rest_s * 1000.0) + 1)
        if ends:
            soon = min(soon, now_ms + int(rest_s * 1000.0) + 1)
    r["next_ms"] = soon
    r["news_ms"] = min(soon, news)


@kernel
def _show(rows: Table, i: int, now_ms: int) -> None:
    """Set draw and status to what this instant shows."""
    r = rows[i]
    ceiling = curves.ceiling_ma(r, r["need_wh"])
    draw = round(min(r["follow_ma"], ceiling))
    if r["gives_ma"] > 0 and _connected(r):
        draw -= _gives_ma(r)
    phases = phases_in_use(r)
    for phase in range(3):
        r["draw_ma"][phase] = draw if phase < phases else 0
    if r["powered"] == 0:
        return  # a dark box tells nothing
    if r["plugged"] == 0:
        status = AVAILABLE
    elif r["transaction"] == 0:
        status = FINISHING if r["finished"] != 0 else PREPARING
    elif draw != 0:
        status = CHARGING
        r["quiet"] *= r["paused"]  # it draws again: nothing to hide any more
    elif r["pilot_ma"] < PILOT_MIN_MA and (r["direct"] == 0 or r["pilot_ma"] == 0):
        status = SUSPENDED_EVSE
    elif r["quiet"] != 0:
        status = CHARGING
    else:
        status = SUSPENDED_EV
    if r["faulted"] != 0:
        status = FAULTED
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
        if r["plugged"] == 0 and r["status"] == AVAILABLE and r["draw_ma"][0] == 0 and r["faulted"] == 0:
            r["next_ms"] = r["news_ms"] = FAR_MS
            continue
        now_ms = from_ms
        while True:
            if r["decays_at_ms"] != NEVER and r["decays_at_ms"] <= now_ms:
                r["left_ma"], r["left_until_ms"] = r["claimed_ma"], now_ms + r["down_ms"]
                if r["decay_to_ma"] == 0 and r["pilot_ma"] > 0:
                    r["off_since_ms"] = now_ms
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
                if r["gives_ma"] > 0 and _connected(r):
                    _give(r, (end_ms - now_ms) / 1000.0)
                _charge(rows, i, (end_ms - now_ms) / 1000.0)
            now_ms = end_ms
        _show(rows, i, to_ms)
        _foresee(rows, i, to_ms)
        soon = min(soon, r["next_ms"])
        news = min(news, r["news_ms"])
        changed += r["status_changed"]
    return soon, news, changed
