"""What an earlier site file had and this one has no more still counts, until it surely draws nothing."""

import pytest

from controller.decision import Alarm
from controller.defaults import CLOCK_ERROR_MS, DOWN_MS
from controller.restart import leftovers, pages, resume, retreat
from tests.controller.desk import Desk, drawn

LEASE_S = 60
SURELY_S = LEASE_S + (CLOCK_ERROR_MS + DOWN_MS) // 1000
BOARD = {"fed_by": "main", "chargepoints_only": True}
GRIDS = {"main": {"max_current_a": 60}, "board": BOARD, "other": BOARD}
ON_BOARD = {"fed_by": "board", "lease_s": LEASE_S}
WITHOUT_LEASE = {"fed_by": "board"}
ON_OTHER = {"fed_by": "other", "lease_s": LEASE_S}


def edited(before, after, *, grids=GRIDS, charging=(1,)):
    """A desk of the new file with the book of the old one, in which these outlets charge."""
    old = Desk(drawn(grids=GRIDS, outlets=before))
    old.plug(*charging)
    old.cycle(3)
    book = dict(zip(old.topology.connector_names, pages(old.topology, old.memory), strict=True))
    new = Desk(drawn(grids=grids, outlets=after))
    new.memory = resume(new.topology, book, 0)
    new.memory.connectors["proven"] = 1
    return new


def booked_a(desk):
    """Of every grid, on L1; the last check agrees with it."""
    assert not desk.decision.site["alarm"][0] & Alarm.CHECK_FAILED
    return [ma // 1000 for ma in desk.decision.grids["committed_ma"][:, 0].tolist()]


@pytest.mark.parametrize(
    ("gone", "after_s", "main_board_other_a"),
    [
        (ON_BOARD, 5, [32, 32, 0]),
        (ON_BOARD, SURELY_S - 1, [32, 32, 0]),  # its clock and its car may be late
        (ON_BOARD, SURELY_S + 1, [0, 0, 0]),
        (WITHOUT_LEASE, 86_400, [32, 32, 0]),  # nobody knows
    ],
)
def test_a_box_that_is_taken_out_of_the_file_counts_where_it_hung_until_its_lease_has_surely_ended(
    gone, after_s, main_board_other_a
):
    desk = edited([ON_BOARD, gone], [ON_BOARD])
    desk.cycle(after_s, step_s=after_s)
    assert booked_a(desk) == main_board_other_a


def test_nobody_is_raised_into_what_a_box_that_was_taken_out_may_still_draw():
    desk = edited([ON_BOARD, ON_BOARD], [ON_BOARD])
    desk.plug(0)
    desk.settle({0: 32.0}, SURELY_S - 5)
    assert desk.target_a(0) == 60 - 3 - 32
    assert desk.decision.connectors["wish_ma"][0] == 25_000  # nor is it promised to anybody
    desk.settle({0: 32.0}, 30)
    assert desk.target_a(0) == 32


def test_the_controller_looks_again_when_the_lease_of_what_was_taken_out_has_ended():
    desk = edited([ON_BOARD, ON_BOARD], [ON_BOARD])
    desk.cycle(SURELY_S - 10, step_s=SURELY_S - 10)
    assert desk.decision.site["next_ms"][0] <= SURELY_S * 1000


def test_a_box_that_was_moved_counts_at_both_places():
    desk = edited([ON_BOARD, ON_BOARD], [ON_BOARD, ON_OTHER])
    desk.cycle(5)
    assert booked_a(desk) == [64, 32, 32]


def test_the_key_of_what_a_move_leaves_behind_outlives_the_page_of_its_new_place():
    old = Desk(drawn(grids=GRIDS, outlets=[ON_BOARD]))
    old.plug(0)
    old.cycle(3)
    new = Desk(drawn(grids=GRIDS, outlets=[ON_OTHER]))
    left = leftovers(new.topology, {"bay_0/1": pages(old.topology, old.memory)[0]})
    assert list(left) == ["bay_0/1 on 1"]
    again = leftovers(new.topology, left | {"bay_0/1": pages(new.topology, new.memory)[0]})
    assert again == left


def test_where_its_board_is_gone_too_it_counts_on_the_next_grid_above():
    grids = {name: grid for name, grid in GRIDS.items() if name != "board"} | {"new": BOARD}
    grids = {
        name: grid | {"id": 7 + n} if n else grid | {"id": 0} for n, (name, grid) in enumerate(grids.items())
    }
    desk = edited([ON_BOARD, ON_BOARD], [ON_OTHER], grids=grids)
    desk.cycle(5)
    assert booked_a(desk) == [32, 0, 0]


def test_what_drew_nothing_leaves_nothing_behind():
    desk = edited([ON_BOARD, ON_BOARD], [ON_BOARD], charging=())
    desk.cycle(5)
    assert booked_a(desk) == [0, 0, 0]


def test_a_retreat_forgets_nothing_of_it():
    desk = edited([ON_BOARD, ON_BOARD], [ON_BOARD])
    desk.cycle(5)
    _, desk.memory = retreat(desk.topology, desk.memory, round(desk.now_s * 1000))
    desk.cycle()
    assert booked_a(desk) == [32, 32, 0]
