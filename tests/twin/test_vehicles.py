"""What cars draw under their pilots."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from controller.image import Status
from controller.topology import compile_site
from tests.twin.busy_site import busy_sessions, busy_site
from tests.twin.small_site import START, STRONG, site, stay, uncontrolled, world
from twin.conditions import Conditions
from twin.sessions import Car
from twin.world import World


def metered_wh(step_ms, until_ms=86_400_000):
    """What 40 sessions of a day take without any control when the world is looked at this often."""
    site = busy_site(20, fuse_a=2_000)
    made = World(site, compile_site(site), Conditions(), busy_sessions(20, 5), 5, START)
    uncontrolled(made)
    for now_ms in range(0, until_ms + 1, step_ms):
        made.advance(now_ms)
    return np.array([stay.delivered_wh for stay in made.stays])


def test_uncontrolled_physics_do_not_depend_on_the_step():
    per_second = metered_wh(1_000)
    assert len(per_second) == 40
    assert per_second.min() > 100
    for step_ms in (10_000, 60_000, 300_000):
        assert metered_wh(step_ms) == pytest.approx(per_second, rel=1e-6)


def test_a_car_follows_a_lower_limit_after_its_reaction_time_and_not_before():
    made = world(stay(car=Car(3, 32_000, down_ms=3_000, up_ms=5_000, ramp_ma_s=4_000)))
    uncontrolled(made)
    made.advance(60_000)
    assert made.outlets["draw_ma"][0].tolist() == [32_000] * 3
    made.set_pilot(0, 10_000)
    made.advance(62_999)
    assert made.outlets["draw_ma"][0].tolist() == [32_000] * 3
    made.advance(63_000)
    assert made.outlets["draw_ma"][0].tolist() == [10_000] * 3


def test_a_second_lowering_does_not_postpone_the_first():
    made = world(stay(car=Car(3, 32_000, down_ms=4_000)))
    uncontrolled(made)
    made.advance(60_000)
    made.set_pilot(0, 16_000)
    made.advance(63_000)
    made.set_pilot(0, 8_000)
    made.advance(64_000)
    assert made.outlets["draw_ma"][0].max() <= 16_000
    made.advance(67_000)
    assert made.outlets["draw_ma"][0].max() == 8_000


def test_a_car_waits_before_it_climbs_and_climbs_at_its_own_rate():
    made = world(stay(car=Car(3, 32_000, up_ms=5_000, ramp_ma_s=4_000)))
    uncontrolled(made, 10_000)
    made.advance(60_000)
    made.set_pilot(0, 30_000)
    made.advance(65_000)
    assert made.outlets["draw_ma"][0, 0] == pytest.approx(10_000, abs=2)
    made.advance(67_000)
    assert made.outlets["draw_ma"][0, 0] == pytest.approx(18_000, abs=5)
    made.advance(70_000)
    assert made.outlets["draw_ma"][0, 0] == 30_000


@pytest.mark.parametrize(
    ("limit_ma", "status"), [(5_900, Status.SUSPENDED_EVSE), (7_000, Status.SUSPENDED_EV)]
)
def test_below_its_minimum_a_car_does_not_charge(limit_ma, status):
    made = world(stay(car=Car(1, 32_000, min_ma=8_000)))
    uncontrolled(made, limit_ma)
    made.advance(600_000)
    assert made.outlets["draw_ma"][0].tolist() == [0, 0, 0]
    assert made.outlets["status"][0] == status
    assert made.outlets["energy_wh"][0] == 0


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_a_car_loads_its_own_phases_behind_the_rotation_of_its_board(phases):
    made = world(stay(1, Car(phases, 16_000)))
    uncontrolled(made)
    made.advance(60_000)
    assert made.outlets["draw_ma"][1].tolist() == [16_000] * phases + [0] * (3 - phases)
    expected = [0, 0, 0]
    for own in range(phases):
        expected[(own + 1) % 3] = 16_000  # the board hangs on L2 L3 L1
    assert made.boards["current_ma"][0].tolist() == expected


def test_a_battery_tapers_and_takes_what_it_asked_for_to_the_watt_hour():
    made = world(stay(energy_wh=10_000.0, car=Car(3, 16_000, taper_wh=4_000.0), end_s=7200))
    heard = uncontrolled(made)
    currents = []
    for now_s in range(60, 7200, 60):
        made.advance(now_s * 1000)
        currents.append(int(made.outlets["draw_ma"][0, 0]))
    tapering = [current for current in currents if 0 < current < 16_000]
    assert tapering == sorted(tapering, reverse=True)
    assert len(tapering) > 10
    assert made.outlets["energy_wh"][0] == pytest.approx(10_000, abs=0.01)
    full = next(
        event
        for event in heard
        if getattr(event, "status", None) == Status.SUSPENDED_EV and event.at_ms > 1e6
    )
    # At full current until 4 kWh are left, then dE/dt = -P (0.1 + 0.9 E / 4 kWh).
    power_w = 3 * 230 * 16
    hours = 6_000 / power_w + math.log(1 / 0.1) * 4_000 / (0.9 * power_w)
    assert full.at_ms / 1000 == pytest.approx(10 + 5 + hours * 3600, abs=5)


def test_a_pause_that_is_not_reported_leaves_the_status_as_it_was():
    made = world(
        stay(end_s=3000),
        conditions=Conditions.model_validate({"pauses": {"share": 1.0, "every_s": 100, "for_s": 20}}),
    )
    heard = uncontrolled(made)
    seen = set()
    for now_s in range(30, 900):
        made.advance(now_s * 1000)
        seen.add((int(made.outlets["draw_ma"][0, 0]) > 0, int(made.outlets["paused"][0])))
    assert (False, 1) in seen
    assert (True, 0) in seen
    assert Status.SUSPENDED_EVSE not in [event.status for event in heard if hasattr(event, "status")][3:]
    assert [e.status for e in heard if hasattr(e, "status")].count(Status.CHARGING) == 1


INTERPRETED = """
import json, sys
from tests.twin.small_site import *
from twin.sessions import Car
made = world(stay(0, Car(3, 32_000, taper_wh=3_000.0), energy_wh=6_000.0), stay(1, Car(1, 16_000)))
uncontrolled(made)
found = []
for now_s in range(0, 1200, 30):
    made.advance(now_s * 1000)
    if now_s == 300:
        made.set_pilot(1, 8_000, 500_000, 6_000)
    found.append([made.outlets["draw_ma"].tolist(), made.boards["current_ma"].tolist(),
                  made.outlets["status"].tolist(), made.outlets["energy_wh"].round(6).tolist()])
print(json.dumps(found))
"""


def test_compiled_and_interpreted_physics_agree():
    outputs = []
    for disabled in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", INTERPRETED],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]


def test_a_strong_car_is_held_to_its_outlet():
    made = world(stay(car=Car(3, 80_000)))
    uncontrolled(made, 80_000)
    made.advance(120_000)
    assert made.outlets["draw_ma"][0].max() == 32_000
    assert STRONG.max_ma == 32_000


def switching(**words):
    """A world whose first box can charge on one phase after a minute at 0 A."""
    built = site()
    outlet = built.chargepoint["one"].connector[0].model_copy(update={"phase_switch_s": 60.0})
    box = built.chargepoint["one"].model_copy(update={"connector": (outlet,)})
    built = built.model_copy(update={"chargepoint": built.chargepoint | {"one": box}})
    made = world(stay(), built=built, **words)
    uncontrolled(made)
    made.advance(30_000)
    return made


def told(made, limit_ma, phases, until_s):
    made.set_pilot(0, limit_ma, phases=phases)
    made.advance(until_s * 1000)
    return made.outlets[0]


def test_a_box_told_to_charge_on_one_phase_does_so_and_its_car_takes_a_third():
    made = switching()
    outlet = told(made, 16_000, 3, 60)
    assert outlet["draw_ma"].tolist() == [16_000] * 3
    told(made, 0, 3, 130)
    outlet = told(made, 16_000, 1, 200)
    assert outlet["draw_ma"].tolist() == [16_000, 0, 0]
    assert outlet["hot_changes"] == 0
    before_wh = float(outlet["energy_wh"])
    made.advance(560_000)
    assert float(outlet["energy_wh"]) - before_wh == pytest.approx(16 * 230 / 10, rel=0.01)


TOO_EARLY = {"while it charges": None, "before its pause is over": 30}


@pytest.mark.parametrize("when", TOO_EARLY)
def test_a_change_of_phases_is_counted_as_hot(when):
    made = switching()
    told(made, 16_000, 3, 60)
    if TOO_EARLY[when]:
        told(made, 0, 3, 60 + TOO_EARLY[when])
    assert told(made, 16_000, 1, 120)["hot_changes"] == 1


def test_a_contactor_that_sticks_stays_on_three_phases():
    made = switching(fault=[{"kind": "contactor_sticks", "chargepoint": "one", "at_s": 0}])
    told(made, 0, 3, 100)
    assert told(made, 16_000, 1, 200)["draw_ma"].tolist() == [16_000] * 3


def test_a_new_transaction_begins_on_all_phases():
    made = switching()
    told(made, 0, 3, 100)
    assert told(made, 16_000, 1, 200)["draw_ma"].tolist() == [16_000, 0, 0]
    made.stop_transaction(0, "Local")
    made.start_transaction(0)
    assert told(made, 16_000, 0, 260)["draw_ma"].tolist() == [16_000] * 3


def test_a_box_that_cannot_choose_does_not_hear_of_phases():
    made = world(stay())
    uncontrolled(made)
    made.advance(30_000)
    assert told(made, 16_000, 1, 60)["draw_ma"].tolist() == [16_000] * 3
