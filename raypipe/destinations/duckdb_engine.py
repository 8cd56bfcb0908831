"""DuckDB engines that outlive the opening of a file: to start one takes 30 ms, to attach a file to one that runs takes 2 ms.

An engine is kept for one file, the only one that it can reach, and holds it only while it is attached. Threads and
processes of raypipe take turns before they come here (`duckdb_file`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb

from raypipe.core.digest import quote

WRITER_THREADS = 1  # rows kept in order are inserted faster so, and tasks keep their cores
KEPT_MAX = 4  # a process mostly works on one file, or a few; an idle engine holds some MB

# TimeZone is not set: that loads ICU, 20 ms, and all times here are naive UTC. Who casts TIMESTAMPTZ to text sets it.
_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "threads": WRITER_THREADS,
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "catalog_error_max_schemas": 0,  # to look for similar names takes 5 ms, and who asks here knows what to do without
}
_BESIDE = ("", ".wal", ".wal.checkpoint", ".wal.recovery")  # the files that DuckDB makes of one
_TAKEN_NAMES = {"memory", "system", "temp", "main", "pg_catalog", "information_schema"}

_lock = threading.Lock()
_starting = threading.Lock()
_kept: dict[tuple[int, str], duckdb.DuckDBPyConnection] = {}
"""Idle engines, the one used last at the end; by process too, since a fork leaves none of an engine's threads."""


def _renew_locks() -> None:
    """A child gets the locks as they were at the fork, and nobody who would release them."""
    global _lock, _starting
    _lock, _starting = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_renew_locks)


@contextlib.contextmanager
def attached(
    real: str, *, read_only: bool, memory_bytes: int | None = None, brief: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a file (its real path) to its engine for the block; lend a connection of its own that sees nothing else.

    `memory_bytes` bounds what the engine holds, without it DuckDB's own limit does. What is `brief` touches a few rows, with
    the memory and threads of the opening before: to change them makes the engine give memory back, 5 ms after a large commit.
    Raises duckdb.Error where the file cannot be attached. After an error in the block the engine is not used again.
    """
    with _starting:  # it may be on its way
        engine = _taken(real) or _started(real)
    try:
        engine.execute(f"ATTACH {_text(real)} AS {_name(real)}{' (READ_ONLY)' if read_only else ''}")
    except duckdb.Error:  # another process has it: this is asked again and again
        _keep(engine, real)
        raise
    try:
        # Settings are the engine's, and would outlive the opening that they were made for.
        engine.execute("RESET checkpoint_threshold")
        if not brief:
            memory = "RESET memory_limit" if memory_bytes is None else f"SET memory_limit = '{memory_bytes} bytes'"
            engine.execute(f"{memory}; {'RESET threads' if read_only else f'SET threads = {WRITER_THREADS}'}")
        with contextlib.closing(engine.cursor()) as connection:
            connection.execute(f"SET enable_progress_bar = false; USE {_name(real)}")  # notebooks show it for slow statements
            yield connection
    except BaseException:
        engine.close()
        raise
    _detach(engine, real)


def make_ready(real: str) -> None:
    """Start an engine for a file, which is not touched, unless one is kept: the next to attach the file does not wait for it."""
    with _starting:
        _keep(_taken(real) or _started(real), real)


@contextlib.contextmanager
def beside(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend another connection to the file that a connection has attached."""
    (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
    with contextlib.closing(connection.cursor()) as another:
        another.execute(f"USE {quote(name)}")
        yield another


def _detach(engine: duckdb.DuckDBPyConnection, real: str) -> None:
    try:
        engine.execute(f"DETACH {_name(real)}")
    except duckdb.Error:  # it could not checkpoint: what was committed stands in the log beside the file
        engine.close()
    else:
        _keep(engine, real)


def _taken(real: str) -> duckdb.DuckDBPyConnection | None:
    with _lock:
        return _kept.pop((os.getpid(), real), None)


def _keep(engine: duckdb.DuckDBPyConnection, real: str) -> None:
    with _lock:
        _kept[os.getpid(), real] = engine
        own = [key for key in _kept if key[0] == os.getpid()]
        surplus = [_kept.pop(key) for key in own[:-KEPT_MAX]]
    for one in surplus:
        one.close()


def _started(real: str) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(":memory:", config=_OPTIONS)
    engine.execute(f"SET temp_directory = {_text(real + '.tmp')}")
    engine.execute(f"SET allowed_paths = [{', '.join(_text(real + ending) for ending in _BESIDE)}]")
    engine.execute("SET enable_external_access = false")
    return engine


def _name(real: str) -> str:
    """Return the name of the file's catalogue: the one that it has where DuckDB opens it by itself, if it is free."""
    stem = Path(real).stem
    return quote(f"{stem}_db" if stem.lower() in _TAKEN_NAMES else stem)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
