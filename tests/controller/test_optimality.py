"""Sharing against what no controller could do better: exact filling, and the best set of admitted cars.

Without unbalance limits and steps the filling is the lexicographic max-min optimum to a
milliampere; what steps and admission cost is printed by `make bench` (group `optimality`).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controller.reference import Tree, admitted_of_most, farthest_ma, gap_per_mille

SEEDS = st.integers(0, 2**31)
TO_A_MILLIAMPERE = 1.05
"""mA: levels count in 1/100000 mA per percent of weight."""


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 12), st.integers(1, 5), st.sampled_from([0.5, 3.0, 8.0, 30.0]))
def test_on_any_small_tree_every_share_is_the_optimum_to_a_milliampere(seed, cars, grids, plenty):
    assert farthest_ma(Tree(seed, cars, grids, plenty=plenty)) <= TO_A_MILLIAMPERE


@pytest.mark.parametrize(
    ("seed", "cars", "grids"), [(1, 20, 4), (2, 50, 8), (3, 100, 12), (4, 200, 20), (5, 200, 20), (6, 200, 1)]
)
def test_on_large_trees_every_share_is_the_optimum_to_a_milliampere(seed, cars, grids):
    assert farthest_ma(Tree(seed, cars, grids)) <= TO_A_MILLIAMPERE


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 12), st.integers(1, 5))
def test_limits_on_the_phases_together_keep_it_the_optimum_to_a_milliampere(seed, cars, grids):
    assert farthest_ma(Tree(seed, cars, grids, power=True)) <= TO_A_MILLIAMPERE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step_ma", [1_000, 4_000])
def test_steps_of_a_box_cost_each_car_less_than_a_step(seed, step_ma):
    tree = Tree(seed, 40, 6, step_ma=step_ma)
    shares, _ = tree.shared()
    best = tree.most_fair_ma()
    assert (np.array(shares) > best - step_ma - 1).all()
    assert gap_per_mille(tree) + 1 >= 0


@settings(max_examples=60)
@given(SEEDS, st.integers(2, 12), st.integers(1, 4))
def test_of_one_phase_cars_as_many_are_admitted_as_can_be(seed, cars, grids):
    # fuses of a tree on one phase are a laminar matroid: every queue admits the same number
    admitted, most = admitted_of_most(Tree(seed, cars, grids, plenty=-4.0, one_phase=True))
    assert admitted == most


@settings(max_examples=60)
@given(SEEDS, st.integers(2, 12), st.integers(1, 4))
def test_of_cars_of_all_phases_at_least_a_third_of_the_best_set_is_admitted(seed, cars, grids):
    # three laminar matroids, one a phase: greedy in any order reaches a third (Jenkyns 1976)
    admitted, most = admitted_of_most(Tree(seed, cars, grids, plenty=-4.0))
    assert most / 3 <= admitted <= most
