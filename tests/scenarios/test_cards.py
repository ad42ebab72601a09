"""Cards of habits in whole runs: who goes first at the fuse."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from controller.site import SiteError
from scenarios.run import play
from scenarios.scenario import load, prepare
from twin.cards import UNLISTED
from twin.habits import read_habits

LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"


def shares(story):
    """Mean share of what was possible, by habit, and what was over a limit."""
    result = play(story)
    assert result.passed
    found = defaultdict(list)
    for session in result.sessions:
        if session.possible_wh >= 1:
            found[session.key.split()[0]].append(session.share)
    return {habit: sum(each) / len(each) for habit, each in found.items()}


def test_taxis_go_before_the_staff_because_their_cards_say_so_and_not_without():
    story = prepare(load(LIBRARY / "taxis_first.toml"))
    listed = shares(story)
    unlisted = shares(replace(story, sessions=tuple(replace(s, terms=UNLISTED) for s in story.sessions)))
    assert listed["taxi"] > 0.98
    assert listed["commuter"] < unlisted["commuter"]
    assert unlisted["taxi"] < 0.8


def test_the_card_of_a_habit_comes_from_its_table(tmp_path):
    path = tmp_path / "habits.toml"
    table = '[fire_brigade]\nlike = "public"\nweekday = [1, 1, 1, 1, 1, 1, 1]\ncard = { %s }\n'
    path.write_text(table % "weight_percent = 400, never_zero = true", encoding="utf-8")
    card = read_habits(path)["fire_brigade"].card
    assert (card.weight_percent, card.never_zero, card.priority_class) == (400, True, 0)
    path.write_text(table % "priority_class = 12", encoding="utf-8")
    with pytest.raises(SiteError) as refused:
        read_habits(path)
    assert str(path) in refused.value.lines[0]
    assert "priority_class" in refused.value.lines[0]
