"""Batteries in the book, one rule a test; currents A per phase, positive: the battery takes."""

from typing import Any

import pytest

from controller.decision import Alarm, StorageBecause
from controller.defaults import UNKNOWN
from controller.image import Source
from controller.site import SiteError, build
from controller.topology import PEAK_SHAVING
from tests.controller.desk import Amps, Desk, drawn


def with_battery(grid: dict[str, Any] | None = None, outlets: int = 1, **battery: Any):
    tables = drawn({"main": grid or {}}, [{} for _ in range(outlets)]).model_dump()
    tables["battery"] = {
        "home": {
            "fed_by": "main",
            "capacity_wh": 20_000.0,
            "max_charge_w": 13_800.0,  # 20 A
            "max_discharge_w": 13_800.0,
            "revert_s": 60,
        }
        | battery
    }
    return build(tables, "desk")


class Storage(Desk):
    """A desk with a battery that is read each second and does what it is told two seconds later."""

    def __init__(self, site: Any, *, soc: float = 0.5, obeys: bool = True, now_s: float = 0) -> None:
        super().__init__(site, now_s=now_s)
        self.image.batteries["online"] = 1
        self.soc: float | None = soc
        self.obeys, self.heard = obeys, True
        self.flow_a: Amps = 0.0
        self.orders: list[tuple[float, int]] = []
        self.house_a = 0.0
        """Other load, on each phase; the meter shows it with the battery and what connectors last said."""

    def think(self):
        row = self.image.batteries[0]
        for at_s, target_ma in [order for order in self.orders if order[0] + 2 <= self.now_s]:
            self.flow_a = target_ma / 1000
            self.orders.remove((at_s, target_ma))
        if self.heard:
            row["at_ms"] = round(self.now_s * 1000)
            row["current_ma"] = round(self.flow_a * 1000)
            row["soc"] = UNKNOWN if self.soc is None else round(self.soc * 1000)
        cars = self.image.connectors["current_ma"]
        drawn_a = cars[cars != UNKNOWN].reshape(-1, 3).sum(axis=0) / 1000
        self.load_a[self.topology.meter_names[0]] = tuple(self.house_a + self.flow_a + a for a in drawn_a)
        decision = super().think()
        wanted = decision.batteries[0]
        if wanted["put"] and self.obeys:
            self.orders.append((self.now_s, int(wanted["target_ma"])))
            row["answered_seq"], row["answer"] = wanted["order_seq"], 1
            row["answered_at_ms"] = round(self.now_s * 1000)
        return decision

    def wants(self, setpoint_a: float) -> None:
        """Somebody outside says."""
        self.image.batteries["setpoint_ma"] = round(setpoint_a * 1000)
        self.image.batteries["setpoint_source"] = Source.API

    @property
    def target(self) -> float:
        return int(self.decision.batteries[0]["target_ma"]) / 1000

    @property
    def book(self) -> float:
        return int(self.decision.batteries[0]["committed_ma"]) / 1000

    @property
    def why(self) -> StorageBecause:
        return StorageBecause(int(self.decision.batteries[0]["because"]))

    @property
    def booked_a(self) -> float:
        return int(self.decision.grids[0]["committed_ma"][0]) / 1000


def manual(**battery: Any) -> Any:
    return with_battery(strategy="manual", **battery)


# -- the book ---------------------------------------------------------------------------------------------


def test_nobody_knows_what_a_battery_was_told_before_so_it_may_charge_with_all_it_has():
    desk = Storage(manual(), obeys=False)
    desk.cycle(5)
    assert desk.book == 20
    assert desk.booked_a == 20


def test_it_is_booked_with_its_charge_until_a_reading_shows_the_lower_order():
    desk = Storage(manual())
    desk.wants(10)
    desk.cycle(10)
    assert (desk.target, desk.flow_a, desk.book) == (10, 10, 10)
    desk.wants(4)
    desk.cycle(1)
    assert (desk.target, desk.book) == (4, 10)
    desk.cycle(4)
    assert (desk.flow_a, desk.book) == (4, 4)


def test_where_the_book_is_over_it_stops_to_charge_before_its_last_order_has_shown():
    desk = Storage(manual())
    desk.wants(15)
    desk.cycle(1)
    assert desk.target == 15
    desk.wants(-10)
    desk.told(hard_ma=10_000)
    desk.cycle(1)
    assert desk.target == -10


def test_the_discharge_of_a_battery_is_no_headroom():
    desk = Storage(manual())
    desk.house_a = 40
    desk.wants(-20)
    desk.cycle(60)
    assert desk.flow_a == -20
    assert desk.load_a["main"][0] == 20
    assert desk.estimate_a()[0] == pytest.approx(40, abs=0.1)
    assert desk.booked_a == 0


def test_in_the_first_cycle_the_estimate_does_not_credit_a_battery_that_discharges_already():
    desk = Storage(manual())
    desk.flow_a, desk.house_a = -20, 40
    desk.cycle(1)
    assert desk.estimate_a()[0] == 40


GIVES = [  # counts for fuses, power limit, A on the fuse line of the book, A on the line of powers
    (False, None, 0, 0),
    (False, 20_000.0, 0, -3 * 0.8 * 20),
    (True, 20_000.0, -0.8 * 20, -3 * 0.8 * 20),
]


@pytest.mark.parametrize(("counts", "power_w", "fuse_a", "sum_a"), GIVES)
def test_what_it_surely_gives_counts_for_powers_and_for_fuses_only_where_the_site_says_so(
    counts, power_w, fuse_a, sum_a
):
    grid = {"max_power_w": power_w} if power_w else {}
    desk = Storage(with_battery(grid, strategy="manual", counts_for_fuse=counts))
    desk.house_a = 25
    desk.wants(-20)
    desk.cycle(12)
    assert desk.flow_a == -20
    assert desk.booked_a == 0  # it has not given for 10 s
    desk.cycle(10)
    assert desk.booked_a == pytest.approx(fuse_a)
    assert int(desk.decision.grids[0]["sum_committed_ma"]) == pytest.approx(sum_a * 1000)


LOST = [  # what happens to a battery that counts and gives, and what the book makes of it
    ("its readings end", lambda desk: setattr(desk, "heard", False)),
    ("its state of charge is lost", lambda desk: setattr(desk, "soc", None)),
    ("it is down at its reserve", lambda desk: setattr(desk, "soc", 0.2)),
    ("it stops by itself", lambda desk: setattr(desk, "flow_a", 0.0)),
]


@pytest.mark.parametrize(("what", "happens"), LOST, ids=[row[0] for row in LOST])
def test_a_discharge_that_is_not_sure_any_more_counts_for_nothing(what, happens):
    desk = Storage(manual(counts_for_fuse=True))
    desk.house_a = 50
    desk.wants(-20)
    desk.cycle(30)
    assert desk.booked_a == -16
    happens(desk)
    desk.cycle(6)
    assert desk.booked_a == 0


def test_a_battery_that_falls_silent_is_held_to_give_all_it_could_and_its_estimate_stays():
    desk = Storage(manual())
    desk.house_a = 50
    desk.wants(-20)
    desk.cycle(30)
    desk.heard = False
    desk.cycle(30)
    row = desk.memory.batteries[0]
    assert -row["low_ma"][0][0] == -20_000
    assert row["high_ma"][0][0] == 0
    assert desk.estimate_a()[0] == pytest.approx(50, abs=0.1)
    assert Alarm(int(desk.decision.batteries[0]["alarm"])) == Alarm.READINGS_STALE


def test_the_death_of_a_battery_cuts_no_car_that_fits():
    desk = Storage(manual())
    desk.house_a = 40
    desk.wants(-20)
    desk.plug(0)
    desk.settle({0: 32}, 60)
    desk.settled = 0.0, 0.0
    assert desk.target_a(0) == 32
    puts = len(desk.puts)
    desk.flow_a = 0.0
    desk.draws(0, 32)
    desk.cycle(10)
    assert len(desk.puts) == puts
    assert desk.estimate_a()[0] <= 40.5


def test_one_that_takes_more_than_it_was_told_is_booked_at_its_rating_and_said_to_disobey():
    desk = Storage(manual())
    desk.cycle(10)
    assert desk.book == 0
    desk.flow_a = 12
    desk.cycle(1)
    assert desk.book == 20
    assert Alarm(int(desk.decision.batteries[0]["alarm"])) == Alarm.NOT_OBEYING
    desk.flow_a = 0
    desk.cycle(2)
    assert desk.book == 0


def test_an_order_is_renewed_at_half_of_its_life_and_one_out_of_reach_falls_back_when_it_has_ended():
    desk = Storage(manual(fallback_w=1_380.0))
    desk.wants(10)
    desk.cycle(20)
    seq = int(desk.decision.batteries[0]["order_seq"])
    desk.cycle(31)
    assert int(desk.decision.batteries[0]["order_seq"]) == seq + 1
    desk.image.batteries["online"] = 0
    desk.heard = False
    desk.cycle(40)
    assert desk.book == 10
    desk.cycle(10)
    assert desk.book == 2


# -- cars first -------------------------------------------------------------------------------------------


def test_charging_yields_to_a_car_and_is_lowered_before_the_car_is_raised():
    desk = Storage(with_battery({"max_current_a": 40, "margin_a": 4}, strategy="manual"))
    desk.wants(20)
    desk.cycle(20)
    assert desk.target == 20
    desk.plug(0)
    desk.draws(0, 0)
    desk.cycle(1)
    assert desk.target == 4
    assert desk.target_a(0) == 16  # what is free beside a battery that has not been seen to yield
    desk.settle({0: 32}, 60)
    assert desk.target_a(0) == 32
    assert (desk.target, desk.why) == (4, StorageBecause.NO_ROOM)


def test_over_a_limit_charging_ends_before_a_car_is_cut():
    desk = Storage(with_battery({"max_current_a": 60, "margin_a": 4}, strategy="manual"))
    desk.wants(20)
    desk.plug(0)
    desk.draws(0, 0)
    desk.cycle(30)
    desk.draws(0, 32)
    desk.cycle(10)
    assert desk.target_a(0) == 32
    puts = len(desk.puts)
    desk.house_a = 20
    desk.cycle(1)
    assert desk.target <= 4
    assert len(desk.puts) == puts


# -- bad input --------------------------------------------------------------------------------------------

WRONG = [  # keys, place, how the sentence ends
    ({"fed_by": "mian"}, "fed_by", 'there is no grid "mian"; did you mean "main"?'),
    ({"soc_min": 0.5}, "soc_min 0.5", "must lie in this order; mend the one that is wrong."),
    ({"strategy": "peak_shaving"}, "strategy", "the import of the connection in W that it holds; add it."),
    (
        {"schedule": [{"segment": [{"begin": "01:00", "end": "02:00", "strategy": "peak_shaving"}]}]},
        "",
        "give the segment target_kw or the battery target_w.",
    ),
    ({"fallback_w": 2e4}, "fallback_w", "20000 is above max_charge_w 13800; lower it."),
    ({"revert_s": 4}, "revert_s", "give 0 or more than twice the response_s of 2."),
]


@pytest.mark.parametrize(("battery", "place", "end"), WRONG)
def test_a_battery_that_cannot_be_is_told_in_one_sentence(battery, place, end):
    with pytest.raises(SiteError) as told:
        with_battery(**battery)
    assert len(told.value.lines) == 1
    assert told.value.lines[0].startswith(f"desk: [battery.home] {place}" if place else "desk: [battery.home")
    assert told.value.lines[0].endswith(end)


ALONE = [  # revert_s, what it may charge with by itself, what the dead controller leaves on L1
    (60, 0.0, None),
    (60, 6_900.0, "50 A on a 45 A fuse"),
    (0, 0.0, "60 A on a 45 A fuse"),
]


@pytest.mark.parametrize(("revert_s", "fallback_w", "danger"), ALONE)
def test_if_the_controller_dies_a_battery_charges_with_what_it_does_alone(revert_s, fallback_w, danger):
    tables = with_battery(
        {"max_current_a": 45, "worst_load_a": 40}, revert_s=revert_s, fallback_w=fallback_w
    ).model_dump()
    tables["accept_unsafe_fallback"] = ""
    for chargepoint in tables["chargepoint"].values():
        chargepoint["lease_s"] = 300
    if danger is None:
        build(tables, "desk")
        return
    with pytest.raises(SiteError, match=danger):
        build(tables, "desk")


def test_peak_shaving_without_anything_to_hold_neither_charges_from_the_grid_nor_gives():
    desk = Storage(with_battery(grid_charging=True))
    desk.image.batteries["strategy"] = PEAK_SHAVING
    desk.memory.meters["wrong_way"] = -1
    desk.house_a = 50
    desk.cycle(40)
    assert desk.target == 0
