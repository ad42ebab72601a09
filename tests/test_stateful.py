"""Any order of events on any site: after every cycle the rules hold, judged from the truth of the twin.

Hypothesis draws a tree, its links and what happens every few seconds: cars, loads, boxes that vanish, lie,
round up, refuse or answer late, meters that fall silent or tell no numbers. It shrinks what breaks a rule to
few events and prints them; `HYPOTHESIS_PROFILE=search` looks for new ones. `make soak` plays millions.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from controller.topology import MANUAL, SELF_CONSUMPTION
from tests.playground import HEAVY, LATE_S, Playground, cycles, excused_as

STEPS, LEAST_S, MOST_S = 12, 20, 45
SOAK_TIMES = int(os.environ.get("SOAK_TIMES", "15"))
lengths = st.integers(LEAST_S, MOST_S)
which = st.integers(0, 2**16)
parts = st.tuples(*[st.sampled_from([0.0, 0.3, 1.0])] * 3)


class AnySite(RuleBasedStateMachine):
    """Small and shallow, or large and deep; every run leaves start-up behind it."""

    connectors, levels = st.integers(3, 24), st.integers(1, 3)
    losses, pauses, proven = st.sampled_from([0.0, 0.0, 0.05]), st.booleans(), st.sampled_from([True, False])

    @initialize(data=st.data(), seed=st.integers(0, 2**31))
    def a_site(self, data, seed):
        self.place = Playground(
            seed,
            data.draw(self.connectors, "connectors"),
            data.draw(self.levels, "levels"),
            loss=data.draw(self.losses, "loss"),
            latency_s=data.draw(st.sampled_from([0.05, 0.5, 2.0]), "latency_s"),
            pauses=data.draw(self.pauses, "pauses"),
            proven=data.draw(self.proven, "proven"),
            storage=data.draw(st.booleans(), "storage"),
        )
        self.begin(data)
        self.run(60)

    def begin(self, data):
        """What is wrong from the start."""

    def run(self, seconds):
        broken = self.place.run(seconds)
        assert not broken, "\n".join(broken)

    def chargepoint(self, number):
        names = list(self.place.story.site.chargepoint)
        return names[number % len(names)]

    @rule(number=which, parts=parts, seconds=lengths)
    def a_load_steps(self, number, parts, seconds):
        names = list(self.place.story.site.grid)
        self.place.load_steps(names[number % len(names)], parts)
        self.run(seconds)

    @rule(number=which, seconds=lengths)
    def a_car_comes_or_its_driver_stops(self, number, seconds):
        outlets = self.place.world.outlets
        connector = number % len(outlets)
        if outlets[connector]["transaction"]:
            self.place.transaction_ends(connector)
        elif not outlets[connector]["plugged"]:
            self.place.car_comes(connector)
        self.run(seconds)

    @rule(number=which, seconds=lengths)
    def a_link_breaks_or_heals(self, number, seconds):
        name = self.chargepoint(number)
        row = self.place.world.rows_of(name)[0]
        self.place.world.set_offline(name, offline=not self.place.world.outlets[row]["offline"])
        self.run(seconds)

    @rule(
        number=which,
        fault=st.sampled_from([("deaf", 1), ("refusing", 1), ("late_ms", LATE_S * 1000), ("step_ma", 4_000)]),
        on=st.booleans(),
        seconds=lengths,
    )
    def a_box_goes_wrong_or_right(self, number, fault, on, seconds):
        field, value = fault
        self.place.box(self.chargepoint(number), field, int(value) if on else 0)
        self.run(seconds)

    @rule(
        number=which,
        kind=st.sampled_from(["hard", "soft", "charging"]),
        percent=st.sampled_from([None, 0, 20, 50, 80]),
        seconds=lengths,
    )
    def a_limit_is_told_or_lifted(self, number, kind, percent, seconds):
        self.place.tell(number % len(self.place.story.topology.grids), kind, percent)
        self.run(seconds)

    @rule(number=which, on=st.booleans(), seconds=lengths)
    def an_outlet_is_taken_out_of_service_or_back(self, number, on, seconds):
        self.place.stop(number % len(self.place.world.outlets), on=on)
        self.run(seconds)

    @rule(
        number=which,
        what=st.sampled_from(
            ["well", "dead", "silent", "soc_lost", "takes all", "gives all", "does nothing"]
        ),
        seconds=lengths,
    )
    def a_battery_goes_wrong_or_right(self, number, what, seconds):
        if cells := len(self.place.world.cells):
            self.place.battery(number % cells, what)
        self.run(seconds)

    @rule(
        number=which,
        strategy=st.sampled_from([0, MANUAL, MANUAL, SELF_CONSUMPTION]),
        percent=st.sampled_from([-100, -60, 0, 50, 100]),
        seconds=lengths,
    )
    def a_battery_is_told_what_to_do(self, number, strategy, percent, seconds):
        if cells := len(self.place.world.cells):
            self.place.tell_battery(number % cells, strategy, percent)
        self.run(seconds)

    @rule(
        number=which,
        what=st.sampled_from(["well", "dead", "silent", "deaf"]),
        percent=st.sampled_from([0, 20, 60, 100]),
        export=st.sampled_from([None, 0, 10]),
        seconds=lengths,
    )
    def the_sky_changes_and_an_inverter_goes_wrong_or_right(self, number, what, percent, export, seconds):
        if panels := len(self.place.world.panels):
            self.place.inverter(number % panels, what)
            self.place.cloud(number % panels, percent)
            self.place.tell_export(number % len(self.place.story.topology.grids), export)
        self.run(seconds)

    @rule(
        number=which,
        field=st.sampled_from(["silent", "nan", "frozen"]),
        on=st.booleans(),
        seconds=st.sampled_from([2, 5, 9, 14, 30]),
    )
    def a_meter_goes_wrong_or_right(self, number, field, on, seconds):
        if gauges := len(self.place.world.gauges):
            self.place.meter(number % gauges, field, int(on))
        self.run(seconds if field != "frozen" else 5 * seconds)
        if gauges:
            self.place.meter(number % gauges, field, 0)
        self.run(LEAST_S)

    @rule(
        number=which,
        what=st.sampled_from(["remove", "add", "rename", "move", "lower", "raise"]),
        seconds=lengths,
    )
    def the_site_file_is_edited(self, number, what, seconds):
        self.place.edit(what, number)
        self.run(seconds)

    @rule(number=which, phases=st.sampled_from([1, 2, 3]), turn=st.integers(0, 2), seconds=lengths)
    def a_car_changes_its_phases_or_an_outlet_is_rewired(self, number, phases, turn, seconds):
        connector = number % len(self.place.world.outlets)
        self.place.car_changes_phases(connector, phases)
        self.place.rewire(connector, turn)
        self.run(seconds)


class LargeSiteWithFaults(AnySite):
    """Half of all cycles: everything at once."""

    connectors, levels = st.sampled_from([20, 24, 30, 40, 60]), st.integers(3, 5)
    losses, pauses, proven = st.sampled_from([0.02, 0.05, 0.15]), st.just(True), st.just(True)

    def begin(self, data):
        name = self.chargepoint(data.draw(which, "a box"))
        fault = data.draw(
            st.sampled_from(["offline", "deaf", "refusing", "late_ms", "step_ma"]), "goes wrong"
        )
        if fault == "offline":
            self.place.world.set_offline(name, offline=True)
        else:
            values = {"deaf": 1, "refusing": 1, "late_ms": int(LATE_S * 1000), "step_ma": 4_000}
            self.place.box(name, fault, values[fault])


class VeryLargeSite(LargeSiteWithFaults):
    """Up to 200 connectors."""

    connectors = st.sampled_from([120, 200])


MACHINES = {AnySite: 240, LargeSiteWithFaults: 290, VeryLargeSite: 16}


def play(machine, examples):
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    words = {"stateful_step_count": STEPS, "suppress_health_check": slow, "deadline": None}
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, **words))


def histogram():
    """What was true in how many of the cycles, and own parts where the assumptions did not hold."""
    rows = [f"{count:9,} {name}" for name, count in sorted(cycles.items())]
    return "\n".join(rows + [f"{own:9,.0f} A s excused ({name})" for name, own in sorted(excused_as.items())])


@pytest.mark.timeout(3_600)
def test_whatever_happens_in_whatever_order_the_rules_hold_in_200_000_cycles(record_property):
    for machine, examples in MACHINES.items():
        play(machine, examples)
    record_property("cycles of random sites and events", histogram())
    assert cycles["in all"] >= 200_000
    assert cycles[HEAVY] >= cycles["in all"] / 2


@pytest.mark.soak
def test_millions_of_cycles(record_property):
    for machine, examples in MACHINES.items():
        play(machine, SOAK_TIMES * examples)
    record_property("cycles of the long run", histogram())
