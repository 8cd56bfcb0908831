"""Aggregation: the transformed rows of some shards become their contributions to each output table, in DuckDB.

Types of results are DuckDB's: count(*) is int64, the sum of integers decimal(38,0), avg a double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

import duckdb
import pyarrow as pa

from raypipe.core.digest import digest_of_sums, digest_query
from raypipe.core.shard import OutputStat
from raypipe.core.window import Window
from raypipe.engine.arrow_types import plain_schema, plain_table
from raypipe.engine.batched_sql import ShardwiseSql, marked
from raypipe.engine.column_names import refuse_unfit
from raypipe.engine.distinct_segments import SegmentedSql
from raypipe.engine.distinct_sql import distinct_sql
from raypipe.engine.groupable import groupable, reads_once
from raypipe.engine.held_rows import HeldRows, RowsInput, hold, user_schema
from raypipe.engine.looking_around import IN_SHARD_KEPT, of_the_shard, require_in_shard
from raypipe.engine.named_inputs import named_tables
from raypipe.engine.output_sql import SqlRefused, parse_select, tables_read
from raypipe.engine.row_stream import RowStream
from raypipe.engine.sandbox import Sandboxes, reason
from raypipe.engine.spool import FrameSpool
from raypipe.engine.table_spool import IN_MEMORY, Rows, SpoolSpace, in_slices
from raypipe.errors import ConfigurationError, OutOfMemory, TransformFailed
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS, RowsOutput, SqlOutput
from raypipe.ports import IN_SHARD_COLUMN, RESERVED_COLUMNS, SHARD_COLUMN

__all__ = ["NO_ROWS", "Aggregator", "Contribution", "RowStream", "RowsInput"]

NO_ROWS = OutputStat(0, digest_of_sums(None, None))
"""The stat of a shard that adds nothing to a table."""
LISTS_SHARE = 2  # of an engine's memory: lists of values that are to be counted are held beside it
_CONTRIBUTION = "_raypipe_contribution"


@dataclass(frozen=True, slots=True)
class _Select:
    """The SQL of one output, checked."""

    segmented: SegmentedSql
    groupable: bool
    reads_once: bool


@dataclass(frozen=True, slots=True)
class Contribution:
    """What some shards add to one table: the user's columns and `_shard`, and rows and digest of every shard."""

    table: Rows
    stats: Mapping[Window, OutputStat] = field(default_factory=dict)
    shown: Rows | None = None
    """What a keyed or combined table would hold of each shard alone, with `_shard`, where a check asks for it."""


class Aggregator:
    """Computes the contributions of shards to all outputs. Picklable; may be used by several threads.

    With `looks_around`, rows have the column `_in_shard`: SQL sees all of them and has to mean it, `rows` outputs take those of
    the shard. `inputs` are the columns of the tables that SQL sees beside `rows`.
    """

    def __init__(
        self,
        outputs: Sequence[SqlOutput | RowsOutput],
        sandboxes: Sandboxes,
        *,
        looks_around: bool = False,
        inputs: Mapping[str, pa.Schema] | None = None,
    ) -> None:
        self.outputs = tuple(outputs)
        self._looks_around = looks_around
        self._inputs = inputs or {}
        self._wide = [
            *([ROWS] if looks_around else []),
            *(name for name, one in self._inputs.items() if IN_SHARD_COLUMN in one.names),
        ]
        self._sandboxes = sandboxes
        self._selects: dict[str, _Select] = {}
        problems = []
        read: set[str] = set()
        for output in self.outputs:
            if isinstance(output, SqlOutput):
                try:
                    sql, tree = parse_select(output.sql, [ROWS, *self._inputs])
                    read |= tables_read(tree)
                    require_in_shard(tree, self._wide)
                    segmented = SegmentedSql(sql, distinct_sql(tree), sandboxes.memory_bytes // LISTS_SHARE)
                    self._selects[output.table] = _Select(segmented, groupable(tree), reads_once(tree))
                except SqlRefused as refused:
                    problems.append(f"outputs.{output.table}.sql: {refused}")
        unread = [] if problems else sorted(self._inputs.keys() - read)
        problems += [f"inputs.{name}: no SQL of an output reads it: read it in one, or leave it out" for name in unread]
        if problems:
            raise ConfigurationError(problems)

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

    def contributions(
        self,
        rows: RowsInput,
        shards: Sequence[Window],
        alone: Sequence[str] = (),
        space: SpoolSpace = IN_MEMORY,
        inputs: Mapping[str, FrameSpool] | None = None,
    ) -> dict[str, Contribution]:
        """Return the contribution of the shards to each output (or to these alone); every shard has a stat, also of no row.

        Rows keep their order in `rows` outputs. What a single shard contributes may become a file in the space.
        Raises TransformFailed with the output and DuckDB's reason, and
        OutOfMemory when even spilling did not help.
        """
        with self._sandboxes.borrow() as connection, named_tables(connection, inputs or {}):
            if isinstance(rows, RowStream) and self.reads_once(shards, alone):
                ((output,), (shard,)) = self._wanted(alone), shards
                return {output.table: self._passing(connection, output, rows, shard, space)}
            with hold(connection, rows) as held:
                return {output.table: self._contribution(connection, output, held, shards, space) for output in self._wanted(alone)}

    def reads_once(self, shards: Sequence[Window], alone: Sequence[str] = ()) -> bool:
        """Tell whether the rows of these shards need not be held: one SQL reads them as they come by."""
        wanted = self._wanted(alone)
        return len(shards) == len(wanted) == 1 and all(self._reads_once(output) for output in wanted)

    def _wanted(self, alone: Sequence[str]) -> list[SqlOutput | RowsOutput]:
        return [output for output in self.outputs if not alone or output.table in alone]

    def _reads_once(self, output: SqlOutput | RowsOutput) -> bool:
        if isinstance(output, RowsOutput):
            return not self._looks_around
        return self._selects[output.table].reads_once

    def stats(self, table: Rows, shards: Sequence[Window]) -> dict[Window, OutputStat]:
        """Return rows and digest of every shard of a contribution."""
        with self._sandboxes.borrow() as connection:
            return _stats(connection, table, shards)

    def _described(self, output: SqlOutput | RowsOutput, rows: pa.Schema) -> pa.Schema:
        if isinstance(output, RowsOutput):
            return plain_schema(rows)
        with self._sandboxes.borrow() as connection:
            mark = [pa.field(IN_SHARD_COLUMN, pa.bool_())] if self._looks_around else []
            tables = {ROWS: pa.schema([*rows, *mark]), **self._inputs}
            for name, schema in tables.items():
                connection.register(name, schema.empty_table())
            try:
                sql = self._selects[output.table].segmented.sql
                found = connection.sql(f"SELECT * FROM (\n{sql}\n) LIMIT 0").to_arrow_table().schema
            except duckdb.Error as error:
                raise SqlRefused(reason(error)) from error
            for name in tables:
                connection.unregister(name)
        if self._wide and IN_SHARD_COLUMN in found.names:
            raise SqlRefused(IN_SHARD_KEPT)
        taken = [name for name in found.names if name in (*RESERVED_COLUMNS, SHARD_COLUMN)]
        if taken:
            raise SqlRefused(f"{', '.join(taken)} is a name that raypipe keeps for itself: choose another")
        return plain_schema(found)

    def _passing(
        self,
        connection: duckdb.DuckDBPyConnection,
        output: SqlOutput | RowsOutput,
        rows: RowStream,
        shard: Window,
        space: SpoolSpace,
    ) -> Contribution:
        def compute() -> Rows:
            with rows.lent(user_schema(rows.schema).names) as reader:
                if isinstance(output, RowsOutput):
                    return space.gathered(*marked(reader, shard))
                with self._selects[output.table].segmented.reading(connection, reader) as found:
                    return space.gathered(*marked(found, shard))

        return self._contributed(connection, output, compute, [shard])

    def _contribution(
        self,
        connection: duckdb.DuckDBPyConnection,
        output: SqlOutput | RowsOutput,
        rows: HeldRows,
        shards: Sequence[Window],
        space: SpoolSpace,
    ) -> Contribution:
        spools = not rows.in_memory and len(shards) == 1

        def compute() -> Rows:
            if isinstance(output, RowsOutput):
                if spools and not self._looks_around:
                    reader = rows.reader()
                    return space.gathered(reader.schema, reader)
                return of_the_shard(rows.table()) if self._looks_around else rows.table()
            select = self._selects[output.table]
            shardwise = ShardwiseSql(connection, select.segmented, rows, self._sandboxes, groupable=select.groupable)
            if spools:
                with shardwise.reading(shards[0]) as reader:
                    return space.gathered(*marked(reader, shards[0]))
            return shardwise.run(shards)

        return self._contributed(connection, output, compute, shards)

    def _contributed(
        self,
        connection: duckdb.DuckDBPyConnection,
        output: SqlOutput | RowsOutput,
        compute: Callable[[], Rows],
        shards: Sequence[Window],
    ) -> Contribution:
        """Return what was computed with its digests; an error of DuckDB names the output."""
        try:
            table = compute()
            if isinstance(output, SqlOutput):
                refuse_unfit(f"outputs.{output.table}.sql", table.schema.names[:-1])  # the last one is our own `_shard`
                if self._wide and IN_SHARD_COLUMN in table.schema.names:
                    raise ConfigurationError(f"outputs.{output.table}.sql: {IN_SHARD_KEPT}")
            table = plain_table(table) if isinstance(table, pa.Table) else table
            return Contribution(table, _stats(connection, table, shards))
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(f"outputs.{output.table}: {reason(error)}; raise run.memory or make shards smaller") from error
        except duckdb.Error as error:
            raise TransformFailed(f"outputs.{output.table}.sql: {reason(error)}") from error


def _stats(connection: duckdb.DuckDBPyConnection, table: Rows, shards: Sequence[Window]) -> dict[Window, OutputStat]:
    columns = [name for name in table.schema.names if name != SHARD_COLUMN]
    connection.register(_CONTRIBUTION, in_slices(table))
    found = connection.execute(digest_query(_CONTRIBUTION, columns, by=f"epoch_us({SHARD_COLUMN})")).fetchall()
    connection.unregister(_CONTRIBUTION)
    stats = {start_us: OutputStat(rows, digest) for start_us, rows, digest in found}
    return {shard: stats.get(shard.start_us, NO_ROWS) for shard in shards}
