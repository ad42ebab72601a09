"""What runs its course whatever anybody decides: loads and the sun, faults, cars that pause."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from twin.faults import Fault
from twin.sources import Source
from twin.streams import stream

if TYPE_CHECKING:
    from twin.world import World

Course = Generator[simpy.Event, None, None]


def follow(world: World, env: simpy.Environment, load: Source, end_ms: int) -> Course:
    """Put a load on its board, or the sun on its inverter, change by change."""
    if load.inverter is not None:
        row = world.panels[world.topology.inverter_names.index(load.inverter)]
        for at_ms, currents_ma in load.changes(world.start_utc, end_ms):
            if at_ms > env.now:
                yield env.timeout(at_ms - int(env.now))
            row["sun_ma"] = max(currents_ma[0], 0)
            world.touch()
        return
    board = world.topology.grid_names.index(load.grid)
    phases = world.board_phases(board)
    standing = [0, 0, 0]
    for at_ms, currents_ma in load.changes(world.start_utc, end_ms):
        if at_ms > env.now:
            yield env.timeout(at_ms - int(env.now))
        for own in range(3):
            world.boards[board]["own_ma"][phases[own]] += currents_ma[own] - standing[own]
        standing = list(currents_ma)
        world.touch()


def go_wrong(world: World, env: simpy.Environment, fault: Fault, end_ms: int) -> Course:
    """Begin and end a fault, each time that it comes."""
    for begin_ms, until_ms in fault.spans_ms(end_ms):
        yield env.timeout(begin_ms - int(env.now))
        fault.switch(world, on=True)
        if until_ms is None:
            return
        yield env.timeout(until_ms - int(env.now))
        fault.switch(world, on=False)


def pause(world: World, env: simpy.Environment, number: int) -> Course:
    """Let the car of a stay take nothing for a while, again and again, if it is one of those."""
    pauses = world.conditions.pauses
    session = world.stays[number].session
    chance = stream(world.seed, "pauses", session.key)
    if pauses is None or chance.random() >= pauses.share:
        return
    yield env.timeout(round(float(chance.random()) * pauses.every_s * 1000))
    outlet = world.outlets[session.connector]
    while outlet["session"] == number:
        outlet["paused"], outlet["quiet"] = 1, int(not pauses.reported)
        world.touch()
        yield env.timeout(round(pauses.for_s * 1000))
        if outlet["session"] == number:
            outlet["paused"] = 0
            world.touch()
        yield env.timeout(round(pauses.every_s * 1000))
