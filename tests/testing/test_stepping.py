"""The stepping executor does one task at a time, in the order that is asked for, and never waits for ever."""

from __future__ import annotations

from typing import Any

import pytest

from raypipe.core.shard import Task
from raypipe.destinations.holder import is_dead
from raypipe.launch.run_verb import holder
from raypipe.testing.clock import SteppedClock
from raypipe.testing.stepping import ELSEWHERE, StepExecutor, dead, first, last


class Echo:
    """A worker that gives back what it was given; numbers above ten are too much for it."""

    def run(self, task: Task) -> Any:
        if task.number > 10:
            raise OSError("too much")
        return task.number

    def scan(self, file: Any) -> Any:
        return file


def executor(numbers: list[int], pick: Any = first) -> StepExecutor:
    made = StepExecutor(Echo(), SteppedClock(0), pick=pick, ended=lambda _number, _task, completion: [completion])
    for number in numbers:
        made.submit_task(number, Task("run", 1, number, 0, ()))
    return made


@pytest.mark.parametrize(("pick", "order"), [(first, [1, 2, 3]), (last, [3, 2, 1])])
def test_tasks_are_done_one_by_one_in_the_order_asked_for_with_a_rest_after_each(pick, order):
    one = executor([1, 2, 3], pick)
    told = [one.wait(0.1) for _ in range(6)]
    assert [found[0].value for found in told[::2]] == order
    assert told[1::2] == [[], [], []]


def test_an_error_of_the_work_is_in_its_completion():
    (found,) = executor([11]).wait(0.1)
    assert isinstance(found.error, OSError)


def test_scans_come_first_and_what_is_given_up_is_not_done():
    one = executor([1, 2])
    one.submit_scan("scan", "file")
    one.give_up(1)
    assert [one.wait(0.1)[0].value for _ in range(2)] == ["file", 2]


def test_whoever_waits_for_what_does_not_come_is_told_after_an_hour_that_takes_no_time():
    one = executor([1])
    with pytest.raises(TimeoutError, match="does not come"):
        list(iter(lambda: one.wait(1.0), None))


def test_owners_are_dead_alive_or_nobody_knows():
    assert is_dead(dead())
    assert not is_dead(holder())
    assert not is_dead(ELSEWHERE)
