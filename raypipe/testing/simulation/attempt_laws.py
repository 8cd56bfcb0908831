"""The laws of attempts: one at a shard, or a second beside it, of which one counts, once. Judged by what a driver tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from raypipe.core import events as ev
from raypipe.core.shard import Task
from raypipe.core.window import Window
from raypipe.errors import OutOfMemory
from raypipe.testing.simulation.promise import require


@dataclass
class AttemptLaws:
    """Follows the attempts of one driver by its events."""

    at_work: dict[str, Task] = field(default_factory=dict)
    done: set[Window] = field(default_factory=set)
    """Shards that wait for their commit."""
    is_stopped: bool = False

    def on(self, event: ev.RunEvent) -> None:
        """Judge an event."""
        match event:
            case ev.TaskStarted():
                self._started(event.task)
            case ev.TaskEnded():
                same_for_all = any(not one.retryable or one.code == OutOfMemory.code for one in event.failures)
                self._ended(event.task, settled=bool(event.results) or same_for_all)
                self._take(event)
            case ev.TaskFailed():
                self._ended(event.task, settled=event.relist or event.code == OutOfMemory.code)
            case ev.Adopted():
                for ended in event.ended:
                    self._take(ended)
            case ev.GroupCommitted():
                self.done.difference_update(one.window for one in event.results)
            case ev.GroupRefused():
                self.done.difference_update(event.windows)
            case ev.StopAsked():
                self.is_stopped = True
            case _:
                pass

    def _started(self, task: Task) -> None:
        others = self._at_same_shards(task)
        require(not self.is_stopped, "a task is begun after a stop")
        require(self.done.isdisjoint(_windows(task)), "a shard is begun again that waits for its commit")
        require(bool(task.beside) or not others, "a shard is begun again while an attempt at it is at work")
        if task.beside:
            require([one.attempt_id for one in others] == [task.beside], "a second attempt is not beside one other")
            require(not others[0].room.is_alone, "a second attempt is beside one that has all of the memory")
        self.at_work[task.attempt_id] = task

    def _ended(self, task: Task, *, settled: bool) -> None:
        require(self.at_work.pop(task.attempt_id, None) is not None, "an attempt counts that nobody waits for")
        if settled:
            for other in self._at_same_shards(task):
                del self.at_work[other.attempt_id]

    def _take(self, event: ev.TaskEnded) -> None:
        windows = {one.window for one in event.results}
        require(self.done.isdisjoint(windows), "two attempts at a shard count")
        self.done |= windows

    def _at_same_shards(self, task: Task) -> list[Task]:
        return [one for one in self.at_work.values() if not _windows(one).isdisjoint(_windows(task))]


def _windows(task: Task) -> set[Window]:
    return {shard.window for shard in task.shards}
