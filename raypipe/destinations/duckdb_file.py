"""The DuckDB file as a thing that many want: queue for it, open it, close it, and name who holds it.

DuckDB's lock keeps all other processes out while one writes, readers too. So nobody holds the file while computing:
raypipe's processes queue on a lock file beside it and hold the DuckDB file only while they have that lock. Whoever
still holds the DuckDB file then is no raypipe, and is named.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb

from raypipe.destinations.duckdb_engine import WRITER_THREADS, attached
from raypipe.destinations.holder import describe_process
from raypipe.errors import CommitUnknown, DestinationBusy, RetryableError, UsageError
from raypipe.ports import Clock

WRITER_WAIT_S = 60.0  # a raypipe holds the file for about a second; many may queue
READER_WAIT_S = 10.0  # a person waits for `status`
STRANGER_WAIT_S = 1.5  # another program is told of within 2 s
POLL_S = 0.01
MEMORY_BYTES_MIN = 64 * 1024**2  # a transaction keeps some of what it changed in memory whatever its limit

_HOLDER_PID = re.compile(r"\(PID (\d+)\)")
_in_this_process: dict[str, threading.Lock] = {}  # DuckDB lets one of a process's engines have a file


@contextlib.contextmanager
def writing(
    path: str, clock: Clock, *, memory_bytes: int | None = None, brief: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file alone, creating it where it is missing, and close it at the end. Raises DestinationBusy.

    `memory_bytes` bounds what the engine holds of the file and of its work; the rest is read again, or spilled beside the
    file. `brief`: for a few rows (see `attached`).
    """
    memory_bytes = None if memory_bytes is None else max(memory_bytes, MEMORY_BYTES_MIN)
    with (
        _queue(path, fcntl.LOCK_EX, WRITER_WAIT_S, clock),
        _opened(path, clock, read_only=False, memory_bytes=memory_bytes, brief=brief) as connection,
        _disk_errors_named(path),
    ):
        yield connection


@contextlib.contextmanager
def reading(path: str, clock: Clock, *, brief: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an existing file beside other readers, and close it at the end. Raises DestinationBusy."""
    with (
        _queue(path, fcntl.LOCK_SH, READER_WAIT_S, clock),
        _opened(path, clock, read_only=True, brief=brief) as connection,
        _disk_errors_named(path),
    ):
        yield connection


@contextlib.contextmanager
def _disk_errors_named(path: str) -> Iterator[None]:
    """Tell errors of the disk, outside of a transaction, from mistakes: they may pass."""
    try:
        yield
    except (duckdb.IOException, OSError) as error:
        raise RetryableError(f"{path} cannot be used: {error}") from error


def write_at_commit(connection: duckdb.DuckDBPyConnection) -> None:
    """Let COMMIT write what was inserted to its place in the file, and not to the log before.

    DuckDB does so by itself for 16 MB and more, but what lists hold does not count there: half a GB of them took 3 s more.
    """
    connection.execute("SET checkpoint_threshold = '1 byte'")


def use_threads(connection: duckdb.DuckDBPyConnection, threads: int) -> None:
    """Let a writer use so many threads from now on."""
    if connection.execute("SELECT current_setting('threads')").fetchall() != [(threads,)]:
        connection.execute(f"SET threads = {threads}")


@contextlib.contextmanager
def all_threads(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let a writer use all cores for a while: for what joins and groups much."""
    connection.execute("RESET threads")
    yield
    connection.execute(f"SET threads = {WRITER_THREADS}")  # after an error nothing more is done with it


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block does, all or nothing.

    An error of COMMIT itself raises CommitUnknown: it may have happened. Errors before it roll back; those of the
    engine or the disk that may pass come as RetryableError.
    """
    connection.begin()
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(duckdb.Error):
            connection.rollback()
        if isinstance(error, duckdb.Error | OSError):
            raise _as_ours(error) from error
        raise
    try:
        connection.commit()
    except Exception as error:
        raise CommitUnknown(f"COMMIT gave an error, so it may or may not have happened: {error}") from error


def _as_ours(error: Exception) -> Exception:
    if isinstance(error, duckdb.TransactionException):
        return DestinationBusy(f"another connection changed the same rows, nothing was committed: {error}")
    return RetryableError(f"the destination could not take the change, nothing was committed: {error}")


@contextlib.contextmanager
def _queue(path: str, kind: int, limit_s: float, clock: Clock) -> Iterator[None]:
    """Wait for the turn of this thread within the process, then of this process among all of raypipe."""
    real = os.path.realpath(path)
    mine = _in_this_process.setdefault(real, threading.Lock())
    if not mine.acquire(timeout=limit_s):
        raise DestinationBusy(f"{path}: another thread of this process held it for more than {limit_s:.0f} s")
    try:
        with _lock_file(real, kind) as descriptor:
            _acquire(path, descriptor, kind, limit_s, clock)
            yield
    finally:
        mine.release()


@contextlib.contextmanager
def _lock_file(real: str, kind: int) -> Iterator[int | None]:
    """Open the lock file; readers create nothing, and need no turn where no writer ever was."""
    folder = Path(real + ".raypipe")
    try:
        if kind == fcntl.LOCK_EX:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT if kind == fcntl.LOCK_EX else os.O_RDONLY, 0o644)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise RetryableError(f"{folder / 'lock'} cannot be opened: {error.strerror or error}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(path: str, descriptor: int | None, kind: int, limit_s: float, clock: Clock) -> None:
    if descriptor is None:
        return
    give_up_s = clock.monotonic_s() + limit_s
    for attempt in range(1_000_000):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic_s() > give_up_s:
                raise DestinationBusy(f"{path}: other raypipe processes held it for more than {limit_s:.0f} s; try again") from None
            clock.sleep_s(_jittered_s(attempt))
        else:
            return


def _jittered_s(attempt: int) -> float:
    """Return a wait that differs by process and attempt, so that those who wait do not march in step."""
    return POLL_S * (0.5 + (os.getpid() * 7919 + attempt * 104_729) % 1000 / 1000)


@contextlib.contextmanager
def _opened(
    path: str, clock: Clock, *, read_only: bool, brief: bool, memory_bytes: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    give_up_s = clock.monotonic_s() + STRANGER_WAIT_S
    real = os.path.realpath(path)
    with contextlib.ExitStack() as stack:
        attempt = 0
        while True:
            try:
                connection = stack.enter_context(attached(real, read_only=read_only, memory_bytes=memory_bytes, brief=brief))
                break
            except duckdb.Error as error:
                if not _is_held(error):
                    raise _cannot_open(path, error) from error
                if clock.monotonic_s() > give_up_s:
                    raise DestinationBusy(_held_text(path, str(error))) from error
            attempt += 1
            clock.sleep_s(_jittered_s(attempt))
        yield connection


def _is_held(error: duckdb.Error) -> bool:
    return "Could not set lock" in str(error) or "Unique file handle conflict" in str(error)


def _held_text(path: str, engine_text: str) -> str:
    match = _HOLDER_PID.search(engine_text)
    if match is None:
        return f"{path} is open in this process already (by a duckdb.connect of your own?): close that connection, then try again"
    return (
        f"{path} is held by {describe_process(int(match[1]))}, which is no raypipe: DuckDB lets one process in at a time. "
        f"Close it there, or stop that process, then try again"
    )


def _cannot_open(path: str, error: duckdb.Error) -> Exception:
    text = str(error)
    if isinstance(error, duckdb.IOException) and "not a valid DuckDB database file" in text:
        return UsageError(f"{path} is no DuckDB file: name another path under destination.path, or move that file away")
    if "newer version of DuckDB" in text or "storage version" in text.lower():
        return UsageError(f"{path} was written by another version of DuckDB: {text}")
    return RetryableError(f"{path} cannot be opened: {text}")
