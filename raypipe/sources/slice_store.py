"""SliceStore: the slices that this process holds in memory or has open on disk. It never travels to another process."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import OrderedDict
from pathlib import Path

from raypipe.core.shard import InputFile
from raypipe.sources.slices import RoutedFile, SliceKey, open_slices

SLICES_BYTES_MAX = 32 * 1024**3  # of all slices of one state folder; the oldest go first and are read from their file again
TRIM_BYTES = 1024**3  # written between two looks at all slices of a folder: with ten thousand files a look takes a while
OPEN_FILES_MAX = 16  # routed files on disk whose layout is kept between reads


class SliceStore:
    """The slices that this process holds in memory or has open on disk, within the byte budgets of those who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memory: dict[SliceKey, tuple[RoutedFile, int]] = {}
        self._open: OrderedDict[tuple[SliceKey, Path], RoutedFile] = OrderedDict()
        self._routing: dict[SliceKey, threading.Lock] = {}
        self._held_bytes = 0
        self._untrimmed_bytes = TRIM_BYTES

    def find(self, key: SliceKey, folder: Path) -> RoutedFile | None:
        """Return the slices from memory or disk, None when they are gone."""
        with self._lock:
            if key in self._memory:
                return self._memory[key][0]
            found = self._open.get((key, folder)) or open_slices(folder)
            if found is not None:
                self._open[key, folder] = found
                self._open.move_to_end((key, folder))
                while len(self._open) > OPEN_FILES_MAX:
                    self._open.popitem(last=False)
            return found

    def keep(self, key: SliceKey, slices: RoutedFile, size_bytes: int) -> None:
        """Hold slices in memory, in place of those of older versions of the file."""
        with self._lock:
            _, before_bytes = self._memory.get(key, (None, 0))
            self._memory[key] = (slices, size_bytes)
            self._held_bytes += size_bytes - before_bytes

    def drop_others(self, file: InputFile, cut: str) -> None:
        """Forget the slices of other versions of a file."""
        with self._lock:
            for key in [key for key in self._memory if key.uri == file.uri and key.cut == cut and key.version != file.version]:
                self._held_bytes -= self._memory.pop(key)[1]

    def held_bytes(self) -> int:
        """Return the size of all slices in memory."""
        with self._lock:
            return self._held_bytes

    def wrote(self, folder: Path, size_bytes: int) -> None:
        """Take note of slices written to disk, and remove the oldest from time to time while all are too many."""
        with self._lock:
            self._untrimmed_bytes += size_bytes
            if self._untrimmed_bytes < TRIM_BYTES:
                return
            self._untrimmed_bytes = 0
        _trim(folder)

    def routing(self, key: SliceKey) -> threading.Lock:
        """Return the lock under which a file is routed: threads that need the same file wait for the first."""
        with self._lock:
            return self._routing.setdefault(key, threading.Lock())


def _trim(newest: Path) -> None:
    """Remove the oldest slices while all are more than SLICES_BYTES_MAX or half of the free disk."""
    ages = []
    for folder in newest.parent.iterdir():
        with contextlib.suppress(OSError):
            ages.append((folder.stat().st_mtime_ns, folder, sum(file.stat().st_size for file in folder.iterdir())))
    size_bytes = sum(size for _, _, size in ages)
    bound = min(SLICES_BYTES_MAX, (size_bytes + shutil.disk_usage(newest.parent).free) // 2)
    for _, folder, size in sorted(ages):
        if size_bytes > bound and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)
            size_bytes -= size


STORE = SliceStore()
