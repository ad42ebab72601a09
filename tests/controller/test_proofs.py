"""The proof of obedience: nobody is trusted with current who has not been seen to lower it."""

import itertools

import pytest

from controller.decision import Alarm, Because
from controller.defaults import UNLIMITED_MA
from controller.image import Answer, Status
from tests.controller.desk import Desk, drawn


def unproven(count, draw_a=0.0, **grid):
    """Boxes that nobody has seen obey; with `draw_a` their cars charge already when the controller starts."""
    desk = Desk(drawn(grids={"main": grid}, outlets=[{}] * count), proven=False)
    desk.cycle(0 if draw_a else 2)
    desk.plug(*range(count))
    if draw_a:
        desk.load_a["main"] = draw_a * count
        for c in range(count):
            desk.draws(c, draw_a, at_s=0.5)
    return desk


def follow(desk, want_a, seconds):
    """Cars that take what they are offered, at most `want_a`, at once, and say so each second."""
    for _ in range(seconds):
        takes = [0.0 if target < 6 else min(target - 0.1, want_a) for target in desk.targets_a()]
        for c, amps in enumerate(takes):
            desk.draws(c, amps)
        desk.load_a["main"] = sum(takes)
        desk.cycle()


def test_boxes_that_draw_are_all_proven_at_once_by_one_lowering_and_nobody_is_cut_for_it():
    desk = unproven(5, draw_a=16.0)
    desk.cycle()
    assert [amps for _, _, amps in desk.puts if amps] == [12] * 5  # 0.8 of 16, whole amperes
    assert desk.commitments_a() == [32] * 5  # more than the fuse, known to be so
    follow(desk, 32, 7)
    assert (desk.memory.connectors["proven"] == 1).all()
    assert all(amps >= 12 for _, _, amps in desk.puts)
    follow(desk, 32, 60)
    assert desk.targets_a() == [20, 20, 19, 19, 19]


def test_boxes_that_wait_are_proven_in_batches_that_fit_at_their_maximum():
    desk = unproven(5)
    follow(desk, 32, 6)
    first_s = desk.puts[0][0]
    assert desk.puts == [(first_s, c, 10) for c in range(3)]  # 3 x 32 A fit 97 A
    assert desk.commitments_a() == [32, 32, 32, 0, 0]
    assert [desk.because(c) for c in range(5)] == [Because.PROOF] * 5
    follow(desk, 32, 60)
    assert [c for _, c, amps in desk.puts if amps == 10][:5] == [0, 1, 2, 3, 4]
    assert (desk.memory.connectors["proven"] == 1).all()
    follow(desk, 32, 60)
    assert sum(desk.targets_a()) == 97


@pytest.mark.parametrize("drawing", [False, True])
def test_a_proof_for_which_the_room_is_gone_is_ended_in_that_cycle(drawing):
    desk = unproven(1)
    follow(desk, 32 if drawing else 0, 7 if drawing else 12)
    assert desk.target_a(0) > 0
    assert desk.memory.connectors["proven"][0] == 0
    desk.image.grids["hard_ma"] = 0
    desk.cycle()
    assert desk.target_a(0) == 0
    desk.image.grids["hard_ma"] = UNLIMITED_MA
    follow(desk, 32, 90)
    assert desk.memory.connectors["proven"][0] == 1
    assert desk.target_a(0) == 32


def test_a_box_that_refused_is_offered_no_proof_inside_a_booking_that_does_not_fit():
    desk = unproven(2)
    follow(desk, 0, 12)
    desk.answering = False
    desk.image.grids["hard_ma"] = 0
    desk.cycle()
    for c in range(2):
        desk.answers(c, Answer.REFUSED)
    desk.image.grids["hard_ma"] = UNLIMITED_MA
    desk.load_a["main"] = 40
    desk.puts.clear()
    for _ in range(65):
        for c in range(2):
            desk.draws(c, 0)
        desk.cycle()
        assert desk.commitments_a() == [32, 32]  # beside 40 A of other load under 97 A
        assert Alarm.CHECK_FAILED not in Alarm(int(desk.decision.site["alarm"][0]))
    assert [amps for _, _, amps in desk.puts] == [0, 0]


def test_a_car_that_draws_nothing_proves_nothing_and_its_box_waits_five_minutes():
    desk = unproven(1)
    offers = []
    for _ in range(700):
        desk.draws(0, 0.0)
        desk.cycle()
        offers = [at for at, _, amps in desk.puts if amps == 10]
    assert len(offers) == 3
    assert all(late - early >= 300 for early, late in itertools.pairwise(offers))
    assert (desk.memory.connectors["proven"] == 0).all()


def test_a_waiting_unproven_box_that_draws_by_itself_is_caught_at_once():
    desk = unproven(2, max_current_a=40)  # room for one proof at a time
    follow(desk, 32, 7)
    waiting = 1 if desk.puts[0][1] == 0 else 0
    desk.draws(waiting, 14.0)
    desk.cycle()
    assert desk.committed_a(waiting) == 32
    assert desk.because(waiting) == Because.NOT_OBEYING


def test_new_firmware_must_be_proven_again():
    desk = Desk(drawn())
    desk.load_a["main"] = 20.0
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.puts.clear()
    desk.image.connectors["firmware"] = 2
    desk.draws(0, 32.0)
    desk.cycle()
    assert desk.committed_a(0) == 32
    assert [amps for _, _, amps in desk.puts] == [25]


@pytest.mark.parametrize("status", [Status.NONE, Status.CHARGING, Status.SUSPENDED_EV])
def test_a_car_that_charges_before_its_transaction_is_announced_is_booked_at_the_rating(status):
    desk = Desk(drawn(), proven=False)
    desk.load_a["main"] = 52.0
    desk.image.connectors["status"] = status
    desk.image.connectors["status_at_ms"] = 0
    desk.cycle(20)  # its default of 0 A is verified, and says nothing of a transaction that runs
    assert desk.committed_a(0) == (0 if status is Status.NONE else 32)
    desk.plug(0)
    desk.cycle(1)
    desk.draws(0, 32.0)
    follow(desk, 32, 30)
    assert desk.alarm(0) == Alarm.NONE
    assert desk.memory.connectors["proven"][0] == 1


def test_in_a_panic_a_box_in_its_proof_is_turned_off_and_that_proves_it():
    desk = unproven(1)
    follow(desk, 32, 6)
    assert desk.target_a(0) == 10
    desk.draws(0, 9.9)
    desk.load_a["main"] = 260.0
    desk.cycle(4)
    assert desk.target_a(0) == 0
    desk.puts.clear()
    desk.draws(0, 9.9)  # it has not followed yet
    desk.cycle(3)
    assert desk.puts == []
    desk.cycle(3)
    desk.draws(0, 0.0)
    desk.cycle()
    assert desk.memory.connectors["proven"][0] == 1


def test_a_panic_at_the_start_tells_every_box_once():
    desk = unproven(3, draw_a=16.0)
    desk.load_a["main"] = 260.0
    desk.answering = False
    desk.cycle(12)
    assert desk.targets_a() == [0, 0, 0]
    assert len([c for _, c, amps in desk.puts if amps == 0]) <= 6  # on sight, and in the panic
