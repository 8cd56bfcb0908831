"""Segments: the rows of one shard through SQL that counts distinct values, so many rows at once.

Whether that is worth it, and where a shard is cut, follow from its rows alone, so that floating sums have the same bits in every
run, whatever executor or memory it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from itertools import chain
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.engine.distinct_counts import DistinctCounts, counts_of
from raypipe.engine.distinct_sql import PLACE, DistinctSql, counted_columns, part_column
from raypipe.engine.row_stream import VECTOR_ROWS, RowStream, cut
from raypipe.engine.table_spool import READ_ROWS
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS

ROWS_MIN = 1 << 16  # hash tables of the distinct values of fewer fit the caches
PROBE_ROWS = 1 << 14  # looked at first
PROBE_SHARE = 4  # of these rows: a column with fewer values has small hash tables
SEGMENT_ROWS = 1 << 19  # at once, by the lists of a row: their values take DuckDB some 12 MiB, and results as much
GROUP_SHARE = 64  # of these rows: with more groups lists are short, and parts not much less than the rows
PARTS_HELD = 64  # in memory; DuckDB has those of a larger shard
_PARTS = "_raypipe_parts"
_PARTS_TABLE = "_raypipe_parts_table"


@dataclass(slots=True)
class SegmentedSql:
    """The SQL of an output, and the same in parts where it may be computed so. Picklable; several threads may use it."""

    sql: str
    distinct: DistinctSql | None
    limit_bytes: int
    """For lists of values that are held."""
    _names: dict[pa.Schema, tuple[str, ...]] = field(default_factory=dict)
    """The columns of the output for rows of a schema; none where it may not be computed in parts."""

    @contextmanager
    def reading(self, connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatchReader]:
        """Lend the result over the rows of one shard, which are read once."""
        batches: Iterator[pa.RecordBatch] = iter(rows)
        if self.distinct is not None and (names := self._columns(connection, self.distinct, rows.schema)):
            ahead = _ahead(batches)
            batches = chain(ahead, batches)
            is_worth = _is_worth(ahead, counted_columns(self.distinct, rows.schema))
            del ahead  # not held while the others are read
            if is_worth:
                found = _in_segments(connection, self.distinct, RowStream(rows.schema, batches), self.limit_bytes)
                if isinstance(found, list):
                    yield pa.table(found, names=list(names)).to_reader()
                    return
                batches = found
        connection.register(ROWS, pa.RecordBatchReader.from_batches(rows.schema, batches))
        yield connection.sql(self.sql).to_arrow_reader(READ_ROWS)
        connection.unregister(ROWS)

    def _columns(self, connection: duckdb.DuckDBPyConnection, distinct: DistinctSql, schema: pa.Schema) -> tuple[str, ...]:
        if schema not in self._names:
            connection.register(ROWS, schema.empty_table())
            fits = counted_columns(distinct, schema) and distinct.fits(connection, self.sql)
            self._names[schema] = tuple(connection.sql(self.sql).columns) if fits else ()
            connection.unregister(ROWS)
        return self._names[schema]


def plain_sql(sql: str) -> SegmentedSql:
    """Return SQL that is never computed in parts."""
    return SegmentedSql(sql, None, 0)


def _ahead(batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Take batches until they have rows enough for parts."""
    taken: list[pa.RecordBatch] = []
    rows = 0
    while rows < ROWS_MIN and (batch := next(batches, None)) is not None:
        taken.append(batch)
        rows += batch.num_rows
    return taken


def _is_worth(ahead: Sequence[pa.RecordBatch], columns: Sequence[str]) -> bool:
    """Tell whether the first rows have so many distinct values in one of the columns that hash tables of all grow large."""
    if sum(batch.num_rows for batch in ahead) < ROWS_MIN:
        return False
    table = pa.Table.from_batches(ahead).slice(0, PROBE_ROWS)
    return any(pl.Series(pl.from_arrow(table[name])).n_unique() * PROBE_SHARE >= PROBE_ROWS for name in columns)


def _in_segments(
    connection: duckdb.DuckDBPyConnection, distinct: DistinctSql, rows: RowStream, limit_bytes: int
) -> list[pa.Array[Any]] | Iterator[pa.RecordBatch]:
    """Return the columns of the output, or all rows again where the first segment has too many groups."""
    segment_rows = SEGMENT_ROWS // len(distinct.counted) // VECTOR_ROWS * VECTOR_ROWS
    segments = cut(rows, segment_rows)
    first = [*next(segments).batches]
    part = _part(connection, distinct, RowStream(rows.schema, iter(first)))
    ahead = next(segments, None)
    if ahead is None and not distinct.merges_always:
        return [counts_of(part[at]).to_arrow() if at in distinct.counted else part[at] for at in range(distinct.width)]
    rest = segments if ahead is None else chain([ahead], segments)
    if ahead is not None and len(part[0]) * GROUP_SHARE > segment_rows:
        return chain(first, chain.from_iterable(one.batches for one in rest))
    first.clear()
    parts = _Parts(connection, distinct, limit_bytes)
    try:
        parts.add(part)
        for segment in rest:
            parts.add(_part(connection, distinct, segment))
        return parts.merged()
    finally:
        parts.close()


def _part(connection: duckdb.DuckDBPyConnection, distinct: DistinctSql, rows: RowStream) -> list[pa.Array[Any]]:
    """Return the columns of the part that a segment makes."""
    connection.register(ROWS, pa.RecordBatchReader.from_batches(rows.schema, rows.batches))
    found = connection.sql(distinct.segment).to_arrow_table()
    connection.unregister(ROWS)
    for _ in rows.batches:  # where no row can pass DuckDB reads none, and the next segment would be this one again
        pass
    everything = pl.int_range(found.num_rows, eager=True).to_arrow()
    # what comes of a query is freed together: without copies of the rest its lists would stay as long as a contribution
    return [_whole(one if at in distinct.counted else one.take(everything)) for at, one in enumerate(found.columns)]


def _whole(column: Any) -> pa.Array[Any]:
    whole: pa.Array[Any] = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # of no rows there is no chunk
    return whole


class _Parts:
    """The parts of one shard on their way to be merged."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, distinct: DistinctSql, limit_bytes: int) -> None:
        self._connection = connection
        self._distinct = distinct
        self._rows = 0
        self._held: list[pa.Table] = []
        self._in_table = False
        share_bytes = limit_bytes // len(distinct.counted)
        self._counts: Mapping[int, DistinctCounts] = {
            place: DistinctCounts(connection, f"_raypipe_values_{place}", share_bytes) for place in distinct.counted
        }

    def add(self, columns: Sequence[pa.Array[Any]]) -> None:
        """Take a part."""
        for place, counts in self._counts.items():
            counts.add(self._rows, columns[place])
        named = {part_column(place): column for place, column in enumerate(columns) if place not in self._counts}
        rows = len(columns[0])
        self._held.append(pa.table({**named, PLACE: pl.int_range(self._rows, self._rows + rows, eager=True).to_arrow()}))
        self._rows += rows
        if len(self._held) == PARTS_HELD:
            self._to_table()

    def merged(self) -> list[pa.Array[Any]]:
        """Return the columns of the output."""
        if self._in_table:
            self._to_table()
            return self._merged(_PARTS_TABLE)
        with self._registered():
            return self._merged(_PARTS)

    def close(self) -> None:
        """Let go of all."""
        for counts in self._counts.values():
            counts.close()
        if self._in_table:
            self._connection.execute(f"DROP TABLE {_PARTS_TABLE}")

    def _merged(self, parts: str) -> list[pa.Array[Any]]:
        """Merge; the places of what is merged are asked for by themselves: beside lists sums might be rearranged."""
        found = self._connection.sql(self._distinct.merge(parts)).to_arrow_table()
        groups = self._connection.sql(self._distinct.places(parts)).to_arrow_table().sort_by("first")
        *shown, _ = [_whole(column) for column in found.sort_by(found.schema.names[-1]).columns]
        places = pl.Series(pl.from_arrow(groups["places"]))
        merged = iter(shown)
        return [
            self._counts[at].of(places).to_arrow() if at in self._counts else next(merged) for at in range(self._distinct.width)
        ]

    def _to_table(self) -> None:
        into = f"INSERT INTO {_PARTS_TABLE}" if self._in_table else f"CREATE TEMP TABLE {_PARTS_TABLE} AS"
        if self._held:
            with self._registered():
                self._connection.execute(f"{into} FROM {_PARTS}")
            self._in_table = True
            self._held.clear()

    @contextmanager
    def _registered(self) -> Iterator[None]:
        self._connection.register(_PARTS, pa.concat_tables(self._held))
        yield
        self._connection.unregister(_PARTS)
