"""Which way round a guard is mounted, as the steps of batteries and inverters tell."""

import pytest

from controller.decision import Alarm, StorageBecause
from controller.image import Source
from controller.topology import STANDBY
from tests.controller.test_export import Roof, with_inverter
from tests.controller.test_storage import Storage, with_battery


class Turned(Storage):
    """A battery behind a guard that may be mounted backwards; the other load may move each second."""

    def __init__(self, site, factor=-1.0, *, moves=(0.0,), **keys):
        super().__init__(site, **keys)
        self.factor, self.moves, self.steady_a, self.highest_a = factor, moves, 0.0, 0.0

    def cycle(self, seconds=1.0, **keys):
        for _ in range(round(seconds)):
            self.house_a = self.steady_a + self.moves[round(self.now_s) % len(self.moves)]
            super().cycle(1, **keys)
            self.highest_a = max(self.highest_a, abs(self.flow_a))
        return self.decision

    @property
    def read_a(self):
        """What the guard says."""
        return self.load_a["main"]


def turned(desk):
    """The guard shows the opposite of what flows."""
    shown = desk.topology.meters["sign"]
    shown[:] = shown * round(desk.factor)
    return desk


def house(steady_a, *, factor=-1.0, moves=(0.0,), soc=0.5, **battery):
    desk = Turned(
        with_battery({"feeds_in": True}, strategy="self_consumption", **battery), factor, moves=moves, soc=soc
    )
    desk.steady_a = steady_a
    return turned(desk)


@pytest.mark.parametrize("steady_a", [15.0, 3.0, -15.0])
@pytest.mark.parametrize("phases", [1, 3])
def test_on_a_guard_mounted_backwards_a_battery_tries_a_little_and_gives_up_with_an_alarm(steady_a, phases):
    """Load looks like surplus: the battery would charge with all it has, and see ever more of it."""
    power_w = 4_600.0 * phases
    desk = house(steady_a, phases=phases, max_charge_w=power_w, max_discharge_w=power_w)
    desk.cycle(800)
    assert desk.highest_a <= 6
    assert Alarm.METER_REVERSED in desk.grid_alarm()
    assert (desk.target, desk.why) == (0, StorageBecause.DIRECTION)


@pytest.mark.parametrize("steady_a", [15.0, -15.0])
@pytest.mark.parametrize("moves", [(0.0,), (0.0, 0.2, -0.1), (0.0,) * 30 + (2.0,) * 30])
def test_on_one_that_is_mounted_rightly_it_goes_on_after_its_first_step(steady_a, moves):
    desk = house(steady_a, factor=1.0, moves=moves)
    desk.cycle(90)
    assert desk.flow_a == pytest.approx(-steady_a, abs=2.5)
    desk.cycle(900)
    assert desk.grid_alarm() == Alarm.NONE


def test_a_building_that_changes_on_two_phases_again_and_again_convinces_nobody():
    """The battery answers each change: an older look would show half of it the wrong way round."""
    desk = house(9.0, factor=1.0)
    for n in range(40):
        desk.steady_a = 9.0
        desk.load_a["main"] = (0.0, 0.0, 0.0)
        desk.cycle(20 + n % 7)
        desk.steady_a = 3.0
        desk.cycle(20 + n % 5)
    assert desk.grid_alarm() == Alarm.NONE
    assert (desk.memory.meters["wrong_way"] < 0).all()


def test_a_battery_too_small_to_tell_stays_a_small_step():
    desk = house(15.0, max_charge_w=690.0, max_discharge_w=690.0)
    desk.cycle(400)
    assert desk.highest_a <= 1


def test_what_is_told_from_outside_needs_no_trial():
    desk = turned(Turned(with_battery(strategy="manual"), 1.0))
    desk.wants(15)
    desk.cycle(10)
    assert desk.target == 15


@pytest.mark.parametrize(("sign", "alarm"), [(-1, Alarm.METER_REVERSED), (1, Alarm.NONE)])
def test_what_a_guard_makes_of_the_orders_of_an_inverter_tells_which_way_round_it_is(sign, alarm):
    """Backwards 16 A of load and 12 A of sun look like export, and like more of it the more is curtailed."""
    desk = Roof(with_inverter({"max_export_a": 0.0}), sun_a=12)
    desk.topology.meters["sign"] = sign
    desk.house_a = sign * 30.0
    desk.cycle(20)
    desk.house_a = 16.0 if sign < 0 else 8.0
    desk.cycle(60)
    assert desk.grid_alarm() & Alarm.METER_REVERSED == alarm
    assert (desk.memory.meters["wrong_way"][0][0] < 0) == (sign == 1)


@pytest.mark.parametrize("ends", ["strategy", "stop"])
def test_a_trial_ends_when_somebody_says_so(ends):
    desk = house(15.0, factor=1.0)
    desk.memory.meters["wrong_way"] = 1
    desk.cycle(25)
    desk.image.batteries[ends] = STANDBY if ends == "strategy" else int(Source.MAINTENANCE)
    desk.cycle(6)
    assert desk.flow_a == 0
