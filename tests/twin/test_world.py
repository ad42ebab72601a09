"""The true site: who comes and goes, what boxes hold, how fuses open, what goes wrong."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.image import Answer, Status
from controller.topology import compile_site
from tests.twin.small_site import START, site, stay, uncontrolled, world
from twin.events import (
    CardPresented,
    FuseTripped,
    LinkChanged,
    Plugged,
    TransactionEnded,
    TransactionStarted,
    Unplugged,
)
from twin.sessions import Car
from twin.sources import Load, Profile
from twin.world import World


def step_load(*values, grid="main", peak_w=23_000.0, step_s=900):
    profile = Profile(datetime(2026, 3, 2, 9, 0), step_s, values)
    return Load(grid, peak_w, profile, (0.5, 0.3, 0.2), ZoneInfo("Europe/Amsterdam"))


def test_a_visit_is_told_in_the_order_in_which_it_happens():
    made = world(stay(begin_s=10, end_s=600))
    heard = uncontrolled(made)
    made.advance(700_000)
    story = [
        (event.at_ms, type(event))
        for event in heard
        if isinstance(event, Plugged | CardPresented | TransactionStarted | TransactionEnded | Unplugged)
    ]
    assert [at for at, _ in story] == [10_000, 10_000, 10_000, 600_000, 600_000]
    assert {kind for _, kind in story[:3]} == {Plugged, CardPresented, TransactionStarted}
    assert [kind for _, kind in story[3:]] == [TransactionEnded, Unplugged]
    assert made.outlets["status"][0] == Status.AVAILABLE
    assert made.stays[0].delivered_wh == pytest.approx(made.outlets["energy_wh"][0])


def test_without_a_listener_events_wait_to_be_taken_once():
    made = world(stay())
    made.advance(20_000)
    taken = made.take_events()
    assert [type(event) for event in taken if not hasattr(event, "status")] == [Plugged, CardPresented]
    assert made.take_events() == []


def test_the_next_event_is_known_before_it_happens():
    made = world(stay(begin_s=10))
    assert made.next_event_ms() == 10_000
    made.advance(9_999)
    assert not made.outlets["plugged"][0]
    made.advance(10_000)
    assert made.outlets["plugged"][0]


def test_a_car_charges_only_while_a_transaction_runs():
    made = world(stay())
    made.advance(60_000)
    made.set_pilot(0, 32_000)
    made.advance(300_000)
    assert made.outlets["energy_wh"][0] == 0
    assert made.order(0, 16_000) == Answer.REFUSED
    made.start_transaction(0)
    assert made.order(0, 16_000) == Answer.ACCEPTED
    made.advance(400_000)
    assert made.outlets["draw_ma"][0, 0] == 16_000
    made.stop_transaction(0, "Remote")
    made.advance(400_000)
    assert made.outlets["draw_ma"][0, 0] == 0
    assert made.outlets["status"][0] == Status.FINISHING


def test_a_transaction_starts_at_the_start_current_and_takes_nothing_over():
    made = world(stay(end_s=600), stay(begin_s=700, end_s=1200))
    uncontrolled(made)
    made.advance(300_000)
    assert made.outlets["pilot_ma"][0] == 32_000
    made.listen(lambda event: None)
    made.advance(800_000)
    made.start_transaction(0)
    assert made.outlets["pilot_ma"][0] == 0  # fallback_a of the site


def test_a_lease_ends_by_itself_at_its_own_instant():
    made = world(stay())
    uncontrolled(made)
    made.advance(60_000)
    made.order(0, 20_000, 100_000)
    made.advance(99_999)
    assert made.outlets["pilot_ma"][0] == 20_000
    made.advance(110_000)
    assert made.outlets["pilot_ma"][0] == 0
    assert made.outlets["status"][0] == Status.SUSPENDED_EVSE


def test_a_deaf_box_accepts_a_lowering_and_goes_on():
    made = world(stay(), fault=[{"kind": "ignores_lowerings", "chargepoint": "one", "at_s": 0, "for_s": 100}])
    uncontrolled(made, 20_000)
    made.advance(60_000)
    assert made.order(0, 8_000) == Answer.ACCEPTED
    made.advance(90_000)
    assert made.outlets["draw_ma"][0, 0] == 20_000
    assert made.outlets["claimed_ma"][0] == 8_000
    made.advance(101_000)
    made.order(0, 8_000)
    made.advance(110_000)
    assert made.outlets["draw_ma"][0, 0] == 8_000


def test_loads_and_generation_stand_on_the_phases_they_are_split_over():
    made = world(
        loads=[step_load(1.0, 0.5), step_load(1.0, 1.0, grid="turned", peak_w=-6_900.0)],
    )
    # 10 kW: 50, 30, 20 A; PV on the turned board: -15, -9, -6 A on L2 L3 L1.
    assert made.boards["current_ma"][0].tolist() == [50_000 - 6_000, 30_000 - 15_000, 20_000 - 9_000]
    assert made.next_event_ms() == 900_000
    made.advance(900_000)
    assert made.boards["own_ma"][0].tolist() == [25_000, 15_000, 10_000]


def test_a_fuse_opens_when_its_heat_reaches_the_trip_line():
    made = world(built=site(max_current_a=50), loads=[step_load(1.0, peak_w=29_900.0)])
    heard = []
    made.listen(heard.append)
    # L1 carries 65 A on a 50 A fuse: 1.69 (1 - exp(-t / 600)) = 1.1 after 631.4 s.
    for now_s in range(1, 900):
        made.advance(now_s * 1000)
    tripped = [event for event in heard if isinstance(event, FuseTripped)]
    assert [event.grid for event in tripped] == ["main"]
    assert tripped[0].at_ms / 1000 == pytest.approx(632, abs=1)


def test_what_hangs_under_an_open_fuse_is_dark_and_says_nothing():
    made = world(
        stay(0),
        stay(1),
        fault=[{"kind": "load_step", "grid": "upper", "at_s": 60, "current_a": [330, 0, 0]}],
    )
    heard = uncontrolled(made)
    made.advance(60_000)
    assert made.outlets["draw_ma"][0, 0] > 0
    made.advance(61_000)
    made.advance(62_000)
    assert made.boards["tripped"].tolist() == [0, 1, 0]
    assert made.outlets["draw_ma"][0].tolist() == [0, 0, 0]
    assert made.outlets["draw_ma"][1, 0] > 0
    assert made.boards["current_ma"][1].tolist() == [0, 0, 0]
    assert LinkChanged(60_001, "one", up=False) in heard, "at once, whenever somebody looks"
    made.set_offline("one", offline=False)
    assert made.outlets["offline"][0] == 1, "a box without power has no link"


def test_a_site_may_be_wired_otherwise_than_drawn():
    session = stay(0, Car(1, 16_000))
    made = world(session, wiring={"one/1": "L3 L1 L2"})
    uncontrolled(made)
    made.advance(60_000)
    assert made.topology.connectors["phase"][0].tolist() == [0, 1, 2]
    assert made.boards["current_ma"][0].tolist() == [0, 0, 16_000]


def test_a_load_step_comes_goes_and_comes_again():
    made = world(
        fault=[
            {
                "kind": "load_step",
                "grid": "turned",
                "at_s": 100,
                "for_s": 10,
                "every_s": 60,
                "current_a": [9, 0, 0],
            }
        ]
    )
    found = []
    for now_s in (99, 100, 109, 110, 160, 171):
        made.advance(now_s * 1000)
        found.append(made.boards["current_ma"][0].tolist())
    step, none = [0, 9_000, 0], [0, 0, 0]
    assert found == [none, step, step, none, step, none]


def test_one_more_chargepoint_or_fault_changes_nobody_elses_story():
    sessions = [stay(0, begin_s=10), stay(1, begin_s=20)]
    pauses = {"share": 0.5, "every_s": 60.0, "for_s": 20.0}

    def draws(made):
        uncontrolled(made)
        found = []
        for now_s in range(0, 900, 7):
            made.advance(now_s * 1000)
            found.append(made.outlets["draw_ma"][1].tolist())
        return found

    alone = draws(world(sessions[1], pauses=pauses, seed=4))
    both = draws(
        world(
            *sessions,
            pauses=pauses,
            seed=4,
            fault=[{"kind": "chargepoint_offline", "chargepoint": "one", "at_s": 33}],
        )
    )
    assert alone == both


def test_a_connector_that_is_taken_turns_the_next_car_away():
    made = world(stay(begin_s=10, end_s=600), stay(begin_s=300, end_s=900))
    uncontrolled(made)
    made.advance(1_000_000)
    assert [visit.came for visit in made.stays] == [True, False]


def test_a_car_that_leaves_before_its_card_is_read_leaves_no_transaction():
    session = stay(begin_s=10, end_s=12)
    made = World(site(), compile_site(site()), world().conditions, [session], 1, START)
    made.advance(60_000)
    assert not made.outlets["plugged"][0]
    with pytest.raises(ValueError, match="one/1 has no car to start with"):
        made.start_transaction(0)


def test_time_zones_of_the_start_do_not_matter():
    local = START.astimezone(ZoneInfo("America/Los_Angeles"))
    made = World(site(), compile_site(site()), world().conditions, [], 1, local)
    assert made.start_utc == START
    assert made.start_utc.tzinfo is UTC
