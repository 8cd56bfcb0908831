"""StagedFiles: finding, taking over and removing what attempts left in the stage folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import Shard, Task
from raypipe.core.window import Window
from raypipe.errors import StagedDamaged
from raypipe.ports import Staged

ADOPTED_FROM = 900_000  # task numbers of adopted work: beyond those that a run gives to its own


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """Implements `ports.StageStore` over a local folder: `<stage folder>/<run>/<attempt>/`.

    Beside it, in `<stage folder>.spill/`, stands what tasks spill while they work: `<run>-<attempt>/`, and `duckdb-*/`
    of no run that could be told.
    """

    stage_folder: str

    def adopt(
        self, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
    ) -> tuple[Sequence[Staged], Sequence[Shard]]:
        """Take over staged work whose definitions, current input and observed ranges match what is planned now.

        Work is taken whole: an attempt of which any shard is not wanted, or differs, is left where it is. That of an
        earlier epoch of the same run is taken like that of any other.
        """
        if not shards or not Path(self.stage_folder).is_dir():
            return (), shards
        from raypipe.engine.stage import adopt, attempt_folder, find_staged  # pyarrow: a run with nothing to do needs none

        wanted = {shard.window: shard for shard in shards}
        adopted: list[Staged] = []
        for found in find_staged(self.stage_folder):
            if not _still_right(found, wanted, fingerprints):
                continue
            planned = tuple(wanted[result.window] for result in found.results)
            task = Task(run_id, epoch, ADOPTED_FROM + len(adopted), 0, planned)
            folder = attempt_folder(self.stage_folder, run_id, task.attempt_id)
            try:
                copy = adopt(str(found.folder), folder)
            except (StagedDamaged, OSError):  # or it vanished meanwhile, or the disk is full: the work is done again
                _remove(folder)
                continue
            adopted.append(replace(copy, task=task))
            for result in found.results:
                del wanted[result.window]
        return adopted, [shard for shard in shards if shard.window in wanted]

    def release(self, staged: Staged) -> None:
        """Remove the files of an attempt whose shards are committed, and the folder of its run with the last of them."""
        if staged.folder is not None:
            _remove(Path(staged.folder))

    def collect(self, open_runs: Callable[[], frozenset[str]]) -> tuple[int, int]:
        """Remove what runs other than the open ones left; return the folders and the bytes removed.

        What is staged is listed before it is asked which runs are open: a run opens before it stages anything, so that
        nothing of a run that opens meanwhile is taken for garbage.
        """
        runs = list(_folders(Path(self.stage_folder)))
        spilled = list(_folders(Path(f"{self.stage_folder}.spill")))
        kept = open_runs()
        gone = [attempt for run in runs if run.name not in kept for attempt in _folders(run)]
        gone += [folder for folder in spilled if _is_of_none(folder.name, kept)]
        size_bytes = sum(_size_bytes(folder) for folder in gone)
        for folder in gone:
            _remove(folder)
        for run in runs:
            _remove_if_empty(run)
        return len(gone), size_bytes


def _still_right(found: Staged, wanted: Mapping[Window, Shard], fingerprints: Mapping[str, str]) -> bool:
    if dict(found.fingerprints) != dict(fingerprints) or not found.results:
        return False
    for result in found.results:
        shard = wanted.get(result.window)
        if shard is None or shard.observed != result.observed:
            return False
        if result.outputs.keys() != set(shard.outputs or fingerprints):
            return False
        if input_fingerprint(shard.slices) != input_fingerprint(result.slices):
            return False
    return True


def _is_of_none(name: str, runs: frozenset[str]) -> bool:
    """Tell whether a spill folder belongs to none of the runs; one that names no run may belong to any."""
    return not runs if name.startswith("duckdb-") else not any(name.startswith(f"{run}-") for run in runs)


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
