"""Limits from outside: which of them are in force, and by whose word."""

import pytest

from controller.external import Instruction, Place, Stop, least_dimmed_ma
from controller.image import Source
from controller.instructions import Standing
from controller.topology import compile_site
from tests.controller.test_calendar import GUEST_BAYS, WEEKENDS_OFF, absolute
from tests.controller.told import (
    BAY,
    DOUBLE,
    EVENINGS,
    HOUR_MS,
    LEVEL,
    MAIN,
    SITE,
    WEDNESDAY,
    api,
    flat,
    garage,
    line,
    non_firm,
    profile,
    rows,
)

ALL_DAY = {"begin": "00:00", "end": "24:00"}
FREE = (None, None, None)


@pytest.mark.parametrize(
    ("why", "told", "found"),
    [
        ("nothing told, nothing in force", [], {}),
        ("an API limit in amperes", [api(limit_a=40)], {"hard": (flat(40), None, "API", False)}),
        ("in kilowatts on the sum", [api(limit_kw=23)], {"hard": (FREE, 23.0, "API", False)}),
        ("in both", [api(limit_a=40, limit_kw=11.5)], {"hard": (flat(40), 11.5, "API", False)}),
        ("the tighter of two, by its own word",
         [api(limit_a=40), api(limit_a=30, source="modbus")], {"hard": (flat(30), None, "MODBUS", False)}),
        ("whichever was told first",
         [api(limit_a=30, source="modbus"), api(limit_a=40)], {"hard": (flat(30), None, "MODBUS", False)}),
        ("phase by phase",
         [api(limit_a=[10, 60, 60]), api(limit_a=[60, 20, 60], source="modbus")],
         {"hard": ((10, 20, 60), None, "API", False)}),
        ("amperes and kilowatts of two",
         [api(limit_a=10), api(limit_kw=9.2, source="modbus")], {"hard": (flat(10), 9.2, "API", False)}),
        ("nothing is wider than the fuse", [api(limit_a=100)], {}),
        ("not even on one phase", [api(limit_a=[200, 20, 200])],
         {"hard": ((None, 20, None), None, "API", False)}),
        ("nor in kilowatts", [api(limit_kw=69)], {}),
        ("0 A is a limit", [api(limit_a=0)], {"hard": (flat(0), None, "API", False)}),
        ("a soft one", [api(limit_a=40, soft_limit=True)], {"soft": (flat(40), None, "API", False)}),
        ("one that keeps 6 A is soft", [api(limit_a=0, keep_6a=True)],
         {"soft": (flat(0), None, "API", True)}),
        ("on charging alone", [api(limit_a=9, regulated_only=True)],
         {"charging": (flat(9), None, "API", False)}),
        ("on charging, keeping 6 A", [api(limit_a=9, regulated_only=True, keep_6a=True)],
         {"charging": (flat(9), None, "API", True)}),
        ("on export", [api(limit_kw=0, export_limit=True)], {"export": (FREE, 0.0, "API", False)}),
        ("a digital input", [api(limit_a=9, source="digital_input")],
         {"hard": (flat(9), None, "DIGITAL_INPUT", False)}),
        ("each kind by itself", [api(limit_a=9, export_limit=True), api(limit_a=8, soft_limit=True)],
         {"soft": (flat(8), None, "API", False), "export": (flat(9), None, "API", False)}),
        ("beside one that keeps 6 A, one that does not is hard",
         [api(limit_a=0, keep_6a=True), api(limit_a=40, soft_limit=True, source="modbus")],
         {"soft": (flat(0), None, "API", True), "hard": (flat(40), None, "MODBUS", False)}),
        ("on charging nobody's minimum is kept against one that does not",
         [api(limit_a=0, keep_6a=True, regulated_only=True), api(limit_a=40, regulated_only=True)],
         {"charging": (flat(0), None, "API", False)}),
        ("a limit as wide as the fuse takes no minimum away",
         [api(limit_a=0, keep_6a=True), api(limit_a=400, soft_limit=True)],
         {"soft": (flat(0), None, "API", True)}),
        ("a limit that is still alive", [api(limit_a=9, until_ms=1001)],
         {"hard": (flat(9), None, "API", False)}),
        ("and one that is not, without fallback", [api(limit_a=9, until_ms=1000)], {}),
        ("expired: its fallback", [api(limit_a=9, fallback_a=16, until_ms=1000)],
         {"hard": (flat(16), None, "FALLBACK", False)}),
        ("in kilowatts", [api(limit_a=9, fallback_kw=4.6, until_ms=1000)],
         {"hard": (FREE, 4.6, "FALLBACK", False)}),
        ("of the same kind", [api(limit_a=9, fallback_a=16, export_limit=True, until_ms=1000)],
         {"export": (flat(16), None, "FALLBACK", False)}),
        ("not before", [api(limit_a=9, fallback_a=6, until_ms=1001)],
         {"hard": (flat(9), None, "API", False)}),
        ("after a restart without clock both hold",
         [api(limit_a=9, fallback_a=6, until_ms=1001, doubtful=True)],
         {"hard": (flat(6), None, "FALLBACK", False)}),
        ("a profile", [profile(GUEST_BAYS)], {}),
        ("a profile in force", [profile(absolute([(0, 16)]))], {"hard": (flat(16), None, "PROFILE", False)}),
        ("a soft profile", [profile(absolute([(0, 16)]), soft_limit=True)],
         {"soft": (flat(16), None, "PROFILE", False)}),
        ("watts are a sum", [profile(absolute([(0, 23000)], chargingRateUnit="W"))],
         {"hard": (FREE, 23.0, "PROFILE", False)}),
        ("a higher level replaces a lower one, upwards too",
         [profile(absolute([(0, 16)])), profile(absolute([(0, 25)], stackLevel=1))],
         {"hard": (flat(25), None, "PROFILE", False)}),
        ("of its own terms only",
         [profile(absolute([(0, 16)])), profile(absolute([(0, 1000)], stackLevel=1), soft_limit=True)],
         {"hard": (flat(16), None, "PROFILE", False)}),
        ("of one level the tightest",
         [profile(absolute([(0, 16)])), profile(absolute([(0, 10)]))],
         {"hard": (flat(10), None, "PROFILE", False)}),
    ],
)  # fmt: skip
def test_of_what_is_told_for_a_grid_the_tightest_of_each_kind_is_in_force(why, told, found):
    assert line(rows(told).grids[0]) == found, why


@pytest.mark.parametrize(
    ("why", "keys", "trusted", "found"),
    [
        ("soft, by amperes", {"limit_a": 20}, True, {"soft": (flat(20), None, "TIME_OF_USE", False)}),
        ("by kilowatts", {"limit_kw": 23}, True, {"soft": (FREE, 23.0, "TIME_OF_USE", False)}),
        ("always keep 6 A", {"limit_a": 0, "keep_6a": True}, True,
         {"soft": (flat(0), None, "TIME_OF_USE", True)}),
        ("EV current only", {"limit_a": 20, "ev_current_only": True}, True,
         {"charging": (flat(20), None, "TIME_OF_USE", False)}),
        ("wider than the fuse it is nothing", {"limit_a": 100}, True, {}),
        ("not at this hour", {"limit_a": 20, "begin": "18:00"}, True, {}),
        ("by a clock that nobody trusts it is, at any hour", {"limit_a": 20, "begin": "18:00"}, False,
         {"soft": (flat(20), None, "TIME_OF_USE", False)}),
        ("switched off it is nothing", {"limit_a": 20, "enabled": False}, True, {}),
        ("by any clock", {"limit_a": 20, "enabled": False}, False, {}),
    ],
)  # fmt: skip
def test_a_schedule_of_a_grid_is_in_force(why, keys, trusted, found):
    segment = ALL_DAY | {key: keys[key] for key in keys if key in ("limit_a", "limit_kw", "begin")}
    rest = {key: keys[key] for key in keys if key not in segment}
    site = garage(main=[{"segment": [segment]} | rest])
    assert line(rows(site=site, trusted=trusted).grids[0]) == found, why


def test_limits_of_a_rotated_board_are_in_the_phases_of_the_site():
    found = rows([api(LEVEL, limit_a=[10, 20, 30])])
    assert found.grids[1]["hard_ma"].tolist() == [30_000, 10_000, 20_000]
    assert line(found.grids[0]) == {}


@pytest.mark.parametrize("kind", [{}, {"soft_limit": True}, {"keep_6a": True}, {"export_limit": True}])
def test_a_limit_as_wide_as_the_fuse_leaves_no_trace(kind):
    assert rows([api(limit_a=100, limit_kw=69, **kind)]).grids.tobytes() == rows().grids.tobytes()


def test_a_change_in_three_days_is_not_slept_through():
    told, now_ms, looks = [profile(WEEKENDS_OFF)], 0, 0
    while line(rows(told, now_ms=now_ms, utc_ms=WEDNESDAY + now_ms).grids[0]) == {}:
        now_ms = rows(told, now_ms=now_ms, utc_ms=WEDNESDAY + now_ms).next_ms
        looks += 1
    assert now_ms == 60 * HOUR_MS  # Saturday 00:00 in Amsterdam
    assert looks < 5


def test_power_is_rounded_down_to_a_milliampere():
    assert int(rows([api(limit_kw=4.2)]).grids[0]["hard_sum_ma"]) == 18_260  # 18.2608 A


@pytest.mark.parametrize(
    ("devices", "kw"),
    [(0, 0), (1, 4.2), (2, 7.56), (3, 10.5), (4, 13.02), (5, 15.12), (8, 18.9), (9, 19.32), (20, 40.11)],
)
def test_the_least_of_section_14a_grows_with_the_devices_by_its_simultaneity(devices, kw):
    assert least_dimmed_ma(devices) == int(round(kw * 1000) * 1000 / 230)


@pytest.mark.parametrize(
    ("why", "keys", "kw", "source"),
    [
        ("a signal without value leaves the least: three devices", {}, 10.5, "GRID_OPERATOR"),
        ("a lower value is lifted to it", {"limit_kw": 0}, 10.5, "GRID_OPERATOR"),
        ("a higher one holds", {"limit_kw": 20}, 20.0, "GRID_OPERATOR"),
        ("the fallback is never below it", {"fallback_kw": 0, "until_ms": 1000}, 10.5, "FALLBACK"),
    ],
)
def test_a_dimmed_grid_keeps_the_least_of_section_14a_for_what_it_controls(why, keys, kw, source):
    told = [api(source="grid_operator", paragraph_14a=True, **keys)]
    assert line(rows(told).grids[0]) == {"charging": (FREE, kw, source, False)}, why


@pytest.mark.parametrize(
    ("why", "told", "trusted", "kw", "source"),
    [
        ("the value of this hour", [non_firm("2026-06-03T09:00Z", [50.0, 23.0])], True, 23.0, "NON_FIRM"),
        ("of the series of today, not of tomorrow's",
         [non_firm("2026-06-03T10:00Z", [23.0], fallback_kw=4.6),
          non_firm("2026-06-04T10:00Z", [11.5], fallback_kw=4.6)], True, 23.0, "NON_FIRM"),
        ("of two for one hour the tighter",
         [non_firm("2026-06-03T10:00Z", [23.0]), non_firm("2026-06-03T10:00Z", [11.5])], True,
          11.5, "NON_FIRM"),
        ("no series came: the fallback", [non_firm("2026-06-02T10:00Z", [23.0], fallback_kw=4.6)], True,
         4.6, "FALLBACK"),
        ("no series came and no fallback: nothing", [non_firm("2026-06-02T10:00Z", [23.0])], True, None, ""),
        ("by a clock that nobody trusts the tightest value",
         [non_firm("2026-06-03T09:00Z", [11.5, 23.0])], False, 11.5, "NON_FIRM"),
        ("or the fallback", [non_firm("2026-06-03T09:00Z", [11.5, 23.0], fallback_kw=4.6)], False,
         4.6, "NON_FIRM"),
    ],
)  # fmt: skip
def test_a_non_firm_contract_holds_hour_by_hour(why, told, trusted, kw, source):
    found = line(rows(told, trusted=trusted).grids[0])
    assert found == ({"hard": (FREE, kw, source, False)} if kw is not None else {}), why


@pytest.mark.parametrize(
    ("why", "told", "found"),
    [
        ("nothing told: what the outlets can", [], [32, 32, 16]),
        ("a chargepoint of one outlet", [api(BAY, limit_a=20)], [20, 32, 16]),
        ("a chargepoint of two shares it evenly", [api(DOUBLE, limit_a=20)], [32, 10, 10]),
        ("an outlet by itself", [api(Place("connector", "double/2"), limit_a=10)], [32, 32, 10]),
        ("the tightest of both", [api(DOUBLE, limit_a=16), api(Place("connector", "double/2"), limit_a=10)],
         [32, 8, 8]),
        ("never wider than the outlet", [api(BAY, limit_a=63)], [32, 32, 16]),
        ("the least of three phases", [api(BAY, limit_a=[20, 13, 16])], [13, 32, 16]),
        ("kilowatts over the outlet's phases",
         [api(Place("connector", "bay/1"), limit_kw=6.9)], [10, 32, 16]),
        ("an outlet of one phase takes them on one",
         [api(Place("connector", "double/1"), limit_kw=2.3)], [32, 10, 16]),
        ("keep 6 A", [api(BAY, limit_a=0, keep_6a=True)], [6, 32, 16]),
        ("is no promise against one that does not",
         [api(BAY, limit_a=0, keep_6a=True), api(BAY, limit_a=0)], [0, 32, 16]),
        ("expired: its fallback", [api(BAY, limit_a=0, fallback_a=8, until_ms=1000)], [8, 32, 16]),
        ("a profile", [profile(absolute([(0, 16)]), BAY)], [16, 32, 16]),
        ("watts on one phase",
         [profile(absolute([(0, 2300)], chargingRateUnit="W"), Place("connector", "double/1"))],
         [32, 10, 16]),
    ],
)  # fmt: skip
def test_limits_of_outlets_are_caps_on_what_anybody_wants_for_them(why, told, found):
    assert (rows(told).caps["wish_ma"] / 1000).tolist() == found, why


def test_a_chargepoint_of_two_that_has_a_board_to_itself_is_limited_there_as_a_whole():
    stand = SITE.grid["level"].model_copy(update={"id": 2})
    double = SITE.chargepoint["double"].model_copy(update={"fed_by": "stand"})
    site = SITE.model_copy(
        update={"grid": SITE.grid | {"stand": stand}, "chargepoint": SITE.chargepoint | {"double": double}}
    )
    found = rows([api(DOUBLE, limit_a=20), api(BAY, limit_a=10)], site)
    assert line(found.grids[2]) == {"charging": (flat(20), None, "API", False)}
    assert (found.caps["wish_ma"] / 1000).tolist() == [10, 32, 16]


def test_a_cap_says_who_set_it():
    caps = rows([api(BAY, limit_a=20, source="modbus"), profile(absolute([(0, 12)]), DOUBLE)]).caps
    assert caps["wish_source"].tolist() == [Source.MODBUS, Source.PROFILE, Source.PROFILE]


def test_an_input_of_the_site_file_holds_its_fallback_until_it_is_heard_and_again_when_it_falls_silent():
    site = garage(inputs=[{"source": "grid_operator", "fallback_a": 12}])
    fallback = {"hard": (flat(12), None, "FALLBACK", False)}
    told = [api(limit_a=60, source="grid_operator", until_ms=5_000)]
    assert line(rows(site=site).grids[0]) == fallback
    assert line(rows([api(limit_a=60)], site).grids[0])["hard"][:3] == (flat(12), None, "FALLBACK")
    assert line(rows(told, site).grids[0]) == {"hard": (flat(60), None, "GRID_OPERATOR", False)}
    assert rows(told, site).next_ms == 5_000
    assert line(rows(told, site, now_ms=5_000).grids[0]) == fallback
    doubtful = [api(limit_a=60, source="grid_operator", until_ms=5_000, doubtful=True)]
    assert line(rows(doubtful, site).grids[0]) == fallback


def test_who_speaks_of_what_flows_back_is_not_heard_about_what_is_taken():
    export = api(limit_a=60, source="modbus", export_limit=True)
    both = [
        {"source": "modbus", "fallback_a": 12},
        {"source": "modbus", "fallback_a": 9, "export_limit": True},
    ]
    assert line(rows([export], garage(inputs=both)).grids[0]) == {
        "hard": (flat(12), None, "FALLBACK", False),
        "export": (flat(60), None, "MODBUS", False),
    }
    assert line(rows([api(limit_a=60, source="modbus")], garage(inputs=both)).grids[0]) == {
        "hard": (flat(60), None, "MODBUS", False),
        "export": (flat(9), None, "FALLBACK", False),
    }


@pytest.mark.parametrize(
    ("place", "grids", "outlets"),
    [
        (MAIN, [1, 0], [0, 0, 0]),
        (LEVEL, [0, 1], [0, 0, 0]),
        (BAY, [0, 0], [1, 0, 0]),
        (DOUBLE, [0, 0], [0, 1, 1]),
        (Place("connector", "double/2"), [0, 0], [0, 0, 1]),
    ],
)
def test_a_stop_holds_where_it_was_told_until_it_is_taken_back(place, grids, outlets):
    found = rows([Instruction(place, Stop(reason="maintenance", by="J. Smit"))])
    assert found.grids["stop"].tolist() == [stop * Source.MAINTENANCE for stop in grids]
    assert found.caps["stop"].tolist() == [stop * Source.MAINTENANCE for stop in outlets]
    assert found.next_ms > 10**12


def test_an_emergency_stop_outranks_maintenance_in_whatever_order_they_came():
    stops = [Instruction(MAIN, Stop(reason=reason)) for reason in ("emergency_stop", "maintenance")]
    for told in (stops, stops[::-1]):
        assert int(rows(told).grids[0]["stop"]) == Source.EMERGENCY_STOP


def test_without_a_trusted_calendar_a_schedule_holds_at_its_tightest_and_time_to_live_goes_on():
    site = garage(profiles=[{"profile": WEEKENDS_OFF}], bay=[{"profile": GUEST_BAYS}])
    told = [api(LEVEL, limit_a=10, until_ms=5_000)]
    found = rows(told, site, trusted=False)
    assert line(found.grids[0]) == {"hard": (flat(0), None, "PROFILE", False)}
    assert int(found.caps[0]["wish_ma"]) == 10_000
    assert found.next_ms == 5_000
    assert line(rows(told, site, now_ms=5_000, trusted=False).grids[1]) == {}


# -- the standing instructions of a world ---------------------------------------------------------------


def test_what_stands_is_worked_out_anew_when_it_changes_and_only_then():
    standing = Standing(EVENINGS, compile_site(EVENINGS))
    first = standing.at(1000, WEDNESDAY, utc_trusted=True)
    assert standing.at(2000, WEDNESDAY + 1000, utc_trusted=True) is first
    standing.tell("a", api(limit_a=10, until_ms=60_000))
    second = standing.at(3000, WEDNESDAY + 2000, utc_trusted=True)
    assert line(second.grids[0])["hard"][0] == flat(10)
    assert standing.at(59_999, WEDNESDAY + 58_999, utc_trusted=True) is second
    assert line(standing.at(60_000, WEDNESDAY + 59_000, utc_trusted=True).grids[0]) == {}
    standing.withdraw("a")
    assert not standing.told


def test_what_stands_is_looked_up_anew_when_the_calendar_is_set():
    standing = Standing(EVENINGS, compile_site(EVENINGS))
    evening = WEDNESDAY + 6 * HOUR_MS
    assert line(standing.at(1000, WEDNESDAY, utc_trusted=True).grids[0]) == {}
    assert line(standing.at(2000, evening, utc_trusted=True).grids[0])["soft"][0] == flat(40)
    assert line(standing.at(3000, evening + 1000, utc_trusted=False).grids[1])["soft"][0] == flat(8)
