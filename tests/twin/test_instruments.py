"""The twin through its links: what the controller sees, when, and what becomes of its orders."""

import numpy as np
import pytest

from controller.decision import Alarm, empty_decision
from controller.defaults import NEVER, UNKNOWN
from controller.image import Answer, Status
from controller.site import build
from tests.twin import small_site
from tests.twin.small_site import stay, world
from tests.twin.test_world import step_load
from twin.instruments import SimulatedPlant


def plant(*sessions, instant=False, accepts=None, loads=(), **conditions):
    links = {"latency_s": 0.0} | conditions.pop("links", {})
    made = world(*sessions, loads=loads, links=links, **conditions)
    return SimulatedPlant(made, instant=instant, **({"accepts": accepts} if accepts else {}))


def order(seen, connector, limit_a, seq, lease_until_ms=NEVER, ask=0):
    decision = empty_decision(seen.world.topology)
    row = decision.connectors[connector]
    row["put"], row["target_ma"], row["order_seq"], row["ask"] = limit_a is not None, 0, seq, ask
    if limit_a is not None:
        row["target_ma"] = round(limit_a * 1000)
    row["lease_until_ms"] = lease_until_ms
    seen.distribute(decision)


def test_every_box_is_known_when_the_story_begins():
    seen = plant()
    image = seen.measure()
    assert image.connectors["online"].tolist() == [1, 1]
    assert image.connectors["default_ma"].tolist() == [0, 0]
    assert image.connectors["status"].tolist() == [Status.AVAILABLE] * 2
    assert len(set(image.connectors["firmware"].tolist())) == 2
    assert (image.connectors["reading_at_ms"] == NEVER).all()


def test_an_image_is_frozen():
    image = plant().measure()
    with pytest.raises(ValueError, match="read-only"):
        image.connectors["online"] = 0


def test_without_latency_an_order_is_in_force_and_answered_in_the_same_instant():
    seen = plant(stay())
    seen.advance(60_000)
    order(seen, 0, 16.27, seq=5, lease_until_ms=90_000)
    assert seen.world.outlets["pilot_ma"][0] == 16_200, "rounded down to a tenth of an ampere"
    row = seen.measure().connectors[0]
    assert (row["answered_seq"], row["answer"], row["answered_at_ms"]) == (5, Answer.ACCEPTED, 60_000)
    seen.advance(90_000)
    assert seen.world.outlets["pilot_ma"][0] == 0


def test_an_order_and_its_answer_take_the_latency_of_the_link():
    seen = plant(stay(), links={"latency_s": 0.7})
    seen.advance(60_000)
    order(seen, 0, 16, seq=1)
    seen.advance(60_699)
    assert seen.world.outlets["pilot_ma"][0] == 0
    seen.advance(60_700)
    assert seen.world.outlets["pilot_ma"][0] == 16_000
    seen.advance(61_399)
    assert seen.measure().connectors["answered_seq"][0] == 0
    seen.advance(61_400)
    assert seen.measure().connectors["answered_at_ms"][0] == 61_400


def test_a_card_starts_a_transaction_and_a_refused_one_does_not():
    seen = plant(stay(0), stay(1), accepts=lambda card: card == "CARD")
    seen.advance(30_000)
    assert (seen.measure().connectors["transaction"] > 0).all()
    refused = plant(stay(0), accepts=lambda card: card == "OTHER")
    refused.advance(30_000)
    assert refused.measure().connectors["transaction"][0] == 0
    assert refused.measure().connectors["status"][0] == Status.PREPARING


def test_a_box_without_a_transaction_refuses_an_order():
    seen = plant()
    seen.advance(1_000)
    order(seen, 0, 16, seq=1)
    assert seen.measure().connectors["answer"][0] == Answer.REFUSED


def test_readings_come_every_sample_interval_and_when_asked_for():
    seen = plant(stay(begin_s=10))
    seen.advance(15_000)
    order(seen, 0, 16, seq=1)
    stamps = []
    for now_s in range(16, 60):
        seen.advance(now_s * 1000)
        if now_s == 33:
            order(seen, 0, None, seq=1, ask=1)
        stamps.append(int(seen.measure().connectors["reading_at_ms"][0]))
    assert sorted(set(stamps) - {NEVER}) == [20_000, 30_000, 34_000, 40_000, 50_000]
    assert seen.measure().connectors["current_ma"][0].tolist() == [16_000] * 3


def test_a_jump_over_quiet_time_refreshes_the_stamps_of_readings():
    stepped, jumped = plant(stay(begin_s=10)), plant(stay(begin_s=10))
    for seen in (stepped, jumped):
        seen.advance(15_000)
        order(seen, 0, 16, seq=1)
        seen.advance(40_000)
    for now_s in range(41, 98):
        stepped.advance(now_s * 1000)
    jumped.advance(97_000)
    for one, other in zip(stepped.measure(), jumped.measure(), strict=True):
        assert (one == other).all()
    assert jumped.measure().connectors["reading_at_ms"][0] == 90_000


def test_a_meter_tells_the_truth_of_its_delay_ago():
    seen = plant(
        loads=[step_load(0.0)],
        meters={"delay_s": 2.0, "poll_s": 1.0},
        fault=[{"kind": "load_step", "grid": "main", "at_s": 10, "current_a": [7, 8, 9]}],
    )
    found = {}
    for now_s in range(9, 15):
        seen.advance(now_s * 1000)
        row = seen.measure().meters[0]
        found[now_s] = (int(row["at_ms"]), row["current_ma"].tolist())
    assert found[11] == (11_000, [0, 0, 0])
    assert found[12] == (12_000, [7_000, 8_000, 9_000])


def test_a_consumer_meter_does_not_see_the_cars():
    seen = plant(
        stay(1),
        instant=True,
        fault=[{"kind": "load_step", "grid": "turned", "at_s": 0, "current_a": [3, 4, 5]}],
    )
    seen.advance(20_000)
    order(seen, 1, 16, seq=1)
    seen.advance(60_000)
    image = seen.measure()
    assert seen.world.outlets["draw_ma"][1, 0] == 16_000
    assert image.meters["current_ma"][1].tolist() == [3_000, 4_000, 5_000]
    # The guard reads site phases: the board's L1 L2 L3 are L2 L3 L1 there.
    assert image.meters["current_ma"][0].tolist() == [21_000, 19_000, 20_000]


@pytest.mark.parametrize(
    ("kind", "age_ms", "value"),
    [("meter_silent", 20_000, 5_000), ("meter_frozen", 0, 5_000), ("meter_nan", 0, UNKNOWN)],
)
def test_a_broken_meter_gives_no_number_an_old_one_or_none(kind, age_ms, value):
    seen = plant(
        meters={"delay_s": 0.0},
        fault=[
            {"kind": "load_step", "grid": "main", "at_s": 0, "current_a": [5, 5, 5]},
            {"kind": "load_step", "grid": "main", "at_s": 15, "current_a": [9, 9, 9]},
            {"kind": kind, "meter": "guard", "at_s": 10.5, "for_s": 30},
        ],
    )
    for now_s in range(31):
        seen.advance(now_s * 1000)
    row = seen.measure().meters[0]
    assert 30_000 - row["at_ms"] == age_ms
    assert row["current_ma"][0] == value
    for now_s in range(31, 45):
        seen.advance(now_s * 1000)
    assert seen.measure().meters["current_ma"][0].tolist() == [14_000] * 3


def test_noise_is_that_of_the_condition_and_the_same_for_the_same_seed():
    def readings(seed):
        made = world(seed=seed, meters={"noise_a": 0.2, "delay_s": 0})
        seen = SimulatedPlant(made)
        found = []
        for now_s in range(1, 2000):
            seen.advance(now_s * 1000)
            found.append(seen.measure().meters["current_ma"][0].tolist())
        return np.array(found)

    one = readings(3)
    assert abs(one.mean()) < 20
    assert one.std() == pytest.approx(200, rel=0.1)
    assert (one == readings(3)).all()
    assert not (one == readings(4)).all()


def test_an_offline_chargepoint_goes_on_by_itself_and_reports_when_it_is_back():
    fault = {"kind": "chargepoint_offline", "chargepoint": "one", "at_s": 60, "for_s": 100}
    seen = plant(stay(begin_s=10, end_s=120), fault=[fault])
    for now_s in range(160):
        seen.advance(now_s * 1000)
        if now_s == 20:
            order(seen, 0, 16, seq=1)
        if now_s == 70:
            order(seen, 0, 6, seq=2)
            assert seen.world.outlets["draw_ma"][0, 0] == 16_000
            row = seen.measure().connectors[0]
            assert (row["online"], row["answered_seq"], row["reading_at_ms"]) == (0, 1, 50_000)
    gone = seen.measure().connectors[0]
    assert (gone["online"], gone["status"], gone["transaction"]) == (0, Status.CHARGING, 1)
    seen.advance(160_000)
    back = seen.measure().connectors[0]
    assert (back["online"], back["status"], back["transaction"]) == (1, Status.AVAILABLE, 0)
    assert back["transaction_at_ms"] == 160_000


def test_lost_messages_leave_orders_unanswered_and_readings_out():
    answered, stamps = 0, set()
    seen = plant(stay(begin_s=1, end_s=4000), links={"loss": 0.4, "latency_s": 0.1})
    for now_s in range(2, 2000):
        seen.advance(now_s * 1000)
        if now_s % 10 == 0:
            order(seen, 0, 16, seq=now_s)
        row = seen.measure().connectors[0]
        stamps.add(int(row["reading_at_ms"]))
        answered += now_s % 10 == 1 and row["answered_seq"] == now_s - 1
    assert 0.36 * 0.7 * 199 < answered < 0.36 * 1.3 * 199
    assert 0.6 * 0.8 * 199 < len(stamps) < 0.6 * 1.2 * 199


def test_a_box_may_refuse_every_limit_or_take_its_time():
    seen = plant(
        stay(0),
        stay(1),
        fault=[
            {"kind": "refuses_limits", "chargepoint": "one", "at_s": 0},
            {"kind": "answers_late", "chargepoint": "two", "at_s": 0, "late_s": 8},
        ],
    )
    seen.advance(60_000)
    order(seen, 0, 16, seq=1)
    order(seen, 1, 16, seq=2)
    image = seen.measure()
    assert image.connectors["answer"].tolist() == [Answer.REFUSED, Answer.NONE]
    seen.advance(68_000)
    assert seen.measure().connectors["answer"][1] == Answer.ACCEPTED
    assert seen.world.outlets["pilot_ma"].tolist() == [0, 16_000]
    assert seen.writes.tolist() == [0, 1]


def test_in_minute_mode_nothing_takes_time():
    seen = plant(stay(), instant=True, links={"latency_s": 5.0, "loss": 0.5}, meters={"delay_s": 9.0})
    seen.advance(60_000)
    order(seen, 0, 16, seq=1)
    row = seen.measure().connectors[0]
    assert (row["answer"], row["answered_at_ms"]) == (Answer.ACCEPTED, 60_000)
    seen.advance(120_000)
    image = seen.measure()
    assert image.meters["at_ms"][0] == 120_000
    assert image.meters["current_ma"][0].tolist() == [16_000] * 3
    assert image.connectors["reading_at_ms"][0] == 120_000


def test_the_last_resort_opens_the_contactor_and_takes_no_card():
    seen = plant(stay(), links={"latency_s": 0.5})
    seen.advance(60_000)
    assert seen.measure().connectors["transaction"][0] != 0
    decision = empty_decision(seen.world.topology)
    decision.connectors["unavailable"][0] = decision.connectors["stop_transaction"][0] = 1
    decision.site["alarm"] = decision.connectors["alarm"][0] = Alarm.OUT_OF_SERVICE
    seen.distribute(decision)
    seen.advance(62_000)
    assert seen.measure().connectors["transaction"][0] == 0
    assert seen.world.outlets["draw_ma"][0].max() == 0


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ({}, {"current_ma": [-5_000, 2_000, 3_000]}),
        ({"invert_polarity": True}, {"current_ma": [5_000, -2_000, -3_000]}),
        ({"measures": "magnitudes"}, {"current_ma": [5_000, 2_000, 3_000]}),
        ({"measures": "total_power"}, {"total_ma": 0}),
    ],
)
def test_a_meter_says_what_its_kind_knows(measures, said):
    tables = small_site.site().model_dump()
    tables["meter"]["guard"] |= measures | {"role": "consumer"}
    built = build(tables, "small")
    made = small_site.world(built=built, loads=())
    made.boards["own_ma"][0] = [-5_000, 2_000, 3_000]
    made.touch()
    seen = SimulatedPlant(made)
    seen.advance(5_000)
    row = seen.measure().meters[0]
    for field, value in said.items():
        assert row[field].tolist() == value


@pytest.mark.parametrize(
    ("kind", "said"), [("reversed", [-1_000, -2_000, -3_000]), ("swapped", [2_000, 1_000, 3_000])]
)
def test_a_meter_may_be_wired_wrongly(kind, said):
    made = small_site.world()
    made.boards["own_ma"][0] = [1_000, 2_000, 3_000]
    made.gauges[kind][0] = 1
    made.touch()
    seen = SimulatedPlant(made)
    seen.advance(5_000)
    assert seen.measure().meters["current_ma"][0].tolist() == said
