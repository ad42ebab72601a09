"""MeterValues as boxes really write them, and how old they are."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.defaults import UNKNOWN
from hardware.ocpp.boxclock import BoxClock
from hardware.ocpp.frames import fault_in_call
from hardware.ocpp.readings import parse_timestamp, read_samples

AMPS, WATTS = "Current.Import", "Power.Active.Import"


def value(text, measurand=None, phase=None, **more):
    fields = {"value": text, "measurand": measurand, "phase": phase, **more}
    return {key: field for key, field in fields.items() if field is not None}


def read(*sampled, phases=3, max_ma=32_000):
    message = {
        "connectorId": 1,
        "meterValue": [{"timestamp": "2026-01-01T00:00:00Z", "sampledValue": list(sampled)}],
    }
    assert fault_in_call("MeterValues", message) == ""
    (sample,) = read_samples(message["meterValue"], phases, max_ma)
    return sample


def three(measurand, *texts, names=("L1", "L2", "L3"), **more):
    return [value(text, measurand, name, **more) for text, name in zip(texts, names, strict=True)]


@pytest.mark.parametrize(
    ("sampled", "current_ma"),
    [
        (three(AMPS, "6.0", "7.25", "8"), (6000, 7250, 8000)),
        (three(AMPS, "6", "7", "8", names=("L1-N", "L2-N", "L3-N")), (6000, 7000, 8000)),
        (three(AMPS, "6", "7", "8", names=("L3", "L1", "L2")), (7000, 8000, 6000)),
        (three(AMPS, " 1.6e1 ", "1.6E+1", "16.000", unit="A"), (16000, 16000, 16000)),
        (three(AMPS, "0", "0.0", "-0.5"), (0, 0, -500)),
        ([value("13.5", AMPS)], (13500, 13500, 13500)),
        ([value("13.5", AMPS), *three(AMPS, "1", "2", "3")], (1000, 2000, 3000)),
        ([value("16", AMPS, "L1")], (16000, UNKNOWN, UNKNOWN)),
        ([value("16", AMPS, "L1"), value("15", AMPS, "L3")], (16000, UNKNOWN, 15000)),
        ([value("16", AMPS, "L1"), value("0.2", AMPS, "N")], (16000, UNKNOWN, UNKNOWN)),
        (three(WATTS, "2300", "1150", "0"), (10000, 5000, 0)),
        (three(WATTS, "2.3", "1.15", "0", unit="kW"), (10000, 5000, 0)),
        ([value("6900", WATTS), *three(WATTS, "2300", "2300", "2300")], (10000, 10000, 10000)),
        (three(WATTS, "2300", "2300", "2300") + three("Voltage", "250", "230", "9999"), (9200, 10000, 10000)),
        ([*three(AMPS, "9", "9", "9", location="Inlet"), *three(AMPS, "6", "6", "6")], (6000, 6000, 6000)),
        ([*three(AMPS, "6", "6", "6"), *three(AMPS, "9", "9", "9", location="Inlet")], (6000, 6000, 6000)),
        (three(AMPS, "9", "9", "9", location="Inlet"), (9000, 9000, 9000)),
        ([value("11", "Current.Offered"), *three(AMPS, "6", "6", "6")], (6000, 6000, 6000)),
        ([*three(AMPS, "6", "x", "7")], (6000, UNKNOWN, 7000)),
    ],
)
def test_current_is_read_in_own_phases_and_nothing_missing_becomes_zero(sampled, current_ma):
    assert read(*sampled).current_ma == current_ma


def test_power_of_all_phases_together_says_nothing_of_a_phase():
    sample = read(value("6.9", WATTS, unit="kW"))
    assert sample.current_ma == (UNKNOWN, UNKNOWN, UNKNOWN)
    assert sample.total_ma == 30_000
    assert read(value("2300", WATTS), phases=1).current_ma == (10_000, 0, 0)
    assert read(*three(AMPS, "6", "7", "8"), value("4830", WATTS)).total_ma == UNKNOWN


@pytest.mark.parametrize(
    "sampled",
    [
        [value("1234")],
        [value("1234", "Energy.Active.Import.Register", unit="Wh"), value("11", "Current.Offered")],
        [value("40", "SoC", unit="Percent")],
        [value("10", AMPS, "N")],
    ],
)
def test_a_message_without_current_or_power_leaves_the_current_unknown(sampled):
    sample = read(*sampled)
    assert sample.current_ma is None
    assert not sample.faults


@pytest.mark.parametrize(
    "text", ["NaN", "nan", "Infinity", "-Infinity", "", "6,5", "1e999999", "six", "1e15"]
)
def test_garbage_is_no_reading_and_is_named(text):
    sample = read(*three(AMPS, text, text, text))
    assert sample.current_ma is None
    assert len(sample.faults) == 3
    assert repr(text)[:10] in sample.faults[0]


def test_milliamps_sold_as_amps_are_not_believed():
    sample = read(*three(AMPS, "16000", "16000", "16000"))
    assert sample.current_ma is None
    assert sample.faults == ("a current of 16000 A on an outlet of 32 A",)


def test_a_one_phase_outlet_has_nothing_on_the_phases_it_lacks():
    assert read(value("16", AMPS), phases=1).current_ma == (16000, 0, 0)
    assert read(value("3680", WATTS), phases=1).current_ma == (16000, 0, 0)
    assert read(value("16", AMPS, "L1"), phases=1).current_ma == (16000, 0, 0)
    assert read(value("16", AMPS, "L2"), phases=1).current_ma == (UNKNOWN, 0, 0)


@pytest.mark.parametrize(
    ("sampled", "feed_ma"),
    [
        ([value("47.5", WATTS, unit="kW")], 72_464),  # 47.5 kW / 0.95 / 690 V, rounded up
        ([value("47500", WATTS), value("118.75", AMPS)], 72_464),
        ([value("118.75", AMPS), value("400", "Voltage")], 72_464),
        ([value("0", WATTS)], 0),
        ([value("-3", WATTS)], 0),
    ],
)
def test_a_dc_outlet_is_read_as_the_current_of_its_feed(sampled, feed_ma):
    (sample,) = read_samples([{"sampledValue": sampled}], 3, 80_000, 0.95)
    assert sample.current_ma == (feed_ma,) * 3


def test_amperes_at_the_car_alone_are_no_reading_of_a_dc_outlet():
    (sample,) = read_samples([{"sampledValue": [value("118.75", AMPS)]}], 3, 80_000, 0.95)
    assert sample.current_ma is None


def test_energy_is_the_measurand_of_a_value_that_names_none():
    assert read(value("1234")).energy_wh == 1234
    assert read(value("1.5", "Energy.Active.Import.Register", unit="kWh")).energy_wh == 1500
    assert read(value("77", format="SignedData")).energy_wh is None


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-03-01T12:00:00Z", 12),
        ("2026-03-01T12:00:00.123Z", 12),
        ("2026-03-01T14:00:00+02:00", 12),
        ("2026-03-01T12:00:00", 12),
        ("2026-03-01 12:00:00Z", 12),
    ],
)
def test_a_timestamp_is_read_in_every_spelling_that_boxes_use(text, hour):
    assert parse_timestamp(text) == datetime(2026, 3, 1, hour, 0, 0, 123000 if "." in text else 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00"])
def test_what_is_no_time_is_no_time(text):
    assert parse_timestamp(text) is None


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def ago(**span):
    return NOW - timedelta(**span)


def test_a_right_clock_tells_live_messages_from_queued_ones():
    clock = BoxClock()
    assert clock.age_ms(ago(seconds=1), NOW) == 0
    assert clock.age_ms(ago(seconds=20), NOW) == 20_000
    assert clock.age_ms(ago(hours=3), NOW) == 3 * 3_600_000


@pytest.mark.parametrize("wrong", [datetime(1970, 1, 1, 0, 5, tzinfo=UTC), NOW + timedelta(days=1), None])
def test_what_an_absurd_clock_says_counts_from_its_reception(wrong):
    assert BoxClock().age_ms(wrong, NOW) == 0


def test_a_clock_an_hour_behind_is_found_out_by_a_triggered_reading():
    clock = BoxClock()
    assert clock.age_ms(ago(hours=1), NOW) == 3_600_000
    clock.learn(ago(hours=1), NOW)
    assert clock.age_ms(ago(hours=1, seconds=2), NOW) == 0
    assert clock.age_ms(ago(hours=3), NOW) == 2 * 3_600_000
    assert clock.age_ms(ago(seconds=1), NOW) == 0, "it may have been put right since"


def test_a_clock_that_was_just_set_is_believed_again():
    clock = BoxClock()
    clock.learn(ago(hours=1), NOW)
    clock.forget()
    assert clock.age_ms(ago(hours=1), NOW) == 3_600_000
