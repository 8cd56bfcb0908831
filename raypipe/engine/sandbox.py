"""The sandbox: a DuckDB in memory where SQL of a pipeline can compute on its rows and reach nothing else."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY_BYTES_MIN = 64 * 1024**2  # below this DuckDB cannot even sort a batch
KEPT_BYTES_MAX = 128 * 1024**2  # what an idle one holds; what an aggregation needs beyond it is given back
KEPT_AFTER_S = 1.0
"""One lent for longer holds much, which the reading of the next shard can use; to open another then costs hundredths."""

_SETTINGS = """
    SET enable_progress_bar = false;                -- DuckDB draws one for slow statements in notebooks
    SET threads = 1;                                -- floating sums have the same bits in every run
    SET preserve_insertion_order = true;
    SET enable_caching_operators = false;
    SET TimeZone = 'UTC';
    SET python_enable_replacements = false;         -- no reading of Python variables by name
    SET python_scan_all_frames = false;
    SET autoinstall_known_extensions = false;
    SET autoload_known_extensions = false;
    SET allow_community_extensions = false;
    SET enable_external_access = false;             -- no files, no network, no other databases
    SET lock_configuration = true;                  -- and no way back
"""


class Sandboxes:
    """Lends sandboxes to threads: opening one costs 14 ms, so each is used again. Each has its own spill folder.

    DuckDB takes its blocks from memory that it keeps until it is closed: to ask the system for the same pages again in every
    shard took an aggregation a quarter of its time.
    """

    def __init__(self, memory_bytes: int, spill_folder: str | Path) -> None:
        self.memory_bytes = max(memory_bytes, MEMORY_BYTES_MIN)
        """Of each."""
        self._spill_folder = Path(spill_folder)
        self._lock = threading.Lock()
        self._idle: list[tuple[duckdb.DuckDBPyConnection, Path]] = []
        self._opened = 0

    def __reduce__(self) -> tuple[type[Sandboxes], tuple[int, Path]]:
        return (type(self), (self.memory_bytes, self._spill_folder))

    @contextmanager
    def borrow(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a sandbox; after an error it is thrown away, because something of the work may be left in it."""
        with self._lock:
            found = self._idle.pop() if self._idle else None
        connection, folder = found or self._open()
        until_s = time.monotonic() + KEPT_AFTER_S
        try:
            yield connection
        except BaseException:
            _throw_away(connection, folder)
            raise
        if time.monotonic() > until_s:
            _throw_away(connection, folder)
        else:
            with self._lock:
                self._idle.append((connection, folder))

    def make_ready(self, count: int) -> None:
        """Open sandboxes until there were so many, those included that others open meanwhile."""
        while self._opened < count:
            opened = self._open()
            with self._lock:
                self._idle.append(opened)

    def close(self) -> None:
        """Close all sandboxes that are not lent and remove their spill folders."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, folder in idle:
            _throw_away(connection, folder)

    def __del__(self) -> None:
        self.close()

    def _open(self) -> tuple[duckdb.DuckDBPyConnection, Path]:
        self._opened += 1
        self._spill_folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="duckdb-", dir=self._spill_folder))
        connection = duckdb.connect(":memory:", config={"threads": 1})
        connection.execute(f"SET temp_directory = '{str(folder).replace(chr(39), chr(39) * 2)}'")
        kept_bytes = min(self.memory_bytes, KEPT_BYTES_MAX)
        connection.execute(f"SET memory_limit = '{self.memory_bytes} bytes'; SET block_allocator_memory = '{kept_bytes} bytes'")
        connection.execute(_SETTINGS)
        return connection, folder


def _throw_away(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)


def reason(error: duckdb.Error) -> str:
    """Return DuckDB's own words on one line, without the picture of the statement."""
    lines = str(error).split("\n\nLINE ")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())
