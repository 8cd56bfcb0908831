"""Stage: contributions as files that outlive their process, complete when the manifest stands, checked before use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import pyarrow as pa

from raypipe import failpoints
from raypipe.core.checksums import find_damage
from raypipe.engine.manifest import staged_from_json, staged_to_json
from raypipe.engine.table_spool import parquet_writer
from raypipe.errors import RetryableError, StagedDamaged
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Staged

MANIFEST = "manifest.json"
HASH_BLOCK_BYTES = 1024 * 1024


class StagePolicy(Protocol):
    """Says whether work is worth files."""

    def wants_files(self, *, seconds: float, size_bytes: int) -> bool:
        """Tell whether contributions of this size that took this long are to be staged. Called once a task."""
        ...


@dataclass(frozen=True, slots=True)
class StageWhenDear:
    """Stages what took long to compute, or is too large to be kept in memory until its commit."""

    seconds: float = 2.0
    size_bytes: int = 64 * 1024 * 1024

    def wants_files(self, *, seconds: float, size_bytes: int) -> bool:
        """Tell whether either bound is passed."""
        return seconds > self.seconds or size_bytes > self.size_bytes


def wants_files(policy: Literal["always", "never"] | StagePolicy, *, seconds: float, size_bytes: int) -> bool:
    """Ask the policy."""
    if isinstance(policy, str):
        return policy == "always"
    return policy.wants_files(seconds=seconds, size_bytes=size_bytes)


def attempt_folder(stage_folder: str, run_id: str, attempt_id: str) -> Path:
    """Return where an attempt's files stand."""
    return Path(stage_folder) / run_id / attempt_id


def write_staged(staged: Staged, folder: Path, files: Mapping[str, Path] = MappingProxyType({})) -> Staged:
    """Write the tables of a Staged as files, the manifest last, all of it durable; return the Staged that stands there.

    Tables that are `files` already are moved there from the same disk.

    Raises RetryableError when the disk is full or fails; what was written is then without a manifest, that is garbage.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checksums = {}
        tables: dict[str, pa.Table | Path] = {**staged.tables, **files}
        for place, (table, rows) in enumerate(sorted(tables.items())):
            checksums[f"{table}.parquet"] = _write_table(rows, folder / f"{table}.parquet")
            if place == 0:
                failpoints.hit("task.mid_stage")
        failpoints.hit("task.after_data_before_manifest")
        written = replace(staged, tables={}, folder=str(folder), checksums=checksums)
        _write_durably(folder / MANIFEST, json.dumps(staged_to_json(written), sort_keys=True).encode())
        _sync_folder(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        free = shutil.disk_usage(_existing(folder)).free
        raise RetryableError(f"{folder} cannot be written: {error.strerror or error} ({free:,} bytes are free there)") from error
    failpoints.hit("task.after_manifest")
    return written


def _write_table(rows: pa.Table | Path, path: Path) -> str:
    with path.open("xb") if isinstance(rows, pa.Table) else rows.rename(path).open("rb") as file:
        if isinstance(rows, pa.Table):
            with parquet_writer(file, rows.schema) as parquet:
                parquet.write_table(rows)
            file.flush()
        os.fsync(file.fileno())
    return file_sha256(path)


def _write_durably(path: Path, content: bytes) -> None:
    """Write beside the name and rename: the name never stands for half of a manifest."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- reading it again -------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> Staged:
    """Return what the manifest of a folder says. Raises StagedDamaged when there is none that can be read."""
    try:
        return staged_from_json(json.loads((folder / MANIFEST).read_bytes()), str(folder))
    except (OSError, ValueError) as error:
        raise StagedDamaged(f"{folder}: the manifest cannot be read: {error}") from error


def load_staged(folder: str | Path) -> Staged:
    """Return the Staged of a folder after every file's sha256 was verified. Raises StagedDamaged."""
    staged = read_manifest(Path(folder))
    damage = find_damage(staged.checksums, lambda name: file_sha256(Path(folder) / name))
    if damage is not None:
        raise StagedDamaged(f"{folder}: {damage}")
    return staged


def find_staged(stage_folder: str | Path) -> Iterator[Staged]:
    """Yield what earlier attempts left complete, by their manifests alone (`load_staged` verifies); garbage is passed over."""
    for manifest in sorted(Path(stage_folder).glob(f"*/*/{MANIFEST}")):
        with contextlib.suppress(StagedDamaged):
            yield read_manifest(manifest.parent)


def adopt(staged_folder: str | Path, new_folder: str | Path) -> Staged:
    """Take staged work over: link (or copy) its files under another folder, the manifest last, and verify it there.

    The files of the old folder may be removed afterwards. Raises StagedDamaged when they already are.
    """
    source, target = Path(staged_folder), Path(new_folder)
    names = read_manifest(source).checksums
    target.mkdir(parents=True, exist_ok=True)
    try:
        for name in names:
            _link_or_copy(source / name, target / name)
        failpoints.hit("adopt.mid_link")
        _link_or_copy(source / MANIFEST, target / MANIFEST)
    except FileNotFoundError as error:
        raise StagedDamaged(f"{source}: files vanished while they were taken over: {error}") from error
    _sync_folder(target)
    failpoints.hit("adopt.after_link")
    return load_staged(target)


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
