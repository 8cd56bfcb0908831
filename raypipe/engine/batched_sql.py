"""One SQL over the rows of each of many shards: small shards share a query, so that 8760 hours do not cost 8760 queries.

A group of shards runs as a correlated lateral join, which gives each shard the result that its own query would give.
SQL that would give other floating sums so (see groupable), or that DuckDB cannot correlate, runs once a shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import duckdb
import pyarrow as pa

from raypipe.core.window import Window
from raypipe.engine.distinct_segments import SegmentedSql
from raypipe.engine.held_rows import HeldRows
from raypipe.engine.sandbox import Sandboxes
from raypipe.engine.table_spool import READ_ROWS
from raypipe.ports import SHARD_COLUMN

GROUPED_ROWS_MAX = 50_000  # hash tables stay in memory whole: no partial aggregates are merged, so sums keep their bits
GROUPED_SHARDS_MAX = 4_096  # bounds the result of one query
_SHARDS = "_raypipe_shards"
_START = "_raypipe_start"


class ShardwiseSql:
    """The SQL of one output over the rows of one task; `groupable` tells that shards may share a query."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        select: SegmentedSql,
        rows: HeldRows,
        sandboxes: Sandboxes | None = None,
        *,
        groupable: bool,
    ) -> None:
        self._connection = connection
        self._select = select
        self._query = f"SELECT * FROM (\n{select.sql}\n)"
        self._rows = rows
        self._sandboxes = sandboxes
        self._groupable = groupable

    def run(self, shards: Sequence[Window]) -> pa.Table:
        """Return the results of all shards in order of time, with `_shard`."""
        tables = []
        for group in self._groups(sorted(shards)):
            together = self._together(group) if self._groupable else None
            tables.extend([self._alone(shard) for shard in group] if together is None else [together])
        return pa.concat_tables(tables)

    @contextmanager
    def reading(self, shard: Window) -> Iterator[pa.RecordBatchReader]:
        """Lend the result of one shard as a stream, without `_shard`, bit for bit what `run` returns of it."""
        if self._groupable and self._select.distinct is not None:
            with self._rows.lent(shard) as rows, self._beside_rows() as connection, self._select.reading(connection, rows) as found:
                yield found
        else:
            with self._rows.scanned(shard) if self._groupable else self._rows.alone(shard):
                yield self._connection.sql(self._query).to_arrow_reader(READ_ROWS)

    def _beside_rows(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Return a sandbox for queries while rows are read: the same one, unless they are read from it."""
        if self._rows.in_memory or self._sandboxes is None:
            return nullcontext(self._connection)
        return self._sandboxes.borrow()

    def _groups(self, shards: Sequence[Window]) -> Iterator[list[Window]]:
        group: list[Window] = []
        rows = 0
        for shard in shards:
            count = self._rows.counts.get(shard.start_us, 0)
            if group and (rows + count > GROUPED_ROWS_MAX or len(group) == GROUPED_SHARDS_MAX):
                yield group
                group, rows = [], 0
            group.append(shard)
            rows += count
        if group:
            yield group

    def _alone(self, shard: Window) -> pa.Table:
        with self.reading(shard) as reader:
            return with_shard(reader.read_all(), shard)

    def _together(self, group: Sequence[Window]) -> pa.Table | None:
        """Run the group as one query; None where DuckDB cannot correlate it."""
        if len(group) == 1:
            return self._alone(group[0])
        starts = pa.array([shard.start_us for shard in group], pa.timestamp("us"))
        self._connection.register(_SHARDS, pa.table({_START: starts}))
        rows = f"SELECT {self._rows.selected} FROM {self._rows.relation} WHERE {SHARD_COLUMN} = {_SHARDS}.{_START}"
        lateral = f"LATERAL (WITH rows AS ({rows}) {self._query}) AS _raypipe_result"
        sql = f"SELECT _raypipe_result.*, {_SHARDS}.{_START} AS {SHARD_COLUMN} FROM {_SHARDS}, {lateral}"
        try:
            found: pa.Table = self._connection.sql(sql).to_arrow_table()
        except (duckdb.BinderException, duckdb.NotImplementedException):
            return None
        finally:
            self._connection.unregister(_SHARDS)
        return found


def marked(reader: pa.RecordBatchReader, shard: Window) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return a stream with the column that tells its shard, in the place of the one that it may have."""
    columns = [name for name in reader.schema.names if name != SHARD_COLUMN]
    schema = pa.schema([*map(reader.schema.field, columns), pa.field(SHARD_COLUMN, pa.timestamp("us"))])
    start = pa.scalar(shard.start_us, pa.timestamp("us"))
    batches = (batch.select(columns).append_column(SHARD_COLUMN, pa.repeat(start, batch.num_rows)) for batch in reader)
    return schema, batches


def with_shard(found: pa.Table, shard: Window) -> pa.Table:
    """Return a result with the column that tells its shard."""
    starts = pa.repeat(pa.scalar(shard.start_us, pa.timestamp("us")), found.num_rows)
    result: pa.Table = found.append_column(SHARD_COLUMN, starts)
    return result
