"""What the error that a task ended with means for its run."""

from __future__ import annotations

from raypipe.core.events import TaskFailed
from raypipe.core.shard import Task
from raypipe.runtime.task_errors import end_by_error

TASK = Task("r", 1, 1, 0, ())


def test_a_query_that_a_signal_broke_off_is_told_in_words():
    assert end_by_error(TASK, KeyboardInterrupt()) == TaskFailed(TASK, "task_failed", "its query was broken off by a signal")
    assert end_by_error(TASK, OSError("gone")) == TaskFailed(TASK, "task_failed", "OSError: gone")
