"""Events: what happened in a run. The driver feeds them to the Coordinator and shows the same ones to observers."""

from __future__ import annotations

from raypipe.core.accounts import Accounts
from raypipe.core.commit import Receipt
from raypipe.core.shard import InputFile, Shard, ShardFailure, ShardResult, Task
from raypipe.core.stragglers import Straggler
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RunOpened:
    """The run is in the ledger and its owner has an epoch."""

    pipeline: str
    run_id: str
    epoch: int
    executor: str
    """One phrase for the person: `inline, 2 threads`."""


@dataclass(frozen=True, slots=True)
class ScanStarted:
    """Files without known time ranges are being read for the index."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileScanned:
    """One of them is done."""

    file: InputFile
    bytes_read: int


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task was handed to a worker."""

    task: Task
    straggler: Straggler | None = None
    """What it is a second attempt at: the first of both to end counts."""


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task left its manifests; shards of it may have failed by themselves."""

    task: Task
    results: tuple[ShardResult, ...]
    failures: tuple[ShardFailure, ...]
    size_bytes: int = 0
    """Of the contributions that are held in memory until their commit."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Shards were planned (again, after a conflict or a changed input: `again`)."""

    shards: tuple[Shard, ...]
    satisfied: tuple[Shard, ...] = ()
    """Shards that another run did meanwhile; only the ledger is told."""
    failures: tuple[ShardFailure, ...] = ()
    """Shards that cannot be worked on: their input shrank, or could not be read for the index."""
    adopted: tuple[TaskEnded, ...] = ()
    """Work that an earlier run left staged and that is still right."""
    again: bool = False
    outside: int = 0
    remarks: tuple[str, ...] = ()
    """What a person should know of ranges that the run leaves as they are: stale and held ones."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task ended without manifests: worker died, memory, time, or its input changed."""

    task: Task
    code: str
    error: str
    relist: bool = False
    """The input changed: observe and list again, do not just repeat."""


@dataclass(frozen=True, slots=True)
class TaskHeld:
    """A task was not started: others work on some of its shards, or have finished them since their plan; or the run is stopping."""

    task: Task
    held: frozenset[Window]
    """Left to others for a while."""
    done: frozenset[Window]
    """To be planned again now."""


@dataclass(frozen=True, slots=True)
class GroupCommitted:
    """A transaction is durable."""

    receipt: Receipt
    results: tuple[ShardResult, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class GroupRefused:
    """Nothing of a group was committed, and asking again as it is would not help."""

    windows: tuple[Window, ...]
    code: str
    error: str
    relist: bool = False
    """Its staged files were damaged, or are an earlier run's: observe and list again, and do the work again."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """Work that an earlier run left staged and that is still right was taken over: it is not done again."""

    ended: tuple[TaskEnded, ...]


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A person or the system asked the run to stop: no new shards, what is in flight is kept if it ends by itself."""

    signal: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class RunClosed:
    """The run is over."""

    status: str
    """`done`, `failed`, `interrupted` or `terminated`."""
    planned: int
    committed: int
    failed: int
    skipped: int
    rows: Accounts
    seconds: float
    watermark_us: int | None
    failures: tuple[ShardFailure, ...] = ()
    window: Window | None = None


RunEvent = (
    RunOpened
    | ScanStarted
    | FileScanned
    | Planned
    | TaskStarted
    | TaskEnded
    | TaskFailed
    | TaskHeld
    | GroupCommitted
    | GroupRefused
    | Adopted
    | StopAsked
    | Warned
    | RunClosed
)
