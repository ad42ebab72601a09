"""Building loads from files, with clock changes, units and gaps; and motors that start."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import ValidationError

from controller.site import SiteError
from tests.twin.small_site import world
from twin.sources import Load, Motor, Series, read_profile

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
STEP = timedelta(minutes=15)


def written(path, rows, header="time,kw,other"):
    path.write_text("# a meter\n" + header + "\n" + "".join(f"{time},{value},0\n" for time, value in rows))
    return path


def meter_file(path, first_utc, count, show):
    """Quarters of an hour from an instant on, as `show` writes their times; the value is their number."""
    instants = [first_utc + n * STEP for n in range(count)]
    return written(path, [(show(instant.astimezone(AMSTERDAM)), n) for n, instant in enumerate(instants)])


SHOWN = {
    "local": lambda here: f"{here:%Y-%m-%d %H:%M}",
    "with offset": lambda here: here.isoformat(),
    "in UTC": lambda here: f"{here.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize(
    "change", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]
)
def test_a_meter_file_keeps_its_hours_when_clocks_change(tmp_path, show, change):
    first = change - 8 * STEP
    profile = read_profile(meter_file(tmp_path / "meter.csv", first, 24, show), "kw", AMSTERDAM, "kW")
    seen = [profile.at((first + n * STEP).astimezone(AMSTERDAM).replace(tzinfo=None)) for n in range(24)]
    # Put forward, nothing is lost; put back, the second of the two hours is shown as the first: 4 to 7.
    back = change.month == 10
    assert seen == [*range(8), *((4, 5, 6, 7) if back else (8, 9, 10, 11)), *range(12, 24)]


@pytest.mark.parametrize(("unit", "value"), [("kW", "8"), ("W", "8000"), ("kWh", "2")])
def test_values_of_a_meter_may_be_power_or_energy_of_a_step(tmp_path, unit, value):
    rows = [("2026-03-02 09:00", value), ("2026-03-02 09:15", 0)]
    path = written(tmp_path / "meter.csv", rows)
    peak_w, profile = Series(file=path, column="kw", unit=unit).read(tmp_path, AMSTERDAM)
    load = Load("main", peak_w, profile, (0.5, 0.25, 0.25), AMSTERDAM)
    start = datetime(2026, 3, 2, 8, tzinfo=UTC)
    changes = list(load.changes(start, 1_000_000))
    assert changes == [(0, (17_391, 8_696, 8_696)), (900_000, (0, 0, 0))]


@pytest.mark.parametrize(
    ("rows", "unit", "sentence"),
    [
        (
            [(0, 1), (15, 1), (45, 1)],
            "kW",
            "row 5, column time: 2026-03-02 00:45:00 where 2026-03-02 00:30:00 is",
        ),
        (
            [(0, 1), (15, 1), (15, 1)],
            "kW",
            "row 5, column time: 2026-03-02 00:15:00 where 2026-03-02 00:30:00 is",
        ),
        (
            [(0, 1), (15, 1), (37, 1)],
            "kW",
            "row 5, column time: 2026-03-02 00:37:00 where 2026-03-02 00:30:00 is",
        ),
        ([(15, 1), (0, 1), (30, 1)], "kW", "row 4, column time: 2026-03-02 00:00:00 does not come after"),
        ([(0, 1), (15, "n/a"), (30, 1)], "kW", "row 4, column kw: no number; fill the gap."),
        ([(0, 1), (15, ""), (30, 1)], "kW", "row 4, column kw: no number; fill the gap."),
        ([(0, 1), (15, "nan"), (30, 1)], "kW", "row 4, column kw: no number; fill the gap."),
        (
            [(0, 1), (15, 34.5), (30, 1)],
            "share",
            'row 4, column kw: 34.5 is no share of the peak; say unit = "kW"',
        ),
        (
            [(0, 1), (15, 345_000), (30, 1)],
            "kW",
            "row 4, column kw: 345,000 kW is more than 100,000 kW; check",
        ),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(tmp_path, rows, unit, sentence):
    times = [(f"2026-03-02 00:{minute:02}", value) for minute, value in rows]
    path = written(tmp_path / "meter.csv", times)
    with pytest.raises(SiteError) as error:
        read_profile(path, "kw", AMSTERDAM, unit)
    (line,) = error.value.lines
    assert line.startswith(f"{path}: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("time;kw\n02-03-2026 00:00;1,5\n", "row 1: is parted by semicolons; save it with commas"),
        (
            "time,kw\n02-03-2026 00:00,1\n02-03-2026 00:15,1\n",
            'row 2, column time: "02-03-2026 00:00" is no time',
        ),
        (
            "time,kW\n2026-03-02 00:00,1\n2026-03-02 00:15,1\n",
            'there is no column "kw"; it has kW.',
        ),
        ("", 'there is no column "kw"; it has nothing.'),
        ("time,kw\n2026-03-02 00:00,1\n", "has fewer than two rows of values; give at least a day."),
    ],
)
def test_a_file_that_is_another_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "meter.csv"
    path.write_text(text)
    with pytest.raises(SiteError) as error:
        read_profile(path, "kw", AMSTERDAM, "kW")
    (line,) = error.value.lines
    assert line.startswith(f"{path}: {sentence}")


@pytest.mark.parametrize(("unit", "peak_kw"), [("share", None), ("kWh", 5.0)])
def test_shares_have_a_peak_and_readings_have_none(unit, peak_kw):
    with pytest.raises(ValidationError, match="peak_kw"):
        Series(file="x.csv", column="kw", unit=unit, peak_kw=peak_kw)


LIFT = {
    "name": "lift",
    "grid": "turned",
    "current_a": (10, 10, 8),
    "start_s": 2,
    "runs_s": 40,
    "every_s": 400,
}
DAY_MS = 86_400_000


def changes(seed=1, **keys):
    return list(
        Motor.model_validate(LIFT | keys).load(seed).changes(datetime(2026, 3, 2, tzinfo=UTC), DAY_MS)
    )


def test_a_motor_starts_with_six_times_its_current_runs_and_rests():
    found = changes()
    assert {currents for _, currents in found[0::3]} == {(60_000, 60_000, 48_000)}
    assert {currents for _, currents in found[1::3]} == {(10_000, 10_000, 8_000)}
    assert {currents for _, currents in found[2::3]} == {(0, 0, 0)}
    times = np.array([at_ms for at_ms, _ in found]).reshape(-1, 3)
    assert (times[:, 1] - times[:, 0] == 2_000).all()
    assert (times[:, 2] - times[:, 0] == 40_000).all()
    assert (times[1:, 0] > times[:-1, 2]).all()
    assert 0.8 < len(times) / (DAY_MS / 400_000) < 1.2


def test_motors_are_random_by_seed_and_name():
    assert changes() == changes()
    assert changes() != changes(seed=2)
    assert changes() != changes(name="compressor")


def test_a_motor_that_would_never_rest_is_refused():
    with pytest.raises(ValidationError, match="runs_s must be below every_s"):
        Motor.model_validate(LIFT | {"runs_s": 500})


def test_a_motor_loads_its_board_in_the_order_of_that_board():
    motor = Motor.model_validate(LIFT).load(1)
    first_ms = next(motor.changes(datetime(2026, 3, 2, tzinfo=UTC), DAY_MS))[0]
    made = world(loads=[motor])
    made.advance(first_ms + 1_000)
    assert list(made.boards["load_ma"][2]) == [48_000, 60_000, 60_000]  # own L3 hangs on L1 of the site
    made.advance(first_ms + 41_000)
    assert list(made.boards["load_ma"][2]) == [0, 0, 0]
