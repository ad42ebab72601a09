"""Sizing studies: what is asked, what is lived through, what is found."""

import math
from datetime import date

import pytest

from controller.site import SiteError
from scenarios import size
from scenarios.size_page import Design

pytestmark = pytest.mark.timeout(300)  # the first run of a fresh clone compiles the kernels

STUDY = """
name = "Small office"
timezone = "Europe/Amsterdam"
start = 2026-03-03
days = 1
seeds = [2, 1]
wanted_served_percent = 90
connections = ["3x25", "3 x 63 A"]
chargepoints = [3, 8]
sessions = { kind = "generator", population = "workplace", drivers = 10, patience_s = 600 }

[building]
file = "office.csv"
column = "load"
peak_kw = 4
"""
PROFILE = "time,load\n2016-05-09 00:00,0.2\n2016-05-09 00:15,1.0\n2016-05-09 00:30,0.5\n"


@pytest.fixture
def study_file(tmp_path):
    (tmp_path / "office.csv").write_text(PROFILE)
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def complaint(path, old, new):
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(SiteError) as error:
        size.main(path, path.with_suffix(".html"), 1)
    assert not path.with_suffix(".html").exists()
    return str(error.value).removeprefix(f"{path}: ").removeprefix(f"{path.parent}/")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "chargepoints =",
            "chargpoints =",
            'chargpoints: there is no such key; did you mean "chargepoints"?',
        ),
        ("[3, 8]", "[3, -8]", "chargepoints: input should be greater than or equal to 1 (it is -8)."),
        ("[3, 8]", "[3, 3]", "chargepoints: a value occurs twice; name every one once"),
        ('"3x25"', '"3x26"', "connections: there is no such connection step; the steps are 3x25, 3x35"),
        ('"3x25"', "25", "connections: there is no such connection step"),
        ("[2, 1]", "[]", "seeds: "),
        ("Europe/Amsterdam", "Europe/Amsterdm", "timezone: there is no such time zone"),
        ("2026-03-03", '"soon"', "start: "),
        ("drivers = 10", "drivers = 0", "[sessions] drivers: "),
        ("office.csv", "nowhere.csv", "nowhere.csv: cannot be read"),
        ('"load"', '"lood"', 'office.csv: there is no column "lood"'),
        ("peak_kw = 4", "peak_kw = 4\nsplit = [0, 0, 0]", "[building] split: "),
        ("days = 1", "days = 1 day", "this is not TOML"),
    ],
)
def test_a_study_that_cannot_be_used_is_one_sentence_with_place_and_mend(study_file, old, new, said):
    words = complaint(study_file, old, new)
    assert words.startswith(said)
    assert "\n" not in words


def test_a_study_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(SiteError, match="there is no such file; check the path"):
        size.main(tmp_path / "none.toml", tmp_path / "out.html", 1)


def test_every_design_is_lived_through_with_every_seed_and_every_fleet_once_without_a_limit(study_file):
    works = size.works(size.read(study_file), study_file.parent)
    asked = [(work.design, work.seed) for work in works]
    assert len(set(asked)) == len(asked) == (2 + 1) * 2 * 2
    assert {design.fuse_a for design, _ in asked} == {25, 63, size.UNLIMITED_A}


def test_the_chargepoints_of_a_design_hang_on_the_three_phases_in_turn(study_file):
    site = size.draw_site(size.read(study_file), Design(63, 8))
    first = [connector.rotation[0] for _, _, connector in site.connectors()]
    assert first == [0, 1, 2, 0, 1, 2, 0, 1]
    assert site.grid["main"].max_current_a == (63, 63, 63)


def test_one_more_chargepoint_changes_nobody_who_comes(study_file):
    study = size.read(study_file)

    def who(count):
        work = size.Work(study, study_file.parent, Design(63, count), 1)
        return {s.key: (s.energy_wh, s.car) for s in size.draw_story(work, "minute").sessions}

    few, many = who(8), who(10)
    assert few == {key: many[key] for key in few}


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "office.csv").write_text(PROFILE)
    path = folder / "study.toml"
    path.write_text(STUDY)
    study = size.read(path)
    return study, folder, [size.live(work) for work in size.works(study, folder)]


def test_cars_without_a_chargepoint_count_as_cars_that_got_nothing(lived):
    _, _, outcomes = lived
    few = [o for o in outcomes if o.design == Design(63, 3)]
    many = [o for o in outcomes if o.design == Design(63, 8)]
    assert sum(o.turned_away for o in few) > 0
    for one, other in zip(few, many, strict=True):
        assert (one.seed, one.cars) == (other.seed, other.cars)
        assert one.turned_away >= other.turned_away
        assert len(one.shares) == one.cars
        assert sum(share == 0 for share in one.shares) >= one.turned_away


def test_nothing_is_served_beyond_the_bound_nor_beyond_the_need(lived):
    _, _, outcomes = lived
    for outcome in outcomes:
        assert 0 < outcome.served_wh <= outcome.asked_wh
        if outcome.design.fuse_a != size.UNLIMITED_A:
            assert outcome.served_wh <= outcome.bound_wh + 1 <= outcome.asked_wh + 2


def test_more_connection_serves_more_and_without_a_limit_nearly_everything(lived):
    _, _, outcomes = lived

    def served(fuse, seed):
        return next(o.served_percent for o in outcomes if o.design == Design(fuse, 8) and o.seed == seed)

    for seed in (1, 2):
        assert served(25, seed) < served(63, seed) <= served(size.UNLIMITED_A, seed) + 0.5
        assert served(size.UNLIMITED_A, seed) > 95


def test_the_worst_day_is_that_of_the_highest_quarter_hour(lived):
    _, _, outcomes = lived
    chosen = [o for o in outcomes if o.design == Design(63, 8)]
    seed, day = size.worst_day(chosen)
    assert day == 0
    assert max(max(o.quarter_a) for o in chosen) == max(next(o for o in chosen if o.seed == seed).quarter_a)


def test_the_worst_day_in_true_mode_says_what_the_fuse_felt(lived):
    study, folder, _ = lived
    day = size.look_closely(size.Work(study, folder, Design(25, 8), 1), 0)
    assert day.date == "Tuesday 3 March 2026"
    assert day.own_as == 0
    assert day.trips == 0
    assert [len(phase.peak_a) for phase in day.phases] == [288] * 3
    assert max(max(phase.peak_a) for phase in day.phases) > 15
    assert all(
        peak >= building + cars - 0.1
        for phase in day.phases
        for building, cars, peak in zip(phase.building_a, phase.cars_a, phase.peak_a, strict=True)
    )
    assert math.isclose(day.minute_wh, day.true_wh, rel_tol=0.05)


def test_the_command_writes_a_page_that_tells_all(study_file, capsys):
    output = study_file.with_suffix(".html")
    assert size.main(study_file, output, 1) == 0
    html = output.read_text()
    assert "Small office" in html
    assert "Tuesday 3 March 2026" in html
    assert f"edge-twin size {study_file} -o {output}" in html
    assert "serves" in capsys.readouterr().err


def test_the_study_that_ships_can_be_read():
    from pathlib import Path

    path = Path(size.__file__).parent / "library" / "office_study.toml"
    study = size.read(path)
    assert study.start == date(2026, 3, 2)
    assert size.draw_story(size.works(study, path.parent)[0], "minute").loads
