"""What a site is told over HTTP: in force at once, one sentence when it is wrong, alive after a restart."""

import json
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from controller.defaults import UNLIMITED_MA
from controller.image import Source, blank_image
from controller.topology import compile_site
from hardware.api import create_app
from hardware.clock import Clock, SteppedSeconds
from hardware.liveview import LiveView
from hardware.notices import Notices
from hardware.outside import Outside
from tests.controller.test_calendar import GUEST_BAYS, WEEKENDS_OFF, absolute
from tests.controller.told import SITE, flat, line
from tests.hardware.serving import serving

TOPOLOGY = compile_site(SITE)
WEDNESDAY = datetime(2026, 6, 3, 10, 0, tzinfo=UTC)
UNSET = datetime(1970, 1, 1, tzinfo=UTC)


class Garage:
    """A box with what it was told, its clock stepped by hand, and a viewer that talks to its API."""

    def __init__(self, outside, clock, seconds, client, said):
        self.outside, self.clock, self.seconds, self.said = outside, clock, seconds, said
        self.put = lambda path, body, **more: client.put(f"/api/v1/{path}", json=body, **more)
        self.get = lambda path: client.get(f"/api/v1/{path}")
        self.delete = lambda path: client.delete(f"/api/v1/{path}")

    def image(self):
        live = blank_image(TOPOLOGY)
        now = self.clock.utc()
        live.clock[0]["now_ms"], live.clock[0]["utc_ms"] = self.clock.now_ms(), self.clock.utc_ms()
        live.clock[0]["utc_trusted"] = now > datetime(2025, 1, 1, tzinfo=UTC)
        return self.outside.narrow(live)

    def in_force(self, grid=0):
        return line(self.image().grids[grid])


@contextmanager
def garage(folder, at=WEDNESDAY):
    seconds, said = SteppedSeconds(), []
    clock = Clock(seconds, at)
    notices = Notices(lambda: 0.0, said.append)
    outside = Outside(folder / "instructions.db", SITE, TOPOLOGY, clock, notices)
    app = create_app(LiveView(SITE, TOPOLOGY), outside=outside)
    try:
        with serving(app) as address, httpx2.Client(base_url=address) as client:
            yield Garage(outside, clock, seconds, client, said)
    finally:
        outside.close()


HARD = {"limit_a": 16, "ttl_s": 1800}


def test_a_limit_holds_at_once_for_its_time_and_leaves_its_fallback(tmp_path):
    with garage(tmp_path) as box:
        answer = box.put("grids/main/limits/dso", HARD | {"fallback_a": 10})
        assert answer.status_code == 200
        assert answer.json()["left_s"] == 1800
        assert answer.json()["durable"] is True
        assert box.in_force() == {"hard": (flat(16), None, "API", False)}
        box.seconds.value = 1799
        assert box.get("grids/main/limits/dso").json()["left_s"] == 1
        assert box.in_force()["hard"][0] == flat(16)
        box.seconds.value = 1800
        assert box.in_force() == {"hard": (flat(10), None, "FALLBACK", False)}
        assert box.get("grids/main/limits/dso").json()["expired"] is True
        box.put("grids/main/limits/dso", HARD | {"fallback_a": 10})
        assert box.in_force()["hard"][2] == "API"


def test_what_is_taken_back_holds_no_more(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", HARD)
        assert box.delete("grids/main/limits/dso").json()["says"]["limit_a"] == [16, 16, 16]
        assert box.in_force() == {}
        assert box.get("instructions").json() == []
        gone = box.delete("grids/main/limits/dso")
        assert (gone.status_code, gone.json()["error"]) == (
            404,
            'Nothing is told for grid "main" as limits "dso".',
        )


def test_profiles_series_and_stops_are_told_the_same_way(tmp_path):
    with garage(tmp_path, datetime(2026, 6, 6, 10, 0, tzinfo=UTC)) as box:
        box.put("grids/main/profiles/weekend", {"profile": WEEKENDS_OFF, "soft_limit": True})
        box.put("chargepoints/bay/profiles/guests", absolute([(0, 13)]))
        series = {"start": "2026-06-06T10:00:00Z", "step_s": 3600, "values_kw": [11.5, None]}
        box.put("grids/level/series/day", series)
        box.put("connectors/double/2/stops/maintenance", {"by": "J. Smit"})
        assert box.in_force() == {"soft": (flat(0), None, "PROFILE", False)}
        assert box.in_force(1) == {"hard": ((None,) * 3, 11.5, "NON_FIRM", False)}
        rows = box.image().connectors
        assert rows["wish_ma"].tolist() == [13_000, 32_000, 16_000]
        assert rows["wish_source"].tolist() == [Source.PROFILE, 0, 0]
        assert rows["stop"].tolist() == [0, 0, Source.MAINTENANCE]
        told = {(one["place"], one["name"], one["kind"]) for one in box.get("instructions").json()}
        assert told == {
            ("grid", "main", "profiles"),
            ("chargepoint", "bay", "profiles"),
            ("grid", "level", "series"),
            ("connector", "double/2", "stops"),
        }
        assert box.get("connectors/double/2/stops/maintenance").json()["says"]["by"] == "J. Smit"
        box.delete("connectors/double/2/stops/maintenance")
        assert box.image().connectors["stop"].tolist() == [0, 0, 0]


def test_what_a_card_wants_stays_where_it_is_narrower(tmp_path):
    with garage(tmp_path) as box:
        box.put("chargepoints/bay/limits/ems", {"limit_a": 20, "ttl_s": 60})
        live = blank_image(TOPOLOGY)
        live.connectors["wish_ma"] = 10_000
        live.connectors["wish_source"] = Source.CARD
        live.clock[0]["utc_ms"], live.clock[0]["utc_trusted"] = box.clock.utc_ms(), 1
        seen = box.outside.narrow(live).connectors
        assert (seen["wish_ma"].tolist(), seen["wish_source"].tolist()) == ([10_000] * 3, [Source.CARD] * 3)


def test_a_profile_may_have_a_time_to_live(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/profiles/a", {"profile": absolute([(0, 9)]), "ttl_s": 60})
        assert box.in_force()["hard"][0] == flat(9)
        box.seconds.value = 60
        assert box.in_force() == {}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("grids/mian/limits/a", HARD, 404, 'There is no grid "mian"; did you mean "main"?'),
        ("chargepoints/bayy/limits/a", HARD, 404, 'There is no chargepoint "bayy"; did you mean "bay"?'),
        ("connectors/bay/2/limits/a", HARD, 404, 'There is no connector "bay/2"; did you mean "bay/1"?'),
        ("grids/main/limits/a", {"limit_a": 16}, 422, "body: ttl_s: is missing; add it."),
        (
            "grids/main/limits/a",
            {"ttl_s": 16},
            422,
            "body: give limit_a or limit_kw; to lift a limit delete it.",
        ),
        (
            "grids/main/limits/a",
            HARD | {"limit_a": -1},
            422,
            "body: limit_a: input should be greater than or equal to 0 (it is -1).",
        ),
        (
            "grids/main/limits/a",
            HARD | {"fallback": 6},
            422,
            'body: fallback: there is no such key; did you mean "fallback_a"?',
        ),
        (
            "chargepoints/bay/profiles/a",
            absolute([(0, 7000)], chargingRateUnit="W"),
            422,
            (
                "NumberPhases: a profile in W for an outlet must say for how many phases it is meant; add"
                " numberPhases to every period."
            ),
        ),
        (
            "grids/main/profiles/a",
            absolute([(0, 10), (60, 6), (30, 8)]),
            422,
            (
                "body: [profile.chargingSchedule] chargingSchedulePeriod: startPeriod 30 stands after 60; put"
                " the periods in order of time."
            ),
        ),
        (
            "grids/main/series/a",
            {"start": "2026-03-29T02:30:00", "step_s": 900, "values_kw": [1]},
            422,
            (
                'body: start: give an offset, like "2026-10-25T00:00:00+02:00" or a Z for UTC'
                " (it is '2026-03-29T02:30:00')."
            ),
        ),
        (
            "grids/main/profiles/a",
            GUEST_BAYS | {"validFrom": "2026-03-29T02:30:00"},
            422,
            (
                "ValidFrom: the clock of Europe/Amsterdam shows 2026-03-29 02:30:00 never, because it is"
                " put on then; give an offset, like 2026-03-29 02:30:00+01:00."
            ),
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_and_changes_nothing(tmp_path, path, body, status, said):
    with garage(tmp_path) as box:
        answer = box.put(path, body)
        assert (answer.status_code, answer.json()) == (status, {"error": said})
        assert box.get("instructions").json() == []


def test_a_page_of_another_site_can_tell_nothing(tmp_path):
    with garage(tmp_path) as box:
        answer = box.put("grids/main/limits/a", HARD, headers={"origin": "http://elsewhere.example"})
        assert answer.status_code == 403
        assert box.in_force() == {}


def test_a_world_that_cannot_be_told_says_so():
    with (
        serving(create_app(LiveView(SITE, TOPOLOGY))) as address,
        httpx2.Client(base_url=address) as client,
    ):
        answer = client.put("/api/v1/grids/main/limits/a", json=HARD)
        assert (answer.status_code, answer.json()["error"]) == (
            404,
            "This world cannot be told anything; ask the box that runs the site.",
        )


def test_the_contract_describes_what_can_be_told(tmp_path):
    with garage(tmp_path) as box:
        paths = httpx2.get(str(box.get("site").url).replace("/api/v1/site", "/openapi.json")).json()["paths"]
        told = {
            path.removeprefix("/api/v1/{places}/{name}/"): set(paths[path])
            for path in paths
            if "{name}" in path
        }
        assert told["limits/{number}"] == {"put"}
        assert told["{kind}/{number}"] == {"get", "delete"}
        assert set(told) >= {"profiles/{number}", "series/{number}", "stops/{number}"}


# -- from one process to the next -----------------------------------------------------------------------


def test_what_was_told_lives_on_after_a_restart_for_what_is_left_of_its_time(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", HARD | {"fallback_a": 10})
        box.put("grids/level/stops/emergency_stop", {})
        box.put("chargepoints/bay/profiles/guests", GUEST_BAYS)
    with garage(tmp_path, WEDNESDAY + timedelta(seconds=600)) as box:
        assert box.get("grids/main/limits/dso").json()["left_s"] == 1200
        assert box.in_force()["hard"][0] == flat(16)
        assert box.image().grids["stop"].tolist() == [0, Source.EMERGENCY_STOP]
        assert len(box.get("instructions").json()) == 3
    with garage(tmp_path, WEDNESDAY + timedelta(seconds=7200)) as box:
        assert box.in_force() == {"hard": (flat(10), None, "FALLBACK", False)}


def test_what_was_taken_back_does_not_come_back(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", HARD)
        box.delete("grids/main/limits/dso")
    with garage(tmp_path) as box:
        assert box.get("instructions").json() == []


@pytest.mark.parametrize("at", [UNSET, WEDNESDAY - timedelta(days=1)])
@pytest.mark.parametrize(("limit", "fallback", "found"), [(16, 10, 10), (10, 16, 10)])
def test_after_a_restart_without_clock_a_limit_and_its_fallback_both_hold(
    tmp_path, at, limit, fallback, found
):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", {"limit_a": limit, "fallback_a": fallback, "ttl_s": 60})
    with garage(tmp_path, at) as box:
        assert box.in_force()["hard"][0] == flat(found)
        box.put("grids/main/limits/dso", {"limit_a": 20, "ttl_s": 60})
        assert box.in_force()["hard"][0] == flat(20)


def test_without_a_set_calendar_a_schedule_holds_at_its_tightest(tmp_path):
    with garage(tmp_path, UNSET) as box:
        box.put("grids/main/profiles/weekend", {"profile": WEEKENDS_OFF})
        assert box.in_force()["hard"][0] == flat(0)


def test_what_fits_the_site_no_more_is_said_and_holds_nothing(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", HARD)
        box.put("grids/main/limits/old", HARD)
    with closing(sqlite3.connect(tmp_path / "instructions.db")) as database, database:
        database.execute("UPDATE instructions SET name = 'roof' WHERE id = 'dso'")
        database.execute("UPDATE instructions SET body = '{}' WHERE id = 'old'")
    with garage(tmp_path) as box:
        assert box.in_force() == {}
        assert [notice.kind for notice in box.said] == ["unfit", "unreadable"]


def test_what_has_ended_and_leaves_nothing_is_not_kept_for_ever(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/short", {"limit_a": 10, "ttl_s": 60})
        box.put("grids/main/limits/lasting", {"limit_a": 10, "ttl_s": 60, "fallback_a": 20})
        box.put("grids/main/profiles/past", absolute([(0, 9)], validTo="2026-04-01T00:00:00Z"))
        box.seconds.value = 61
        box.put("grids/main/stops/maintenance", {"by": "J. Smit"})
        assert {one["id"] for one in box.get("instructions").json()} == {"lasting", "maintenance"}
    with closing(sqlite3.connect(tmp_path / "instructions.db")) as database:
        assert database.execute("SELECT count(*) FROM instructions").fetchone() == (2,)


def test_whoever_does_not_renew_its_limit_is_told_of_in_one_line(tmp_path):
    with garage(tmp_path) as box:
        box.put("grids/main/limits/dso", HARD | {"fallback_a": 10})
        box.put("grids/main/limits/a while", HARD)
        box.seconds.value = 1800
        box.in_force()
        box.in_force()
        assert [notice.sentence for notice in box.said] == [
            "Limit dso of grid main was not renewed: its fallback holds until it is told anew or taken back."
        ]


def test_what_was_told_and_taken_back_is_kept_for_whoever_asks_later_and_a_renewal_is_no_news(tmp_path):
    with garage(tmp_path) as box:
        for limit_a in (16, 16, 10):
            box.put("grids/main/limits/dso", HARD | {"limit_a": limit_a})
        box.delete("grids/main/limits/dso")
    with closing(sqlite3.connect(tmp_path / "instructions.db")) as database:
        bodies = [body for (body,) in database.execute("SELECT body FROM history ORDER BY rowid")]
    assert [json.loads(body)["limit_a"][0] if body else None for body in bodies] == [16, 10, None]


def test_of_renewals_only_those_are_written_that_a_restart_would_miss(tmp_path):
    def on_disk():
        with closing(sqlite3.connect(tmp_path / "instructions.db")) as database:
            return datetime.fromisoformat(database.execute("SELECT told_utc FROM instructions").fetchone()[0])

    with garage(tmp_path) as box:
        written_s = []
        for at_s in (0, 1, 179, 180, 200, 359, 360):
            box.seconds.value = at_s
            assert box.put("grids/main/limits/dso", HARD).json()["durable"] is True
            assert box.get("grids/main/limits/dso").json()["left_s"] == 1800
            written_s.append((on_disk() - WEDNESDAY).total_seconds())
        assert written_s == [0, 0, 0, 180, 180, 180, 360]
        box.put("grids/main/limits/dso", HARD | {"limit_a": 10})
        box.delete("grids/main/limits/dso")
        box.put("grids/main/limits/dso", HARD | {"limit_a": 10})
        assert on_disk() == WEDNESDAY + timedelta(seconds=360)


def test_while_the_disk_takes_nothing_an_instruction_holds_and_says_that_it_is_not_kept(tmp_path):
    folder = tmp_path / "gone"
    with garage(folder) as box:
        with closing(sqlite3.connect(folder / "instructions.db")) as database:
            database.execute("DROP TABLE instructions")
        answer = box.put("grids/main/stops/emergency_stop", {})
        assert answer.json()["durable"] is False
        assert int(box.image().grids["stop"][0]) == Source.EMERGENCY_STOP
        assert int(box.image().grids["hard_ma"][0][0]) == UNLIMITED_MA
