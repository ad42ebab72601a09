"""The best filling of the truth, and what an onlooker says of a run that cannot be improved upon."""

import numpy as np
import pytest

from scenarios.run import play
from scenarios.steadiness import BEST, Calm, fill
from tests.bench.groves import garage, grove, traits

CONNECTORS = np.zeros(4, [("depth", "i8"), ("path", "i8", (8,)), ("phase", "i8", (3,))])
CONNECTORS["depth"], CONNECTORS["phase"] = 1, [(0, 1, 2), (0, 1, 2), (1, 2, 0), (2, 0, 1)]


def best(room_a, cars):
    """Shares in A: `cars` are (most A, phases, weight, has current)."""
    table = np.zeros(len(cars), BEST)
    for row, (most_a, phases, weight, has) in zip(table, cars, strict=True):
        row["most_ma"], row["phases"], row["weight"], row["has"] = most_a * 1000, phases, weight, has
        row["min_ma"] = 6_000
    room = np.array([room_a], dtype=float) * 1000
    total = fill(table, room, np.zeros((1, 3)), np.zeros((1, 3)), CONNECTORS)
    assert total == pytest.approx(float((table["ma"] * table["phases"]).sum()))
    return [round(float(ma) / 1000, 3) for ma in table["ma"]]


@pytest.mark.parametrize(
    ("room_a", "cars", "shares_a"),
    [
        ((100, 100, 100), [(32, 3, 100, 1), (16, 3, 100, 1)], [32, 16]),  # there is enough
        ((30, 30, 30), [(32, 3, 100, 1), (32, 3, 100, 1)], [15, 15]),  # equal parts
        ((30, 30, 30), [(32, 3, 200, 1), (32, 3, 100, 1)], [20, 10]),  # by weight
        ((30, 30, 30), [(32, 3, 100, 1), (10, 3, 100, 1)], [20, 10]),  # who takes less leaves the rest
        ((20, 40, 40), [(32, 1, 100, 1), (32, 1, 100, 1), (32, 1, 100, 1)], [10, 10, 32]),  # phase by phase
        ((20, 40, 40), [(32, 3, 100, 1), (32, 1, 100, 1)], [10, 10]),  # three phases at the tightest
        ((10, 10, 10), [(32, 3, 100, 0), (32, 3, 100, 1)], [0, 10]),  # not both minimums: who has it keeps it
        ((10, 10, 10), [(32, 3, 100, 1), (3, 3, 100, 1)], [7, 3]),  # the end of a battery costs what it takes
        ((-5, 40, 40), [(32, 3, 100, 1), (32, 1, 100, 1), (32, 1, 100, 1)], [0, 0, 32]),  # building above
    ],
)
def test_the_best_filling_of_a_grid(room_a, cars, shares_a):
    assert best(room_a, cars) == pytest.approx(shares_a, abs=0.01)


def test_a_garage_at_rest_is_used_well_and_its_orders_keep_still():
    story = garage(4, 1, 10, quiet=True)
    calm = Calm(story)
    figures = play(story, onlooker=calm).figures
    found = calm.found()
    assert found.use > 0.93
    assert found.reversals_most == 0
    assert (figures.own_as, found.short_as) == (0, 0)


def test_every_trait_comes_equally_often_and_the_same_seed_tells_the_same_story():
    assert sorted({traits(seed) for seed in range(9)}) == sorted(
        (confirmed, sample_s) for confirmed in ("none", "some", "all") for sample_s in (10, 30, 60)
    )
    one, again = grove(7), grove(7)
    assert (one.site, one.sessions, one.conditions) == (again.site, again.sessions, again.conditions)
