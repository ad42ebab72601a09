"""DC: rated in watts at the car, a curve of its own, losses on the way in, a battery that is cold."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.site import SiteError, build
from controller.topology import compile_site
from tests.twin.small_site import START, stay, uncontrolled
from twin import vehicles
from twin.conditions import Conditions
from twin.drivers import Crowd, come
from twin.fleet import EFFICIENCY, read_fleet
from twin.habits import read_habits
from twin.sessions import Car
from twin.world import World

V = 230
ZONE = ZoneInfo("Europe/Amsterdam")
CURVE = ((0.0, 4_000.0), (20_000.0, 40_000.0), (60_000.0, 60_000.0))
"""Wh still to come at the plug and W: 60 kW down to 40 and to 4."""
FAST = Car(3, 16_000, dc_curve=CURVE, up_ms=2_000, down_ms=1_000)


def hub(efficiency=0.9, max_power_w=50_000.0):
    """A DC outlet beside one of AC."""
    direct = {"number": 1, "kind": "dc", "max_power_w": max_power_w, "efficiency": efficiency}
    boxes = (direct, {"number": 1, "max_current_a": 32})
    return build(
        {
            "name": "hub",
            "timezone": "Europe/Amsterdam",
            "grid": {"main": {"id": 0, "max_current_a": 250, "worst_load_a": 10}},
            "meter": {"guard": {"grid": "main", "role": "guard"}},
            "chargepoint": {
                f"bay_{n}": {"identity": f"B{n}", "fed_by": "main", "lease_s": 300, "connector": [box]}
                for n, box in enumerate(boxes)
            },
        },
        "hub",
    )


def charging(car=FAST, need_wh=30_000.0, *, limit_ma=500_000, site=None, session=None, **conditions):
    """A world in which this car charges at the DC outlet from the tenth second on."""
    site = site or hub()
    session = session or stay(0, car, energy_wh=need_wh, end_s=86_000)
    made = World(site, compile_site(site), Conditions(**conditions), (session,), 1, START)
    uncontrolled(made, limit_ma)
    return made


def test_the_power_at_the_car_is_the_least_of_outlet_and_battery_and_the_feed_carries_the_losses():
    for need_wh, power_w in ((70_000, 50_000), (20_000, 40_000), (10_000, 22_000)):
        made = charging(need_wh=need_wh + 1.0)
        made.advance(12_001)
        made.outlets["follow_ma"] = made.outlets["goal_ma"]  # the climb is over
        made.touch()
        made.advance(12_002)
        drawn = made.outlets["draw_ma"][0]
        assert len(set(drawn.tolist())) == 1  # the three phases alike
        assert float(drawn.sum()) * V / 1000 == pytest.approx(power_w / 0.9, rel=2e-3)
        assert made.boards["current_ma"][0].tolist() == drawn.tolist()


def test_a_limit_in_watts_is_that_at_the_car():
    limit_ma = round(20_000 / 0.9 / 3 / V * 1000)
    made = charging(limit_ma=limit_ma, need_wh=60_000)
    made.advance(110_000)
    before = float(made.outlets["energy_wh"][0])
    made.advance(110_000 + 360_000)
    assert float(made.outlets["energy_wh"][0]) - before == pytest.approx(2_000, rel=1e-4)


def test_a_bad_power_factor_on_the_feed_takes_more_current_for_the_same_power():
    limit_ma = round(20_000 / 0.9 / 3 / V * 1000)
    good, bad = (charging(limit_ma=limit_ma, need_wh=60_000, dc_power_factor=f) for f in (1.0, 0.9))
    for made in (good, bad):
        made.advance(470_000)
    assert float(bad.outlets["energy_wh"][0]) == pytest.approx(float(good.outlets["energy_wh"][0]), rel=2e-3)
    assert int(bad.outlets["draw_ma"][0, 0]) == pytest.approx(limit_ma / 0.9, abs=2)


@pytest.mark.parametrize("step_s", [7, 60, 300])
def test_what_a_battery_takes_does_not_depend_on_the_step(step_s):
    once, often = charging(), charging()
    until_ms = 4_200_000
    for now_ms in range(0, until_ms + 1, step_s * 1000):
        often.advance(now_ms)
    for now_ms in range(0, until_ms + 1, 1_000):
        once.advance(now_ms)
    assert float(once.outlets["energy_wh"][0]) > 25_000
    assert float(often.outlets["energy_wh"][0]) == pytest.approx(
        float(once.outlets["energy_wh"][0]), rel=1e-6
    )


def test_the_time_to_full_is_that_of_the_curve_in_closed_form():
    row = vehicles.free(1)
    row["plugged"] = row["transaction"] = row["direct"] = 1
    row["pilot_ma"] = 500_000
    outlet = hub(max_power_w=100_000.0).chargepoint["bay_0"].connector[0]
    car = replace(FAST, up_ms=0, ramp_ma_s=1e9).at(outlet)
    vehicles.seat(row[0], car, 60_000.0)
    vehicles.step(row, 0, 1)
    vehicles.step(row, 1, 2)
    # dE/dt = -P(E) over two straight pieces.
    hours = sum(
        width / (high - low) * np.log(high / low)
        for width, high, low in ((40_000, 60_000, 40_000), (20_000, 40_000, 4_000))
    )
    almost_ms = round(hours * 3_600_000 * 0.999)
    vehicles.step(row, 2, almost_ms)
    assert 0 < float(row["need_wh"][0]) < 100
    vehicles.step(row, almost_ms, round(hours * 3_600_000 * 1.001))
    assert float(row["need_wh"][0]) == 0
    assert float(row["energy_wh"][0]) == pytest.approx(60_000, abs=1e-3)


def test_energy_and_state_of_charge_are_one_and_neither_ever_falls():
    made = charging(need_wh=45_000)
    model_wh = 100_000.0
    soc = before = 1 - 45_000 / model_wh
    for now_s in range(0, 7_200, 40):
        made.advance(now_s * 1000)
        energy, need = float(made.outlets["energy_wh"][0]), float(made.outlets["need_wh"][0])
        soc = 1 - need / model_wh if made.outlets["plugged"][0] else before
        assert soc == pytest.approx(1 - 45_000 / model_wh + energy / model_wh, abs=1e-9)
        assert soc >= before
        before = soc
    assert soc == pytest.approx(1, abs=1e-9)


def test_a_cold_battery_takes_its_share_on_dc_until_it_is_warm():
    session = replace(stay(0, FAST, energy_wh=60_000.0, end_s=86_000), cold=0.9, cold_dc=0.25)
    made = charging(session=session)
    made.advance(100_000)
    cold_w = float(made.outlets["draw_ma"][0].sum()) * V * 0.9 / 1000
    assert cold_w == pytest.approx(0.25 * 60_000, rel=0.02)
    made.advance(1_810_000 + 60_000)
    assert float(made.outlets["draw_ma"][0].sum()) * V * 0.9 / 1000 == pytest.approx(50_000, rel=0.05)


def test_a_vehicle_without_dc_takes_none_and_its_driver_goes_elsewhere():
    made = charging(car=Car(1, 16_000, dc_curve=()))
    made.advance(600_000)
    assert made.outlets["draw_ma"][0].tolist() == [0, 0, 0]
    hybrids = read_fleet().only({"hybrid"})
    habit = read_habits()["visitor"].model_copy(update={"vehicles": ("hybrid",)})
    crowd = Crowd({"visitor": 30}, [72_000, 96_000], {"visitor": habit}, hybrids, direct=frozenset({0}))
    found = come(crowd, START, 3 * 86_400_000, ZONE, 1)
    assert {visit.bays for visit in found} == {(1,)}
    nowhere = Crowd({"visitor": 30}, [72_000], {"visitor": habit}, hybrids, direct=frozenset({0}))
    assert come(nowhere, START, 3 * 86_400_000, ZONE, 1) == ()


HEADER = "model,registrations,battery_kwh,ac_1_a,ac_3_a"
GOOD = "Good,10,45,16,16"


def fleet(tmp_path, columns, cells):
    path = tmp_path / "fleet.csv"
    path.write_text(f"{HEADER},{columns}\n{GOOD},{cells}\n", encoding="utf-8")
    return read_fleet(path)


def test_a_curve_on_dc_comes_from_the_fleet_file(tmp_path):
    model = fleet(tmp_path, "dc_kw,dc_at_50,dc_at_80,dc_at_100,dc_cold_percent", "100,90,40,5,30").model(0.5)
    whole_wh = 45_000 / EFFICIENCY
    assert np.array(model.dc_curve) == pytest.approx(
        np.array([(0, 5_000), (0.2 * whole_wh, 40_000), (0.5 * whole_wh, 90_000)])
    )
    assert model.accepts(-10) == (1.0, pytest.approx(0.3))
    assert fleet(tmp_path, "dc_kw", "0").model(0.5).dc_curve == ()
    assert fleet(tmp_path, "min_a", "6").model(0.5).dc_curve is None
    only_power = fleet(tmp_path, "dc_kw", "50").model(0.5)
    assert only_power.dc_curve[-1][1] == 50_000


@pytest.mark.parametrize(
    ("columns", "cells", "said"),
    [
        (
            "dc_kw,dc_at_50,dc_at_80,dc_at_100",
            "100,40,80,5",
            "row 2, column dc_at_50: 40 % is below the 80 %",
        ),
        ("dc_kw,dc_at_80", "100,80", "row 2, column dc_at_100: is empty; give the percent"),
        ("dc_kw", "-50", "row 2, column dc_kw: -50 is not possible; give 0 to 2000."),
        ("dc_at_80", "100", 'row 1: there is no column "dc_kw" for the curve on DC; add it.'),
    ],
)
def test_a_curve_on_dc_that_cannot_be_is_refused_with_its_column(tmp_path, columns, cells, said):
    with pytest.raises(SiteError) as refused:
        fleet(tmp_path, columns, cells)
    assert len(refused.value.lines) == 1
    assert said in refused.value.lines[0]


def test_every_shipped_model_says_what_it_takes_on_dc():
    models = read_fleet().models
    assert all(model.dc_curve is not None for model in models)
    assert {model.vehicle for model in models if not model.charges_at(direct=True)} == {"hybrid"}
    assert all(10_000 <= model.dc_curve[-1][1] <= 350_000 for model in models if model.dc_curve)
