"""The judge sees what is wrong, and the farm says which seed it was."""

import re

import pytest

from controller.decision import Alarm
from scenarios import generate, regress
from scenarios.judge import Judge
from scenarios.parallel import finished
from scenarios.run import play

pytestmark = pytest.mark.timeout(300)  # the first run of a fresh clone compiles the kernels

SEED = 4
"""46 connectors under 12 boards: contended, with raises, cuts and every kind of meter."""
LIAR = 23
"""A car that pauses lets a lowering pass for carried out; its box ignores it, and the car comes back."""


class Tampered(Judge):
    """A judge who is shown another decision than the one that was carried out."""

    def __init__(self, tamper):
        super().__init__()
        self._tamper = tamper

    def cycle(self, image, decision):
        shown = type(decision)(*(table.copy() for table in decision))
        self._tamper(shown)
        super().cycle(image, shown)


def forget_a_commitment(shown):
    shown.connectors["committed_ma"] = shown.connectors["committed_ma"] * 4 // 5


def ignore_a_phase(shown):
    shown.connectors["phases"][:, 0] = 0


def order_three_amperes(shown):
    shown.connectors["target_ma"][shown.connectors["put"] == 1] = 3_000


def have_less_room(shown):
    shown.grids["estimate_ma"] += 4_000


def fail_the_check(shown):
    shown.site["alarm"] |= int(Alarm.CHECK_FAILED)


@pytest.fixture(scope="module")
def story():
    return generate.draw_story(SEED)


def test_an_honest_controller_is_found_innocent(story):
    judge = Judge()
    result = play(story, onlooker=judge)
    assert judge.broken == []
    assert result.figures.own_as <= regress.OWN_AS
    assert result.figures.over_as > 0, "a story in which nothing happens proves nothing"


@pytest.mark.parametrize(
    ("tamper", "rule"),
    [
        (forget_a_commitment, "more drawn than booked"),
        (ignore_a_phase, "more drawn than booked"),
        (order_three_amperes, "0 or the minimum"),
        (have_less_room, "raise without room"),
        (have_less_room, "nothing lowered"),
        (fail_the_check, "last check"),
    ],
)
def test_every_broken_rule_is_seen(story, tamper, rule):
    judge = Tampered(tamper)
    play(story, onlooker=judge)
    assert judge.counts[rule] > 0
    told = [words for words in judge.broken if words.startswith(rule)]
    assert 1 <= len(told) <= 3, "a few sentences say it; the rest is counted"
    assert re.search(r" at \d+\.\d s: ", told[0])


def test_a_box_that_lies_by_the_story_is_not_held_against_the_controller():
    """It has a box that ignores lowerings; without that excuse its draw is a broken rule."""
    told = generate.draw_story(LIAR)
    assert any(fault.kind == "ignores_lowerings" for fault in told.conditions.faults)

    class NoExcuse(Judge):
        def _lying(self):
            return super()._lying() & False

    judge, excused = NoExcuse(), Judge()
    play(told, onlooker=judge)
    play(told, onlooker=excused)
    assert judge.counts["more drawn than booked"] > 0
    assert excused.broken == []


def test_a_seed_gives_the_same_figures_in_every_process(story):
    here = regress.judge_seed(SEED)
    there = dict(finished(regress.judge_seed, [SEED, 3], 2))[SEED]
    same = [field for field in here.__slots__ if field != "wall_s"]
    assert [getattr(here, field) for field in same] == [getattr(there, field) for field in same]


def test_a_crash_is_a_failing_seed_and_not_the_end():
    def stumble(_seed):
        raise ZeroDivisionError("the story stumbles")

    outcome = regress.judge_seed(3, stumble)
    assert outcome.rules == (("crash", 1),)
    assert "ZeroDivisionError: the story stumbles" in outcome.broken[0]


def test_a_failing_seed_is_printed_with_the_command_that_plays_it_again(capsys):
    def judged(seed):
        broken = ("fuse at 12.0 s: main tripped",) if seed == 8 else ()
        return regress.Outcome(seed, broken, (("fuse", 4),) if broken else (), connectors=12, levels=2)

    assert regress.main(3, 7, 1, judged) == 1
    said = capsys.readouterr().out
    assert "Seed 8 failed. See it again: edge-twin regress --only-seed 8" in said
    assert "fuse at 12.0 s: main tripped" in said
    assert "and 3 more of the same" in said
    assert "1 of 3 seeds failed." in said
    assert "Seed 7" not in said


def test_when_every_rule_is_kept_the_summary_says_what_was_tried(capsys):
    def judged(seed):
        return regress.Outcome(seed, (), (), seed * 10, 2, ("message_loss",), 1000)

    assert regress.main(4, 1, 1, judged) == 0
    said = capsys.readouterr().out
    assert "Every rule was kept." in said
    assert re.search(r"message_loss +4", said)
    assert re.search(r"31-40 +1", said)
    assert "4 seeds, 4,000 cycles" in said


@pytest.mark.parametrize("seed", [1, 9, 12, 14])
def test_generated_stories_break_no_rule(seed):
    assert regress.judge_seed(seed).broken == ()
