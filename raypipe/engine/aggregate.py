"""Aggregation: the transformed rows of some shards become their contributions to each output table, in DuckDB.

Types of results are DuckDB's: count(*) is int64, the sum of integers decimal(38,0), avg a double.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from raypipe.core.digest import digest_of_sums, digest_sums_sql, quote
from raypipe.core.shard import OutputStat
from raypipe.core.window import Window
from raypipe.engine.arrow_types import plain_schema, plain_table
from raypipe.engine.batched_sql import GroupedSql, ShardRows
from raypipe.engine.output_sql import ROWS, SqlRefused, parse_select
from raypipe.engine.sandbox import Sandboxes, reason
from raypipe.errors import ConfigurationError, OutOfMemory, TransformFailed
from raypipe.pipeline import RowsOutput, SqlOutput
from raypipe.ports import RESERVED_COLUMNS, SHARD_COLUMN

SHARD_TYPE = pa.timestamp("us")
ALL_ROWS = "_raypipe_all_rows"
CONTRIBUTION = "_raypipe_contribution"
NO_ROWS = OutputStat(0, digest_of_sums(None, None))


@dataclass(frozen=True, slots=True)
class RowStream:
    """Transformed rows too many for memory: a schema and batches of it, read once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


RowsInput = pa.Table | RowStream
"""The user's columns and `_shard`: timestamp[us], the start of the shard that a row belongs to."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What some shards add to one table: the user's columns and `_shard`, and rows and digest of every shard."""

    table: pa.Table
    stats: Mapping[Window, OutputStat] = field(default_factory=dict)


class Aggregator:
    """Computes the contributions of shards to all outputs. Picklable; may be used by several threads."""

    def __init__(self, outputs: Sequence[SqlOutput | RowsOutput], *, memory_bytes: int, spill_folder: str | Path) -> None:
        self.outputs = tuple(outputs)
        self._sandboxes = Sandboxes(memory_bytes, spill_folder)
        self._selects: dict[str, str] = {}
        problems = []
        for output in self.outputs:
            if isinstance(output, SqlOutput):
                try:
                    self._selects[output.table], _ = parse_select(output.sql)
                except SqlRefused as refused:
                    problems.append(f"outputs.{output.table}.sql: {refused}")
        if problems:
            raise ConfigurationError(problems)

    def close(self) -> None:
        """Close what was opened and remove the spill folders."""
        self._sandboxes.close()

    def describe_outputs(self, schema: pa.Schema) -> dict[str, pa.Schema]:
        """Return the columns of each output table, `_shard` aside, for rows of a schema.

        Raises ConfigurationError that names each output whose SQL does not fit the rows, with DuckDB's reason.
        """
        rows = user_schema(schema)
        found, problems = {}, []
        for output in self.outputs:
            try:
                found[output.table] = self._described(output, rows)
            except SqlRefused as refused:
                problems.append(f"outputs.{output.table}.sql: {refused}")
        if problems:
            raise ConfigurationError(problems)
        return found

    def contributions(self, rows: RowsInput, shards: Sequence[Window]) -> dict[str, Contribution]:
        """Return the contribution of the shards to each output; every shard has a stat, also where it adds no row.

        Rows keep their order in `rows` outputs. Raises TransformFailed with the output and DuckDB's reason, and
        OutOfMemory when even spilling did not help.
        """
        with self._sandboxes.borrow() as connection:
            held = _hold(connection, rows)
            try:
                return {output.table: self._contribution(connection, output, held, shards) for output in self.outputs}
            finally:
                held.release(connection)

    def _described(self, output: SqlOutput | RowsOutput, rows: pa.Schema) -> pa.Schema:
        if isinstance(output, RowsOutput):
            return plain_schema(rows)
        with self._sandboxes.borrow() as connection:
            connection.register(ROWS, rows.empty_table())
            try:
                found = connection.sql(f"SELECT * FROM (\n{self._selects[output.table]}\n) LIMIT 0").to_arrow_table().schema
            except duckdb.Error as error:
                raise SqlRefused(reason(error)) from error
            connection.unregister(ROWS)
        taken = [name for name in found.names if name in (*RESERVED_COLUMNS, SHARD_COLUMN)]
        if taken:
            raise SqlRefused(f"{', '.join(taken)} is a name that raypipe keeps for itself: choose another")
        return plain_schema(found)

    def _contribution(
        self, connection: duckdb.DuckDBPyConnection, output: SqlOutput | RowsOutput, rows: _Held, shards: Sequence[Window]
    ) -> Contribution:
        try:
            if isinstance(output, RowsOutput):
                table = rows.table(connection)
            else:
                table = GroupedSql(connection, self._selects[output.table], rows.shard_rows).run(shards)
            table = plain_table(table)
            return Contribution(table, _stats(connection, table, shards))
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(f"outputs.{output.table}: {reason(error)}; raise run.memory or make shards smaller") from error
        except duckdb.Error as error:
            raise TransformFailed(f"outputs.{output.table}.sql: {reason(error)}") from error


def user_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns that the SQL of an output sees: all but raypipe's own."""
    hidden = (*RESERVED_COLUMNS, SHARD_COLUMN)
    return pa.schema([field for field in schema if field.name not in hidden])


@dataclass(frozen=True, slots=True)
class _Held:
    """The rows of a task, as a view or a spilling table of one sandbox."""

    source: pa.Table | None
    shard_rows: ShardRows

    def table(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        columns = [*self.shard_rows.columns, SHARD_COLUMN]
        if self.source is not None:
            return self.source.select(columns)
        return connection.sql(f"SELECT {', '.join(map(quote, columns))} FROM {ALL_ROWS}").to_arrow_table()

    def release(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self.source is None:
            connection.execute(f"DROP TABLE IF EXISTS {ALL_ROWS}")
        else:
            connection.unregister(ALL_ROWS)


def _hold(connection: duckdb.DuckDBPyConnection, rows: RowsInput) -> _Held:
    columns = user_schema(rows.schema).names
    if isinstance(rows, pa.Table):
        connection.register(ALL_ROWS, rows)
    else:
        reader = pa.RecordBatchReader.from_batches(rows.schema, rows.batches)
        connection.register("_raypipe_stream", reader)
        connection.execute(f"CREATE TEMP TABLE {ALL_ROWS} AS SELECT {', '.join(map(quote, [*columns, SHARD_COLUMN]))} FROM _raypipe_stream")
        connection.unregister("_raypipe_stream")
    counted = connection.execute(f"SELECT epoch_us({SHARD_COLUMN}), count(*) FROM {ALL_ROWS} GROUP BY ALL").fetchall()
    source = rows if isinstance(rows, pa.Table) else None
    return _Held(source, ShardRows(ALL_ROWS, tuple(columns), dict(counted)))


def _stats(connection: duckdb.DuckDBPyConnection, table: pa.Table, shards: Sequence[Window]) -> dict[Window, OutputStat]:
    columns = [name for name in table.schema.names if name != SHARD_COLUMN]
    connection.register(CONTRIBUTION, table)
    found = connection.execute(
        f"SELECT epoch_us({SHARD_COLUMN}), count(*), {digest_sums_sql(columns)} FROM {CONTRIBUTION} GROUP BY ALL"
    ).fetchall()
    connection.unregister(CONTRIBUTION)
    stats = {start_us: OutputStat(rows, digest_of_sums(low, high)) for start_us, rows, low, high in found}
    return {shard: stats.get(shard.start_us, NO_ROWS) for shard in shards}
