"""Batches: rows of a task on their way, with where each came from and which shard it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, repeat
from typing import Any, cast

import polars as pl
import pyarrow as pa

from raypipe.core.window import Window, iso
from raypipe.engine.arrow_types import is_text
from raypipe.errors import AccountsDontBalance, ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import (
    IN_SHARD_COLUMN,
    POSITION_COLUMN,
    RESERVED_COLUMNS,
    SHARD_COLUMN,
    SOURCE_COLUMN,
    TIME_COLUMN,
    Reject,
    SourceBatch,
)

SHARD_INDEX = "_raypipe_shard"  # uint32, place of the row's shard in the task
ROW_COLUMN = "_raypipe_row"  # uint32, place of the row in its batch as read
RAW_COLUMN = "_raypipe_raw"  # the source row as JSON text, only where the batch as read does not outlive a step
PLACEMENT = (SHARD_INDEX, TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN, ROW_COLUMN)
HIDDEN = frozenset((*PLACEMENT, RAW_COLUMN))
RESERVED_NAMES = frozenset((*HIDDEN, SHARD_COLUMN, IN_SHARD_COLUMN))
"""Names that no column of the user's may have."""

BATCH_ROWS = 131_072  # half as many cost an eighth more time: engines wake their threads for each; larger ones cost memory
BATCH_SHARE = 16  # a batch takes at most this part of the task's memory: several stages hold one at a time


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows: the user's columns beside PLACEMENT. `source` holds the columns as read, in the order of ROW_COLUMN.

    `origin` tells which of the pipeline's sources they are of, as long as they are as read.
    """

    frame: pl.DataFrame
    source: pa.Table | None = None
    origin: int = 0

    def with_frame(self, frame: pl.DataFrame) -> Batch:
        """Return the batch with other rows made from these."""
        return Batch(frame, self.source, self.origin)


def user_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a frame that are the user's."""
    return [name for name in frame.columns if name not in HIDDEN]


def shard_starts(windows: Sequence[Window]) -> pl.Series:
    """Return the starts of shards, where SHARD_INDEX finds them."""
    return pl.Series([one.start_us for one in windows], dtype=pl.Int64).cast(pl.Datetime("us"))


def rows_where(frame: pl.DataFrame, told: pl.Series) -> pl.DataFrame:
    """Return the rows that booleans tell, as `filter` does, but by this thread alone.

    Polars' own threads, which tasks share, come late where another task keeps the core: milliseconds for tenths of work.
    """
    return pl.DataFrame([one.filter(told) for one in frame.get_columns()])


def shard_column(starts: pl.Series, places: pl.Series) -> pl.Series:
    """Return `_shard` of rows whose shards stand at these places."""
    shards = starts.new_from_index(0, len(places)) if len(starts) == 1 else starts[places]
    return shards.alias(SHARD_COLUMN)


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Rows as they came from the source, placed, and what could not be read beside them."""

    batch: Batch
    rejects: tuple[Reject, ...]


def placed_batches(
    batches: Iterable[SourceBatch], windows: Sequence[Window], memory_bytes: int, only_for_text: Collection[str] = ()
) -> Iterator[ReadBatch]:
    """Turn source batches into larger ones in Polars, each row with the place of its shard in `windows`.

    Columns that are `only_for_text` of rows that are set aside stay as read.
    """

    def read(gathered: tuple[Sequence[pa.RecordBatch], tuple[Reject, ...]], origin: int) -> ReadBatch:
        tables, rejects = gathered
        return ReadBatch(replace(_placed(pa.Table.from_batches(tables), windows, only_for_text), origin=origin), rejects)

    for origin, of_source in groupby(batches, key=lambda one: one.origin):
        yield from map(read, _gathered(of_source, memory_bytes), repeat(origin))  # a loop would hold each until the next is there


def _gathered(batches: Iterable[SourceBatch], memory_bytes: int) -> Iterator[tuple[list[pa.RecordBatch], tuple[Reject, ...]]]:
    """Collect neighbours of one schema until they are a batch worth the engines' overhead."""
    limit_bytes = max(memory_bytes // BATCH_SHARE, 1)
    held: list[pa.RecordBatch] = []
    rejects: list[Reject] = []
    rows = size_bytes = 0
    for one in batches:
        if held and (
            not held[0].schema.equals(one.rows.schema) or rows + one.rows.num_rows > BATCH_ROWS or size_bytes > limit_bytes
        ):
            yield held, tuple(rejects)
            held, rejects, rows, size_bytes = [], [], 0, 0
        held.append(one.rows)
        rejects.extend(one.rejects)
        rows += one.rows.num_rows
        size_bytes += one.rows.nbytes
    if held:
        yield held, tuple(rejects)


def as_frame(rows: pa.Table) -> pl.DataFrame:
    """Return rows of a source in Polars; a dictionary of texts is a way to store them, and no type of its own."""
    coded = [field.name for field in rows.schema if pa.types.is_dictionary(field.type) and is_text(field.type.value_type)]
    texts = {name: _decoded(name, rows[name]) for name in coded}
    if len(coded) == rows.num_columns:
        return pl.DataFrame(list(texts.values()))
    frame = pl.from_arrow(rows.drop_columns(coded))
    assert isinstance(frame, pl.DataFrame)
    return pl.DataFrame([texts[name] if name in texts else frame[name] for name in rows.column_names]) if coded else frame


def _decoded(name: str, column: pa.ChunkedArray[Any]) -> pl.Series:
    """Return texts from their codes: places in what Polars holds of the dictionary, so that no text is copied."""
    chunks: Any = column.chunks
    pieces = [_series(one.dictionary).cast(pl.String)[_series(_unsigned(one.indices))] for one in chunks]
    if len(pieces) == 1:
        return pieces[0].alias(name)
    return (pl.concat(pieces) if pieces else pl.Series(dtype=pl.String)).alias(name)


def _unsigned(codes: pa.Array[Any]) -> pa.Array[Any]:
    """Return codes, which are not below zero, as Polars takes them: of 32 bits without a copy."""
    return codes.view(pa.uint32()) if codes.type == pa.int32() else codes.cast(pa.uint32())


def _series(values: pa.Array[Any]) -> pl.Series:
    return pl.Series(pl.from_arrow(values))


def _placed(read: pa.Table, windows: Sequence[Window], only_for_text: Collection[str]) -> Batch:
    names = read.column_names
    rows = as_frame(read.select([one for one in names if one not in only_for_text]))
    taken = sorted(RESERVED_NAMES.difference(RESERVED_COLUMNS).intersection(names))
    if taken:
        raise ConfigurationError(f"the source has a column {taken[0]!r}, a name that raypipe keeps for itself: rename it there")
    frame = with_series(
        rows,
        shard_indexes(rows[TIME_COLUMN], windows),
        rows[TIME_COLUMN].cast(pl.Int64),
        rows[SOURCE_COLUMN].cast(pl.UInt32),
        rows[POSITION_COLUMN].cast(pl.Int64),
        pl.int_range(rows.height, dtype=pl.UInt32, eager=True).alias(ROW_COLUMN),
    )
    return Batch(frame, read.drop_columns(list(RESERVED_COLUMNS)))


def with_series(frame: pl.DataFrame, *columns: pl.Series) -> pl.DataFrame:
    """Return the frame with columns in the place of those of their names, or behind; as `with_columns`, but without a query.

    For each query a thread lets go of the interpreter lock and waits for it, which takes longer than to put columns together.
    """
    return pl.DataFrame(list({**{one.name: one for one in frame.get_columns()}, **{one.name: one for one in columns}}.values()))


def empty_batch(schema: Mapping[str, pl.DataType]) -> Batch:
    """Return a batch without rows of a source with these columns."""
    reserved = {TIME_COLUMN: pl.Int64(), SOURCE_COLUMN: pl.UInt32(), POSITION_COLUMN: pl.Int64()}
    placement = {SHARD_INDEX: pl.UInt32(), **reserved, ROW_COLUMN: pl.UInt32()}
    return Batch(pl.DataFrame(schema={**schema, **placement}), pl.DataFrame(schema=dict(schema)).to_arrow())


def shard_indexes(times_us: pl.Series, windows: Sequence[Window]) -> pl.Series:
    """Return the place of each time's window. Raises AccountsDontBalance for a time that is in none of them."""
    starts = pl.Series([one.start_us for one in windows], dtype=pl.Int64)
    if len(windows) == 1:
        indexes = pl.Series([0], dtype=pl.UInt32).new_from_index(0, len(times_us))
        outside = _outside(times_us, windows[0])
    else:
        before = pl.Series([-(2**63)], dtype=pl.Int64)  # the end of what lies before the first window
        found = starts.search_sorted(times_us, side="right")
        ends = pl.concat([before, pl.Series([one.end_us for one in windows], dtype=pl.Int64)])
        outside = times_us >= ends.gather(found)
        indexes = found - 1
    if outside.any():
        stray = times_us.filter(outside)[0]
        raise AccountsDontBalance(f"the source gave a row of {iso(stray)}, which is in none of the windows that were asked for")
    return indexes.alias(SHARD_INDEX)


def _outside(times_us: pl.Series, window: Window) -> pl.Series:
    """Tell which times are not in a window; nothing of none that are not, which the first and the last one tell."""
    earliest, latest = cast("int | None", times_us.min()), cast("int | None", times_us.max())
    if earliest is None or latest is None or (earliest >= window.start_us and latest < window.end_us):
        return pl.Series(dtype=pl.Boolean)
    return ~times_us.is_between(window.start_us, window.end_us, closed="left")
