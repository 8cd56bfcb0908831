"""What a memory destination remembers, and its snapshot."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raypipe.core.accounts import total
from raypipe.core.commit import ShardCommit
from raypipe.core.intervals import intersect, normalise
from raypipe.core.merge import Merge
from raypipe.core.shard import Outcome
from raypipe.core.state import Definition, FailedShard, LiveRange, RunRecord, RunState, Snapshot
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window
from raypipe.destinations.limits import RUNS_MAX

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
    run_outputs: dict[str, frozenset[str]] = field(default_factory=dict)
    definitions: dict[str, tuple[Definition, ...]] = field(default_factory=dict)
    live: dict[tuple[str, Window], LiveRange] = field(default_factory=dict)
    ledger: list[LedgerEntry] = field(default_factory=list)
    failed: dict[Window, FailedShard] = field(default_factory=dict)
    quarantine: dict[Window, list[Row]] = field(default_factory=dict)
    outside: int = 0


@dataclass(slots=True)
class MemoryStore:
    """What a file is to DuckDB: tables, their owners and the state of several pipelines."""

    tables: dict[str, dict[Window, list[Row]]] = field(default_factory=dict)
    """Rows by the range that contributed them."""
    merges: dict[str, Merge] = field(default_factory=dict)
    """How the contributions to keyed and combined tables become the table."""
    owners: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, PipelineState] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


def snapshot_of(state: PipelineState) -> Snapshot:
    """Return the state as a plan sees it."""
    coverage = {
        output: normalise(live.window for live in state.live.values() if live.output == output)
        for output in sorted({live.output for live in state.live.values()})
    }
    alive = {(live.seq, live.window) for live in state.live.values()}
    done = [entry for entry in state.ledger if (entry.seq, entry.shard.window) in alive]
    runs = sorted(state.runs.values(), key=lambda one: (one.started_us, one.run_id), reverse=True)
    return Snapshot(
        commit_seq=state.commit_seq,
        watermark_us=_watermark(state, coverage),
        live=tuple(sorted(state.live.values(), key=lambda one: (one.window, one.output))),
        coverage=coverage,
        failed=tuple(failed for _, failed in sorted(state.failed.items())),
        definitions=dict(sorted(state.definitions.items())),
        runs=tuple(_counted(run, state) for place, run in enumerate(runs) if place < RUNS_MAX or run.state in OPEN),
        accounts=total(entry.shard.result.accounts for entry in done),
        outside=state.outside,
    )


def _counted(run: RunRecord, state: PipelineState) -> RunRecord:
    committed = sum(entry.run_id == run.run_id and entry.outcome is not Outcome.SUPERSEDED for entry in state.ledger)
    return replace(run, committed=committed, failed=sum(one.run_id == run.run_id for one in state.failed.values()))


def _watermark(state: PipelineState, coverage: Mapping[str, tuple[Window, ...]]) -> int | None:
    shared: tuple[Window, ...] | None = None
    for output in state.outputs:
        ranges = coverage.get(output, ())
        shared = ranges if shared is None else intersect(shared, ranges)
    return low_watermark(shared or (), state.start_us)
