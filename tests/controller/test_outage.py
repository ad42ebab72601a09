"""Safe if the controller dies now: by the live state, sentence by sentence, and what follows from a no."""

import pytest

from controller.decision import Because
from controller.defaults import UNKNOWN
from controller.outage import if_it_dies
from controller.site import Site
from tests.controller.desk import Desk, drawn

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
