"""The DuckDB file among others who want it: queueing, strangers, readers, threads, and files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raypipe.core.state import Snapshot
from raypipe.destinations import duckdb_commit, duckdb_file
from raypipe.destinations.duckdb import DuckDBFile
from raypipe.destinations.holder import describe_process, is_dead, own_start_s
from raypipe.destinations.sql_statements import statements
from raypipe.errors import DestinationBusy, Fenced, RetryableError, StateFormat, UsageError

HOLDS = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"


@pytest.fixture
def stranger(path: Path, file: DuckDBFile, work: Any) -> Any:
    """Another program that holds the file open."""
    file.open_run(work.opening())
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate("")


def test_another_program_that_holds_the_file_is_named_with_the_remedy(
    file: DuckDBFile, stranger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert duckdb_file.STRANGER_WAIT_S < 2
    monkeypatch.setattr(duckdb_file, "STRANGER_WAIT_S", 0.2)
    for act in (lambda: file.heartbeat("run1", 1), file.snapshot):
        with pytest.raises(DestinationBusy, match=rf"held by process {stranger.pid} \(.*python.*no raypipe.*Close it there"):
            act()


@pytest.mark.parametrize("kind", [OSError, duckdb.IOException])
def test_a_disk_that_fails_outside_of_a_transaction_is_no_bug_and_may_pass(
    file: DuckDBFile, work: Any, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    opened = file.open_run(work.opening())
    asked = work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}})

    def fail(point: str) -> None:
        if point in ("plan.after_observe", "commit.before_begin"):
            raise kind("the disk did not answer")

    monkeypatch.setattr("raypipe.destinations.duckdb.hit", fail)
    for act in (file.snapshot, lambda: file.commit(*asked)):
        with pytest.raises(RetryableError, match=r"flights\.duckdb cannot be used: .*the disk did not answer"):
            act()


def test_a_short_hold_by_another_program_is_waited_for(file: DuckDBFile, stranger: Any) -> None:
    timer = threading.Timer(0.3, stranger.communicate, [""])
    timer.start()
    file.heartbeat("run1", 1)
    timer.join()


def test_a_connection_of_the_own_process_is_told_apart(
    file: DuckDBFile, path: Path, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_file, "STRANGER_WAIT_S", 0.2)
    file.open_run(work.opening())
    with duckdb.connect(str(path)), pytest.raises(DestinationBusy, match="open in this process already"):
        file.heartbeat("run1", 1)


def test_threads_of_one_process_take_turns(file: DuckDBFile, work: Any) -> None:
    opened = file.open_run(work.opening())
    groups = [work.group(opened, {work.hours(hour): {"hourly": [{"n": hour}]}}) for hour in range(6)]
    threads = [threading.Thread(target=file.commit, args=group) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = file.snapshot()
    assert (snapshot.commit_seq, snapshot.coverage["hourly"]) == (6, (work.hours(0, 6),))


def test_processes_queue_for_the_file_and_a_reader_never_sees_half_a_group(
    file: DuckDBFile, path: Path, work: Any, sql: Any
) -> None:
    opened = file.open_run(work.opening())
    committers = []
    for writer in range(2):
        groups = []
        for turn in range(4):
            hours = range(writer * 100 + turn * 10, writer * 100 + turn * 10 + 5)
            groups.append(
                work.group(opened, {work.hours(hour): {"hourly": [{"n": hour}], "clean": [{"n": hour}]} for hour in hours})
            )
        child = os.fork()
        if child == 0:
            try:
                for group in groups:
                    file.commit(*group)
            finally:
                os._exit(0)
        committers.append(child)
    seen = set()
    while committers:
        committers = [child for child in committers if os.waitpid(child, os.WNOHANG) == (0, 0)]
        snapshot = file.snapshot()
        counts = file.table_rows()
        assert snapshot.accounts.loaded % 5 == 0
        assert snapshot.commit_seq * 5 == snapshot.accounts.loaded
        assert counts.get("hourly") == counts.get("clean")
        assert counts.get("hourly", 0) % 5 == 0
        seen.add(snapshot.commit_seq)
        time.sleep(0.01)
    assert file.snapshot().commit_seq == 8
    assert sql("SELECT count(*), count(DISTINCT n) FROM hourly") == [(40, 40)]
    assert [check for check in file.verify() if not check.ok] == []


def test_a_file_that_is_no_duckdb_file_is_refused_by_name(file: DuckDBFile, path: Path, work: Any) -> None:
    path.write_text("a text that somebody put here\n" * 999)
    with pytest.raises(UsageError, match=r"flights\.duckdb is no DuckDB file"):
        file.open_run(work.opening())
    with pytest.raises(UsageError, match="is no DuckDB file"):
        file.snapshot()


def test_the_state_of_another_format_version_is_refused(file: DuckDBFile, work: Any, sql: Any) -> None:
    file.open_run(work.opening())
    sql("UPDATE _raypipe.format SET version = 99")
    for act in (file.snapshot, lambda: file.open_run(work.opening("run2")), file.verify, lambda: file.heartbeat("run1", 1)):
        with pytest.raises(StateFormat, match=r"version \[99\], this raypipe knows 3"):
            act()


def test_a_file_that_was_removed_under_a_run_fences_it(file: DuckDBFile, path: Path, work: Any) -> None:
    opened = file.open_run(work.opening())
    path.unlink()
    with pytest.raises(Fenced):
        file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}}))
    assert file.snapshot() == Snapshot()


def test_a_file_of_others_is_read_as_untouched_and_stays_so(file: DuckDBFile, path: Path, sql: Any) -> None:
    sql("CREATE TABLE mine AS SELECT 1 AS x")
    before = path.read_bytes()
    assert file.snapshot() == Snapshot()
    assert file.cancel(None) == ()
    assert not Path(f"{path}.raypipe").exists() or list(Path(f"{path}.raypipe").iterdir()) == [Path(f"{path}.raypipe/lock")]
    assert path.read_bytes() == before


def test_planning_loads_no_arrow(file: DuckDBFile, path: Path, work: Any) -> None:
    opened = file.open_run(work.opening())
    file.commit(*work.group(opened, {work.hours(0): {"hourly": [{"n": 1}]}}))
    code = (
        "import sys; from raypipe.destinations.duckdb import DuckDBFile; from raypipe.runtime.system_clock import SystemClock; "
        "print(DuckDBFile(sys.argv[1], 'flights', SystemClock()).snapshot().commit_seq, {'pyarrow', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "1 set()\n"


def test_a_holder_is_dead_only_where_this_host_knows_it() -> None:
    import socket

    import psutil

    here, me = socket.gethostname(), psutil.Process()
    assert not is_dead(f"{here}:{me.pid}:{me.create_time()}")
    assert is_dead(f"{here}:{me.pid}:{me.create_time() - 100}")
    assert is_dead(f"{here}:{2**22 + 5}:1.0")
    assert not is_dead(f"elsewhere:{2**22 + 5}:1.0")
    assert not is_dead("nonsense")
    assert not is_dead(f"{here}:{me.pid}:soon")
    assert describe_process(2**22 + 5) == f"process {2**22 + 5}"


@pytest.mark.parametrize("name", ["schema", "runs", "commit", "snapshot", "inspect"])
def test_every_statement_has_a_sentence_and_is_one_statement_or_documented(name: str) -> None:
    found = statements(name)
    assert found
    for statement, text in found.items():
        assert text.startswith("-- "), statement
        assert text.splitlines()[0].rstrip().endswith((".", "?")), statement


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, still_clock: Any, work: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryableError, match=r"file/flights\.duckdb\.raypipe/lock cannot be opened: Not a directory"):
        DuckDBFile(str(tmp_path / "file" / "flights.duckdb"), "flights", still_clock).open_run(work.opening())


def test_this_process_is_known_by_its_start_with_or_without_files_that_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    assert abs(own_start_s() - psutil.Process().create_time()) < 0.02
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    assert abs(own_start_s() - psutil.Process().create_time()) < 0.02


def test_a_commit_works_within_the_memory_that_it_is_given(file: DuckDBFile, work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def apply(connection: Any, *asked: Any, do: Any = duckdb_commit.apply) -> Any:
        seen.extend(found for (found,) in connection.execute("SELECT current_setting('memory_limit')").fetchall())
        return do(connection, *asked)

    monkeypatch.setattr(duckdb_commit, "apply", apply)
    opened = file.open_run(work.opening())
    for hour, memory_bytes in enumerate((96 * 1024**2, 1)):
        group = work.group(opened, {work.hours(hour): {"hourly": [{"n": hour}]}})
        replace(file, memory_bytes=memory_bytes).commit(*group)
    assert seen == ["96.0 MiB", "64.0 MiB"]
