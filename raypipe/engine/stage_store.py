"""StagedFiles: finding, taking over and removing what attempts left in the stage folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
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
    """Implements `ports.StageStore` over a local folder: `<stage folder>/<run>/<attempt>/`."""

    stage_folder: str

    def adopt(
        self, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
    ) -> tuple[Sequence[Staged], Sequence[Shard]]:
        """Take over staged work whose definitions, current input and observed ranges match what is planned now.

        Work is taken whole: an attempt of which any shard is not wanted, or differs, is left where it is.
        """
        from raypipe.engine.stage import adopt, attempt_folder, find_staged  # pyarrow: a run with nothing to do needs none

        wanted = {shard.window: shard for shard in shards}
        adopted: list[Staged] = []
        for found in find_staged(self.stage_folder):
            if found.task.run_id == run_id or not _still_right(found, wanted, fingerprints):
                continue
            planned = tuple(wanted[result.window] for result in found.results)
            task = Task(run_id, epoch, ADOPTED_FROM + len(adopted), 0, planned)
            with contextlib.suppress(StagedDamaged):  # damaged or vanished meanwhile: it is read again
                copy = adopt(str(found.folder), attempt_folder(self.stage_folder, run_id, task.attempt_id))
                adopted.append(replace(copy, task=task))
                for result in found.results:
                    del wanted[result.window]
        return adopted, [shard for shard in shards if shard.window in wanted]

    def release(self, staged: Staged) -> None:
        """Remove the files of an attempt whose shards are committed."""
        if staged.folder is not None:
            shutil.rmtree(staged.folder, ignore_errors=True)

    def collect(self, open_runs: frozenset[str]) -> tuple[int, int]:
        """Remove what runs other than these staged; return folders and bytes removed."""
        folders = size_bytes = 0
        root = Path(self.stage_folder)
        for run in sorted(root.iterdir()) if root.is_dir() else ():
            if run.name in open_runs:
                continue
            size_bytes += sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
            folders += sum(1 for attempt in run.iterdir() if attempt.is_dir())
            shutil.rmtree(run, ignore_errors=True)
        return folders, size_bytes


def _still_right(found: Staged, wanted: Mapping[Window, Shard], fingerprints: Mapping[str, str]) -> bool:
    if dict(found.fingerprints) != dict(fingerprints) or not found.results:
        return False
    for result in found.results:
        shard = wanted.get(result.window)
        if shard is None or shard.observed != result.observed:
            return False
        if input_fingerprint(shard.slices) != input_fingerprint(result.slices):
            return False
    return True
