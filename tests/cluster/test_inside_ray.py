"""raypipe in a program that uses Ray already: `raypipe.run` takes the Ray that its process is in, also inside a task of it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import duckdb
import pytest
import ray

import raypipe

pytestmark = pytest.mark.ray

CONFIG = """\
name: inside
time: {column: ts, start: 2024-01-01, end: 2024-01-05, shard: 1d}
source: {kind: files, path: events.csv, columns: {ts: timestamp, n: int64}}
outputs: [{table: days, sql: "SELECT date_trunc('day', ts) AS day, sum(n) AS total FROM rows GROUP BY ALL"}]
destination: {kind: duckdb, path: inside.duckdb}
"""
SECOND_AND_THIRD = raypipe.Window(*(raypipe.to_us(datetime(2024, 1, day, tzinfo=UTC)) for day in (2, 4)))


@pytest.fixture
def config(tmp_path):
    lines = [f"2024-01-0{day}T{hour:02d}:00:00,{day}" for day in range(1, 5) for hour in range(24)]
    (tmp_path / "events.csv").write_text("ts,n\n" + "\n".join(lines) + "\n")
    (tmp_path / "pipeline.yaml").write_text(CONFIG)
    return str(tmp_path / "pipeline.yaml")


def totals(config):
    with duckdb.connect(config.replace("pipeline.yaml", "inside.duckdb"), read_only=True) as connection:
        return [total for (total,) in connection.execute("SELECT total FROM days ORDER BY day").fetchall()]


def test_a_program_that_is_in_a_cluster_runs_there_and_stays_in_it(local_ray, config):
    report = raypipe.run(raypipe.load(config), SECOND_AND_THIRD)
    assert report.executor.endswith(f"ray, {local_ray.address}")
    assert (report.closed.status, totals(config)) == ("done", [48, 72])
    assert raypipe.run(raypipe.load(config)).closed.committed == 2
    assert totals(config) == [24, 48, 72, 96]
    assert ray.is_initialized()


def test_a_task_may_run_a_pipeline_on_the_cluster_that_it_belongs_to(local_ray, config):
    @ray.remote
    def nightly(config):
        report = raypipe.run(raypipe.load(config))
        return report.executor, report.closed.committed

    executor, committed = ray.get(nightly.remote(config))
    assert executor.endswith(f"ray, {local_ray.address}")
    assert (committed, totals(config)) == (4, [24, 48, 72, 96])


def test_importing_raypipe_and_choosing_inline_imports_no_ray(config):
    program = f"import sys, raypipe; raypipe.run(raypipe.load({config!r}), executor='inline'); print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
