"""The parts of a page, made from what a real live view says."""

import re
from html import unescape

import pytest

from controller.decision import Alarm
from controller.defaults import UNKNOWN
from dashboards import charts, client, components
from hardware import contract
from hardware.liveview import LiveView
from tests.dashboards import garage
from tests.dashboards.garage import NOON_MS


def shown(bays=12, *, world="site", change=None, **names):
    site, topology = garage.garage(bays)
    view = LiveView(site, topology, world=world, **names)
    image, decision, memory = garage.cycle(topology)
    if change:
        change(decision)
    view.update(image, decision, memory, NOON_MS)
    return view.plate().model_dump(mode="json"), view.snapshot().model_dump(mode="json"), view


def words(markup):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).replace("\u202f", " ").split())


def test_the_band_shows_a_simulated_world_and_nothing_on_the_site():
    site, _, _ = shown()
    assert components.band(site) == ""
    site, _, _ = shown(world="simulated", speed=60.0, scenario="busy evening")
    assert words(components.band(site)) == (
        "Simulated world · busy evening · at 60× speed. This is not the site."
    )
    site, _, _ = shown(world="simulated", speed=None)
    assert words(components.band(site)) == "Simulated world · as fast as it goes. This is not the site."


def test_the_tree_shows_measured_and_allowed_current_of_every_phase():
    site, live, _ = shown()
    tree = words(components.tree(site, live))
    assert "main fuse 100 A · meter 0 s ago" in tree
    assert "level_1 fuse 63 A · meter 0 s ago L1 34 / 63 A L2 60 / 63 A L3 24 / 63 A" in tree
    assert "level_2 fuse 63 A · no meter" in tree


def test_a_phase_over_its_limit_carries_a_sign_and_not_only_a_colour():
    def rise(decision):
        decision.grids["measured_ma"][1][1] = 70_000

    site, live, _ = shown(change=rise)
    markup = components.tree(site, live)
    assert markup.count("phase over") == 1
    assert "\u25b2 70 / 63 A" in words(markup)


def test_a_lost_meter_and_an_unknown_current_are_shown_as_such():
    def lose(decision):
        decision.grids["measured_ma"][0] = UNKNOWN
        decision.grids["estimate_ma"][0] = UNKNOWN
        decision.grids["lost"][0] = 1

    site, live, _ = shown(change=lose)
    assert "\u25b2 meter silent 0 s L1 - / 100 A" in words(components.tree(site, live))


def test_every_connector_has_a_tile_under_its_board_that_leads_to_its_page():
    site, live, _ = shown(200)
    markup = components.tiles(site, live)
    assert markup.count('class="tile') == 200
    assert markup.count("<section>") == 8
    assert 'href="connector?connector=bay_200%2F1"' in markup
    assert "bay_01 7.8 / 8.0 A fuse L2" in words(markup)
    assert "\u25b2 offline" in words(markup)


def test_names_of_a_site_cannot_smuggle_markup_into_the_page():
    site, live, _ = shown()
    site["connectors"][0]["label"] = "<script>x</script>"
    live["connectors"][0]["sentence"] = '"><img src=x>'
    markup = components.tiles(site, live)
    assert "<script>" not in markup
    assert "<img" not in markup


def test_an_alarm_shows_its_next_step_until_it_goes():
    def over(decision):
        decision.grids["alarm"][0] = Alarm.OVER_LIMIT

    site, _, view = shown(change=over)
    rows = [alarm.model_dump(mode="json") for alarm in view.alarms()]
    said = words(components.alarms(rows, site["timezone"]))
    assert "Cars are being lowered." in said
    assert "since 13:00:00" in said
    rows[0]["until"] = "2026-11-30T12:01:00Z"
    gone = words(components.alarms(rows[:1], site["timezone"]))
    assert gone.endswith("13:00:00 to 13:01:00")
    assert "Cars are being lowered." not in gone
    assert "None." in words(components.alarms([], site["timezone"]))


def test_the_chain_marks_what_binds():
    _, _, view = shown()
    links = [link.model_dump(mode="json") for link in view.chain("bay_01/1").links]
    markup = components.chain(links)
    assert markup.count("binding") == 1
    assert words(markup) == (
        "Car draws 7.8 A Order of the controller 8.0 A Outlet at most 32 A level_1 L2 61 of 63 A promised"
        " \u25c6 binds: level_1 L2 is full (61 of 63 A) main L2 91 of 100 A promised"
    )


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        ({"safe": True, "sentences": [], "accepted": ""}, "If the controller stops now: safe."),
        (
            {"safe": False, "sentences": [], "accepted": "shed, J. Smit"},
            "not safe, accepted (shed, J. Smit).",
        ),
        (
            {"safe": False, "sentences": ["L1 may reach 120 A."], "accepted": ""},
            "not safe. L1 may reach 120 A.",
        ),
    ],
)
def test_it_is_always_shown_whether_the_site_is_safe_without_its_controller(dead, said):
    site, live, _ = shown()
    now = {**live, "if_the_controller_dies": dead}  # by the live state, once there is one
    assert components.below(site, now, []).endswith(said)
    before = {**live, "if_the_controller_dies": None}
    assert components.below({**site, "if_the_controller_dies": dead}, before, []).endswith(said)


def test_the_hour_of_a_grid_has_three_lines_a_named_limit_and_starts_at_zero():
    site, topology = garage.garage()
    view = LiveView(site, topology)
    garage.hour(view, topology, seconds=1200)
    plate = view.plate().grids[0].model_dump(mode="json")
    history = view.history("main").model_dump(mode="json")
    figure = charts.grid_hour(plate, history, site.timezone, dark=False)
    lines = {line.name: line.line.dash for line in figure.data}
    assert lines == {"L1 measured": "solid", "L2 measured": "dash", "L3 measured": "dot", "limit": None}
    assert {line.line.color for line in figure.data[:3]} == {charts.IMPORT}
    assert figure.layout.yaxis.range[0] == 0
    assert "fuse 100\u202fA" in [note.text for note in figure.layout.annotations]
    assert {"L1", "L2", "L3"} <= {note.text for note in figure.layout.annotations}


def test_a_grid_without_meter_plots_what_is_promised_and_a_lower_limit_is_not_called_fuse():
    site, topology = garage.garage()
    view = LiveView(site, topology)
    image, decision, memory = garage.cycle(topology)
    decision.grids["limit_ma"][2][1] = 50_000
    view.update(image, decision, memory, NOON_MS)
    plate = view.plate().grids[2].model_dump(mode="json")
    figure = charts.grid_hour(
        plate, view.history("level_2").model_dump(mode="json"), site.timezone, dark=True
    )
    names = [note.text for note in figure.layout.annotations]
    assert "fuse L1 L3 63\u202fA" in names
    assert "limit L2 50\u202fA" in names
    assert figure.data[0].name == "L1 promised"


def test_an_hour_that_has_not_begun_can_be_drawn():
    site, topology = garage.garage()
    view = LiveView(site, topology)
    plate = view.plate()
    grid = charts.grid_hour(
        plate.grids[0].model_dump(), view.history("main").model_dump(mode="json"), site.timezone, dark=False
    )
    bay = charts.connector_hour(
        plate.connectors[0].model_dump(),
        view.connector_history("bay_01/1").model_dump(mode="json"),
        site.timezone,
        dark=False,
    )
    assert len(grid.data) == 4
    assert len(bay.data) == 3


@pytest.mark.parametrize(
    ("model", "typed"),
    [
        (contract.SitePlate, client.Site),
        (contract.GridPlate, client.GridPlate),
        (contract.ConnectorPlate, client.ConnectorPlate),
        (contract.DeadController, client.DeadController),
        (contract.Live, client.Live),
        (contract.GridLive, client.Grid),
        (contract.PhaseLive, client.Phase),
        (contract.ConnectorLive, client.Connector),
        (contract.AlarmLive, client.Alarm),
        (contract.GridHistory, client.GridHistory),
        (contract.ConnectorHistory, client.ConnectorHistory),
        (contract.ChainLink, client.ChainLink),
        (contract.Charge, client.Charge),
    ],
)
def test_the_dashboard_reads_only_what_the_contract_serves(model, typed):
    assert typed.__annotations__.keys() <= model.model_fields.keys()
