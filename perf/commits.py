"""Commits without the rest of a run: contributions made up in memory, and the seconds that each commit takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.merge import Merge
from raypipe.core.shard import Outcome, OutputStat, Reason, Shard, ShardResult, Task
from raypipe.core.state import Definition, OpenedRun, RunKind, RunOpening
from raypipe.core.window import Window
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.ports import Staged
from raypipe.runtime.system_clock import SystemClock

HOUR_US = 3_600_000_000
TABLE = "totals"
DIGEST = "0" * 32  # digests are for `verify` alone


@dataclass(frozen=True, slots=True)
class Commits:
    """An open run of one table in a DuckDB file; its shards are hours."""

    file: DuckDBFile
    opened: OpenedRun

    def commit(self, hours: range, columns: Mapping[str, pa.Array]) -> float:
        """Commit these hours with columns of as many rows each, in one transaction; return the seconds."""
        starts = [hour * HOUR_US for hour in hours]
        rows = len(next(iter(columns.values()))) // len(hours)
        shard = pa.array([start for start in starts for _ in range(rows)], pa.timestamp("us"))
        windows = [Window(start, start + HOUR_US) for start in starts]
        shards = tuple(Shard(hour, window, Reason.NEW, frozenset()) for hour, window in zip(hours, windows, strict=True))
        task = Task(self.opened.run_id, self.opened.epoch, hours.start, 1, shards)
        stat = {TABLE: OutputStat(rows, DIGEST)}
        results = tuple(ShardResult(one, frozenset(), (), Accounts(read=rows, loaded=rows), stat) for one in windows)
        request = CommitRequest(
            run_id=self.opened.run_id, epoch=self.opened.epoch, commit_id=f"commit-{hours.start}",
            definitions=self.opened.definitions,
            shards=tuple(ShardCommit(one, Outcome.LOADED, task.attempt_id, "in") for one in results),
        )  # fmt: skip
        staged = Staged(task, results, tables={TABLE: pa.table({**columns, "_shard": shard})})
        started_s = time.perf_counter()
        self.file.commit(request, [staged])
        return time.perf_counter() - started_s


def open_commits(path: Path, merge: Merge | None = None) -> Commits:
    """Open a run on a new file; `merge` makes the table a keyed or combined one."""
    file = DuckDBFile(str(path), "perf", clock=SystemClock())
    opening = RunOpening(
        run_id="run", kind=RunKind.RUN, window=None, start_us=0, holder="perf:1:1.0", versions={},
        definitions={TABLE: Definition(0, "f", {})}, merges={TABLE: merge} if merge else {},
    )  # fmt: skip
    return Commits(file, file.open_run(opening))
