"""Runs that are started twice, at once, or after the definition changed under them: one complete version of every shard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import raypipe
from raypipe.core import events as ev
from raypipe.core.window import Window
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.engine import stage
from raypipe.errors import Interrupted

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}
ROWS = 300
CSV = "id,ts\n" + "".join(f"{number},2026-01-0{1 + number % 3}T00:00:00\n" for number in range(ROWS))
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000

SLOW_STEPS = """
import os, pathlib, time

HERE = pathlib.Path(__file__).parent

def slow(rows):
    '''Wait until the test says that it has seen enough, or another process works on the same.'''
    (HERE / f"working.{os.getpid()}").touch()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (HERE / "seen").exists() and len(list(HERE.glob("working.*"))) < 2:
        time.sleep(0.02)
    return rows
"""

# The command line with the id that a scheduled run has: derived from what is asked for, so equal when it is started twice.
SAME_RUN = """
import sys
from raypipe.launch import run_verb
run_verb.new_run_id = lambda clock: "scheduled"
from raypipe.cli import main
sys.argv = ["raypipe", "run", "pipeline.yaml", "--executor", "inline"]
sys.exit(main())
"""


UNCLAIMED_RUN = """
import sys
from raypipe.cli import main
from raypipe.launch.parts import Parts
from raypipe.runtime.claiming import NoClaims
Parts.claims = NoClaims()
sys.argv = ["raypipe", "run", "pipeline.yaml", "--executor", "inline"]
sys.exit(main())
"""


def start(bench, code: str, **environment: str) -> subprocess.Popen[str]:
    bench.close()
    env = {**os.environ, **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=bench.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def slow_pipeline(bench) -> None:
    bench.write("in.csv", CSV)
    bench.write("steps.py", SLOW_STEPS)
    bench.config("in.csv", columns=COLUMNS, transform=[{"python": "steps:slow"}])


def wait_for_work(bench, process: subprocess.Popen[str]) -> None:
    while not list(bench.folder.glob("working.*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def every_row_is_there_once(bench) -> None:
    assert bench.query("SELECT count(*), count(DISTINCT id) FROM clean") == [(ROWS, ROWS)]
    assert bench.accounts()["read"] == ROWS
    assert bench.query("SELECT count(*) FROM _raypipe.live") == [(3,)]
    bench.proven()


@pytest.mark.fault(57)
def test_the_same_run_started_twice_is_done_by_the_first_and_refused_to_the_second(bench):
    slow_pipeline(bench)
    first = start(bench, SAME_RUN)
    wait_for_work(bench, first)
    second = start(bench, SAME_RUN)
    _, told = second.communicate(timeout=60)
    assert second.returncode == 3, told
    assert "scheduled" in told
    assert str(first.pid) in told
    assert "Traceback" not in told
    bench.write("seen", "")
    _, told = first.communicate(timeout=60)
    assert first.returncode == 0, told
    every_row_is_there_once(bench)
    assert bench.query("SELECT run, state FROM _raypipe.runs") == [("scheduled", "done")]


@pytest.mark.fault(57)
def test_two_runs_of_one_pipeline_at_once_both_end_well_and_every_row_is_there_once(bench):
    """No claim keeps them apart here, so that both do the same work at once, as when claims are lost."""
    slow_pipeline(bench)
    runs = [start(bench, UNCLAIMED_RUN), start(bench, UNCLAIMED_RUN)]
    for run in runs:
        _, told = run.communicate(timeout=60)
        assert run.returncode == 0, told
    every_row_is_there_once(bench)
    assert bench.query("SELECT count(*) FILTER (outcome = 'loaded') FROM _raypipe.shards") == [(3,)]
    assert set(bench.column("SELECT state FROM _raypipe.runs")) == {"done"}


@pytest.mark.fault(57)
def test_a_run_and_a_backfill_in_threads_of_one_process_leave_one_version_of_every_shard(bench):
    slow_pipeline(bench)
    bench.write("seen", "")
    bench.done()
    bench.write("late.csv", f"id,ts\n{ROWS},2026-01-02T00:00:00\n")
    bench.config("*.csv", columns=COLUMNS, transform=[{"python": "steps:slow"}])
    reports = {}

    def run() -> None:
        reports["run"] = bench.run()

    def backfill() -> None:
        window = Window(START_US, START_US + 3 * DAY_US)
        reports["backfill"] = raypipe.backfill(bench.load(), window, executor="inline")

    threads = [threading.Thread(target=run), threading.Thread(target=backfill)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: (report.closed.status, report.closed.failures) for name, report in reports.items()} == {
        "run": ("done", ()),
        "backfill": ("done", ()),
    }
    assert bench.query("SELECT count(*), count(DISTINCT id) FROM clean") == [(ROWS + 1, ROWS + 1)]
    bench.proven()


# ---- 61: the definition changes under a run ---------------------------------------------------------------


class Changes:
    """Does something once when a run has been planned."""

    def __init__(self, change, when=ev.Planned) -> None:
        self.change = change
        self.when = when
        self.tasks = 0

    def on(self, event: ev.RunEvent) -> None:
        self.tasks += isinstance(event, ev.TaskStarted)
        if self.change is not None and isinstance(event, self.when):
            change, self.change = self.change, None
            change()


def versioned(bench, version: int) -> None:
    bench.config("in.csv", columns=COLUMNS, transform=[{"derive": {"version": f"{version}"}}])


@pytest.mark.fault(61)
def test_a_run_goes_on_with_the_configuration_that_it_was_planned_with(bench):
    bench.write("in.csv", CSV)
    versioned(bench, 1)
    bench.done(observer=Changes(lambda: versioned(bench, 2)))
    assert bench.query("SELECT version, count(*) FROM clean GROUP BY ALL") == [(1, ROWS)]
    assert len(raypipe.plan(bench.load()).plan.stale) == 3  # what is there was made by the older definition, and `plan` says so
    window = Window(START_US, START_US + 3 * DAY_US)
    assert raypipe.backfill(bench.load(), window, executor="inline").closed.status == "done"
    assert bench.query("SELECT version, count(*) FROM clean GROUP BY ALL") == [(2, ROWS)]
    assert raypipe.plan(bench.load()).plan.stale == ()


STEP = "import polars as pl\n\ndef mark(rows):\n    return rows.with_columns(version=pl.lit({version}))\n"


@pytest.mark.fault(61)
@pytest.mark.parametrize("what", ["step", "lookup"])
def test_code_or_a_reference_file_that_changes_under_a_run_is_refused_and_done_by_the_next_run(bench, what):
    bench.write("in.csv", CSV)

    def write(version: int) -> None:
        bench.write("steps.py", STEP.format(version=version))
        bench.write("versions.csv", "day,version\n" + "".join(f"2026-01-0{day},{version}\n" for day in (1, 2, 3)))

    write(1)
    step = [{"python": "steps:mark"}]
    lookup = [
        {"derive": {"day": "CAST(CAST(ts AS DATE) AS VARCHAR)"}},
        {"lookup": {"path": "versions.csv", "on": "day", "columns": ["version"]}},
    ]
    bench.config("in.csv", columns=COLUMNS, transform=step if what == "step" else lookup)
    failures = bench.failed(observer=Changes(lambda: write(2)))
    assert {text.partition(" (")[0] for _, text in failures} == {"what clean is made by changed after the run was planned"}
    assert len(failures) == 3
    assert bench.query("SELECT * FROM _raypipe.shards") == []
    bench.done()
    assert [(int(version), rows) for version, rows in bench.query("SELECT version, count(*) FROM clean GROUP BY ALL")] == [
        (2, ROWS)
    ]
    assert raypipe.plan(bench.load()).plan.stale == ()


KILLED = """
import sys
from raypipe.engine import stage
stage.StageWhenDear.wants_files = lambda self, **figures: True
from raypipe.cli import main
sys.argv = ["raypipe", "run", "pipeline.yaml", "--executor", "inline"]
sys.exit(main())
"""


@pytest.mark.fault(61)
def test_work_that_a_killed_run_staged_is_taken_over_and_not_done_again(bench):
    bench.write("in.csv", CSV)
    versioned(bench, 1)
    killed = start(bench, KILLED, RAYPIPE_TESTING="1", RAYPIPE_FAILPOINTS="commit.before_begin=kill")
    _, told = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, told
    assert bench.query("SELECT state FROM _raypipe.runs") == [("open",)]
    assert bench.query("SELECT * FROM _raypipe.shards") == []
    observer = Changes(None)
    bench.done(observer=observer)
    assert observer.tasks == 0
    assert bench.query("SELECT version, count(*), count(DISTINCT id) FROM clean GROUP BY ALL") == [(1, ROWS, ROWS)]


def stage_and_stop(bench, monkeypatch) -> None:
    """Leave a run whose work is staged and not committed."""

    def commit(*_: object) -> None:
        raise Interrupted("stopped before the commit")

    bench.write("in.csv", CSV)
    versioned(bench, 1)
    with monkeypatch.context() as patch:
        patch.setattr(stage.StageWhenDear, "wants_files", lambda self, **figures: True)
        patch.setattr(DuckDBFile, "commit", commit)
        with pytest.raises(Interrupted):
            bench.run()
    assert list(bench.folder.rglob("manifest.json"))
    assert bench.query("SELECT * FROM _raypipe.shards") == []


@pytest.mark.fault(61)
def test_staged_work_of_another_definition_is_not_taken_over(bench, monkeypatch):
    stage_and_stop(bench, monkeypatch)
    versioned(bench, 2)
    observer = Changes(None)
    bench.done(observer=observer)
    assert observer.tasks > 0
    assert bench.query("SELECT version, count(*), count(DISTINCT id) FROM clean GROUP BY ALL") == [(2, ROWS, ROWS)]


@pytest.mark.fault(61)
def test_staged_work_of_another_input_is_not_taken_over(bench, monkeypatch):
    stage_and_stop(bench, monkeypatch)
    bench.write("in.csv", CSV.replace("\n7,", "\n7000,"))
    bench.done()
    assert bench.query("SELECT count(*), count(DISTINCT id), max(id) FROM clean") == [(ROWS, ROWS, 7000)]
