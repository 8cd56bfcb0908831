"""Every seam of raypipe on one page: what each side may rely on. Implementations are named in `launch` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raypipe.core.claims import Claimant, Refusal
from raypipe.core.commit import CommitRequest, Receipt
from raypipe.core.events import RunEvent
from raypipe.core.shard import InputFile, Shard, ShardFailure, ShardResult, Slice, Task
from raypipe.core.state import OpenedRun, RunOpening, RunState, Snapshot
from raypipe.core.upstream import TablePart, UpstreamTable
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import pyarrow as pa


class Clock(Protocol):
    """Time, passed in so that tests can hold it still. No safety rests on it."""

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        ...

    def sleep_s(self, seconds: float) -> None:
        """Wait."""
        ...


class Observer(Protocol):
    """Watches a run: progress, log, metrics. It must never fail a run nor slow it noticeably."""

    def on(self, event: RunEvent) -> None:
        """Take note of an event."""
        ...


@dataclass(slots=True)
class StopFlag:
    """How a run is told to stop, from any thread: `signal` is None, `SIGINT` or `SIGTERM`; `at_once` after the second."""

    signal: str | None = None
    at_once: bool = False


# ---- source -----------------------------------------------------------------------------------------------

TIME_COLUMN = "_time"  # int64, event time in microseconds since 1970 UTC; never null in `rows`
SOURCE_COLUMN = "_source"  # uint32, index of the file in the sorted, distinct URIs of the task's slices
POSITION_COLUMN = "_position"  # int64, place of the row in its file, from 0 (rows) or 1 (text lines); ascending per file
IN_SHARD_COLUMN = "_in_shard"  # bool, with a lookback or lookahead: whether a row that SQL sees is of the shard itself
RESERVED_COLUMNS = (TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN)
RAW_CHARS_MAX = 16_384  # of a row that is set aside: enough to recognise it, and one row may not blow up the quarantine table


@dataclass(frozen=True, slots=True)
class Reject:
    """A row or line that could not become a typed, placed row; it is accounted to `time_us` or to the untimed shard.

    `raw` may be cut after RAW_CHARS_MAX + 1 characters: the one more tells that there was more.
    """

    uri: str
    position: int
    rule: str
    error: str
    raw: str
    time_us: int | None = None


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Rows as read, and what could not be read beside them.

    `rows` holds the RESERVED_COLUMNS and the source's (text sources: strings, parsed JSON values); texts may be dictionaries.
    Rows of a window come by (source, position), a batch is of the stream `origin` and bounded by bytes, never by the file's size.
    """

    rows: pa.RecordBatch
    rejects: tuple[Reject, ...] = ()
    origin: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of the source at one moment, sorted by URI."""

    files: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What one reading of a file told: opaque to all but the source that made it; JSON-serialisable and picklable."""

    file: InputFile
    content: Mapping[str, Any]
    bytes_read: int = 0


class Source(Protocol):
    """Where events come from. Picklable: it travels to workers.

    Used in this order, after the destination was observed: `list`, `unindexed` + `scan` + `record`, `slices`, `read`.
    """

    def list(self) -> Listing:
        """List the source now. Cheap: no file is opened."""
        ...

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the files whose time ranges are not known, or whose routed slices are gone."""
        ...

    def scan(self, file: InputFile) -> FileIndex:
        """Read what is needed of a file to place its rows, once; route it into slices where it cannot be sought in.

        Runs on a worker. Raises InputChanged when the file is not the one listed, SourceUnreadable when it is cut off or corrupt.
        """
        ...

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember what scans told, in the index beside the state. The index is a cache: losing it costs time only."""
        ...

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return each window's slices of the files, all indexed, by URI; then, marked so, those of the time seen around it."""
        ...

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> Sequence[str]:
        """Return the `input_fingerprint` of each window's slices, for less than it costs to make them."""
        ...

    def outside(self, listing: Listing) -> int:
        """Return the rows of the listing that lie outside `[time.start, time.end)` and so belong to no shard."""
        ...

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return the names and engine types of the source's columns, from a sample; for `check` and `sample`."""
        ...

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Stream the rows of the windows (ascending, disjoint) from the slices, each file once, a window's by (source, position).

        `columns` are those wanted (None: all); more may come. Rows outside all windows do not come. After the last
        batch the versions of all files were checked again: InputChanged is raised if one changed meanwhile.
        """
        ...


class Upstream(Protocol):
    """A table of another pipeline, where it is kept. Picklable: it travels to workers. All methods open, read and close."""

    def table(self) -> UpstreamTable | None:
        """Return the table as it stands, in one snapshot; None while no pipeline writes it.

        Raises UsageError where the table is there and no pipeline's, and names the nearest that is.
        """
        ...

    def others(self) -> Sequence[str]:
        """Return the other tables that pipelines write there: one of them may have been meant."""
        ...

    def schema(self) -> pa.Schema | None:
        """Return the columns of the table, without those that raypipe adds; None while nothing is committed to it."""
        ...

    def copy(self, chosen: Callable[[UpstreamTable], Mapping[TablePart, Path]], columns: Sequence[str] | None, first: str) -> None:
        """Copy parts of the table into Parquet files, in the snapshot in which they were chosen; each appears whole.

        Rows are ordered by the column or path `first`, then by all columns by name: the same rows make the same file, with the
        same row groups. `columns` are those wanted (None: all). Raises InputChanged when the table is gone, and RetryableError.
        """
        ...


# ---- work -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Staged:
    """What one attempt at a task left: one manifest per shard and the contributions, in memory or in files. Immutable.

    `tables` maps an output (and `_quarantine` rows set aside) to an Arrow table of all the task's shards, with `_shard`,
    timestamp[us], the start of a row's shard; or it is empty: `folder` holds `<table>.parquet` files of these `checksums` (sha256).
    """

    task: Task
    results: tuple[ShardResult, ...]
    failures: tuple[ShardFailure, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    folder: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """The definition of each output that the contributions were made by."""


QUARANTINE_TABLE = "_quarantine"
SHARD_COLUMN = "_shard"


class StageStore(Protocol):
    """Where attempts leave files. What no live run refers to may be collected; nothing else rests on it."""

    def adopt(
        self, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
    ) -> tuple[Sequence[Staged], Sequence[Shard]]:
        """Take over, by link or copy, work whose definitions, input and observed ranges still match; return it and the rest."""
        ...

    def release(self, staged: Staged) -> None:
        """Remove the files of an attempt whose shards are committed."""
        ...

    def collect(self, open_runs: Callable[[], frozenset[str]]) -> tuple[int, int]:
        """Remove what is left of runs that are not open, which is asked after listing it; return folders and bytes removed."""
        ...


class Worker(Protocol):
    """Does tasks. Picklable; the same code under every executor. Knows nothing of Ray."""

    def run(self, task: Task) -> Staged:
        """Run the shards of a task. A shard that cannot be loaded is a failure in the result, not an exception."""
        ...

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index (Source.scan)."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of one piece of submitted work: its value, or the error that it raised."""

    key: object
    value: object = None
    error: BaseException | None = None


class Executor(Protocol):
    """Runs work on workers. Gives no safety: work may run twice, or go on after it was given up."""

    @property
    def slots(self) -> int:
        """How many tasks may usefully be in flight."""
        ...

    @property
    def has_workers_apart(self) -> bool:
        """Whether a second attempt at a slow task has cores of its own, perhaps of another machine, and may end before it."""
        ...

    def submit_task(self, key: object, task: Task) -> None:
        """Start a task, at once or when a slot is free, in order; its Completion carries a Staged."""
        ...

    def submit_scan(self, key: object, file: InputFile) -> None:
        """Start a scan; its Completion carries a FileIndex."""
        ...

    def wait(self, timeout_s: float) -> list[Completion]:
        """Return what has ended; empty when nothing did within the time. Never raises for a piece of work."""
        ...

    def is_waiting(self, key: object) -> bool:
        """Tell whether a task is known not to have begun yet, because the workers do other work: it is not late."""
        ...

    def give_up(self, key: object) -> None:
        """Wait no longer for a piece of work: what it holds is free for others, and its Completion may or may not come."""
        ...

    def close(self, *, at_once: bool) -> None:
        """Give up what is in flight and free all that was started."""
        ...


# ---- destination ------------------------------------------------------------------------------------------


class Destination(Protocol):
    """Where tables, ledger and watermark live together, changed in one transaction. All methods open, act and close."""

    def snapshot(self) -> Snapshot:
        """Read state in one transaction. An untouched destination gives the empty snapshot and stays untouched."""
        ...

    def glance(self) -> Snapshot:
        """Return of the snapshot only digest, sequence, watermark and views: what costs the same after a long history."""
        ...

    def open_run(self, opening: RunOpening) -> OpenedRun:
        """Create the run or take it over (epoch + 1); number the definitions; claim the tables for the pipeline.

        Raises RunIsAlive, UsageError for a table that raypipe did not create or another pipeline's, StateFormat.
        """
        ...

    def commit(self, request: CommitRequest, staged: Sequence[Staged]) -> Receipt:
        """Commit a group of shards in one transaction: serialise, fence, compare, replace, record.

        Raises Fenced; CommitUnknown when the outcome is not known (the caller asks again with the same request: the
        ledger answers `Already`); DestinationBusy when the destination could not be opened.
        """
        ...

    def heartbeat(self, run_id: str, epoch: int) -> None:
        """Say that the run's owner is alive. Raises Fenced."""
        ...

    def record_failures(self, run_id: str, epoch: int, failures: Sequence[ShardFailure]) -> None:
        """Remember failed shards, fenced, so that the next plan and `status` name them."""
        ...

    def close_run(self, run_id: str, epoch: int, state: RunState) -> int | None:
        """End a run and raise its epoch: nothing of it commits afterwards. Return the low watermark. Raises Fenced."""
        ...

    def cancel(self, run_id: str | None) -> tuple[str, ...]:
        """Cancel one open run, or all of the pipeline, whoever owns it; return the runs cancelled."""
        ...


class Claims(Protocol):
    """Who works on which range at the moment, so that runs at the same time share out the work.

    Advisory: what may be committed is the destination's to decide. Claims may be lost, or ignored, at any time; no method
    raises for that. Those of a dead or long silent holder count for nothing.
    """

    def mark(self) -> int:
        """Return a number that grows with every piece of work that any run finishes."""
        ...

    def take(self, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        """Claim windows under a name, all or none. `wanted` says for each which `mark` was newest before it was planned."""
        ...

    def renew(self, run_id: str) -> None:
        """Say that the run goes on."""
        ...

    def release(self, run_id: str, name: str | None, *, done: bool) -> None:
        """Let go of what was claimed under a name, None for all of the run; `done` makes others plan it again."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `verify`."""

    name: str
    ok: bool
    detail: str


class Inspector(Protocol):
    """Questions of people to a destination: `status`, `quarantine`, `verify`. All but one are read-only."""

    def table_rows(self) -> Mapping[str, int]:
        """Return the number of rows of each output table that exists."""
        ...

    def quarantine_counts(self) -> Sequence[Mapping[str, Any]]:
        """Return rule, rows, first and last shard of what is in quarantine, most first."""
        ...

    def quarantine_rows(self, *, rule: str | None, window: Window | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return quarantined rows: shard, source, position, rule, error, raw, run."""
        ...

    def quarantine_shards(self, *, rule: str | None, window: Window | None) -> frozenset[int]:
        """Return the starts of the shards that have such rows in quarantine, in microseconds."""
        ...

    def export_quarantine(self, path: Path, *, rule: str | None, window: Window | None) -> int:
        """Write quarantined rows to a .parquet or .csv file, which appears whole; return how many."""
        ...

    def ledger(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the newest ledger entries."""
        ...

    def blank_quarantine(self, before_us: int) -> int:
        """Take away raw text and error of rows set aside by commits before an instant, and nothing else; return how many."""
        ...

    def verify(self) -> Sequence[Check]:
        """Prove the destination: accounts, digests, coverage and ledger laws."""
        ...
