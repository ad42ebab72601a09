"""The clairvoyant bound: the most energy that any controller could have served, knowing the future.

A linear programme over the mean current of every stay in every time step. It keeps each fuse on each phase,
each car's maximum and each need, and it ignores the minimum current, delays, steps of the box and the
tapering of batteries: whatever a controller does inside the limits is a solution of it, so it is a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.electrical import NOMINAL_VOLTAGE_V
from controller.topology import Topology, compile_site
from scenarios.run import Result

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Stay(NamedTuple):
    """A car at a connector and what it could take there. Times in s since the start of the run."""

    connector: int  # row of the topology
    phases: tuple[bool, bool, bool]  # of the site, that it draws on
    arrival_s: float
    departure_s: float
    need_wh: float
    max_current_a: float  # per phase: car, cable and outlet


class Bound(NamedTuple):
    """The optimum: energy of every stay, Wh, in the order given, and the sum."""

    stay_wh: Floats
    total_wh: float


class Bounds(NamedTuple):
    """What perfect foresight could have served, kWh: up to the limits, and up to limit less margin."""

    limit_kwh: float
    margin_kwh: float


class _Columns(NamedTuple):
    """One column of the programme per stay and time step in which it is present."""

    stay: Rows
    step: Rows
    most_a: Floats  # mean current over the step when it draws all it can
    wh_per_a: Floats


def bounds(result: Result) -> Bounds:
    """Both bounds for the cars that came. Raises AssertionError when more was served than possible."""
    story = result.story
    topology = compile_site(story.conditions.as_built(story.site))
    limit_a = topology.grids["limit_ma"] / 1000.0
    margin_a = topology.grids["margin_ma"] / 1000.0
    stays = _stays(result, topology)
    step_s = float(result.load_step_s)
    found = Bounds(
        most_energy(topology, stays, limit_a - result.load_a, step_s).total_wh / 1000,
        most_energy(topology, stays, limit_a - margin_a - result.load_a, step_s).total_wh / 1000,
    )
    # A current above a limit is energy that no plan within the limits could have given.
    over_kwh = result.figures.over_as * NOMINAL_VOLTAGE_V / 3.6e6
    served_kwh = result.figures.delivered_kwh
    if served_kwh > found.limit_kwh * (1 + 1e-6) + over_kwh + 1e-3:
        raise AssertionError(f"served {served_kwh:.3f} kWh, more than the possible {found.limit_kwh:.3f} kWh")
    return found


def _stays(result: Result, topology: Topology) -> list[Stay]:
    """Every car that came, on the phases on which it really hangs."""
    cars = {session.key: session.car for session in result.story.sessions}
    outlets = [outlet for _, _, outlet in result.story.site.connectors()]
    stays = []
    for served in result.sessions:
        row = topology.connectors[served.connector]
        car = cars[served.key].at(outlets[served.connector])
        drawn = {int(phase) for phase in row["phase"][: car.phases]}
        stays.append(
            Stay(
                connector=served.connector,
                phases=(0 in drawn, 1 in drawn, 2 in drawn),
                arrival_s=served.plug_in_ms / 1000,
                departure_s=served.until_ms / 1000,
                need_wh=served.possible_wh,
                max_current_a=car.max_ma / 1000,
            )
        )
    return stays


def most_energy(topology: Topology, stays: Sequence[Stay], room_a: Floats, step_s: float) -> Bound:
    """The bound for stays under `room_a[step, grid, phase]`, A left for charging, mean over the step.

    Stays are cut to the span that `room_a` covers. Negative room counts as none.
    """
    columns = _columns(stays, len(room_a), step_s)
    if not len(columns.stay):
        return Bound(np.zeros(len(stays)), 0.0)
    matrix, most = _rows(topology, stays, columns, np.maximum(room_a, 0.0))
    # Imported here: scipy costs half a second, and a command that draws no bound does not need it.
    from scipy.optimize import linprog

    solution = linprog(
        -columns.wh_per_a,
        A_ub=matrix,
        b_ub=most,
        bounds=[(0.0, float(most)) for most in columns.most_a],
        method="highs",
    )
    if solution.x is None:
        raise RuntimeError(f"HiGHS found no optimum of {len(stays)} stays: {solution.message}")
    stay_wh = np.zeros(len(stays))
    np.add.at(stay_wh, columns.stay, solution.x * columns.wh_per_a)
    return Bound(stay_wh, float(stay_wh.sum()))


def _columns(stays: Sequence[Stay], steps: int, step_s: float) -> _Columns:
    found: list[tuple[Rows, Rows, Floats, Floats]] = []
    for index, stay in enumerate(stays):
        first = max(0, int(stay.arrival_s // step_s))
        until = min(steps, int(np.ceil(stay.departure_s / step_s)))
        step = np.arange(first, max(first, until))
        begin_s = step * step_s
        present_s = np.minimum(begin_s + step_s, stay.departure_s) - np.maximum(begin_s, stay.arrival_s)
        most_a = stay.max_current_a * np.clip(present_s / step_s, 0.0, 1.0)
        wh_per_a = NOMINAL_VOLTAGE_V * sum(stay.phases) * step_s / 3600
        found.append((np.full(len(step), index), step, most_a, np.full(len(step), wh_per_a)))
    if not found:
        return _Columns(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))
    stay_of, step_of, most, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _Columns(stay_of, step_of, most, weight)


def _rows(topology: Topology, stays: Sequence[Stay], columns: _Columns, room_a: Floats) -> tuple[Any, Floats]:
    """The programme's rows as a sparse matrix and their right sides: needs, then fuses that could bind."""
    from scipy.sparse import coo_array

    under = np.zeros((len(stays), *room_a.shape[1:]), dtype=bool)
    for index, stay in enumerate(stays):
        row = topology.connectors[stay.connector]
        under[index, row["path"][: row["depth"]]] = stay.phases
    below = under[columns.stay]
    asked_a = np.zeros_like(room_a)
    np.add.at(asked_a, columns.step, below * columns.most_a[:, None, None])
    binds = asked_a > room_a
    number = np.full(room_a.shape, -1)
    number[binds] = len(stays) + np.arange(int(binds.sum()))
    numbers = np.where(below, number[columns.step], -1)
    column, grid, phase = np.nonzero(numbers >= 0)
    every = np.arange(len(columns.stay))
    matrix = coo_array(
        (
            np.concatenate([columns.wh_per_a, np.ones(len(column))]),
            (
                np.concatenate([columns.stay, numbers[column, grid, phase]]),
                np.concatenate([every, column]),
            ),
        ),
        shape=(len(stays) + int(binds.sum()), len(every)),
    )
    needs = np.array([stay.need_wh for stay in stays])
    return matrix.tocsr(), np.concatenate([needs, room_a[binds]])
