"""The fleet: a table of registrations, and what is wrong with one."""

import numpy as np
import pytest

from controller.site import SiteError
from twin.fleet import read_fleet

HEADER = "model,registrations,battery_kwh,ac_1_a,ac_2_a,ac_3_a"
GOOD = "City car,10,40,32,0,0"


def fleet(tmp_path, *lines):
    path = tmp_path / "fleet.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_fleet(path)


def test_the_whole_fleet_has_the_shares_of_the_table_whoever_needs_what():
    shipped = read_fleet().only({"car", "hybrid"})
    drawn = [shipped.model(rank) for rank in np.linspace(0, 1, 20_001)]
    total = sum(model.registrations for model in shipped.models)
    for model in shipped.models:
        assert drawn.count(model) / len(drawn) == pytest.approx(model.registrations / total, abs=1e-3)
    assert drawn[0].battery_wh < drawn[10_000].battery_wh < drawn[-1].battery_wh


def test_phases_and_currents_of_the_shipped_fleet_are_those_of_dutch_registrations():
    models = read_fleet().only({"car", "hybrid"}).models
    total = sum(model.registrations for model in models)

    def share(phases, most_ma):
        found = [m.registrations for m in models if (m.phases, m.max_ma[m.phases - 1]) == (phases, most_ma)]
        return sum(found) / total

    assert share(3, 16_000) == pytest.approx(0.506, abs=0.02)
    assert share(1, 16_000) == pytest.approx(0.411, abs=0.02)
    assert share(3, 32_000) == pytest.approx(0.038, abs=0.02)


def test_a_car_of_a_model_has_its_currents_and_reactions_within_the_ranges():
    model = read_fleet().model(0.9)
    cars = [model.car(np.random.default_rng(n)) for n in range(200)]
    assert {(car.phases, car.max_ma) for car in cars} == {(model.phases, model.max_ma[model.phases - 1])}
    assert all(500 <= car.down_ms <= 5_000 and 2_000 <= car.up_ms <= 20_000 for car in cars)
    assert all(car.up_ms / 1000 + car.max_ma / car.ramp_ma_s <= 30 for car in cars)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("Bad,10,-40,16,16,16", "row 3, column battery_kwh: -40 is not possible; give 1 to 2000."),
        ("Bad,-1,40,16,16,16", "row 3, column registrations: -1 is not possible; give 0 to 1e+09."),
        ("Bad,10,lots,16,16,16", 'row 3, column battery_kwh: "lots" is no number; give 1 to 2000.'),
        ("Bad,10,,16,16,16", 'row 3, column battery_kwh: "" is no number; give 1 to 2000.'),
        ("Bad,10,40,4,0,0", "row 3, column ac_1_a: 4 A is below 6 A; give 6 to 80, or 0 for never."),
        (
            "Bad,10,40,0,0,0",
            "row 3, column ac_1_a: the vehicle charges on no number of phases; give 6 to 80 A.",
        ),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_file_row_column_and_remedy(tmp_path, row, said):
    with pytest.raises(SiteError) as refused:
        fleet(tmp_path, HEADER, GOOD, row)
    assert refused.value.lines == [f"{tmp_path / 'fleet.csv'}: {said}"]


CURVED = f"{HEADER},ac_at_50,ac_at_80,ac_at_100"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "Bad,10,40,16,16,16,50,80,5",
            "row 3, column ac_at_50: 50 % is below the 80 % of ac_at_80;",
        ),
        (
            "Bad,10,40,16,16,16,100,80,90",
            "row 3, column ac_at_80: 80 % is below the 90 % of ac_at_100;",
        ),
        ("Bad,10,40,16,16,16,100,-80,5", "row 3, column ac_at_80: -80 is not possible; give 1 to 100."),
        ("Bad,10,40,16,16,16,100,80,0", "row 3, column ac_at_100: 0 is not possible; give 1 to 100."),
        (
            "Bad,10,40,16,16,16,100,80,",
            "row 3, column ac_at_100: is empty; give the percent with which the charge ends, like 5.",
        ),
    ],
)
def test_a_curve_that_goes_up_and_down_is_refused_with_its_column(tmp_path, row, said):
    with pytest.raises(SiteError) as refused:
        fleet(tmp_path, CURVED, f"{GOOD},100,80,5", row)
    if said.endswith(";"):
        said += " the power must not rise as the battery fills."
    assert refused.value.lines == [f"{tmp_path / 'fleet.csv'}: {said}"]


def test_a_curve_of_the_file_is_that_of_the_car_at_the_plug(tmp_path):
    model = fleet(tmp_path, CURVED, "Good,10,45,16,0,16,100,80,5").model(0.5)
    expected = np.array([(0, 552), (10_000, 8_832), (25_000, 11_040)])
    assert np.array(model.ac_curve) == pytest.approx(expected)
    amps = np.array(model.car(np.random.default_rng(1)).takes())
    assert amps == pytest.approx(np.array([(0, 800), (10_000, 12_800), (25_000, 16_000)]))


def test_a_battery_that_stood_in_the_cold_takes_less(tmp_path):
    model = fleet(tmp_path, f"{HEADER},cold_percent", "Good,10,45,16,0,16,40").model(0.5)
    shares = [model.accepts(outside_c)[0] for outside_c in (None, 20, 10, 0, -10, -30)]
    assert shares == pytest.approx([1, 1, 1, 0.7, 0.4, 0.4])


def test_a_column_that_is_not_known_is_told(tmp_path):
    with pytest.raises(SiteError, match='column "min_A": is not known; did you mean "min_a"'):
        fleet(tmp_path, f"{HEADER},min_A", f"{GOOD},8")
    many = ",".join(f"ac_at_{soc}" for soc in range(10, 100, 10))
    with pytest.raises(SiteError, match="row 1: a curve has at most 7 columns"):
        fleet(tmp_path, f"{HEADER},{many}", GOOD)


def test_a_file_without_models_columns_or_text_is_refused(tmp_path):
    with pytest.raises(SiteError, match="has no models; it needs a header line and at least one row"):
        fleet(tmp_path, HEADER)
    with pytest.raises(SiteError, match='row 1: there is no column "battery_kwh"; rename column "battery"'):
        fleet(tmp_path, "model,registrations,battery,ac_1_a", GOOD)
    with pytest.raises(SiteError, match="row 2, column registrations: all are 0"):
        fleet(tmp_path, HEADER, "City car,0,40,32,0,0")
    with pytest.raises(SiteError, match="cannot be read"):
        read_fleet(tmp_path / "none.csv")
