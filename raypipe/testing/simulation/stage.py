"""The simulated stage: what attempts leave, in memory but with all that can happen to files. The rules are the engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from random import Random
from typing import Any

from raypipe.core.checksums import find_damage
from raypipe.core.shard import Shard, Task
from raypipe.engine.staged_work import adopt_work, collect_garbage
from raypipe.errors import RetryableError, StagedDamaged
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Staged

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass
class Folder:
    """One attempt's folder: its files, and the manifest, which comes last."""

    run_id: str
    files: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """By name, the sha256 that the bytes have now, and the rows."""
    manifest: Staged | None = None


@dataclass
class Disk:
    """All folders, shared by every process."""

    folders: dict[str, Folder] = field(default_factory=dict)
    collected: list[str] = field(default_factory=list)
    """Runs of which somebody else removed a folder, for the laws to look at."""

    def make(self, task: Task) -> str:
        """Make the folder of an attempt. Raises RetryableError where another execution of it already did."""
        name = f"{task.run_id}/{task.attempt_id}"
        if name in self.folders:
            raise RetryableError(f"{name} is there already")
        self.folders[name] = Folder(task.run_id)
        return name

    def write(self, folder: str, tables: Tables) -> None:
        """Write the files of an attempt, unless its folder is gone."""
        if folder in self.folders:
            for table, rows in tables.items():
                self.folders[folder].files[f"{table}.parquet"] = (f"sha256 of {folder}/{table}", rows)

    def finish(self, folder: str, staged: Staged) -> Staged:
        """Write the manifest. Raises RetryableError when the folder is gone."""
        if folder not in self.folders:
            raise RetryableError(f"{folder} is gone")
        checksums = {name: sha for name, (sha, _) in self.folders[folder].files.items()}
        written = replace(staged, tables={}, folder=folder, checksums=checksums)
        self.folders[folder].manifest = written
        return written

    def damage(self, folder: str, random: Random) -> None:
        """Change the bytes of a file behind everyone's back, and one of its rows with them."""
        files = self.folders[folder].files
        name = random.choice(sorted(files))
        rows = list(files[name][1])
        if rows:
            column = max(rows[0])  # any but the one that says the shard, which begins with an underscore
            rows[0] = {**rows[0], column: rows[0][column] + 1000}
        files[name] = ("sha256 of something else", rows)

    def load(self, staged: Staged) -> Staged:
        """Return staged work with its rows, as a destination reads them. Raises StagedDamaged."""
        if staged.folder is None:
            return staged
        files = self.folders[staged.folder].files if staged.folder in self.folders else {}
        wrong = find_damage(staged.checksums, lambda name: _sha256(files, name))
        if wrong is not None:
            raise StagedDamaged(f"{staged.folder}: {wrong}")
        return replace(staged, tables={name.removesuffix(".parquet"): rows for name, (_, rows) in files.items()})


@dataclass(frozen=True, slots=True)
class SimulatedStage:
    """Implements `ports.StageStore` and `staged_work.Shelf` for one process; `pause` gives way between any two steps."""

    disk: Disk
    pause: Callable[[], None]

    def adopt(
        self, shards: Sequence[Shard], fingerprints: Mapping[str, str], run_id: str, epoch: int
    ) -> tuple[Sequence[Staged], Sequence[Shard]]:
        """Take over what is still right (staged_work.adopt_work)."""
        return adopt_work(self, shards, fingerprints, run_id, epoch)

    def release(self, staged: Staged) -> None:
        """Remove the folder of an attempt whose shards are committed."""
        if staged.folder is not None:
            found = self.disk.folders.pop(staged.folder, None)
            if found is not None and found.run_id != staged.task.run_id:
                self.disk.collected.append(found.run_id)

    def collect(self, open_runs: Callable[[], frozenset[str]]) -> tuple[int, int]:
        """Remove what no open run needs (staged_work.collect_garbage)."""
        return collect_garbage(self, open_runs)

    # ---- the shelf -----------------------------------------------------------------------------------------

    def complete(self) -> Iterator[Staged]:
        """Yield what stands complete."""
        for name in sorted(self.disk.folders):
            folder = self.disk.folders.get(name)
            if folder is not None and folder.manifest is not None:
                yield folder.manifest

    def take_over(self, found: Staged, task: Task) -> Staged:
        """Link the files under another attempt, the manifest last, and verify them there."""
        self.pause()
        source = self.disk.folders.get(str(found.folder))
        if source is None:
            raise StagedDamaged(f"{found.folder} is gone")
        name = self.disk.make(task)
        self.disk.folders[name].files.update(source.files)
        self.pause()
        if name not in self.disk.folders:
            raise StagedDamaged(f"{name} is gone")
        copy = replace(found, folder=name)
        self.disk.folders[name].manifest = copy
        try:
            self.disk.load(copy)
        except StagedDamaged:
            del self.disk.folders[name]
            raise
        return copy

    def folders(self) -> Sequence[tuple[str | None, str]]:
        """Return every folder with the run that owns it."""
        self.pause()
        return [(folder.run_id, name) for name, folder in sorted(self.disk.folders.items())]

    def remove(self, folder: str) -> int:
        """Remove a folder."""
        self.pause()
        found = self.disk.folders.pop(folder, None)
        if found is not None:
            self.disk.collected.append(found.run_id)
        return 0


def _sha256(files: Mapping[str, tuple[str, Any]], name: str) -> str:
    if name not in files:
        raise FileNotFoundError(2, "No such file")
    return files[name][0]
