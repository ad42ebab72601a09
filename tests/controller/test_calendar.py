"""What time it is: schedules and profiles by the clock of the site, on the two odd days of the year too."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controller.calendar import Calendar, DayAhead, TimeOfUse, at, milliseconds, next_edge_ms
from controller.charging_profile import ChargingProfile, stacked

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
CALENDAR = Calendar(AMSTERDAM, frozenset({date(2026, 12, 25), date(2026, 4, 27)}))
DAY_MS = 86_400_000

WEEKENDS_OFF = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "ChargePointMaxProfile",
    "chargingProfileKind": "Recurring",
    "recurrencyKind": "Weekly",
    "validFrom": "2026-01-01T00:00:00",
    "chargingSchedule": {
        "startSchedule": "2026-01-03T00:00:00",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 0}, {"startPeriod": 172800, "limit": 1000}],
    },
}
GUEST_BAYS = {
    "chargingProfileId": 2,
    "stackLevel": 0,
    "chargingProfilePurpose": "ChargePointMaxProfile",
    "chargingProfileKind": "Recurring",
    "recurrencyKind": "Daily",
    "chargingSchedule": {
        "startSchedule": "2026-01-01T18:00:00",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}, {"startPeriod": 43200, "limit": 1000}],
    },
}


def local_ms(text, fold=0):
    """UTC ms of a local time; `fold` 1 is the second time in the hour that comes twice."""
    return milliseconds(datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM, fold=fold))


def utc_ms(text):
    return milliseconds(datetime.fromisoformat(text).replace(tzinfo=UTC))


def amps(limit):
    """What a limit leaves L1; None: nothing limits."""
    return None if limit is None else limit.phase_ma[0] / 1000


def schedule(*segments, **keys):
    spans = [{"begin": begin, "end": end, "limit_a": limit} for begin, end, limit in segments]
    return TimeOfUse.model_validate({"segment": spans} | keys)


def time_of_use_a(tou, at_ms):
    return amps(at(list(tou.rows(CALENDAR, at_ms, at_ms + DAY_MS)), at_ms))


def profile_a(document, at_ms):
    levels = stacked([ChargingProfile.model_validate(document)], CALENDAR, at_ms, at_ms + DAY_MS)
    return amps(next((limit for rows in levels if (limit := at(rows, at_ms)) is not None), None))


@pytest.mark.parametrize(
    ("why", "keys", "when", "found"),
    [
        ("inside of its segment", {}, "2026-06-03 18:00", 10),
        ("to the last second", {}, "2026-06-03 21:59:59", 10),
        ("not at its end", {}, "2026-06-03 22:00", None),
        ("not before it begins", {}, "2026-06-03 17:59:59", None),
        ("on a weekday that it names", {"days": ["wed"]}, "2026-06-03 19:00", 10),
        ("not on another", {"days": ["thu"]}, "2026-06-03 19:00", None),
        ("a holiday is no Friday", {"days": ["fri"]}, "2026-12-25 19:00", None),
        ("but a holiday", {"days": ["holiday"]}, "2026-12-25 19:00", 10),
        ("every day means holidays too", {}, "2026-12-25 19:00", 10),
        ("from its first day on", {"first_day": "2026-06-03"}, "2026-06-03 19:00", 10),
        ("not on the day before", {"first_day": "2026-06-04"}, "2026-06-03 19:00", None),
        ("on its last day", {"last_day": "2026-06-03"}, "2026-06-03 19:00", 10),
        ("not after it", {"last_day": "2026-06-02"}, "2026-06-03 19:00", None),
        ("not while it is switched off", {"enabled": False}, "2026-06-03 19:00", None),
    ],
)
def test_a_schedule_limits_on_its_days_within_its_segment(why, keys, when, found):
    assert time_of_use_a(schedule(("18:00", "22:00", 10), **keys), local_ms(when)) == found, why


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("2026-06-05 21:59", None),  # a Friday
        ("2026-06-05 22:00", 6),
        ("2026-06-06 05:59", 6),  # belongs to the Friday
        ("2026-06-06 06:00", None),
        ("2026-06-06 22:00", None),  # no Saturday
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(when, found):
    assert time_of_use_a(schedule(("22:00", "06:00", 6), days=["fri"]), local_ms(when)) == found


def test_of_several_segments_each_has_its_hours_and_between_them_nothing_limits():
    tou = schedule(("00:00", "06:00", 32), ("06:00", "09:00", 10), ("17:00", "24:00", 16))
    hours = {hour: time_of_use_a(tou, local_ms(f"2026-06-03 {hour:02}:00")) for hour in (0, 6, 9, 17, 23)}
    assert hours == {0: 32, 6: 10, 9: None, 17: 16, 23: 16}


@pytest.mark.parametrize(
    ("why", "segment", "when", "found"),
    [
        # 2026-03-29: 02:00 becomes 03:00, so 01:00 UTC is 03:00 on the wall.
        ("six hours on the wall are five", ("00:00", "06:00", 10), "2026-03-29T03:59:59", 10),
        ("and end at 04:00 UTC", ("00:00", "06:00", 10), "2026-03-29T04:00:00", None),
        (
            "what begins in the gap begins when the clock jumps",
            ("02:30", "05:00", 10),
            "2026-03-29T01:00",
            10,
        ),
        ("and not before", ("02:30", "05:00", 10), "2026-03-29T00:59:59", None),
        ("what ends in the gap ends then", ("01:00", "02:30", 10), "2026-03-29T01:00:00", None),
        ("and lasts until then", ("01:00", "02:30", 10), "2026-03-29T00:59:59", 10),
        ("the gap alone is nothing", ("02:15", "02:45", 10), "2026-03-29T01:00:00", None),
        # 2026-10-25: 03:00 becomes 02:00, so 00:30 and 01:30 UTC are both 02:30.
        ("six hours on the wall are seven", ("00:00", "06:00", 10), "2026-10-25T04:59:59", 10),
        ("and begin at 22:00 UTC", ("00:00", "06:00", 10), "2026-10-24T22:00:00", 10),
        ("begins at the first 02:30", ("02:30", "05:00", 10), "2026-10-25T00:30:00", 10),
        ("and does not stop between", ("02:30", "05:00", 10), "2026-10-25T01:05:00", 10),
        ("ends at the second 02:30", ("01:00", "02:30", 10), "2026-10-25T01:29:59", 10),
        ("and not later", ("01:00", "02:30", 10), "2026-10-25T01:30:00", None),
    ],
)
def test_on_the_days_on_which_the_clock_changes(why, segment, when, found):
    assert time_of_use_a(schedule(segment), utc_ms(when)) == found, why


def test_where_two_segments_meet_in_the_hour_that_comes_twice_the_tighter_holds_all_of_it():
    tou = schedule(("00:00", "02:30", 10), ("02:30", "06:00", 20))
    found = [
        time_of_use_a(tou, utc_ms(f"2026-10-25T{clock}")) for clock in ("00:29", "00:31", "01:29", "01:31")
    ]
    assert found == [10, 10, 10, 20]


def test_whole_days_follow_each_other_without_a_hole_all_year():
    tou = schedule(("00:00", "24:00", 10))
    begin = utc_ms("2026-01-01T00:00")
    assert all(time_of_use_a(tou, begin + n * 1_800_000) == 10 for n in range(0, 48 * 365, 7))


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("2026-06-05 23:59:59", 1000),  # Friday
        ("2026-06-06 00:00:00", 0),
        ("2026-06-07 23:59:59", 0),
        ("2026-06-08 00:00:00", 1000),
        ("2026-03-29 23:59:59", 0),  # a weekend of 47 hours
        ("2026-03-30 00:00:00", 1000),
        ("2026-10-25 23:59:59", 0),  # and one of 49
        ("2026-10-26 00:00:00", 1000),
        ("2026-01-02 23:59:59", None),  # before its first Saturday
    ],
)
def test_a_grid_is_off_at_weekends(when, found):
    assert profile_a(WEEKENDS_OFF, local_ms(when)) == found


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("2026-01-15 17:59:59", 1000),
        ("2026-01-15 18:00:00", 10),
        ("2026-01-16 05:59:59", 10),
        ("2026-01-16 06:00:00", 1000),
        ("2026-07-15 17:59:59", 1000),
        ("2026-07-15 18:00:00", 10),  # on the wall, in summer too
        ("2026-03-29 05:59:59", 10),
        ("2026-03-29 06:00:00", 1000),
        ("2026-10-25 05:59:59", 10),
        ("2026-10-25 06:00:00", 1000),
    ],
)
def test_guest_bays_have_ten_amperes_from_18_00(when, found):
    assert profile_a(GUEST_BAYS, local_ms(when)) == found


def test_a_start_in_utc_recurs_by_the_clock_on_the_wall_too():
    document = GUEST_BAYS | {
        "chargingSchedule": GUEST_BAYS["chargingSchedule"] | {"startSchedule": "2026-01-01T17:00:00Z"}
    }
    assert profile_a(document, local_ms("2026-07-15 18:00")) == 10
    assert profile_a(document, local_ms("2026-07-15 17:59")) == 1000


def absolute(periods, **keys):
    inner = {"duration", "startSchedule", "chargingRateUnit"} & set(keys)
    plan = {"startSchedule": "2026-03-28T23:00:00Z", "chargingRateUnit": "A"} | {
        k: keys.pop(k) for k in inner
    }
    plan["chargingSchedulePeriod"] = [{"startPeriod": start, "limit": limit} for start, limit in periods]
    document = {"chargingProfileId": 9, "stackLevel": 0, "chargingProfileKind": "Absolute"}
    return document | {"chargingSchedule": plan} | keys


@pytest.mark.parametrize(
    ("why", "keys", "when", "found"),
    [
        ("before its start", {}, "2026-03-28T22:59:59", None),
        ("its first period", {}, "2026-03-28T23:00", 16),
        ("seconds are true seconds, whatever the clock does", {}, "2026-03-29T04:59:59", 16),
        ("its second period", {}, "2026-03-29T05:00", 8),
        ("the last goes on", {}, "2027-01-01T00:00", 8),
        ("to the end of its duration", {"duration": 30_000}, "2026-03-29T07:19:59", 8),
        ("and no longer", {"duration": 30_000}, "2026-03-29T07:20:00", None),
        ("a duration may cut a period away", {"duration": 3_600}, "2026-03-29T05:00:00", None),
        ("not before it is valid", {"validFrom": "2026-03-29T00:00:00Z"}, "2026-03-28T23:30", None),
        ("then where it stands", {"validFrom": "2026-03-29T00:00:00Z"}, "2026-03-29T00:00", 16),
        ("not after", {"validTo": "2026-03-29T04:00:00Z"}, "2026-03-29T04:00:00", None),
    ],
)
def test_an_absolute_profile_counts_true_seconds_from_its_start(why, keys, when, found):
    assert profile_a(absolute([(0, 16), (21_600, 8)], **keys), utc_ms(when)) == found, why


@pytest.mark.parametrize(("when", "found"), [("2026-03-29T00:30", 5), ("2026-03-29T02:00", 16)])
def test_the_highest_level_that_has_something_to_say_counts(when, found):
    low = ChargingProfile.model_validate(absolute([(0, 16)]))
    high = ChargingProfile.model_validate(absolute([(0, 5)], stackLevel=3, duration=7200))
    levels = stacked([low, high], CALENDAR, utc_ms(when), utc_ms(when) + DAY_MS)
    assert amps(next(limit for rows in levels if (limit := at(rows, utc_ms(when))) is not None)) == found


def test_a_profile_means_the_same_after_it_was_written_down_and_read_again():
    for document in (WEEKENDS_OFF, GUEST_BAYS, absolute([(0, 16)], validTo="2026-03-29T04:00:00Z")):
        profile = ChargingProfile.model_validate(document)
        assert ChargingProfile.model_validate(profile.model_dump(mode="json")) == profile
        assert ChargingProfile.model_validate_json(profile.model_dump_json(by_alias=True)) == profile


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-06-03", 24), ("2026-10-25", 25)])
def test_a_day_ahead_has_as_many_hours_as_the_day(day, hours):
    begin = local_ms(f"{day} 00:00")
    end = local_ms(f"{date.fromisoformat(day) + timedelta(days=1)} 00:00")
    series = DayAhead(
        start=datetime.fromtimestamp(begin / 1000, UTC),
        step_s=3600,
        values_kw=tuple(map(float, range(hours))),
    )
    rows = list(series.rows(begin, end))
    assert (series.end_ms(), len(rows)) == (end, hours)
    assert at(rows, end - 1).sum_ma == (hours - 1) * 1_000_000 // 230


def test_a_value_that_is_missing_in_a_series_repeats_the_one_before():
    series = DayAhead(start="2026-06-03T00:00:00Z", step_s=900, values_kw=(23.0, None, None, 46.0))
    found = [row.limit.sum_ma for row in series.rows(0, 2**52)]
    assert found == [100_000, 100_000, 100_000, 200_000]


def test_the_next_edge_is_the_first_begin_or_end_that_is_still_to_come():
    tou = schedule(("18:00", "22:00", 10), ("22:00", "23:00", 20))
    now = local_ms("2026-06-03 19:00")
    rows = list(tou.rows(CALENDAR, now, now + DAY_MS))
    assert next_edge_ms(rows, now) == local_ms("2026-06-03 22:00")
    assert next_edge_ms(rows, local_ms("2026-06-03 22:00")) == local_ms("2026-06-03 23:00")
