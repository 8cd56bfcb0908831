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
    planned_again: set[Window] = field(default_factory=set)
    """Shards of a later plan that were not begun yet. Where live ranges widened a neighbour, it may hold what is at work, and may
    be done before that plan's turn comes: then it is done twice, and the commit takes one."""
    is_stopped: bool = False

    def on(self, event: ev.RunEvent) -> None:
        """Judge an event."""
        match event:
            case ev.Planned(again=True):
                self.planned_again.update(one.window for one in event.shards)
                self.done -= self.planned_again
            case ev.TaskStarted():
                self._started(event.task)
            case ev.TaskEnded() | ev.TaskFailed():
                self._ended(event)
            case ev.Adopted():
                self.done.update(result.window for ended in event.ended for result in ended.results)
            case ev.GroupCommitted():
                self.done.difference_update(one.window for one in event.results)
            case ev.GroupRefused():
                self.done.difference_update(event.windows)
            case ev.StopAsked():
                self.is_stopped = True
            case _:
                pass

    def _started(self, task: Task) -> None:
        windows = {shard.window for shard in task.shards}
        others = [one for one in self.at_work.values() if not windows.isdisjoint(shard.window for shard in one.shards)]
        require(not self.is_stopped, "a task is begun after a stop")
        require((self.done - self.planned_again).isdisjoint(windows), "a shard is begun again that waits for its commit")
        if task.beside:
            require(task.beside in [one.attempt_id for one in others], "a second attempt is beside none at its shards")
            first = self.at_work[task.beside]
            require(not first.beside and not self._beside(first), "a third attempt is beside two")
            require(not first.room.is_alone, "a second attempt is beside one that has all of the memory")
        elif not windows <= self.planned_again:
            require(not others, "a shard is begun again while an attempt at it is at work")
        self.planned_again -= windows
        self.at_work[task.attempt_id] = task

    def _ended(self, event: ev.TaskEnded | ev.TaskFailed) -> None:
        task = event.task
        require(self.at_work.pop(task.attempt_id, None) is not None, "an attempt counts that nobody waits for")
        if isinstance(event, ev.TaskEnded):
            self.done.update(one.window for one in event.results)
            settled = bool(event.results) or any(not one.retryable or one.code == OutOfMemory.code for one in event.failures)
        else:
            settled = event.relist or event.code == OutOfMemory.code
        if settled:
            for other in self._beside(task):
                del self.at_work[other.attempt_id]

    def _beside(self, task: Task) -> list[Task]:
        return [one for one in self.at_work.values() if one.attempt_id == task.beside or one.beside == task.attempt_id]
