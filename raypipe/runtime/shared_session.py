"""Shared sessions: runs of one person on one machine use one local Ray. The first starts it; each holds a lock while it uses it.

A process of its own keeps Ray, the guardian: it ends Ray once no lock is held, and the kernel frees a lock however its holder
ends. Nothing of Ray is imported here, so that Ray starts while the process that asked for it still imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from raypipe import __version__
from raypipe.errors import StopError
from raypipe.runtime.choice_lock import NotAlone, choosing
from raypipe.runtime.launched_from import given, read_at_start
from raypipe.runtime.session_folder import (
    MARK,
    SessionFolder,
    new_session_folder,
    own_session_folders,
    remove_leftovers,
    session_root,
)

USERS = "users"  # a file on which each run holds a shared lock, and the guardian an exclusive one once it ends the cluster
OFFER = "offer"  # the kind and the memory of a cluster that may be joined
ADDRESS = "address"  # of a head that is started
FAILED = "failed"  # why it could not be
OFFERED_MAX_S = 86_400.0  # Ray's logs grow with every run; a run that has joined may take longer
START_WAIT_S = 180.0  # some seconds at best; Ray itself gives up earlier
END_WAIT_S = 15.0  # an orderly end takes 1 to 2 s
POLL_S = 0.02
PACKAGE = Path(__file__).parents[2]
GUARDIAN = (
    "import sys; sys.argv[1] in sys.path or sys.path.insert(0, sys.argv[1]); from raypipe.runtime.guardian import main; main()"
)


class SharedSession:
    """A local cluster that this process uses beside others. The last one to leave the block waits until nothing is left of it."""

    def __init__(self, folder: SessionFolder, users: int) -> None:
        self.folder = folder
        self._users = users

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()

    def address(self) -> str:
        """Return the address of the head as soon as it is started. Raises StopError with Ray's reason when it cannot be."""
        give_up_s = time.monotonic() + START_WAIT_S
        while time.monotonic() < give_up_s:
            alive = self.folder.owner_is_alive()
            if found := self.folder.read(ADDRESS):
                return found
            if failed := self.folder.read(FAILED):
                raise StopError(failed)
            if not alive:
                raise StopError(f"the process that keeps the local Ray in {self.folder.path} was ended; use --executor inline")
            time.sleep(POLL_S)
        raise StopError(f"a local Ray did not start in {self.folder.path} within {START_WAIT_S:g} s; use --executor inline")

    def is_lost(self) -> bool:
        """Tell whether the cluster has ended under its users."""
        return not (self.folder.path / ADDRESS).exists() or not self.folder.owner_is_alive()

    def leave(self) -> None:
        """Give the cluster up; where nobody else uses it, wait until it has ended."""
        try:
            with choosing(self.folder.path.parent):
                last = self._take_back()
        except NotAlone:
            last = self._take_back()
        os.close(self._users)
        give_up_s = time.monotonic() + END_WAIT_S
        while last and self.folder.owner_is_alive() and time.monotonic() < give_up_s:
            time.sleep(POLL_S)
        if last and self.folder.path.exists():
            remove_leftovers()  # its guardian was killed: an orderly end leaves nothing

    def _take_back(self) -> bool:
        """Take the offer back where nobody else uses the cluster, for it ends now; tell whether it is so."""
        if _lock(self._users, fcntl.LOCK_EX):
            (self.folder.path / OFFER).unlink(missing_ok=True)
            return True
        return not _lock(self._users, fcntl.LOCK_SH)  # then the guardian was quicker


def take_session(memory_bytes: int) -> SharedSession:
    """Join the cluster that runs of this user share, where one of this kind offers as much memory; else start one.

    Where the choice cannot be made alone, the cluster is this process's own, and offered to nobody.
    """
    remove_leftovers()
    kind = _kind()
    try:
        with choosing(session_root()):
            for folder in own_session_folders():
                if (users := _joined(folder, kind, memory_bytes)) is not None:
                    return SharedSession(folder, users)
            offered_bytes = max(memory_bytes, psutil.virtual_memory().available)
            return _started(offered_bytes, json.dumps({"kind": kind, "memory_bytes": offered_bytes}))
    except NotAlone:
        return _started(memory_bytes)


def _kind() -> str:
    """Return a digest of what the runs of one cluster have in common: machine, versions, place of the code, settings, cores."""
    what = {
        "host": platform.node(),
        "versions": [platform.python_version(), __version__, metadata.version("ray")],
        "places": [sys.executable, str(PACKAGE)],
        "environment": read_at_start(),
        "cores": _cores(),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _joined(folder: SessionFolder, kind: str, memory_bytes: int) -> int | None:
    """Return the lock of a user of this cluster; None where it is of another kind, too small, too old, or ends."""
    offer = json.loads(folder.read(OFFER) or "{}")
    if offer.get("kind") != kind or offer["memory_bytes"] < memory_bytes or not folder.owner_is_alive():
        return None
    try:
        if time.time() - (folder.path / OFFER).stat().st_mtime > OFFERED_MAX_S:
            return None
        users = _user_of(folder)
    except FileNotFoundError:  # its guardian has lost Ray at this moment, and asks nobody
        return None
    if _lock(users, fcntl.LOCK_SH):
        return users
    os.close(users)
    return None


def _lock(users: int, kind: int) -> bool:
    try:
        fcntl.flock(users, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _user_of(folder: SessionFolder) -> int:
    return os.open(folder.path / USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _started(memory_bytes: int, offer: str | None = None) -> SharedSession:
    """Start a guardian, as its first user. Where an offer is given, others may join from now on."""
    folder = new_session_folder()
    users = _user_of(folder)
    fcntl.flock(users, fcntl.LOCK_SH)
    session = SharedSession(folder, users)
    command = [sys.executable, "-c", GUARDIAN, str(PACKAGE), str(folder.path), str(len(_cores())), str(memory_bytes)]
    with (folder.path / "guardian.log").open("w") as log:
        done = subprocess.run(  # noqa: S603  this interpreter, on our own module
            command, env={**given(), MARK: str(folder.path)}, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            process_group=0, check=False,  # what a terminal or a supervisor sends to the run is not for the others' Ray
        )  # fmt: skip
    if done.returncode:
        reason = folder.read("guardian.log").strip().rpartition("\n")[2]
        os.close(users)
        folder.remove()
        raise StopError(f"a local Ray could not be started in {folder.path}: {reason}; use --executor inline")
    if offer is not None:
        folder.write(OFFER, offer)
    return session
