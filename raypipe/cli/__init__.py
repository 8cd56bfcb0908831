"""The command line: parse, call `launch`, print. It owns no decision. Engines, rich and `launch` are imported when needed."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading

WORK_THREAD = "raypipe-task"  # raypipe.runtime.inline gives this name; importing it would cost every verb its time
_GC_OBJECTS = (400_000, 20, 20)  # what is imported lives to the end: to look through it at Python's pace is a tenth of a short run
_SWITCH_S = 0.001  # so long a thread that comes back from an engine waits for one that computes in Python; 5 ms are usual


def main() -> None:
    """Run the command line."""
    gc.set_threshold(*_GC_OBJECTS)
    sys.setswitchinterval(_SWITCH_S)
    from raypipe.core.room import engines_memory

    os.environ.update({**engines_memory(os.cpu_count() or 1), **os.environ})
    from raypipe.cli.group import cli

    # A name or value that the terminal's encoding lacks is shown escaped: it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        cli(prog_name="raypipe")
    finally:
        _end_at_once(sys.exc_info()[1])


def _end_at_once(ended: BaseException | None) -> None:
    """End the process here: all is committed, closed and said, and to tear the engines down takes a tenth of a second.

    Work that was given up may go on in a thread: inside an engine it cannot be stopped, and an engine that is torn down
    under it ends with a crash and another exit code. It hinders no end; another thread that holds the process does.
    """
    if not (isinstance(ended, SystemExit) and isinstance(ended.code, int | None)):
        return
    given_up = [one for one in threading.enumerate() if one.name == WORK_THREAD]
    if any(not one.daemon for one in threading.enumerate() if one not in (threading.main_thread(), *given_up)):
        return
    if not given_up:  # what was registered for the end runs as ever, but not while an engine still works
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(ended.code or 0)
