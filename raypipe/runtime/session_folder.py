"""SessionFolder: where a local cluster keeps sockets, logs and its token; it knows the processes that belong to it."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass

PREFIX = "raypipe-ray-"
MARK = "RAYPIPE_RAY_SESSION"  # stands in the environment of every process of the cluster
FOLDER_LENGTH_MAX = 38  # a socket's path has 107 characters at most, and Ray appends up to 69
END_WAIT_S = 5.0  # an orderly end takes 1 to 2 s; what is there after this is killed


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """A folder of one local cluster, readable by its owner alone."""

    path: Path

    @property
    def token_path(self) -> Path:
        """The file that holds the token of the cluster."""
        return self.path / "token"

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of the cluster: those that carry its mark, and their children."""
        found: dict[int, psutil.Process] = {}
        for one in psutil.process_iter():
            if one.pid != os.getpid() and self._holds(one):
                found[one.pid] = one
                found.update((child.pid, child) for child in _children(one))
        return list(found.values())

    def _holds(self, process: psutil.Process) -> bool:
        """Tell whether a process is of this cluster. Ray's agents overwrite their environment: their logs tell."""
        try:
            if process.environ().get(MARK) == str(self.path):
                return True
            logs = process.open_files() if process.name().startswith("ray::") else []
        except (psutil.Error, OSError):
            return False  # gone, or another user's
        return any(Path(file.path).is_relative_to(self.path) for file in logs)

    def set_owner(self, pid: int) -> None:
        """Let a process own the folder: it is a leftover once that one has ended."""
        self.write("owner", f"{platform.node()} {pid} {psutil.Process(pid).create_time():.2f}")

    def owner_is_alive(self) -> bool:
        """Tell whether the process that owns the folder still runs."""
        try:
            host, pid, started = self.read("owner").split()
            if host != platform.node():
                return True  # a container that shares this folder; its processes cannot be seen from here
            owner = psutil.Process(int(pid))
            return f"{owner.create_time():.2f}" == started and owner.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return False

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder; whoever looks meanwhile sees a whole one or none."""
        (self.path / f"{name}.new").write_text(text)
        (self.path / f"{name}.new").rename(self.path / name)

    def read(self, name: str) -> str:
        """Return what a file of the folder says; nothing where it is not there (any more)."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return ""

    def remove(self, processes: Sequence[psutil.Process] = ()) -> None:
        """Wait for the given and all other processes of the cluster to end, kill those that do not, delete the folder."""
        _end([*processes, *self.processes()])
        shutil.rmtree(self.path, ignore_errors=True)


def new_session_folder() -> SessionFolder:
    """Make a folder with a fresh token. Raises ConfigurationError where no folder with a short enough path can be made."""
    folder = SessionFolder(Path(tempfile.mkdtemp(prefix=PREFIX, dir=session_root())))
    folder.set_owner(os.getpid())
    descriptor = os.open(folder.token_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return folder


def remove_leftovers() -> None:
    """Remove the folders and processes of this user's clusters whose owner was killed."""
    for left in own_session_folders():
        if not left.owner_is_alive():
            for process in left.processes():
                _kill(process)  # orphans: nobody is left to end them in order
            left.remove()


def own_session_folders() -> Iterator[SessionFolder]:
    """Yield the folders of this user's local clusters. What another user has put there is never looked into."""
    for path in sorted(session_root().glob(f"{PREFIX}*")):
        try:
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and (path / "owner").exists():
                yield SessionFolder(path)
        except OSError:
            continue  # another process removed it meanwhile


def session_root() -> Path:
    """Return the temporary folder, or `/tmp` where its path is too long for sockets."""
    for root in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  mkdtemp makes a private folder inside
        if len(str(root / PREFIX)) + 8 <= FOLDER_LENGTH_MAX and os.access(root, os.W_OK):
            return root
    raise ConfigurationError(
        f"TMPDIR: Ray's sockets need a writable folder with a path of at most {FOLDER_LENGTH_MAX - len(PREFIX) - 9} characters, "
        f"got {tempfile.gettempdir()}: set TMPDIR to a shorter one, or use --executor inline"
    )


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _end(processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=END_WAIT_S)
    for process in left:
        _kill(process)
    psutil.wait_procs(left, timeout=END_WAIT_S)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
