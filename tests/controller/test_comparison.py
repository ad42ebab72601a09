"""Meters that do not fit together, or not what our own orders did: the worst case counts, and an alarm."""

import pytest

from controller.decision import Alarm, Because
from controller.defaults import UNKNOWN
from controller.site import SiteError, build
from tests.controller.desk import Desk, drawn

GUARD = {"grid": "main", "role": "guard", "delay_s": 1.0}
NAMED = {"rotation_confirmed_by": "a test"}


class Wired(Desk):
    """A desk whose cars and building show at guards that may be wired wrongly."""

    def __init__(self, site, *, wrong=lambda name, amps: amps, building=10.0, **kwargs):
        super().__init__(site, **kwargs)
        self.wrong = wrong
        self.building = dict.fromkeys(self.topology.grid_names, 0.0) | {self.topology.grid_names[0]: building}

    def charge(self, draw_a, seconds):
        """Cars take what they may, up to their own maximum per own phase; readings each 5 s."""
        start = self.now_s
        while self.now_s < start + seconds:
            flowing = {name: [amps] * 3 for name, amps in self.building.items()}
            for c, most in draw_a.items():
                limit = int(self.memory.connectors[c]["target_ma"]) / 1000
                wanted = most if isinstance(most, tuple) else (most,) * 3
                own = tuple(min(amps, limit) for amps in wanted)
                built = self.topology.connectors[c]
                for i in range(3):
                    for g in built["path"][: built["depth"]].tolist():
                        flowing[self.topology.grid_names[g]][int(built["phase"][i])] += own[i]
                if (self.now_s - start) % 5 == 0:
                    self.draws(c, own)
            for m, name in enumerate(self.topology.meter_names):
                grid = self.topology.grid_names[int(self.topology.meters[m]["grid"])]
                guard = int(self.topology.meters[m]["role"]) == 0
                amps = flowing[grid] if guard else [self.building[grid]] * 3
                self.load_a[name] = tuple(self.wrong(name, amps))
            self.cycle()
        return self.decision


def steps(desk, draw_a, cars=4):
    """The car park fills and empties: own raises and lowerings, each seen to act."""
    desk.cycle(3)
    for c in range(cars):
        desk.plug(c)
        desk.charge(draw_a, 60)


def test_a_guard_that_says_the_same_for_a_minute_while_cars_take_more_is_lost():
    desk = Wired(drawn(outlets=[{}, {}]))
    desk.cycle(3)
    desk.plug(0, 1)
    desk.charge({0: 10, 1: 10}, 120)
    desk.building["main"] = 12.0
    desk.charge({0: 10, 1: 10}, 1)
    still = desk.load_a["main"]
    desk.wrong = lambda name, amps: still
    desk.charge({0: 10, 1: 10}, 20)
    desk.charge({0: 20, 1: 10}, 30)
    assert desk.grid_alarm() == Alarm.NONE
    desk.charge({0: 20, 1: 10}, 15)
    assert Alarm.METER_FROZEN | Alarm.METER_LOST in desk.grid_alarm()
    assert desk.targets_a() == [0, 0]
    desk.wrong = lambda name, amps: amps
    desk.charge({0: 20, 1: 10}, 60)
    assert desk.grid_alarm() == Alarm.NONE
    assert desk.target_a(0) >= 20


def test_where_they_only_take_less_it_is_a_warning_for_the_load_is_held_too_high_not_too_low():
    desk = Wired(drawn(outlets=[{}]))
    desk.cycle(3)
    desk.plug(0)
    desk.charge({0: 20}, 120)
    still = desk.load_a["main"]
    desk.wrong = lambda name, amps: still
    desk.charge({0: 20}, 20)
    desk.charge({0: 8}, 60)
    assert desk.grid_alarm() == Alarm.METER_FROZEN
    assert desk.estimate_a()[0] >= 20


def test_a_steady_reading_under_steady_cars_is_nothing():
    desk = Wired(drawn(outlets=[{}]))
    desk.cycle(3)
    desk.plug(0)
    desk.charge({0: 20}, 300)
    assert desk.grid_alarm() == Alarm.NONE


def test_one_sample_far_too_low_raises_nobody():
    desk = Wired(drawn(outlets=[{}] * 4))
    steps(desk, dict.fromkeys(range(4), 32))
    before, estimate = desk.targets_a(), desk.estimate_a()
    desk.wrong = lambda name, amps: [a - 60 for a in amps]
    desk.charge(dict.fromkeys(range(4), 32), 1)
    desk.wrong = lambda name, amps: amps
    desk.charge(dict.fromkeys(range(4), 32), 30)
    assert desk.targets_a() == before
    assert desk.estimate_a() == estimate


def test_one_sample_far_too_high_is_cut_at_once_pauses_nobody_and_is_over_in_a_minute():
    desk = Wired(drawn(outlets=[{}] * 4))
    steps(desk, dict.fromkeys(range(4), 32))
    before = sum(desk.targets_a())
    desk.wrong = lambda name, amps: [a + 40 for a in amps]
    desk.charge(dict.fromkeys(range(4), 32), 1)
    assert sum(desk.targets_a()) <= before - 40 + 3
    assert min(desk.targets_a()) >= 6
    desk.wrong = lambda name, amps: amps
    desk.charge(dict.fromkeys(range(4), 32), 60)
    assert sum(desk.targets_a()) >= before - 3


# -- boards against their feeder ------------------------------------------------------------------------

TREE = {"main": {}, "board": {"fed_by": "main", "max_current_a": 63}}
TWO = {"main": GUARD, "board": GUARD | {"grid": "board"}}


def test_boards_that_measure_more_than_their_feeder_are_an_alarm_and_the_larger_load_counts():
    desk = Desk(drawn(grids=TREE, outlets=[{"fed_by": "board"}], meters=TWO))
    desk.load_a = {"main": 20.0, "board": 30.0}
    desk.cycle(9)
    assert desk.grid_alarm() == Alarm.NONE
    desk.cycle(3)
    assert desk.grid_alarm() == Alarm.METER_IMPLAUSIBLE
    assert desk.estimate_a(0) == [30] * 3
    desk.load_a["main"] = 31.0
    desk.cycle()
    assert desk.grid_alarm() == Alarm.NONE


def test_unless_something_feeds_in_there():
    grids = TREE | {"main": {"feeds_in": True}}
    site = drawn(grids=grids, outlets=[{"fed_by": "board"}], meters=TWO)
    desk = Desk(site)
    desk.load_a = {"main": 20.0, "board": 30.0}
    desk.cycle(60)
    assert desk.grid_alarm() == Alarm.NONE


def test_nor_where_a_board_that_nobody_measures_feeds_in():
    roof = {"fed_by": "main", "feeds_in": True, "uncontrolled_a": 0}
    desk = Desk(drawn(grids=TREE | {"roof": roof}, outlets=[{"fed_by": "board"}], meters=TWO))
    desk.load_a = {"main": 20.0, "board": 30.0}
    desk.cycle(60)
    assert desk.grid_alarm() == Alarm.NONE


def test_cars_that_draw_more_than_their_guard_shows_are_an_alarm_and_their_draw_counts():
    desk = Wired(drawn(outlets=[NAMED] * 2), building=10.0)
    desk.cycle(3)
    desk.plug(0, 1)
    desk.charge({0: 16, 1: (16, 0, 0)}, 120)
    assert desk.grid_alarm() == Alarm.NONE
    desk.wrong = lambda name, amps: [a / 2 for a in amps]  # half of the turns that the file says
    desk.charge({0: 16, 1: (16, 0, 0)}, 9)
    assert desk.grid_alarm() == Alarm.NONE
    desk.charge({0: 16, 1: (16, 0, 0)}, 12)
    assert desk.grid_alarm() == Alarm.METER_IMPLAUSIBLE
    assert int(desk.decision.grids["measured_ma"][0][0]) == 32_000
    desk.wrong = lambda name, amps: amps
    desk.charge({0: 16, 1: (16, 0, 0)}, 3)
    assert desk.grid_alarm() == Alarm.NONE


@pytest.mark.parametrize("where", ["main", "board"])
def test_unless_something_may_feed_in_between(where):
    grids = {"main": {}, "board": {"fed_by": "main", "uncontrolled_a": 0}}
    grids[where]["feeds_in"] = True
    desk = Wired(drawn(grids=grids, outlets=[NAMED]), building=-20.0)
    desk.cycle(3)
    desk.plug(0)
    desk.charge({0: 16}, 120)
    assert desk.grid_alarm() == Alarm.NONE


# -- answers to our own steps ---------------------------------------------------------------------------


def test_a_guard_that_is_wired_rightly_is_never_in_doubt():
    desk = Wired(drawn(grids={"main": {"max_current_a": 200}}, outlets=[NAMED] * 4))
    steps(desk, dict.fromkeys(range(4), (32, 0, 0)))
    assert desk.grid_alarm() == Alarm.NONE
    assert (desk.memory.meters["wrong_way"] <= 0).all()
    assert desk.memory.meters["wrong_way"].min() < 0  # it has been judged, and right
    assert desk.memory.meters["wrong_phase"][0] < 0


def test_a_guard_mounted_backwards_is_found_by_its_answers_and_counts_as_load():
    desk = Wired(drawn(outlets=[{}] * 4), wrong=lambda name, amps: [-a for a in amps], building=20.0)
    steps(desk, dict.fromkeys(range(4), 12))
    assert Alarm.METER_REVERSED in desk.grid_alarm()
    assert min(desk.estimate_a()) >= 19
    desk.wrong = lambda name, amps: amps
    for c in range(4):
        desk.stop(c)
    desk.charge({}, 20)
    steps(desk, dict.fromkeys(range(4), 12))
    assert desk.grid_alarm() == Alarm.NONE


def test_one_transformer_the_wrong_way_round_is_in_doubt_on_its_phase_alone():
    desk = Wired(drawn(outlets=[{}] * 4), wrong=lambda name, amps: [amps[0], -amps[1], amps[2]])
    steps(desk, dict.fromkeys(range(4), 12))
    assert desk.memory.meters["reversed"][0] == 0b010


def test_two_exchanged_phases_are_found_and_the_highest_counts_on_all():
    desk = Wired(drawn(outlets=[NAMED] * 4), wrong=lambda name, amps: [amps[1], amps[0], amps[2]])
    steps(desk, dict.fromkeys(range(4), (12, 0, 0)))
    assert Alarm.METER_SWAPPED in desk.grid_alarm()
    measured = desk.decision.grids["measured_ma"][0]
    assert (measured == measured.max()).all()


def test_a_kettle_at_the_wrong_moment_convinces_nobody():
    desk = Wired(drawn(outlets=[{}] * 4))
    desk.cycle(3)
    desk.plug(0)
    desk.charge(dict.fromkeys(range(4), 12), 60)
    desk.plug(1)
    desk.charge(dict.fromkeys(range(4), 12), 5)
    desk.building["main"] = -15.0  # a cloud goes by, worth twice the car
    desk.charge(dict.fromkeys(range(4), 12), 60)
    assert Alarm.METER_REVERSED not in desk.grid_alarm()


# -- what a meter knows ---------------------------------------------------------------------------------


def test_a_meter_mounted_backwards_on_purpose_is_turned_round():
    desk = Desk(drawn(meters={"main": GUARD | {"invert_polarity": True}}))
    desk.load_a["main"] = (-10.0, -20.0, 5.0)
    desk.cycle(2)
    assert desk.decision.grids["measured_ma"][0].tolist() == [10_000, 20_000, -5_000]


def test_without_direction_feed_in_counts_as_load():
    desk = Desk(drawn(meters={"main": GUARD | {"measures": "magnitudes"}}))
    desk.load_a["main"] = (-10.0, 20.0, 5.0)
    desk.cycle(2)
    assert desk.decision.grids["measured_ma"][0].tolist() == [10_000, 20_000, 5_000]


@pytest.mark.parametrize(
    ("differ", "loads_a"), [({}, 33), ({"phases_differ_a": 4}, 15), ({"phases_differ_a": 90}, 33)]
)
def test_total_power_may_flow_on_one_phase_unless_the_site_file_says_how_far_they_differ(differ, loads_a):
    meter = {"grid": "main", "role": "consumer", "error_a": 0, "measures": "total_power"} | differ
    desk = Desk(drawn(meters={"main": meter}))
    desk.silent.add("main")
    for _ in range(3):
        desk.image.meters["at_ms"] = round(desk.now_s * 1000) + 1000
        desk.image.meters["total_ma"] = 30_000
        desk.cycle()
    assert desk.estimate_a() == [loads_a] * 3


def test_total_power_that_is_missing_is_no_reading():
    meter = {"grid": "main", "role": "consumer", "measures": "total_power"}
    desk = Desk(drawn(meters={"main": meter}))
    desk.load_a["main"] = 3.0
    desk.cycle(11)
    assert desk.image.meters["total_ma"][0] == UNKNOWN
    assert Alarm.METER_ABSURD | Alarm.METER_LOST in desk.grid_alarm()


def test_several_consumer_meters_of_a_grid_add_up():
    meter = {"grid": "main", "role": "consumer", "error_a": 1}
    desk = Desk(drawn(meters={"lift": meter, "hall": meter}))
    desk.load_a = {"lift": 10.0, "hall": (5.0, 6.0, 7.0)}
    desk.cycle(2)
    assert desk.estimate_a() == [17, 18, 19]


# -- a consumer meter beside a guard ----------------------------------------------------------------------

BESIDE = {"main": GUARD, "hall": {"grid": "main", "role": "consumer", "error_a": 0.5}}


def test_beside_a_guard_a_fall_of_the_load_counts_at_once():
    desk = Wired(drawn(outlets=[{}] * 4, meters=BESIDE), building=40.0)
    steps(desk, dict.fromkeys(range(4), 32))
    assert desk.estimate_a() == [40] * 3
    desk.building["main"] = 20.0
    desk.charge(dict.fromkeys(range(4), 32), 2)
    assert max(desk.estimate_a()) <= 21


def test_a_consumer_meter_that_says_less_than_the_guard_proves_frees_nothing_and_is_an_alarm():
    desk = Wired(
        drawn(outlets=[{}] * 4, meters=BESIDE),
        wrong=lambda name, amps: [0.0] * 3 if name == "hall" else amps,
        building=40.0,
    )
    steps(desk, dict.fromkeys(range(4), 32))
    assert min(desk.estimate_a()) >= 38
    assert desk.grid_alarm() == Alarm.METERS_DISAGREE


def test_a_consumer_meter_that_says_a_little_less_than_the_guard_proves_frees_no_more():
    desk = Wired(
        drawn(outlets=[{}] * 4, meters=BESIDE),
        wrong=lambda name, amps: [a - 2.9 for a in amps] if name == "hall" else amps,
        building=40.0,
    )
    steps(desk, dict.fromkeys(range(4), 32))
    assert desk.grid_alarm() == Alarm.NONE
    assert desk.estimate_a() == [40] * 3


def test_one_that_says_more_counts_once_it_has_said_so_for_a_minute():
    desk = Wired(
        drawn(outlets=[{}] * 4, meters=BESIDE),
        wrong=lambda name, amps: [60.0] * 3 if name == "hall" else amps,
    )
    desk.cycle(3)
    desk.charge({}, 50)
    assert desk.estimate_a() == [10] * 3
    desk.charge({}, 20)
    assert desk.estimate_a() == [60.5] * 3
    assert desk.because(0) == Because.IDLE


# -- refused when the file is read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter", "grid", "sentence"),
    [
        ({"measures": "total_power"}, {}, "a guard must know the current of each phase"),
        ({"phases_differ_a": 3}, {}, 'phases_differ_a: is for measures = "total_power" only'),
        ({"role": "consumer", "measures": "total_power"}, {"feeds_in": True}, "hides what one phase takes"),
    ],
)
def test_what_a_meter_cannot_know_is_refused(meter, grid, sentence):
    with pytest.raises(SiteError, match=sentence):
        drawn(grids={"main": grid}, meters={"main": GUARD | meter})


@pytest.mark.parametrize(
    ("worst", "refused"), [({}, True), ({"worst_load_a": 80}, False), ({"worst_load_a": 81}, True)]
)
def test_a_safe_current_that_does_not_fit_beside_the_worst_load_is_refused(worst, refused):
    tables = {
        "name": "Small",
        "timezone": "UTC",
        "grid": {"main": {"id": 0, "max_current_a": 100} | worst},
        "meter": {"main": GUARD | {"on_failure": {"safe_current_a": 20}}},
    }
    if refused:
        with pytest.raises(SiteError, match="safe_current_a 20 beside a worst load"):
            build(tables, "small")
    else:
        build(tables, "small")
