"""Engines are kept, and what is kept can neither reach another file nor hold one that nobody works on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raypipe.destinations import duckdb_engine
from raypipe.destinations.duckdb_engine import attached, make_ready
from raypipe.destinations.duckdb_file import write_at_commit


def filled(path: Path, value: int) -> str:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE numbers AS SELECT {value} AS n")
    return os.path.realpath(path)


def numbers(real: str) -> list[int]:
    with attached(real, read_only=True) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM numbers").fetchall()]


def test_one_engine_serves_every_opening_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, started = filled(tmp_path / "a.duckdb", 1), []
    monkeypatch.setattr(duckdb_engine, "_started", lambda real, start=duckdb_engine._started: started.append(real) or start(real))
    for _ in range(3):
        with attached(real, read_only=False) as connection:
            connection.execute("UPDATE numbers SET n = n + 1")
        assert len(numbers(real)) == 1
    assert numbers(real) == [4]
    assert started == [real]


def test_one_that_was_made_ready_serves_the_first_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, started = os.path.realpath(tmp_path / "a.duckdb"), []
    monkeypatch.setattr(duckdb_engine, "_started", lambda real, start=duckdb_engine._started: started.append(real) or start(real))
    for _ in range(2):
        make_ready(real)
    assert not Path(real).exists()
    with attached(real, read_only=False) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 1 AS n")
    assert numbers(real) == [1]
    assert started == [real]


def test_a_commit_writes_what_it_inserts_once_where_it_shall(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    log = Path(f"{real}.wal")
    with attached(real, read_only=False) as connection:
        write_at_commit(connection)
        connection.begin()
        connection.execute("INSERT INTO numbers SELECT range FROM range(10)")
        connection.execute("UPDATE numbers SET n = n + 1 WHERE n < 3")
        connection.execute("DELETE FROM numbers WHERE n = 5")
        connection.commit()
        assert not log.exists() or log.stat().st_size == 0
    with attached(real, read_only=False) as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        assert log.stat().st_size > 0
    assert len(numbers(real)) == 11


def test_a_short_opening_keeps_the_memory_and_threads_of_the_one_before_and_no_other_does(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    asked = "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('checkpoint_threshold')"

    def settings(**how: Any) -> tuple[str, int, str]:
        with attached(real, read_only=False, **how) as connection:
            ((memory, threads, threshold),) = connection.execute(asked).fetchall()
            connection.execute("SET threads = 2; SET checkpoint_threshold = '1 byte'")
            return memory, threads, threshold

    usual = settings()
    assert settings(memory_bytes=100 * 1024**2) == ("100.0 MiB", 1, usual[2])
    assert settings(brief=True) == ("100.0 MiB", 2, usual[2])
    assert settings() == usual


def test_what_is_set_for_one_opening_does_not_outlive_it(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)

    def settings() -> list[tuple[str, int]]:
        with attached(real, read_only=False) as connection:
            found = connection.execute("SELECT current_setting('memory_limit'), current_setting('threads')").fetchall()
            connection.execute("SET memory_limit = '100MB'; SET threads = 2")
            return found

    assert settings() == settings()


def test_a_file_that_nobody_works_on_is_free_for_other_programs(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    numbers(real)
    with duckdb.connect(real) as same_process:
        same_process.execute("INSERT INTO numbers VALUES (2)")
    text = f"import duckdb; duckdb.connect({real!r}).execute('INSERT INTO numbers VALUES (3)')"
    subprocess.run([sys.executable, "-c", text], check=True)
    assert numbers(real) == [1, 2, 3]


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    real, other = filled(tmp_path / "a.duckdb", 1), filled(tmp_path / "b.duckdb", 2)
    assert numbers(real) == [1]
    shutil.move(other, real)
    assert numbers(real) == [2]


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '{other}' AS other",
        "SELECT * FROM read_text('{other}')",
        "COPY (SELECT 1) TO '{other}.csv'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{other}']",
    ],
)
def test_an_engine_reaches_its_own_file_alone(tmp_path: Path, statement: str) -> None:
    real, other = filled(tmp_path / "a.duckdb", 1), filled(tmp_path / "b.duckdb", 2)
    with attached(real, read_only=False) as connection, pytest.raises(duckdb.Error, match=r"disabled|Cannot"):
        connection.execute(statement.format(other=other))


def test_after_an_error_an_engine_is_not_used_again_and_the_file_is_free(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    with pytest.raises(duckdb.ConversionException), attached(real, read_only=False) as connection:
        connection.execute("BEGIN; DELETE FROM numbers; SELECT CAST('x' AS INTEGER)")
    assert (os.getpid(), real) not in duckdb_engine._kept
    with duckdb.connect(real) as beside:
        assert beside.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def test_a_child_that_was_forked_starts_an_engine_of_its_own(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    numbers(real)
    child = os.fork()
    if child == 0:
        os._exit(0 if numbers(real) == [1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("stem", ["memory", "system", "temp", "main", "Memory", 'wei"rd', "o'clock", "a b"])
def test_a_file_may_have_any_name(tmp_path: Path, stem: str) -> None:
    real = filled(tmp_path / f"{stem}.duckdb", 1)
    assert numbers(real) == [1]


def test_a_child_that_was_forked_waits_for_no_start_of_its_parent(tmp_path: Path) -> None:
    real = filled(tmp_path / "a.duckdb", 1)
    with duckdb_engine._starting, duckdb_engine._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if duckdb_engine._starting.acquire(timeout=0) and duckdb_engine._lock.acquire(timeout=0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(real) == [1]


def test_only_so_many_idle_engines_are_kept(tmp_path: Path) -> None:
    for place in range(duckdb_engine.KEPT_MAX + 2):
        numbers(filled(tmp_path / f"{place}.duckdb", place))
    assert sum(process == os.getpid() for process, _ in duckdb_engine._kept) == duckdb_engine.KEPT_MAX
