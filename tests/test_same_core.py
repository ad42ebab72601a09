"""The controller decides the same in the twin and on the box, bit for bit, faults and all."""

import numpy as np
import pytest

from controller.decision import Alarm
from hardware import clock
from tests import same_core
from tests.same_core import TWO_HOURS_S, FreeRunning, Stepped, directly, site, world


def differences(one, other):
    """What differs between two decisions: table, field, rows."""
    return [
        (name, field, np.argwhere(np.atleast_2d(mine[field] != theirs[field])).tolist()[:3])
        for name, mine, theirs in zip(one._fields, one, other, strict=True)
        if mine.tobytes() != theirs.tobytes()
        for field in mine.dtype.names
        if (mine[field] != theirs[field]).any()
    ]


async def _compared(drawn, length_s, store, conditions=same_core.CONDITIONS):
    """Decisions of the twin, the first difference to those of the box, and both worlds at the end."""
    twin, emulated = world(drawn, conditions=conditions), world(drawn, conditions=conditions)
    decided = list(directly(twin, length_s))
    async with Stepped(emulated, store).opened() as stepped:
        cycle = 0
        async for decision in stepped.decisions(length_s):
            found = differences(decided[cycle], decision)
            cycle += 1
            if found:
                return decided, (cycle, found), twin, emulated
    return decided, None, twin, emulated


@pytest.mark.timeout(900)
async def test_two_hours_with_faults_are_decided_alike_in_every_cycle(tmp_path):
    drawn = site()
    assert sum(1 for _ in drawn.connectors()) >= 20
    decided, difference, twin, emulated = await _compared(drawn, TWO_HOURS_S, tmp_path)
    assert difference is None
    assert emulated.outlets["energy_wh"].tolist() == twin.outlets["energy_wh"].tolist()

    # The story would prove little if nothing had happened in it.
    sites = np.array([decision.site[0]["alarm"] for decision in decided])
    connectors = np.array([decision.connectors["alarm"] for decision in decided])
    grids = np.array([decision.grids["alarm"] for decision in decided])
    seen = Alarm(int(np.bitwise_or.reduce(sites)))
    seen |= Alarm(int(np.bitwise_or.reduce(connectors, axis=None)))
    seen |= Alarm(int(np.bitwise_or.reduce(grids, axis=None)))
    assert seen >= Alarm.OFFLINE | Alarm.METER_LOST | Alarm.NOT_OBEYING | Alarm.OVER_LIMIT
    orders = sum(int(decision.connectors["put"].sum()) for decision in decided)
    assert orders > 1000
    assert twin.outlets["energy_wh"].sum() > 50_000


async def test_a_world_that_is_a_little_different_is_told_apart(tmp_path):
    """The comparison can fail: with one ampere more of load the box decides otherwise."""
    drawn = site()
    more = {"kind": "load_step", "grid": "main", "current_a": [1, 0, 0], "at_s": 60}
    changed = same_core.CONDITIONS | {"fault": [*same_core.CONDITIONS["fault"], more]}
    decided = list(directly(world(drawn), 90))
    async with Stepped(world(drawn, conditions=changed), tmp_path).opened() as stepped:
        alike = [
            not differences(decided[cycle], decision)
            async for cycle, decision in _numbered(stepped.decisions(90))
        ]
    assert all(alike[:59])
    assert not any(alike[62:])


async def _numbered(decisions):
    cycle = 0
    async for decision in decisions:
        yield cycle, decision
        cycle += 1


SPEED, LENGTH_S = 30, 3600
"""An hour: in twenty minutes the few cars whose start falls some seconds apart are worth one percent."""


@pytest.mark.timeout(600)
def test_left_to_run_by_itself_the_box_serves_the_same_energy_within_one_percent(tmp_path):
    drawn = site(main_a=200)
    twin, emulated = world(drawn, LENGTH_S), world(drawn, LENGTH_S)
    for _ in directly(twin, LENGTH_S, proven=True):
        pass
    clock.run(FreeRunning(emulated, tmp_path).until(LENGTH_S), SPEED)
    assert abs(emulated.now_ms - twin.now_ms) < 2_000
    served, wanted = emulated.outlets["energy_wh"].sum(), twin.outlets["energy_wh"].sum()
    assert wanted > 5_000
    assert served == pytest.approx(wanted, rel=0.01)
