"""Combined outputs: what shards contribute to `group_by` tables, made of rows that come by once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.core.window import Window
from raypipe.engine.batched_sql import ShardwiseSql, marked
from raypipe.engine.batches import SHARD_INDEX, shard_starts
from raypipe.engine.distinct_segments import plain_sql
from raypipe.engine.distinct_values import each_once
from raypipe.engine.held_rows import RowsInput, hold, user_schema
from raypipe.engine.partials import Partials, narrow
from raypipe.engine.row_stream import RowStream, cut
from raypipe.engine.table_spool import READ_ROWS, Rows, SpoolSpace
from raypipe.errors import OutOfMemory
from raypipe.pipeline import ROWS

SEGMENT_ROWS = 1 << 22  # of a shard in one query, which may keep a value of each; a larger shard is made of several


def narrowed(
    partials: Partials, frames: Iterable[pl.DataFrame], windows: Sequence[Window], uris: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield what the SQL of the partials reads of each frame, with `_shard`."""
    starts, sources = shard_starts(windows), pl.Series(uris, dtype=pl.String)
    return (narrow(partials, frame, starts, frame[SHARD_INDEX], sources) for frame in frames)


def of_one_shard(
    connection: duckdb.DuckDBPyConnection, partials: Partials, tables: Iterator[pa.Table], shard: Window, space: SpoolSpace
) -> list[Rows]:
    """Return what one shard contributes, a table for each of its segments, in order; each has `_shard` a little later.

    Where a shard is cut follows from the number of its rows alone, so that floating sums have the same bits in every run.
    """
    first = next(tables)
    batches = (batch for table in chain([first], tables) for batch in table.to_batches())
    found: list[Rows] = []
    for place, segment in enumerate(cut(RowStream(first.schema, batches), SEGMENT_ROWS)):
        with segment.lent(user_schema(segment.schema).names) as reader:
            connection.register(ROWS, reader)
            result = connection.sql(partials.sql()).to_arrow_reader(READ_ROWS)
            settled = (each_once(batch, partials.unsettled) for batch in result)
            start = Window(shard.start_us + place, shard.end_us + place)
            found.append(space.gathered(*marked(pa.RecordBatchReader.from_batches(result.schema, settled), start)))
            connection.unregister(ROWS)
    return found


def of_several_shards(
    connection: duckdb.DuckDBPyConnection,
    partials: Partials,
    tables: Iterator[pa.Table],
    windows: Sequence[Window],
    held_bytes: int,
) -> pa.Table:
    """Return what shards contribute together. Raises OutOfMemory where one is so large that it is to be done by itself."""
    with hold(connection, _held(tables, held_bytes)) as rows:
        if max(rows.counts.values(), default=0) > SEGMENT_ROWS:
            raise OutOfMemory(f"a shard has more than {SEGMENT_ROWS:,} rows")
        found = ShardwiseSql(connection, plain_sql(partials.sql()), rows, groupable=True).run(windows)
    return pa.Table.from_batches([each_once(batch, partials.unsettled) for batch in found.to_batches()], found.schema)


def _held(tables: Iterator[pa.Table], held_bytes: int) -> RowsInput:
    """Return rows as one table, or as a stream where they are more than may be held."""
    held: list[pa.Table] = []
    size_bytes = 0
    for table in tables:
        held.append(table)
        size_bytes += table.nbytes
        if size_bytes > held_bytes:
            return RowStream(table.schema, (batch for one in chain(held, tables) for batch in one.to_batches()))
    return pa.concat_tables(held)
