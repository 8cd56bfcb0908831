"""FrameSpool: the transformed rows of a task, kept to be read again, in memory up to a limit and on disk beyond."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc

FILE_ROWS = 32_768  # what is too much for memory is read in smaller frames: an aggregation holds much beside them


class FrameSpool:
    """Frames in the order in which they passed. One thread writes it, then it may be read as often as needed."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._parent = folder
        self._limit_bytes = limit_bytes
        self._held: list[pl.DataFrame] = []
        self._held_bytes = 0
        self._folder: Path | None = None
        self._files = 0
        self._by_polars: set[int] = set()

    def passing(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Hand frames on and keep each."""
        for frame in frames:
            self._add(frame)
            yield frame

    @property
    def in_memory(self) -> bool:
        """Whether nothing was written to disk."""
        return self._folder is None

    @property
    def is_empty(self) -> bool:
        """Whether no frame passed, not even one without rows."""
        return not self._held and self._files == 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the frames in order."""
        yield from map(self._read, range(self._files))
        yield from self._held

    def drained(self) -> Iterator[pl.DataFrame]:
        """Yield the frames in order for the last time: each is let go of before the next."""
        for place in range(self._files):
            frame = self._read(place)
            self._path(place).unlink()  # what is mapped stays readable
            yield frame
        self._files = 0
        self._held.reverse()
        while self._held:
            yield self._held.pop()

    def close(self) -> None:
        """Let go of the rows and remove what was written."""
        self._held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty() and not self.is_empty:
            return  # the first one tells the columns
        self._held.append(frame)
        self._held_bytes += int(frame.estimated_size())
        if self._held_bytes > self._limit_bytes or not self.in_memory:  # once some are on disk, none is worth its memory
            self._write()

    def _write(self) -> None:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="rows-", dir=self._parent))
        for frame in self._held:
            for part in frame.iter_slices(FILE_ROWS) if len(frame) else [frame]:
                self._write_one(part, self._files)
                self._files += 1
        self._held.clear()
        self._held_bytes = 0

    def _write_one(self, frame: pl.DataFrame, place: int) -> None:
        try:
            table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
        except pa.ArrowInvalid:  # Arrow has no integers of 128 bits
            self._by_polars.add(place)
            frame.write_ipc(self._path(place))
            return
        with pa.OSFile(str(self._path(place)), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)

    def _read(self, place: int) -> pl.DataFrame:
        """Read a frame, by Arrow where it can: Polars' own reader takes four times as long for a frame."""
        path = str(self._path(place))
        if place in self._by_polars:
            return pl.read_ipc(path)
        with pa.memory_map(path) as file:
            frame = pl.from_arrow(pa.ipc.open_stream(file).read_all())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _path(self, place: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{place:06d}.arrow"
