"""shard_run: one task of the data plane from its source to its contributions, the same under every executor."""

from __future__ import annotations

import bisect
import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from raypipe import failpoints
from raypipe.core.shard import InputFile, OutputStat, Shard, ShardFailure, ShardResult, Task
from raypipe.engine.batches import Batch, ReadBatch, empty_batch, placed_batches
from raypipe.engine.columns import needed_columns
from raypipe.engine.definition import definitions
from raypipe.engine.outputs import Contributions, Outputs
from raypipe.engine.quality import Books, check_quarantined
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.text_types import polars_type, source_schema
from raypipe.engine.stage import StagePolicy, attempt_folder, wants_files, write_staged
from raypipe.engine.tally import AllShardsFailed, Tally, named
from raypipe.engine.transform import Resources, Transform
from raypipe.errors import (
    AccountsDontBalance,
    ConfigurationError,
    OutOfMemory,
    RaypipeError,
    RetryableError,
    ShardError,
    StopError,
    TransformFailed,
)
from raypipe.pipeline import Pipeline
from raypipe.ports import QUARANTINE_TABLE, FileIndex, Listing, Reject, Source, SourceBatch, Staged


@dataclass(frozen=True, slots=True)
class Done:
    """What came of some shards of a task, before it is staged."""

    results: tuple[ShardResult, ...]
    failures: tuple[ShardFailure, ...]
    tables: dict[str, pa.Table] = field(default_factory=dict)


class ShardRunner:
    """Does tasks (ports.Worker). Picklable; several threads may call `run` on one instance.

    `memory_bytes` is the share of one task. `stage` says whether contributions become files: always, never (Arrow in
    memory), or as a StagePolicy decides.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        *,
        stage_folder: str,
        memory_bytes: int,
        stage: Literal["always", "never"] | StagePolicy,
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.stage_folder = stage_folder
        self.memory_bytes = memory_bytes
        self.stage = stage
        self._make()

    def _make(self) -> None:
        self._spill = Path(self.stage_folder + ".spill")
        self._transform = Transform(self.pipeline)
        self._outputs = Outputs(self.pipeline, memory_bytes=self.memory_bytes, spill_folder=self._spill)
        self._fingerprints: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make()

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index (Source.scan)."""
        return self.source.scan(file)

    def run(self, task: Task) -> Staged:
        """Run the shards of a task. What is wrong with a shard's data is a failure in the result, not an exception.

        Raises RetryableError kinds (the input changed, memory, the disk) and StopError; other shards of the task are
        not harmed by one that fails.
        """
        failpoints.hit("task.start")
        started_s = time.monotonic()
        folder = attempt_folder(self.stage_folder, task.run_id, task.attempt_id)
        spill = self._spill / f"{task.run_id}-{task.attempt_id}"
        try:
            done = self._run_shards(sorted(task.shards, key=lambda one: one.window), spill)
        finally:
            shutil.rmtree(spill, ignore_errors=True)
        seconds = time.monotonic() - started_s
        results = tuple(replace(one, seconds=seconds / len(task.shards)) for one in done.results)
        staged = Staged(task=task, results=results, failures=done.failures, tables=done.tables, fingerprints=self.fingerprints())
        failpoints.hit("task.before_stage")
        size_bytes = sum(one.nbytes for one in done.tables.values())
        if results and wants_files(self.stage, seconds=seconds, size_bytes=size_bytes):
            staged = write_staged(staged, folder)
        failpoints.hit("task.before_return")
        return staged

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each output's definition as this worker has it: its code and its reference files."""
        if self._fingerprints is None:
            self._fingerprints = {table: one.fingerprint for table, one in definitions(self.pipeline).items()}
        return self._fingerprints

    def _run_shards(self, shards: Sequence[Shard], spill: Path) -> Done:
        """Run shards together; when that fails and it is not known for which of them, run each half by itself."""
        try:
            return self._attempt(shards, spill)
        except (RetryableError, StopError, KeyboardInterrupt, SystemExit):
            raise
        except MemoryError as error:
            raise OutOfMemory(_out_of_memory(shards, self.memory_bytes)) from error
        except ConfigurationError as error:
            return Done((), tuple(_failure(one, error) for one in shards))
        except BaseException as error:  # an engine's panic is no Exception, and must not take the worker along
            if len(shards) == 1:
                return Done((), (_failure(shards[0], error),))
        middle = len(shards) // 2
        return _joined(self._run_shards(shards[:middle], spill), self._run_shards(shards[middle:], spill))

    def _attempt(self, shards: Sequence[Shard], spill: Path) -> Done:
        attempt = Attempt(self.pipeline, self.source, shards, self.memory_bytes, spill)
        return attempt.run(self._transform, self._outputs)


def _failure(shard: Shard, error: BaseException) -> ShardFailure:
    if isinstance(error, (ShardError, ConfigurationError)):
        return ShardFailure(shard.window, error.code, str(error))
    retryable = isinstance(error, OSError)
    code = error.code if isinstance(error, RaypipeError) else TransformFailed.code
    return ShardFailure(shard.window, code, f"{type(error).__name__}: {error}", retryable)


def _out_of_memory(shards: Sequence[Shard], memory_bytes: int) -> str:
    first, last = shards[0].window, shards[-1].window
    return (
        f"{len(shards)} shards from {first} to {last} needed more than their share of run.memory ({memory_bytes:,} bytes): "
        "give run.memory more, or make time.shard smaller"
    )


def _joined(one: Done, other: Done) -> Done:
    tables = dict(one.tables)
    for table, rows in other.tables.items():
        tables[table] = pa.concat_tables([tables[table], rows], promote_options="permissive") if table in tables else rows
    return Done(one.results + other.results, one.failures + other.failures, tables)


# ---- one attempt at some shards ---------------------------------------------------------------------------


@dataclass(slots=True)
class Attempt:
    """One pass over the input of some shards, with the books of what became of its rows."""

    pipeline: Pipeline
    source: Source
    shards: Sequence[Shard]
    memory_bytes: int
    spill: Path
    books: Books = field(init=False)
    _starts: list[int] = field(init=False)
    _untimed: dict[str, int] = field(init=False)
    """The place of the shard that takes the rows of a file that have no event time."""

    def __post_init__(self) -> None:
        windows = [one.window for one in self.shards]
        uris = sorted({one.file.uri for shard in self.shards for one in shard.slices})
        self.books = Books(Tally(windows), Quarantine(windows, uris))
        self._starts = [one.start_us for one in windows]
        self._untimed = {one.file.uri: place for place, shard in enumerate(self.shards) for one in shard.slices if one.untimed}

    def run(self, transform: Transform, outputs: Outputs) -> Done:
        """Read, transform and aggregate the shards."""
        with contextlib.suppress(AllShardsFailed):
            return self._run(transform, outputs)
        return self._done(Contributions(self.books.tally.windows, {}), ())

    def _run(self, transform: Transform, outputs: Outputs) -> Done:
        resources = Resources(self.books, self.memory_bytes, self.spill)
        rows = self._counted(transform.stream(self._read(), resources))
        tally = self.books.tally
        contributions = outputs.contributions(rows, tally.windows)
        check_quarantined(self.pipeline.quality.max_quarantined, tally)
        for place, (code, error) in contributions.failed.items():
            tally.fail(place, code, error)
        for place, warnings in contributions.warnings.items():
            tally.warnings[place].extend(warnings)
        self._check_balance()
        return self._done(contributions, outputs.names)

    def _read(self) -> Iterator[Batch]:
        """Read the source, place the rows, and count what comes, rejects too, before anything is done with it."""
        failpoints.hit("task.after_open")
        windows = self.books.tally.windows
        empty = True
        for read in placed_batches(self._source_batches(), windows, self.memory_bytes):
            failpoints.hit("task.mid_read")
            self._count_read(read)
            if not read.batch.frame.is_empty():  # rejects may come without rows, and then without columns
                empty = False
                yield read.batch
        if empty and (schema := self._known_schema()):
            yield empty_batch(schema)  # SQL may have something to say of no rows, and tables want their columns

    def _known_schema(self) -> Mapping[str, pl.DataType]:
        """Return the columns of the source without reading it: the contract's, else those of a sample of its files."""
        contract = self.pipeline.source.columns
        if contract:
            return {name: polars_type(column.type) for name, column in contract.items()}
        return source_schema(self.source.columns(self._listing()))

    def _listing(self) -> Listing:
        files = sorted({one.file for shard in self.shards for one in shard.slices}, key=lambda one: one.uri)
        return Listing(tuple(files)) if files else self.source.list()

    def _source_batches(self) -> Iterator[SourceBatch]:
        slices = [one for shard in self.shards for one in shard.slices]
        if not slices:
            return iter(())
        contract = self.pipeline.source.columns
        have = contract or self.source.columns(self._listing())
        return self.source.read(self.books.tally.windows, slices, needed_columns(self.pipeline, tuple(have)))

    def _count_read(self, read: ReadBatch) -> None:
        tally = self.books.tally
        tally.add_read(read.batch.frame)
        placed = [(place, one) for one in read.rejects if (place := self._shard_of(one)) is not None]
        if not placed:
            return
        for place, one in placed:
            tally.read[place] += 1
            tally.quarantined[place] += 1
            tally.broken[one.rule][place] += 1
        self.books.quarantine.add_rejects(placed)

    def _shard_of(self, reject: Reject) -> int | None:
        """Return the place of the shard that a reject counts to; None when that shard is not of this attempt."""
        if reject.time_us is None:
            return self._untimed.get(reject.uri)
        place = bisect.bisect_right(self._starts, reject.time_us) - 1
        return place if place >= 0 and reject.time_us < self.shards[place].window.end_us else None

    def _counted(self, batches: Iterator[Batch]) -> Iterator[pl.DataFrame]:
        for batch in batches:
            self.books.tally.loaded.update(self.books.tally.counts(batch.frame))
            yield batch.frame

    def _check_balance(self) -> None:
        tally = self.books.tally
        for place, shard in enumerate(self.shards):
            accounts = tally.accounts(place)
            if place not in tally.failed and not accounts.balanced:
                tally.fail(place, AccountsDontBalance.code, f"{shard.window}: the rows do not add up: {accounts.as_json()}")

    def _done(self, contributions: Contributions, outputs: Sequence[str]) -> Done:
        tally = self.books.tally
        good = [place for place in range(len(self.shards)) if place not in tally.failed]
        tables = contributions.of_shards(good)
        quarantined = self.books.quarantine.table(good)
        if quarantined.num_rows:
            tables[QUARANTINE_TABLE] = quarantined
        results = tuple(self._result(place, contributions.stats(place, outputs)) for place in good)
        failures = tuple(ShardFailure(self.shards[place].window, *tally.failed[place]) for place in sorted(tally.failed))
        return Done(results, failures, tables)

    def _result(self, place: int, outputs: dict[str, OutputStat]) -> ShardResult:
        tally, shard = self.books.tally, self.shards[place]
        return ShardResult(
            window=shard.window,
            observed=shard.observed,
            slices=shard.slices,
            accounts=tally.accounts(place),
            outputs=outputs,
            filtered=named(tally.filtered, place),
            broken=named(tally.broken, place),
            warnings=tuple(tally.warnings.get(place, ())),
            event_start_us=tally.first_us.get(place),
            event_end_us=tally.last_us.get(place),
        )
