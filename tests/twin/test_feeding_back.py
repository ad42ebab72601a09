"""Cars that feed back: the sign is kept in currents, registers and figures, and nobody asks them to."""

from datetime import UTC, datetime

import numpy as np
import pytest

from controller.image import Status
from controller.site import build
from controller.topology import compile_site
from scenarios.emulate.outlets import samples
from scenarios.emulate.truth import Outlets
from scenarios.run import play
from scenarios.scenario import Story
from tests.twin.small_site import stay, uncontrolled, world
from twin.conditions import Conditions
from twin.sessions import Car, Session

GIVES = {"kind": "car_feeds_back", "chargepoint": "two", "at_s": 600, "current_a": 10}


def feeding(**fault):
    """A car of three phases at the turned board that feeds back from the tenth minute on."""
    made = world(stay(1, Car(3, 16_000), end_s=20_000), fault=[GIVES | fault])
    return made, uncontrolled(made, 16_000)


def test_what_flows_back_is_negative_in_the_outlet_and_in_every_board_above():
    made, _ = feeding()
    made.advance(700_000)
    assert made.outlets["draw_ma"][1].tolist() == [-10_000] * 3
    assert made.outlets["status"][1] == Status.CHARGING
    for board in ("main", "turned"):
        row = made.boards[made.topology.grid_names.index(board)]
        assert row["current_ma"].tolist() == [-10_000] * 3
        assert row["cars_ma"].tolist() == [0, 0, 0]
        assert row["given_ma"].tolist() == [10_000] * 3


@pytest.mark.parametrize("step_s", [1, 60, 300])
def test_two_registers_count_and_neither_ever_falls(step_s):
    made, _ = feeding(for_s=1_800)
    imported = given = 0.0
    for now_ms in range(0, 9_000_001, step_s * 1000):
        made.advance(now_ms)
        outlet = made.outlets[1]
        assert float(outlet["energy_wh"]) >= imported
        assert float(outlet["given_wh"]) >= given
        imported, given = float(outlet["energy_wh"]), float(outlet["given_wh"])
    assert given == pytest.approx(3 * 230 * 10 / 2, rel=1e-9)
    # What was given is wanted back: the state of charge is that of the energy that is in.
    assert float(made.outlets["need_wh"][1]) == pytest.approx(50_000 - imported + given, abs=1e-6)
    assert made.net_wh(1) == imported - given


def test_it_gives_no_more_than_it_may_and_then_takes_again():
    made, heard = feeding(at_most_kwh=1.0)
    made.advance(2_000_000)
    assert float(made.outlets["given_wh"][1]) == pytest.approx(1_000, abs=1e-6)
    ended_s = 600 + 1_000 / (3 * 230 * 10) * 3600
    made.advance(round(ended_s * 1000) + 60_000)
    assert made.outlets["draw_ma"][1, 0] == 16_000
    assert [event.status for event in heard if getattr(event, "status", None) == Status.FAULTED] == []


def test_a_car_that_is_gone_or_paused_gives_nothing():
    made, _ = feeding()
    made.advance(700_000)
    made.stop_transaction(1, "Local")
    made.advance(701_000)
    assert made.outlets["draw_ma"][1].tolist() == [0, 0, 0]
    late = world(stay(1, Car(3, 16_000), begin_s=900), fault=[GIVES])
    uncontrolled(late)
    late.advance(1_200_000)
    assert late.outlets["draw_ma"][1, 0] > 0  # it came after it was told, so it was not told


def test_a_box_tells_of_it_by_sign_and_by_its_export_register():
    made, _ = feeding()
    made.advance(1_600_000)
    truth = Outlets(made, [1]).truth(1)
    assert '"value":"-10.000"' in samples("Current.Import", truth, "Sample.Periodic")[0]
    assert '"value":"-6900.0"' in samples("Power.Active.Import", truth, "Sample.Periodic")[0]
    (given,) = samples("Energy.Active.Export.Register", truth, "Sample.Periodic")
    assert f'"value":"{int(made.outlets["given_wh"][1])}"' in given
    assert truth.given_wh > 1_000


def story(*faults):
    """Two bays on 25 A; the first car feeds back for half an hour."""
    boxes = {
        f"bay_{n}": {
            "identity": f"B{n}",
            "fed_by": "main",
            "lease_s": 300,
            "connector": [
                {"number": 1, "max_current_a": 32, "rotation": "L1 L2 L3", "rotation_confirmed_by": "test"}
            ],
        }
        for n in range(2)
    }
    site = build(
        {
            "name": "two bays",
            "timezone": "UTC",
            "grid": {"main": {"id": 0, "max_current_a": 25, "worst_load_a": 15}},
            "meter": {"guard": {"grid": "main", "role": "guard"}},
            "chargepoint": boxes,
        },
        "two bays",
    )
    cars = [Session(f"car {n}", n, 10_000, 7_000_000, 60_000.0, Car(3, 32_000)) for n in range(2)]
    return Story(
        name="two bays",
        site=site,
        topology=compile_site(site),
        conditions=Conditions.model_validate({"fault": list(faults)}),
        sessions=tuple(cars),
        loads=(),
        start_utc=datetime(2026, 3, 2, 8, 0, tzinfo=UTC),
        length_ms=7_200_000,
        seed=1,
    )


class Book:
    """Looks at orders and at who gives."""

    def begin(self, world):
        self.world, self.lowest_target, self.gave = world, 0, False

    def instant(self, span_ms):
        self.gave |= bool((self.world.outlets["draw_ma"] < 0).any())

    def cycle(self, image, decision):
        self.lowest_target = min(self.lowest_target, int(decision.connectors["target_ma"].min()))


def test_in_a_run_with_the_controller_it_is_never_asked_for_counts_in_the_figures_and_loads_no_fuse():
    told = GIVES | {"chargepoint": "bay_0", "at_s": 1_800, "for_s": 1_800, "current_a": 8}
    book = Book()
    found = play(story(told), onlooker=book)
    assert book.gave
    assert book.lowest_target == 0
    figures = found.figures
    assert figures.cars_given_kwh == pytest.approx(3 * 230 * 8 / 2 / 1000, rel=1e-6)
    assert figures.fuse_trips == 0
    silent = play(story()).figures
    assert silent.cars_given_kwh == 0
    # What came in from the grid is what the cars have, net of what they gave each other.
    assert figures.delivered_kwh == pytest.approx(figures.imported_kwh - figures.exported_kwh, rel=2e-3)
    assert np.isclose(silent.delivered_kwh, silent.imported_kwh, rtol=2e-3)
    print(figures)
