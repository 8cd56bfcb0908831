"""The inline executor: tasks in threads of this process. The engines release the interpreter lock while they work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from raypipe.core.shard import InputFile, Task
from raypipe.ports import Completion, Worker

THREAD_NAME = "raypipe-task"


class InlineExecutor:
    """Runs the work of a `Worker` in threads; implements `ports.Executor`.

    A thread cannot be stopped from outside. So there is one for each piece of work, and whoever submits bounds their
    number: work that was given up takes nobody's place. The threads do not hold the process at its end.
    """

    def __init__(self, worker: Worker, slots: int) -> None:
        self._worker = worker
        self._slots = slots
        self._ended: queue.SimpleQueue[Completion] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()

    @property
    def slots(self) -> int:
        """How many tasks may usefully be in flight."""
        return self._slots

    def submit_task(self, key: object, task: Task) -> None:
        """Start a task; its Completion carries a Staged."""
        self._submit(key, lambda: self._worker.run(task))

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Start a scan; its Completion carries a FileIndex."""
        self._submit(key, lambda: self._worker.scan(file))

    def _submit(self, key: object, work: Callable[[], object]) -> None:
        def do() -> None:
            try:
                ended = Completion(key, value=work())
            except BaseException as error:  # an engine's panic is no Exception; the driver decides what it means
                ended = Completion(key, error=error)
            if not self._closed.is_set():
                self._ended.put(ended)
            self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=do, name=THREAD_NAME, daemon=True)
        self._threads.add(thread)
        thread.start()

    def wait(self, timeout_s: float) -> list[Completion]:
        """Return what has ended; empty when nothing did within the time."""
        try:
            found = [self._ended.get(timeout=max(0.0, timeout_s))]
        except queue.Empty:
            return []
        while not self._ended.empty():
            found.append(self._ended.get_nowait())
        return found

    def close(self, *, at_once: bool) -> None:
        """Give up what is in flight: a thread that is inside an engine ends by itself, and its result is dropped."""
        self._closed.set()
        if not at_once:
            for thread in list(self._threads):
                thread.join()
