"""Commits a second, a shard in each and many in each, and whether they get slower as the history grows."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from perf.bench import Bench
from perf.commits import Commits, open_commits
from perf.values import Figure, Found

QUESTION = "How many commits, and how many shards, go into a DuckDB file in a second, with their full ledger?"
ROWS_A_SHARD = 24
ALONE = 60
GROUP = 500
EDGE = 10  # groups at either end of the history that are compared


def run(bench: Bench) -> Iterator[Found]:
    """Measure in this process: each commit opens the file, acts and closes it."""
    shards = bench.size(100_000, quick=10_000)
    with tempfile.TemporaryDirectory(prefix="raypipe-perf-") as folder:
        bench.run_yardstick()
        commits = open_commits(Path(folder) / "alone.duckdb")
        alone = [_commit(commits, range(hour, hour + 1)) for hour in range(ALONE)]
        bench.run_yardstick()
        commits = open_commits(Path(folder) / "grouped.duckdb")
        grouped = [_commit(commits, range(first, first + GROUP)) for first in range(0, shards, GROUP)]
    bench.run_yardstick()
    edge = min(EDGE, len(grouped) // 2)
    figures = (
        Figure("commits.alone", 1 / statistics.median(alone), "commits/s", 1 / max(alone), 1 / min(alone)),
        Figure("commits.grouped", GROUP / statistics.median(grouped), "shards/s", GROUP / max(grouped), GROUP / min(grouped)),
        Figure("commits.last/first", statistics.median(grouped[-edge:]) / statistics.median(grouped[:edge]), "times"),
    )
    notes = (
        (
            f"{ROWS_A_SHARD} rows a shard. Alone: {ALONE} transactions of a shard. Grouped: {shards:,} shards in transactions of "
            f"{GROUP}; last/first compares the last {edge} of them with the first {edge}."
        ),
        "There is no way to hold the file over several commits, so that budget of the design is not measured.",
    )
    yield Found("commits", f"commits, {shards:,} shards", QUESTION, figures=figures, notes=notes, noise=bench.taken_yardsticks())


def _commit(commits: Commits, hours: range) -> float:
    rows = len(hours) * ROWS_A_SHARD
    columns = {
        "region": pa.array([f"R{place % ROWS_A_SHARD}" for place in range(rows)]),
        "events": pa.array(range(rows), pa.int64()),
        "amount": pa.array([0.5] * rows),
    }
    return commits.commit(hours, columns)
