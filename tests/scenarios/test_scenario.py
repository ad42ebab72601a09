"""Scenario files: what they say, and the one sentence for what they say wrong."""

from pathlib import Path

import pytest

from controller.site import SiteError
from scenarios.scenario import load, prepare

LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"
GARAGE = LIBRARY.parent / "sites" / "harbour_garage.toml"
GOOD = f"""
name = "test"
site = "{GARAGE}"
start = 2026-05-12T08:00:00
length_s = "1:30"
sessions = {{ kind = "csv", file = "{LIBRARY}/data/busy_morning.csv" }}
"""


def complaints(tmp_path, text):
    path = tmp_path / "story.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteError) as refused:
        prepare(load(path))
    return [line.removeprefix(f"{path}: ") for line in refused.value.lines]


STORIES = [path for path in sorted(LIBRARY.glob("*.toml")) if "length_s" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_every_scenario_of_the_library_can_be_prepared(path):
    story = prepare(load(path))
    assert story.sessions
    assert story.remarks == ()
    assert "own_as" in story.expect


def test_times_without_offset_are_those_of_the_site(tmp_path):
    path = tmp_path / "story.toml"
    path.write_text(GOOD, encoding="utf-8")
    story = prepare(load(path))
    assert story.start_utc.isoformat() == "2026-05-12T06:00:00+00:00"
    assert story.length_ms == 5_400_000
    assert story.sessions[0].plug_in_ms == 60_000


def test_seed_and_mode_may_be_given_from_outside():
    scenario = load(LIBRARY / "harbour_day.toml", seed=99, mode="minute")
    assert (scenario.seed, scenario.mode) == (99, "minute")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD + "sede = 3", 'sede: there is no such key; did you mean "seed"?'),
        (GOOD.replace('"1:30"', '"half past"'), "length_s"),
        (
            GOOD + "expect = { own_sa = { at_most = 0 } }",
            '[expect] own_sa: there is no such figure; did you mean "own_as"?',
        ),
        (
            GOOD + '[[load]]\ngrid = "roof"\nfile = "x.csv"\ncolumn = "c"\npeak_kw = 5',
            '[load] number 1 grid: the site has no grid "roof".',
        ),
        (
            GOOD + '[[load]]\ngrid = "main"\nfile = "x.csv"\ncolumn = "c"',
            '[load 1] peak_kw: shares need it as a number; or say unit = "kW", "W" or "kWh"',
        ),
        (
            GOOD + '[[load]]\ngrid = "main"\nfile = "x.csv"\ncolumn = "c"\nunit = "kWh"\npeak_kw = 5',
            "[load 1] peak_kw: values in kWh have no peak; remove it",
        ),
        (
            GOOD + '[[motor]]\nname = "lift"\ngrid = "attic"\ncurrent_a = 10',
            '[motor] number 1 grid: the site has no grid "attic".',
        ),
        (
            GOOD + 2 * '[[motor]]\nname = "lift"\ngrid = "main"\ncurrent_a = 10\n',
            '[motor] number 2 name: there is another "lift"; give each its own.',
        ),
        (
            GOOD + '[[motor]]\nname = "lift"\ngrid = "main"\ncurrent_a = 10\nruns_s = 5000',
            "[motor 1] every_s: start_s may not be above runs_s, and runs_s must be below every_s",
        ),
        (
            GOOD + '[[conditions.fault]]\nkind = "meter_silent"\nmeter = "mian"\nat_s = 5',
            '[conditions.fault] number 1 (meter_silent): meter: the site has no meter "mian"; it has main.',
        ),
        (
            GOOD
            + '[[conditions.fault]]\nkind = "load_step"\ngrid = "main"\nat_s = 5\nevery_s = 9\ncurrent_a = 4',
            (
                "[conditions.fault] number 1 (load_step): every_s: what comes again must end before:"
                " give a for_s below every_s."
            ),
        ),
        (
            GOOD + '[conditions.wiring]\n"bay_99/1" = "L2 L3 L1"',
            '[conditions.wiring] "bay_99/1" is neither a grid nor a connector like "bay_01/1".',
        ),
        (
            GOOD + '[[during]]\nfrom_s = 5\nuntil_s = 9\nconnector = "bay_03"\nquantity = "draw_a"',
            '[during] number 1 connector: the site has no connector "bay_03"; write it like "bay_01/1".',
        ),
        (
            GOOD + '[[during]]\nfrom_s = 9\nuntil_s = 9\ngrid = "main"\nquantity = "cars_a"',
            "[during] number 1 until_s: must be later than from_s.",
        ),
        ("name = ", "this is not TOML: "),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, text, sentence):
    lines = complaints(tmp_path, text)
    assert len(lines) == 1
    assert sentence in lines[0]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(
        SiteError, match="cannot be read: No such file or directory; give the path of a scenario"
    ):
        load(tmp_path / "none.toml")
    text = GOOD.replace(str(GARAGE), "nowhere.toml")
    assert complaints(tmp_path, text) == [
        f"site: {tmp_path / 'nowhere.toml'} cannot be read: No such file or directory."
    ]


def test_a_mistake_in_the_site_names_the_file_of_the_site(tmp_path):
    (tmp_path / "site.toml").write_text('name = "x"', encoding="utf-8")
    lines = complaints(tmp_path, GOOD.replace(str(GARAGE), "site.toml"))
    assert lines[0] == f"{tmp_path / 'site.toml'}: timezone: is missing; add it."
