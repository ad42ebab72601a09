import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from hardware.api import create_app
from hardware.liveview import LiveView
from tests.dashboards import garage
from tests.hardware.serving import serving


@pytest.fixture(name="view", scope="module")
def _view():
    site, topology = garage.garage()
    view = LiveView(site, topology, world="simulated", speed=None, scenario="busy evening")
    garage.hour(view, topology, seconds=600)
    return view


@pytest.fixture(name="ask", scope="module")
def _ask(view):
    ended = {"ended_utc": "2026-11-30T11:30:00+00:00", "meter_stop_wh": 1_400, "reason": "EVDisconnected"}
    sessions = [garage.RUNNING, garage.RUNNING | ended, garage.RUNNING | {"energy_wh": None}]
    registry = CollectorRegistry()
    Counter("edge_frames", "OCPP frames", registry=registry).inc(3)
    commands = {"restart": lambda: "The scenario starts again."}
    app = create_app(view, commands, sessions=lambda limit: sessions[:limit], registry=registry)
    with serving(app) as address, httpx2.Client(base_url=address) as client:
        yield client


def test_the_tree_and_the_nameplates_are_served(ask):
    site = ask.get("/api/v1/site").json()
    assert (site["name"], site["timezone"], site["world"]) == (
        "Harbour garage",
        "Europe/Amsterdam",
        "simulated",
    )
    assert site["speed"] is None
    assert [grid["fed_by"] for grid in site["grids"]] == [None, "main", "main"]
    assert len(site["connectors"]) == 12


def test_the_newest_cycle_is_served_with_its_answer(ask, view):
    live = ask.get("/api/v1/live").json()
    assert live["sentence"] == view.snapshot().sentence
    assert live["at"] == "2026-11-30T12:00:00Z"
    assert live["connectors"][8]["draws_a"] is None
    assert live["grids"][2]["phases"][0]["measured_a"] is None
    assert live["alarms"][0]["code"] == "offline"


def test_the_last_hour_of_a_grid_and_of_a_connector_is_served(ask):
    main = ask.get("/api/v1/history", params={"grid": "main"}).json()
    assert len(main["at"]) == len(main["measured_a"][2]) == 61
    bay = ask.get("/api/v1/history", params={"connector": "bay_01/1"}).json()
    assert bay["gets_a"] == [8.0] * 61


def test_the_chain_of_a_connector_is_served_with_what_binds(ask):
    links = ask.get("/api/v1/chain", params={"connector": "bay_01/1"}).json()["links"]
    assert [link["name"] for link in links if link["binding"]] == ["level_1"]


def test_alarms_and_health_are_served(ask):
    assert ask.get("/api/v1/alarms").json()[0]["next_step"] == "Check power and network of NL-HG-0009."
    health = ask.get("/api/v1/health")
    assert health.status_code == 200
    assert health.json()["ok"] is True


def test_sessions_come_from_the_ledger(ask):
    running, ended, silent = ask.get("/api/v1/sessions").json()
    assert running == {
        "identity": "NL-HG-0001",
        "connector": 1,
        "card": "CARD-1",
        "began": "2026-11-30T11:00:00Z",
        "ended": None,
        "energy_wh": 7_300,
        "reason": None,
    }
    assert (ended["energy_wh"], ended["ended"], ended["reason"]) == (
        400,
        "2026-11-30T11:30:00Z",
        "EVDisconnected",
    )
    assert silent["energy_wh"] is None
    assert ask.get("/api/v1/sessions", params={"limit": 1}).json() == [running]


def test_metrics_leave_out_what_is_unknown_and_carry_those_of_the_process(ask):
    text = ask.get("/metrics").text
    assert 'edge_grid_limit_amperes{grid="level_1",phase="L2"} 63.0' in text
    assert 'edge_connector_gets_amperes{connector="bay_01/1"} 8.0' in text
    assert 'edge_connector_draws_amperes{connector="bay_09/1"}' not in text
    assert 'edge_grid_measured_amperes{grid="level_2"' not in text
    assert "edge_frames_total 3.0" in text


def test_a_command_answers_with_one_sentence(ask):
    assert ask.get("/api/v1/commands").json() == ["restart"]
    assert ask.post("/api/v1/commands/restart").json() == {"sentence": "The scenario starts again."}


def test_a_page_of_another_site_cannot_command(ask):
    answer = ask.post("/api/v1/commands/restart", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert answer.json() == {"error": "Commands are not taken from pages of https://evil.example."}


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/api/v1/history?grid=level_9", 404, 'There is no grid "level_9"; did you mean "level_2"?'),
        ("/api/v1/history", 422, "Ask for one grid (?grid=) or for one connector (?connector=)."),
        (
            "/api/v1/history?grid=main&connector=x",
            422,
            "Ask for one grid (?grid=) or for one connector (?connector=).",
        ),
        ("/api/v1/chain?connector=bay_01", 404, 'There is no connector "bay_01"; did you mean "bay_01/1"?'),
        ("/api/v1/chain", 422, "connector is missing; add it to the address."),
        (
            "/api/v1/sessions?limit=many",
            422,
            "limit is 'many': Input should be a valid integer, unable to parse string as an integer.",
        ),
        ("/api/v2", 404, "There is nothing at /api/v2; see /docs."),
        ("/api/v1/commands/fly", 405, "GET is not possible at /api/v1/commands/fly; see /docs."),
    ],
)
def test_every_error_is_one_sentence(ask, path, status, error):
    answer = ask.get(path)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_an_unknown_command_names_those_that_exist(ask):
    answer = ask.post("/api/v1/commands/fly")
    assert answer.status_code == 404
    assert answer.json() == {"error": 'There is no command "fly"; there are: restart.'}


def test_every_question_is_described(ask):
    paths = ask.get("/openapi.json").json()["paths"]
    assert {"/api/v1/site", "/api/v1/live", "/api/v1/history", "/api/v1/alarms", "/metrics"} <= paths.keys()
    assert all(one["summary"] for path in paths.values() for one in path.values())


def test_a_world_without_ledger_and_before_its_first_cycle_says_so():
    site, topology = garage.garage()
    with serving(create_app(LiveView(site, topology), None)) as address:
        answer = httpx2.get(f"{address}/api/v1/sessions")
        assert answer.status_code == 404
        assert answer.json() == {"error": "This world keeps no sessions; ask the box that runs the site."}
        assert httpx2.get(f"{address}/api/v1/health").status_code == 503
        assert httpx2.get(f"{address}/api/v1/live").json()["state"] == "starting"


def test_a_connector_is_released_by_name_and_only_from_a_page_of_our_own(view):
    released = []

    def release(connector):
        if connector != "bay_01/1":
            raise KeyError(f'There is no connector "{connector}".')
        released.append(connector)
        return f"{connector} is back in service."

    with serving(create_app(view, release=release)) as address, httpx2.Client(base_url=address) as client:
        path = "/api/v1/connectors/release"
        answer = client.post(path, params={"connector": "bay_01/1"})
        assert answer.json() == {"sentence": "bay_01/1 is back in service."}
        assert client.post(path, params={"connector": "bay_77/1"}).status_code == 404
        evil = {"Origin": "https://evil.example"}
        assert client.post(path, params={"connector": "bay_01/1"}, headers=evil).status_code == 403
    assert released == ["bay_01/1"]
