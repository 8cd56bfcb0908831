"""A task is a straggler when it takes far longer than the pace of the others lets expect, and never for a blink."""

from __future__ import annotations

import pytest

from raypipe.core.shard import InputFile, Reason, Shard, Slice, Task
from raypipe.core.stragglers import Pace, StragglerLimits
from raypipe.core.window import Window

LIMITS = StragglerLimits(finished_min=3, floor_s=10.0, times=3.0)


def task(*, rows=0, size_bytes=0):
    slices = (Slice(InputFile("f", 1, "v"), rows=rows, size_bytes=size_bytes),)
    return Task("run", 1, 1, 0, (Shard(0, Window(0, 1), Reason.NEW, frozenset(), slices),))


def pace_of(*finished):
    pace = Pace(LIMITS)
    for one, seconds in finished:
        pace.add(one, seconds)
    return pace


def test_a_task_is_a_straggler_beyond_some_times_the_median():
    pace = pace_of((task(), 20.0), (task(), 21.0), (task(), 90.0))
    assert pace.straggler(task(), 63.0) is None
    slow = pace.straggler(task(), 63.1)
    assert (slow.expected_s, slow.seconds, slow.times) == (21.0, 63.1, pytest.approx(3.0, abs=0.01))


def test_one_slow_task_among_those_that_finished_does_not_move_the_pace():
    pace = pace_of(*[(task(), 10.0)] * 6, (task(), 5000.0))
    assert pace.expected_s(task()) == 10.0


def test_no_task_is_a_straggler_before_some_have_finished():
    pace = pace_of((task(), 1.0), (task(), 1.0))
    assert pace.straggler(task(), 1e6) is None
    pace.add(task(), 1.0)
    assert pace.straggler(task(), 1e6) is not None


def test_short_tasks_have_some_seconds_whatever_the_pace():
    pace = pace_of(*[(task(), 0.1)] * 5)
    assert pace.straggler(task(), 10.0) is None
    assert pace.straggler(task(), 10.1) is not None


@pytest.mark.parametrize("unit", ["rows", "size_bytes"])
def test_a_larger_task_may_take_longer_and_a_smaller_one_as_long_as_the_median(unit):
    pace = pace_of(*[(task(**{unit: 100}), 20.0)] * 3)
    assert pace.expected_s(task(**{unit: 1000})) == 200.0
    assert pace.expected_s(task(**{unit: 1})) == 20.0


def test_bytes_go_before_rows_where_both_are_known():
    pace = pace_of(*[(task(rows=1, size_bytes=100), 20.0)] * 3)
    assert pace.expected_s(task(rows=50, size_bytes=200)) == 40.0
