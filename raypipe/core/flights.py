"""Flights: the attempts that are in flight, since when each is at work, and which two of them do the same shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from raypipe.core.events import TaskEnded, TaskFailed, TaskHeld
from raypipe.core.shard import Task
from raypipe.core.stragglers import Pace, Straggler, StragglerLimits
from raypipe.errors import OutOfMemory
from raypipe.lazy_dataclass import dataclass

End = TaskEnded | TaskFailed | TaskHeld


@dataclass(slots=True)
class _Flight:
    """One attempt, and since when a worker has it; None as long as it waits for one."""

    task: Task
    since_s: float | None = None


class Flights:
    """All attempts that are waited for. Of two at the same shards, the first to settle them counts; the other is given up.

    Workers take tasks in the order in which they were handed out: the first `workers` of them are at work. Where that is 0,
    a second attempt would only share the cores of the first one, and none is made.
    """

    def __init__(self, workers: int, limits: StragglerLimits) -> None:
        self._workers = workers
        self._pace = Pace(limits)
        self._flights: dict[str, _Flight] = {}
        self._ahead: deque[str] = deque()
        """Handed out, and not at work yet."""
        self._at_work = 0
        self._second: dict[str, str] = {}
        """By attempt, the second one at the same shards: there is never a third."""
        self._given_up: list[Task] = []

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def tasks(self) -> Iterator[Task]:
        """The tasks in flight, in the order in which they were handed out."""
        return (flight.task for flight in self._flights.values())

    def awaits(self, task: Task) -> bool:
        """Tell whether the end of an attempt counts: it is in flight, and nobody gave it up."""
        return task.attempt_id in self._flights

    def add(self, task: Task, now_s: float) -> None:
        """Take note of an attempt that is handed out."""
        self._flights[task.attempt_id] = _Flight(task)
        self._ahead.append(task.attempt_id)
        if task.beside:
            self._second[task.beside] = task.attempt_id
        self._fill_workers(now_s)

    def land(self, event: End, now_s: float) -> bool:
        """Take out an attempt that ended; tell whether that settles its shards, or another attempt at them is waited for."""
        flight = self._remove(event.task, now_s)
        if isinstance(event, TaskEnded) and event.results and flight.since_s is not None:
            self._pace.add(event.task, now_s - flight.since_s)
        other = self._flights.get(event.task.beside or self._second.get(event.task.attempt_id, ""))
        if other is None:
            return True
        if not settles(event):
            return False
        self._given_up.append(self._remove(other.task, now_s).task)
        return True

    def take_given_up(self) -> list[Task]:
        """Take out the attempts that are of no use any more since they were last asked for."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def stragglers(self, now_s: float) -> list[Straggler]:
        """Return what may have a second attempt now, the slowest first, as many as there are idle workers."""
        idle = self._workers - len(self._flights)
        if idle <= 0:
            return []
        found = (
            self._pace.straggler(one.task, now_s - one.since_s)
            for attempt, one in self._flights.items()
            if one.since_s is not None and self._may_have_second(attempt, one.task)
        )
        return sorted((one for one in found if one is not None), key=lambda one: -one.times)[:idle]

    def _may_have_second(self, attempt: str, task: Task) -> bool:
        return not task.beside and attempt not in self._second and not task.room.is_alone

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._flights.clear()
        self._ahead.clear()
        self._at_work = 0

    def _remove(self, task: Task, now_s: float) -> _Flight:
        flight = self._flights.pop(task.attempt_id)
        if flight.since_s is None:
            self._ahead.remove(task.attempt_id)
        else:
            self._at_work -= 1
        self._fill_workers(now_s)
        return flight

    def _fill_workers(self, now_s: float) -> None:
        while self._ahead and self._at_work < self._workers:
            self._flights[self._ahead.popleft()].since_s = now_s
            self._at_work += 1


def settles(event: End) -> bool:
    """Tell whether the end of one attempt makes another one at the same shards needless.

    It left something, or the other would end the same: what is wrong with a shard, input that changed, and memory that was
    too little, are the same for both.
    """
    match event:
        case TaskEnded(results=results, failures=failures):
            return bool(results) or any(not one.retryable or one.code == OutOfMemory.code for one in failures)
        case TaskFailed(code=code, relist=relist):
            return relist or code == OutOfMemory.code
        case TaskHeld():
            return False
