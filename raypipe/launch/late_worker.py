"""LateWorker: a worker that is made when the first work comes, so that a run with nothing to do loads no engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

from raypipe.core.events import Planned, RunEvent
from raypipe.core.shard import InputFile, Task
from raypipe.ports import FileIndex, Observer, Staged, Worker


class LateWorker:
    """Implements `ports.Worker` by another one that is made once, by whichever thread needs it first."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._made: Worker | None = None
        self._lock = threading.Lock()

    def run(self, task: Task) -> Staged:
        """Run the shards of a task."""
        return self.made().run(task)

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index."""
        return self.made().scan(file)

    def made(self) -> Worker:
        """Return the worker. Raises ConfigurationError for what only an engine finds wrong."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class MadeByPlan:
    """An observer that has the worker made once shards are planned: mistakes are told before the run opens."""

    def __init__(self, worker: LateWorker, observer: Observer) -> None:
        self._worker = worker
        self._observer = observer

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        if isinstance(event, Planned) and event.shards:
            self._worker.made()
        self._observer.on(event)
