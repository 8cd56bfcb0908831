"""FrameSpool: the transformed rows of a task, kept to be read again, in memory up to a limit and on disk beyond."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc

from raypipe.engine.batches import BATCH_ROWS
from raypipe.engine.implied_columns import Implied, implied
from raypipe.lazy_dataclass import dataclass

PART_ROWS = BATCH_ROWS  # what is too much for memory is read in frames like any other: half as large ones take a tenth longer
FILE_BYTES = 64 * 1024**2  # to make a file takes a millisecond; the disk gets a file back when the last of it was read


Wanted = Callable[[Sequence[str]], Collection[str]]
"""Says which of a frame's columns are read."""


def _all(columns: Sequence[str]) -> Collection[str]:
    return columns


@dataclass(frozen=True, slots=True)
class _Part:
    """A frame on disk: an Arrow stream that begins at an offset of a file, or a file that Polars wrote."""

    path: Path
    offset: int | None
    columns: Sequence[str]
    stored: Sequence[str]
    """The columns that are not implied."""
    implied: Implied

    def read(self, wanted: Wanted) -> pl.DataFrame:
        """Read these columns, in the order in which they stood."""
        chosen = frozenset(wanted(self.columns))
        names = [name for name in self.columns if name in chosen]
        stored = self._stored(self.implied.needed(names) or self.stored[:1])
        return stored if stored.columns == names else self.implied.restored(stored, names)

    def _stored(self, names: Collection[str]) -> pl.DataFrame:
        """Read by Arrow where it can: Polars' own reader takes four times as long for a frame."""
        places = [place for place, name in enumerate(self.stored) if name in names]
        if self.offset is None:
            return pl.read_ipc(self.path, columns=places)
        with pa.memory_map(str(self.path)) as file:
            file.seek(self.offset)
            frame = pl.from_arrow(pa.ipc.open_stream(file, options=pa.ipc.IpcReadOptions(included_fields=places)).read_all())
        assert isinstance(frame, pl.DataFrame)
        return frame


class FrameSpool:
    """Frames in the order in which they passed. One thread writes it, then it may be read as often as needed."""

    def __init__(self, folder: Path, limit_bytes: int, rows_expected: int = 0) -> None:
        self._parent = folder
        self._limit_bytes = limit_bytes
        self._rows_expected = rows_expected
        """With so many as take more than the limit none is held first, only to be written all the same."""
        self._held: list[pl.DataFrame] = []
        self._held_bytes = 0
        self._folder: Path | None = None
        self._parts: list[_Part] = []
        self._file: pa.NativeFile | None = None
        """What is being written; closed before anything is read."""
        self._files = 0

    def passing(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Hand frames on and keep each."""
        for frame in frames:
            self._add(frame)
            yield frame
        self._end_file()

    @property
    def in_memory(self) -> bool:
        """Whether nothing was written to disk."""
        return self._folder is None

    @property
    def is_empty(self) -> bool:
        """Whether no frame passed, not even one without rows."""
        return not self._held and not self._parts

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the frames in order."""
        return self.of(_all)

    def of(self, wanted: Wanted) -> Iterator[pl.DataFrame]:
        """Yield these columns of the frames, one at least, in the order in which they stand there."""
        for part in self._parts:
            yield part.read(wanted)
        for frame in self._held:
            yield _chosen(frame, wanted)

    def drained(self, wanted: Wanted = _all) -> Iterator[pl.DataFrame]:
        """Yield the frames, or these columns of them, in order for the last time: each is let go of before the next."""
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            yield part.read(wanted)
            if not self._parts or self._parts[-1].path is not part.path:
                part.path.unlink()  # once nothing of it is mapped: whoever lets go of the last holds the interpreter lock
        self._held.reverse()
        while self._held:
            yield _chosen(self._held.pop(), wanted)

    def close(self) -> None:
        """Let go of the rows and remove what was written."""
        self._held.clear()
        self._end_file()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty() and not self.is_empty:
            return  # the first one tells the columns
        self._held.append(frame)
        size_bytes = int(frame.estimated_size())
        self._held_bytes += size_bytes
        all_bytes = max(self._held_bytes, size_bytes * self._rows_expected // max(frame.height, 1))
        if all_bytes > self._limit_bytes or not self.in_memory:  # once some are on disk, none is worth its memory
            self._write()

    def _write(self) -> None:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="rows-", dir=self._parent))
        for frame in self._held:
            for part in frame.iter_slices(PART_ROWS) if len(frame) else [frame]:
                self._parts.append(self._written(part))
        self._held.clear()
        self._held_bytes = 0

    def _written(self, whole: pl.DataFrame) -> _Part:
        found = implied(whole)
        stored = [name for name in whole.columns if name not in found.constants and name not in found.instants]
        frame = whole if len(stored) == whole.width else whole[stored]
        try:
            table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        except pa.ArrowInvalid:  # Arrow has no integers of 128 bits
            self._end_file()
            part = _Part(self._next_path(), None, whole.columns, stored, found)
            frame.write_ipc(part.path)
            return part
        file, path = self._open_file()
        part = _Part(path, file.tell(), whole.columns, stored, found)
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        return part

    def _open_file(self) -> tuple[pa.NativeFile, Path]:
        """Return the file that is being written, or the next one where it is long enough, and its path."""
        if self._file is not None and self._file.tell() >= FILE_BYTES:
            self._end_file()
        path = self._next_path() if self._file is None else self._parts[-1].path
        self._file = self._file or pa.OSFile(str(path), "wb")
        return self._file, path

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next_path(self) -> Path:
        assert self._folder is not None
        self._files += 1
        return self._folder / f"{self._files:06d}.arrow"


def _chosen(frame: pl.DataFrame, wanted: Wanted) -> pl.DataFrame:
    names = frozenset(wanted(frame.columns))
    return frame if len(names) == frame.width else frame[[name for name in frame.columns if name in names]]
