"""The lock on the choice of a local cluster: one process of a person at a time chooses one, or takes one back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from raypipe.runtime.session_folder import PREFIX

LOCK_WAIT_S = 10.0  # it is held for a tenth of a second, by a frozen process for ever
POLL_S = 0.01


class NotAlone(Exception):
    """The lock cannot be had: its file is another user's, or somebody holds it too long."""


@contextlib.contextmanager
def choosing(root: Path) -> Iterator[None]:
    """Be the only process of this user that chooses a cluster in this folder. Leaves no file. Raises NotAlone."""
    path = root / f"{PREFIX}{os.getuid()}.lock"
    descriptor = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int:
    give_up_s = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < give_up_s:
        descriptor = _opened(path)
        if _is_held(descriptor, path):
            return descriptor
        os.close(descriptor)
        time.sleep(POLL_S)
    raise NotAlone(f"{path} is held by another process")


def _opened(path: Path) -> int:
    """Open the file; what another user may read or write, or has put there, is no lock of this user."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotAlone(f"{path} cannot be opened: {error.strerror}") from error
    found = os.fstat(descriptor)
    if found.st_uid != os.getuid() or not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
        os.close(descriptor)
        raise NotAlone(f"{path} is no private file of this user")
    return descriptor


def _is_held(descriptor: int, path: Path) -> bool:
    """Lock it; false where another holds it, or where its last holder has removed it from the path."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False
