"""What is asked of raypipe and what it answers, as values: the verbs' arguments and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from raypipe.core.events import RunClosed
from raypipe.core.executor_choice import Choice, phrase
from raypipe.core.plan import Plan, Scope
from raypipe.core.state import FailedShard, RunKind, Snapshot
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.observe.printable import count, size
from raypipe.pipeline import Pipeline
from raypipe.runtime.compactor import Compacted


def work_phrase(shards: int, size_bytes: int, choice: Choice) -> str:
    """Say what the executor was chosen for, and which: `365 shards, 31 MB: inline, 2 threads`."""
    return f"{count(shards, 'shard')}, {size(size_bytes)}: {phrase(choice)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a person asks for: which range of history, why, and where the work is done."""

    kind: RunKind = RunKind.RUN
    scope: Scope = Scope.DUE
    start_us: int | None = None
    end_us: int | None = None
    shards: tuple[int, int] | None = None
    """Half-open range of shard indices, counted from `time.start`, instead of times."""
    given: tuple[Window, ...] | None = None
    """Exactly these shards, instead of those that the calendar cuts."""
    publish: Literal["atomic", "shard"] = "shard"
    executor: Literal["auto", "inline", "ray"] | None = None
    address: str | None = None
    accept_shrunk: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamReport:
    """The table of another pipeline that one reads, and what waits for it."""

    table: str
    pipeline: str | None
    """Who writes it; None while nobody does."""
    watermark_us: int | None
    """Every shard before this time is committed to it."""
    waiting: Window | None
    """Shards whose time has come, and that wait for it."""


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a run would do."""

    pipeline: Pipeline
    window: Window | None
    plan: Plan
    snapshot: Snapshot
    executor: str
    """One phrase: `365 shards, 31 MB: inline, 2 threads`."""
    rows: int = 0
    """Estimated rows of all shards."""
    estimated_seconds: float | None = None
    memory_bytes: int = 0
    views: tuple[str, ...] = ()
    """Views that are to be made, replaced or dropped."""
    upstream: UpstreamReport | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What `status` shows; what is late, held, stale and shrunk is computed against the source and the definition of now."""

    pipeline: Pipeline
    snapshot: Snapshot
    coverage: tuple[Window, ...]
    gaps: tuple[Window, ...]
    late: tuple[Window, ...]
    stale: tuple[tuple[Window, str], ...]
    tables: Mapping[str, int]
    quarantine: Sequence[Mapping[str, Any]]
    failed: tuple[FailedShard, ...] = ()
    held: tuple[tuple[Window, str], ...] = ()
    waiting: tuple[Window, ...] = ()
    """Shards whose files are not there yet, as `source.ready` says."""
    other_widths: tuple[tuple[Window, int], ...] = ()
    """Ranges that were cut at another width than today's, with the number of live ranges in each..."""
    cut_tables: tuple[str, ...] = ()
    """...and the tables whose rows may depend on that."""
    upstream: UpstreamReport | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended."""

    pipeline: Pipeline
    run_id: str
    executor: str
    """One phrase: `365 shards, 31 MB: inline, 2 threads`."""
    closed: RunClosed
    quarantine: Sequence[Mapping[str, Any]] = ()
    """What this run quarantined: rule, rows, an example's error; most first."""
    filtered: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    """Rows of each output table after the run."""
    bytes_input: int = 0
    bytes_read: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the command line returns."""
        return {"done": 0, "failed": 1, "interrupted": 130, "terminated": 143, "cancelled": 3}[self.closed.status]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AcceptReport:
    """What `accept` accepted."""

    pipeline: Pipeline
    what: Literal["stale", "shrunk"]
    run_id: str | None
    """None when there was nothing to accept."""
    accepted: tuple[Window, ...]
    conflicts: tuple[Window, ...] = ()
    """Ranges that another run committed meanwhile."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What `compact` made one of."""

    pipeline: Pipeline
    found: Compacted
    contributions: Mapping[str, tuple[int, int]]
    """Rows of contributions to each keyed or combined table in the compacted ranges, before and after."""


@dataclass(frozen=True, slots=True)
class GcReport:
    """What `gc` removed."""

    folders: int
    size_bytes: int
    blanked: int = 0
    """Quarantined rows whose raw text was older than `quality.keep_quarantined`."""
