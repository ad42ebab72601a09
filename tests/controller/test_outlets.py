"""What an outlet, its cable and its station can do: set-points, watts, and one limit over several outlets."""

from datetime import UTC, datetime

import pytest

from controller.calendar import milliseconds
from controller.decision import Because, Note
from controller.explain import Scene, reason
from controller.image import frozen
from controller.instructions import in_force
from controller.site import Site, SiteError, build
from controller.topology import compile_site
from tests.controller.desk import Desk, drawn

# -- set-points -----------------------------------------------------------------------------------------


def alone(seconds=60, *, takes_a=32.0, fuse_a=100, load_a=0.0, **outlet):
    desk = Desk(drawn(outlets=[outlet], grids={"main": {"max_current_a": fuse_a, "margin_a": 2}}))
    desk.load_a["main"] = load_a
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: takes_a}, seconds)
    return desk


FEW = [6, 8, 10, 13, 16]


@pytest.mark.parametrize(
    ("words", "room_a", "gets_a"),
    [
        # what the box knows, room above the margin, what it is told
        ({}, 12.9, 12),
        ({"step_a": 0.1}, 12.9, 12.9),
        ({"step_a": 2.0}, 13.9, 12),
        ({"steps_a": FEW, "max_current_a": 16}, 12.9, 10),
        ({"steps_a": FEW, "max_current_a": 16}, 13.0, 13),
        ({"steps_a": FEW, "max_current_a": 16}, 60.0, 16),
        ({"steps_a": FEW}, 60.0, 16),
        ({"steps_a": FEW, "max_current_a": 16}, 7.9, 6),
        ({"steps_a": [8, 16]}, 7.9, 0),
    ],
)
def test_a_box_is_told_only_set_points_that_it_knows_and_never_more_than_fits(words, room_a, gets_a):
    assert alone(fuse_a=room_a + 2, **words).targets_a() == [gets_a]


def test_every_order_to_a_box_of_few_set_points_is_one_of_them_also_in_a_cut_a_proof_and_a_reclaim():
    desk = alone(takes_a=9.1, seconds=200, steps_a=FEW, max_current_a=16)
    assert desk.targets_a() == [10]  # reclaim: the next set-point above its draw
    desk.settle({0: 16}, 60)
    assert desk.targets_a() == [16]
    desk.load_a["main"] = 99.0
    desk.cycle(3)
    assert desk.target_a(0) in (0, *FEW)
    assert {amps for _, _, amps in desk.puts} <= {0, *FEW}


def test_the_remainder_goes_out_in_the_set_points_of_each_box():
    outlets = [{"steps_a": [6, 10, 16]}, {"steps_a": [6, 10, 16]}]
    desk = Desk(drawn(outlets=outlets, grids={"main": {"max_current_a": 19, "margin_a": 2}}))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 90)
    assert sorted(desk.targets_a()) == [6, 10]


def test_a_cable_that_bears_less_than_the_outlet_caps_what_is_offered():
    desk = alone()
    desk.image.connectors["cable_ma"] = 20_000
    desk.settle({0: 32}, 30)
    assert desk.targets_a() == [20]
    assert desk.because(0) == Because.CABLE


# -- DC -------------------------------------------------------------------------------------------------


def test_a_dc_outlet_is_booked_with_the_current_of_its_feed_on_three_phases_from_the_start():
    dc = {"kind": "dc", "max_power_w": 60_000.0, "min_power_w": 5_000.0, "efficiency": 0.95}
    desk = Desk(drawn(outlets=[dc], grids={"main": {"max_current_a": 100}}))
    row = desk.topology.connectors[0]
    assert int(row["max_ma"]) == 91_534  # 60 kW / 0.95 / 690 V, rounded up
    assert int(row["min_ma"]) == 7_628
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 91.5}, 60)
    assert desk.targets_a() == [91]
    decision = desk.decision.connectors[0]
    assert decision["known"] == 1
    assert decision["phases"].tolist() == [1, 1, 1]


# -- stations -------------------------------------------------------------------------------------------


def station(limit_a, *, outlets=2, fuse_a=100, **chargepoint) -> Site:
    return build(
        {
            "name": "Twins",
            "timezone": "UTC",
            "accept_unsafe_fallback": chargepoint.pop("accept", "test, tester"),
            "grid": {"main": {"id": 0, "max_current_a": fuse_a, "margin_a": 2, "worst_load_a": 0}},
            "meter": {"main": {"grid": "main", "role": "guard", "delay_s": 1.0}},
            "chargepoint": {
                "twin": {
                    "identity": "T",
                    "fed_by": "main",
                    "max_current_a": limit_a,
                    "sample_interval_s": 30,
                    "connector": [{"number": n + 1, "max_current_a": 32} for n in range(outlets)],
                    **chargepoint,
                }
            },
        },
        "twins.toml",
    )


def test_the_outlets_of_a_station_share_its_own_limit_to_the_last_ampere():
    desk = Desk(station(32))
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    assert desk.targets_a() == [32, 0]
    desk.plug(1)
    desk.settle({0: 32, 1: 32}, 90)
    assert desk.targets_a() == [16, 16]
    assert sum(desk.commitments_a()) == 32


def test_who_is_held_back_by_its_station_is_told_station_limit():
    site = station(32)
    desk = Desk(site)
    desk.cycle(3)
    desk.plug(0, 1)
    desk.settle({0: 32, 1: 32}, 90)
    scene = Scene(site, desk.topology, frozen(desk.image), desk.decision, desk.memory, {})
    told = reason(scene, 0)
    assert desk.because(0) == Because.FUSE
    assert told.mark == "Station limit"
    assert "all outlets of twin" in told.sentence


def test_a_station_limit_is_a_board_for_every_sum_and_every_wire():
    topology = compile_site(station(32))
    assert topology.grid_names == ("main", "twin station")
    assert topology.grids["station"].tolist() == [0, 1]
    assert topology.traces.feeders[:, :2].tolist() == [[1, 0], [1, 0]]
    assert topology.traces.fuse_ma.tolist()[1][:3] == [32_000] * 3


GUESTS = {
    "chargingProfileId": 2,
    "stackLevel": 0,
    "chargingProfilePurpose": "ChargePointMaxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": {
        "startSchedule": "2026-01-01T00:00:00",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}],
    },
}


def test_outlets_share_a_profile_of_their_station_as_cars_come_and_not_evenly_before():
    site = station(None, profile=[{"profile": GUESTS}])
    topology = compile_site(site)
    assert topology.grid_names == ("main", "twin station")
    now_ms = milliseconds(datetime(2026, 6, 3, 10, 0, tzinfo=UTC))
    told = in_force(site, topology, {}, 1_000, now_ms, utc_trusted=True)
    assert told.grids["charging_ma"][1].tolist() == [10_000] * 3
    desk = Desk(site)
    desk.image.grids[:] = told.grids
    desk.cycle(3)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    assert desk.targets_a() == [10, 0]
    desk.plug(1)
    desk.settle({0: 10, 1: 32}, 90)
    assert sorted(desk.targets_a()) == [0, 10]
    assert Site.model_validate(site.model_dump(mode="json")) == site


def test_a_site_with_stations_reads_back_as_it_was_written():
    site = station(32)
    assert Site.model_validate(site.model_dump(mode="json")) == site


def board(limit_a, *stations, **words):
    """Stations of two outlets each, on a board that somebody has drawn."""
    table = station(None).model_dump(mode="json", exclude_none=True)
    table["grid"]["row"] = {"id": 1, "fed_by": "main", "max_current_a": limit_a, "margin_a": 0.0} | words
    twin = table["chargepoint"].pop("twin")
    for name in stations:
        table["chargepoint"][name] = twin | {"identity": name, "fed_by": "row"}
    return build(table, "twins.toml")


def charging(site, *connectors):
    desk = Desk(site)
    desk.cycle(3)
    desk.plug(*connectors)
    desk.settle(dict.fromkeys(connectors, 32), 90)
    return desk


def noted(desk, c=0):
    return bool(desk.decision.connectors[c]["note"] & Note.STATION_LIMIT)


STATION_NOTES = [
    ("its own limit binds", lambda: station(32), (0, 1), True),
    ("its own limit does not bind", lambda: station(40), (0,), False),
    ("the fuse of the site binds", lambda: station(50, fuse_a=40), (0, 1), False),
    ("a board for it alone binds", lambda: board(32, "a", chargepoints_only=True), (0, 1), True),
    ("a board of two stations binds", lambda: board(32, "a", "b", chargepoints_only=True), (0, 1), False),
    ("a board with other loads binds", lambda: board(32, "a", uncontrolled_a=2), (0, 1), False),
    ("a car of it waits for its turn", lambda: station(10), (0, 1), True),
]


@pytest.mark.parametrize(
    ("site", "cars", "which"), [row[1:] for row in STATION_NOTES], ids=[row[0] for row in STATION_NOTES]
)
def test_the_note_station_limit_is_set_where_the_limit_of_one_station_holds_its_cars(site, cars, which):
    desk = charging(site(), *cars)
    assert any(noted(desk, c) for c in cars) == which


def test_the_note_station_limit_goes_with_the_other_car():
    desk = charging(station(32), 0, 1)
    assert noted(desk, 0)
    desk.stop(1)
    desk.settle({0: 32}, 90)
    assert desk.target_a(0) == 32
    assert not noted(desk, 0)


def test_a_dead_controller_must_not_overload_a_station_either():
    with pytest.raises(SiteError) as wrong:
        station(32, accept="")
    assert wrong.value.lines == [
        (
            "twins.toml: [chargepoint.twin] max_current_a: if the controller dies now, L1 may reach 64 A on a"
            " 32 A fuse (worst load 0 A, chargepoints alone 64 A): lower fallback_a and set lease_s, or"
            " declare"
            ' accept_unsafe_fallback = "reason, name".'
        )
    ]
    assert station(32, accept="", lease_s=300, fallback_a=16.0)


# -- bad input ------------------------------------------------------------------------------------------


CONTRADICTIONS = {
    "set-points in disorder": (
        {"steps_a": [8, 6]},
        " steps_a: set-points ascend, each once; write them like [6, 8, 10, 13, 16].",
    ),
    "set-points below the least current": (
        {"steps_a": [4, 8]},
        " steps_a: 4 to 8 A does not lie between min_current_a 6 and max_current_a 32; mend one of them.",
    ),
    "watts for AC": (
        {"max_power_w": 50_000.0},
        ': watts are for kind = "dc"; give max_current_a and min_current_a, or say "dc".',
    ),
    "DC on one phase": (
        {"kind": "dc", "max_power_w": 50_000.0, "phases": 1},
        " phases: a DC outlet takes its power from three phases; leave phases out.",
    ),
    "DC with more at least than at most": (
        {"kind": "dc", "max_power_w": 20_000.0, "min_power_w": 30_000.0},
        ": min_power_w is more than the outlet gives; lower it, or raise max_power_w.",
    ),
}


@pytest.mark.parametrize(("outlet", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_outlet_that_contradicts_itself_is_told_in_one_sentence(outlet, said):
    with pytest.raises(SiteError) as wrong:
        drawn(outlets=[outlet])
    assert wrong.value.lines == [f"desk: [chargepoint.bay_0] connector 1{said}"]


def test_a_dc_outlet_without_power_is_told_what_it_needs():
    with pytest.raises(SiteError, match='a connector of kind "dc" needs max_power_w, like 50000'):
        drawn(outlets=[{"kind": "dc"}])


def test_a_station_limit_below_the_least_current_is_refused():
    with pytest.raises(SiteError, match="so that no car could ever charge; raise it"):
        station(5)
