"""What a memory destination remembers, and its snapshot."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field, replace
from typing import Any

from raypipe.core.accounts import total
from raypipe.core.commit import ShardCommit
from raypipe.core.fingerprint import fingerprint
from raypipe.core.intervals import intersect, normalise
from raypipe.core.merge import Merge
from raypipe.core.shard import Outcome
from raypipe.core.state import Definition, FailedShard, LiveRange, RunRecord, RunState, Snapshot
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window
from raypipe.destinations.limits import RUNS_MAX
from raypipe.lazy_dataclass import dataclass

OPEN = (RunState.OPEN, RunState.PUBLISHING)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One shard of one commit."""

    seq: int
    run_id: str
    commit_id: str
    shard: ShardCommit
    outcome: Outcome


@dataclass(slots=True)
class PipelineState:
    """All that the destination remembers of one pipeline."""

    commit_seq: int = 0
    start_us: int = 0
    outputs: tuple[str, ...] = ()
    runs: dict[str, RunRecord] = field(default_factory=dict)
    run_definitions: dict[str, Mapping[str, int]] = field(default_factory=dict)
    definitions: dict[str, tuple[Definition, ...]] = field(default_factory=dict)
    live: dict[tuple[str, Window], LiveRange] = field(default_factory=dict)
    ledger: list[LedgerEntry] = field(default_factory=list)
    failed: dict[Window, FailedShard] = field(default_factory=dict)
    quarantine: dict[Window, list[Row]] = field(default_factory=dict)
    outside: int = 0
    views: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryStore:
    """What a file is to DuckDB: tables, their owners and the state of several pipelines."""

    tables: dict[str, dict[Window, list[Row]]] = field(default_factory=dict)
    """Rows by the range that contributed them."""
    merges: dict[str, Merge] = field(default_factory=dict)
    """How the contributions to keyed and combined tables become the table."""
    owners: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, PipelineState] = field(default_factory=dict)
    lock: AbstractContextManager[Any] = field(default_factory=threading.RLock)


def snapshot_of(state: PipelineState) -> Snapshot:
    """Return the state as a plan sees it."""
    coverage = _coverage(state)
    newest: dict[Window, int] = {}  # where outputs were added later, the last commit speaks for all
    for live in state.live.values():
        newest[live.window] = max(live.seq, newest.get(live.window, 0))
    done = [entry for entry in state.ledger if newest.get(entry.shard.window) == entry.seq]
    runs = sorted(state.runs.values(), key=lambda one: (one.started_us, one.run_id), reverse=True)
    found = Snapshot(
        commit_seq=state.commit_seq,
        watermark_us=_watermark(state, coverage),
        live=tuple(sorted(state.live.values(), key=lambda one: (one.window, one.output))),
        coverage=coverage,
        failed=tuple(failed for _, failed in sorted(state.failed.items())),
        definitions=dict(sorted(state.definitions.items())),
        runs=_counted([run for place, run in enumerate(runs) if place < RUNS_MAX or run.state in OPEN], state),
        accounts=total(entry.shard.result.accounts for entry in done),
        outside=state.outside,
        views=state.views,
    )
    failed = [(one.window, one.code) for one in found.failed]
    planned_from = (found.commit_seq, found.watermark_us, found.live, found.coverage, failed, found.definitions, found.views)
    return replace(found, digest=fingerprint(repr(planned_from)))


def glance_of(found: Snapshot) -> Snapshot:
    """Return of a snapshot what a glance tells (Destination.glance)."""
    return Snapshot(found.commit_seq, found.watermark_us, views=found.views, digest=found.digest)


def watermark_of(state: PipelineState) -> int | None:
    """Return the low watermark: the end of what all outputs cover from the start of history."""
    return _watermark(state, _coverage(state))


def _coverage(state: PipelineState) -> dict[str, tuple[Window, ...]]:
    windows: dict[str, list[Window]] = {}
    for output, window in sorted(state.live):
        windows.setdefault(output, []).append(window)
    return {output: normalise(found) for output, found in windows.items()}


def _counted(runs: Sequence[RunRecord], state: PipelineState) -> tuple[RunRecord, ...]:
    committed = Counter(entry.run_id for entry in state.ledger if entry.outcome is not Outcome.SUPERSEDED)
    failed = Counter(one.run_id for one in state.failed.values())
    return tuple(
        replace(run, committed=committed[run.run_id], failed=failed[run.run_id])
        if run.run_id in committed or run.run_id in failed
        else run
        for run in runs
    )


def _watermark(state: PipelineState, coverage: Mapping[str, tuple[Window, ...]]) -> int | None:
    shared: tuple[Window, ...] | None = None
    for output in state.outputs:
        ranges = coverage.get(output, ())
        shared = ranges if shared is None else intersect(shared, ranges)
    return low_watermark(shared or (), state.start_us)
