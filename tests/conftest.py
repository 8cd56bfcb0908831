"""Made-up work of workers, for every test of a destination: groups of shards with contributions that carry true digests."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from raypipe.core.accounts import Accounts
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.fingerprint import commit_id, output_fingerprint
from raypipe.core.shard import InputFile, Observed, Outcome, OutputStat, Reason, Shard, ShardResult, Slice, Task
from raypipe.core.state import Definition, OpenedRun, RunKind, RunOpening, Snapshot
from raypipe.core.window import Window
from raypipe.ports import Staged

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing, on a machine that others use too
settings.load_profile("untimed")

HOUR_US = 3_600_000_000
Rows = Sequence[Mapping[str, Any]]


@dataclass
class StillClock:
    """A clock that a test moves; waiting is real."""

    now: int = 1_000_000_000_000_000

    def now_us(self) -> int:
        return self.now

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class MadeUpWork:
    """Builds what a driver hands to a destination. `hourly` and `clean` are the outputs unless a test says otherwise."""

    attempts: int = 0
    files: tuple[Slice, ...] = field(default_factory=lambda: (Slice(InputFile("file:///in.csv", 10, "v1")),))

    def hours(self, start: int, end: int | None = None) -> Window:
        return Window(start * HOUR_US, (start + 1 if end is None else end) * HOUR_US)

    def opening(self, run_id: str = "run1", *, fingerprints: Mapping[str, str] | None = None, **changes: Any) -> RunOpening:
        named = fingerprints or {"hourly": "f1", "clean": "g1"}
        plain = RunOpening(
            run_id=run_id,
            kind=RunKind.RUN,
            window=None,
            start_us=0,
            holder="elsewhere:1:1.0",
            definitions={output: Definition(0, one, {"sql": one}) for output, one in named.items()},
            versions={"raypipe": "0"},
        )
        return replace(plain, **changes)

    def observed(self, snapshot: Snapshot, window: Window) -> frozenset[Observed]:
        """What a plan would observe for a shard."""
        return frozenset(live.observed for live in snapshot.live if live.window.meets(window))

    def group(
        self,
        opened: OpenedRun,
        shards: Mapping[Window, Mapping[str, Rows] | None],
        *,
        snapshot: Snapshot | None = None,
        quarantined: Mapping[Window, int] | None = None,
        atomic: bool = False,
        types: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        input_fp: str = "in1",
    ) -> tuple[CommitRequest, list[Staged]]:
        """Build one task's work. Each shard maps its outputs to rows; None means satisfied."""
        self.attempts += 1
        seen = {window: self.observed(snapshot or Snapshot(), window) for window in shards}
        planned = tuple(Shard(0, window, Reason.NEW, seen[window], self.files) for window in shards)
        task = Task(opened.run_id, opened.epoch, 1, self.attempts, planned)
        tables = _tables(opened, shards, quarantined or {}, types or {})
        stats = {output: _stats(tables[output]) for output in opened.definitions}
        results = {}
        for window, rows in shards.items():
            aside = (quarantined or {}).get(window, 0)
            loaded = max((len(one) for one in (rows or {}).values()), default=0)
            outputs = {output: stats[output].get(window.start_us, OutputStat(0, "0" * 32)) for output in opened.definitions}
            accounts = Accounts(read=loaded + aside + 1, loaded=loaded, filtered=1, quarantined=aside)
            results[window] = ShardResult(
                window, seen[window], self.files, accounts, outputs,
                {"departed": 1}, {"late": 2, **({"plausible": aside} if aside else {})},
                event_start_us=window.start_us, event_end_us=window.end_us - 1, seconds=0.5,
            )  # fmt: skip
        commits = tuple(
            ShardCommit(results[window], _outcome(rows, results[window]), task.attempt_id, input_fp)
            for window, rows in shards.items()
        )
        named = [(one.window, one.outcome.value, output_fingerprint(one.result.outputs), one.result.observed) for one in commits]
        request = CommitRequest(
            run_id=opened.run_id,
            epoch=opened.epoch,
            commit_id=commit_id(f"{opened.run_id}-{self.attempts}", named),
            shards=commits,
            definitions=opened.definitions,
            atomic=atomic,
        )
        staged = Staged(task, tuple(results[window] for window, rows in shards.items() if rows is not None), tables=tables)
        return request, [_in_files(staged, folder) if folder else staged]


def _outcome(rows: Mapping[str, Rows] | None, result: ShardResult) -> Outcome:
    if rows is None:
        return Outcome.SATISFIED
    return Outcome.LOADED if any(stat.rows for stat in result.outputs.values()) else Outcome.EMPTY


def _tables(
    opened: OpenedRun, shards: Mapping[Window, Any], quarantined: Mapping[Window, int], types: Mapping[str, Any]
) -> dict[str, Any]:
    import pyarrow as pa

    tables = {}
    for output in opened.definitions:
        pairs = [(window, row) for window, rows in shards.items() for row in (rows or {}).get(output, ())]
        names = list(types) or list(dict.fromkeys(name for _, row in pairs for name in row)) or ["n"]
        columns = {name: pa.array([row.get(name) for _, row in pairs], types.get(name)) for name in names}
        if not pairs and not types:
            columns = {"n": pa.array([], pa.int64())}
        tables[output] = pa.table({**columns, "_shard": _starts([window for window, _ in pairs])})
    aside = [(window, place) for window, count in quarantined.items() for place in range(count)]
    tables["_quarantine"] = pa.table(
        {
            "_shard": _starts([window for window, _ in aside]),
            "source": pa.array(["file:///in.csv"] * len(aside), pa.string()),
            "position": pa.array([place for _, place in aside], pa.int64()),
            "rule": pa.array(["plausible"] * len(aside), pa.string()),
            "error": pa.array([f"n is {place}" for _, place in aside], pa.string()),
            "raw": pa.array(["{}"] * len(aside), pa.string()),
            "truncated": pa.array([False] * len(aside), pa.bool_()),
        }
    )
    return tables


def _starts(windows: Sequence[Window]) -> Any:
    import pyarrow as pa

    return pa.array([window.start_us for window in windows], pa.int64()).cast(pa.timestamp("us"))


@cache
def _in_memory() -> Any:
    """One DuckDB for all contributions: opening another for each takes longer than all else in many tests."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _stats(table: Any) -> dict[int, OutputStat]:
    from raypipe.core.digest import digest_of_sums, digest_sums_sql

    with _in_memory().cursor() as connection:
        connection.register("rows_of", table)
        sums = digest_sums_sql([name for name in table.schema.names if name != "_shard"])
        found = connection.execute(f"SELECT epoch_us(_shard), count(*), {sums} FROM rows_of GROUP BY ALL").fetchall()
    return {start: OutputStat(rows, digest_of_sums(low, high)) for start, rows, low, high in found}


def _in_files(staged: Staged, folder: Path) -> Staged:
    import hashlib

    import pyarrow.parquet as pq

    checksums = {}
    for name, table in staged.tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path)
        checksums[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(staged, tables={}, folder=str(folder), checksums=checksums)


@pytest.fixture
def still_clock() -> StillClock:
    return StillClock()


@pytest.fixture
def work() -> MadeUpWork:
    return MadeUpWork()


@pytest.fixture(autouse=True)
def _ray_of_other_tests(request, monkeypatch):
    """A test that did not ask for Ray runs as outside of it, also where this process has joined the shared cluster."""
    if request.node.get_closest_marker("ray") is None:
        monkeypatch.setattr("raypipe.runtime.surroundings.surrounding_address", lambda: None)


@pytest.fixture(scope="session")
def local_ray():
    """One local Ray cluster for all tests that need one; raypipe uses the Ray that its process is in."""
    from raypipe.testing.local_cluster import LocalCluster

    with LocalCluster(cpus=2, memory_bytes=1024**3) as cluster:
        yield cluster


SLOW_FOLDERS = {"end_to_end", "faults", "simulation"}  # whole commands, real kills, thousands of histories


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow folders; keep the tests that need Ray on one worker of pytest-xdist, so that they share one cluster."""
    for item in items:
        if SLOW_FOLDERS.intersection(item.path.parts):
            item.add_marker("slow")
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
