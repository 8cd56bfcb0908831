"""OlderRows: which of many rows are not the newest of their key. Found by the keys alone, in memory, or by DuckDB on disk."""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import duckdb
import polars as pl

from raypipe.core.digest import quote
from raypipe.engine.batches import SHARD_INDEX, rows_where
from raypipe.engine.repeated_keys import Marks, RepeatedKeys, repeated_keys
from raypipe.pipeline import Deduplicate
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN, TIME_COLUMN

_SEQUENCE = "_sequence"  # place of a row in all that came in
_PLACE = (TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN)
ENGINE_BYTES_MIN = 64 * 1024**2  # with less, DuckDB has no room to sort
FOUND_BYTES = 16 * 1024**2  # for DuckDB, while what was found is read in order


class OlderRows(Protocol):
    """Sees frames of rows one after the other, then tells where in all of them the older ones stand."""

    @property
    def is_full(self) -> bool:
        """Whether what was seen takes more memory than it may."""
        ...

    def add(self, frame: pl.DataFrame) -> None:
        """See the next rows."""
        ...

    @property
    def looked_at(self) -> Sequence[str]:
        """The columns that `find` looks at again."""
        ...

    def find(self, frames: Iterable[pl.DataFrame]) -> bool:
        """Find them, given the same frames again; False where that takes more memory than there is."""
        ...

    def within(self, first: int, end: int) -> pl.Series:
        """Return the places of those from one row to before another, counted from the one, in order."""
        ...

    def close(self) -> None:
        """Let go of what was seen."""
        ...


class OlderRowsByKeys:
    """By keys in memory: only of rows whose key occurs again is it seen what orders them."""

    def __init__(self, step: Deduplicate, limit_bytes: int) -> None:
        self._key = [SHARD_INDEX, *step.key]
        self._compared = step.key if len(step.key) == 1 else self._key
        """One key that occurs twice is rare enough that its shard may be looked at later."""
        self._order = [*step.latest_by, *_PLACE]
        self._limit_bytes = limit_bytes
        self._keys: RepeatedKeys | None = None
        self._older = pl.Series(_SEQUENCE, [], dtype=pl.UInt32)

    @property
    def is_full(self) -> bool:
        """Whether the keys take more memory than they may, with what it takes to find those that occur again."""
        return self._keys is not None and self._keys.size_bytes * (1 + self._keys.finding_share) > self._limit_bytes

    @property
    def looked_at(self) -> Sequence[str]:
        """The columns that `find` looks at again: keys, and what orders their rows."""
        return list(dict.fromkeys([*self._key, *self._order]))

    def add(self, frame: pl.DataFrame) -> None:
        """See the next rows."""
        keys = frame[self._compared]
        self._keys = self._keys or repeated_keys(keys)
        self._keys.add(keys)

    def find(self, frames: Iterable[pl.DataFrame]) -> bool:
        """Find them, given the same frames again; False where that takes more memory than there is."""
        marks = self._keys and self._keys.found()
        if not marks:
            return True
        repeated: list[pl.DataFrame] = []
        size_bytes = 0
        for rows in self._repeated_rows(frames, marks):
            repeated.append(rows)
            size_bytes += int(rows.estimated_size())
            if size_bytes * 2 > self._limit_bytes:  # to order them takes as much again
                return False
        self._older = self._older_of(pl.concat(repeated))
        return True

    def _repeated_rows(self, frames: Iterable[pl.DataFrame], marks: Marks) -> Iterator[pl.DataFrame]:
        first, columns = 0, self.looked_at
        for frame in frames:
            rows = frame[columns].with_row_index(_SEQUENCE, offset=first)
            yield rows_where(rows, marks(frame, first))
            first += frame.height

    def _older_of(self, rows: pl.DataFrame) -> pl.Series:
        ordered = rows.lazy().sort([*self._order, _SEQUENCE], nulls_last=False, maintain_order=True)
        newest = ordered.unique(self._key, keep="last", maintain_order=True).select(_SEQUENCE)
        found = newest.collect(engine="in-memory")[_SEQUENCE]
        return rows[_SEQUENCE].filter(~rows[_SEQUENCE].is_in(found.implode()))

    def within(self, first: int, end: int) -> pl.Series:
        """Return the places of those from one row to before another, counted from the one, in order."""
        begin, stop = (bisect_left(self._older, one) for one in (first, end))
        return self._older[begin:stop] - first

    def close(self) -> None:
        """Let go of what was seen."""
        self._keys = None


class OlderRowsByDuckDB:
    """By keys, and what orders their rows, in DuckDB, which spills."""

    def __init__(self, step: Deduplicate, spill: Path, memory_bytes: int) -> None:
        spill.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="keys-", dir=spill))  # there may be several such steps
        self._step = step
        self._next = 0
        self._keys = duckdb.connect(
            str(self._folder / "keys.duckdb"),
            config={
                "memory_limit": f"{max(memory_bytes, ENGINE_BYTES_MIN)}B",
                "threads": 1,
                "temp_directory": str(self._folder / "keys.tmp"),
            },
        )
        self._keys.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")

    @property
    def is_full(self) -> bool:
        """No: it spills."""
        return False

    @property
    def looked_at(self) -> Sequence[str]:
        """Nothing: all that is needed of the rows was seen."""
        return ()

    @property
    def _order(self) -> Sequence[str]:
        return (*self._step.latest_by, *_PLACE)

    def add(self, frame: pl.DataFrame) -> None:
        """See the next rows."""
        notes = frame.with_row_index(_SEQUENCE, offset=self._next).select(
            pl.col(SHARD_INDEX).alias("shard"),
            *(pl.col(name).alias(f"key_{place}") for place, name in enumerate(self._step.key)),
            *(pl.col(name).alias(f"order_{place}") for place, name in enumerate(self._order)),
            pl.col(_SEQUENCE).cast(pl.Int64).alias("sequence"),
        )
        self._keys.register("notes", notes.to_arrow())
        self._keys.execute("INSERT INTO seen FROM notes" if self._next else "CREATE OR REPLACE TABLE seen AS FROM notes")
        self._keys.unregister("notes")
        self._next += frame.height

    def find(self, frames: Iterable[pl.DataFrame]) -> bool:
        """Find them by what was seen."""
        partition = ", ".join(["shard", *(quote(f"key_{place}") for place in range(len(self._step.key)))])
        order = ", ".join(f"{quote(f'order_{place}')} DESC NULLS LAST" for place in range(len(self._order)))
        self._keys.execute(
            f"CREATE TABLE older AS SELECT sequence FROM seen "
            f"QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY {order}, sequence DESC) > 1"
        )
        self._keys.execute("DROP TABLE seen")
        self._keys.execute(f"SET memory_limit = '{FOUND_BYTES}B'")
        return True

    def within(self, first: int, end: int) -> pl.Series:
        """Return the places of those from one row to before another, counted from the one, in order."""
        found = self._keys.execute(f"SELECT sequence FROM older WHERE sequence >= {first} AND sequence < {end}").fetchall()
        return pl.Series(sorted(row[0] - first for row in found), dtype=pl.UInt32)

    def close(self) -> None:
        """Close and remove what was written."""
        self._keys.close()
        shutil.rmtree(self._folder, ignore_errors=True)
