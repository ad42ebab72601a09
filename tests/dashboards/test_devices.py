"""Batteries and inverters on the live page: what each does, and why, in words."""

import pytest

from controller.cycle import calculate
from controller.decision import StorageBecause, first_memory
from controller.storage_words import DEVICE_REASONS, device_reason
from dashboards import components
from hardware.liveview import LiveView
from tests.twin import small_site
from twin.instruments import SimulatedPlant
from twin.outside import Told

CELLAR = {"capacity_wh": 20_000, "max_charge_w": 6_900, "max_discharge_w": 6_900}


def shown(*story, seconds=20):
    """The live view of a site with a battery that is half full, after so many seconds of a story."""
    world = small_site.world(built=small_site.site(CELLAR), battery_soc=0.5)
    plant = SimulatedPlant(world, told=[Told.model_validate(told) for told in story])
    memory = first_memory(world.topology, proven=True)
    view = LiveView(world.site, world.topology)
    for second in range(1, seconds + 1):
        plant.advance(second * 1000)
        image = plant.measure()
        decision, memory = calculate(world.topology, image, memory)
        plant.distribute(decision)
        view.update(image, decision, memory, second * 1000)
    return view.snapshot()


def test_a_battery_that_was_told_to_charge_says_so():
    (device,) = shown({"at_s": 0, "battery": "cellar", "setpoint": {"power_kw": 4.14, "ttl_s": 600}}).devices
    assert (device.kind, device.name, device.online, device.stale) == ("battery", "cellar", True, False)
    assert (device.takes_kw, device.ordered_kw) == (4.14, 4.14)
    assert device.charge_percent == pytest.approx(50, abs=1)
    assert (device.strategy, device.why) == ("manual", "somebody outside says how much")


def test_a_stopped_battery_rests_and_says_who_did_it():
    (device,) = shown({"at_s": 0, "grid": "main", "stop": {"reason": "maintenance"}}).devices
    assert (device.takes_kw, device.why) == (0, "somebody has stopped it")


def test_every_reason_has_words_and_names_the_grid_that_binds():
    topology = small_site.world().topology
    assert set(DEVICE_REASONS) == set(StorageBecause)
    row = {"because": StorageBecause.NO_ROOM, "because_grid": 1, "because_phase": 2}
    assert device_reason(topology, row) == "upper L3 leaves no more for charging; cars go first"
    assert device_reason(topology, row | {"because_grid": -1}).startswith("the connection leaves")


def test_the_page_shows_power_charge_strategy_and_reason_and_nothing_where_there_is_no_device():
    live = shown({"at_s": 0, "battery": "cellar", "setpoint": {"power_kw": -2.07, "ttl_s": 600}})
    said = components.devices(live.model_dump(mode="json"))
    for word in ("cellar", "gives 2.1", "% charged", "manual", "somebody outside says how much"):
        assert word in said
    assert components.devices(live.model_dump(mode="json") | {"devices": []}) == ""


def test_a_battery_out_of_reach_is_marked():
    (device,) = shown().model_dump(mode="json")["devices"]
    said = components.devices({"devices": [device | {"online": False}]})
    assert "out of reach" in said
