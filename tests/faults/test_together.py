"""Runs at the same time share out the work, and a person sees nothing of it but that all ended well."""

from __future__ import annotations

import os
import random
import signal
import time

import duckdb
import pytest

from raypipe.destinations.duckdb_file import reading
from raypipe.runtime.system_clock import SystemClock
from tests.faults import together
from tests.faults.contents import contents
from tests.faults.forks import fork_server

COLUMNS = {"id": {"type": "int64", "required": True}, "ts": "timestamp", "version": "int64"}
ROWS = 300
NO_CLAIMS = "from raypipe.launch.parts import Parts\nfrom raypipe.runtime.claiming import NoClaims\nParts.claims = NoClaims()\n"
SCHEDULED = "from raypipe.launch import run_verb\nrun_verb.new_run_id = lambda clock: 'scheduled'\n"
WAITS = """
import pathlib, time

HERE = pathlib.Path(__file__).parent

def wait(rows):
    '''Work until the test has seen it.'''
    (HERE / "working").touch()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (HERE / "seen").exists():
        time.sleep(0.01)
    return rows
"""


@pytest.fixture(scope="module")
def server():
    with fork_server() as made:
        yield made


@pytest.mark.slow
@pytest.mark.fault(58)
def test_ten_runs_over_overlapping_windows_leave_what_one_leaves_and_none_does_anothers_work(server, tmp_path):
    """Twenty times over, with a seed: `python -m tests.faults.storm --kills 0 --together 20`."""
    seed = random.randrange(10**6)
    print("seed", seed)
    together.write(tmp_path)
    asked = together.windows(random.Random(seed))
    together.run_all(server, tmp_path, "serial", asked[:1])
    together.check(tmp_path, "together", "serial", together.run_all(server, tmp_path, "together", asked))


def version(bench, number: int, last_day: int = 3) -> None:
    """Write every row of the source anew."""
    bench.write("in.csv", "id,ts,version\n" + "".join(f"{one},2026-01-0{1 + one % 3}T00:00:00,{number}\n" for one in range(ROWS)))
    if last_day > 3:
        bench.write("more.csv", "id,ts,version\n" + "".join(f"{ROWS + one},2026-01-05T00:00:00,{number}\n" for one in range(ROWS)))


def pipeline(bench, **sections) -> None:
    time = {"column": "ts", "start": "2026-01-01", "end": "2026-01-06", "shard": "1d"}
    bench.config("*.csv", columns=COLUMNS, time=time, **sections)


def start(server, bench, *arguments: str, before: str = "", **environment: str):
    bench.close()
    return server.cli(
        arguments[0], "pipeline.yaml", "--executor", "inline", *arguments[1:], cwd=bench.folder, before=before, **environment
    )


def wait_until(there, process=None) -> None:
    deadline = time.monotonic() + 120
    while not there() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert there()


def ended_well(*processes) -> None:
    for process in processes:
        ended = process.wait()
        assert ended.code == 0, ended.err


@pytest.mark.slow
@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("order", "claims"),
    [((0, 1), NO_CLAIMS), ((1, 0), NO_CLAIMS), ((0, 1), "")],
    ids=["first", "second", "first_with_claims"],
)
def test_two_overlapping_backfills_leave_one_complete_version_whichever_commits_first(server, bench, order, claims):
    version(bench, 1)
    pipeline(bench)
    ended_well(start(server, bench, "run"))
    version(bench, 2)
    windows = [("--start", "2026-01-01", "--end", "2026-01-03"), ("--start", "2026-01-02", "--end", "2026-01-04")]
    slow = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": "commit.before_begin=sleep:10;task.before_return=sleep:400"}
    first = start(server, bench, "backfill", *windows[order[0]], before=claims)
    second = start(server, bench, "backfill", *windows[order[1]], before=claims, **slow)
    ended_well(first, second)
    assert bench.query("SELECT version, count(*), count(DISTINCT id) FROM clean GROUP BY ALL") == [(2, ROWS, ROWS)]
    bench.proven()


@pytest.mark.slow
@pytest.mark.fault(60)
def test_readers_see_all_of_an_atomic_backfill_or_nothing_while_a_run_goes_on(server, bench):
    version(bench, 1)
    pipeline(bench)
    ended_well(start(server, bench, "run", "--end", "2026-01-04"))
    version(bench, 2, last_day=5)
    backfill = start(server, bench, "backfill", "--start", "2026-01-01", "--end", "2026-01-04")
    run = start(server, bench, "run", "--start", "2026-01-04")
    seen, samples = set(), 0
    while (2, ROWS) not in {one for sample in seen for one in sample} and samples < 2000:
        samples += 1
        with reading(str(bench.out), SystemClock()) as connection:
            sql = "SELECT version, count(*) FROM clean WHERE ts < TIMESTAMP '2026-01-04' GROUP BY ALL ORDER BY ALL"
            seen.add(tuple(connection.execute(sql).fetchall()))
        time.sleep(0.01)
    ended_well(backfill, run)
    assert seen <= {((1, ROWS),), ((2, ROWS),)}
    assert samples > 1
    assert bench.query("SELECT version, count(*) FROM clean GROUP BY ALL") == [(2, 2 * ROWS)]
    bench.proven()


# ---- a process that stands still and comes back ------------------------------------------------------------


@pytest.fixture
def frozen(server, bench):
    """A run that was stopped in the middle of its work, as when its machine hangs."""
    version(bench, 1)
    bench.write("steps.py", WAITS)
    pipeline(bench, transform=[{"python": "steps:wait"}])
    before = SCHEDULED + "from raypipe.destinations import file_claims\nfile_claims.CLAIM_LIMIT_S = 0.5\n"
    process = start(server, bench, "run", before=before)
    wait_until((bench.folder / "working").exists)
    process.signal(signal.SIGSTOP)
    (bench.folder / "seen").touch()
    yield process
    process.signal(signal.SIGKILL)


def comes_back(bench, frozen):
    """Let the frozen process go on to its end; nothing may change by it."""
    before = contents(bench.out, "clean") if "clean" in bench.column("SELECT table_name FROM duckdb_tables()") else None
    bench.close()
    frozen.signal(signal.SIGCONT)
    ended = frozen.wait()
    if before is not None:
        assert contents(bench.out, "clean") == before
    return ended


@pytest.mark.slow
@pytest.mark.fault(8)
def test_a_frozen_run_that_was_taken_over_is_fenced_when_it_comes_back(server, bench, frozen):
    silent = SCHEDULED + "from raypipe.destinations import duckdb_runs\nduckdb_runs.HEARTBEAT_LIMIT_S = 0.0\n"
    ended_well(start(server, bench, "run", before=silent))
    ended = comes_back(bench, frozen)
    assert ended.code == 3, ended.err
    assert "run scheduled, epoch 1: it was taken over, cancelled or closed" in ended.err
    assert "Traceback" not in ended.err
    assert bench.query("SELECT version, count(*), count(DISTINCT id) FROM clean GROUP BY ALL") == [(1, ROWS, ROWS)]
    bench.proven()


@pytest.mark.slow
@pytest.mark.fault(8)
def test_a_frozen_run_that_was_cancelled_commits_nothing_when_it_comes_back(server, bench, frozen):
    ended_well(server.cli("cancel", "pipeline.yaml", cwd=bench.folder))
    ended = comes_back(bench, frozen)
    assert ended.code == 3, ended.err
    assert bench.query("SELECT * FROM _raypipe.shards") == []
    bench.done()
    assert bench.query("SELECT count(*) FROM clean") == [(ROWS,)]


@pytest.mark.slow
@pytest.mark.fault(8)
def test_a_frozen_run_whose_work_another_did_finds_it_done_when_it_comes_back(server, bench, frozen):
    time.sleep(0.5)  # what it holds is free after its limit
    ended_well(start(server, bench, "run"))
    ended = comes_back(bench, frozen)
    assert ended.code == 0, ended.err
    outcomes = "SELECT count(*) FILTER (outcome = 'satisfied'), count(*) FILTER (outcome <> 'satisfied') FROM _raypipe.shards"
    assert bench.query(outcomes) == [(5, 5)]
    bench.proven()


# ---- a destination that others hold ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault(49)
def test_a_destination_that_another_program_holds_for_a_while_is_waited_for_by_a_run_that_has_begun(server, bench):
    version(bench, 1)
    bench.write("steps.py", WAITS)
    pipeline(bench, transform=[{"python": "steps:wait"}])
    process = start(server, bench, "run")
    wait_until((bench.folder / "working").exists)
    with duckdb.connect(str(bench.out)):
        (bench.folder / "seen").touch()
        time.sleep(2.5)  # longer than a run waits before it names the stranger
    ended = process.wait()
    assert ended.code == 0, ended.err
    assert f"is held by process {os.getpid()}" in ended.err
    bench.proven()
