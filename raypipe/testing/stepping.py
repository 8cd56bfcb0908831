"""Stepping: a real run, one step at a time in one thread, in an order that is the same every time; faults come between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from raypipe.core.coordinator import COMMIT_INTERVAL_S
from raypipe.core.events import RunClosed
from raypipe.core.executor_choice import Choice
from raypipe.core.grouping import SHARDS_MAX
from raypipe.core.shard import InputFile, Task
from raypipe.core.window import from_us
from raypipe.engine.stage import StagePolicy
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask
from raypipe.launch.run_verb import holder, make_driver
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.ports import Completion, Executor, StopFlag, Worker
from raypipe.runtime.inline import InlineExecutor
from raypipe.testing.clock import FrozenClock, SteppedClock

SLOTS = 64  # all tasks of a run are handed out at once, so that any of them may be done first
IDLE_MAX_S = 3600.0  # beyond any wait for a retry or for another run: what is waited for does not come
ELSEWHERE = "elsewhere:1:1.0"
"""An owner on another machine: nobody here can tell whether it is alive."""


def dead() -> str:
    """Return an owner that was a process of this host and is no more: its process id is that of another one now."""
    host_and_pid, _, started_s = holder().rpartition(":")
    return f"{host_and_pid}:{float(started_s) - 1000:.2f}"


Pick = Callable[[Sequence[Task]], int]
"""Says which of the waiting tasks is done next."""
Ended = Callable[[int, Task, Completion], list[Completion]]
"""Takes the n-th task that ended (from 1, by execution) and returns what the driver hears of it."""


def first(waiting: Sequence[Task]) -> int:
    """Do tasks in the order in which they were handed out."""
    return 0


def last(waiting: Sequence[Task]) -> int:
    """Do the task that was handed out last."""
    return len(waiting) - 1


class StepExecutor:
    """Implements `ports.Executor`: work is done within `wait`, one piece at a time, and each task is committed by itself."""

    def __init__(self, worker: Worker, clock: SteppedClock, *, pick: Pick, ended: Ended) -> None:
        self._worker = worker
        self._clock = clock
        self._pick = pick
        self._ended = ended
        self._tasks: list[tuple[object, Task]] = []
        self._scans: list[tuple[object, InputFile]] = []
        self._executions = 0
        self._rest = False
        self._idle_s = 0.0

    @property
    def slots(self) -> int:
        """How many tasks may usefully be in flight."""
        return SLOTS

    @property
    def has_workers_apart(self) -> bool:
        """No: one piece of work is done at a time."""
        return False

    def submit_task(self, key: object, task: Task) -> None:
        """Take a task; its Completion carries a Staged."""
        self._tasks.append((key, task))

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Take a scan; its Completion carries a FileIndex."""
        self._scans.append((key, file))

    def wait(self, timeout_s: float) -> list[Completion]:
        """Do one piece of work; let time pass after each task, so that what it left is committed before the next one.

        Raises TimeoutError when time passes and no work comes.
        """
        if self._scans:
            key, file = self._scans.pop(0)
            return [_completed(key, lambda: self._worker.scan(file))]
        if self._rest or not self._tasks:
            return self._nothing(max(timeout_s, 2 * COMMIT_INTERVAL_S))  # what waits for the last tasks waits so long
        self._rest, self._idle_s = True, 0.0
        key, task = self._tasks.pop(self._pick([task for _, task in self._tasks]))
        self._executions += 1
        return self._ended(self._executions, task, _completed(key, lambda: self._worker.run(task)))

    def is_waiting(self, key: object) -> bool:
        """Nothing waits for long here."""
        return False

    def give_up(self, key: object) -> None:
        """Forget a task that was not begun."""
        self._tasks = [(one, task) for one, task in self._tasks if one != key]

    def _nothing(self, seconds: float) -> list[Completion]:
        self._rest = False
        self._idle_s += seconds
        if self._idle_s > IDLE_MAX_S:
            raise TimeoutError("the run waits for something that does not come")
        self._clock.sleep_s(seconds)
        return []

    def close(self, *, at_once: bool) -> None:
        """Forget what was not begun."""
        self._tasks.clear()
        self._scans.clear()


def _completed(key: object, work: Callable[[], object]) -> Completion:
    try:
        return Completion(key, value=work())
    except BaseException as error:  # as the inline executor: the driver decides what it means
        return Completion(key, error=error)


class Unwatched:
    """An observer that looks away."""

    def on(self, event: Any) -> None:
        """Take no note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How a run is conducted: who owns it, in what order tasks are done, what becomes of what they leave."""

    run_id: str
    owner: str | None = None
    force: bool = False
    pick: Pick = first
    ended: Ended = lambda _number, _task, completion: [completion]
    task_shards_max: int = SHARDS_MAX
    stage: Literal["always", "never"] | StagePolicy = "always"
    threads: int = 0
    """With some, tasks are done as `raypipe run` does them inline, and nothing above about order holds."""


def step_run(pipeline: Pipeline, ask: Ask, now_us: int, conduct: Conduct) -> RunClosed:
    """Run a pipeline as a process of its own would: everything is made anew, nothing is left in memory.

    Raises what the driver raises.
    """
    stepped = SteppedClock(now_us)
    parts = Parts(pipeline, FrozenClock(from_us(now_us)) if conduct.threads else stepped)
    worker = parts.worker(pipeline.run.memory_bytes // (conduct.threads or 2))
    worker.stage = conduct.stage
    executor: Executor = StepExecutor(worker, stepped, pick=conduct.pick, ended=conduct.ended)
    if conduct.threads:
        executor = InlineExecutor(worker, conduct.threads)
    driver = make_driver(
        parts,
        ask,
        Choice("inline", executor.slots),
        conduct.run_id,
        executor,
        Unwatched(),
        StopFlag(),
        force=conduct.force,
        owner=conduct.owner,
        task_shards_max=conduct.task_shards_max,
    )
    try:
        return driver.run()
    finally:
        worker.close()
