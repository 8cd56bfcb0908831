"""The command line: parse, call `launch`, print. It owns no decision. Engines, rich and `launch` are imported when needed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

WORK_THREAD = "raypipe-task"  # raypipe.runtime.inline gives this name; importing it would cost every verb its time


def main() -> None:
    """Run the command line."""
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
    """End the process here if work that was given up goes on in a thread: inside an engine it cannot be stopped.

    Python would tear the interpreter down under it, which ends some engines with a crash and another exit code.
    """
    if not isinstance(ended, SystemExit) or not any(one.name == WORK_THREAD for one in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
