"""StagedFiles: the stage folder, where attempts leave files that outlive their process."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from raypipe.core.shard import Shard, Task
from raypipe.engine.staged_work import adopt_work, collect_garbage
from raypipe.errors import StagedDamaged
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Staged


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Implements `ports.StageStore` and `staged_work.Shelf` over a local folder: `<stage folder>/<run>/<attempt>/`.

    Beside it, in `<stage folder>.spill/`, stands what tasks spill while they work: `<run>-<attempt>/`, and `duckdb-*/`
    of no run that could be told.
    """

    stage_folder: str

    def adopt(
        self, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
    ) -> tuple[Sequence[Staged], Sequence[Shard]]:
        """Take over staged work that is still right; return it, and the shards that are left to do."""
        if not shards or not Path(self.stage_folder).is_dir():
            return (), shards
        return adopt_work(self, shards, fingerprints, run_id, epoch)

    def release(self, staged: Staged) -> None:
        """Remove the files of an attempt whose shards are committed, and the folder of its run with the last of them."""
        if staged.folder is not None:
            with contextlib.suppress(OSError):  # what stays is garbage, which `gc` finds
                hit("release.before_delete")
                _remove(Path(staged.folder))

    def collect(self, open_runs: Callable[[], frozenset[str]]) -> tuple[int, int]:
        """Remove what runs other than the open ones left; return the folders and the bytes removed."""
        runs = list(_folders(Path(self.stage_folder)))
        found = collect_garbage(self, open_runs)
        for run in runs:
            _remove_if_empty(run)
        return found

    # ---- the shelf -----------------------------------------------------------------------------------------

    def complete(self) -> Iterator[Staged]:
        """Yield what attempts left complete, by their manifests alone."""
        from raypipe.engine.stage import find_staged  # pyarrow: a run with nothing to do needs none

        return find_staged(self.stage_folder)

    def take_over(self, found: Staged, task: Task) -> Staged:
        """Link or copy the files of an attempt under another one and verify them there."""
        from raypipe.engine.stage import adopt, attempt_folder

        folder = attempt_folder(self.stage_folder, task.run_id, task.attempt_id)
        try:
            return adopt(str(found.folder), folder)
        except (StagedDamaged, OSError):
            _remove(folder)
            raise

    def folders(self) -> Sequence[tuple[str | None, str]]:
        """Return the folders of attempts and of what was spilled."""
        runs = list(_folders(Path(self.stage_folder)))
        staged = [(run.name, str(attempt)) for run in runs for attempt in _folders(run)]
        spilled = [(_run_of(one.name), str(one)) for one in _folders(Path(f"{self.stage_folder}.spill"))]
        hit("gc.after_list")
        return [*staged, *spilled]

    def remove(self, folder: str) -> int:
        """Remove a folder; return its bytes."""
        size_bytes = _size_bytes(Path(folder))
        with contextlib.suppress(OSError):  # the next collection finds what stays
            _remove(Path(folder))
            hit("gc.mid_delete")
        return size_bytes


def _run_of(spilled: str) -> str | None:
    """Return the run of a spill folder `<run>-<attempt>`, where an attempt's name has three parts; None where it names none."""
    return None if spilled.startswith("duckdb-") else spilled.rsplit("-", 3)[0]


def _folders(parent: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(one for one in parent.iterdir() if one.is_dir())


def _size_bytes(folder: Path) -> int:
    size_bytes = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size_bytes += file.lstat().st_size if file.is_file() else 0
    return size_bytes


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _remove_if_empty(folder.parent)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or gone
        folder.rmdir()
