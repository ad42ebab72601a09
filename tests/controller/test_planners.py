"""Planning by departures: weights and caps as integers beside the loop, which narrow and never widen."""

import numpy as np
import pytest

from controller.cycle import calculate
from controller.decision import Because
from controller.defaults import LINES, NEVER, PLAN_VALID_MS, TOGETHER, UNKNOWN, UNLIMITED_MA
from controller.image import Source, frozen
from controller.planners import CAR, Outlook, Wish, blank_plan, hand_in, look_ahead, planner
from controller.planners.history import Past, expect
from controller.planners.horizon import horizon
from controller.planners.least_laxity import least_laxity
from tests.controller.desk import Desk, drawn

HOUR_MS = 3_600_000
NOON_MS = 12 * HOUR_MS
PLANNERS = [least_laxity, horizon]


def car(leaves_h=None, need_kwh=None, *, got_kwh=0.0, max_a=16, phases=(1, 1, 1), must_run=0):
    """A car at noon that came at eleven."""
    departure_ms = NEVER if leaves_h is None else NOON_MS + round(leaves_h * HOUR_MS)
    need_wh = UNKNOWN if need_kwh is None else round(need_kwh * 1000)
    since_ms = NOON_MS - HOUR_MS
    return (departure_ms, round(got_kwh * 1000), need_wh, max_a * 1000, phases, must_run, since_ms)


def outlook(*cars, room_a=30, together_a=None, grids=1, under=None):
    table = np.zeros(len(cars), CAR)
    for c, one in enumerate(cars):
        table[c]["connector"], table[c]["session"], table[c]["min_ma"] = c, 1, 6_000
        table[c]["departure_ms"], table[c]["got_wh"], table[c]["need_wh"], table[c]["max_ma"] = one[:4]
        table[c]["phases"], table[c]["must_run"], table[c]["since_ms"] = one[4:]
    room_ma = np.full((grids, LINES), UNLIMITED_MA)
    room_a = np.reshape(room_a, (-1, 1)) if np.ndim(room_a) < 2 else np.array(room_a)
    room_ma[:, :3] = room_a[:, :3] * 1000
    if together_a is not None:
        room_ma[:, TOGETHER] = together_a * 1000
    above = np.ones((len(cars), grids), "i8") if under is None else np.array(under, "i8")
    return Outlook(NOON_MS, table, room_ma, above)


def weights(plan):
    return plan.rows["weight_percent"].tolist()


def caps(plan):
    return plan.rows["cap_ma"].tolist()


# -- what planners say -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_who_leaves_first_with_the_same_need_weighs_most(plan_by):
    soon, late = weights(plan_by(outlook(car(2, 15), car(8, 15), room_a=16)))
    assert soon > 3 * late


def test_a_limit_on_the_phases_together_is_planned_like_one_on_each():
    cars = car(1, 10), car(8, 10)
    on_each = horizon(outlook(*cars, room_a=16))
    together = horizon(outlook(*cars, room_a=1000, together_a=48))
    assert weights(together) == weights(on_each)
    assert caps(together) == caps(on_each)
    assert weights(together) != weights(horizon(outlook(*cars, room_a=1000)))


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_who_needs_more_until_the_same_hour_weighs_more(plan_by):
    much, little = weights(plan_by(outlook(car(3, 25), car(3, 5), room_a=16)))
    assert much > little


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_where_nobody_knows_any_departure_nothing_changes(plan_by):
    plan = plan_by(outlook(car(None, 10), car(None, None), car(None, 40), room_a=16))
    assert weights(plan) == [100] * 3
    assert caps(plan) == [UNKNOWN] * 3


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_a_car_of_which_nothing_is_known_is_never_made_to_wait_nor_lighter(plan_by):
    plan = plan_by(outlook(car(1, 20), car(1, 20), car(None, None), room_a=16))
    assert weights(plan)[2] >= 100
    assert caps(plan)[2] == UNKNOWN


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_an_empty_car_park_gives_an_empty_plan(plan_by):
    assert len(plan_by(outlook()).rows) == 0


@pytest.mark.parametrize("plan_by", PLANNERS)
def test_plans_say_integers_within_their_bounds_whatever_they_are_told(plan_by):
    strange = [car(0.001, 250), car(700, 0.001), car(1, 0), car(2, 10, max_a=0), car(2, 10, phases=(0, 0, 0))]
    plan = plan_by(outlook(*strange, room_a=3))
    assert all(10 <= weight <= 1000 for weight in weights(plan))
    assert set(caps(plan)) <= {0, UNKNOWN}


def test_least_laxity_weighs_by_the_square_of_the_share_of_time_that_must_be_charged():
    # 16 A on three phases are 11.04 kW: 2 h of work in 4 h, and in 8 h; the third has no laxity left
    plan = least_laxity(outlook(car(4, 22.08), car(8, 22.08), car(1, 22.08)))
    assert weights(plan) == [250, 62, 1000]


def test_the_horizon_lets_those_wait_whose_time_comes_when_the_others_have_left():
    plan = horizon(outlook(car(2, 20), car(9, 20), room_a=16))
    assert caps(plan) == [UNKNOWN, 0]


def test_the_horizon_tells_nobody_to_wait_where_there_is_room_for_all():
    plan = horizon(outlook(car(2, 20), car(9, 20), room_a=32))
    assert caps(plan) == [UNKNOWN, UNKNOWN]
    assert weights(plan) == [100, 100]


def test_a_car_that_does_not_wake_up_again_is_not_made_to_wait():
    assert caps(horizon(outlook(car(2, 20), car(9, 20, must_run=1), room_a=16)))[1] == UNKNOWN


def test_the_horizon_counts_phases_one_by_one():
    apart = [car(2, 20, phases=(1, 0, 0)), car(9, 20, phases=(0, 1, 0))]
    together = [car(2, 20, phases=(1, 0, 0)), car(9, 20, phases=(1, 0, 0))]
    assert caps(horizon(outlook(*apart, room_a=16))) == [UNKNOWN, UNKNOWN]
    assert caps(horizon(outlook(*together, room_a=16))) == [UNKNOWN, 0]


def test_the_horizon_keeps_the_small_board_and_leaves_the_rest_to_others():
    # two behind a board of 16 A, one beside it; 48 A at the connection are no bottleneck
    plan = horizon(
        outlook(car(2, 20), car(9, 20), car(9, 20), room_a=[48, 16], grids=2, under=[[1, 1], [1, 1], [1, 0]])
    )
    assert caps(plan) == [UNKNOWN, 0, UNKNOWN]


def test_shortage_is_spread_over_cars_that_are_alike():
    plan = horizon(outlook(*[car(2, 22)] * 4, room_a=32))
    assert max(weights(plan)) <= 1.5 * min(weights(plan))


# -- what a card's past says -------------------------------------------------------------------------------


def past(*stays_h, kwh=20):
    return [Past(round(stay * HOUR_MS), kwh * 1000) for stay in stays_h]


@pytest.mark.parametrize(
    ("stays_h", "stayed_h", "leaves_h"),
    [
        ((8, 8.5, 9, 9.5), 1, 8),  # the lower quarter: it may leave early
        ((8, 8.5, 9, 9.5, 3), 4, 8),  # what lasted less is no example any more
        ((8, 8.5, 9), 8.2, None),  # of two examples nothing is expected
        ((2, 5, 8, 11), 1, None),  # no habit
        ((8, 8), 1, None),
        ((), 1, None),
    ],
)
def test_a_departure_is_expected_of_a_card_with_a_habit(stays_h, stayed_h, leaves_h):
    wish = expect(past(*stays_h), HOUR_MS, HOUR_MS + round(stayed_h * HOUR_MS), 0)
    assert wish.departure_ms == (NEVER if leaves_h is None else HOUR_MS + round(leaves_h * HOUR_MS))


def test_the_energy_that_is_expected_is_the_upper_quarter_of_what_may_still_come():
    sessions = [Past(8 * HOUR_MS, wh) for wh in (5_000, 10_000, 20_000, 30_000)]
    assert expect(sessions, 0, HOUR_MS, 1_000).energy_wh == 20_000
    assert expect(sessions, 0, HOUR_MS, 25_000).energy_wh == 30_000
    assert expect(sessions, 0, HOUR_MS, 31_000).energy_wh == UNKNOWN


# -- how a plan is handed in --------------------------------------------------------------------------------


@pytest.fixture(name="desk")
def _desk():
    desk = Desk(drawn(grids={"main": {"max_current_a": 43}}, outlets=[{}, {}, {}]))
    desk.cycle(3)
    desk.plug(0, 1, 2)
    desk.settle({0: 32, 1: 32, 2: 32}, 60)
    return desk


def seen_by(desk, plan):
    return hand_in(frozen(desk.image), desk.memory, plan)


def plan_of(desk, rows, until_ms=10**9):
    """(connector, weight, cap) each."""
    outlook_ = look_ahead(desk.topology, frozen(desk.image), desk.decision, desk.memory, {})
    plan = blank_plan(outlook_)
    for c, weight, cap_ma in rows:
        plan.rows[c]["weight_percent"], plan.rows[c]["cap_ma"] = weight, cap_ma
    return plan._replace(until_ms=until_ms)


def test_without_a_plan_the_image_is_the_very_same(desk):
    image = frozen(desk.image)
    assert hand_in(image, desk.memory, None) is image
    assert hand_in(image, desk.memory, plan_of(desk, [(0, 900, 0)], until_ms=0)) is image
    assert planner("off") is None


def test_a_plan_that_changes_nothing_gives_the_same_decisions_to_the_last_bit(desk):
    image = frozen(desk.image)
    decision, memory = calculate(desk.topology, image, desk.memory)
    again, after = calculate(desk.topology, seen_by(desk, plan_of(desk, [])), desk.memory)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(decision, again, strict=True))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(memory, after, strict=True))


def test_weights_multiply_those_of_cards_and_caps_only_narrow(desk):
    desk.image.connectors["weight_percent"] = [200, 100, 100]
    desk.image.connectors["wish_ma"][2] = 8_000
    desk.image.connectors["wish_source"][2] = Source.API
    image = seen_by(desk, plan_of(desk, [(0, 50, UNKNOWN), (1, 300, 10_000), (2, 10, 16_000)]))
    assert image.connectors["weight_percent"].tolist() == [100, 300, 10]
    assert image.connectors["wish_ma"].tolist() == [32_000, 10_000, 8_000]
    assert image.connectors["wish_source"].tolist() == [Source.PLANNER, Source.PLANNER, Source.API]
    assert not image.connectors.flags.writeable


def test_a_plan_for_a_car_that_has_left_is_not_used_for_the_next_one(desk):
    plan = plan_of(desk, [(0, 900, 0)])
    desk.stop(0)
    desk.cycle(5)
    desk.plug(0)
    desk.cycle(5)
    row = seen_by(desk, plan).connectors[0]
    assert (row["weight_percent"], row["wish_ma"]) == (100, 32_000)


def test_a_plan_ends_by_itself(desk):
    plan = blank_plan(look_ahead(desk.topology, frozen(desk.image), desk.decision, desk.memory, {}))
    assert plan.until_ms == desk.now_s * 1000 + PLAN_VALID_MS


def test_a_weight_from_the_plan_moves_current_and_a_cap_of_nothing_pauses(desk):
    def think(plan):
        decision, _ = calculate(desk.topology, seen_by(desk, plan), desk.memory)
        return decision

    heavy = think(plan_of(desk, [(0, 400, UNKNOWN)])).connectors["wish_ma"]
    assert heavy[0] > 2 * heavy[1]
    paused = think(plan_of(desk, [(0, 100, 0)]))
    assert paused.connectors["wish_ma"].tolist() == [0, 20_000, 20_000]
    assert paused.connectors["because"][0] == Because.WISH


def test_the_outlook_has_what_is_left_of_needs_and_of_rooms(desk):
    wishes = {0: Wish(10 * HOUR_MS, 10_000), 1: Wish(1_000, UNKNOWN)}
    ahead = look_ahead(desk.topology, frozen(desk.image), desk.decision, desk.memory, wishes)
    first, second, third = ahead.cars
    assert first["departure_ms"] == 10 * HOUR_MS
    # about 60 s at three phases of a third of 40 A
    assert 50 < first["got_wh"] < 200
    assert first["need_wh"] == 10_000 - first["got_wh"]
    assert second["departure_ms"] == third["departure_ms"] == NEVER  # the past is no departure
    assert second["need_wh"] == UNKNOWN
    assert ahead.room_ma[0].tolist() == pytest.approx([40_000] * 3 + [UNLIMITED_MA], abs=2_500)


def test_the_outlook_has_the_room_of_the_phases_together_where_a_power_is_limited():
    desk = Desk(drawn({"main": {"max_power_w": 13_800}}))
    desk.load_a["main"] = 5.0
    desk.cycle(3)
    ahead = look_ahead(desk.topology, frozen(desk.image), desk.decision, desk.memory, {})
    assert ahead.room_ma[0, TOGETHER] == pytest.approx(60_000 - 15_000 - 9_000, abs=100)


def test_full_and_offline_cars_are_not_planned(desk):
    desk.memory.connectors["full"][1] = 1
    desk.image.connectors["online"][2] = 0
    ahead = look_ahead(desk.topology, frozen(desk.image), desk.decision, desk.memory, {})
    assert ahead.cars["connector"].tolist() == [0]
