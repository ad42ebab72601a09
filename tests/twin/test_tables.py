"""Tables that people write: what is wrong is said with file, row, column and remedy; nothing else is lost."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.site import SiteError
from twin.fleet import read_fleet
from twin.sessions import read_sessions

START = datetime(2026, 3, 27, 23, 0, tzinfo=UTC)
HEADER = "connector,plug_in,plug_out,energy_kwh"
GOOD = "a,2026-03-28T08:00,2026-03-28T10:00,5"


def sessions(path):
    return read_sessions(path, ("a/1", "b/1"), START, ZoneInfo("Europe/Amsterdam"), 1)


REFUSED = {
    "semicolons": (
        f"{HEADER}\n{GOOD}".replace(",", ";"),
        "row 1: columns are separated by semicolons; write commas.",
    ),
    "a column twice": (
        f"connector,{HEADER}\na,{GOOD}",
        'row 1, column "connector": stands twice; remove one.',
    ),
    "nothing": ("", "has no sessions; it needs a header line and at least one row."),
    "comments only": ("# one\n# two\n", "has no sessions; it needs a header line and at least one row."),
    "a cell without end": (f"{HEADER}\n{'9' * 200_000},x,y,z", "is no table: field larger than field limit"),
    "no usable row": (f"{HEADER}\na,x,y,z", "no row can be used."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_cannot_be_used_at_all_is_refused_in_a_sentence(tmp_path, name):
    text, said = REFUSED[name]
    path = tmp_path / "visits.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteError) as refused:
        sessions(path)
    assert refused.value.lines[0].startswith(f"{path}: {said}")


LEFT_OUT = {
    "a comma for a point": (
        "b,2026-03-28T08:00,2026-03-28T10:00,5,5",
        "column energy_kwh: there are more cells",
    ),
    "the year 1": ("b,0001-01-01T00:00,0001-01-01T10:00,5", "column plug_in: 0001-01-01T00:00 is in no year"),
    "the year 9999": (
        "b,9999-12-31T00:00,9999-12-31T10:00,5",
        "column plug_in: 9999-12-31T00:00 is in no year",
    ),
    "missing cells": ("b,2026-03-28T08:00", 'column plug_out: "" is no time'),
    "a number that is none": (
        "b,2026-03-28T08:00,2026-03-28T10:00,nan",
        "column energy_kwh: nan is no usable",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_row_that_cannot_be_used_is_named_by_its_line_in_the_file_and_the_others_stay(tmp_path, name):
    row, said = LEFT_OUT[name]
    path = tmp_path / "visits.csv"
    path.write_text(f"# exported\n\n{HEADER}\n{GOOD}\n# then\n{row}\n", encoding="utf-8")
    found = sessions(path)
    assert len(found.sessions) == 1
    (remark,) = found.remarks
    assert remark.startswith(f"visits.csv: row 6, {said}")
    assert "left out" in remark


def test_currents_beyond_what_a_plug_can_carry_are_left_out(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text(
        f"{HEADER},max_current_a\n{GOOD},16000\n{GOOD.replace('a,', 'b,', 1)},16\n", encoding="utf-8"
    )
    found = sessions(path)
    assert found.remarks == (
        "visits.csv: row 2, column max_current_a: 16000 A is not within 6 to 80 A; the session is left out.",
    )
    assert len(found.sessions) == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["# ours", "", "model,registrations,battery_kwh,ac_1_a", "Bad,1,-50,16"],
            "row 4, column battery_kwh: -50 is not possible; give 1 to 2000.",
        ),
        (
            ["model,registrations,battery_kwh,ac_1_a,ac_at_80,ac_at_080,ac_at_100", "Bad,1,50,16,80,70,5"],
            "row 1: two columns ac_at_... mean the same percent; remove one.",
        ),
        (
            ["model;registrations;battery_kwh;ac_1_a", "Bad;1;50;16"],
            "row 1: columns are separated by semicolons; write commas.",
        ),
        (
            ["model,registrations,battery_kwh,ac_1_a", "Bad,1,57,5,16"],
            "row 2, column ac_1_a: there are more cells than columns; write decimals with a point.",
        ),
    ],
)
def test_a_fleet_that_cannot_be_used_is_refused_by_its_line_in_the_file(tmp_path, lines, said):
    path = tmp_path / "fleet.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SiteError) as refused:
        read_fleet(path)
    assert refused.value.lines == [f"{path}: {said}"]
