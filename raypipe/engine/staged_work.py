"""Staged work: what of it is still right is taken over, what no open run needs is removed. The rules, over any shelf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import Shard, Task
from raypipe.core.window import Window
from raypipe.errors import StagedDamaged
from raypipe.ports import Staged

ADOPTED_FROM = 900_000  # task numbers of adopted work: beyond those that a run gives to its own


class Shelf(Protocol):
    """Where attempts leave their work: one folder for each, under the run that owns it."""

    def complete(self) -> Iterable[Staged]:
        """Yield what attempts left complete, by their manifests alone."""
        ...

    def take_over(self, found: Staged, task: Task) -> Staged:
        """Put a copy under another attempt and verify it; afterwards the original may go.

        Raises StagedDamaged or OSError, and leaves nothing then.
        """
        ...

    def folders(self) -> Sequence[tuple[str | None, str]]:
        """Return all that is there, complete or not: the run that owns it (None: it names none) and the folder."""
        ...

    def remove(self, folder: str) -> int:
        """Remove a folder; return its bytes."""
        ...


def adopt_work(
    shelf: Shelf, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
) -> tuple[Sequence[Staged], Sequence[Shard]]:
    """Take over work whose definitions, current input and observed ranges match what is planned now; see StageStore.adopt.

    Work is taken whole: an attempt of which any shard is not wanted, or differs, is left where it is. That of an earlier
    epoch of the same run is taken like that of any other.
    """
    wanted = {shard.window: shard for shard in shards}
    adopted: list[Staged] = []
    for found in shelf.complete():
        if not is_still_right(found, wanted, fingerprints):
            continue
        planned = tuple(wanted[result.window] for result in found.results)
        task = Task(run_id, epoch, ADOPTED_FROM + len(adopted), 0, planned)
        try:
            copy = shelf.take_over(found, task)
        except (StagedDamaged, OSError):  # or it vanished meanwhile, or the disk is full: the work is done again
            continue
        adopted.append(replace(copy, task=task))
        for result in found.results:
            del wanted[result.window]
    return adopted, [shard for shard in shards if shard.window in wanted]


def is_still_right(found: Staged, wanted: Mapping[Window, Shard], fingerprints: Mapping[str, str]) -> bool:
    """Tell whether each shard of an attempt is planned now with the same definitions, input and observed ranges."""
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


def collect_garbage(shelf: Shelf, open_runs: Callable[[], frozenset[str]]) -> tuple[int, int]:
    """Remove what belongs to no open run; return the folders and the bytes removed.

    What is there is listed before it is asked which runs are open: a run opens before it leaves anything, so that nothing
    of a run that opens meanwhile is taken for garbage. A folder that names no run may belong to any open one.
    """
    there = shelf.folders()
    kept = open_runs()
    gone = [folder for run, folder in there if (run not in kept if run is not None else not kept)]
    return len(gone), sum(shelf.remove(folder) for folder in gone)
