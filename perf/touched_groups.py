"""`python -m perf.touched_groups`: what a commit costs that touches one group, in a table of 1,000 groups and of 1,000,000."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.merge import Combined, parse_measure
from raypipe.core.shard import Outcome, OutputStat, Reason, Shard, ShardResult, Task
from raypipe.core.state import Definition, OpenedRun, RunKind, RunOpening
from raypipe.core.window import Window
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.ports import Staged
from raypipe.runtime.system_clock import SystemClock

HOUR_US = 3_600_000_000
COMMITS = 15
TABLE = "totals"
MERGE = Combined(("g",), tuple(parse_measure(name, text) for name, text in {"n": "count(*)", "mean": "avg(x)"}.items()))
BUDGET = 10  # times the commit into the small table


def main() -> None:
    medians = {}
    for groups in (1_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            first_s, seconds = _commits(Path(folder) / "out.duckdb", groups)
        medians[groups] = statistics.median(seconds)
        print(
            f"{groups:>9,} groups: loaded in {first_s:6.2f} s; a commit that touches one takes {medians[groups] * 1000:6.1f} ms "
            f"(median of {COMMITS}, {min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f})"
        )
    ratio = medians[1_000_000] / medians[1_000]
    print(f"ratio {ratio:.1f}, budget {BUDGET}: {'kept' if ratio < BUDGET else 'MISSED'}")


def _commits(path: Path, groups: int) -> tuple[float, list[float]]:
    """Load a table of so many groups, then add to one group again and again, and replace it in between as a backfill does."""
    file = DuckDBFile(str(path), "perf", clock=SystemClock())
    opened = file.open_run(
        RunOpening(
            run_id="run", kind=RunKind.RUN, window=None, start_us=0, holder="perf:1:1.0", versions={},
            definitions={TABLE: Definition(0, "f", {})}, merges={TABLE: MERGE},
        )
    )  # fmt: skip
    first_s = _commit(file, opened, 0, range(groups))
    seconds = [_commit(file, opened, hour, [groups // 2]) for hour in range(1, COMMITS + 1)]
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute(f"SELECT count(*), sum(n) FROM {TABLE}").fetchone()
    if found != (groups, groups + COMMITS):
        raise SystemExit(f"the table holds {found}")
    return first_s, seconds


def _commit(file: DuckDBFile, opened: OpenedRun, hour: int, groups: Sequence[int] | range) -> float:
    window = Window(hour * HOUR_US, (hour + 1) * HOUR_US)
    task = Task("run", opened.epoch, hour, 1, (Shard(hour, window, Reason.NEW, frozenset()),))
    ones = [1] * len(groups)
    start = pa.scalar(window.start_us, pa.timestamp("us"))
    names = pa.array([f"group {group}" for group in groups])
    columns = {"g": names, "n.count": ones, "mean.sum": [0.5] * len(groups), "mean.count": ones}
    rows = pa.table(columns | {"_shard": pa.repeat(start, len(groups))})
    stat = OutputStat(len(groups), "0" * 32)  # digests are for `verify` alone
    result = ShardResult(window, frozenset(), (), Accounts(read=len(groups), loaded=len(groups)), {TABLE: stat})
    request = CommitRequest(
        run_id="run", epoch=opened.epoch, commit_id=f"commit-{hour}", definitions=opened.definitions,
        shards=(ShardCommit(result, Outcome.LOADED, task.attempt_id, "in"),),
    )  # fmt: skip
    started_s = time.perf_counter()
    file.commit(request, [Staged(task, (result,), tables={TABLE: rows})])
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
