"""Deduplicate: one row a key within each shard, exact, whatever the shard's size; over its memory share it spills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from raypipe.engine.batches import ROW_COLUMN, Batch, rows_where
from raypipe.engine.column_names import require_columns
from raypipe.engine.liveness import LaterUse
from raypipe.engine.older_rows import OlderRows, OlderRowsByDuckDB, OlderRowsByKeys
from raypipe.engine.quality import Books
from raypipe.engine.spool import FrameSpool
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Deduplicate

HELD_SHARE = 16  # of the task's memory: rows held before they go to disk
KEYS_SHARE = 12  # of the task's memory: keys before DuckDB has them, with what it takes to find those that occur again


@dataclass(frozen=True, slots=True)
class DeduplicateStep:
    """Keeps the newest row of each key: by `latest_by`, then event time, source and position; null keys are equal.

    Survivors stay in their order. All rows are seen before the first is handed on.
    """

    step: Deduplicate
    where: str = "transform"
    later: LaterUse = LaterUse()
    """What of the survivors is handed on."""

    def stream(
        self, batches: Iterator[Batch], books: Books, *, memory_bytes: int, spill: Path, rows_expected: int = 0
    ) -> Iterator[Batch]:
        """Hand on the survivors; rows and keys that do not fit in their shares of the memory are on disk meanwhile."""
        rows = FrameSpool(spill, memory_bytes // HELD_SHARE, rows_expected)
        older: OlderRows | None = None
        try:
            older = self._seen(rows, map(self._frame, batches), memory_bytes, spill)
            older = self._found(older, rows, memory_bytes, spill)
            first = 0
            for frame in rows.drained(self.later.of):
                places = older.within(first, first + frame.height)
                first += frame.height
                survivors = _survivors(frame, places, books)
                del frame  # not held beside its survivors while others work on them
                yield Batch(survivors)
                del survivors
        finally:
            rows.close()
            if older is not None:
                older.close()

    def _frame(self, batch: Batch) -> pl.DataFrame:
        require_columns(f"{self.where}.deduplicate", [*self.step.key, *self.step.latest_by], batch.frame.schema)
        return batch.frame[[name for name in batch.frame.columns if name != ROW_COLUMN]]  # the batch as read is let go of

    def _seen(self, rows: FrameSpool, frames: Iterator[pl.DataFrame], memory_bytes: int, spill: Path) -> OlderRows:
        """Take all rows into the spool, and their keys into memory, as long as they fit."""
        older: OlderRows = OlderRowsByKeys(self.step, memory_bytes // KEYS_SHARE)
        for frame in rows.passing(frames):
            older.add(frame)
            if older.is_full:
                older = self._by_duckdb(rows, memory_bytes, spill)
            del frame
        return older

    def _found(self, older: OlderRows, rows: FrameSpool, memory_bytes: int, spill: Path) -> OlderRows:
        """Find the older rows; what many keys have too many of for memory is left to DuckDB."""
        looked_at = older.looked_at
        if not older.find(rows.of(lambda _: looked_at)):
            older = self._by_duckdb(rows, memory_bytes, spill)
            older.find(())
        return older

    def _by_duckdb(self, rows: FrameSpool, memory_bytes: int, spill: Path) -> OlderRows:
        older = OlderRowsByDuckDB(self.step, spill, memory_bytes // HELD_SHARE)
        for frame in rows:
            older.add(frame)
        return older


def _survivors(frame: pl.DataFrame, places: pl.Series, books: Books) -> pl.DataFrame:
    """Return a frame without the rows at some places, and account for these."""
    if places.is_empty():
        return frame
    keep = pl.Series([True]).new_from_index(0, frame.height).scatter(places, False)
    books.tally.duplicate.update(books.tally.counts_where(frame, ~keep))
    return rows_where(frame, keep)
