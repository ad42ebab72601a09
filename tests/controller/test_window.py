"""The sliding maximum against a list that remembers everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from controller.window import highest, push

KEEP_MS = 10_000
steps = st.lists(st.tuples(st.integers(1, 4_000), st.integers(-5, 5)), min_size=1, max_size=60)


def pushed(changes, slots):
    """(now, value held from now on, slots after it), one after the other."""
    values, until, count, now = np.zeros(slots, "i8"), np.zeros(slots, "i8"), 0, 0
    for wait, value in changes:
        now += wait
        count = push(values, until, count, now, value, KEEP_MS)
        yield now, value, (values, until, count)


def in_force(history, since, now):
    """Values in force at any instant of [since, now]; a value holds until the next push."""
    ends = [at for at, _ in history[1:]] + [now]
    return [value for (_, value), end in zip(history, ends, strict=True) if end >= since]


@given(steps, st.integers(0, KEEP_MS))
def test_it_is_the_largest_value_of_the_last_seconds(changes, back):
    history = []
    for now, value, (values, until, count) in pushed(changes, slots=64):
        history.append((now, value))
        assert highest(values, until, count, now - back) == max(in_force(history, now - back, now))


@given(steps, st.integers(0, KEEP_MS))
def test_with_few_slots_it_is_never_too_small_and_holds_nothing_that_never_was(changes, back):
    history = []
    for now, value, (values, until, count) in pushed(changes, slots=4):
        history.append((now, value))
        found = highest(values, until, count, now - back)
        assert count <= 4
        assert max(in_force(history, now - back, now)) <= found <= max(v for _, v in history)


@given(steps)
def test_the_newest_value_is_found_when_only_this_instant_counts(changes):
    for now, value, (values, until, count) in pushed(changes, slots=64):
        assert highest(values, until, count, now) >= value
