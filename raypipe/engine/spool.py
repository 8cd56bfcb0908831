"""FrameSpool: the transformed rows of a task, kept to be read again, in memory up to a limit and on disk beyond."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc

from raypipe.engine.batches import BATCH_ROWS
from raypipe.engine.frame_layout import Layout, Wanted, all_columns, layout_of
from raypipe.lazy_dataclass import dataclass

PART_ROWS = BATCH_ROWS  # what is too much for memory is read in frames like any other: half as large ones take a tenth longer
FILE_BYTES = 64 * 1024**2  # to make a file takes a millisecond; the disk gets a file back when the last of it was read


@dataclass(frozen=True, slots=True)
class _Part:
    """A frame on disk: an Arrow stream that begins at an offset of a file, or a file that Polars wrote."""

    path: Path
    offset: int | None
    layout: Layout

    def read(self, wanted: Wanted) -> pl.DataFrame:
        """Read these columns, in the order in which they stood."""
        return self.layout.of_reader(self._kept, wanted)

    def _kept(self, names: list[str]) -> pl.DataFrame:
        """Read by Arrow where it can: Polars' own reader takes four times as long for a frame."""
        places = [place for place, name in enumerate(self.layout.kept) if name in names]
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
        self._held: list[tuple[pl.DataFrame, Layout]] = []
        """What is kept of each frame."""
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
            del frame  # not held while the next is made
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
        return self.of(all_columns)

    def of(self, wanted: Wanted) -> Iterator[pl.DataFrame]:
        """Yield these columns of the frames, one at least, in the order in which they stand there."""
        for part in self._parts:
            yield part.read(wanted)
        for kept, layout in self._held:
            yield layout.of_frame(kept, wanted)

    def drained(self, wanted: Wanted = all_columns) -> Iterator[pl.DataFrame]:
        """Yield the frames, or these columns of them, in order for the last time: each is let go of before the next."""
        self._parts.reverse()
        while self._parts:
            part = self._parts.pop()
            yield part.read(wanted)
            if not self._parts or self._parts[-1].path is not part.path:
                part.path.unlink()  # once nothing of it is mapped: whoever lets go of the last holds the interpreter lock
        self._held.reverse()
        while self._held:
            yield self._next_held(wanted)

    def _next_held(self, wanted: Wanted) -> pl.DataFrame:
        kept, layout = self._held.pop()
        return layout.of_frame(kept, wanted)

    def close(self) -> None:
        """Let go of the rows and remove what was written."""
        self._held.clear()
        self._end_file()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty() and not self.is_empty:
            return  # the first one tells the columns
        layout = layout_of(frame)
        kept = frame if len(layout.kept) == frame.width else frame[layout.kept]
        self._held.append((kept, layout))
        size_bytes = int(kept.estimated_size())
        self._held_bytes += size_bytes
        all_bytes = max(self._held_bytes, size_bytes * self._rows_expected // max(frame.height, 1))
        if all_bytes > self._limit_bytes or not self.in_memory:  # once some are on disk, none is worth its memory
            self._write()

    def _write(self) -> None:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="rows-", dir=self._parent))
        for kept, layout in self._held:
            for part in kept.iter_slices(PART_ROWS) if len(kept) else [kept]:
                self._parts.append(self._written(part, layout))
        self._held.clear()
        self._held_bytes = 0

    def _written(self, kept: pl.DataFrame, layout: Layout) -> _Part:
        try:
            table = kept.to_arrow(compat_level=pl.CompatLevel.newest())
        except pa.ArrowInvalid:  # Arrow has no integers of 128 bits
            self._end_file()
            part = _Part(self._next_path(), None, layout)
            kept.write_ipc(part.path)
            return part
        file, path = self._open_file()
        part = _Part(path, file.tell(), layout)
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
