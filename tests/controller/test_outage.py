"""Safe if the controller dies now: by the live state, sentence by sentence, and what follows from a no."""

import pytest

from controller.decision import Because
from controller.defaults import UNKNOWN
from controller.outage import if_it_dies
from controller.site import Site, SiteError, build
from tests.controller.desk import Desk, drawn
from tests.controller.test_export import Roof, with_inverter
from tests.controller.test_storage import Storage, with_battery

LEASED = {"lease_s": 300, "fallback_a": 0}


def live(*outlets, load_a=20.0, worst_a=40, accepted="a desk, test", fuse_a=100, draw_a=32.0, proven=True):
    """Cars that take what they get."""
    site = drawn(
        grids={"main": {"worst_load_a": worst_a, "max_current_a": fuse_a}}, outlets=list(outlets)
    ).model_copy(update={"accept_unsafe_fallback": accepted})
    desk = Desk(Site.model_validate(site.model_dump()), proven=proven)
    desk.load_a["main"] = load_a
    desk.cycle(3)
    desk.plug(*range(len(outlets)))
    desk.settle(dict.fromkeys(range(len(outlets)), draw_a), 60)
    return desk


def sentences(desk):
    return list(if_it_dies(desk.topology, desk.decision))


def test_boxes_with_a_lease_fall_back_and_leave_the_site_safe():
    desk = live(LEASED, LEASED)
    assert min(desk.targets_a()) > 20
    assert sentences(desk) == []
    assert desk.decision.site["unsafe_alone"][0] == 0


def test_without_a_lease_what_they_have_now_is_what_they_keep():
    desk = live({}, {})
    assert sum(desk.commitments_a()) == 64
    (said,) = sentences(desk)
    assert "if the controller dies now, L1 may reach 104 A on a 100 A fuse (worst load 40 A," in said
    assert desk.decision.site["unsafe_alone"][0] == 1
    desk.stop(0)
    desk.settle({1: 32.0}, 30)
    assert sentences(desk) == []


def test_a_load_above_the_declared_worst_counts_as_it_is():
    desk = live(LEASED | {"fallback_a": 6}, load_a=96.0)
    assert "worst load 96 A, chargepoints alone 6 A" in sentences(desk)[0]


@pytest.mark.parametrize(
    ("field", "value"), [("ignored", 1), ("proven", 0), ("limit_known", 0), ("refused_at_ms", 60_000)]
)
def test_a_lease_of_a_box_that_does_not_do_what_it_is_told_is_worth_nothing(field, value):
    desk = live(LEASED, LEASED, worst_a=40)
    desk.memory.connectors[field] = value
    desk.memory.connectors["committed_ma"] = 32_000
    desk.cycle()
    assert "chargepoints alone 64 A" in sentences(desk)[0]


def test_a_default_that_was_found_higher_than_declared_counts():
    desk = live(LEASED, draw_a=10.0)
    desk.image.connectors["default_ma"] = 32_000
    desk.stop(0)
    desk.cycle(2)
    assert desk.decision.grids["alone_ma"][0].tolist() == [72_000] * 3
    desk.image.connectors["default_ma"] = UNKNOWN
    desk.cycle()
    assert desk.decision.grids["alone_ma"][0].tolist() == [72_000] * 3


def test_where_nobody_answers_for_it_boxes_without_lease_are_raised_only_as_far_as_it_stays_safe():
    desk = live({}, {}, accepted="", worst_a=60, load_a=10.0)
    assert sum(desk.commitments_a()) <= 40
    assert sentences(desk) == []
    held = min(range(2), key=desk.target_a)
    assert desk.because(held) == Because.NO_LEASE


def test_boxes_with_a_lease_are_not_held_back_by_it():
    desk = live(LEASED, LEASED, accepted="", worst_a=60, load_a=10.0)
    assert desk.targets_a() == [32, 32]


# -- what flows back ---------------------------------------------------------------------------------------

ROOF = {"fed_by": "main", "max_power_w": 13_800.0, "curtailable": True, "revert_s": 60}
CELLAR = {"fed_by": "main", "capacity_wh": 1e4, "max_charge_w": 0.0, "max_discharge_w": 6_900.0}
FEEDS_IN = [  # keys of the grid, of inverter and battery, A that may flow back and on which line; None: safe
    ({}, ROOF, None, None),
    ({"max_current_a": 15}, ROOF, None, "20 A back on L1, where 15 A"),
    ({"max_export_a": (20, 20, 12)}, ROOF, None, "20 A back on L3, where 12 A"),
    ({"max_export_a": 12}, ROOF | {"revert_s": 0}, None, "20 A back on L1, where 12 A"),
    ({"max_export_w": 6_900.0}, ROOF, None, "60 A back on L1+L2+L3, where 30 A"),
    ({"max_power_w": 6_900.0}, ROOF, None, "60 A back on L1+L2+L3, where 30 A"),
    ({"max_export_a": 25}, ROOF, CELLAR, "30 A back on L1, where 25 A"),  # it keeps its last set-point
    ({"max_export_a": 25}, ROOF, CELLAR | {"revert_s": 60}, None),  # it stops to give
    ({"max_export_a": 25}, ROOF | {"phases": 1, "rotation": "L2 L3 L1"}, None, "60 A back on L2, where 25 A"),
]


def fed_in(grid, inverter, battery, accepted):
    site = drawn({"main": {"max_current_a": 100, "worst_load_a": 0} | grid}, [LEASED])
    tables = site.model_dump() | {"accept_unsafe_fallback": accepted, "inverter": {"roof": inverter}}
    return build(tables | ({"battery": {"cellar": battery}} if battery else {}), "desk")


@pytest.mark.parametrize(("grid", "inverter", "battery", "danger"), FEEDS_IN)
def test_of_a_file_nameplates_and_what_batteries_keep_giving_must_fit_what_may_flow_back(
    grid, inverter, battery, danger
):
    fed_in(grid, inverter, battery, "a roof, test")
    lines = []
    try:
        fed_in(grid, inverter, battery, "")
    except SiteError as told:
        lines = told.lines
    assert len(lines) == int(danger is not None)
    for line in lines:
        assert line.startswith("desk: [grid.main] if the controller dies now, inverters and batteries alone")
        assert danger in line
        assert 'accept_unsafe_fallback = "reason, name"' in line


@pytest.mark.parametrize(
    ("revert_s", "said"), [(60, "may feed 20 A back on L1, where 5 A may flow back."), (0, None)]
)
def test_live_an_inverter_that_reverts_is_free_and_one_that_does_not_keeps_its_limit(revert_s, said):
    desk = Roof(with_inverter({"max_export_a": 5.0}, revert_s=revert_s), sun_a=20)
    desk.cycle(20)
    assert desk.decision.site["unsafe_alone"][0] == int(said is not None)
    assert [line.endswith(said) for line in sentences(desk)] == ([True] if said else [])


@pytest.mark.parametrize(("revert_s", "back_a"), [(60, 0), (0, 8)])
def test_live_a_battery_that_reverts_stops_to_give_and_one_that_does_not_goes_on(revert_s, back_a):
    desk = Storage(with_battery(strategy="manual", revert_s=revert_s), soc=0.8)
    desk.wants(-8)
    desk.cycle(20)
    assert desk.decision.grids["back_alone_ma"][0].tolist() == [back_a * 1000] * 3 + [back_a * 3000]
