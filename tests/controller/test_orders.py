"""The life of an order: what a connector is booked at, from put down to observed, answered or lost."""

import itertools

import pytest

from controller.decision import Alarm, Because
from controller.defaults import UNKNOWN
from controller.image import Answer, Status
from controller.restart import pages, resume
from tests.controller.bench_site import Car, World
from tests.controller.desk import Desk, drawn


def charging(amps=32, seconds=60, **words):
    """One car that has taken `amps` on three phases for a while, 20 A of other load, fuse 100 A."""
    desk = Desk(drawn(outlets=[words]))
    desk.load_a["main"] = 20.0
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: amps}, seconds)
    desk.cycle(3)
    desk.answering = False
    desk.puts.clear()
    return desk


def wishes(desk, amps, c=0):
    desk.image.connectors["wish_ma"][c] = round(amps * 1000)


def lowered(desk, amps=16):
    """The moment at which the box accepts a lowering."""
    wishes(desk, amps)
    desk.cycle()
    assert desk.puts[-1][2] == amps
    desk.answers(0)
    return desk.now_s


def test_a_raise_is_booked_in_the_cycle_in_which_it_is_put_down():
    desk = Desk(drawn())
    desk.cycle(3)
    desk.answering = False
    desk.plug(0)
    desk.cycle()
    assert desk.puts == [(4, 0, 32)]
    assert (desk.target_a(0), desk.committed_a(0)) == (32, 32)


def test_a_lowering_frees_nothing_when_it_is_put_down_nor_when_it_is_answered():
    desk = charging()
    lowered(desk)
    desk.cycle(4)
    assert (desk.target_a(0), desk.committed_a(0)) == (16, 32)


@pytest.mark.parametrize(
    ("after_s", "draws_a", "booked_a"),
    [(4, 15.5, 32), (5, 15.5, 16), (5, 16.8, 16), (5, 16.9, 32), (5, 31, 32), (20, 15.5, 16)],
)
def test_a_lowering_frees_when_a_reading_five_seconds_after_the_answer_shows_it(after_s, draws_a, booked_a):
    desk = charging()
    answered_s = lowered(desk)
    desk.cycle(after_s)
    desk.draws(0, draws_a, at_s=answered_s + after_s)
    desk.cycle()
    assert desk.committed_a(0) == booked_a


def test_the_commitment_of_a_car_of_unknown_phases_falls_only_when_the_meter_has_seen_it_too():
    desk = charging(amps=(32, 0, 0))
    answered_s = lowered(desk)
    desk.cycle(5)
    desk.draws(0, (15.5, 0, 0), at_s=answered_s + 5)
    desk.cycle()
    assert desk.committed_a(0) == 32
    desk.cycle(2)  # the meter's delay and the wait for the cycle
    assert desk.committed_a(0) == 16


def test_a_status_alone_frees_nothing():
    desk = charging()
    lowered(desk)
    desk.cycle(6)
    desk.says(0, Status.SUSPENDED_EV)
    desk.cycle(60)
    assert desk.committed_a(0) == 32


@pytest.mark.parametrize(
    ("answer", "gaps_s"), [(Answer.NONE, [20, 30, 50, 90, 90]), (Answer.UNKNOWN, [10, 20, 40, 80, 80])]
)
def test_an_order_without_answer_stays_booked_and_is_sent_again_with_growing_waits(answer, gaps_s):
    desk = charging()
    wishes(desk, 16)
    for _ in range(sum(gaps_s) + 1):
        desk.cycle()
        if answer:
            desk.answers(0, answer)
        assert desk.committed_a(0) == 32
    sent_s = [at for at, _, _ in desk.puts]
    assert [late - early for early, late in itertools.pairwise(sent_s)] == gaps_s
    assert {amps for _, _, amps in desk.puts} == {16}


def test_an_answer_to_an_older_order_says_nothing_of_the_newest():
    desk = charging()
    wishes(desk, 16)
    desk.cycle()
    desk.answers(0)
    desk.image.connectors["answered_seq"][0] -= 1
    desk.cycle(6)
    desk.draws(0, 15.5)
    desk.cycle()
    assert desk.committed_a(0) == 32


def test_a_refused_order_books_the_box_at_its_maximum_and_is_tried_again_after_a_minute():
    desk = charging(amps=16, seconds=180)
    assert desk.committed_a(0) < 20  # reclaimed: booked at what the car takes
    wishes(desk, 10)
    desk.cycle()
    desk.answers(0, Answer.REFUSED)
    refused_s = desk.now_s
    desk.cycle()
    assert desk.committed_a(0) == 32
    assert desk.because(0) == Because.REFUSED
    assert Alarm.REFUSED in desk.alarm(0)
    desk.puts.clear()
    desk.cycle(60)
    assert [at - refused_s for at, _, _ in desk.puts] == [60]
    desk.answers(0)
    answered_s = desk.now_s
    desk.cycle(6)
    desk.draws(0, 9.8, at_s=answered_s + 6)
    desk.cycle()
    assert desk.committed_a(0) == 10
    assert desk.alarm(0) == Alarm.NONE


def test_a_box_that_accepts_and_does_not_obey_is_told_once_more_and_then_counts_as_it_likes():
    desk = charging(amps=20, max_current_a=20)
    wishes(desk, 10)
    desk.puts.clear()
    for _ in range(120):
        desk.answers(0)
        desk.cycle()
        desk.draws(0, 19.9)
    assert [amps for _, _, amps in desk.puts] == [10, 10]
    assert desk.committed_a(0) == 20
    assert desk.because(0) == Because.NOT_OBEYING
    assert Alarm.NOT_OBEYING in desk.alarm(0)
    desk.draws(0, 9.9)
    desk.cycle()
    assert desk.committed_a(0) == 10
    assert desk.alarm(0) == Alarm.NONE


def test_others_yield_to_a_box_that_does_not_obey():
    desk = Desk(drawn(grids={"main": {"max_current_a": 67}}, outlets=[{}, {}]))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 90)
    assert desk.targets_a() == [32, 32]
    desk.image.connectors["wish_ma"][0] = 6_000
    for _ in range(100):
        desk.cycle()
        desk.draws(0, 32.0)
        desk.draws(1, min(32.0, desk.target_a(1)))
        desk.load_a["main"] = 32 + min(32.0, desk.target_a(1))
    assert desk.because(0) == Because.NOT_OBEYING
    assert desk.committed_a(0) + desk.committed_a(1) <= 64
    assert desk.target_a(1) == 32


def test_a_box_that_draws_more_than_it_is_booked_at_is_caught_by_that_reading():
    desk = charging()
    answered_s = lowered(desk)
    desk.cycle(6)
    desk.draws(0, 15.5, at_s=answered_s + 6)
    desk.cycle()
    desk.draws(0, 17.0)
    desk.cycle()
    assert desk.committed_a(0) == 32
    assert desk.because(0) == Because.NOT_OBEYING


def test_of_several_orders_on_the_way_the_highest_is_booked():
    desk = charging()
    for amps in (20, 10, 14):
        wishes(desk, amps)
        desk.cycle()
    assert [amps for _, _, amps in desk.puts] == [20, 10]  # no raise before the lowering is observed
    assert desk.committed_a(0) == 32


def test_the_end_of_a_transaction_frees_the_connector_after_five_seconds():
    desk = charging()
    desk.stop(0)
    stopped_s = desk.now_s
    desk.cycle(4)
    assert desk.committed_a(0) == 32
    desk.cycle(1)
    assert (desk.committed_a(0), desk.target_a(0)) == (0, 0)
    assert desk.now_s == stopped_s + 5
    assert desk.because(0) == Because.IDLE


def test_without_a_verified_default_the_end_of_a_transaction_frees_nothing():
    desk = charging()
    desk.image.connectors["default_ma"] = UNKNOWN
    desk.stop(0)
    desk.cycle(600)
    assert desk.committed_a(0) == 32
    desk.image.connectors["default_ma"] = 0
    desk.cycle(7)
    assert desk.committed_a(0) == 0


def test_an_idle_connector_is_booked_at_the_default_with_which_it_may_start_by_itself():
    desk = Desk(drawn(outlets=[{"fallback_a": 10}]))
    desk.cycle(10)
    assert (desk.target_a(0), desk.committed_a(0)) == (10, 10)


def test_an_offline_box_stays_booked_as_long_as_it_is_away_and_hears_its_order_again():
    desk = charging()
    desk.image.connectors["online"] = 0
    desk.cycle(1_800)
    assert desk.committed_a(0) == 32
    assert desk.because(0) == Because.OFFLINE
    assert desk.puts == []
    desk.image.connectors["online"] = 1
    desk.cycle()
    assert [amps for _, _, amps in desk.puts] == [32]


def test_a_lost_box_with_a_lease_is_freed_when_its_lease_has_surely_ended():
    desk = charging(lease_s=120)
    lease_s = int(desk.decision.connectors["lease_until_ms"][0]) / 1000
    assert lease_s > desk.now_s + 59
    desk.image.connectors["online"] = 0
    desk.cycle(lease_s + 6 - desk.now_s)  # clock error 2 s, the car's 5 s
    assert desk.committed_a(0) == 32
    desk.cycle(2)
    assert desk.committed_a(0) == 0


def test_behind_a_lost_box_whose_lease_has_ended_no_rise_of_the_load_can_hide():
    desk = charging(lease_s=120)
    desk.image.connectors["online"] = 0
    desk.cycle(140)  # the lease has ended
    desk.load_a["main"] = 50.0  # all of it the building's: the car can draw nothing any more
    desk.cycle(3)
    assert (desk.committed_a(0), min(desk.estimate_a()) >= 49) == (0, True)


def test_a_lost_box_that_decays_upwards_is_booked_at_its_fallback_before_it_may_do_so():
    desk = charging(lease_s=120, fallback_a=16)
    lowered(desk, 6)
    desk.cycle(6)
    desk.draws(0, 5.9)
    desk.cycle()
    assert desk.committed_a(0) == 6
    lease_s = int(desk.decision.connectors["lease_until_ms"][0]) / 1000
    desk.image.connectors["online"] = 0
    desk.cycle(30)
    assert desk.committed_a(0) == 6
    desk.cycle(lease_s - 12 - desk.now_s)  # its clock may run ahead, and others need time to yield
    assert desk.committed_a(0) == 16


def test_the_others_have_made_room_when_a_lost_box_decays_upwards():
    site = drawn(outlets=[{"fallback_a": 16, "lease_s": 120}] * 4)
    cars = [Car(start_s=5, read_every_s=10, read_phase_s=n, up_s=1, clock_s=-2) for n in range(4)]
    cars[0].offline = (200, 600)
    world = World(site, cars, lambda g, p, t: 20.0)
    world.image.connectors["wish_ma"][0] = 6_000
    for _ in range(400):
        world.step()
        assert world.currents.max() <= 100
    assert cars[0].draw_a == 16


def test_a_lease_is_renewed_at_half_of_its_time():
    desk = charging(lease_s=120)
    desk.answering = True
    desk.settle({0: 32}, 240)
    gaps = [late[0] - early[0] for early, late in zip(desk.puts, desk.puts[1:], strict=False)]
    assert len(gaps) >= 2
    assert all(59 <= gap <= 61 for gap in gaps)


def test_a_renewal_changes_nothing_and_asks_for_no_reading():
    desk = charging(lease_s=120)
    desk.answering = True
    asks = 0
    for _ in range(240):
        desk.settle({0: 32}, 1)
        asks += int(desk.decision.connectors["ask"][0])
    assert len(desk.puts) >= 3
    assert asks == 0


def test_orders_of_a_box_without_lease_do_not_expire_and_are_not_repeated():
    desk = charging()
    desk.answering = True
    desk.settle({0: 32}, 600)
    assert desk.puts == []
    assert desk.decision.connectors["lease_until_ms"][0] == -1


# -- start and restart -------------------------------------------------------------------------------


def test_a_connector_that_has_not_reported_itself_gets_no_order():
    desk = Desk(drawn())
    desk.image.connectors["status"] = Status.NONE
    desk.image.connectors["transaction"] = 7
    desk.cycle(30)
    assert {amps for _, _, amps in desk.puts} <= {0}
    assert desk.because(0) == Because.WAIT_READING
    desk.says(0, Status.CHARGING)
    desk.cycle(2)
    assert desk.target_a(0) == 32


def test_what_was_never_seen_is_booked_at_its_fallback():
    desk = Desk(drawn(outlets=[{"fallback_a": 6}]), proven=False)
    desk.image.connectors["online"] = 0
    desk.cycle(100)
    assert desk.committed_a(0) == 6


def restarted(desk, book):
    again = Desk(drawn(outlets=[{}]))
    again.memory = resume(again.topology, book, 1)
    again.image.connectors[:] = desk.image.connectors
    again.image.connectors["reading_at_ms"] = -1
    again.image.connectors["status_at_ms"] = 1
    again.load_a = desk.load_a
    again.answering = False
    return again


def test_after_a_restart_a_connector_is_booked_as_the_book_says_before_and_after_it_reports():
    desk = charging()
    book = dict(zip(desk.topology.connector_names, pages(desk.topology, desk.memory), strict=True))
    again = restarted(desk, book)
    again.image.connectors["online"] = 0
    again.cycle(5)
    assert again.committed_a(0) == 32
    again.image.connectors["online"] = 1
    again.cycle()
    assert again.committed_a(0) == 32
    assert all(amps <= 32 for _, _, amps in again.puts)


def test_an_order_on_its_way_when_the_box_died_is_still_booked_and_sent_again():
    desk = charging()
    lowered(desk, 10)
    book = dict(zip(desk.topology.connector_names, pages(desk.topology, desk.memory), strict=True))
    again = restarted(desk, book)
    again.cycle(25)
    assert (again.target_a(0), again.committed_a(0)) == (10, 32)
    assert [amps for _, _, amps in again.puts][:1] == [10]


def test_without_its_book_the_controller_counts_every_box_at_its_rating():
    desk = charging()
    again = restarted(desk, None)
    again.image.connectors["online"] = 0
    again.cycle(3)
    assert again.committed_a(0) == 32


def spared(writes):
    """A car of 32 A that somebody outside allows now more, now less, at a box of few orders a day."""
    desk = Desk(drawn(outlets=[{"writes_per_day": writes}]))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    return desk


def wish(desk, amps, seconds=60):
    desk.image.connectors["wish_ma"] = round(amps * 1000)
    desk.settle({0: min(amps, 32)}, seconds)
    return desk.targets_a()[0]


def test_once_the_orders_that_a_box_bears_in_a_day_are_spent_it_is_lowered_and_not_raised():
    desk = spared(4)
    assert [wish(desk, amps) for amps in (10, 20, 10)] == [10, 20, 10]
    assert wish(desk, 30) == 10
    assert desk.because(0) == Because.SPARED
    assert wish(desk, 6) == 6, "a lowering never waits"
    assert wish(desk, 0) == 0


def test_as_the_day_goes_on_it_may_be_raised_again():
    desk = spared(4)
    assert [wish(desk, amps) for amps in (10, 20, 10, 30)] == [10, 20, 10, 10]
    desk.cycle(6 * 3600, step_s=60)
    assert wish(desk, 30) == 30
    assert wish(desk, 20) == 20
    assert wish(desk, 30) == 20


def test_a_box_that_bears_any_number_of_orders_is_never_spared():
    desk = spared(None)
    assert [wish(desk, amps) for amps in (10, 20) * 10] == [10, 20] * 10
