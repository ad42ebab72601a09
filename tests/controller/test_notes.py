"""Every note of docs/notes.md: what begins it, and what ends it."""

from pathlib import Path

import pytest

from controller import explain
from controller.decision import Note
from controller.explain import Scene
from controller.image import Answer, Source, Status
from controller.remarks import NOTES
from controller.topology import compile_site
from tests.controller.desk import Desk, drawn

NAMED = {"rotation_confirmed_by": "a test"}


def car(amps=16.0, **words):
    """One car that takes `amps` of what it may, after a minute."""
    desk = Desk(drawn(outlets=[words]))
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: amps}, 60)
    return desk


def idle():
    desk = Desk(drawn())
    desk.cycle(3)
    return desk


def note(desk, c=0):
    return Note(int(desk.decision.connectors[c]["note"]))


def grid_note(desk, g=0):
    return Note(int(desk.decision.grids[g]["note"]))


def hush(desk, seconds=20):
    """Nobody says anything any more."""
    desk.cycle(seconds)


def says(status):
    def say(desk):
        desk.says(0, status)
        desk.cycle()

    return say


def sets(field, value):
    def put(desk):
        desk.image.connectors[field] = value
        desk.cycle()

    return put


def reads(amps, seconds=1):
    def read(desk):
        for _ in range(seconds):
            desk.draws(0, amps)
            desk.cycle()

    return read


def drop(desk):
    desk.settle({0: 0.0}, 130)


def again(desk):
    desk.settle({0: 16.0}, 5)


def leave(desk):
    desk.stop(0)
    desk.cycle()


def paused(desk):
    """Turned off from outside, then offered current again; the car sleeps on."""
    desk.image.connectors["wish_ma"] = 0
    desk.settle({0: 16.0}, 20)
    desk.image.connectors["wish_ma"] = 32_000
    desk.settle({0: 0.0}, 130)


def refuse(desk):
    desk.answering = False
    desk.image.connectors["wish_ma"] = 10_000
    desk.cycle()
    desk.answers(0, Answer.REFUSED)
    desk.cycle()


def accept(desk):
    desk.answering = True
    desk.settle({0: 10.0}, 70)


def lower_and_ignore(amps, seconds):
    def ignore(desk):
        desk.image.connectors["wish_ma"] = 10_000
        desk.cycle(7)
        reads(amps, seconds)(desk)

    return ignore


ROWS = {
    # note: (before, what begins it, what ends it)
    Note.FULL: (car, drop, again),
    Note.ONE_PHASE_CHARGING: (lambda: car(**NAMED), reads((10.0, 0.0, 0.1)), reads((10.0, 2.0, 0.1))),
    Note.TWO_PHASE_CHARGING: (lambda: car(**NAMED), reads((10.0, 9.0, 0.1)), leave),
    Note.CHARGING_PROFILE_REFUSED: (car, refuse, accept),
    Note.METER_VALUES_TIMEOUT: (lambda: car(sample_interval_s=10), hush, reads(16.0)),
    Note.COMMUNICATION_ERROR: (car, sets("online", 0), sets("online", 1)),
    Note.NOT_READY: (idle, sets("default_ma", -(2**62)), sets("default_ma", 0)),
    Note.UNSUPPORTED: (idle, sets("unsupported", 1), sets("unsupported", 0)),
    Note.IN_ERROR: (idle, says(Status.FAULTED), says(Status.AVAILABLE)),
    Note.SLEEP_MODE_DETECTED: (car, paused, again),
    Note.ISO_15118: (car, sets("soc_percent", 81), leave),
    Note.STUBBORN: (car, lower_and_ignore(13.0, 31), reads(10.0)),
    Note.OVERSHOOT: (car, lower_and_ignore(11.5, 10), reads(10.0)),
    Note.MAINTENANCE: (car, sets("stop", Source.MAINTENANCE), sets("stop", 0)),
    Note.EMERGENCY_STOP: (car, sets("stop", Source.EMERGENCY_STOP), sets("stop", 0)),
}


@pytest.mark.parametrize("which", ROWS)
def test_a_note_begins_and_ends_as_its_table_says(which):
    before, begin, end = ROWS[which]
    desk = before()
    assert which not in note(desk)
    begin(desk)
    assert which in note(desk)
    end(desk)
    assert which not in note(desk)


def test_a_car_that_sleeps_is_not_called_full():
    desk = car()
    paused(desk)
    assert Note.FULL not in note(desk)


def test_a_car_that_was_full_before_its_pause_does_not_sleep():
    desk = car()
    drop(desk)
    desk.image.connectors["wish_ma"] = 0
    desk.settle({0: 0.0}, 20)
    desk.image.connectors["wish_ma"] = 32_000
    desk.settle({0: 0.0}, 1_000)
    assert desk.target_a(0) == 6
    assert Note.SLEEP_MODE_DETECTED not in note(desk)


def test_what_overshoots_for_half_a_minute_is_stubborn():
    desk = car()
    lower_and_ignore(13.0, 5)(desk)
    assert note(desk) == Note.OVERSHOOT
    reads(13.0, 30)(desk)
    assert note(desk) == Note.STUBBORN


def test_a_one_phase_outlet_has_no_note_about_its_phases():
    desk = car(phases=1, **NAMED)
    reads((10.0, 0.0, 0.0))(desk)
    assert note(desk) == Note.NONE


LIMITS = [
    (Source.TIME_OF_USE, Note.LIMIT_BY_TOU),
    (Source.PROFILE, Note.LIMIT_BY_PROFILE),
    (Source.API, Note.LIMIT_FROM_OUTSIDE),
    (Source.MODBUS, Note.LIMIT_FROM_OUTSIDE),
    (Source.GRID_OPERATOR, Note.LIMIT_FROM_OUTSIDE),
    (Source.FALLBACK, Note.LIMIT_FROM_OUTSIDE),
    (Source.CONTRACT, Note.NONE),
]


@pytest.mark.parametrize("kind", ["hard", "soft", "charging"])
@pytest.mark.parametrize(("source", "which"), LIMITS)
def test_the_note_of_a_grid_names_whose_limit_is_the_tightest(kind, source, which):
    desk = car()
    desk.image.grids[f"{kind}_ma"] = 60_000
    desk.image.grids[f"{kind}_source"] = source
    desk.cycle()
    assert grid_note(desk) == which
    desk.image.grids[f"{kind}_ma"] = 120_000  # above the fuse
    desk.cycle()
    assert grid_note(desk) == Note.NONE


def test_a_limit_on_the_sum_of_the_phases_counts_where_it_is_the_tightest():
    desk = car()
    desk.image.grids["soft_sum_ma"] = 200_000
    desk.image.grids["soft_source"] = Source.TIME_OF_USE
    desk.cycle()
    assert grid_note(desk) == Note.LIMIT_BY_TOU
    desk.image.grids["hard_ma"] = 50_000
    desk.image.grids["hard_source"] = Source.MODBUS
    desk.cycle()
    assert grid_note(desk) == Note.LIMIT_FROM_OUTSIDE


def test_a_grid_above_its_limit_overshoots_until_it_does_not():
    desk = car()
    desk.load_a["main"] = 101.0
    desk.cycle()
    assert grid_note(desk) == Note.OVERSHOOT
    desk.load_a["main"] = 90.0
    desk.cycle()
    assert grid_note(desk) == Note.NONE


def test_every_note_has_words_and_a_row_in_the_documents():
    table = (Path(__file__).parents[2] / "docs" / "notes.md").read_text("utf-8")
    for which in Note:
        if which is not Note.NONE:
            assert NOTES[which].label in table


def test_notes_are_told_with_names_and_numbers():
    site = drawn(outlets=[{}])
    desk = Desk(site)
    desk.load_a["main"] = 10.0
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 16.0}, 60)
    lower_and_ignore(13.0, 31)(desk)
    desk.image.connectors["soc_percent"] = 81
    desk.cycle()
    scene = Scene(site, compile_site(site), desk.image, desk.decision, desk.memory, {})
    said = {remark.label: remark.text for remark in explain.notes(scene, "connector", 0)}
    assert said["Stubborn"].startswith("it draws 13")
    assert "81" in said["ISO 15118"]
