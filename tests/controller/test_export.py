"""Limits of export and the inverters that keep them, one rule a test; currents A per phase."""

from typing import Any

import pytest

from controller.decision import Alarm, Note, StorageBecause
from controller.faults import remarks
from controller.image import Source
from controller.site import SiteError, build
from controller.topology import MANUAL, PEAK_SHAVING, SELF_CONSUMPTION
from tests.controller.desk import Desk, drawn
from tests.controller.test_storage import Storage, with_battery


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
    ({"max_current_a": 15.0, "max_export_a": 200.0}, None, None, 15),  # the fuse wins
    ({"max_export_a": 10.0, "export_margin_a": 3.0}, None, None, 7),
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
    assert desk.grid_alarm() == Alarm.NONE
    assert desk.why == (StorageBecause.FREE if most_a == 20 else StorageBecause.EXPORT)


def test_a_limit_of_export_above_the_fuse_is_a_remark_since_the_fuse_holds():
    (said,) = remarks(with_inverter({"max_current_a": 30, "max_export_a": (20.0, 200.0, 20.0)}))
    assert said == (
        "[grid.main] max_export_a: 200 is above the fuse of 30 A, which bears no more backwards than"
        " forwards; 30 A holds."
    )


PANICS = [  # keys of the grid, A that flow back by far too much, s until everything that feeds in is off
    ({"max_current_a": 20, "panic_a": 1.0}, 21.5, 25),  # the line of panic of the fuse, backwards
    ({"max_export_a": 5.0}, 6.5, None),
    ({"max_export_a": 5.0, "export_panic_a": 1.0}, 6.5, 25),
    ({"max_current_a": 20}, 21.5, 1250),  # the heat of the fuse
]


@pytest.mark.parametrize(("grid", "back_a", "panic_s"), PANICS)
def test_far_too_much_back_and_too_much_for_too_long_turn_off_what_feeds_in(grid, back_a, panic_s):
    """An inverter that does not obey: what the file says of panic and heat decides."""
    desk = Roof(with_inverter(grid), sun_a=back_a)
    desk.obeys = False
    if panic_s is None or panic_s > 60:
        desk.cycle(60)
        assert Alarm.EXPORT_PANIC not in desk.grid_alarm()
    if panic_s is not None:
        desk.cycle(panic_s)
        assert Alarm.EXPORT_PANIC in desk.grid_alarm()
        assert desk.decision.inverters[0]["target_ma"] == 0


def test_a_fuse_that_is_hot_from_what_flows_back_ends_the_discharge_of_a_battery():
    desk = Storage(with_battery({"max_current_a": 18}, strategy="manual"))
    desk.image.batteries["strategy"] = MANUAL
    desk.wants(-20)
    desk.house_a = -5.0
    desk.memory.grids["heat"] = 1_100_000
    desk.flow_a = -15.0
    desk.cycle(2)
    assert desk.target == 0
    assert Alarm.EXPORT_PANIC in desk.grid_alarm()


@pytest.mark.parametrize(
    ("grid", "back_a", "alarm"),
    [
        ({"max_export_a": 0}, 5, Alarm.OVER_EXPORT | Alarm.EXPORT_PANIC),
        ({"max_export_a": 10}, 11, Alarm.OVER_EXPORT),
        ({"max_export_w": 0}, 5, Alarm.OVER_EXPORT | Alarm.EXPORT_PANIC),
        ({}, 99, Alarm.NONE),
        ({}, 120, Alarm.OVER_EXPORT | Alarm.EXPORT_PANIC),
    ],
)
def test_too_much_export_is_an_alarm_and_a_note_where_nothing_can_be_steered_too(grid, back_a, alarm):
    desk = Desk(drawn({"main": grid | {"feeds_in": True}}))
    desk.load_a["main"] = -back_a
    desk.cycle(30)
    assert desk.grid_alarm() == alarm
    assert Alarm(int(desk.decision.site["alarm"][0])) == alarm
    assert Note.OVER_EXPORT in Note(int(desk.decision.grids[0]["note"])) or alarm == Alarm.NONE
    desk.load_a["main"] = 1.0
    desk.cycle(31)
    assert desk.grid_alarm() == Alarm.NONE
    assert int(desk.decision.grids[0]["note"]) == 0


# -- nobody knows the direction ----------------------------------------------------------------------------

BLIND = {"main": {"grid": "main", "role": "guard", "delay_s": 1.0, "measures": "magnitudes"}}


def without_direction(grid: dict[str, Any], battery: dict[str, Any] | None = None, **inverter: Any):
    tables = drawn({"main": grid}, meters=BLIND).model_dump()
    roof = {"fed_by": "main", "max_power_w": 13_800.0, "curtailable": True, "revert_s": 60}
    tables["inverter"] = {"pv": roof | inverter}
    if battery is not None:
        rating = {"capacity_wh": 20_000.0, "max_charge_w": 13_800.0, "max_discharge_w": 13_800.0}
        tables["battery"] = {"home": {"fed_by": "main", "revert_s": 60} | rating | battery}
    return build(tables, "desk")


@pytest.mark.parametrize(("limit_a", "house_a"), [(0.0, 0.0), (0.0, 30.0), (6.0, 0.0), (6.0, 15.0)])
def test_without_direction_inverters_may_give_no_more_than_may_flow_back(limit_a, house_a):
    desk = Roof(without_direction({"max_export_a": limit_a}), sun_a=20)
    desk.house_a = house_a
    desk.cycle(30)
    assert desk.feeds_a == limit_a
    assert desk.why == StorageBecause.DIRECTION


@pytest.mark.parametrize(("field", "bits"), [("reversed", 0b001), ("swapped", 1)])
def test_nor_while_the_wiring_of_the_guard_is_in_doubt(field, bits):
    desk = Roof(with_inverter({"max_export_a": 6.0}), sun_a=20)
    desk.house_a = 30
    desk.cycle(20)
    assert desk.feeds_a == 20
    desk.memory.meters[field] = bits
    desk.cycle(5)
    assert desk.feeds_a == 6
    assert desk.why == StorageBecause.DIRECTION


def test_what_nobody_can_curtail_is_left_out_of_what_the_others_may_give():
    tables = without_direction({"max_export_a": 25.0}).model_dump()
    tables["inverter"]["old"] = tables["inverter"]["pv"] | {"curtailable": False}
    desk = Roof(build(tables, "desk"), sun_a=20)
    desk.cycle(20)
    assert desk.decision.inverters["target_ma"].tolist() == [5_000, 20_000]


@pytest.mark.parametrize("house_a", [-10.0, 10.0])
@pytest.mark.parametrize("strategy", [SELF_CONSUMPTION, PEAK_SHAVING])
def test_without_direction_a_battery_neither_takes_surplus_nor_covers_load(strategy, house_a):
    desk = Storage(without_direction({"feeds_in": True}, {"target_w": 0.0}), soc=0.8)
    desk.image.batteries["strategy"] = strategy
    desk.house_a = house_a
    desk.cycle(60)
    assert (desk.target, desk.why) == (0, StorageBecause.DIRECTION)


def test_what_a_battery_gives_on_order_counts_for_the_inverters():
    desk = Storage(without_direction({"max_export_a": 20.0}, {"strategy": "manual"}), soc=0.8)
    desk.image.inverters["online"] = 1
    desk.wants(-8)
    desk.cycle(30)
    assert desk.target == -8
    assert desk.decision.inverters[0]["target_ma"] == 12_000


@pytest.mark.parametrize(
    "battery",
    [
        {"strategy": "self_consumption"},
        {"strategy": "peak_shaving", "target_w": 5_000.0},
        {"schedule": [{"segment": [{"begin": "10:00", "end": "12:00", "strategy": "self_consumption"}]}]},
    ],
)
def test_a_strategy_that_needs_the_direction_is_refused_where_the_guard_has_none(battery):
    with pytest.raises(SiteError) as told:
        without_direction({}, battery)
    (line,) = told.value.lines
    assert "must know which way the current of the connection flows" in line
    assert "[meter.main] measures magnitudes" in line


def test_a_limit_of_export_that_nobody_can_watch_is_a_remark():
    (said,) = remarks(without_direction({"max_export_w": 3_000.0}))
    assert said.startswith("[grid.main] has a limit of export and a guard that measures magnitudes")
    assert list(remarks(without_direction({}))) == []


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


def test_an_inverter_whose_readings_have_stopped_gives_no_more_than_may_flow_back_and_is_not_eased():
    desk = Roof(with_inverter({"max_export_a": 5.0}), sun_a=8)
    desk.house_a = 6
    desk.cycle(10)
    desk.heard = False
    desk.cycle(10)
    assert desk.feeds_a == 8  # nothing is wrong yet
    desk.house_a = 0
    desk.cycle(20)
    assert desk.feeds_a == 5
    assert desk.why == StorageBecause.UNHEARD
    desk.house_a = 10
    desk.cycle(60)
    assert desk.feeds_a == 5
    desk.heard = True
    desk.cycle(60)
    assert desk.feeds_a == 8


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
