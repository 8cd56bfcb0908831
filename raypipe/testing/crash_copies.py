"""Crash copies: what a process leaves on disk if it dies at a point: its files as they stand there, and nothing of its memory.

No exception is raised, for those run `finally` blocks and roll transactions back, which a killed process does not.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path


class CrashCopies:
    """Watches a run (`failpoints.watching`) and copies a folder at every point, once for each state that it is in."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self._folder = folder
        self._copies = copies
        self._hits: dict[str, int] = {}
        self._by_state: dict[bytes, Path] = {}
        self.found: dict[str, Path] = {}
        """By point and hit (`commit.after_ledger@2`), in order, the copy of what stood there; copies may be shared."""
        copies.mkdir()

    def __call__(self, point: str) -> None:
        """Take note of a point."""
        self._hits[point] = self._hits.get(point, 0) + 1
        state = _state(self._folder)
        if state not in self._by_state:
            copy = self._copies / f"{len(self._by_state):04d}"
            shutil.copytree(self._folder, copy)
            self._by_state[state] = copy
        self.found[f"{point}@{self._hits[point]}"] = self._by_state[state]


def _state(folder: Path) -> bytes:
    """Return a hash of all files of a folder, with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        if file.is_file():
            digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.digest()
