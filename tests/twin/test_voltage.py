"""Voltage that cars feel: amperes stay, watts go down with it; watts stay, amperes go up."""

import numpy as np
import pytest

from controller.electrical import NOMINAL_VOLTAGE_V
from tests.twin.small_site import stay, uncontrolled, world
from twin.network import TURN, solve, wires
from twin.sessions import Car

POWERFUL = Car(3, 32_000, curve=((0.0, 1_000.0), (10_000.0, 11_040.0)), up_ms=1_000)
"""A charger of 11 kW that could draw 32 A."""
CABLES = {"upper": {"r_ohm": 0.1}, "turned": {"r_ohm": 0.08, "x_ohm": 0.02}}


def charging(*sessions, limit_ma=32_000, **conditions):
    made = world(*(sessions or (stay(0, POWERFUL),)), **conditions)
    uncontrolled(made, limit_ma)
    return made


def drawn_w(made, seconds=3_600):
    """Mean power by the register of the first outlet from the hundredth second on."""
    made.advance(100_000)
    before = float(made.outlets["energy_wh"][0])
    made.advance(100_000 + seconds * 1000)
    return (float(made.outlets["energy_wh"][0]) - before) * 3600 / seconds


@pytest.mark.parametrize(
    ("supply_v", "limit_a", "current_a", "power_w"),
    [
        (230, 10, 10, 6_900),
        (207, 10, 10, 6_210),  # held by its current: the power goes
        (253, 10, 10, 7_590),
        (230, 32, 16, 11_040),
        (207, 32, 11_040 / 3 / 207, 11_040),  # held by its power: the current comes
        (253, 32, 11_040 / 3 / 253, 11_040),
    ],
)
def test_the_power_of_a_car_is_voltage_times_current_times_phases(supply_v, limit_a, current_a, power_w):
    made = charging(supply_v=supply_v, voltage="real", limit_ma=limit_a * 1000)
    assert drawn_w(made, 300) == pytest.approx(power_w, rel=1e-3)
    assert made.outlets["draw_ma"][0].tolist() == [round(current_a * 1000)] * 3


def test_unless_it_is_asked_for_power_counts_at_230_v_whatever_the_supply_is():
    told, silent = charging(supply_v=207, cable=CABLES), charging()
    assert drawn_w(told, 300) == drawn_w(silent, 300)


def test_a_car_feels_the_drop_over_the_cable_that_it_makes_itself():
    made = charging(cable={"upper": {"r_ohm": 0.5}}, voltage="real", limit_ma=20_000)
    made.advance(100_000)
    volts = NOMINAL_VOLTAGE_V / float(made.outlets["lift"][0])
    power_w = 3 * volts * int(made.outlets["draw_ma"][0, 0]) / 1000
    # Held by its power: V = 230 - 0.5 I and 3 V I = 11040, the root with the higher voltage.
    current = (230 - np.sqrt(230**2 - 4 * 0.5 * 11_040 / 3)) / (2 * 0.5)
    assert power_w == pytest.approx(11_040, rel=1e-4)
    assert int(made.outlets["draw_ma"][0, 0]) / 1000 == pytest.approx(current, rel=1e-3)
    assert volts == pytest.approx(230 - 0.5 * current, rel=1e-4)


def test_one_phase_feels_its_own_and_the_neutral():
    made = charging(stay(0, Car(1, 32_000)), cable={"upper": {"r_ohm": 0.1}}, voltage="real")
    made.advance(100_000)
    drawn_a = int(made.outlets["draw_ma"][0, 0]) / 1000
    assert NOMINAL_VOLTAGE_V / float(made.outlets["lift"][0]) == pytest.approx(
        230 - 2 * 0.1 * drawn_a, rel=1e-4
    )


def test_what_the_site_takes_is_what_cars_get_and_wires_lose_at_every_instant():
    made = charging(
        stay(0, POWERFUL), stay(1, Car(1, 32_000), begin_s=200), cable=CABLES, voltage="real", supply_v=225
    )
    table = wires(made.built, made.conditions)
    for now_s in range(10, 3_000, 37):
        made.advance(now_s * 1000)
        taken_w = solve(table, made.boards, made.built.grids, made.built.leaves_first, 225.0)
        cars_w = 0.0
        for c, built in enumerate(made.built.connectors):
            board = table[built["path"][0]]
            for own, p in enumerate(built["phase"].tolist()):
                volts = (board["voltage_v"][p] * TURN[p].conjugate()).real
                cars_w += volts * int(made.outlets["draw_ma"][c, own]) / 1000
            # P = V x I x phases by the register's own voltage
            volts = NOMINAL_VOLTAGE_V / float(made.outlets["lift"][c])
            phases = int(made.outlets["car_phases"][c])
            each = [
                (board["voltage_v"][p] * TURN[p].conjugate()).real for p in built["phase"][:phases].tolist()
            ]
            assert volts == pytest.approx(float(np.mean(each)), abs=1e-3)
        assert taken_w == pytest.approx(cars_w + float(table["loss_w"].sum()), abs=1e-6)


@pytest.mark.parametrize("step_s", [10, 60, 300])
def test_with_voltage_too_the_energy_does_not_depend_on_the_step(step_s):
    def metered(step_s):
        made = charging(
            stay(0, POWERFUL, energy_wh=8_000.0),
            stay(1, Car(1, 32_000), begin_s=200),
            cable=CABLES,
            voltage="real",
        )
        for now_ms in range(0, 3_600_001, step_s * 1000):
            made.advance(now_ms)
        return np.array([stay.delivered_wh for stay in made.stays])

    per_second = metered(1)
    assert per_second.min() > 5_000
    assert metered(step_s) == pytest.approx(per_second, rel=1e-4)
