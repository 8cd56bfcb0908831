"""How large a cluster one driver and one writer feed: measured costs in a model of up to 10,000 workers."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import ray

from perf.bench import Bench
from perf.commits import open_commits
from perf.scale import Costs, largest_fed, play
from perf.values import Figure, Found
from raypipe.testing.local_cluster import LocalCluster

QUESTION = "How many workers can one driver, which commits alone, keep at work?"
ROWS_A_SHARD = 24
GROUPS = (1, 1_000)
COMMITS = 12  # of each size
SUBMITTED = 300
SHARD_S = (1.0, 10.0, 60.0)
SHARDS_A_WORKER = 10
FED_SHARE = 0.85  # of their time, workers that are fed spend on shards; at the end of a run all wait for the last


def run(bench: Bench) -> Iterator[Found]:
    """Measure what commits and submissions cost here, then play runs of ever more workers."""
    bench.run_yardstick()
    costs = _costs()
    bench.run_yardstick()
    workers_max = bench.size(10_000, quick=1_000)
    figures = [
        Figure("scale.commit", costs.commit_s, "s"),
        Figure("scale.commit_a_shard", costs.commit_a_shard_s * 1e6, "us"),
        Figure("scale.submit", costs.submit_s * 1e6, "us"),
    ]
    for shard_s in SHARD_S:
        found = play(workers_max, workers_max * SHARDS_A_WORKER, shard_s, costs)
        name = f"scale.{shard_s:g}s_shards.{workers_max}_workers"
        figures += [
            Figure(f"{name}.shards_a_second", workers_max * SHARDS_A_WORKER / found.seconds, "shards/s"),
            Figure(f"{name}.worker_share", found.worker_share, "of the time"),
            Figure(f"{name}.driver_share", found.driver_share, "of the time"),
            Figure(f"{name}.visible_after", found.visible_after_s, "s"),
            Figure(
                f"scale.{shard_s:g}s_shards.largest_fed",
                largest_fed(shard_s, costs, share=FED_SHARE, workers_max=workers_max),
                "workers",
            ),
        ]
    note = (
        "The coordinator is the real one and its time is measured in the model; commits and submissions cost what they cost here. "
        f"A shard is a task of half to one and a half times the mean; {SHARDS_A_WORKER} shards a worker. Fed: workers spend "
        f"{FED_SHARE:.0%} of their time on shards."
    )
    title, noise = f"model of {workers_max:,} workers", bench.taken_yardsticks()
    yield Found("scale", title, QUESTION, figures=tuple(figures), notes=(note,), noise=noise)


def _costs() -> Costs:
    with tempfile.TemporaryDirectory(prefix="raypipe-perf-") as folder:
        small, large = (_commit_s(Path(folder) / f"{size}.duckdb", size) for size in GROUPS)
    a_shard_s = (large - small) / (GROUPS[1] - GROUPS[0])
    return Costs(commit_s=small, commit_a_shard_s=a_shard_s, submit_s=_submit_s())


def _commit_s(path: Path, size: int) -> float:
    """Return the median seconds of commits of so many shards."""
    commits = open_commits(path)
    rows = size * ROWS_A_SHARD
    columns = {"region": pa.array(["R"] * rows), "events": pa.array(range(rows), pa.int64()), "amount": pa.array([0.5] * rows)}
    return statistics.median(commits.commit(range(first * size, (first + 1) * size), columns) for first in range(COMMITS))


def _submit_s() -> float:
    """Return the seconds that handing a task to a local Ray takes its owner."""
    with LocalCluster(cpus=1, memory_bytes=2**30):
        nothing = ray.remote(lambda payload: None)
        ray.get(nothing.remote(b""))
        started_s = time.perf_counter()
        handed_out = [nothing.remote(b"x" * 1_000) for _ in range(SUBMITTED)]
        seconds = time.perf_counter() - started_s
        ray.get(handed_out)
    return seconds / SUBMITTED
