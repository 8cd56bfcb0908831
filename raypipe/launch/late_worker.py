"""LateWorker: a worker that is made when the first work comes, so that a run with nothing to do loads no engine."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from raypipe.core.shard import InputFile, Task
from raypipe.ports import FileIndex, Staged, Worker


class ClosableWorker(Worker, Protocol):
    """A worker that holds something between its tasks."""

    def make_ready(self, tasks: int) -> None:
        """Open what so many tasks at once will need."""
        ...

    def close(self) -> None:
        """Give back what it holds; work that goes on is not disturbed."""
        ...


Scan = Callable[[InputFile], FileIndex]


class LateWorker:
    """Implements `ports.Worker` by another one that is made once, by whichever thread needs it first.

    A scan does not wait for it: decoding leaves the interpreter lock to the engines that are being loaded. What so many `tasks`
    at once will need is opened by a thread of its own, and so is what is wanted `beside`: engines start without that lock.
    """

    def __init__(
        self, make: Callable[[], ClosableWorker], scan: Scan, tasks: int = 1, beside: Callable[[], object] = lambda: None
    ) -> None:
        self._make = make
        self._scan = scan
        self._tasks = tasks
        self._beside = beside
        self._opening: list[threading.Thread] = []
        self._made: ClosableWorker | None = None
        self._lock = threading.Lock()

    def run(self, task: Task) -> Staged:
        """Run the shards of a task."""
        return self.made().run(task)

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index. Raises ConfigurationError, without waiting for the scan, where there can be no worker."""
        if self._made is not None:
            return self._scan(file)
        ended: queue.SimpleQueue[FileIndex | BaseException] = queue.SimpleQueue()
        threading.Thread(target=_put_outcome, args=(ended, self._scan, file), name="raypipe-scan", daemon=True).start()
        self.made()
        outcome = ended.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def made(self) -> ClosableWorker:
        """Return the worker. Raises ConfigurationError for what only an engine finds wrong."""
        with self._lock:
            if self._made is None:
                self._made = made = self._make()
                self._opening = [_started(lambda: made.make_ready(self._tasks)), _started(self._beside)]
            return self._made

    def close(self) -> None:
        """Close the worker, if there ever was one."""
        with self._lock:
            for thread in self._opening:
                thread.join()
            if self._made is not None:
                self._made.close()


def _started(open_: Callable[[], object]) -> threading.Thread:
    def open_quietly() -> None:
        with contextlib.suppress(Exception):  # whoever needs it opens it, and is told why that fails
            open_()

    thread = threading.Thread(target=open_quietly, name="raypipe-ready", daemon=True)
    thread.start()
    return thread


def _put_outcome(ended: queue.SimpleQueue[FileIndex | BaseException], scan: Scan, file: InputFile) -> None:
    try:
        ended.put(scan(file))
    except BaseException as error:  # raised where the scan was asked for
        ended.put(error)
