"""Stopping: signals become a flag that the run looks at; the second one is answered at once, the third by the system."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raypipe.ports import StopFlag

FIRST = "{name}: no new shards; what is finished is being committed (again: at once)"
SECOND = "{name} again: stopping at once; the next run resumes"


@contextlib.contextmanager
def signals_stop(stop: StopFlag) -> Iterator[None]:
    """Let SIGINT and SIGTERM set the flag while the block runs, and say what happens now."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        again = stop.signal is not None
        stop.signal = stop.signal or name
        stop.at_once = again
        say((SECOND if again else FIRST).format(name=name))
        if again:  # a third one is not ours to answer: Python or the system ends the process
            for one, handler in before.items():
                signal.signal(one, handler)

    before = {one: signal.signal(one, on_signal) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def say(text: str) -> None:
    """Write a line on standard error from a signal handler: no buffer, which the interrupted code may be writing to."""
    with contextlib.suppress(OSError):
        clear = "\r\x1b[2K" if os.isatty(2) else ""
        os.write(2, f"{clear}{text}\n".encode())
