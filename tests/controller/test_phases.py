"""One phase or three where the box can choose; surplus is A over three phases, currents A per phase."""

from itertools import pairwise

import pytest

from controller import restart
from controller.decision import Because, Note
from controller.topology import OFF
from tests.controller.test_sun import Sunny

PAUSE_S = 60
NAMED = {"phase_switch_s": PAUSE_S, "rotation_confirmed_by": "a test"}


class Switching(Sunny):
    """A desk in the sun whose box charges on the phases that its orders say, once it has been at 0 A."""

    def __init__(self, mode: str = "solar_only", cars: int = 1, **outlet) -> None:
        super().__init__(mode, cars, **(NAMED | outlet))
        self.sticks = False
        self.closed = [3] * cars
        self.changes: list[tuple[float, int, int]] = []  # (s, from, to)
        self.off_since_s = [0.0] * cars
        self.under_load = 0

    def think(self):
        cars_a = [0.0, 0.0, 0.0]
        for c in range(len(self.image.connectors)):
            row = self.decision.connectors[c]
            limit_a = int(self.memory.connectors[c]["target_ma"]) / 1000
            if limit_a > 0 and row["order_phases"] not in (0, self.closed[c]) and not self.sticks:
                self.under_load += self.drew_a(c) > 0 or self.now_s - self.off_since_s[c] < PAUSE_S
                self.changes.append((self.now_s, self.closed[c], int(row["order_phases"])))
                self.closed[c] = int(row["order_phases"])
            if limit_a > 0:
                self.off_since_s[c] = self.now_s
            draw_a = tuple(limit_a * (own < self.closed[c]) for own in range(3))
            self.draws(c, draw_a)
            cars_a = [sum(pair) for pair in zip(cars_a, draw_a, strict=True)]
        self.load_a["main"] = tuple(a - self.surplus_a / 3 for a in cars_a)
        return super(Sunny, self).think()

    def drew_a(self, c: int) -> float:
        return max(self.image.connectors[c]["current_ma"].tolist()) / 1000

    def phases(self) -> list[int]:
        return [int(sum(row["phases"])) for row in self.memory.connectors]


def test_too_little_surplus_for_three_phases_starts_it_on_one():
    desk = Switching()
    assert desk.targets(9, 100) == [0]
    assert desk.targets(9, 200) == [9]
    assert desk.changes == [(desk.changes[0][0], 3, 1)]
    assert desk.phases() == [1]


def test_it_is_offered_nothing_on_three_phases_before_it_starts_on_one():
    desk = Switching()
    desk.targets(9, 400)
    first_s = next(at for at, _, amps in desk.puts if amps > 0)
    assert desk.changes == [(first_s + 1, 3, 1)]


def test_a_box_that_cannot_change_waits_for_three_phases():
    desk = Switching(phase_switch_s=None)
    assert desk.targets(9, 600) == [0]


def test_clouds_take_it_to_one_phase_after_the_stop_delay_through_zero_and_the_pause():
    desk = Switching()
    assert desk.targets(30, 300) == [10]
    assert desk.targets(8, 290) == [6]
    assert desk.targets(8, 20) == [0]
    assert desk.because(0) == Because.SWITCHING
    assert desk.targets(8, PAUSE_S - 10) == [0]
    assert desk.targets(8, 60) == [8]
    assert desk.phases() == [1]
    assert desk.under_load == 0


def test_it_goes_back_to_three_phases_when_the_surplus_has_lasted_ten_minutes():
    desk = Switching()
    desk.targets(9, 1200)
    assert desk.targets(30, 570) == [30]
    assert desk.targets(30, 200) == [10]
    assert desk.closed == [3]
    assert desk.phases() == [3]
    assert desk.under_load == 0


def test_between_two_changes_there_are_fifteen_minutes_however_the_sun_flickers():
    desk = Switching("boost")
    for _ in range(6):
        desk.targets(6, 700)
        desk.targets(40, 700)
    times = [at for at, _, _ in desk.changes]
    assert len(times) >= 4
    assert all(later - earlier >= 900 for earlier, later in pairwise(times))
    assert desk.under_load == 0


def test_short_clouds_change_nothing():
    desk = Switching()
    desk.targets(30, 300)
    for _ in range(20):
        desk.targets(8, 240)
        desk.targets(30, 60)
    assert desk.changes == []


def test_boost_charges_on_one_phase_without_sun():
    desk = Switching("boost")
    assert desk.targets(0, 600) == [6]
    assert desk.closed == [1]


def test_told_to_charge_on_one_phase_it_is_booked_on_three_until_readings_show_one():
    desk = Switching()
    desk.targets(9, 150)
    while not desk.changes:
        desk.cycle()
        assert desk.phases() == [3]
    desk.cycle(3)
    assert desk.phases() == [1]


def test_a_contactor_that_sticks_leaves_it_booked_on_three_phases_and_is_told_to_people():
    desk = Switching()
    desk.sticks = True
    desk.targets(30, 300)
    desk.targets(8, 600)
    desk.targets(30, 600)
    assert desk.phases() == [3]
    assert Note.ONE_PHASE_REFUSED & int(desk.decision.connectors[0]["note"])
    desk.targets(8, 3600)
    desk.targets(30, 3600)
    assert desk.decision.connectors[0]["order_phases"] == 3
    desk.stop(0)
    desk.cycle(5)
    assert not Note.ONE_PHASE_REFUSED & int(desk.decision.connectors[0]["note"])


DOUBTS = {
    "its link is lost": ("online", 0),
    "it has another firmware": ("firmware", 2),
    "its transaction ends": ("transaction", 0),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_on_one_phase_it_is_booked_on_three_again_when(doubt):
    desk = Switching()
    desk.targets(9, 600)
    assert desk.phases() == [1]
    field, value = DOUBTS[doubt]
    desk.image.connectors[field] = value
    desk.cycle()
    assert desk.phases() == [3]


def test_on_one_phase_it_is_booked_on_three_before_a_lease_that_is_not_renewed_can_end():
    desk = Switching(lease_s=60)
    desk.targets(9, 600)
    assert desk.phases() == [1]
    desk.answering = False
    last_s = int(desk.memory.connectors[0]["assured_until_ms"]) / 1000
    while desk.now_s < last_s - 12:
        desk.cycle()
    assert desk.phases() == [3]


def test_draw_on_another_phase_puts_it_on_three_at_once():
    desk = Switching()
    desk.targets(9, 600)
    desk.closed, desk.sticks = [3], True
    desk.cycle(2)
    assert desk.phases() == [3]
    assert desk.memory.connectors[0]["switch_failed"]


def test_one_that_does_not_follow_the_sun_any_more_goes_back_to_three_phases():
    desk = Switching()
    desk.targets(9, 1200)
    desk.image.connectors["solar"] = OFF
    desk.cycle(PAUSE_S + 60)
    assert desk.closed == [3]
    assert desk.targets_a() == [32]
    assert desk.under_load == 0


def test_no_pause_is_made_for_a_car_whose_card_prevents_sleep_mode():
    desk = Switching("boost")
    desk.targets(30, 300)
    desk.image.connectors["never_zero"] = 1
    desk.targets(0, 1200)
    assert desk.changes == []


def test_a_car_of_one_phase_is_never_paused_for_a_change():
    desk = Switching("boost")
    desk.closed, desk.sticks = [1], True
    desk.targets(30, 300)
    assert desk.phases() == [1]
    desk.targets(0, 1200)
    assert 0 not in [amps for at, _, amps in desk.puts if at > 300]


def test_who_came_last_goes_to_one_phase_first():
    desk = Switching(cars=2)
    desk.targets(60, 400)
    assert desk.targets(30, 900) == [7, 7]
    assert desk.closed == [3, 1]


def test_after_a_restart_in_the_middle_no_order_changes_phases_under_load():
    desk = Switching()
    desk.targets(9, 600)
    names = desk.topology.connector_names
    book = dict(zip(names, restart.pages(desk.topology, desk.memory), strict=True))
    desk.memory = restart.resume(desk.topology, book, round(desk.now_s * 1000))
    desk.targets(9, 600)
    assert desk.closed == [1]
    assert desk.under_load == 0


def test_without_a_book_a_car_that_draws_on_one_phase_stays_on_it():
    desk = Switching()
    desk.targets(9, 600)
    desk.memory = restart.resume(desk.topology, None, round(desk.now_s * 1000))
    desk.surplus_a = 9
    desk.cycle(60)
    assert desk.under_load == 0
