"""Stragglers: which tasks at work take far longer than the pace of those that have finished lets expect."""

from __future__ import annotations

from bisect import insort

from raypipe.core.shard import Task
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StragglerLimits:
    """When a task counts as a straggler."""

    finished_min: int = 3  # a median of fewer says little
    floor_s: float = 10.0  # a second attempt costs about a second and another worker's time: below this nobody waits for long
    times: float = 3.0  # of what is expected: shards of one pipeline differ by less, and their estimates with them


USUAL_LIMITS = StragglerLimits()


@dataclass(frozen=True, slots=True)
class Straggler:
    """A task that takes far longer than the others."""

    task: Task
    seconds: float
    """For which it is at work."""
    expected_s: float

    @property
    def times(self) -> float:
        """How many times as long as expected it takes so far."""
        return self.seconds / max(self.expected_s, 1e-3)


class Pace:
    """How long the tasks of a run take: the median of their durations, and of their durations by size."""

    def __init__(self, limits: StragglerLimits) -> None:
        self._limits = limits
        self._seconds: list[float] = []
        """Of each task that finished, ascending."""
        self._seconds_by_size: list[float] = []

    def add(self, task: Task, seconds: float) -> None:
        """Take note of a task that finished."""
        insort(self._seconds, seconds)
        if size := _size(task):
            insort(self._seconds_by_size, seconds / size)

    def expected_s(self, task: Task) -> float:
        """Return how long a task may be expected to take: no less than the median task, however small it is."""
        return max(_median(self._seconds), _median(self._seconds_by_size) * _size(task))

    def straggler(self, task: Task, seconds: float) -> Straggler | None:
        """Return a task that is at work for so long as a straggler, if it is one."""
        if len(self._seconds) < self._limits.finished_min or seconds <= self._limits.floor_s:
            return None  # as nearly always: the size of a task is the sum over its shards
        expected_s = self.expected_s(task)
        return Straggler(task, seconds, expected_s) if seconds > self._limits.times * expected_s else None


def _size(task: Task) -> int:
    """Return the estimated bytes of a task's input; its rows where the bytes are not known."""
    return sum(one.size_bytes for one in task.shards) or sum(one.rows for one in task.shards)


def _median(ascending: list[float]) -> float:
    return ascending[len(ascending) // 2] if ascending else 0.0
