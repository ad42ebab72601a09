"""Receding horizon: the best use of the next hours as a linear programme, of which the first hour is told.

Columns: the mean current of every car in every step in which it is there, and its energy in five parts, the
first worth more than the last, so that shortage is spread. Rows: every phase of every grid, and their sum
where that is limited, in every step, with the load as it is now; the energy of a car; and the tail of a
battery, which takes less the fuller it is. Minimums are relaxed: who is planned next to nothing waits, the
others are on, and the next plan sees what they got. Departures may come earlier than told, so of two plans
that serve the same the earlier is better.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.defaults import (
    NEVER,
    PLAN_HEAD_S,
    PLAN_PAUSE_PER_MILLE,
    PLAN_TAPER_WH,
    PLAN_WEIGHT_MAX,
    PLAN_WEIGHT_MIN,
    TYPICAL_NEED_WH,
    TYPICAL_STAY_S,
    UNKNOWN,
)
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.planners import Outlook, Plan, PlanFailed, blank_plan

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STEP_S: Final = np.array([900.0] * 8 + [1800.0] * 4 + [3600.0] * 4)
"""Lengths of the steps: 8 h, in quarters of an hour where it counts."""
BEGIN_S: Final = np.cumsum(STEP_S) - STEP_S
WORTH: Final = (1.4, 1.3, 1.2, 1.1, 1.0)
"""Of a Wh in each fifth of what a car needs in all."""
HASTE: Final = 0.02
"""Worth that a Wh loses for every hour that it comes later."""


class _Cars(NamedTuple):
    """What the programme knows of each car."""

    need_wh: Floats
    whole_wh: Floats  # with what it has got
    max_a: Floats
    present: Floats  # [car, step], 0..1
    known: Any  # its departure is


class _Columns(NamedTuple):
    """One column per car and step in which it is there, ordered by car, then step."""

    car: Rows
    step: Rows
    most_a: Floats
    wh_per_a: Floats


def horizon(outlook: Outlook) -> Plan:
    """The plan of the next hours. Raises PlanFailed without an optimum."""
    plan = blank_plan(outlook)
    cars = _cars(outlook)
    if not cars.known.any():
        return plan
    columns = _columns(outlook, cars)
    current_a = _solve(outlook, cars, columns)
    if current_a is None:
        return plan
    planned_a = _head(cars, columns, current_a)
    highest_a = max(float(planned_a.max()), 0.1)
    for row, car, known, mean_a in zip(plan.rows, outlook.cars, cars.known, planned_a, strict=True):
        least = PLAN_WEIGHT_MIN if known else 100
        row["weight_percent"] = max(round(PLAN_WEIGHT_MAX * float(mean_a) / highest_a), least)
        waits = mean_a * 1_000_000 < PLAN_PAUSE_PER_MILLE * car["min_ma"]
        if waits and known and not car["must_run"]:
            row["cap_ma"] = 0
    return plan


def _cars(outlook: Outlook) -> _Cars:
    """Needs and presence, with the typical ones where nobody knows."""
    cars, now_ms = outlook.cars, outlook.now_ms
    known = cars["departure_ms"] != NEVER
    usual_s = np.maximum(TYPICAL_STAY_S - (now_ms - cars["since_ms"]) / 1000, PLAN_HEAD_S)
    left_s = np.where(known, np.maximum((cars["departure_ms"] - now_ms) / 1000, 60.0), usual_s)
    usual_wh = np.maximum(TYPICAL_NEED_WH - cars["got_wh"], TYPICAL_NEED_WH // 5)
    need_wh = np.where(cars["need_wh"] == UNKNOWN, usual_wh, cars["need_wh"]).astype(float)
    return _Cars(
        need_wh=need_wh,
        whole_wh=np.maximum(need_wh + cars["got_wh"], 1.0),
        max_a=np.maximum(cars["max_ma"] / 1000, 0.1),
        present=np.clip((left_s[:, None] - BEGIN_S) / STEP_S, 0.0, 1.0),
        known=known,
    )


def _columns(outlook: Outlook, cars: _Cars) -> _Columns:
    car, step = np.nonzero(cars.present > 0)
    phases = np.maximum(outlook.cars["phases"].sum(axis=1), 1)
    most_a = cars.max_a[car] * cars.present[car, step]
    return _Columns(car, step, most_a, NOMINAL_VOLTAGE_V * phases[car] * STEP_S[step] / 3600)


def _solve(outlook: Outlook, cars: _Cars, columns: _Columns) -> Floats | None:
    """Mean currents of the columns, A; None: nothing is scarce in the first hour."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    rooms = _rooms(outlook, columns)
    if not rooms.scarce:
        return None
    parts_wh, worth = _parts(cars)
    count, parts = len(columns.car), len(parts_wh)
    tails = _tails(cars, columns)
    every = np.arange(count)
    first_tail = len(outlook.cars) + len(rooms.most_a)
    entries = [
        (columns.car, every, -columns.wh_per_a),
        (np.arange(parts) % len(outlook.cars), count + np.arange(parts), np.ones(parts)),
        (len(outlook.cars) + rooms.row, rooms.column, rooms.weight),
        (first_tail + tails.row, tails.column, tails.weight),
    ]
    row, column, value = (np.concatenate([entry[n] for entry in entries]) for n in range(3))
    matrix: Any = coo_array((value, (row, column)), shape=(first_tail + count, count + parts)).tocsr()
    late_h = (BEGIN_S + STEP_S / 2)[columns.step] / 3600
    solution: Any = linprog(
        np.concatenate([HASTE * late_h * columns.wh_per_a, -worth]),
        A_ub=matrix,
        b_ub=np.concatenate([np.zeros(len(outlook.cars)), rooms.most_a, cars.need_wh[columns.car]]),
        bounds=[(0.0, float(most)) for most in np.concatenate([columns.most_a, parts_wh])],
        method="highs",
    )
    if solution.status != 0:
        raise PlanFailed(f"HiGHS found no plan for {len(outlook.cars)} cars: {solution.message}")
    return np.asarray(solution.x[:count], dtype=float)


class _Rooms(NamedTuple):
    """Lines of grids that could bind in a step: entries of their rows, and what is there."""

    row: Rows
    column: Rows
    weight: Floats
    most_a: Floats
    scarce: bool  # one of them could bind in the first hour


def _rooms(outlook: Outlook, columns: _Columns) -> _Rooms:
    phases = outlook.cars["phases"]
    lines = np.concatenate([phases, phases.sum(axis=1, keepdims=True)], axis=1)
    loads = (outlook.under[:, :, None] * lines[:, None, :])[columns.car]
    asked_a = np.zeros((len(STEP_S), *outlook.room_ma.shape))
    np.add.at(asked_a, columns.step, loads * columns.most_a[:, None, None])
    room_a = np.broadcast_to(outlook.room_ma / 1000, asked_a.shape)
    binds = asked_a > room_a
    number = np.full(asked_a.shape, -1)
    number[binds] = np.arange(int(binds.sum()))
    numbers = np.where(loads > 0, number[columns.step], -1)
    column, grid, line = np.nonzero(numbers >= 0)
    return _Rooms(
        row=numbers[column, grid, line],
        column=column,
        weight=loads[column, grid, line].astype(float),
        most_a=room_a[binds],
        scarce=bool(binds[BEGIN_S < PLAN_HEAD_S].any()),
    )


def _parts(cars: _Cars) -> tuple[Floats, Floats]:
    """What is left of each fifth of each car's need, and its worth; the first fifths of all cars first."""
    share = 1 - cars.need_wh / cars.whole_wh
    fifth = 1 / len(WORTH)
    parts = [
        np.clip((n + 1) * fifth - np.maximum(share, n * fifth), 0.0, fifth) * cars.whole_wh
        for n in range(len(WORTH))
    ]
    return np.concatenate(parts), np.repeat(WORTH, len(share))


class _Tails(NamedTuple):
    """Entries of one row per column: the draw of a step against what the battery still takes then."""

    row: Rows
    column: Rows
    weight: Floats


def _tails(cars: _Cars, columns: _Columns) -> _Tails:
    """In the tail a car draws max * (rest / tail): x tail / max + what came before + half of now <= need."""
    every = np.arange(len(columns.car))
    first = np.searchsorted(columns.car, np.arange(len(cars.need_wh)))
    row = np.repeat(every, columns.step + 1)
    before = np.concatenate([np.arange(step + 1) for step in columns.step])
    column = first[columns.car[row]] + before
    weight = columns.wh_per_a[column].copy()
    now = before == columns.step[row]
    weight[now] = PLAN_TAPER_WH / cars.max_a[columns.car[row[now]]] + weight[now] / 2
    return _Tails(row, column, weight)


def _head(cars: _Cars, columns: _Columns, current_a: Floats) -> Floats:
    """Mean current of every car over the first hour, or over what of it the car is there."""
    head = BEGIN_S[columns.step] < PLAN_HEAD_S
    car, step = columns.car[head], columns.step[head]
    charge, there_s = np.zeros(len(cars.need_wh)), np.zeros(len(cars.need_wh))
    np.add.at(charge, car, current_a[head] * STEP_S[step])
    np.add.at(there_s, car, cars.present[car, step] * STEP_S[step])
    return np.asarray(charge / np.maximum(there_s, 1.0), dtype=float)
