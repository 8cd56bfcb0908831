"""Package: the files that travel with a job: configuration, Python, reference files; and raypipe itself."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import raypipe
from raypipe.core.fingerprint import fingerprint
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass
from raypipe.observe.printable import size
from raypipe.pipeline import FilesSource, Lookup, Pipeline, PythonStep

PACKAGE_BYTES_MAX = 100 * 1024**2  # the head keeps packages in memory; larger reference files belong on shared storage
START_SCRIPT = "start.sh"
START = """\
# Runs raypipe with the interpreter of this node's Ray workers: the first `python` of the PATH may be another one.
python=python3
pid=$PPID
while [ "${pid:-1}" -gt 1 ]; do
  found=$(tr '\\0' '\\n' < "/proc/$pid/cmdline" | sed -n 's/^--python_worker_command=\\([^ ]*\\) .*/\\1/p')
  [ -n "$found" ] && python=$found && break
  pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done 2> /dev/null
exec "$python" -m raypipe "$@"
"""


@dataclass(frozen=True, slots=True)
class Package:
    """Files by the path that they have in the package, and where each stands here."""

    files: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """The fingerprint of names and contents."""
        return fingerprint({name: _sha256(path) for name, path in self.files.items()})

    def write(self, folder: Path) -> None:
        """Copy the files into a folder."""
        for name, path in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def pipeline_package(pipeline: Pipeline, target: str) -> Package:
    """Return what a pipeline needs on a machine that has nothing of it but its data.

    That is its configuration, every Python file of its folder where it has Python steps or is itself written in Python,
    and the reference files in its folder. What stands outside of the folder is expected at its place on every machine.
    Raises UsageError where that would be too large, or where paths of data would mean others there.
    """
    config = Path(target)
    written_in_python = not config.exists()
    root = Path.cwd() if written_in_python else pipeline.folder
    if written_in_python:
        _require_movable(pipeline, root, target)
    files = {} if written_in_python else {config.name: config}
    if written_in_python or any(isinstance(step, PythonStep) for step in pipeline.transform):
        files |= {path.relative_to(root).as_posix(): path for path in _python_files(root)}
    lookups = [Path(step.path) for step in pipeline.transform if isinstance(step, Lookup)]
    files |= {path.relative_to(root).as_posix(): path for path in lookups if path.is_relative_to(root)}
    _require_small(files, root)
    return Package(files)


def raypipe_package() -> Package:
    """Return raypipe itself, as it is installed here."""
    home = Path(raypipe.__file__).parent
    found = (path for path in sorted(home.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return Package({f"raypipe/{path.relative_to(home).as_posix()}": path for path in found})


def _python_files(root: Path) -> Iterator[Path]:
    """Yield the Python files below a folder, but not those of environments, caches and hidden folders."""
    for folder, below, names in os.walk(root):
        below[:] = sorted(one for one in below if not _is_aside(Path(folder, one)))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def _is_aside(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in ("__pycache__", "node_modules") or (folder / "pyvenv.cfg").exists()


def _require_movable(pipeline: Pipeline, root: Path, target: str) -> None:
    if not pipeline.folder.is_relative_to(root):
        raise UsageError(f"{target}: its module stands in {pipeline.folder}; call raypipe submit in that folder, or one above it")
    from raypipe.config.python_target import import_pipeline

    written = import_pipeline(target)
    sources = [stream.source for stream in written.streams]
    read = [path for one in sources for path in (one.paths if isinstance(one, FilesSource) else (one.path,))]
    for path in (*read, written.destination.path):
        if Path(path).is_absolute() and Path(path).is_relative_to(root):
            raise UsageError(
                f"{target}: the path {path} lies beside the code, of which the job gets a copy that is gone afterwards: write it "
                "relative to the module's folder (it then means the folder here), or move the data elsewhere"
            )


def _require_small(files: Mapping[str, Path], root: Path) -> None:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    if sum(sizes.values()) > PACKAGE_BYTES_MAX:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"what would travel from {root} is {size(sum(sizes.values()))}, the largest being {largest} ({size(sizes[largest])}); "
            f"expected at most {size(PACKAGE_BYTES_MAX)}: keep large reference files outside of the pipeline's folder, on storage "
            "that every machine reaches"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
