"""The last check withholds raises when tables do not agree with the wires of the site file."""

import pytest

from controller.decision import Alarm, Because
from controller.wiring import NO_MORE, trace
from tests.controller.desk import Desk, drawn

ONE_PHASE = {"phases": 1, "rotation_confirmed_by": "test"}
SITE = drawn(
    grids={"main": {}, "board": {"fed_by": "main", "max_current_a": 90, "chargepoints_only": True}},
    outlets=[{"fed_by": "board"} | ONE_PHASE, {"fed_by": "board"}],
)


def swap_phases(topology):
    topology.connectors["phase"][0] = [2, 1, 0]


def forget_a_board(topology):
    topology.connectors["path"][0][:2] = [0, 0]
    topology.connectors["depth"][0] = 1


def hang_it_on_another(topology):
    topology.connectors["path"][1][:2] = [0, 0]


def enlarge_a_fuse(topology):
    topology.grids["limit_ma"][1] = 400_000


def enlarge_an_outlet(topology):
    topology.connectors["max_ma"][0] = 63_000


def shrink_a_minimum(topology):
    topology.connectors["min_ma"] = 1_000
    topology.grids["limit_ma"][1] = 8_000


@pytest.mark.parametrize(
    "corrupt",
    [swap_phases, forget_a_board, hang_it_on_another, enlarge_a_fuse, enlarge_an_outlet, shrink_a_minimum],
)
def test_a_corrupted_table_raises_nobody_and_the_alarm(corrupt):
    desk = Desk(SITE)
    corrupt(desk.topology)
    desk.image.connectors["wish_ma"] = 63_000
    desk.cycle(3)
    desk.plug(0, 1)
    desk.cycle(5)
    assert max(desk.targets_a()) == 0
    assert max(desk.commitments_a()) == 0
    assert desk.puts == []
    assert Alarm.CHECK_FAILED & int(desk.decision.site["alarm"][0])


def test_a_car_that_draws_where_it_is_not_booked_raises_nobody():
    desk = Desk(SITE)
    desk.topology.connectors["possible"][0] = [0, 0, 1]  # it hangs on L1
    desk.cycle(3)
    desk.plug(0)
    desk.cycle(2)
    assert desk.target_a(0) == 32
    desk.load_a["main"] = (16.0, 0, 0)
    desk.draws(0, (0.0, 0.0, 16.0))
    desk.topology.connectors["phase"][0] = [2, 1, 0]
    desk.cycle()
    desk.plug(1)
    desk.cycle(10)
    assert desk.target_a(1) == 0
    assert Alarm.CHECK_FAILED & int(desk.decision.site["alarm"][0])


def test_who_was_held_back_by_the_check_is_as_before_and_says_so():
    desk = Desk(SITE)
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: (32, 0, 0)}, 60)
    before = desk.memory.connectors[1].copy()
    enlarge_a_fuse(desk.topology)
    desk.plug(1)
    desk.cycle()
    after = desk.memory.connectors[1]
    for field in ("committed_ma", "target_ma", "order_seq", "closed", "on_since_ms"):
        assert after[field] == before[field], field
    assert desk.because(1) == Because.CHECK
    sums_ma = desk.decision.grids["committed_ma"][0].tolist()
    assert sums_ma == [32_000, 0, 0]


def test_cuts_go_out_although_the_check_fails():
    desk = Desk(SITE)
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: (32, 0, 0)}, 60)
    swap_phases(desk.topology)
    desk.load_a["main"] = (110.0, 0, 0)
    desk.cycle()
    assert desk.target_a(0) < 32


def test_tables_that_agree_raise_no_alarm():
    desk = Desk(SITE)
    desk.cycle(3)
    desk.plug(0, 1)
    for _ in range(10):
        desk.settle({0: (32, 0, 0), 1: 16}, 10)
        assert not Alarm.CHECK_FAILED & int(desk.decision.site["alarm"][0])
    assert desk.target_a(0) == 32


def test_the_wires_are_followed_from_the_site_alone():
    traces = trace(SITE)
    assert traces.feeders.tolist() == [[1, 0, NO_MORE], [1, 0, NO_MORE]]
    assert traces.max_ma.tolist() == [32_000, 32_000]
    assert traces.min_ma.tolist() == [6_000, 6_000]
