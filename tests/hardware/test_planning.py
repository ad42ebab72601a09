"""Planning by departures on the box: wishes, the past of cards, and a planner that cannot block the loop."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import numpy as np
import pytest

from controller.decision import empty_decision, first_memory
from controller.defaults import NEVER, UNKNOWN
from controller.image import Source, blank_image, frozen
from controller.planners import Wish, look_ahead
from controller.planners.horizon import horizon
from controller.site import SiteError, parse
from controller.topology import compile_site
from hardware import planning
from hardware.api import create_app
from hardware.clock import Clock
from hardware.kernels import interpreted
from hardware.ledger import Ledger, Stop, Transaction
from hardware.links import read_links
from hardware.liveview import LiveView
from hardware.notices import Notices
from hardware.plan_once import outlook_of, packed
from hardware.planning import Moment, Planning, refuse_without_scipy
from hardware.remembered import Remembered
from hardware.runtime import Box
from hardware.wishes import Wishes
from tests.dashboards import garage as shown
from tests.hardware.garage import charging, site_text
from tests.hardware.serving import serving

HOUR_MS = 3_600_000
NOW_MS = 2 * HOUR_MS
UTC_NOW = datetime(2026, 5, 12, 8, 0, tzinfo=UTC)


def site_of(departures="horizon", chargepoints=3):
    return parse(f'departures = "{departures}"\n' + site_text(chargepoints=chargepoints), "garage.toml")


def moment_of(site):
    """Three cars of three phases on 16 A of room, plugged in an hour ago."""
    topology = compile_site(site)
    image, decision, memory = blank_image(topology), empty_decision(topology), first_memory(topology)
    image.clock["now_ms"], image.clock["utc_ms"] = NOW_MS, int(UTC_NOW.timestamp() * 1000)
    image.clock["utc_trusted"] = 1
    image.connectors["online"] = image.connectors["transaction"] = 1
    rows = memory.connectors
    rows["plugged"] = rows["transaction"] = rows["session"] = 1
    rows["since_ms"] = NOW_MS - HOUR_MS
    decision.grids["limit_ma"] = 16_000
    return topology, Moment(frozen(image), decision, memory)


@asynccontextmanager
async def planning_of(tmp_path, departures="horizon"):
    site = site_of(departures)
    topology, moment = moment_of(site)
    said = []
    notices = Notices(asyncio.get_running_loop().time, on_notice=lambda notice: said.append(notice.sentence))
    ledger = Ledger(tmp_path / "ledger.db", notices)
    remembered = Remembered(tmp_path / "remembered.db", topology, notices)
    wishes = Wishes(topology.connector_names, site.timezone, remembered)
    beside = Planning(site, topology, ledger, wishes, notices)
    beside.said = said
    try:
        yield beside, moment
    finally:
        ledger.close()
        remembered.close()


def tell(beside, moment, row, hours, energy_kwh=20):
    name = f"bay_{row + 1}/1"
    return beside._wishes.put(name, UTC_NOW + timedelta(hours=hours), energy_kwh, moment.memory, UTC_NOW)


# -- wishes --------------------------------------------------------------------------------------------------


@pytest.fixture(name="told")
def _told(tmp_path):
    site = site_of()
    topology, moment = moment_of(site)
    remembered = Remembered(tmp_path / "remembered.db", topology, Notices(lambda: 0.0))
    yield Wishes(topology.connector_names, site.timezone, remembered), moment.memory
    remembered.close()


@pytest.mark.parametrize(
    ("name", "departure", "energy_kwh", "sentence"),
    [
        ("bay_9/1", None, 5, 'There is no connector "bay_9/1"; name it like bay_1/1.'),
        (
            "bay_1/1",
            UTC_NOW - timedelta(minutes=1),
            5,
            "The departure 2026-05-12 09:59 is in the past; it is 10:00.",
        ),
        (
            "bay_1/1",
            datetime(2026, 5, 12, 9, 59),
            5,
            "The departure 2026-05-12 09:59 is in the past; it is 10:00.",
        ),
        (
            "bay_1/1",
            UTC_NOW + timedelta(days=31),
            5,
            "The departure 2026-06-12 10:00 is more than 30 days away; leave it out.",
        ),
        ("bay_1/1", None, 251, "251 kWh is no energy a car can take; give more than 0 and at most 250 kWh."),
        ("bay_1/1", None, 0, "0 kWh is no energy a car can take; give more than 0 and at most 250 kWh."),
        ("bay_1/1", None, None, "Tell a departure, an energy_kwh, or both."),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_one_sentence(told, name, departure, energy_kwh, sentence):
    wishes, memory = told
    with pytest.raises((KeyError, ValueError)) as refused:
        wishes.put(name, departure, energy_kwh, memory, UTC_NOW)
    assert refused.value.args[0] == sentence
    assert wishes.standing(memory, NOW_MS, int(UTC_NOW.timestamp() * 1000), trusted=True) == {}


def test_a_wish_where_no_car_is_plugged_in_is_refused(told):
    wishes, memory = told
    memory.connectors["plugged"][0] = 0
    with pytest.raises(ValueError, match=r"No car is plugged in at bay_1/1; tell its wish when it is\."):
        wishes.put("bay_1/1", None, 5, memory, UTC_NOW)


def test_a_wish_holds_for_its_session_and_its_departure_only_by_a_trusted_calendar(told):
    wishes, memory = told
    sentence = wishes.put("bay_2/1", UTC_NOW + timedelta(hours=3), 22.5, memory, UTC_NOW)
    assert sentence == "The car at bay_2/1 needs 22.5 kWh and leaves 2026-05-12 13:00."
    utc_ms = int(UTC_NOW.timestamp() * 1000)
    assert wishes.standing(memory, NOW_MS, utc_ms, trusted=True) == {1: Wish(5 * HOUR_MS, 22_500)}
    assert wishes.standing(memory, NOW_MS, utc_ms, trusted=False) == {1: Wish(NEVER, 22_500)}
    memory.connectors["session"][1] = 2
    assert wishes.standing(memory, NOW_MS, utc_ms, trusted=True) == {}


def test_wishes_are_taken_over_http():
    site, topology = shown.garage()
    taken = []

    async def wish(name, departure, energy_kwh):
        if name != "bay_01/1":
            raise KeyError("There is no such connector.")
        if energy_kwh == 1000:
            raise ValueError("1000 kWh is too much.")
        taken.append((name, departure, energy_kwh))
        return "The car leaves."

    app = create_app(LiveView(site, topology, world="site"), wish=wish)
    with serving(app) as address, httpx2.Client(base_url=address) as client:
        at = "/api/v1/connectors/bay_01/1/wish"
        answer = client.put(at, json={"departure": "2026-05-12T17:00:00+02:00", "energy_kwh": 20})
        assert answer.json() == {"sentence": "The car leaves."}
        assert taken == [("bay_01/1", datetime(2026, 5, 12, 15, tzinfo=UTC), 20)]
        assert client.put(at, json={"energy_kwh": 1000}).status_code == 422
        assert client.put(at, json={"leaves": "soon"}).status_code == 422
        assert client.put("/api/v1/connectors/bay_99/1/wish", json={}).status_code == 404
        assert client.put(at, json={}, headers={"origin": "http://elsewhere"}).status_code == 403
        assert len(taken) == 1


# -- plans ---------------------------------------------------------------------------------------------------


def test_the_horizon_plans_in_a_process_of_its_own_as_it_would_here_and_the_loop_goes_on(tmp_path):
    async def story():
        async with planning_of(tmp_path) as (beside, moment):
            tell(beside, moment, 0, 2)
            tell(beside, moment, 1, 9)
            turns, task = 0, asyncio.create_task(beside.once(moment))
            while not task.done():
                await asyncio.sleep(0.002)
                turns += 1
            assert turns > 20
            wishes = {0: Wish(NOW_MS + 2 * HOUR_MS, 20_000), 1: Wish(NOW_MS + 9 * HOUR_MS, 20_000)}
            topology = beside._topology
            here = horizon(look_ahead(topology, moment.image, moment.decision, moment.memory, wishes))
            assert beside.said == []
            assert beside.plan.rows.tolist() == here.rows.tolist()
            assert beside.plan.until_ms == here.until_ms
            assert here.rows["cap_ma"].tolist() == [UNKNOWN, 0, UNKNOWN]
            image = beside.enter(moment.image, moment.memory)
            assert image.connectors["wish_ma"].tolist() == [32_000, 0, 32_000]
            assert image.connectors["wish_source"][1] == Source.PLANNER

    asyncio.run(story())


def test_a_plan_that_takes_too_long_is_killed_and_least_laxity_plans_instead(tmp_path, monkeypatch):
    async def story():
        async with planning_of(tmp_path) as (beside, moment):
            tell(beside, moment, 0, 2)
            monkeypatch.setattr(planning, "PLAN_LIMIT_MS", 1)
            await beside.once(moment)
            assert beside._worker.returncode is not None
            assert beside.said == [
                "The horizon found no plan (it takes longer than 0.001 s); least laxity plans instead."
            ]
            assert beside.plan.rows["weight_percent"][0] != 100
            assert beside.plan.rows["cap_ma"].tolist() == [UNKNOWN] * 3

    asyncio.run(story())


def test_a_planner_that_fails_altogether_is_said_once_and_leaves_the_old_plan_to_its_end(tmp_path):
    async def story():
        async with planning_of(tmp_path, "least_laxity") as (beside, moment):
            tell(beside, moment, 0, 2)
            await beside.once(moment)
            before = beside.plan
            await beside.once(Moment(moment.image, moment.decision, None))
            assert len(beside.said) == 1
            assert beside.plan is before
            late = moment.image.clock.copy()
            late["now_ms"] = before.until_ms
            image = moment.image._replace(clock=late)
            assert beside.enter(image, moment.memory) is image

    asyncio.run(story())


def test_a_plan_that_cannot_be_entered_is_thrown_away_and_the_cycle_goes_on(tmp_path):
    async def story():
        async with planning_of(tmp_path, "least_laxity") as (beside, moment):
            await beside.once(moment)
            beside.plan.rows["connector"] = 99
            assert beside.enter(moment.image, moment.memory) is moment.image
            assert beside.plan is None
            assert "thrown away" in beside.said[0]

    asyncio.run(story())


def test_an_outlook_survives_the_way_to_the_planner():
    topology, moment = moment_of(site_of())
    wishes = {0: Wish(NOW_MS + HOUR_MS, 9_000)}
    outlook = look_ahead(topology, moment.image, moment.decision, moment.memory, wishes)
    again = outlook_of(packed(outlook))
    assert again.now_ms == outlook.now_ms
    assert all(np.array_equal(one, other) for one, other in zip(again[1:], outlook[1:], strict=True))


def test_a_site_that_wants_no_plans_never_makes_one(tmp_path):
    async def story():
        async with planning_of(tmp_path, "off") as (beside, moment):
            await beside.run(lambda: moment)
            assert beside.plan is None
            assert beside.enter(moment.image, moment.memory) is moment.image

    asyncio.run(story())


def test_a_horizon_without_scipy_is_one_sentence(monkeypatch):
    monkeypatch.setattr(planning, "find_spec", lambda _: None)
    refuse_without_scipy(site_of("least_laxity"), "garage.toml")
    with pytest.raises(SiteError) as refused:
        refuse_without_scipy(site_of(), "garage.toml")
    assert len(refused.value.lines) == 1
    assert 'pip install "edge-twin[planner]"' in refused.value.lines[0]


# -- the past of cards ---------------------------------------------------------------------------------------


def test_what_a_card_did_before_is_expected_of_it_again(tmp_path):
    async def story():
        async with planning_of(tmp_path, "least_laxity") as (beside, moment):
            ledger = beside._ledger
            for day in range(5):
                began = UTC_NOW - timedelta(days=6 - day)
                started = Transaction(0, "CP-1", 1, "CARD1", f"t{day}", 1_000, began, True, "{}")
                transaction = await ledger.begin(started)
                stop = Stop(began + timedelta(hours=8), 21_000, "Local", "{}")
                await ledger.end("CP-1", transaction.id, stop)
            started = Transaction(0, "CP-1", 1, "CARD1", "now", 1_000, UTC_NOW, True, "{}")
            await ledger.begin(started)
            assert await asyncio.to_thread(ledger.past, {"CARD1", "CARD2"}) == {
                "CARD1": [(8 * HOUR_MS, 20_000)] * 5,
                "CARD2": [],
            }
            cards = beside._cards(moment.memory)
            assert cards == {0: "CARD1"}
            expected = beside._expected(cards, moment.memory, NOW_MS)
            assert expected == {0: Wish(NOW_MS + 7 * HOUR_MS, 20_000)}  # plugged in an hour ago

    asyncio.run(story())


# -- the box -------------------------------------------------------------------------------------------------


def test_a_wish_told_to_the_box_changes_the_weight_of_its_session_alone(tmp_path):
    async def story():
        from controller.cycle import calculate

        site = site_of("least_laxity", chargepoints=1)
        topology = compile_site(site)
        notices = Notices(asyncio.get_running_loop().time)
        clock = Clock(asyncio.get_running_loop().time)
        view = LiveView(site, topology)
        store = tmp_path / "store"
        store.mkdir()
        links, think = read_links(site, "garage.toml"), interpreted(calculate)
        box = Box(site, topology, links, store, clock, think, view, notices)
        port = await box.open()
        try:
            with pytest.raises(ValueError, match="No car is plugged in"):
                await box.wish("bay_1/1", None, 20)
            async with charging(port, clock.utc):
                async with asyncio.timeout(30):
                    while not box.memory.connectors["transaction"][0]:
                        box.cycle()
                        await asyncio.sleep(0.05)
                said = await box.wish("bay_1/1", clock.utc() + timedelta(hours=1), 40)
                assert said.startswith("The car at bay_1/1 needs 40 kWh and leaves")
                await box.planning.once(box._moment())
                assert box.measure().connectors["weight_percent"].tolist() == [1000]
                assert box._live.connectors["weight_percent"].tolist() == [100]
        finally:
            await box.close()

    asyncio.run(story())
