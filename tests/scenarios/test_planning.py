"""Planning by departures in simulated runs: what it changes, and that off changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from controller.site import SiteError
from scenarios.recording import replay
from scenarios.run import play
from scenarios.scenario import Wishes, load, prepare
from tests.twin.busy_site import busy_story

LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"


def planned(story, departures, **wishes):
    site = story.site.model_copy(update={"departures": departures})
    return replace(story, site=site, wishes=Wishes(**wishes))


def shares(result):
    return {session.key: session.share for session in result.sessions}


@pytest.fixture(name="story", scope="module")
def _story():
    return prepare(load(LIBRARY / "leaving_early.toml", mode="minute"))


def test_visitors_who_leave_early_get_more_and_staff_loses_nothing(story):
    off, horizon = (play(planned(story, departures)) for departures in ("off", "horizon"))
    before, after = shares(off), shares(horizon)
    for key in before:
        assert after[key] >= before[key] - 0.005
    visitors = [key for key in before if key.startswith(("bay_01", "bay_02", "bay_03"))]
    assert all(after[key] > before[key] + 0.1 for key in visitors)
    assert horizon.figures.delivered_kwh > off.figures.delivered_kwh + 8


def test_least_laxity_serves_no_less_than_no_plan(story):
    off, laxity = (play(planned(story, departures)) for departures in ("off", "least_laxity"))
    assert laxity.figures.delivered_kwh >= off.figures.delivered_kwh
    assert laxity.figures.worst_share_percent > off.figures.worst_share_percent


def test_a_departure_that_is_wrong_by_an_hour_costs_less_than_half_of_what_the_plan_gains(story):
    def served(departures, **wishes):
        return play(planned(story, departures, **wishes)).figures.delivered_kwh

    off, right, wrong = served("off"), served("horizon"), served("horizon", error_s=3600)
    assert wrong > (off + right) / 2


def test_what_drivers_tell_is_what_the_plan_goes_by_and_a_lie_costs_them(story):
    def told(wrong_ms):
        sessions = (replace(s, told_out_ms=s.plug_out_ms + wrong_ms) for s in story.sessions)
        return shares(play(planned(replace(story, sessions=tuple(sessions)), "horizon", known="told")))

    honest = told(0)
    assert honest == shares(play(planned(story, "horizon")))
    assert told(4 * 3_600_000) != honest


def test_cards_without_a_past_leave_every_decision_as_it_is_without_a_planner(story):
    off, cards = (planned(story, departures, known="cards") for departures in ("off", "horizon"))
    assert shares(play(off)) == shares(play(cards))


def test_a_run_with_a_planner_is_the_same_every_time_and_replays_bit_for_bit(tmp_path):
    story = planned(busy_story(12, "true", length_ms=3_600_000), "horizon")
    first, second = (play(story, recording=tmp_path / f"{n}.parquet") for n in range(2))
    assert shares(first) == shares(second)
    assert sum(1 for _ in replay(tmp_path / "0.parquet")) == first.figures.cycles


def test_nobody_is_overloaded_by_a_plan():
    result = play(planned(busy_story(20, "true", length_ms=2 * 3_600_000), "horizon"))
    assert result.figures.own_as == 0
    assert result.figures.fuse_trips == 0


def test_a_planner_that_does_not_exist_is_one_sentence(tmp_path):
    text = (LIBRARY / "leaving_early.toml").read_text("utf-8").replace('"horizon"', '"tomorrow"')
    (tmp_path / "data").symlink_to(LIBRARY / "data")
    (tmp_path / "story.toml").write_text(text, "utf-8")
    with pytest.raises(SiteError) as refused:
        prepare(load(tmp_path / "story.toml"))
    assert len(refused.value.lines) == 1
    assert "departures" in refused.value.lines[0]
    assert "least_laxity" in refused.value.lines[0]
