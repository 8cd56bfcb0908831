"""A model of one run on a large cluster: raypipe's own coordinator, with workers and commits that only take time.

The coordinator's decisions are the real ones and its own time is measured while they are made; what a commit and the
submission of a task cost is given, as measured. The driver does one thing at a time, as the real one does.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from perf.commits import DIGEST, HOUR_US, TABLE
from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.commands import Command, Commit, Dispatch, Finish
from raypipe.core.commit import Receipt
from raypipe.core.coordinator import Coordinator
from raypipe.core.grouping import ROWS_MAX, TaskLimits
from raypipe.core.retry import Retries
from raypipe.core.shard import InputFile, Outcome, OutputStat, Reason, Shard, ShardResult, Slice, Task
from raypipe.core.state import OpenedRun
from raypipe.core.window import Window
from raypipe.runtime.driver import AHEAD

GIB = 1024**3
SPREAD = (0.5, 1.5)  # of a shard's mean time: workers do not march in step
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the driver, as measured."""

    commit_s: float
    """Of a transaction, however little is in it."""
    commit_a_shard_s: float
    submit_s: float
    """Of handing one task to Ray."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a run in the model."""

    seconds: float
    worker_share: float
    """How much of the workers' time was spent on shards."""
    driver_share: float
    """How much of the time the driver was busy."""
    visible_after_s: float
    """Median of the time from the end of a shard's task to its commit."""
    commits: int


@dataclass
class _Model:
    workers: int
    shard_s: float
    costs: Costs
    rng: Random = field(default_factory=lambda: Random(1))
    now_s: float = 0.0
    driver_busy_s: float = 0.0
    workers_busy_s: float = 0.0
    commits: int = 0
    running: list[tuple[float, int, Task]] = field(default_factory=list)
    queued: deque[Task] = field(default_factory=deque)
    ended: deque[tuple[float, Task]] = field(default_factory=deque)
    ended_s: dict[Window, float] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)

    def spend(self, seconds: float) -> None:
        """Let the driver be busy."""
        self.driver_busy_s += seconds
        self.advance(self.now_s + seconds)

    def measured(self, act: Callable[[], _T]) -> _T:
        """Let the driver be busy as long as the real code takes."""
        started_s = time.perf_counter()
        found = act()
        self.spend(time.perf_counter() - started_s)
        return found

    def advance(self, to_s: float) -> None:
        """Let time pass: workers that become free take what was handed out."""
        while self.running and self.running[0][0] <= to_s:
            at_s, _, task = heapq.heappop(self.running)
            self.ended.append((at_s, task))
            if self.queued:
                self._begin(self.queued.popleft(), at_s)
        self.now_s = max(self.now_s, to_s)

    def hand_out(self, task: Task) -> None:
        self.spend(self.costs.submit_s)
        if len(self.running) < self.workers:
            self._begin(task, self.now_s)
        else:
            self.queued.append(task)

    def _begin(self, task: Task, at_s: float) -> None:
        seconds = self.shard_s * len(task.shards) * self.rng.uniform(*SPREAD)
        self.workers_busy_s += seconds
        heapq.heappush(self.running, (at_s + seconds, task.number, task))

    def commit(self, command: Commit) -> ev.GroupCommitted:
        windows = [shard.window for shard in command.request.shards]
        seconds = self.costs.commit_s + self.costs.commit_a_shard_s * len(windows)
        self.spend(seconds)
        self.commits += 1
        self.waits_s += [self.now_s - self.ended_s.pop(window) for window in windows]
        receipt = Receipt(command.request.commit_id, self.commits, dict.fromkeys(windows, Outcome.LOADED))
        return ev.GroupCommitted(receipt, tuple(one.result for one in command.request.shards), seconds)

    def next_ended(self, due_s: float | None) -> ev.TaskEnded | None:
        """Wait for the next task that ends; None when the coordinator wants to be asked first."""
        if not self.ended:
            times = [at_s for at_s in (self.running[0][0] if self.running else None, due_s) if at_s is not None]
            self.advance(max(self.now_s, min(times)))
        if not self.ended:
            return None
        at_s, task = self.ended.popleft()
        self.ended_s.update((shard.window, at_s) for shard in task.shards)
        return ev.TaskEnded(task, tuple(map(_result, task.shards)), ())


def play(workers: int, shards: int, shard_s: float, costs: Costs) -> Outcomes:
    """Run so many shards of a mean length on so many workers, each shard a task of its own."""
    model = _Model(workers, shard_s, costs)
    limits = TaskLimits(workers * AHEAD, GIB)
    coordinator = Coordinator(OpenedRun("run", 1, {TABLE: 1}), limits, Retries(), atomic=False)
    planned = ev.Planned(_shards(shards), (), (), outside=0)
    commands: deque[Command] = deque(model.measured(lambda: coordinator.handle(planned, model.now_s)))
    while True:
        while commands:
            command = commands.popleft()
            if isinstance(command, Finish):
                return _outcomes(model)
            if isinstance(command, Dispatch):
                model.hand_out(command.task)
            elif isinstance(command, Commit):
                committed = model.commit(command)
                commands.extend(model.measured(lambda event=committed: coordinator.handle(event, model.now_s)))  # type: ignore[misc]
        ended = model.next_ended(coordinator.next_s)
        if ended is None:
            commands.extend(model.measured(lambda: coordinator.decide(model.now_s)))
        else:
            commands.extend(model.measured(lambda event=ended: coordinator.handle(event, model.now_s)))  # type: ignore[misc]


def largest_fed(shard_s: float, costs: Costs, *, share: float, workers_max: int) -> int:
    """Return the largest power of two of workers, up to a limit, that spend at least this share of their time on shards."""
    workers = 1
    while workers * 2 <= workers_max and play(workers * 2, workers * 2 * 10, shard_s, costs).worker_share >= share:
        workers *= 2
    return workers


def _outcomes(model: _Model) -> Outcomes:
    return Outcomes(
        seconds=model.now_s,
        worker_share=model.workers_busy_s / (model.workers * model.now_s),
        driver_share=model.driver_busy_s / model.now_s,
        visible_after_s=statistics.median(model.waits_s),
        commits=model.commits,
    )


def _shards(number: int) -> Sequence[Shard]:
    file = InputFile("file:///made/up.parquet", GIB, "1")
    whole = Slice(file, rows=ROWS_MAX, size_bytes=1)
    return tuple(
        Shard(hour, Window(hour * HOUR_US, (hour + 1) * HOUR_US), Reason.NEW, frozenset(), (whole,)) for hour in range(number)
    )


def _result(shard: Shard) -> ShardResult:
    accounts = Accounts(read=1, loaded=1)
    return ShardResult(shard.window, shard.observed, shard.slices, accounts, {TABLE: OutputStat(24, DIGEST)})
