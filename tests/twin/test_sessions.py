"""Session files as they come, and the one sentence for everything that is wrong with them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from controller.site import SiteError
from twin.sessions import CAR_MIX, draw_car, read_sessions

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NAMES = ("bay_01/1", "bay_02/1", "bay_03/1")
START = datetime(2026, 3, 2, 0, 0, tzinfo=AMSTERDAM).astimezone(UTC)
HEADER = "connector,plug_in,plug_out,energy_kwh"
LIBRARY = Path(__file__).parents[2] / "scenarios" / "library" / "data"


def read(tmp_path, *lines, start=START, names=NAMES, **options):
    path = tmp_path / "cars.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_sessions(path, names, start, AMSTERDAM, 1, **options)


def test_a_row_becomes_a_session_in_world_time(tmp_path):
    found = read(
        tmp_path,
        f"{HEADER},phases,max_current_a,card",
        "bay_02/1,2026-03-02 08:00,2026-03-02T17:30:00+01:00,12.5,2,16,ABC",
    )
    assert found.remarks == ()
    (session,) = found.sessions
    assert (session.connector, session.plug_in_ms, session.plug_out_ms) == (1, 28_800_000, 63_000_000)
    assert (session.energy_wh, session.card) == (12_500, "ABC")
    assert (session.car.phases, session.car.max_ma) == (2, 16_000)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "bay_01/1,2026-03-02 09:00,2026-03-02 08:00,5",
            "cars.csv: row 2, column plug_out: the car leaves before it comes; the session is left out.",
        ),
        (
            "bay_01/1,2026-03-02 09:00,2026-05-02 08:00,5",
            "cars.csv: row 2, column plug_out: the car stays longer than 30 days; the session is left out.",
        ),
        (
            "bay_01/1,2026-03-02 09:00,2026-03-02 12:00,-5",
            "cars.csv: row 2, column energy_kwh: -5 kWh is negative; the session is left out.",
        ),
        (
            "bay_01/1,2026-03-02 09:00,2026-03-02 12:00,lots",
            'cars.csv: row 2, column energy_kwh: "lots" is no number; the session is left out.',
        ),
        (
            "bay_01/1,2026-03-02 09:00,2026-03-02 12:00,nan",
            "cars.csv: row 2, column energy_kwh: nan is no usable number; the session is left out.",
        ),
        (
            "bay_01/1,tomorrow,2026-03-02 12:00,5",
            'cars.csv: row 2, column plug_in: "tomorrow" is no time; the session is left out.',
        ),
        (
            "bay_01/1,2026-03-02 09:00,2026-03-02 12:00",
            'cars.csv: row 2, column energy_kwh: "" is no number; the session is left out.',
        ),
        (
            ",2026-03-02 09:00,2026-03-02 12:00,5",
            "cars.csv: row 2, column connector: is empty; the session is left out.",
        ),
    ],
)
def test_a_row_that_cannot_be_is_left_out_with_one_sentence(tmp_path, row, sentence):
    found = read(tmp_path, HEADER, row, "bay_02/1,2026-03-02 09:00,2026-03-02 12:00,5")
    assert found.remarks == (sentence,)
    assert [session.connector for session in found.sessions] == [1]


@pytest.mark.parametrize(
    ("told", "told_ms", "remarks"),
    [
        ("2026-03-02 16:00", 57_600_000, ()),
        ("", None, ()),
        ("late", None, ('cars.csv: row 2, column told_out: "late" is no time; taken as not told.',)),
    ],
)
def test_what_a_driver_told_of_the_departure_is_read_and_a_mistake_costs_no_session(
    tmp_path, told, told_ms, remarks
):
    found = read(tmp_path, f"{HEADER},told_out", f"bay_01/1,2026-03-02 08:00,2026-03-02 17:30,12.5,{told}")
    assert found.remarks == remarks
    assert [session.told_out_ms for session in found.sessions] == [told_ms]


def test_the_estimated_departure_of_acn_is_what_its_driver_told(tmp_path):
    found = read(
        tmp_path,
        "arrival,departure,requested_energy (kWh),delivered_energy (kWh),station_id,estimated_departure",
        "2026-03-02 08:00,2026-03-02 17:30,12.5,11,CA-1,2026-03-02 16:00",
    )
    assert found.remarks == ()
    assert found.sessions[0].told_out_ms == 57_600_000


def test_of_two_overlapping_sessions_the_later_waits_and_a_swallowed_one_is_left_out(tmp_path):
    found = read(
        tmp_path,
        HEADER,
        "bay_01/1,2026-03-02 09:00,2026-03-02 12:00,5",
        "bay_01/1,2026-03-02 11:00,2026-03-02 15:00,5",
        "bay_01/1,2026-03-02 12:30,2026-03-02 14:00,5",
    )
    assert found.remarks == (
        "cars.csv: row 3, connector bay_01/1: overlaps with row 2; it begins when that has ended.",
        (
            "cars.csv: row 4, connector bay_01/1: overlaps with row 3 and ends within it;"
            " the session is left out."
        ),
    )
    first, second = found.sessions
    assert second.plug_in_ms == first.plug_out_ms + 30_000
    assert second.plug_out_ms == 15 * 3_600_000


def test_local_times_around_a_clock_change_are_told(tmp_path):
    spring = read(
        tmp_path,
        HEADER,
        "bay_01/1,2026-03-29 02:30,2026-03-29 05:00,5",
        start=datetime(2026, 3, 29, tzinfo=AMSTERDAM).astimezone(UTC),
    )
    assert spring.remarks == (
        (
            "cars.csv: row 2, column plug_in: 2026-03-29 02:30 does not exist (clock change);"
            " taken as 03:30, add an offset to be exact."
        ),
    )
    assert spring.sessions[0].plug_out_ms - spring.sessions[0].plug_in_ms == 1.5 * 3_600_000
    autumn = read(
        tmp_path,
        HEADER,
        "bay_01/1,2026-10-25 02:30,2026-10-25 05:00,5",
        start=datetime(2026, 10, 25, tzinfo=AMSTERDAM).astimezone(UTC),
    )
    assert autumn.remarks == (
        (
            "cars.csv: row 2, column plug_in: 2026-10-25 02:30 happens twice (clock change);"
            " taken as the first, add an offset to be exact."
        ),
    )
    assert autumn.sessions[0].plug_out_ms - autumn.sessions[0].plug_in_ms == 3.5 * 3_600_000


def test_unknown_columns_are_told_and_missing_ones_refused(tmp_path):
    found = read(tmp_path, f"{HEADER},colour", "bay_01/1,2026-03-02 09:00,2026-03-02 12:00,5,red")
    assert found.remarks == ('cars.csv: row 1, column "colour": is not known and not used.',)
    with pytest.raises(SiteError) as refused:
        read(tmp_path, "connector,plug_in,plugout,energy_kwh", "a,b,c,d")
    assert refused.value.lines == [
        f'{tmp_path / "cars.csv"}: row 1: there is no column "plug_out"; rename column "plugout".'
    ]


def test_a_file_that_is_empty_missing_or_binary_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(SiteError, match="has no sessions"):
        read(tmp_path, HEADER)
    with pytest.raises(SiteError, match="cannot be read"):
        read_sessions(tmp_path / "no.csv", NAMES, START, AMSTERDAM, 1)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x9f" * 50)
    with pytest.raises(SiteError, match="cannot be read"):
        read_sessions(tmp_path / "bytes.csv", NAMES, START, AMSTERDAM, 1)


def test_more_stations_than_connectors_do_not_fit(tmp_path):
    rows = [f"S{n},2026-03-02 09:00,2026-03-02 12:00,5" for n in range(4)]
    with pytest.raises(SiteError, match="names 4 stations and the site has 3 connectors; take a larger site"):
        read(tmp_path, HEADER, *rows)


def test_the_real_week_reads_without_a_remark():
    path = LIBRARY / "acn_jpl_2019-W20.csv"
    names = tuple(f"bay_{n}/1" for n in range(52))
    zone = ZoneInfo("America/Los_Angeles")
    start = datetime(2019, 5, 13, tzinfo=zone).astimezone(UTC)
    asked = read_sessions(path, names, start, zone, 1)
    taken = read_sessions(path, names, start, zone, 1, energy="delivered")
    assert asked.remarks == ()
    assert len(asked.sessions) == len(taken.sessions) == 439
    assert {session.connector for session in asked.sessions} == set(range(52))
    assert sum(session.energy_wh for session in taken.sessions) == pytest.approx(5_836_997, abs=500)
    monday = read_sessions(path, names, start, zone, 1, length_ms=86_400_000)
    assert 50 < len(monday.sessions) < 120


def test_cars_follow_the_mix_and_are_strong_enough_for_what_they_took():
    cars = [draw_car(1, f"car {n}", 10_000, 8 * 3600) for n in range(4_000)]
    for phases, max_ma, share in CAR_MIX:
        found = sum(car.phases == phases and car.max_ma == max_ma for car in cars) / len(cars)
        assert found == pytest.approx(share, abs=0.03)
    assert all(500 <= car.down_ms <= 5_000 and 2_000 <= car.up_ms <= 20_000 for car in cars)
    assert all(car.up_ms / 1000 + car.max_ma / car.ramp_ma_s <= 30 for car in cars)
    hungry = [draw_car(1, f"car {n}", 60_000, 4 * 3600) for n in range(200)]
    assert all(car.phases * car.max_ma * 0.23 * 4 >= 60_000 for car in hungry)


def test_a_car_hangs_on_its_session_and_not_on_its_place_in_the_file(tmp_path):
    rows = [f"bay_0{n}/1,2026-03-02 0{n}:00,2026-03-02 12:00,5" for n in (1, 2, 3)]
    whole = {session.key: session for session in read(tmp_path, HEADER, *rows).sessions}
    part = {session.key: session for session in read(tmp_path, HEADER, *reversed(rows[1:])).sessions}
    assert len(part) == 2
    assert all(whole[key] == session for key, session in part.items())
    assert timedelta(milliseconds=part[next(iter(part))].plug_in_ms) == timedelta(hours=2)
