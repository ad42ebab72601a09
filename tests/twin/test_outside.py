"""What a story tells its site from outside: it is in force from its instant to its end, and seen at both."""

import pytest
from pydantic import ValidationError

from controller.cycle import calculate
from controller.decision import first_memory
from controller.defaults import UNLIMITED_MA
from controller.image import Source
from controller.sentences import sentences
from tests.twin import small_site
from twin.instruments import SimulatedPlant
from twin.outside import Told
from twin.pace import Pace

API = {"limit": {"limit_a": 16, "ttl_s": 1800, "fallback_a": 10}}
STOP = {"stop": {"reason": "emergency_stop"}}
EVENING = {"segment": [{"begin": "09:30", "end": "10:00", "limit_a": 20}]}


def plant(*story, instant=False, **main):
    world = small_site.world(built=small_site.site(**main))
    return SimulatedPlant(world, instant=instant, told=[Told.model_validate(told) for told in story])


def hard_a(image, grid=0):
    ma = int(image.grids[grid]["hard_ma"][0])
    return None if ma == UNLIMITED_MA else ma / 1000


@pytest.mark.parametrize("instant", [False, True])
def test_a_limit_lives_for_its_time_and_leaves_its_fallback(instant):
    found = plant({"at_s": "0:10", "grid": "main"} | API, instant=instant)
    seen = []
    for minutes in (9, 10, 39, 40, 300):
        found.advance(minutes * 60_000)
        row = found.measure().grids[0]
        seen.append((hard_a(found.measure()), Source(int(row["hard_source"])).name))
    assert seen == [(None, "FUSE"), (16, "API"), (16, "API"), (10, "FALLBACK"), (10, "FALLBACK")]


def test_one_of_the_same_name_takes_its_place_and_it_can_be_taken_back():
    looser = {"limit": {"limit_a": 40, "ttl_s": 3600}}
    found = plant(
        {"at_s": 0, "grid": "main", "name": "dso"} | API,
        {"at_s": 60, "until_s": 120, "grid": "main", "name": "dso"} | looser,
    )
    seen = []
    for seconds in (1, 60, 120):
        found.advance(seconds * 1000)
        seen.append(hard_a(found.measure()))
    assert seen == [16, 40, None]


def test_a_stop_holds_until_it_is_taken_back():
    found = plant(
        {"at_s": 60, "until_s": 90, "connector": "two/1"} | STOP, {"at_s": 70, "grid": "main"} | STOP
    )
    seen = []
    for seconds in (59, 60, 70, 90):
        found.advance(seconds * 1000)
        image = found.measure()
        seen.append((image.connectors["stop"].tolist(), int(image.grids[0]["stop"])))
    stop = int(Source.EMERGENCY_STOP)
    assert seen == [([0, 0], 0), ([0, stop], 0), ([0, stop], stop), ([0, 0], stop)]


def test_schedules_of_the_site_file_act_in_every_story():
    found = plant(time_of_use=[EVENING])  # the story begins at 09:00 in Amsterdam
    seen = []
    for minutes in (29, 30, 59, 60):
        found.advance(minutes * 60_000)
        seen.append(int(found.measure().grids[0]["soft_ma"][0]) // 1000)
    assert seen == [1_000_000, 20, 20, 1_000_000]


def cycles_s(found, until_s):
    """Seconds at which the controller of a quiet site looks."""
    topology = found.world.topology
    pace, memory = Pace(found, 1000, until_s * 1000), first_memory(topology, proven=True)
    looks = []
    while True:
        image = found.measure()
        looks.append(found.world.now_ms / 1000)
        decision, memory = calculate(topology, image, memory)
        found.distribute(decision)
        if not pace.next_cycle(image, decision):
            return looks


def test_true_mode_looks_again_exactly_when_an_instruction_comes_and_when_it_runs_out():
    story = {"at_s": 617, "connector": "one/1", "limit": {"limit_a": 9, "ttl_s": 200}}
    quiet, told = cycles_s(plant(), 1200), cycles_s(plant(story), 1200)
    assert not {617, 817} & set(quiet)
    assert {617, 817} <= set(told)


def test_true_mode_looks_again_when_a_schedule_begins_and_ends():
    looks = cycles_s(plant(time_of_use=[EVENING]), 4000)
    assert {1800, 3600} <= set(looks)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"at_s": 0} | API, "told: name one grid, chargepoint, connector, battery or inverter."),
        ({"at_s": 0, "grid": "main"}, "told: give one limit, profile, series, stop or setpoint."),
        (
            {"at_s": 0, "grid": "main"} | API | STOP,
            "told: give one limit, profile, series, stop or setpoint.",
        ),
        ({"at_s": 9, "until_s": 8, "grid": "main"} | STOP, "told: until_s must be later than at_s."),
    ],
)
def test_half_an_instruction_is_refused_in_one_sentence(told, said):
    with pytest.raises(ValidationError) as error:
        Told.model_validate(told)
    assert sentences("told", error.value, Told) == [said]
