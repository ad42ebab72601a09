"""Currents, fuses, wires: the conventional points, what an open fuse leaves, and that nothing gets lost."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.topology import compile_site
from tests.twin.small_site import site, stay, uncontrolled, world
from tests.twin.test_world import step_load
from twin import electrics, storage
from twin.conditions import Conditions
from twin.events import FuseTripped
from twin.network import solve, wires
from twin.protection import BREAKER_B, BREAKER_C, FUSE, bears_s
from twin.vehicles import OUTLET

HOUR_S = 3600

# Device, multiple of its rating -> seconds in which it must not open, and within which it must. Conventional
# points of IEC 60898 (B, C) and IEC 60269 (gG), written down from memory and unverified.
POINTS = {
    "B holds 1.13": (BREAKER_B, 1.13, HOUR_S, math.inf),
    "B opens at 1.45": (BREAKER_B, 1.45, 0, HOUR_S),
    "B opens at 2.55": (BREAKER_B, 2.55, 1, 60),
    "B bears 3 for a moment": (BREAKER_B, 3.0, 0.1, math.inf),
    "B opens at 5 at once": (BREAKER_B, 5.0, 0, 0.1),
    "C holds 1.13": (BREAKER_C, 1.13, HOUR_S, math.inf),
    "C opens at 1.45": (BREAKER_C, 1.45, 0, HOUR_S),
    "C opens at 2.55": (BREAKER_C, 2.55, 1, 60),
    "C bears 5 for a moment": (BREAKER_C, 5.0, 0.1, math.inf),
    "C opens at 10 at once": (BREAKER_C, 10.0, 0, 0.1),
    "gG holds 1.25": (FUSE, 1.25, 4 * HOUR_S, math.inf),
    "gG melts at 1.6": (FUSE, 1.6, 600, HOUR_S),
    "gG melts at 2": (FUSE, 2.0, 60, 300),
    "gG melts at 3": (FUSE, 3.0, 10, 30),
    "gG melts at 5": (FUSE, 5.0, 0.5, 2),
}


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_the_conventional_points(point):
    curve, multiple, holds_s, opens_s = point
    assert holds_s <= bears_s(curve, multiple) <= opens_s


@given(st.integers(0, 2), st.floats(0.1, 40), st.floats(0.1, 40))
def test_more_is_never_borne_longer(curve, one, other):
    less, more = sorted((one, other))
    assert bears_s(curve, more) <= bears_s(curve, less)


def overloaded(breaker="B", amps=75.0, **conditions):
    """A load on L1 of a fuse of 50 A."""
    load = step_load(1.0, peak_w=amps * 230 / 0.5)
    made = world(built=site(max_current_a=50, breaker=breaker), loads=[load], fuses="curves", **conditions)
    heard = []
    made.listen(heard.append)
    return made, heard


@pytest.mark.parametrize("step_s", [1, 7, 300, 3_000])
def test_when_a_fuse_opens_does_not_depend_on_how_often_anybody_looks(step_s):
    made, heard = overloaded()
    while made.now_ms < 3_000_000:
        made.advance(made.now_ms + step_s * 1000)
    (tripped,) = [event for event in heard if isinstance(event, FuseTripped)]
    assert tripped.at_ms / 1000 == pytest.approx(bears_s(BREAKER_B, 1.5), abs=0.01)


def test_what_it_has_borne_is_forgotten_slowly():
    tired = {"kind": "load_step", "grid": "main", "current_a": [75, 0, 0]}
    most_s = bears_s(BREAKER_B, 1.5)
    twice = [tired | {"at_s": 0, "for_s": 0.6 * most_s, "every_s": 0.7 * most_s}]
    late = [tired | {"at_s": 0, "for_s": 0.6 * most_s, "every_s": 0.6 * most_s + 3_600}]
    found = []
    for faults in (twice, late):
        made = world(built=site(max_current_a=50, breaker="B"), fuses="curves", fault=faults)
        made.advance(9_000_000)
        found.append(int(made.boards["trips"][0]))
    assert found == [1, 0]


def test_a_breaker_takes_all_its_phases_and_stays_off_until_it_is_put_on():
    reset = {"kind": "fuse_reset", "grid": "main", "at_s": 2_500, "for_s": 1}
    made, _ = overloaded(fault=[reset])
    made.advance(2_400_000)
    assert made.boards["tripped"].tolist() == [1, 0, 0]
    assert made.boards["dark"].tolist() == [1, 1, 1]
    assert not made.boards["current_ma"].any()
    made.advance(2_501_000)
    assert made.boards["current_ma"][0].tolist() == [75_000, 45_000, 30_000]


def test_a_fuse_melts_in_its_own_phase_and_what_needs_that_phase_stops():
    made = world(
        stay(0),
        built=site(max_current_a=50, breaker="gG"),
        loads=[step_load(1.0, peak_w=100.0 * 230 / 0.5)],
        fuses="curves",
        fault=[{"kind": "fuse_reset", "grid": "main", "at_s": 1_000, "for_s": 1}],
    )
    uncontrolled(made, 6_000)
    made.advance(60_000)
    assert made.outlets["draw_ma"][0].tolist() == [6_000] * 3
    made.advance(300_000)
    assert made.boards["melted"][0].tolist() == [1, 0, 0]
    assert made.outlets["draw_ma"][0].tolist() == [0] * 3
    assert made.boards["current_ma"][0].tolist() == [0, 60_000, 40_000]
    assert made.outlets["powered"][0] == 1
    made.advance(1_000_500)
    assert made.boards["melted"][0].tolist() == [0, 0, 0]


def test_reactive_current_loads_the_fuse_and_the_meter():
    made = world(
        loads=[step_load(1.0, peak_w=9_200.0), step_load(1.0, grid="turned", peak_w=9_200.0)],
        power_factor={"main": 0.8},
    )
    # 20, 12, 8 A on main with 15, 9, 6 A of reactive current; 8, 20, 12 A come from the turned board.
    active, reactive = np.array([28, 32, 20]), np.array([15, 9, 6])
    assert made.boards["current_ma"][0] / 1000 == pytest.approx(np.hypot(active, reactive), abs=0.01)


amps = st.integers(-40_000, 80_000)
phases = st.tuples(amps, amps, amps)


def drawn(*loads, conditions):
    """Boards that carry these loads of their own, and their wires."""
    built = compile_site(site())
    made = electrics.boards(len(built.grids))
    for board, load in zip(made, loads, strict=True):
        board["own_ma"] = load
    conditions.wire(site(), made)
    electrics.flow(
        made,
        built.grids,
        built.leaves_first,
        np.zeros(0, OUTLET),
        built.connectors,
        storage.cells(built, 0.5),
        built.batteries,
        storage.panels(built),
        built.inverters,
    )
    return built, made, wires(built, conditions)


CABLES = Conditions.model_validate(
    {
        "cable": {"main": {"r_ohm": 0.05, "x_ohm": 0.02}, "turned": {"r_ohm": 0.2, "x_ohm": 0.01}},
        "transformer": {"kva": 250},
        "power_factor": {"main": 0.9, "turned": 0.95},
    }
)


@given(phases, phases, phases)
def test_what_enters_a_site_is_what_its_loads_take_and_its_wires_lose(main, upper, turned):
    built, made, table = drawn(main, upper, turned, conditions=CABLES)
    taken_w = solve(table, made, built.grids, built.leaves_first, 230.0)
    own_w = 0.0
    for g in range(3):
        below = sum(table["current_a"][c] for c in range(3) if built.grids["parent"][c] == g)
        own_w += (table["voltage_v"][g] * np.conj(table["current_a"][g] - below)).real.sum()
    assert own_w + table["loss_w"].sum() == pytest.approx(taken_w, rel=1e-9, abs=1e-6)
    assert (table["loss_w"] >= 0).all()


def test_the_neutral_carries_what_does_not_balance():
    built, made, table = drawn(
        [20_000, 20_000, 20_000], [10_000, 0, 0], [8_000, 8_000, 0], conditions=Conditions()
    )
    solve(table, made, built.grids, built.leaves_first, 230.0)
    assert table["neutral_a"][1:].tolist() == pytest.approx([10, 8])
    even, made, table = drawn([16_000] * 3, [0] * 3, [0] * 3, conditions=Conditions())
    solve(table, made, even.grids, even.leaves_first, 230.0)
    assert table["neutral_a"][0] == pytest.approx(0, abs=1e-9)


def test_a_load_of_one_phase_drops_twice_over_its_cable():
    conditions = Conditions.model_validate({"cable": {"main": {"r_ohm": 0.1}}})
    built, made, table = drawn([20_000, 0, 0], [0] * 3, [0] * 3, conditions=conditions)
    solve(table, made, built.grids, built.leaves_first, 230.0)
    # out and back: 20 A x 0.2 ohm; the others are lifted by half of what the neutral loses, by geometry
    assert abs(table["voltage_v"][0][0]) == pytest.approx(226)
    assert abs(table["voltage_v"][0][1]) == pytest.approx(abs(230 * np.exp(-2j * np.pi / 3) - 2))


def test_a_transformer_at_its_rating_drops_what_its_plate_says():
    conditions = Conditions.model_validate({"transformer": {"kva": 100, "resistance_percent": 4}})
    full_ma = round(100_000 / 3 / 230 * 1000)
    built, made, table = drawn([full_ma] * 3, [0] * 3, [0] * 3, conditions=conditions)
    taken_w = solve(table, made, built.grids, built.leaves_first, 230.0)
    assert abs(table["voltage_v"][0][0]) == pytest.approx(0.96 * 230, rel=1e-4)
    assert table["loss_w"][0] == pytest.approx(0.04 * taken_w, rel=1e-4)
