"""What batteries take: curves in straight pieces, power factor, phases, cold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.image import Status
from tests.twin.small_site import stay, uncontrolled, world
from twin import curves, vehicles
from twin.sessions import Car

V = 230
BENT = ((0.0, 300.0), (1_000.0, 2_000.0), (3_000.0, 6_000.0), (5_000.0, 6_000.0), (9_000.0, 11_000.0))
"""Wh still to come and W: falling, flat, falling."""


def seated(car, need_wh, pilot_ma=32_000):
    """The row of a car that is asked to draw from the first second on."""
    row = vehicles.free(1)
    row["plugged"] = row["transaction"] = 1
    row["pilot_ma"] = pilot_ma
    vehicles.seat(row[0], car, need_wh)
    return row


def marched(car, need_wh, hours, step_s=1.0):
    """Energy by small steps of Euler's rule, the current climbing as the car does."""
    factor = V * car.phases * car.power_factor / 1000.0 / 3600.0
    took = follow = 0.0
    points = car.takes()
    for second in np.arange(0, hours * 3600, step_s):
        if second * 1000 >= car.up_ms:
            follow = min(follow + car.ramp_ma_s * step_s, 32_000, car.max_ma)
        left = need_wh - took
        ceiling = np.interp(left, [wh for wh, _ in points], [ma for _, ma in points])
        took += min(follow, ceiling, left / factor / step_s) * factor * step_s
    return took


@pytest.mark.parametrize("need_wh", [800.0, 2_500.0, 4_000.0, 12_000.0])
@pytest.mark.parametrize("hours", [0.05, 0.3, 1.0, 3.0])
def test_a_battery_takes_along_its_curve_what_small_steps_give(need_wh, hours):
    car = Car(3, 16_000, curve=BENT, up_ms=2_000, ramp_ma_s=1_000)
    row = seated(car, need_wh)
    vehicles.step(row, 0, round(hours * 3_600_000))
    assert float(row["energy_wh"][0]) == pytest.approx(marched(car, need_wh, hours), rel=3e-3, abs=2)


@settings(max_examples=60, deadline=None)
@given(
    watts=st.lists(st.floats(200, 25_000), min_size=2, max_size=6),
    widths=st.lists(st.floats(50, 20_000), min_size=6, max_size=6),
    need_wh=st.floats(10, 60_000),
    ramp_ma_s=st.floats(100, 8_000),
    cuts=st.lists(st.integers(1, 14_399_999), max_size=30),
)
def test_on_any_curve_the_energy_does_not_depend_on_how_often_anybody_looks(
    watts, widths, need_wh, ramp_ma_s, cuts
):
    lefts = [0.0, *np.cumsum(widths)[: len(watts) - 1]]
    car = Car(3, 16_000, curve=tuple(zip(lefts, sorted(watts), strict=True)), ramp_ma_s=ramp_ma_s)
    once, often = seated(car, need_wh), seated(car, need_wh)
    vehicles.step(once, 0, 14_400_000)
    before, energy, need = 0, 0.0, need_wh
    for until in [*sorted(set(cuts)), 14_400_000]:
        vehicles.step(often, before, until)
        assert float(often["energy_wh"][0]) >= energy - 1e-9  # monotone
        assert float(often["need_wh"][0]) <= need + 1e-9  # never emptier while it charges
        before, energy, need = until, float(often["energy_wh"][0]), float(often["need_wh"][0])
    assert energy + need == pytest.approx(need_wh, abs=1e-3)
    assert energy == pytest.approx(float(once["energy_wh"][0]), rel=1e-6, abs=1e-3)


def test_the_draw_of_an_instant_is_the_least_of_pilot_charger_and_battery():
    car = Car(3, 16_000, curve=BENT, up_ms=0, ramp_ma_s=50_000)
    for need_wh, pilot_ma, drawn_w in (
        (50_000, 32_000, 11_000),
        (50_000, 10_000, V * 3 * 10),
        (4_000, 32_000, 6_000),
        (2_000, 32_000, 4_000),
    ):
        row = seated(car, need_wh, pilot_ma)
        vehicles.step(row, 0, 1_000)
        vehicles.step(row, 1_000, 1_001)
        assert float(row["draw_ma"][0].sum()) * V / 1000 == pytest.approx(drawn_w, rel=2e-3)


def test_a_full_car_says_so_at_the_instant_its_curve_ends():
    made = world(stay(0, Car(3, 16_000, curve=BENT), energy_wh=4_000.0, end_s=7200))
    heard = uncontrolled(made)
    for now_s in range(0, 7_001, 60):
        made.advance(now_s * 1000)
    full = [e.at_ms for e in heard if getattr(e, "status", None) == Status.SUSPENDED_EV and e.at_ms > 60_000]
    assert len(full) == 1
    hours = 1_000 / 6_000 + 2_000 / (6_000 - 2_000) * np.log(3) + 1_000 / 1_700 * np.log(2_000 / 300)
    assert full[0] / 1000 == pytest.approx(10 + 5 + hours * 3600, abs=6)
    assert made.outlets["energy_wh"][0] == pytest.approx(4_000, abs=0.01)


@pytest.mark.parametrize(
    ("phases", "most_a", "used", "max_a"),
    [(3, 32, 3, 16), (2, 32, 1, 32), (1, 32, 1, 32), (1, 20, 1, 20), (3, 10, 3, 10)],
)
def test_the_charger_in_the_car_has_a_limit_for_each_number_of_phases(phases, most_a, used, max_a):
    car = Car(3, 16_000, max_by_phases=(32_000, 0, 16_000)).on(phases, most_a * 1000)
    assert (car.phases, car.max_ma) == (used, max_a * 1000)


@pytest.mark.parametrize(("pilot_a", "factor"), [(6, 0.07), (7, 0.53), (8, 0.99), (16, 0.99)])
def test_at_low_currents_a_car_with_a_bad_power_factor_draws_amps_and_hardly_any_watts(pilot_a, factor):
    car = Car(3, 32_000, power_factor=0.99, power_factor_6a=0.07, up_ms=0, ramp_ma_s=1e6)
    row = seated(car, 50_000.0, pilot_a * 1000)
    vehicles.step(row, 0, 3_600_000)
    assert row["draw_ma"][0].tolist() == [pilot_a * 1000] * 3
    assert float(row["energy_wh"][0]) == pytest.approx(V * 3 * pilot_a * factor, rel=2e-3)


def test_a_cold_battery_takes_less_for_half_an_hour():
    car = Car(3, 16_000, curve=((0.0, 500.0), (5_000.0, 11_000.0)), up_ms=0, ramp_ma_s=50_000)
    made = world(replace(stay(0, car, end_s=7200), cold=0.4))
    uncontrolled(made)
    made.advance(1_000_000)
    assert made.outlets["draw_ma"][0, 0] == pytest.approx(0.4 * 11_000 / V / 3 * 1000, abs=2)
    made.advance(1_900_000)
    assert made.outlets["draw_ma"][0, 0] == pytest.approx(11_000 / V / 3 * 1000, abs=2)


def test_a_car_without_a_curve_tapers_from_its_last_watt_hours_to_a_tenth():
    car = Car(1, 16_000, taper_wh=4_000.0)
    row = seated(car, 1.0)[0]
    for left_wh, share in ((10_000.0, 1.0), (4_000.0, 1.0), (2_000.0, 0.55), (1e-6, 0.1)):
        assert curves.ceiling_ma(row, left_wh) == pytest.approx(share * 16_000, rel=1e-6)
    assert curves.ceiling_ma(row, 0.0) == 0
