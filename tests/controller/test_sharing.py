"""Shares against an exact reference: the lexicographic max-min optimum, found by linear programmes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from controller.decision import Because, empty_decision, first_memory
from controller.defaults import LINES
from controller.image import blank_image, frozen
from controller.sharing import share
from controller.topology import compile_site
from controller.work import lay_out
from tests.controller.desk import Desk, drawn

ROTATIONS = ["L1 L2 L3", "L2 L3 L1", "L3 L1 L2", "L1 L3 L2"]
MARGIN_A = 3


class Case:
    """Rooms in mA by grid and phase; of each connector its grid, phases, minimum, cap, weight, step."""

    def __init__(self, feeders, rooms_ma, connectors):
        self.rooms_ma, self.connectors = np.array(rooms_ma), connectors
        grids = {
            f"g{n}": {"max_current_a": 9_000, "margin_a": MARGIN_A}
            | ({"fed_by": f"g{feeder}", "chargepoints_only": True} if n else {})
            for n, feeder in enumerate(feeders)
        }
        outlets = [{"fed_by": f"g{c['grid']}", "step_a": c["step_ma"] / 1000} for c in connectors]
        self.topology = compile_site(
            drawn(grids=grids, outlets=outlets, meters={"g0": {"grid": "g0", "role": "guard"}})
        )
        self.above = [set(row["path"][: row["depth"]].tolist()) for row in self.topology.connectors]

    def shared(self):
        """(A in mA, reason) per connector, as the kernel gives them."""
        memory, decision = first_memory(self.topology), empty_decision(self.topology)
        cy = lay_out(self.topology, frozen(blank_image(self.topology)), memory, decision)
        for g, rooms in enumerate(self.rooms_ma):
            cy.grids[g]["lines"] = len(rooms)
            cy.grids[g]["limit_ma"][: len(rooms)] = [room + MARGIN_A * 1000 for room in rooms]
            cy.grids[g]["margin_ma"] = MARGIN_A * 1000
        for c, given_ in enumerate(self.connectors):
            kept, work = cy.kept[c], cy.work[c]
            kept["proven"] = kept["limit_known"] = kept["observed"] = 1
            kept["target_ma"] = given_["has_ma"]
            kept["phases"] = given_["phases"]
            work["load"] = [*given_["phases"], sum(given_["phases"])]
            work["line_bits"] = sum(1 << line for line in range(LINES) if work["load"][line])
            work["commandable"] = 1
            work["book_target_ma"] = given_["has_ma"]
            work["min_ma"], work["cap_ma"] = given_["min_ma"], given_["cap_ma"]
            work["weight"] = given_["weight"]
            work["why"] = Because.CONNECTOR
        share(cy)
        return cy.work["wish_ma"].tolist(), [Because(int(why)) for why in cy.work["why"]]

    def uses(self, c, g, p):
        return g in self.above[c] and self.connectors[c]["phases"][p] == 1

    def places(self):
        """Every (grid, phase) with its room and the connectors that load it."""
        count = len(self.connectors)
        for g, rooms in enumerate(self.rooms_ma):
            for p in range(3):
                yield int(rooms[p]), [c for c in range(count) if self.uses(c, g, p)]


def connector(**change):
    words = {"grid": 0, "phases": (1, 1, 1), "min_ma": 6_000, "cap_ma": 32_000, "weight": 100, "has_ma": 0}
    return words | {"step_ma": 1_000} | change


@st.composite
def cases(draw, step_ma=None, most=5):
    """Trees with room for every minimum."""
    feeders = [0] + [draw(st.integers(0, n)) for n in range(draw(st.integers(0, 2)))]
    step = step_ma or draw(st.sampled_from([100, 500, 1_000]))
    connectors = [
        connector(
            grid=draw(st.integers(0, len(feeders) - 1)),
            phases=draw(st.sampled_from([(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)])),
            cap_ma=draw(st.integers(6, 32)) * 1_000,
            weight=draw(st.sampled_from([50, 100, 100, 200])),
            step_ma=step,
            has_ma=draw(st.sampled_from([0, 6_000, 11_000, 16_000])),
        )
        for _ in range(draw(st.integers(1, most)))
    ]
    case = Case(feeders, [[0, 0, 0]] * len(feeders), connectors)
    spare = st.integers(0, 60_000)
    case.rooms_ma = np.array(
        [
            [sum(6_000 for c in range(len(connectors)) if case.uses(c, g, p)) + draw(spare) for p in range(3)]
            for g in range(len(feeders))
        ]
    )
    return case


def optimum(case):
    """Lexicographic max-min of current per weight above the minimums, in mA."""
    count = len(case.connectors)
    lows = [float(c["min_ma"]) for c in case.connectors]
    caps = [float(c["cap_ma"]) for c in case.connectors]
    weights = [float(c["weight"]) for c in case.connectors]
    rows = [[float(c in users) for c in range(count)] for _, users in case.places()]
    rooms = [float(room) for room, _ in case.places()]
    fixed = {}

    def solve(goal, level=None):
        matrix = [[*row, 0.0] for row in rows]
        right = list(rooms)
        bounds = [(lows[c], caps[c]) for c in range(count)]
        for c in range(count):
            if c in fixed:
                bounds[c] = (fixed[c], fixed[c])
            elif level is None:
                matrix.append([-float(i == c) for i in range(count)] + [weights[c]])
                right.append(0.0)
            else:
                bounds[c] = (max(lows[c], min(weights[c] * level, caps[c])), caps[c])
        bounds.append((0.0, 1e6))
        found = linprog([-g for g in goal], A_ub=matrix, b_ub=right, bounds=bounds, method="highs")
        assert found.status == 0, found.message
        return -found.fun

    while len(fixed) < count:
        level = solve([0.0] * count + [1.0])
        for c in range(count):
            if c not in fixed:
                most = solve([float(i == c) for i in range(count)] + [0.0], level - 1e-7)
                if most <= max(weights[c] * level, lows[c]) + 1e-3 and weights[c] * level >= lows[c] - 1e-3:
                    fixed[c] = min(most, max(weights[c] * level, lows[c]))
                elif most <= lows[c] + 1e-3:
                    fixed[c] = lows[c]
    return [fixed[c] for c in range(count)]


@given(cases())
def test_shares_fit_every_fuse_on_every_phase_and_are_nothing_or_at_least_the_minimum(case):
    shares, _ = case.shared()
    for room, users in case.places():
        assert sum(shares[c] for c in users) <= room
    for share_ma, drawn_ in zip(shares, case.connectors, strict=True):
        assert drawn_["min_ma"] <= share_ma <= drawn_["cap_ma"]


@settings(max_examples=60)
@given(cases(step_ma=100, most=4))
def test_shares_are_the_lexicographic_optimum_but_for_one_step_of_the_box(case):
    shares, _ = case.shared()
    for share_ma, best_ma in zip(shares, optimum(case), strict=True):
        assert best_ma - 100 - 1 <= share_ma <= best_ma + 100 + 1


@settings(max_examples=60)
@given(cases(step_ma=100, most=4))
def test_before_steps_are_rounded_shares_are_the_optimum_to_a_milliampere(case):
    for c in range(len(case.connectors)):
        case.topology.connectors[c]["step_ma"] = 1
    shares, _ = case.shared()
    for share_ma, best_ma in zip(shares, optimum(case), strict=True):
        assert abs(share_ma - best_ma) <= 2  # one for the level, one for the remainder


@given(cases())
def test_who_has_less_than_its_cap_stands_at_a_full_fuse_where_nobody_of_its_weight_has_more(case):
    for c in range(len(case.connectors)):
        case.topology.connectors[c]["step_ma"] = 1
    shares, whys = case.shared()
    for c, drawn_ in enumerate(case.connectors):
        if shares[c] >= drawn_["cap_ma"] - 1:
            continue
        assert whys[c] == Because.FUSE
        bottlenecks = [
            users for room, users in case.places() if c in users and room - sum(shares[u] for u in users) < 2
        ]
        mine = shares[c] / drawn_["weight"]
        assert any(
            all(
                shares[u] / case.connectors[u]["weight"] <= mine + 0.05 or shares[u] <= 6_000 + 1
                for u in users
            )
            for users in bottlenecks
        )


@given(cases())
def test_what_is_left_over_is_no_whole_step_for_anybody_who_was_rounded_down(case):
    shares, whys = case.shared()
    for c in range(len(case.connectors)):
        case.topology.connectors[c]["step_ma"] = 1
    unrounded, _ = case.shared()
    for c, drawn_ in enumerate(case.connectors):
        rounded_down = shares[c] < unrounded[c] - 2 and shares[c] + drawn_["step_ma"] <= drawn_["cap_ma"]
        if rounded_down and whys[c] == Because.FUSE:
            left = min(room - sum(shares[u] for u in users) for room, users in case.places() if c in users)
            assert left < drawn_["step_ma"]


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_file_decides_nothing_but_the_last_step(case, shuffler):
    order = list(range(len(case.connectors)))
    shuffler.shuffle(order)
    feeders = [max(int(row["parent"]), 0) for row in case.topology.grids]
    other = Case(feeders, case.rooms_ma, [case.connectors[c] for c in order])
    for table in (case, other):
        table.topology.connectors["step_ma"] = 1
    shares, again = case.shared()[0], other.shared()[0]
    for place, c in enumerate(order):
        assert abs(again[place] - shares[c]) <= 2


def test_twice_the_weight_is_twice_the_current():
    case = Case([0], [[60_000] * 3], [connector(weight=200, cap_ma=63_000), connector(weight=100)])
    assert case.shared()[0] == [40_000, 20_000]


def test_a_three_phase_car_gets_the_share_of_its_worst_phase_and_others_take_what_it_leaves():
    case = Case(
        [0],
        [[20_000, 60_000, 60_000]],
        [connector(), connector(phases=(1, 0, 0)), connector(phases=(0, 1, 0))],
    )
    assert case.shared()[0] == [10_000, 10_000, 32_000]


def test_a_small_board_binds_its_own_cars_and_leaves_the_rest_of_the_main_fuse_to_others():
    case = Case([0, 0], [[60_000] * 3, [16_000] * 3], [connector(grid=1), connector(grid=1), connector()])
    shares, whys = case.shared()
    assert shares == [8_000, 8_000, 32_000]
    assert whys == [Because.FUSE, Because.FUSE, Because.CONNECTOR]


def test_the_remainder_of_the_steps_stays_with_who_already_has_it():
    bays = [connector(has_ma=has) for has in (8_000, 9_000, 8_000)]
    assert Case([0], [[25_000] * 3], bays).shared()[0] == [8_000, 9_000, 8_000]


def test_when_not_every_minimum_fits_the_queue_decides_and_one_that_does_not_fit_bars_nobody():
    bays = [connector(), connector(phases=(0, 0, 1)), connector(), connector(phases=(1, 0, 0))]
    shares, whys = Case([0], [[12_000, 12_000, 6_000]], bays).shared()
    assert shares == [6_000, 0, 0, 6_000]
    assert whys[1] == whys[2] == Because.TURN


def test_who_is_on_keeps_its_minimum_in_half_of_the_margin():
    for has_ma, shares in ((6_000, [6_000, 6_000]), (0, [11_000, 0])):
        bays = [connector(has_ma=6_000), connector(has_ma=has_ma)]
        assert Case([0], [[11_000] * 3], bays).shared()[0] == shares


def test_the_room_of_a_box_that_cannot_be_commanded_is_not_shared():
    case = Case([0], [[40_000] * 3], [connector(has_ma=16_000), connector()])
    memory, decision = first_memory(case.topology, proven=True), empty_decision(case.topology)
    cy = lay_out(case.topology, frozen(blank_image(case.topology)), memory, decision)
    cy.grids["limit_ma"], cy.grids["lines"] = 40_000, 3
    cy.work["book_target_ma"] = [16_000, 0]
    cy.work["commandable"] = [0, 1]
    cy.work["min_ma"], cy.work["cap_ma"], cy.work["weight"] = 6_000, 32_000, 100
    cy.work["load"], cy.work["line_bits"] = [1, 1, 1, 3], 15
    share(cy)
    assert cy.work["wish_ma"].tolist() == [0, 24_000]


@pytest.mark.parametrize("step_a", [1.0, 4.0, 5.0, 63.0])
def test_a_box_of_coarse_steps_gets_its_minimum_or_whole_steps(step_a):
    desk = Desk(drawn(outlets=[{"step_a": step_a}]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 90)
    assert desk.target_a(0) == {1.0: 32, 4.0: 32, 5.0: 30, 63.0: 6}[step_a]


def test_a_car_capped_below_the_first_step_keeps_its_minimum():
    desk = Desk(drawn(outlets=[{"step_a": 5}]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.settle({0: 3}, 120)
    assert desk.target_a(0) == 6
