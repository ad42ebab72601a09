"""What a drawing says that cannot be, or that nothing comes of: refused or remarked in one sentence each."""

import pytest

from controller.external import Place, instruction_faults
from controller.faults import remarks
from controller.setpoints import Setpoint
from controller.site import SiteError, build
from tests.controller.desk import drawn
from tests.controller.test_storage import with_battery

SMALL = {"fed_by": "main", "chargepoints_only": True}


def site(main=None, board=None, meter=None, chargepoint=None, **words):
    grids = {"main": {"max_current_a": 40} | (main or {})} | ({"board": SMALL | board} if board else {})
    outlet = {"fed_by": "board"} if board else {}
    tables = drawn(grids, [outlet | (chargepoint or {})]).model_dump()
    tables["meter"]["main"] |= meter or {}
    return build(tables | words, "file")


REFUSED = [
    ({"main": {"margin_a": 60.0}}, "[grid.main] margin_a: 60 is not below the fuse of 40 A"),
    ({"main": {"margin_a": 40.0}}, "[grid.main] margin_a: 40 is not below the fuse of 40 A"),
    (
        {"main": {"margin_a": 35.0}},
        "[grid.main] max_current_a: 40 less a margin of 35 is below",
    ),
    (
        {"board": {"max_current_a": 5.0}},
        "[grid.board] max_current_a: 5 less a margin of 3 is below",
    ),
    (
        {"main": {"max_power_w": 0.0}},
        "[grid.main] max_power_w: 0 less a margin of 2070 is below the 1380",
    ),
    (
        {"main": {"max_power_w": 3_449.0}},
        "[grid.main] max_power_w: 3449 less a margin of 2070",
    ),
    ({"main": {"max_apparent_va": 10.0}}, "[grid.main] max_apparent_va: 10 less a margin of 2070 is below"),
    (
        {"main": {"max_mean_power_w": 0.0}},
        "[grid.main] max_mean_power_w: 0 is below the 1380",
    ),
    ({"meter": {"error_a": 3.0}}, "[meter.main] error_a: is for consumer meters only"),
    ({"board": {"max_current_a": 20.0}, "meter": {"excludes": ["board"]}}, "[meter.main] excludes: is for"),
    ({"accept_unsafe_fallback": "x"}, "accept_unsafe_fallback: somebody must answer for it"),
    (
        {"accept_unsafe_fallback": "the relay, "},
        "accept_unsafe_fallback: somebody must answer for it",
    ),
    ({"main": {"max_export_a": "custom"}}, "[grid.main] max_export_a: give the amperes that may flow back"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_lets_no_car_ever_charge_or_means_nothing_is_refused_in_one_sentence(words, said):
    with pytest.raises(SiteError) as told:
        site(**words)
    (line,) = told.value.lines
    assert line.removeprefix("desk: ").removeprefix("file: ").startswith(said)


FITS = [
    {"main": {"margin_a": 34.0}},
    {"board": {"max_current_a": 9.0}},
    {"main": {"max_power_w": 3_450.0}},
    {"main": {"max_mean_power_w": 1_380.0}},
    {"meter": {"error_a": 0.5}},
    {"accept_unsafe_fallback": "load, shed by a relay, J. Smit"},
]


@pytest.mark.parametrize("words", FITS)
def test_what_just_fits_is_accepted_without_a_word(words):
    assert list(remarks(site(**words))) == []


def profile(limit, **terms):
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
    kind = {"chargingProfileId": 1, "stackLevel": 0, "chargingProfileKind": "Absolute"}
    start = {"startSchedule": "2026-01-01T00:00:00"}
    return {"profile": [{"profile": kind | {"chargingSchedule": schedule | start}} | terms]}


REMARKS = [
    ({"main": profile(80)}, "[grid.main.profile 1] allows more than the fuse of main; the fuse holds"),
    ({"main": profile(80, export_limit=True)}, None),
    ({"main": profile(30)}, None),
    (
        {"main": {"max_current_a": 10.0} | profile(8, keep_6a=True), "chargepoint": {"min_current_a": 7.0}},
        None,
    ),
    (
        {"meter": {"on_failure": {"safe_current_a": 3.0}}},
        "[meter.main] on_failure: a safe_current_a of 3",
    ),
    ({"meter": {"on_failure": {"safe_current_a": 6.0}}}, None),
    ({"main": {"solar_start_s": 10.0}}, '[grid.main] solar_start_s: is for solar = "solar_only"'),
    (
        {"main": {"solar_stop_s": 10.0, "solar": "boost"}},
        "[grid.main] solar_stop_s: is for solar",
    ),
    ({"main": {"solar_stop_s": 10.0, "solar": "solar_only"}}, None),
    ({"main": {"solar_start_s": 10.0}, "board": {"max_current_a": 20.0, "solar": "solar_only"}}, None),
]


@pytest.mark.parametrize(("words", "said"), REMARKS)
def test_what_nothing_comes_of_is_a_remark(words, said):
    lines = list(remarks(site(**words)))
    assert [line.startswith(said) for line in lines] == ([True] if said else [])


def test_minimums_that_a_profile_keeps_and_the_fuse_does_not_bear_are_a_remark():
    drawing = drawn({"main": {"max_current_a": 16} | profile(8, keep_6a=True)}, [{}, {}, {}])
    (line,) = remarks(drawing)
    assert line.startswith("[grid.main.profile 1] keep_6a: 3 connectors at their minimum may take 18 A")


def test_a_target_of_peak_shaving_that_nothing_of_the_file_holds_is_a_remark():
    (line,) = remarks(with_battery(target_w=3_000.0))
    assert line.startswith("[battery.home] target_w: is for peak shaving, and neither")
    assert list(remarks(with_battery(target_w=3_000.0, strategy="peak_shaving"))) == []


def test_peak_shaving_told_from_outside_needs_an_import_to_hold():
    told = Setpoint(strategy="peak_shaving", ttl_s=60)
    (line,) = instruction_faults(with_battery(), Place("battery", "home"), told)
    assert line == "peak shaving needs target_kw, for the site file gives this battery no target_w; add it."
    assert not list(instruction_faults(with_battery(target_w=1.0), Place("battery", "home"), told))
