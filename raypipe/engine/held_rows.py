"""The transformed rows of a task, held where DuckDB can read them: an Arrow table as it is, or a temporary table that spills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.digest import quote
from raypipe.core.window import Window
from raypipe.engine.arrow_types import plain_table
from raypipe.engine.row_stream import RowStream, aligned
from raypipe.engine.table_spool import READ_ROWS
from raypipe.pipeline import ROWS
from raypipe.ports import RESERVED_COLUMNS, SHARD_COLUMN

_ALL = "_raypipe_all_rows"
_INPUT = "_raypipe_input"


RowsInput = pa.Table | RowStream
"""The user's columns and `_shard`: timestamp[us], the start of the shard that a row belongs to."""


def user_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns that the SQL of an output sees: all but raypipe's own."""
    hidden = (*RESERVED_COLUMNS, SHARD_COLUMN)
    return pa.schema([field for field in schema if field.name not in hidden])


class HeldRows:
    """The rows of some shards in one sandbox, in the order in which they came."""

    relation = _ALL

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: list[str], table: pa.Table | None) -> None:
        self._connection = connection
        self._table = table
        self._sorted: tuple[pa.Table, Mapping[int, int]] | None = None
        self.selected = ", ".join(map(quote, columns))
        """The user's columns, quoted."""
        self._columns = columns
        self.counts: Mapping[int, int] = _counted(connection) if table is None else _counted_in_memory(table)
        """The rows of each shard that has any, by its start."""

    def table(self) -> pa.Table:
        """Return all rows with `_shard`, in order."""
        if self._table is not None:
            return self._table.select([*self._columns, SHARD_COLUMN])
        table: pa.Table = self._connection.sql(f"SELECT {self.selected}, {SHARD_COLUMN} FROM {_ALL}").to_arrow_table()
        return table

    @property
    def in_memory(self) -> bool:
        """Whether they are an Arrow table as it came."""
        return self._table is not None

    def reader(self) -> pa.RecordBatchReader:
        """Lend all rows with `_shard`, in order, as a stream."""
        sql = f"SELECT {self.selected}, {SHARD_COLUMN} FROM {_ALL}"
        reader: pa.RecordBatchReader = self._connection.sql(sql).to_arrow_reader(READ_ROWS)
        return reader

    def _where(self, shard: Window) -> str:
        return f"SELECT {self.selected} FROM {_ALL} WHERE {SHARD_COLUMN} = make_timestamp({shard.start_us})"

    @contextmanager
    def alone(self, shard: Window) -> Iterator[None]:
        """Make `rows` a table of the rows of one shard.

        It is the same table, block by block, whatever the batches were and whichever shards share the task, so that
        every plan that DuckDB makes over it, and every floating sum, is the same too.
        """
        with self.scanned(shard, _INPUT):
            self._connection.execute(f"CREATE TEMP TABLE {ROWS} AS SELECT * FROM {_INPUT}")
        try:
            yield
        finally:
            self._connection.execute(f"DROP TABLE {ROWS}")

    @contextmanager
    def scanned(self, shard: Window, name: str = ROWS) -> Iterator[None]:
        """Make `rows` a name for the rows of one shard where they are, in order and vector by vector the same ones as alone."""
        if self._table is None:
            self._connection.execute(f"CREATE TEMP VIEW {name} AS {self._where(shard)}")
        else:
            part = self._part(shard)
            self._connection.register(name, pa.Table.from_batches(aligned(iter(part.to_batches())), part.schema))
        try:
            yield
        finally:
            if self._table is None:
                self._connection.execute(f"DROP VIEW {name}")
            else:
                self._connection.unregister(name)

    @contextmanager
    def lent(self, shard: Window) -> Iterator[pa.RecordBatchReader]:
        """Lend the rows of one shard as a stream, vector by vector the same ones as alone.

        Meanwhile the sandbox can answer no query, if the rows are in it.
        """
        if self._table is None:
            yield self._connection.sql(self._where(shard)).to_arrow_reader(READ_ROWS)
            return
        part = self._part(shard)
        yield pa.RecordBatchReader.from_batches(part.schema, aligned(iter(part.to_batches())))

    def _part(self, shard: Window) -> pa.Table:
        table, offsets = self._by_shard()
        return table.slice(offsets.get(shard.start_us, 0), self.counts.get(shard.start_us, 0)).select(self._columns)

    def _by_shard(self) -> tuple[pa.Table, Mapping[int, int]]:
        """Return the table sorted by shard, rows of a shard in their order, and where each shard begins."""
        if self._sorted is None:
            assert self._table is not None
            shards = self._table[SHARD_COLUMN].cast(pa.int64())
            ascending = len(shards) < 2 or pc.all(pc.greater_equal(shards[1:], shards[:-1])).as_py()
            table = self._table if ascending else plain_table(self._table).take(pc.sort_indices(shards))  # views cannot be taken
            offsets, offset = {}, 0
            for start_us in sorted(self.counts):
                offsets[start_us] = offset
                offset += self.counts[start_us]
            self._sorted = (table, offsets)
        return self._sorted


def _counted(connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    return dict(connection.execute(f"SELECT epoch_us({SHARD_COLUMN}), count(*) FROM {_ALL} GROUP BY ALL").fetchall())


def _counted_in_memory(table: pa.Table) -> dict[int, int]:
    """Count without a query: to plan one takes longer than to count."""
    found: Any = table[SHARD_COLUMN].cast(pa.int64()).value_counts()
    return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))


@contextmanager
def hold(connection: duckdb.DuckDBPyConnection, rows: RowsInput) -> Iterator[HeldRows]:
    """Bring the rows into a sandbox for the duration of the block; a stream is written to a table that spills."""
    columns = user_schema(rows.schema).names
    if isinstance(rows, pa.Table):
        connection.register(_ALL, rows)
        try:
            yield HeldRows(connection, columns, rows)
        finally:
            connection.unregister(_ALL)
        return
    with rows.lent([*columns, SHARD_COLUMN]) as reader:
        connection.register(_INPUT, reader)
        connection.execute(f"CREATE TEMP TABLE {_ALL} AS SELECT * FROM {_INPUT}")
        connection.unregister(_INPUT)
    try:
        yield HeldRows(connection, columns, None)
    finally:
        connection.execute(f"DROP TABLE {_ALL}")
