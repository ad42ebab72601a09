"""Maintenance, emergency stop, and the last resort for a connector that never obeys."""

from controller.decision import Alarm, Because, Note
from controller.image import Answer, Source, Status
from controller.restart import pages, resume
from tests.controller.desk import Desk, drawn

TREE = {"main": {}, "board": {"fed_by": "main", "max_current_a": 63, "chargepoints_only": True}}


def charging(count=2, *, proven=True, load_a=10.0, **site):
    """Cars of 16 A that have what they want."""
    desk = Desk(drawn(outlets=site.pop("outlets", [{}] * count), **site), proven=proven)
    desk.load_a["main"] = load_a
    desk.cycle(3)
    desk.plug(*range(count))
    desk.settle(dict.fromkeys(range(count), 16.0), 60)
    desk.puts.clear()
    return desk


def note(desk, c=0):
    return Note(int(desk.decision.connectors[c]["note"]))


# -- stops ---------------------------------------------------------------------------------------------


def test_a_stop_of_a_grid_turns_everything_under_it_off_in_the_same_cycle_and_nothing_else():
    desk = charging(grids=TREE, outlets=[{"fed_by": "board"}, {}])
    desk.image.grids["stop"][1] = Source.EMERGENCY_STOP
    desk.cycle()
    assert desk.puts == [(desk.now_s, 0, 0.0)]
    assert desk.because(0) == Because.EMERGENCY_STOP
    assert Note.EMERGENCY_STOP in note(desk)
    assert Note.EMERGENCY_STOP not in note(desk, 1)
    assert int(desk.decision.grids[1]["note"]) == Note.EMERGENCY_STOP


def test_a_connector_in_maintenance_stays_off_while_others_charge():
    desk = charging()
    desk.image.connectors["stop"][0] = Source.MAINTENANCE
    desk.settle({0: 16.0, 1: 16.0}, 120)
    assert desk.target_a(0) == 0
    assert desk.target_a(1) >= 16
    assert desk.because(0) == Because.MAINTENANCE


def test_the_emergency_stop_is_the_stronger():
    desk = charging()
    desk.image.connectors["stop"][0] = Source.MAINTENANCE
    desk.image.grids["stop"][0] = Source.EMERGENCY_STOP
    desk.cycle()
    assert desk.because(0) == Because.EMERGENCY_STOP


def test_after_its_release_it_shares_like_all_others():
    desk = charging()
    desk.image.grids["stop"][0] = Source.EMERGENCY_STOP
    desk.settle({0: 16.0, 1: 16.0}, 60)
    assert desk.targets_a() == [0, 0]
    desk.image.grids["stop"][0] = 0
    desk.settle({0: 16.0, 1: 16.0}, 60)
    assert min(desk.targets_a()) >= 16
    assert note(desk) == Note.NONE


def test_who_is_shut_off_is_not_tested_whether_it_obeys():
    desk = Desk(drawn(outlets=[{}, {}]), proven=False)
    desk.image.connectors["stop"][0] = Source.MAINTENANCE
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 16.0, 1: 16.0}, 60)
    assert desk.target_a(0) == 0
    assert {c for _, c, amps in desk.puts if amps > 0} == {1}


def test_an_unproven_box_that_draws_is_turned_off_too():
    desk = Desk(drawn(), proven=False)
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 16.0}, 8)
    assert desk.target_a(0) > 0  # it is being tested
    desk.image.grids["stop"][0] = Source.EMERGENCY_STOP
    desk.cycle()
    assert desk.puts[-1] == (desk.now_s, 0, 0.0)
    desk.cycle(30)
    assert desk.puts[-1][2] == 0


# -- the last resort ---------------------------------------------------------------------------------


def deaf(desk, seconds, load_a=75.0):
    """Car 0 takes 30 A whatever it is told; the building takes the rest of the fuse and 5 A more."""
    for _ in range(seconds):
        desk.draws(0, 30.0)
        desk.draws(1, min(16.0, desk.target_a(1)))
        desk.load_a["main"] = load_a + 30.0 + min(16.0, desk.target_a(1))
        desk.cycle()


def disobeying():
    """Car 0 has been told less, and nothing has come of it; the fuse is not overloaded."""
    desk = charging()
    desk.image.connectors["wish_ma"][0] = 10_000
    deaf(desk, 120, load_a=20.0)
    assert Alarm.NOT_OBEYING in desk.alarm(0)
    return desk


def test_who_follows_no_order_while_a_fuse_is_overloaded_for_a_minute_is_stopped_and_taken_out_of_service():
    desk = disobeying()
    deaf(desk, 60)
    assert desk.decision.connectors["unavailable"].tolist() == [0, 0]
    deaf(desk, 2)
    row = desk.decision.connectors[0]
    assert (row["stop_transaction"], row["unavailable"]) == (1, 1)
    assert desk.decision.connectors["unavailable"].tolist() == [1, 0]
    assert Alarm.OUT_OF_SERVICE in desk.alarm(0)
    assert desk.because(0) == Because.OUT_OF_SERVICE
    assert desk.committed_a(0) == 32  # said is not done


def test_where_no_limit_is_breached_it_is_an_alarm_and_no_more():
    desk = disobeying()
    deaf(desk, 120, load_a=20.0)
    assert Alarm.NOT_OBEYING in desk.alarm(0)
    assert desk.decision.connectors["unavailable"].tolist() == [0, 0]


def test_a_box_that_refuses_every_limit_is_treated_alike():
    desk = charging()
    desk.answering = False
    for _ in range(80):
        desk.answers(0, Answer.REFUSED)
        desk.draws(0, 16.0)
        desk.draws(1, min(16.0, desk.target_a(1)))
        desk.load_a["main"] = 90.0 + 16.0
        desk.cycle()
    assert desk.decision.connectors["unavailable"].tolist() == [1, 0]


def out_of_service():
    """Stopped; its transaction has ended."""
    desk = disobeying()
    deaf(desk, 62)
    desk.stop(0, Status.UNAVAILABLE)
    desk.load_a["main"] = 40.0
    return desk


def test_it_is_booked_until_a_reading_shows_that_it_draws_nothing_and_is_asked_for_one():
    desk = out_of_service()
    desk.cycle(20)
    assert desk.committed_a(0) == 32
    assert desk.decision.connectors[0]["stop_transaction"] == 0
    asked = 0
    for _ in range(21):
        desk.cycle()
        asked += int(desk.decision.connectors[0]["ask"])
    assert asked >= 2
    desk.draws(0, 0.0)
    desk.cycle()
    assert desk.committed_a(0) == 0


def test_a_person_releases_it_and_it_must_prove_that_it_obeys():
    desk = out_of_service()
    desk.cycle(20)
    desk.draws(0, 0.0)
    desk.cycle()
    assert desk.decision.connectors[0]["unavailable"] == 1
    desk.image.connectors["released"][0] = 1
    desk.says(0, Status.AVAILABLE)
    desk.cycle()
    assert desk.decision.connectors[0]["unavailable"] == 0
    assert desk.memory.connectors["proven"][0] == 0
    assert desk.alarm(0) == Alarm.NONE
    desk.plug(0)
    desk.settle({0: 16.0, 1: 16.0}, 120)
    assert desk.target_a(0) == 10
    assert desk.memory.connectors["proven"][0] == 1


def test_a_transaction_that_begins_all_the_same_is_stopped_too():
    desk = out_of_service()
    desk.cycle(20)
    desk.plug(0)
    desk.cycle()
    assert desk.decision.connectors[0]["stop_transaction"] == 1


def test_a_restart_of_the_controller_releases_nobody():
    desk = out_of_service()
    desk.cycle(5)
    book = dict(zip(desk.topology.connector_names, pages(desk.topology, desk.memory), strict=True))
    desk.memory = resume(desk.topology, book, round(desk.now_s * 1000))
    desk.cycle()
    assert desk.decision.connectors["unavailable"].tolist() == [1, 0]
