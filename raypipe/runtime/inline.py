"""The inline executor: tasks in threads of this process. The engines release the interpreter lock while they work."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from raypipe.core.shard import InputFile, Task
from raypipe.ports import Completion, Worker

THREAD_NAME = "raypipe-task"


class InlineExecutor:
    """Runs the work of a `Worker` in threads; implements `ports.Executor`.

    As many pieces of work as there are slots are done at once, the others wait: each may use a slot's share of the memory.
    A thread cannot be stopped from outside, so each piece of work has its own, and one that is given up leaves its slot to
    the next. The threads do not hold the process at its end.
    """

    def __init__(self, worker: Worker, slots: int) -> None:
        self._worker = worker
        self._slots = slots
        self._ended: queue.SimpleQueue[Completion] = queue.SimpleQueue()
        self._waiting: deque[tuple[object, Callable[[], object]]] = deque()
        self._at_work: set[object] = set()
        """The keys of what holds a slot."""
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def slots(self) -> int:
        """How many tasks may usefully be in flight."""
        return self._slots

    @property
    def has_workers_apart(self) -> bool:
        """No: threads share the cores of this machine, and all that may make one of them slow."""
        return False

    def submit_task(self, key: object, task: Task) -> None:
        """Start a task; its Completion carries a Staged."""
        self._submit(key, lambda: self._worker.run(task))

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Start a scan; its Completion carries a FileIndex."""
        self._submit(key, lambda: self._worker.scan(file))

    def _submit(self, key: object, work: Callable[[], object]) -> None:
        with self._lock:
            self._waiting.append((key, work))
            self._fill_slots()

    def _fill_slots(self) -> None:
        """Start what waits, while slots are free; the caller holds the lock."""
        while self._waiting and len(self._at_work) < self._slots and not self._closed.is_set():
            key, work = self._waiting.popleft()
            self._at_work.add(key)
            thread = threading.Thread(target=self._do, args=(key, work), name=THREAD_NAME, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _do(self, key: object, work: Callable[[], object]) -> None:
        try:
            ended = Completion(key, value=work())
        except BaseException as error:  # an engine's panic is no Exception; the driver decides what it means
            ended = Completion(key, error=error)
        if not self._closed.is_set():
            self._ended.put(ended)
        with self._lock:
            self._threads.discard(threading.current_thread())
            self._at_work.discard(key)
            self._fill_slots()

    def wait(self, timeout_s: float) -> list[Completion]:
        """Return what has ended; empty when nothing did within the time."""
        try:
            found = [self._ended.get(timeout=max(0.0, timeout_s))]
        except queue.Empty:
            return []
        while not self._ended.empty():
            found.append(self._ended.get_nowait())
        return found

    def is_waiting(self, key: object) -> bool:
        """Tell whether a task has not begun yet."""
        with self._lock:
            return any(one[0] == key for one in self._waiting)

    def give_up(self, key: object) -> None:
        """Free the slot of a piece of work that hangs; where it ends all the same, nobody minds its Completion."""
        with self._lock:
            self._waiting = deque(one for one in self._waiting if one[0] != key)
            self._at_work.discard(key)
            self._fill_slots()

    def close(self, *, at_once: bool) -> None:
        """Give up what is in flight: a thread that is inside an engine ends by itself, and its result is dropped."""
        if not at_once:
            while threads := self._started():
                for thread in threads:
                    thread.join()
        self._closed.set()

    def _started(self) -> list[threading.Thread]:
        with self._lock:  # in it they are started
            return list(self._threads)
