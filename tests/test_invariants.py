"""No overload of its own, no car above its commitment, no order below the minimum, whatever goes wrong.

Every example is a whole story: a tree of grids with three kinds of metering, cars of one to three phases on
wires nobody confirmed, lost messages, pauses, a liar, an outage, silent meters, a building above its fuse.
"""

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.controller.stories import play, story

pytestmark = pytest.mark.timeout(600)  # hundreds of stories, on a machine that may be busy
seeds = st.integers(0, 2**31)
# A seed does not shrink: its neighbours are other stories.
at_once = settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])


def keeps_the_rules(seed, **words):
    _, verdict = play(story(seed, **words))
    unproven = "" if words.get("proven", True) else " --unproven"
    again = f"python -m tests.controller.stories {seed} --seconds {words['seconds']}{unproven}"
    assert not verdict.breaches, "\n".join([f"again: {again}", *verdict.breaches[:10]])


@settings(at_once, max_examples=150)
@given(seeds)
def test_with_every_fault_there_is_no_overload_of_its_own(seed):
    keeps_the_rules(seed, seconds=420)


@settings(at_once, max_examples=60)
@given(seeds)
def test_nor_with_boxes_that_nobody_has_seen_obey(seed):
    keeps_the_rules(seed, seconds=420, proven=False)


@pytest.mark.parametrize("seed", [5, 1_004, 20_261])
def test_nor_in_twenty_minutes(seed):
    keeps_the_rules(seed, seconds=1_200)


def test_nor_in_the_story_where_a_rise_hid_behind_outlets_that_could_start_by_themselves():
    keeps_the_rules(65, seconds=400)
