"""Phases through the tree, and the same wires followed by the last check in its own way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import electrical
from controller.defaults import TOGETHER
from controller.site import build
from controller.topology import CONSUMER, GUARD, NO_METER, OFF, PANIC, SOLAR_ONLY, compile_site
from controller.wiring import NO_MORE
from tests.controller.desk import drawn

ROTATIONS = ["L1 L2 L3", "L2 L3 L1", "L3 L1 L2", "L1 L3 L2", "L3 L2 L1", "L2 L1 L3"]
rotations = st.sampled_from(ROTATIONS)


@pytest.mark.parametrize(
    ("text", "rotation"),
    [("L2 L3 L1", (1, 2, 0)), ("STR", (1, 2, 0)), ("RST", (0, 1, 2)), (" L1 L3 L2 ", (0, 2, 1))],
)
def test_a_rotation_is_read_in_both_ways_of_writing_it(text, rotation):
    assert electrical.parse_rotation(text) == rotation


@pytest.mark.parametrize("text", ["", "L1", "L1 L2", "L1 L2 L2", "RRS", "NPE", "L1 L2 L4", "RSTR"])
def test_what_is_no_rotation_is_refused_by_name(text):
    with pytest.raises(ValueError, match=f'rotation "{text}"'):
        electrical.parse_rotation(text)


@given(rotations, rotations, rotations)
def test_turning_through_three_boards_does_not_depend_on_where_one_starts(a, b, c):
    first, second, third = (electrical.parse_rotation(text) for text in (a, b, c))
    assert electrical.through(electrical.through(first, second), third) == electrical.through(
        first, electrical.through(second, third)
    )
    assert sorted(electrical.through(first, second)) == [0, 1, 2]


def test_watts_are_those_of_the_nominal_voltage():
    assert electrical.watts(16_000, 3) == 11_040
    assert electrical.milliamps(6.0004) == 6_000


def test_a_connector_is_turned_by_its_own_rotation_and_by_every_board_above():
    site = drawn(
        grids={
            "main": {"max_current_a": 100},
            "board": {
                "fed_by": "main",
                "rotation": "L2 L3 L1",
                "max_current_a": [10, 20, 30],
                "chargepoints_only": True,
            },
        },
        outlets=[{"fed_by": "board", "rotation": "L2 L3 L1", "phases": 1, "rotation_confirmed_by": "test"}],
    )
    topology = compile_site(site)
    row = topology.connectors[0]
    assert row["phase"].tolist() == [2, 0, 1]
    assert row["possible"].tolist() == [0, 0, 1]
    assert topology.grids["limit_ma"][1].tolist() == [30_000, 10_000, 20_000]


def test_fuses_and_margins_are_those_of_each_phase():
    site = drawn(grids={"main": {"max_current_a": [40, 100, 200], "margin_a": None}})
    grid = compile_site(site).grids[0]
    assert grid["limit_ma"].tolist() == [40_000, 100_000, 200_000]
    assert grid["margin_ma"].tolist() == [2_000, 3_000, 6_000]
    fixed = compile_site(drawn(grids={"main": {"max_current_a": 100, "margin_a": 1.5}})).grids[0]
    assert fixed["margin_ma"].tolist() == [1_500] * 3


def test_a_one_phase_outlet_is_booked_on_one_phase_only_when_somebody_confirmed_it():
    for confirmed, possible in (("", [1, 1, 1]), ("J. Smit", [1, 0, 0])):
        outlet = {"phases": 1, "rotation_confirmed_by": confirmed}
        assert compile_site(drawn(outlets=[outlet])).connectors[0]["possible"].tolist() == possible


def test_meters_say_what_they_watch_and_what_happens_without_them():
    site = drawn(
        grids={
            "main": {},
            "roof": {"fed_by": "main"},
            "cellar": {"fed_by": "main", "chargepoints_only": True},
        },
        meters={
            "main": {"grid": "main", "role": "guard", "on_failure": {"safe_current_a": 16}},
            "roof": {"grid": "roof", "role": "consumer"},
        },
    )
    topology = compile_site(site)
    assert topology.grids["kind"].tolist() == [GUARD, CONSUMER, NO_METER]
    assert topology.meters["safe_ma"].tolist() == [16_000, PANIC]
    assert topology.grids["parent"].tolist() == [-1, 0, 0]


def test_children_come_before_their_feeders():
    site = drawn(
        grids={
            "a": {"fed_by": "b", "chargepoints_only": True},
            "b": {"fed_by": "c", "chargepoints_only": True},
            "c": {},
        },
        meters={"c": {"grid": "c", "role": "guard"}},
        outlets=[{"fed_by": "a"}],
    )
    topology = compile_site(site)
    assert topology.leaves_first.tolist() == [0, 1, 2]
    assert topology.connectors[0]["path"][:3].tolist() == [0, 1, 2]


def test_a_tree_too_deep_cannot_be_compiled():
    grids = {"g0": {}} | {f"g{n}": {"fed_by": f"g{n - 1}", "chargepoints_only": True} for n in range(1, 8)}
    assert compile_site(drawn(grids=grids, outlets=[{"fed_by": "g7"}])).connectors[0]["depth"] == 8


@st.composite
def sites(draw):
    count = draw(st.integers(1, 6))
    grids = {}
    for n in range(count):
        grids[f"g{n}"] = {
            "rotation": draw(rotations),
            "max_current_a": [draw(st.integers(10, 99)) for _ in "123"],
        }
        if n:
            grids[f"g{n}"] |= {"fed_by": f"g{draw(st.integers(0, n - 1))}", "chargepoints_only": True}
    outlets = [
        {"fed_by": f"g{draw(st.integers(0, count - 1))}", "rotation": draw(rotations)}
        for _ in range(draw(st.integers(1, 5)))
    ]
    return drawn(grids=grids, outlets=outlets, meters={"g0": {"grid": "g0", "role": "guard"}})


@given(sites())
def test_the_last_check_finds_the_same_wires_by_its_own_way(site):
    topology = compile_site(site)
    traces = topology.traces
    assert traces.phase.tolist() == topology.connectors["phase"].tolist()
    assert traces.fuse_ma[:, :3].tolist() == topology.grids["limit_ma"].tolist()
    assert traces.fuse_ma[:, TOGETHER].tolist() == topology.grids["power_ma"].tolist()
    for row, feeders in zip(topology.connectors, traces.feeders, strict=True):
        assert row["path"][: row["depth"]].tolist() == feeders[feeders != NO_MORE].tolist()


def test_the_order_of_the_file_is_the_order_of_all_tables():
    site = build(
        {
            "name": "Order",
            "timezone": "UTC",
            "grid": {"main": {"id": 7, "max_current_a": 100}},
            "meter": {"main": {"grid": "main", "role": "guard"}},
            "chargepoint": {
                name: {
                    "identity": name,
                    "fed_by": "main",
                    "lease_s": 60,
                    "connector": [{"number": n, "max_current_a": 16} for n in (2, 1)],
                }
                for name in ("zulu", "alpha")
            },
        },
        "order",
    )
    topology = compile_site(site)
    assert topology.connector_names == ("zulu/2", "zulu/1", "alpha/2", "alpha/1")
    assert topology.connectors["chargepoint"].tolist() == [0, 0, 1, 1]


SUNNY = {"solar": "solar_only", "solar_start_s": 10, "solar_stop_s": 20}
DELAYS = [  # keys of the connection, of the board under it, mode, start and stop in s
    (SUNNY, {}, SOLAR_ONLY, 10, 20),
    (SUNNY, {"solar_stop_s": 60}, SOLAR_ONLY, 10, 60),
    ({}, SUNNY, SOLAR_ONLY, 10, 20),
    (SUNNY, {"solar": "off"}, OFF, 10, 20),
    ({}, {}, OFF, 120, 300),
]


@pytest.mark.parametrize("station", [{}, {"max_current_a": 32.0}], ids=["board", "station"])
@pytest.mark.parametrize(("above", "board", "mode", "start_s", "stop_s"), DELAYS)
def test_delays_of_the_sun_come_down_the_tree_like_its_mode(above, board, mode, start_s, stop_s, station):
    site = drawn({"main": above, "roof": {"fed_by": "main", "chargepoints_only": True} | board})
    tables = site.model_dump()
    tables["chargepoint"]["bay_0"] |= {"fed_by": "roof"} | station
    row = compile_site(build(tables, "site")).connectors[0]
    assert row["depth"] == 2 + len(station)
    assert (row["solar"], row["solar_start_ms"], row["solar_stop_ms"]) == (
        mode,
        start_s * 1000,
        stop_s * 1000,
    )
