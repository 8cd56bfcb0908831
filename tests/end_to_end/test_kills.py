"""A run that is killed at any time is finished by the next one, and the tables are those of a run that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

import raypipe

ROOT = Path(__file__).parents[2]
ENDS_WITHIN_S = 120  # on a busy machine: how long a process may take that was told to end

CONFIG = """
name: killed
time: {{column: ts, start: 2026-01-01, end: 2026-01-31, shard: 12h}}
source: {{kind: files, path: "{folder}/*.parquet"}}
quality: {{rules: [{{name: not_negative, expect: "amount >= 0"}}], max_quarantined: {{share: 50%, at_least: 10}}}}
transform:
  - python: slow_steps:take_a_while
outputs:
  - {{table: clean, rows: all}}
  - table: daily
    sql: SELECT date_trunc('day', ts) AS day, kind, count(*) AS events, sum(amount) AS amount FROM rows GROUP BY ALL
destination: {{kind: duckdb, path: {name}.duckdb}}
run: {{memory: 1GiB}}
"""

EVENTS = """
    COPY (
        SELECT i AS event_id, TIMESTAMP '2026-01-01' + to_seconds(i * 43) AS ts, 'k' || (i % 5) AS kind,
            (i % 700) / 64 - 0.25 AS amount
        FROM range({first}, {last}) numbers(i)
    ) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)
"""

STEPS = """
import os
import time
import polars as pl

def take_a_while(rows: pl.LazyFrame) -> pl.LazyFrame:
    time.sleep(float(os.environ.get("SECONDS_A_SHARD", "0.03")))  # so that there is a middle of the run to be killed in
    return rows
"""


@pytest.fixture
def folder(tmp_path):
    connection = duckdb.connect()
    for number in range(5):
        path = tmp_path / f"events{number}.parquet"
        connection.execute(EVENTS.format(first=number * 12_000, last=(number + 1) * 12_000, path=path))
        os.utime(path, (10**9, 10**9))  # a file that was written a moment ago has another version than a settled one
    connection.close()
    (tmp_path / "slow_steps.py").write_text(STEPS)
    return tmp_path


def config(folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(folder=folder, name=name))
    return path


def start(path, seconds_a_shard="0.03"):
    environment = {**os.environ, "SECONDS_A_SHARD": seconds_a_shard}
    command = [sys.executable, "-m", "raypipe", "run", str(path), "--executor", "inline", "-q"]
    return subprocess.Popen(
        command, start_new_session=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_for_work(path):
    """Wait until the run is open and some of its shards are being worked on."""
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)


def contents(path):
    connection = duckdb.connect(str(path), read_only=True)
    queries = [
        "SELECT * FROM clean ORDER BY ALL",
        "SELECT * FROM daily ORDER BY ALL",
        """SELECT live.output, live.lo, live.hi, live.rows, live.output_fp, live.input_fp, read, loaded, filtered, quarantined
           FROM _raypipe.live JOIN _raypipe.shards USING (pipeline, seq, lo, hi) ORDER BY ALL""",
        "SELECT shard, position, rule, raw FROM _raypipe.quarantine ORDER BY ALL",
        "SELECT output, lo, hi FROM _raypipe.coverage ORDER BY ALL",
    ]
    found = [connection.execute(query).fetchall() for query in queries]
    connection.close()
    return found


def test_three_kills_of_the_process_group_and_a_run_leave_what_an_unkilled_run_leaves(folder):
    whole = start(config(folder, "whole"))
    started = time.monotonic()
    assert whole.wait(120) == 0, whole.stderr.read()
    whole_s = time.monotonic() - started

    seed = random.randrange(10**6)
    rng = random.Random(seed)
    killed = config(folder, "killed")
    for _ in range(3):
        process = start(killed)
        time.sleep(whole_s * rng.uniform(0.35, 0.95))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENDS_WITHIN_S)
    last = start(killed)
    assert last.wait(120) == 0, last.stderr.read()
    assert contents(folder / "killed.duckdb") == contents(folder / "whole.duckdb"), f"seed {seed}"
    assert [check for check in raypipe.verify(raypipe.load(str(killed))) if not check.ok] == []


def test_ctrl_c_ends_the_run_resumable_with_130_and_keeps_what_is_finished(folder):
    path = config(folder, "stopped")
    process = start(path, "0.5")  # what is in flight takes longer than the time that it is given to end
    wait_for_work(folder / "stopped.duckdb")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(ENDS_WITHIN_S) == 130, process.stderr.read()
    report = raypipe.run(raypipe.load(str(path)), executor="inline")
    assert report.closed.status == "done"
    whole = raypipe.run(raypipe.load(str(config(folder, "whole"))), executor="inline")
    assert whole.closed.status == "done"
    assert contents(folder / "stopped.duckdb") == contents(folder / "whole.duckdb")


def test_sigterm_ends_the_run_long_before_its_work_with_143(folder):
    """The grace itself, 5 s, is measured on a clock that stands still: tests/runtime/test_driver.py."""
    process = start(config(folder, "stopped"), "3600")
    wait_for_work(folder / "stopped.duckdb")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(ENDS_WITHIN_S) == 143, process.stderr.read()
