import itertools
import re

import pytest

from controller import explain, words
from controller.decision import Alarm, Because
from controller.defaults import NEVER, UNKNOWN
from controller.explain import Scene
from controller.image import Source, Status
from tests.dashboards import garage
from tests.dashboards.garage import BAYS, FREE, Car


def scene(bays=None, *, change=None):
    site, topology = garage.garage()
    image, decision, memory = garage.cycle(topology, bays=bays)
    if change:
        change(decision, memory)
    addresses = {name: meter.link["host"] for name, meter in site.meter.items()}
    return Scene(site, topology, image, decision, memory, addresses)


def plain(text):
    return text.replace(explain.THIN, " ")


def test_a_car_held_by_a_fuse_is_told_which_phase_of_which_board_is_full():
    reason = explain.reason(scene(), 0)
    assert plain(reason.sentence) == "bay_01 gets 8 A: level_1 L2 is full (61 of 63 A)."
    assert reason.mark == "fuse L2"
    assert plain(reason.more) == "Less other load on level_1 L2, fewer cars there, or a larger fuse."


def told_by(source, because, weight_percent=100, wish_ma=32_000):
    seen = scene([Car(8, (7.5, 7.5, 7.5), Status.CHARGING, because, "level_1", 1)])
    rows = seen.image.connectors.copy()
    rows["wish_source"][0], rows["weight_percent"][0], rows["wish_ma"][0] = source, weight_percent, wish_ma
    return explain.reason(seen._replace(image=seen.image._replace(connectors=rows)), 0)


def test_a_car_that_the_departure_plan_lets_wait_is_told_so():
    reason = told_by(Source.PLANNER, Because.WISH, wish_ma=0)
    assert reason.why == "the departure plan lets it wait, for others leave before it or need more"
    assert "earlier departure" in reason.more
    assert "operator" in told_by(Source.API, Because.WISH, wish_ma=6_000).why


@pytest.mark.parametrize(
    ("source", "weight_percent", "end"),
    [
        (Source.PLANNER, 40, ", and the departure plan gives it a weight of 40 %"),
        (Source.FUSE, 200, ", and its card gives it a weight of 200 %"),
        (Source.PLANNER, 100, ")"),
    ],
)
def test_a_share_that_a_weight_has_changed_names_the_weight_and_who_set_it(source, weight_percent, end):
    assert plain(told_by(source, Because.FUSE, weight_percent).why).endswith(end)


@pytest.mark.parametrize("because", list(Because))
@pytest.mark.parametrize("place", [("", -1), ("main", -1), ("level_1", 2), ("level_2", 0)])
def test_every_rule_has_its_words_wherever_it_binds(because, place):
    reason = explain.reason(scene([Car(10, (9, 9, 9), Status.CHARGING, because, *place)]), 0)
    assert reason.sentence.startswith("bay_01 gets 10")
    assert all(reason)
    assert not re.search(r"[{}]|None|None|\d{6,}", " ".join(reason))


@pytest.mark.parametrize("status", list(Status))
def test_an_idle_connector_says_what_it_waits_for(status):
    reason = explain.reason(scene([Car(0, None, status, Because.IDLE)]), 0)
    assert reason.sentence.startswith("bay_01 gets no current: ")
    assert "{" not in reason.sentence + reason.more


def test_idle_words_differ_by_status():
    whys = {explain.reason(scene([Car(0, None, status, Because.IDLE)]), 0).why for status in Status}
    assert len(whys) >= 7


@pytest.mark.parametrize("alarm", [alarm for alarm in Alarm if alarm])
@pytest.mark.parametrize(("kind", "row"), [("site", 0), ("grid", 0), ("grid", 2), ("connector", 3)])
def test_every_alarm_says_what_is_wrong_and_what_to_do(alarm, kind, row):
    advice = explain.advice(scene(), kind, row, alarm)
    assert advice.text.endswith((".", "off."))
    assert advice.next_step.endswith(".")
    assert "{" not in advice.text + advice.next_step


def test_every_alarm_that_exists_has_words_of_its_own_somewhere():
    assert {alarm for alarm in Alarm if alarm} == words.GRID_ALARMS.keys() | words.CONNECTOR_ALARMS.keys()


def test_a_silent_meter_says_how_long_what_goes_on_and_which_cable_to_check():
    def silence(decision, memory):
        decision.grids["alarm"][0] = Alarm.METER_LOST
        decision.grids["measured_ma"][0] = UNKNOWN

    seen = scene(change=silence)
    meters = seen.image.meters.copy()
    meters["at_ms"][0] = seen.image.clock[0]["now_ms"] - 12_000
    seen = seen._replace(image=seen.image._replace(meters=meters))
    advice = explain.advice(seen, "grid", 0, Alarm.METER_LOST)
    assert plain(advice.text) == (
        "Meter main silent for 12 s. Charging continues at the safe current of 16 A."
    )
    assert advice.next_step == "Check its power and the cable to 192.168.10.20."
    state, sentence = explain.answer(seen)
    assert state == "danger"
    assert sentence.startswith("Meter main silent for 12")


def test_the_answer_counts_cars_and_names_the_bottleneck():
    state, sentence = explain.answer(scene())
    assert state == "attention"  # bay_09 is offline
    assert plain(sentence) == "Safe. 7 of 10 cars charge; level_1 L2 is the bottleneck, 60 of 63 A."


def test_a_garage_without_cars_is_safe_and_says_so():
    assert explain.answer(scene([FREE])) == ("safe", "Safe. No car is plugged in.")


def test_where_no_fuse_binds_nobody_is_named():
    state, sentence = explain.answer(scene([BAYS[2]]))
    assert (state, sentence) == ("safe", "Safe. 12 of 12 cars charge; no fuse holds anybody back.")


def test_a_bottleneck_without_meter_is_told_as_booked():
    _, sentence = explain.answer(scene([Car(8, (8, 8, 8), Status.CHARGING, Because.FUSE, "level_2", 2)]))
    assert plain(sentence).endswith("level_2 L3 is the bottleneck, 48 of 63 A booked.")


def test_over_the_limit_is_said_first():
    def rise(decision, memory):
        decision.grids["alarm"][0] = Alarm.OVER_LIMIT
        decision.grids["measured_ma"][0] = [80_000, 104_000, 70_000]

    state, sentence = explain.answer(scene(change=rise))
    assert state == "danger"
    assert plain(sentence).startswith("main L2 is over its limit: 104 A of 100 A.")


def test_what_nobody_knows_is_a_dash_and_never_zero():
    assert explain.number(UNKNOWN) == "-"
    assert explain.draw_ma(scene([BAYS[8]]), 0) == (UNKNOWN, UNKNOWN, UNKNOWN)
    reason = explain.reason(scene([Car(8, None, Status.CHARGING, Because.CAR)]), 0)
    assert plain(reason.why) == "the car takes no more than - A"


def test_a_status_that_says_it_draws_nothing_outweighs_an_older_reading():
    def suspend(decision, memory):
        memory.connectors["event_at_ms"][0] = memory.connectors["reading_at_ms"][0] + 1

    assert explain.draw_ma(scene(change=suspend), 0) == (0, 0, 0)
    assert explain.draw_ma(scene(), 0) == (0, 7_800, 0)


@pytest.mark.parametrize(
    ("current_ma", "text"),
    [
        (0, "0"),
        (6_000, "6"),
        (7_440, "7.4"),
        (9_949, "9.9"),
        (9_960, "10"),
        (61_499, "61"),
        (-3_210, explain.MINUS + "3.2"),
        (-20, "0"),
    ],
)
def test_amperes_have_one_decimal_below_ten_and_none_above(current_ma, text):
    assert explain.number(current_ma) == text


def test_the_chain_runs_from_the_car_to_the_main_fuse_and_marks_what_binds():
    links = explain.chain(scene(), 0)
    assert [link.what for link in links] == ["car", "order", "outlet", "grid", "grid"]
    assert [link.name for link in links[3:]] == ["level_1", "main"]
    binding = [link for link in links if link.binding]
    assert [(link.name, link.phase, link.limit_ma, link.booked_ma) for link in binding] == [
        ("level_1", 1, 63_000, 61_200)
    ]


@pytest.mark.parametrize("because", list(Because))
def test_every_chain_has_its_binding_link(because):
    for place in (("", -1), ("level_1", 1), ("main", -1)):
        links = explain.chain(scene([Car(8, (8, 8, 8), Status.CHARGING, because, *place)]), 0)
        assert any(link.binding and link.note for link in links)


def test_a_connector_of_many_carries_its_number():
    _, topology = garage.garage()
    table = topology.connectors.copy()
    table["chargepoint"][1] = table["chargepoint"][0]
    twins = topology._replace(connectors=table)
    assert explain.connector_name(twins, 0) == "bay_01/1"
    assert explain.connector_name(topology, 0) == "bay_01"


def test_a_meter_never_heard_is_silent_since_the_start():
    seen = scene()
    meters = seen.image.meters.copy()
    meters["at_ms"] = NEVER
    seen = seen._replace(image=seen.image._replace(meters=meters))
    assert "silent for 120" in explain.advice(seen, "grid", 0, Alarm.METER_LOST).text


def test_words_never_hold_an_unknown_place():
    places = set(
        itertools.chain(explain._connector_facts(scene(), 0), explain._grid_facts(scene(), 0), {"code"})
    )
    texts = [*itertools.chain(*words.REASONS.values(), *words.IDLE_BY_STATUS.values())]
    texts += [*itertools.chain(*words.GRID_ALARMS.values(), *words.CONNECTOR_ALARMS.values())]
    assert set(re.findall(r"{(\w+)}", " ".join(texts))) <= places
