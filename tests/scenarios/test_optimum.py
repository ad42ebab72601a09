"""The clairvoyant bound against cases that can be worked out by hand."""

import numpy as np
import pytest

from controller import site, topology
from scenarios.optimum import Stay, most_energy

ALL = (True, True, True)
L1_ONLY = (True, False, False)
HOUR = 3600.0


def tree(**feeders):
    """A connection with one chargepoint per board; `feeders` names boards and who feeds them."""
    boards = {"main": None, **feeders}
    grids = {
        name: {"id": i, "max_current_a": 100, "chargepoints_only": True} | ({"fed_by": up} if up else {})
        for i, (name, up) in enumerate(boards.items())
    }
    points = {
        f"at_{name}": {
            "identity": name,
            "fed_by": name,
            "connector": [{"number": 1, "max_current_a": 32}, {"number": 2, "max_current_a": 32}],
        }
        for name in boards
    }
    drawn = {
        "name": "case",
        "timezone": "UTC",
        "accept_unsafe_fallback": "a case on paper, tests",
        "grid": grids,
        "chargepoint": points,
    }
    return topology.compile_site(site.build(drawn, "case"))


def room(steps, **amps):
    """Room per step and grid, A on every phase."""
    return np.array([[[a] * 3 for a in amps.values()]] * steps, dtype=float)


def test_a_car_alone_gets_what_it_needs():
    bound = most_energy(tree(), [Stay(0, ALL, 0, 4 * HOUR, 10_000, 16)], room(4, main=100), HOUR)
    assert bound.total_wh == pytest.approx(10_000)


def test_a_short_stay_gets_what_its_maximum_allows_in_the_part_of_the_step_it_is_there():
    bound = most_energy(tree(), [Stay(0, ALL, 0.5 * HOUR, 1.25 * HOUR, 99_000, 16)], room(4, main=100), HOUR)
    assert bound.total_wh == pytest.approx(0.75 * 16 * 3 * 230)


def test_a_full_fuse_is_shared_and_never_exceeded():
    stays = [Stay(c, ALL, 0, 2 * HOUR, 99_000, 32) for c in (0, 1)]
    assert most_energy(tree(), stays, room(2, main=40), HOUR).total_wh == pytest.approx(2 * 40 * 3 * 230)


def test_foresight_serves_the_car_that_leaves_first():
    stays = [Stay(0, ALL, 0, 1 * HOUR, 690 * 10, 10), Stay(1, ALL, 0, 2 * HOUR, 690 * 10, 10)]
    bound = most_energy(tree(), stays, room(2, main=10), HOUR)
    assert bound.stay_wh == pytest.approx([6_900, 6_900])


def test_a_one_phase_car_uses_only_its_own_phase():
    drawing_on_l1 = [Stay(0, L1_ONLY, 0, HOUR, 99_000, 32), Stay(1, L1_ONLY, 0, HOUR, 99_000, 32)]
    apart = [drawing_on_l1[0], drawing_on_l1[1]._replace(phases=(False, True, False))]
    assert most_energy(tree(), drawing_on_l1, room(1, main=32), HOUR).total_wh == pytest.approx(32 * 230)
    assert most_energy(tree(), apart, room(1, main=32), HOUR).total_wh == pytest.approx(2 * 32 * 230)


def test_the_fuse_of_every_board_above_counts():
    stays = [Stay(2, ALL, 0, HOUR, 99_000, 32), Stay(4, ALL, 0, HOUR, 99_000, 32)]
    site_tree = tree(hall="main", roof="main")
    free = most_energy(site_tree, stays, room(1, main=100, hall=100, roof=100), HOUR)
    board = most_energy(site_tree, stays, room(1, main=100, hall=10, roof=100), HOUR)
    both = most_energy(site_tree, stays, room(1, main=30, hall=10, roof=100), HOUR)
    assert [free.total_wh, board.total_wh, both.total_wh] == pytest.approx([44_160, 42 * 690, 30 * 690])
    assert board.stay_wh == pytest.approx([6_900, 22_080])


def test_building_load_above_the_fuse_leaves_nothing_and_not_less():
    amps = room(2, main=10)
    amps[0] = -25.0
    stays = [Stay(0, ALL, 0, 2 * HOUR, 99_000, 32)]
    assert most_energy(tree(), stays, amps, HOUR).total_wh == pytest.approx(10 * 690)


def test_what_lies_outside_the_run_is_not_counted_and_nobody_there_is_no_energy():
    late = Stay(0, ALL, 10 * HOUR, 12 * HOUR, 5_000, 16)
    early = Stay(1, ALL, -2 * HOUR, 0.5 * HOUR, 99_000, 10)
    assert most_energy(tree(), [], room(2, main=50), HOUR).total_wh == 0
    assert most_energy(tree(), [late, early], room(2, main=50), HOUR).stay_wh == pytest.approx([0, 3_450])


def test_neither_a_tighter_fuse_nor_a_finer_step_raises_the_bound():
    rng = np.random.default_rng(5)
    stays = [
        Stay(int(c), ALL, a, a + d, e, 16)
        for c, a, d, e in zip(
            rng.integers(0, 2, 20),
            rng.uniform(0, 6 * HOUR, 20),
            rng.uniform(HOUR, 4 * HOUR, 20),
            rng.uniform(2e3, 3e4, 20),
            strict=True,
        )
    ]
    hour = most_energy(tree(), stays, room(12, main=30), HOUR).total_wh
    quarter = most_energy(tree(), stays, room(48, main=30), HOUR / 4).total_wh
    less = most_energy(tree(), stays, room(48, main=25), HOUR / 4).total_wh
    assert less < quarter <= hour
