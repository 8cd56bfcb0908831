"""The simulated workers: tasks and scans as generators, which may stop for good between any two steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

from raypipe.core.shard import InputFile, Shard, ShardFailure, ShardResult, Task
from raypipe.errors import OutOfMemory, RaypipeError
from raypipe.ports import QUARANTINE_TABLE, Completion, Staged
from raypipe.testing.simulation.promise import require
from raypipe.testing.simulation.rows import OUTPUTS, Contribution, Row, Rules, contribution
from raypipe.testing.simulation.source import SimulatedSource
from raypipe.testing.simulation.stage import Disk

Work = Generator[None, None, object]


@dataclass(frozen=True, slots=True)
class SimulatedWorker:
    """Does the tasks of one process, by its definition."""

    source: SimulatedSource
    disk: Disk
    rules: Rules
    random: Random
    faults: Any
    """Tells whether things still go wrong."""

    def scan(self, file: InputFile) -> Work:
        """Read a file for the index, and look afterwards whether it is still the one that was listed."""
        rows = self.source.open(file)
        yield
        self._may_die()
        return self.source.indexed(file, rows)

    def run(self, task: Task) -> Work:
        """Read, make the contributions, stage them or keep them in memory."""
        shards = sorted(task.shards, key=lambda one: one.window)
        rows: list[Row] = []
        files = sorted({one.file.uri: one.file for shard in shards for one in shard.slices}.values(), key=lambda one: one.uri)
        for file in files:
            rows += yield from self._read(file)
        for file in files:
            self.source.check_unchanged(file)
        self._may_die()
        made = [contribution(one.window, [row for row in rows if _is_in(row, one)], self.rules) for one in shards]
        failed = {one.window for one in shards if self._happens(0.02)}
        failures = tuple(ShardFailure(window, "os_error", "the disk", retryable=self._happens(0.7)) for window in sorted(failed))
        good = [(shard, one) for shard, one in zip(shards, made, strict=True) if shard.window not in failed]
        results = tuple(self._result(shard, one) for shard, one in good)
        tables = {name: [row for _, one in good for row in one.tables[name]] for name in (*OUTPUTS, QUARANTINE_TABLE)}
        if self._happens(0.01):  # rows lost on the way out of the engine
            tables["clean"] = tables["clean"][:-1]
        fingerprints = {output: one.fingerprint for output, one in self.rules.definitions().items()}
        staged = Staged(task, results, failures, cast("Any", tables), fingerprints=fingerprints)
        if not results or self.random.random() < 0.5:
            return staged
        folder = self.disk.make(task)
        yield
        self.disk.write(folder, tables)
        yield
        return self.disk.finish(folder, staged)

    def _read(self, file: InputFile) -> Generator[None, None, list[Row]]:
        first = self.source.open(file)
        yield
        now = self.source.source.files.get(file.uri)
        last = now.rows if now is not None else ()
        half = len(first) // 2
        return [*first[:half], *last[half:]]  # torn where the file changed meanwhile

    def _result(self, shard: Shard, one: Contribution) -> ShardResult:
        accounts = one.accounts
        if accounts.read and self._happens(0.01):  # a bug of the engine: a row that was read went nowhere
            accounts = replace(accounts, read=accounts.read + 1)
        return ShardResult(shard.window, shard.observed, shard.slices, accounts, one.stats)

    def _may_die(self) -> None:
        if self._happens(0.03):
            raise OutOfMemory("a task needed too much memory") if self.random.random() < 0.5 else RuntimeError("the worker died")

    def _happens(self, share: float) -> bool:
        return bool(self.faults()) and self.random.random() < share


def _is_in(row: Row, shard: Shard) -> bool:
    return shard.window.start_us <= row.time_us < shard.window.end_us


@dataclass(eq=False)
class Piece:
    """One piece of work under way."""

    executor: SimulatedExecutor
    key: object
    work: Work

    def step(self) -> bool:
        """Do one step; tell whether there are more."""
        try:
            next(self.work)
        except StopIteration as ended:
            self.executor.ended.append(Completion(self.key, ended.value))
        except RaypipeError as error:
            self.executor.ended.append(Completion(self.key, error=error))
        except RuntimeError as error:
            self.executor.ended.append(Completion(self.key, error=error))
        else:
            return True
        return False


@dataclass(eq=False)
class SimulatedExecutor:
    """Implements `ports.Executor`: work goes on among all that happens, may be done twice, and may outlive its driver."""

    worker: SimulatedWorker
    pieces: list[Piece]
    """The work of all processes."""
    waits: Any
    """Gives way to others until something may have ended."""
    begins: Callable[[Task], None]
    """Told of every task that begins."""
    slots: int = 1
    has_workers_apart: bool = False
    ended: deque[Completion] = field(default_factory=deque)
    waited_for: set[object] = field(default_factory=set)
    """Tasks whose driver has neither heard of them nor given them up."""
    told: list[Staged] = field(default_factory=list)
    """What the driver heard of."""

    def submit_task(self, key: object, task: Task) -> None:
        """Start a task; now and then two executions of it."""
        self.begins(task)
        self.waited_for.add(key)
        for _ in range(2 if self.worker.faults() and self.worker.random.random() < 0.04 else 1):
            self.pieces.append(Piece(self, key, self.worker.run(task)))

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Start a scan."""
        self.pieces.append(Piece(self, key, self.worker.scan(file)))

    def wait(self, timeout_s: float) -> list[Completion]:
        """Return what has ended."""
        self.waits(self, timeout_s)
        found = list(self.ended)
        self.ended.clear()
        for one in found:
            if one.key in self.waited_for and isinstance(one.value, Staged):
                self.told.append(one.value)
            self.waited_for.discard(one.key)
        return found

    def is_waiting(self, key: object) -> bool:
        """Nothing waits for long here."""
        return False

    def give_up(self, key: object) -> None:
        """Let a piece go on all the same: its end may come late."""
        self.waited_for.discard(key)

    def close(self, *, at_once: bool) -> None:
        """Give up what is in flight, most of the time: a task of a cluster may go on."""
        self.drop()

    def require_order(self) -> None:
        """Judge what a driver leaves whose run is done."""
        require(not self.waited_for, "a run is done while an attempt is at work that nobody gave up")
        there = {id(folder.manifest) for folder in self.worker.disk.folders.values()}  # another execution may leave the same again
        require(there.isdisjoint(map(id, self.told)), "a run is done and has not removed what it knows to be staged")

    def drop(self) -> None:
        """Stop what this executor started, but for a piece that goes on unseen now and then."""
        r = self.worker.random
        self.pieces[:] = [one for one in self.pieces if one.executor is not self or r.random() < 0.3]
