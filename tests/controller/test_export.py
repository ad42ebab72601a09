"""Limits of export and the inverters that keep them, one rule a test; currents A per phase."""

from typing import Any

import pytest

from controller.decision import Alarm, StorageBecause
from controller.image import Source
from controller.site import build
from tests.controller.desk import Desk, drawn


def with_inverter(grid: dict[str, Any] | None = None, **inverter: Any):
    tables = drawn({"main": grid or {}}).model_dump()
    tables["inverter"] = {
        "pv": {"fed_by": "main", "max_power_w": 13_800.0, "curtailable": True, "revert_s": 60} | inverter
    }
    return build(tables, "desk")


class Roof(Desk):
    """A desk with an inverter under the sun that obeys two seconds later, unless it does not."""

    def __init__(self, site: Any, sun_a: float) -> None:
        super().__init__(site)
        self.image.inverters["online"] = 1
        self.sun_a, self.house_a, self.held_a = sun_a, 0.0, 1e9
        self.heard = self.obeys = True
        self.orders: list[tuple[float, float]] = []

    def think(self):
        row = self.image.inverters[0]
        for order in [order for order in self.orders if order[0] + 2 <= self.now_s]:
            self.held_a = order[1] if self.obeys else self.held_a
            self.orders.remove(order)
        if self.heard:
            row["at_ms"] = round(self.now_s * 1000)
            row["current_ma"] = -round(self.feeds_a * 1000)
        self.load_a["main"] = self.house_a - self.feeds_a
        decision = super().think()
        wanted = decision.inverters[0]
        if wanted["put"]:
            self.orders.append((self.now_s, int(wanted["target_ma"]) / 1000))
            row["answered_seq"], row["answer"] = wanted["order_seq"], 1
            row["answered_at_ms"] = round(self.now_s * 1000)
        return decision

    @property
    def feeds_a(self) -> float:
        return min(self.sun_a, self.held_a)

    @property
    def back_a(self) -> float:
        return self.feeds_a - self.house_a

    @property
    def why(self) -> StorageBecause:
        return StorageBecause(int(self.decision.inverters[0]["because"]))


LIMITS = [  # keys of the grid, told from outside (A per phase, A over the phases), most that may flow back
    ({}, None, None, 20),  # the fuse lets 100 A back: nothing is curtailed
    ({"max_export_a": 12.0}, None, None, 12),
    ({"max_export_a": 0.0}, None, None, 0),
    ({"max_export_w": 6_900.0}, None, None, 10),
    ({"max_power_w": 6_900.0}, None, None, 10),  # same as import
    ({"max_export_a": 12.0}, 8, None, 8),
    ({}, None, 15, 5),
]


@pytest.mark.parametrize(("grid", "each_a", "sum_a", "most_a"), LIMITS)
def test_what_flows_back_is_brought_under_the_tightest_limit_of_export(grid, each_a, sum_a, most_a):
    desk = Roof(with_inverter(grid), sun_a=20)
    if each_a is not None:
        desk.image.grids["export_ma"] = each_a * 1000
    if sum_a is not None:
        desk.image.grids["export_sum_ma"] = sum_a * 1000
    desk.cycle(10)
    assert most_a - 2 <= desk.back_a <= most_a
    assert desk.why == (StorageBecause.FREE if most_a == 20 else StorageBecause.EXPORT)


def test_a_curtailed_inverter_is_eased_when_load_comes_and_freed_when_there_is_room_for_all_of_it():
    desk = Roof(with_inverter({"max_export_a": 0.0}), sun_a=20)
    desk.cycle(20)
    assert desk.feeds_a == 0
    desk.house_a = 10
    desk.cycle(20)
    assert desk.feeds_a == pytest.approx(9.5)
    desk.house_a = 40
    desk.cycle(20)
    assert desk.feeds_a == 20
    assert desk.why == StorageBecause.FREE


def test_a_limit_is_renewed_at_half_of_its_life_while_it_curtails_and_not_when_it_is_free():
    desk = Roof(with_inverter({"max_export_a": 5.0}), sun_a=20)
    desk.cycle(10)
    seq = int(desk.decision.inverters[0]["order_seq"])
    desk.cycle(32)
    assert int(desk.decision.inverters[0]["order_seq"]) == seq + 1
    desk.house_a = 40
    desk.cycle(20)
    seq = int(desk.decision.inverters[0]["order_seq"])
    desk.cycle(100)
    assert int(desk.decision.inverters[0]["order_seq"]) == seq


def test_an_inverter_that_accepts_a_limit_and_ignores_it_is_told_of_and_far_too_much_turns_it_off():
    desk = Roof(with_inverter({"max_export_a": 5.0}), sun_a=20)
    desk.obeys = False
    desk.cycle(10)
    assert Alarm(int(desk.decision.inverters[0]["alarm"])) == Alarm.NOT_OBEYING
    assert desk.grid_alarm() == Alarm.OVER_EXPORT
    desk.cycle(15)
    assert desk.grid_alarm() == Alarm.OVER_EXPORT | Alarm.EXPORT_PANIC
    assert desk.decision.inverters[0]["target_ma"] == 0
    assert desk.why == StorageBecause.EXPORT_PANIC


@pytest.mark.parametrize("limit_a", [0.0, 6.0])
def test_where_the_meter_is_silent_inverters_may_give_no_more_than_may_flow_back(limit_a):
    desk = Roof(with_inverter({"max_export_a": limit_a}), sun_a=20)
    desk.house_a = 15
    desk.cycle(30)
    desk.silent.add("main")
    desk.cycle(12)
    assert desk.feeds_a <= limit_a
    assert desk.why == StorageBecause.UNHEARD


def test_a_stop_turns_an_inverter_off():
    desk = Roof(with_inverter(), sun_a=20)
    desk.cycle(5)
    desk.image.inverters["stop"] = Source.MAINTENANCE
    desk.cycle(4)
    assert desk.feeds_a == 0
    assert desk.why == StorageBecause.STOPPED


def test_a_phase_at_its_fuse_is_not_curtailed_into_an_overload():
    """L1 carries 90 of its 100 A although the sun gives it 20; L2 and L3 feed back more than may."""
    desk = Roof(with_inverter({"max_export_a": 5.0}), sun_a=20)

    def think(before=desk.think):
        desk.load_a["main"] = (110 - desk.feeds_a, 5 - desk.feeds_a, 5 - desk.feeds_a)
        return Desk.think(desk)

    desk.image.inverters["at_ms"] = 0
    desk.image.inverters["current_ma"] = -20_000
    desk.think = think  # type: ignore[method-assign]
    desk.cycle(1)
    assert desk.decision.inverters[0]["target_ma"] == 10_000


def test_an_inverter_that_is_not_curtailable_gets_no_orders():
    desk = Roof(with_inverter({"max_export_a": 0.0}, curtailable=False), sun_a=20)
    desk.cycle(20)
    assert desk.decision.inverters[0]["order_seq"] == 0
    assert Alarm.EXPORT_PANIC in desk.grid_alarm()


CREDIT = [  # production A, its meter heard, book of the uncontrolled load when the building takes 40 A
    (20, True, 20),  # all of it: less than 0.3 F
    (60, True, 10),  # 0.3 F of it
]


@pytest.mark.parametrize(("sun_a", "heard", "load_a"), CREDIT)
def test_of_what_an_inverter_is_seen_to_feed_in_three_tenths_of_a_fuse_are_lent_to_cars(sun_a, heard, load_a):
    desk = Roof(with_inverter(max_power_w=69_000.0), sun_a=sun_a)
    desk.house_a = 40
    desk.cycle(20)
    assert desk.estimate_a()[0] == pytest.approx(load_a)


def test_an_inverter_that_falls_silent_while_it_feeds_in_is_held_to_feed_in_all_it_can():
    desk = Roof(with_inverter(), sun_a=10)
    desk.house_a = 40
    desk.cycle(20)
    assert desk.estimate_a()[0] == 30
    desk.heard = False
    desk.cycle(10)
    assert desk.estimate_a()[0] == 30  # 20 A of rating less 0.3 F: still below what the meter shows
    desk = Roof(with_inverter(max_power_w=69_000.0), sun_a=10)
    desk.house_a = 40
    desk.cycle(20)
    desk.heard = False
    desk.cycle(10)
    assert desk.estimate_a()[0] == 30 + 100 - 30
