"""What the destination remembers of a pipeline, as values: runs, live ranges, coverage, failures, definitions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from raypipe.core.accounts import Accounts
from raypipe.core.merge import Merge
from raypipe.core.shard import InputPart, Observed
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


class RunState(enum.StrEnum):
    """The life of a run; all but open and publishing are final."""

    OPEN = "open"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunKind(enum.StrEnum):
    """Why a run exists."""

    RUN = "run"
    BACKFILL = "backfill"
    ACCEPT = "accept"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class LiveRange:
    """A range whose contribution makes up one output's table now."""

    output: str
    window: Window
    seq: int
    run_id: str
    attempt_id: str
    definition: int
    input_fp: str
    output_fp: str
    rows: int
    files: int = 0
    """Slices that the contribution was made from: fewer of them now means that the source shrank."""
    parts: tuple[InputPart, ...] = ()
    """What was merged into a compacted range, which tile it; none where the range was read at once."""

    @property
    def inputs(self) -> tuple[InputPart, ...]:
        """What the contribution was read from, part by part: late or shrunk input is told of each."""
        return self.parts or (InputPart(self.window, self.input_fp, self.files),)

    @property
    def observed(self) -> Observed:
        """The identity that a commit compares."""
        return Observed(self.window.start_us, self.window.end_us, self.seq)


@dataclass(frozen=True, slots=True)
class FailedShard:
    """A shard that failed in its last run and has not been committed since."""

    window: Window
    run_id: str
    code: str
    error: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, as `status` shows it. Times are the destination's clock, in microseconds UTC."""

    run_id: str
    kind: RunKind
    window: Window | None
    state: RunState
    epoch: int
    holder: str
    started_us: int
    heartbeat_us: int
    ended_us: int | None = None
    committed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Definition:
    """What an output is made by: a version number that only grows, the fingerprint, and its parts by name."""

    version: int
    fingerprint: str
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan needs of the destination, read in one transaction."""

    commit_seq: int = 0
    watermark_us: int | None = None
    live: tuple[LiveRange, ...] = ()
    coverage: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    """Normalised committed ranges per output: sorted, disjoint, not touching."""
    failed: tuple[FailedShard, ...] = ()
    definitions: Mapping[str, tuple[Definition, ...]] = field(default_factory=dict)
    """Every definition that each output ever had, oldest first."""
    runs: tuple[RunRecord, ...] = ()
    """Newest first, the last fifty and all that are open."""
    accounts: Accounts = field(default_factory=Accounts)
    """Over the live shards."""
    outside: int = 0
    """Rows of the source that belong to no shard, as the last run saw."""
    views: Mapping[str, str] = field(default_factory=dict)
    """The views that the last run that opened wanted, and their SQL."""
    digest: str = field(default="", compare=False)
    """Of all that a plan reads of it: the same digest means the same state. Empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpening:
    """What a run says of itself when it opens."""

    run_id: str
    kind: RunKind
    window: Window | None
    start_us: int
    """`time.start`: where the low watermark counts from."""
    holder: str
    """`host:pid:process start time`, so that a dead holder of this host can be told."""
    definitions: Mapping[str, Definition]
    """Fingerprint and parts per output; versions are numbered by the destination."""
    versions: Mapping[str, str]
    """Versions of raypipe and its engines, recorded and never compared."""
    merges: Mapping[str, Merge] = field(default_factory=dict)
    """How contributions become the table, of outputs whose table is not their union."""
    views: Mapping[str, str] = field(default_factory=dict)
    """Views over the output tables, and their SQL: checked to read nothing else."""
    outside: int = 0
    force: bool = False
    """Take the run over even from a holder that seems alive."""


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """The right to commit for a run, until a newer epoch exists."""

    run_id: str
    epoch: int
    definitions: Mapping[str, int]
    """The version number of each output's definition in this run."""
    closed: tuple[str, ...] = ()
    """Runs of dead holders that were closed on the way."""
