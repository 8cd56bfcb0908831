"""shard_run: one task of the data plane from its source to its contributions, the same under every executor."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from raypipe import failpoints
from raypipe.core.room import Room
from raypipe.core.shard import InputFile, Shard, ShardFailure, Task
from raypipe.engine.arrow_start import start_arrow
from raypipe.engine.attempt import Attempt, Done
from raypipe.engine.budget import Budget, budgets
from raypipe.engine.check import require_fit
from raypipe.engine.definition import definitions
from raypipe.engine.liveness import without_unused
from raypipe.engine.outputs import Outputs
from raypipe.engine.stage import StagePolicy, attempt_folder, wants_files, write_staged
from raypipe.engine.table_spool import TableFile, in_memory
from raypipe.engine.transform import Transform
from raypipe.errors import (
    ConfigurationError,
    OutOfMemory,
    RaypipeError,
    RetryableError,
    ShardError,
    StopError,
    TransformFailed,
)
from raypipe.pipeline import Pipeline
from raypipe.ports import QUARANTINE_TABLE, FileIndex, Source, Staged

MEMORY_RAN_OUT = (OutOfMemory, MemoryError, duckdb.OutOfMemoryException)
ENDS_THE_TASK = (RetryableError, StopError, ConfigurationError, KeyboardInterrupt, SystemExit)


class ShardRunner:
    """Does tasks (ports.Worker). Picklable; several threads may call `run` on one instance.

    `memory_bytes` is the share of one task. `stage` says whether contributions become files: always, never (Arrow in
    memory), or as a StagePolicy decides. `planned` are the fingerprints of the definitions that the run was planned with:
    a worker that has others (a Python step or a reference file changed meanwhile) does nothing. None: it has what it has.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        *,
        stage_folder: str,
        memory_bytes: int,
        stage: Literal["always", "never"] | StagePolicy,
        planned: Mapping[str, str] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.stage_folder = stage_folder
        self.memory_bytes = memory_bytes
        self.stage = stage
        self.planned = planned
        self._make()

    def _make(self) -> None:
        start_arrow(self.pipeline)
        self._spill = Path(self.stage_folder + ".spill")
        # First: what is wrong with the SQL is told with its place.
        self._kept = {one: self._make_outputs(one) for one in self._budgets(Room.SHARED)}
        self._transform = Transform(without_unused(self.pipeline), keeps_unused=False)
        self._fingerprints: dict[str, str] | None = None

    def _make_outputs(self, budget: Budget) -> Outputs:
        return Outputs(self.pipeline, budget=budget, spill_folder=self._spill)

    @property
    def _outputs(self) -> Outputs:
        return self._kept[self._budgets(Room.SHARED)[0]]

    def _budgets(self, room: Room) -> tuple[Budget, ...]:
        return budgets(room, self.memory_bytes, self.pipeline.run.memory_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make()

    def require_fit(self) -> None:
        """Raise ConfigurationError for what no row could pass, as far as the contract tells; what is right stays bound."""
        try:
            require_fit(self.pipeline, self._transform, self._outputs, self._spill)
        except ConfigurationError:  # told with all columns: the one that was meant may be one that nothing else uses
            require_fit(self.pipeline, Transform(without_unused(self.pipeline)), self._outputs, self._spill)
            raise

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index (Source.scan)."""
        return self.source.scan(file)

    def run(self, task: Task) -> Staged:
        """Run the shards of a task. What is wrong with a shard's data is a failure in the result, not an exception.

        Raises RetryableError kinds (the input changed, the disk) and StopError; other shards of the task are not harmed by
        one that fails, nor by one that lacks memory.
        """
        failpoints.hit("task.start", attempt=task.attempt, shard=tuple(one.index for one in task.shards))
        started_s = time.monotonic()
        shards = sorted(task.shards, key=lambda one: one.window)
        spill = self._spill / f"{task.run_id}-{task.attempt_id}"
        try:
            fingerprints = self.fingerprints()  # before anything is read by them: what changes meanwhile is another definition
            if len(shards) == 1:
                done = self._by_itself(shards[0], spill, task.room, spills_contributions=self.stage != "never")
            else:
                done = self._run_shards(shards, spill, whole_task=True)
        except ConfigurationError as error:
            return Staged(task=task, results=(), failures=tuple(_failure(one, error) for one in shards))
        else:
            return self._staged(task, done, fingerprints, time.monotonic() - started_s)
        finally:
            shutil.rmtree(spill, ignore_errors=True)
            pa.default_memory_pool().release_unused()  # what Arrow keeps for itself would not be the next task's, nor the commit's

    def _staged(self, task: Task, done: Done, fingerprints: Mapping[str, str], seconds: float) -> Staged:
        """Return what was done, as files where it is worth them."""
        in_memory = {name: rows for name, rows in done.tables.items() if isinstance(rows, pa.Table)}
        in_files = {name: rows.path for name, rows in done.tables.items() if isinstance(rows, TableFile)}
        staged = Staged(task=task, results=done.results, failures=done.failures, tables=in_memory, fingerprints=fingerprints)
        failpoints.hit("task.before_stage", attempt=task.attempt)
        size_bytes = sum(one.nbytes for one in done.tables.values())
        if in_files or (done.results and wants_files(self.stage, seconds=seconds, size_bytes=size_bytes)):
            staged = write_staged(staged, attempt_folder(self.stage_folder, task.run_id, task.attempt_id), in_files)
        failpoints.hit("task.before_return", attempt=task.attempt)
        return staged

    def make_ready(self, tasks: int) -> None:
        """Open what so many tasks at once will need."""
        self._outputs.make_ready(tasks)

    def close(self) -> None:
        """Close what was opened; a runner that was closed opens it again when it is used."""
        for outputs in self._kept.values():
            outputs.close()
        with contextlib.suppress(OSError):  # another process may still use it, or it never was there
            self._spill.rmdir()

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each output's definition as this worker has it: its code and its reference files."""
        if self._fingerprints is None:
            self._fingerprints = {table: one.fingerprint for table, one in definitions(self.pipeline).items()}
        changed = sorted(table for table, one in (self.planned or {}).items() if self._fingerprints.get(table) != one)
        if changed:
            raise ConfigurationError(
                f"what {', '.join(changed)} is made by changed after the run was planned (a Python step, what it imports, or a "
                "reference file): nothing of this shard was computed; run again"
            )
        return self._fingerprints

    def _run_shards(self, shards: Sequence[Shard], spill: Path, *, whole_task: bool = False) -> Done:
        """Run shards together; when that fails and it is not known for which of them, run each half by itself.

        Where SQL looks around its shard each is run by itself: it sees rows of its neighbours.
        """
        if len(shards) == 1:
            return self._by_itself(shards[0], spill)
        if self.pipeline.looks_around:
            middle = len(shards) // 2
            return self._joined(self._run_shards(shards[:middle], spill), self._run_shards(shards[middle:], spill))
        try:
            return self._attempt(shards, spill, self._budgets(Room.SHARED)[0])
        except MEMORY_RAN_OUT:
            pass
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # an engine's panic is no Exception, and must not take the worker along
            if whole_task and not isinstance(error, RaypipeError):
                return self._run_ends_first(shards, spill)
        middle = len(shards) // 2
        return self._joined(self._run_shards(shards[:middle], spill), self._run_shards(shards[middle:], spill))

    def _by_itself(self, shard: Shard, spill: Path, room: Room = Room.SHARED, *, spills_contributions: bool = False) -> Done:
        """Run one shard, where it is short of memory once more with a greater budget: not everything can spill."""
        lack: BaseException | None = None
        for budget in self._budgets(room):
            try:
                return self._attempt([shard], spill, budget, spills_contributions, room.pieces)
            except MEMORY_RAN_OUT as error:
                lack = error
            except ENDS_THE_TASK:
                raise
            except BaseException as error:
                return Done((), (_failure(shard, error),))
        advice = f"give run.memory more, or make time.shard smaller: {str(lack) or repr(lack)}"
        text = f"{shard.window} needed more than {self._given(room)}: {advice}"
        return Done((), (ShardFailure(shard.window, OutOfMemory.code, text, retryable=True),))

    def _run_ends_first(self, shards: Sequence[Shard], spill: Path) -> Done:
        """Run the first and the last shard of a task by themselves, after it failed by an error that nobody foresaw.

        Where both fail with the same text it is not the data of one: those between fail with it too, without being run,
        because to halve a year of days takes minutes. The next run tries them again.
        """
        first, last = (self._run_shards([one], spill) for one in (shards[0], shards[-1]))
        between = shards[1:-1]
        failures = (*first.failures, *last.failures)
        if len(failures) == 2 and failures[0].error == failures[1].error:
            rest = Done((), tuple(replace(failures[0], window=one.window) for one in between))
        else:
            rest = self._run_shards(between, spill) if between else Done((), ())
        return self._joined(self._joined(first, rest), last)

    def _joined(self, one: Done, other: Done) -> Done:
        """Return the work of both halves. Where their columns differ, both get all of them, which makes their digests anew."""
        tables, results = {**other.tables, **one.tables}, one.results + other.results
        for table in one.tables.keys() & other.tables.keys():
            halves = [in_memory(half.tables[table]) for half in (one, other)]
            tables[table] = pa.concat_tables(halves, promote_options="permissive")
            if table != QUARANTINE_TABLE and not halves[0].schema.equals(halves[1].schema):
                stats = self._outputs.aggregator.stats(tables[table], [result.window for result in results])
                results = tuple(replace(each, outputs={**each.outputs, table: stats[each.window]}) for each in results)
        return Done(results, one.failures + other.failures, tables)

    def _given(self, room: Room) -> str:
        """Say what a shard was given that was short of memory."""
        if not room.is_alone:
            return f"its share of run.memory ({self.memory_bytes:,} bytes)"
        cut = f", in {room.pieces} pieces of its time" if room.pieces > 1 else ""
        return f"all of run.memory ({self.pipeline.run.memory_bytes:,} bytes), though it was done alone{cut}"

    def _attempt(self, shards: Sequence[Shard], spill: Path, budget: Budget, spills: bool = False, pieces: int = 1) -> Done:
        attempt = Attempt(self.pipeline, self.source, shards, budget.rows_bytes, spill, spills, pieces)
        if (kept := self._kept.get(budget)) is not None:
            return attempt.run(self._transform, kept)
        with contextlib.closing(self._make_outputs(budget)) as outputs:
            return attempt.run(self._transform, outputs)


def _failure(shard: Shard, error: BaseException) -> ShardFailure:
    if isinstance(error, (ShardError, ConfigurationError)):
        return ShardFailure(shard.window, error.code, str(error))
    retryable = isinstance(error, OSError)
    code = error.code if isinstance(error, RaypipeError) else TransformFailed.code
    return ShardFailure(shard.window, code, f"{type(error).__name__}: {error}", retryable)
