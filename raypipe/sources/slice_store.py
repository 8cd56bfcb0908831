"""SliceStore: the slices that this process holds in memory or has open on disk. It never travels to another process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from raypipe.core.shard import InputFile
from raypipe.sources.slices import RoutedFile, SliceKey, open_slices

OPEN_FILES_MAX = 16  # routed files on disk whose layout is kept between reads


class SliceStore:
    """The slices that this process holds in memory or has open on disk, within the byte budgets of those who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memory: dict[SliceKey, tuple[RoutedFile, int]] = {}
        self._open: OrderedDict[tuple[SliceKey, Path], RoutedFile] = OrderedDict()
        self._routing: dict[SliceKey, threading.Lock] = {}

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
            self._memory[key] = (slices, size_bytes)

    def drop_others(self, file: InputFile, cut: str) -> None:
        """Forget the slices of other versions of a file."""
        with self._lock:
            for key in [key for key in self._memory if key.uri == file.uri and key.cut == cut and key.version != file.version]:
                del self._memory[key]

    def held_bytes(self) -> int:
        """Return the size of all slices in memory."""
        with self._lock:
            return sum(size for _, size in self._memory.values())

    def routing(self, key: SliceKey) -> threading.Lock:
        """Return the lock under which a file is routed: threads that need the same file wait for the first."""
        with self._lock:
            return self._routing.setdefault(key, threading.Lock())


STORE = SliceStore()
