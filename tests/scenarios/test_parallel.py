"""Many runs on all cores: results as they come, a clean end, nobody left behind."""

import multiprocessing
import os
import time

import pytest

from scenarios.parallel import cores, finished


def squared(number):
    return number * number, os.getpid()


def slow_or_broken(number):
    if number == 0:
        raise ValueError("this one breaks")
    time.sleep(30)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_work_is_done_once_and_comes_with_its_result(jobs):
    done = dict(finished(squared, range(6), jobs))
    assert {work: result for work, (result, _) in done.items()} == {n: n * n for n in range(6)}
    assert (os.getpid() in {process for _, process in done.values()}) == (jobs == 1)


def test_one_that_breaks_ends_the_others_at_once():
    began = time.monotonic()
    with pytest.raises(ValueError, match="this one breaks"):
        list(finished(slow_or_broken, [1, 0, 2, 3], 2))
    assert time.monotonic() - began < 15
    assert multiprocessing.active_children() == []


def test_who_stops_listening_leaves_no_process_behind():
    results = finished(squared, range(50), 2)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


def test_there_is_at_least_one_core():
    assert 1 <= cores() <= (os.cpu_count() or 1)
