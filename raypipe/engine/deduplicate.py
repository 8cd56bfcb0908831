"""Deduplicate: one row a key within each shard, exact, whatever the shard's size; over its memory share it spills."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path

import duckdb
import polars as pl

from raypipe.core.digest import quote
from raypipe.engine.batches import SHARD_INDEX, Batch
from raypipe.engine.column_names import require_columns
from raypipe.engine.quality import Books
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Deduplicate
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN, TIME_COLUMN

_SEQUENCE = "_sequence"  # place of a row in all that came in: what makes the order of survivors theirs
_TIES = (TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN, _SEQUENCE)
HELD_SHARE = 8  # of the task's memory: rows held before the step spills
LOST_BYTES = 16 * 1024**2  # for the places of the rows that go, while the others are handed on


@dataclass(frozen=True, slots=True)
class DeduplicateStep:
    """Keeps the newest row of each key: by `latest_by`, then event time, source and position; null keys are equal.

    Survivors stay in their order. All rows are seen before the first is handed on.
    """

    step: Deduplicate
    where: str = "transform"

    def stream(self, batches: Iterator[Batch], books: Books, *, memory_bytes: int, spill: Path) -> Iterator[Batch]:
        """Hand on the survivors, in memory when the rows fit in a share of it, else from disk."""
        held: list[pl.DataFrame] = []
        size_bytes = 0
        for batch in batches:
            require_columns(f"{self.where}.deduplicate", [*self.step.key, *self.step.latest_by], batch.frame.schema)
            held.append(batch.frame)
            size_bytes += int(batch.frame.estimated_size())
            if size_bytes > memory_bytes // HELD_SHARE:
                yield from self._spilled(held, batches, books, memory_bytes, spill)
                return
        if held:
            yield from self._in_memory(held, books)

    def _in_memory(self, held: list[pl.DataFrame], books: Books) -> Iterator[Batch]:
        """Hand on the survivors of rows that are all there, batch by batch; only what tells the newest is put together."""
        key = [SHARD_INDEX, *self.step.key]
        order = [*self.step.latest_by, *_TIES[:-1]]
        keys = pl.concat(frame.select(key) for frame in held)
        again = _repeated(keys, self.step.key)
        keep = None
        if again is not None and again.any():
            rows = pl.concat(frame.select(list(dict.fromkeys([*key, *order]))) for frame in held)
            repeated = rows.with_row_index(_SEQUENCE).filter(again)
            newest = repeated.sort([*order, _SEQUENCE], nulls_last=False, maintain_order=True)
            newest = newest.unique(key, keep="last", maintain_order=True)
            keep = (~again).scatter(newest[_SEQUENCE], True)
            books.tally.duplicate.update(books.tally.counts(repeated.filter(~keep.gather(repeated[_SEQUENCE]))))
        first = 0
        held.reverse()
        while held:  # each is let go of before the next is handed on
            frame = held.pop()
            first += frame.height
            yield Batch(frame if keep is None else frame.filter(keep[first - frame.height : first]))

    def _spilled(
        self, held: list[pl.DataFrame], rest: Iterator[Batch], books: Books, memory_bytes: int, spill: Path
    ) -> Iterator[Batch]:
        spill.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="deduplicate-", dir=spill))  # there may be several such steps
        rows = SpilledRows(self.step, folder, memory_bytes)
        try:
            for frame in held:
                rows.add(frame)
            held.clear()
            for batch in rest:
                rows.add(batch.frame)
            for survivors, lost in rows.survivors():
                books.tally.duplicate.update(books.tally.counts(lost))
                yield Batch(survivors)
        finally:
            rows.close()


def _repeated(keys: pl.DataFrame, key: Sequence[str]) -> pl.Series | None:
    """Tell of each row whether its shard may have another of its key; None where none has.

    One column whose values all differ settles it, and to count them costs a tenth of comparing whole keys. Numbers are
    sorted: that costs a third of hashing them.
    """
    if len(key) == 1 and keys[key[0]].dtype.is_integer():
        ordered = keys[key[0]].sort()
        again = ordered.filter(ordered.eq_missing(ordered.shift()))
        return None if again.is_empty() else keys[key[0]].is_in(again.unique().implode(), nulls_equal=True)
    if any(keys[name].n_unique() == keys.height for name in key):
        return None
    if len(key) == 1:
        return keys[key[0]].is_duplicated()
    return keys.select(pl.struct(pl.all()).is_duplicated()).to_series()


@dataclass(slots=True)
class SpilledRows:
    """Rows on disk as they came, and their keys in DuckDB, which finds the rows that are not the newest of theirs."""

    step: Deduplicate
    folder: Path
    memory_bytes: int
    _heights: list[int] = field(default_factory=list)
    _next: int = 0
    _keys: duckdb.DuckDBPyConnection | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Write the rows down, and note their keys and what orders them."""
        frame.write_ipc(self._path(len(self._heights)), compat_level=pl.CompatLevel.newest())
        numbered = frame.with_row_index(_SEQUENCE, offset=self._next)
        notes = numbered.select(
            pl.col(SHARD_INDEX).alias("shard"),
            *(pl.col(name).alias(f"key_{place}") for place, name in enumerate(self.step.key)),
            *(pl.col(name).alias(f"order_{place}") for place, name in enumerate(self._order)),
            pl.col(_SEQUENCE).cast(pl.Int64).alias("sequence"),
        ).to_arrow()
        keys = self._connection()
        keys.register("notes", notes)
        exists = self._heights != []
        keys.execute("INSERT INTO seen FROM notes" if exists else "CREATE TABLE seen AS FROM notes")
        keys.unregister("notes")
        self._heights.append(frame.height)
        self._next += frame.height

    @property
    def _order(self) -> Sequence[str]:
        return (*self.step.latest_by, TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN)

    def survivors(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield batch by batch, in the order that they came, the rows that stay and the rows that go."""
        keys = self._connection()
        partition = ", ".join(["shard", *(quote(f"key_{place}") for place in range(len(self.step.key)))])
        order = ", ".join(f"{quote(f'order_{place}')} DESC NULLS LAST" for place in range(len(self._order)))
        keys.execute(
            f"CREATE TABLE lost AS SELECT sequence FROM seen "
            f"QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY {order}, sequence DESC) > 1"
        )
        keys.execute("DROP TABLE seen")
        keys.execute(f"SET memory_limit = '{LOST_BYTES}B'")  # what is left is read in order
        first = 0
        for place, height in enumerate(self._heights):
            query = f"SELECT sequence FROM lost WHERE sequence >= {first} AND sequence < {first + height}"
            lost = [row[0] - first for row in keys.execute(query).fetchall()]
            frame = pl.read_ipc(self._path(place))
            keep = pl.repeat(True, height, dtype=pl.Boolean, eager=True)
            if lost:
                keep = keep.scatter(pl.Series(sorted(lost), dtype=pl.UInt32), False)
            self._path(place).unlink()
            yield frame.filter(keep), frame.filter(~keep)
            first += height

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._keys is None:
            self._keys = duckdb.connect(
                str(self.folder / "keys.duckdb"),
                config={
                    "memory_limit": f"{max(self.memory_bytes // HELD_SHARE, 64 * 1024**2)}B",
                    "threads": 1,
                    "temp_directory": str(self.folder / "keys.tmp"),
                },
            )
            self._keys.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        return self._keys

    def _path(self, place: int) -> Path:
        return self.folder / f"rows-{place:06d}.arrow"

    def close(self) -> None:
        """Close and remove what was written."""
        if self._keys is not None:
            self._keys.close()
        shutil.rmtree(self.folder, ignore_errors=True)
