import pytest

from dashboards import units
from dashboards.units import MINUS, THIN


@pytest.mark.parametrize(
    ("amps", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (6.0, "6.0"),
        (7.44, "7.4"),
        (9.94, "9.9"),
        (9.95, "10"),
        (61.5, "62"),
        (-3.2, f"{MINUS}3.2"),
        (-0.01, "0.0"),
    ],
)
def test_amperes_have_one_decimal_below_ten_and_none_above_and_unknown_is_a_dash(amps, text):
    assert units.number(amps) == text
    assert units.amps(amps) == f"{text}{THIN}A"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0 s"), (119, "119 s"), (420, "7 min"), (11_100, "3 h 5 min")],
)
def test_a_duration_is_told_in_the_unit_that_fits(seconds, text):
    assert units.lasted(seconds).replace(THIN, " ") == text


def test_times_are_those_of_the_site_in_summer_and_in_winter():
    assert units.clock("2026-11-30T12:00:00Z", "Europe/Amsterdam") == "13:00:00"
    assert units.clock("2026-06-30T12:00:00Z", "Europe/Amsterdam") == "14:00:00"
    assert units.clock(None, "Europe/Amsterdam") == "-"
