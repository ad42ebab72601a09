"""A box that tells only the power of all its phases: obedience, proof and room from that alone."""

import pytest

from controller.decision import Alarm
from controller.defaults import UNKNOWN
from tests.controller.desk import Desk, drawn


class Telling(Desk):
    """Cars on some phases; their boxes tell the total, the guard sees each phase."""

    def __init__(self, phases, *, most_a=32.0, deaf=False, **kwargs):
        super().__init__(drawn(outlets=[{"sample_interval_s": 10}]), **kwargs)
        self.car, self.most_a, self.deaf, self.held_a = phases, most_a, deaf, 0.0
        self.other_a = 20.0
        self.load_a["main"] = self.other_a
        self.cycle(3)
        self.plug(0)

    def charge(self, seconds):
        for _ in range(seconds):
            wanted = min(self.most_a, int(self.memory.connectors["target_ma"][0]) / 1000)
            self.held_a = max(self.held_a, wanted) if self.deaf else wanted
            row = self.image.connectors[0]
            row["reading_at_ms"] = round(self.now_s * 1000)
            row["current_ma"] = UNKNOWN
            row["total_ma"] = round(self.held_a * 1000) * self.car
            amps = [self.other_a + self.held_a * (p < self.car) for p in range(3)]
            self.load_a["main"] = (amps[0], amps[1], amps[2])
            self.cycle()

    def wish(self, amps):
        self.image.connectors["wish_ma"] = round(amps * 1000)


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("phases", [1, 2, 3])
@pytest.mark.parametrize("most_a", [16.0, 32.0])
def test_an_obedient_car_on_any_number_of_phases_is_never_called_a_liar(phases, proven, most_a):
    desk = Telling(phases, proven=proven, most_a=most_a)
    desk.charge(120)
    for amps in (10, 20, 6, 16, 0, 8):
        desk.wish(amps)
        desk.charge(60)
        assert desk.alarm(0) == Alarm.NONE
        assert desk.committed_a(0) <= amps
    assert min(desk.estimate_a()) >= desk.other_a - 8.5  # L2 and L3 may lack what is booked on them


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_a_car_that_stays_where_it_was_is_found_out(phases):
    desk = Telling(phases, deaf=True, most_a=16.0)
    desk.charge(60)
    desk.wish(6)
    desk.charge(60)
    assert Alarm.NOT_OBEYING in desk.alarm(0)
    assert desk.committed_a(0) == 32


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_the_book_covers_every_phase_whatever_the_total_is_spread_on(phases):
    desk = Telling(phases, most_a=16.0)
    for _ in range(90):
        desk.charge(1)
        limits = zip(desk.estimate_a(), desk.load_a["main"], strict=True)
        for estimate, flowing in limits:
            assert estimate + desk.committed_a(0) >= flowing - 1e-6
        assert max(desk.estimate_a()) + desk.committed_a(0) >= desk.other_a + desk.committed_a(0)


def test_total_power_never_teaches_on_which_phases_a_car_is():
    desk = Telling(3)
    desk.charge(120)
    assert desk.memory.connectors["known"][0] == 0
