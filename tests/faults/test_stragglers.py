"""Fault 47 and 9: a task that takes far too long has a second attempt beside it, and what the slower one leaves is garbage."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import raypipe
from raypipe.core.events import Adopted, TaskStarted
from raypipe.launch import gc
from raypipe.launch.parts import Parts
from raypipe.runtime.system_clock import SystemClock

SHARDS = 6
ROWS = 22_000  # of a shard: so many that each is a task of its own
SLOW = 2
LEDGER = "SELECT lo, outcome, attempt, read, loaded FROM _raypipe.shards ORDER BY lo"


class Events:
    def __init__(self):
        self.all = []

    def on(self, event):
        self.all.append(event)

    def of(self, kind):
        return [one for one in self.all if isinstance(one, kind)]


def set_up(bench):
    start = datetime.datetime(2026, 1, 1)
    days = [number // ROWS for number in range(SHARDS * ROWS)]
    events = {
        "id": pa.array(range(SHARDS * ROWS), pa.int64()),
        "ts": pa.array([start + datetime.timedelta(days=day) for day in days], pa.timestamp("us")),
        "amount": pa.array([1.0] * len(days)),
        "note": pa.array(["slow" if day == SLOW else "" for day in days]),
    }
    bench.parquet("events.parquet", pa.table(events), row_group_size=ROWS)
    bench.config("events.parquet", time__end="2026-01-07", run={"memory": "1GiB"})


def left_in(bench):
    """The files that attempts left beside the destination."""
    return [path for path in (bench.folder / "out.duckdb.raypipe" / "stage").rglob("*") if path.is_file()]


@pytest.mark.ray
@pytest.mark.fault(47)
def test_a_task_that_hangs_on_ray_is_done_by_a_second_attempt_and_leaves_no_more_than_garbage(
    bench, local_ray, monkeypatch, tmp_path_factory
):
    """The first attempt at the slow shard hangs for an hour. On a busy machine others may be slow too."""
    set_up(bench)
    seen, tokens = Events(), tmp_path_factory.mktemp("tokens")
    monkeypatch.setenv("RAYPIPE_TESTING", "1")
    monkeypatch.setenv("RAYPIPE_FP_DIR", str(tokens))
    monkeypatch.setenv("RAYPIPE_FAILPOINTS", f"task.start=hang@shard={SLOW}")
    report = raypipe.run(bench.load("run.shard_timeout=2h"), executor="ray", observer=seen)
    assert (report.closed.status, report.closed.committed, report.closed.rows.read) == ("done", SHARDS, SHARDS * ROWS)
    assert list(tokens.glob("*.fired"))
    assert report.closed.seconds < 3600
    (second,) = [one for one in seen.of(TaskStarted) if one.straggler and one.task.shards[0].index == SLOW]
    bench.proven()
    ledger = bench.query(LEDGER)
    assert [(outcome, read, loaded) for _, outcome, _, read, loaded in ledger] == [("loaded", ROWS, ROWS)] * SHARDS
    assert ledger[SLOW][2] == second.task.attempt_id
    assert Counter(bench.column("SELECT id FROM clean")) == Counter(range(SHARDS * ROWS))
    gc(bench.load())
    assert left_in(bench) == []


@pytest.mark.fault(9)
def test_an_attempt_that_stages_after_its_run_is_over_is_garbage_that_no_run_takes_over(bench):
    set_up(bench)
    seen = Events()
    whole = bench.done(observer=seen).closed.window
    before = bench.query(LEDGER), bench.column("SELECT count(*) FROM clean")
    (slow,) = [one.task for one in seen.of(TaskStarted) if one.task.shards[0].index == SLOW]
    parts = Parts(bench.load(), SystemClock())
    worker = parts.worker(parts.pipeline.run.memory_bytes)
    worker.stage = "always"
    late = worker.run(replace(slow, number=slow.number + 100, beside=slow.attempt_id))
    worker.close()
    assert Path(late.folder, "manifest.json").exists()
    again = Events()
    raypipe.backfill(bench.load(), whole, executor="inline", observer=again)
    assert again.of(Adopted) == []
    assert len(bench.query(LEDGER)) == 2 * len(before[0])
    assert bench.column("SELECT count(*) FROM clean") == before[1]
    bench.proven()
    gc(bench.load())
    assert left_in(bench) == []
