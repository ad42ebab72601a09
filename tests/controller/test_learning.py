"""Which phases a car loads where nobody has confirmed the wires: worst case until our steps have shown it."""

import pytest

from controller.defaults import LEARN_TRIES
from controller.explain import Scene, rotation_hint
from controller.image import frozen
from tests.controller.bench_site import Car, World, garage

STRAIGHT, TURNED, TWICE = [0, 1, 2], [1, 2, 0], [2, 0, 1]


def world(*cars, wires=(TURNED,), load=None, fuse_a=100, **connector):
    """Unconfirmed outlets that really hang as in `wires`; the cars charge alone on a quiet building."""
    fleet = list(cars)
    for n, car in enumerate(fleet):
        car.read_every_s, car.read_phase_s, car.start_s = 10, n, 5 + 20 * n
    made = World(
        garage(len(fleet), fuse_a, learn_phases=True, **connector), fleet, load or (lambda g, p, t: 10.0)
    )
    made.true_phase = [list(wire) for wire, _ in zip(wires * len(fleet), fleet, strict=False)]
    return made


def run(made, seconds):
    for _ in range(seconds):
        made.step()
        flows = made.currents[0]
        assert max(flows) <= 100.0
    return made


def booked(made, c=0):
    return made.decision.connectors[c]["phases"].tolist()


def test_a_one_phase_car_is_booked_on_all_phases_until_three_lone_steps_have_shown_where_it_hangs():
    made = world(Car(phases=1, most_a=20))
    run(made, 50)
    assert booked(made) == [1, 1, 1]
    run(made, 150)
    assert booked(made) == [0, 1, 0]
    assert made.decision.connectors[0]["known"] == 1


def test_a_two_phase_car_too():
    assert booked(run(world(Car(phases=2, most_a=16), wires=(TWICE,)), 600)) == [1, 0, 1]


def test_one_after_the_other_learns_and_each_its_own_phase():
    cars = [Car(phases=1, most_a=20) for _ in range(3)]
    made = run(world(*cars, wires=(TURNED, STRAIGHT, TWICE)), 1_500)
    assert [booked(made, c) for c in range(3)] == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_what_was_learnt_is_a_suggestion_for_people_and_ends_with_the_session():
    car = Car(phases=1, most_a=20, leave_s=700)
    made = world(car)
    run(made, 600)
    scene = Scene(made.site, made.topology, frozen(made.image), made.decision, made.memory, {})
    assert rotation_hint(scene, 0) == "L2 L3 L1"
    assert made.topology.connectors[0]["phase"].tolist() == STRAIGHT  # as drawn
    run(made, 200)
    car.start_s, car.leave_s = made.now + 5, 10**9  # another car
    run(made, 20)
    assert booked(made) == [1, 1, 1]
    assert made.memory.connectors[0]["known"] == 0
    assert made.memory.connectors[0]["hint"] == 2


def test_a_car_that_draws_on_more_of_its_phases_than_were_learnt_is_booked_on_all_of_them_again():
    car = Car(phases=1, most_a=20)
    made = run(world(car), 600)
    assert booked(made) == [0, 1, 0]
    car.phases = 2
    run(made, 30)
    assert booked(made) == [1, 1, 1]


def test_a_building_that_moves_all_the_time_teaches_nothing_false():
    def restless(g, p, t):
        return 10.0 + 7.0 * ((t // 7 + p) % 3)

    made = run(world(Car(phases=1, most_a=20), load=restless), 1_800)
    assert booked(made) in ([1, 1, 1], [0, 1, 0])


@pytest.mark.parametrize("words", [{"rotation_confirmed_by": "a person", "rotation": "L2 L3 L1"}])
def test_where_a_person_has_confirmed_the_wires_no_step_is_made(words):
    made = run(world(Car(phases=1, most_a=20), **words), 900)
    assert booked(made) == [0, 1, 0]
    assert made.memory.connectors[0]["learn_tries"] == 0


def test_steps_for_learning_are_few():
    made = world(Car(phases=1, most_a=20), load=lambda g, p, t: 10.0 + 5.0 * ((t // 9 + p) % 2))
    run(made, 3_600)
    assert made.memory.connectors[0]["learn_tries"] <= LEARN_TRIES
    assert made.writes <= 4 * LEARN_TRIES
