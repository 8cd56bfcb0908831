"""The guardian: a process that keeps the Ray which several runs share, and ends it once none of them is left.

It is nobody's child, so that the run which started it may end first, and Ray's processes are its own, so that the kernel ends
them with it. Started by `shared_session`: FOLDER CORES MEMORY_BYTES.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from raypipe.errors import StopError
from raypipe.runtime.session_folder import SessionFolder
from raypipe.runtime.shared_session import ADDRESS, FAILED, OFFER, USERS

if TYPE_CHECKING:
    from raypipe.runtime.head import Head


class _HeadLost(BaseException):
    """A process of Ray without which nothing goes on has ended."""


def main() -> None:
    """Leave the process that started this one; when it returns, the folder is the guardian's."""
    path, cores, memory_bytes = sys.argv[2:]
    folder = SessionFolder(Path(path))
    child = os.fork()
    if child:
        folder.set_owner(child)
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Ray outlives the terminal of the run that started it; its processes inherit this
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        keep(folder, int(cores), int(memory_bytes))
    finally:
        folder.remove()


def keep(folder: SessionFolder, cores: int, memory_bytes: int) -> None:
    """Start a head, say where it is, wait until nobody uses it any more, and end it."""
    from raypipe.runtime import ray_settings  # imports Ray, which takes a while: the folder is the guardian's before
    from raypipe.runtime.head import Head

    ray_settings.Environment().set(ray_settings.of_local_cluster(folder.token_path))
    try:
        head = Head(folder, cores=cores, memory_bytes=memory_bytes)
    except StopError as error:
        folder.write(FAILED, str(error))
        _wait_for_the_last(folder)
        return
    try:
        folder.write(ADDRESS, head.address)
        _watch(head, folder)
    finally:
        for told in (OFFER, ADDRESS):  # nobody joins any more, and whoever is left learns that it is over
            (folder.path / told).unlink(missing_ok=True)
        head.stop()


def _watch(head: Head, folder: SessionFolder) -> None:
    """Wait for the last user. A head that is lost is of no use to those who are left: they are to learn of it at once."""

    def look(number: int, frame: FrameType | None) -> None:
        if head.is_lost():
            raise _HeadLost

    signal.signal(signal.SIGCHLD, look)
    try:
        look(signal.SIGCHLD, None)
        _wait_for_the_last(folder)
    except _HeadLost:
        pass
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _wait_for_the_last(folder: SessionFolder) -> None:
    """Wait until no run holds its lock, and hold it from now on: nobody joins what ends."""
    fcntl.flock(os.open(folder.path / USERS, os.O_RDWR | os.O_CLOEXEC), fcntl.LOCK_EX)
