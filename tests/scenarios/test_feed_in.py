"""What flows back beyond a limit of export, or hides behind a battery, is seen: nobody controls here."""

import numpy as np
import pytest

from controller.decision import empty_decision
from controller.image import blank_image
from controller.site import build
from controller.topology import compile_site
from scenarios.feed_in import FeedIn
from scenarios.figures import Tally
from scenarios.scenario import Story
from tests.twin.small_site import START
from twin.conditions import Conditions
from twin.instruments import SimulatedPlant
from twin.storage import goes_its_own_way
from twin.world import World

LIMIT_A, SUN_A, OLD_SUN_A = 5, 20, 4


def drawn(**battery):
    """5 A may flow back; the roof can be curtailed, the shed beside it cannot."""
    power = {"capacity_wh": 9_000, "max_charge_w": 41_400, "max_discharge_w": 41_400}
    return build(
        {
            "name": "Roof",
            "timezone": "UTC",
            "accept_unsafe_fallback": "a story, nobody",
            "grid": {"main": {"id": 0, "max_current_a": 40, "max_export_a": LIMIT_A}},
            "meter": {"main": {"grid": "main", "role": "guard"}},
            "battery": {"cellar": {"fed_by": "main", "revert_s": 60} | power | battery},
            "inverter": {
                "roof": {"fed_by": "main", "max_power_w": 690 * SUN_A, "curtailable": True},
                "shed": {"fed_by": "main", "max_power_w": 690 * OLD_SUN_A},
            },
        },
        "roof",
    )


def world(site):
    made = World(site, compile_site(site), Conditions(), (), 1, START)
    made.panels["sun_ma"] = [1000 * SUN_A, 1000 * OLD_SUN_A]
    made.touch()
    return made


def too_much_a(made, seconds):
    """Of L1 and of the sum after so many seconds of looking once a second."""
    topology = made.topology
    watch, image, decision = FeedIn(made), blank_image(topology), empty_decision(topology)
    decision.grids["limit_ma"] = 40_000
    for _ in range(seconds):
        made.advance(made.now_ms + 1_000)
        own = watch.own_ma(image, decision)
    return np.maximum(own[0, [0, 3]], 0).tolist(), watch.patience_ms // 1000


def test_what_could_have_been_curtailed_is_held_against_the_controller_after_the_time_of_two_orders():
    made = world(drawn())
    _, patience_s = too_much_a(made, 1)
    assert too_much_a(made, patience_s)[0] == [0, 0]
    # the sum has no limit of its own, and the shed is nobody's fault
    assert too_much_a(made, patience_s + 2)[0] == [1000 * (SUN_A + OLD_SUN_A - LIMIT_A), 0]


def test_an_inverter_that_ignores_its_limits_is_nobodys_fault():
    made = world(drawn())
    made.panels["deaf"] = 1
    assert too_much_a(made, 60)[0] == [0, 0]


def test_nor_is_one_that_keeps_a_phase_at_its_fuse():
    made = world(drawn())
    made.boards[0]["own_ma"] = [0, 0, 62_000]  # 38 A, and 60 A without it
    made.touch()
    assert too_much_a(made, 60)[0] == [0, 0]


def test_a_battery_that_follows_no_order_is_a_load_and_one_that_does_is_ours():
    own_as = []
    for wild in (True, False):
        site = drawn()
        made = World(site, topology := compile_site(site), Conditions(battery_soc=0.1), (), 1, START)
        told = Story("cellar", site, topology, Conditions(), (), (), START, 60_000, 1)
        tally = Tally(told, made, SimulatedPlant(made).seen.connectors)
        goes_its_own_way(made.cells[0], 50_000)  # on 40 A
        made.cells[0]["deaf"] = int(wild)
        made.touch()
        made.advance(10_000)
        own_as.append(float(tally.rows["own_as"].sum()))
    assert own_as == [0, 3 * 10 * 10]


@pytest.mark.parametrize("counts", [False, True])
def test_what_only_a_battery_hides_is_leaned_on_it_unless_it_counts_for_fuses(counts):
    site = drawn(counts_for_fuse=counts)
    site = site.model_copy(update={"battery": site.battery | {"attic": site.battery["cellar"]}})
    made = World(site, topology := compile_site(site), Conditions(battery_soc=0.5), (), 1, START)
    told = Story("cellar", site, topology, Conditions(), (), (), START, 60_000, 1)
    tally = Tally(told, made, SimulatedPlant(made).seen.connectors)
    made.cells["held_ma"] = [50_000, -20_000]  # 30 A on 40 A, 50 A when the attic dies
    made.touch()
    made.advance(10_000)
    assert tally.rows["own_as"].sum() == 0
    assert tally.rows["leaned_as"].sum() == (0 if counts else 3 * 10 * 10)
