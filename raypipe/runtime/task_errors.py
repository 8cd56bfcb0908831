"""Task errors: what the error that a task ended with means for its run."""

from __future__ import annotations

from raypipe.core.events import TaskEnded, TaskFailed
from raypipe.core.shard import ShardFailure, Task
from raypipe.errors import FixableError, InputChanged, OutOfMemory, RaypipeError


def end_by_error(task: Task, error: BaseException) -> TaskEnded | TaskFailed:
    """Return the end of a task that raised; one of whose error doing the same again would end the same fails its shards."""
    if isinstance(error, MemoryError):
        return TaskFailed(task, OutOfMemory.code, f"{task.shards[0].window}: no memory is left: raise run.memory")
    if isinstance(error, FixableError):
        return TaskEnded(task, (), tuple(ShardFailure(shard.window, error.code, str(error)) for shard in task.shards))
    if isinstance(error, KeyboardInterrupt):  # DuckDB breaks a query off, whatever else takes care of the signal
        return TaskFailed(task, "task_failed", "its query was broken off by a signal")
    code = error.code if isinstance(error, RaypipeError) else "task_failed"
    text = str(error) if isinstance(error, RaypipeError) else f"{type(error).__name__}: {error}"
    return TaskFailed(task, code, text, relist=isinstance(error, InputChanged))
