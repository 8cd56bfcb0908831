"""Merged outputs: what shards contribute to keyed and combined tables, and what the tables of one shard alone would hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.core.contribution_sql import one_contribution_sql
from raypipe.core.merge import DELETED_COLUMN
from raypipe.core.merge_sql import merged_sql
from raypipe.core.window import Window
from raypipe.engine.arrow_types import plain_schema, plain_table
from raypipe.engine.batched_sql import ShardwiseSql, marked
from raypipe.engine.batches import RESERVED_NAMES, SHARD_INDEX, Batch, user_columns
from raypipe.engine.column_names import refuse_unfit, require_columns
from raypipe.engine.deduplicate import DeduplicateStep
from raypipe.engine.expressions import compile_conditions
from raypipe.engine.held_rows import RowsInput, hold
from raypipe.engine.partials import compile_partials, narrow, tie_columns
from raypipe.engine.quality import Books
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.row_stream import RowStream
from raypipe.engine.sandbox import Sandboxes, reason
from raypipe.engine.spool import FrameSpool
from raypipe.engine.table_spool import IN_MEMORY, READ_ROWS, Rows, SpoolSpace, scannable
from raypipe.engine.tally import Tally
from raypipe.errors import ConfigurationError, OutOfMemory, TransformFailed
from raypipe.pipeline import Deduplicate, GroupByOutput, Output, RowsOutput, SqlOutput
from raypipe.ports import SHARD_COLUMN

SPOOL_SHARE = 8  # of the memory: rows kept for keyed and combined tables before they go to disk
_CONTRIBUTION = "_raypipe_contribution"

MergedOutput = RowsOutput | GroupByOutput


def merged_outputs(outputs: Sequence[Output]) -> tuple[MergedOutput, ...]:
    """Return the outputs whose table is more than the union of what shards contribute."""
    return tuple(one for one in outputs if not isinstance(one, SqlOutput) and one.merge)


def union_outputs(outputs: Sequence[Output]) -> tuple[SqlOutput | RowsOutput, ...]:
    """Return the outputs whose table is the union of what shards contribute."""
    return tuple(one for one in outputs if not isinstance(one, GroupByOutput) and not one.merge)


class MergedOutputs:
    """The keyed and combined outputs of a pipeline. Several threads may use it."""

    def __init__(self, outputs: Sequence[MergedOutput], sandboxes: Sandboxes, *, memory_bytes: int, spill_folder: Path) -> None:
        self.outputs = tuple(outputs)
        self._memory_bytes = memory_bytes
        self._spill = spill_folder
        self._sandboxes = sandboxes

    def spool(self) -> FrameSpool:
        """Return a place where rows pass on their way to the other outputs."""
        return FrameSpool(self._spill, self._memory_bytes // SPOOL_SHARE)

    def contributions(
        self,
        rows: FrameSpool,
        windows: Sequence[Window],
        uris: Sequence[str],
        alone: Sequence[str] = (),
        space: SpoolSpace = IN_MEMORY,
    ) -> Iterator[tuple[MergedOutput, Rows]]:
        """Yield the contributions of the shards to each output (or to these alone); nothing where no columns are known.

        Raises ConfigurationError for an output that does not fit the rows, TransformFailed for a value that cannot be computed.
        """
        if not rows.is_empty:
            yield from ((output, self._contribution(output, rows, windows, uris, space)) for output in self.wanted(alone))

    def wanted(self, alone: Sequence[str]) -> list[MergedOutput]:
        """Return the outputs that are computed when these alone are asked for, or all."""
        return [output for output in self.outputs if not alone or output.table in alone]

    def described(self, frame: pl.DataFrame) -> dict[str, pa.Schema]:
        """Return the columns of each table for rows like those of a frame without rows.

        Raises ConfigurationError that names all that does not fit.
        """
        found: dict[str, pa.Schema] = {}
        problems: list[str] = []
        rows = FrameSpool(self._spill, self._memory_bytes)
        list(rows.passing(iter([frame])))
        for output in self.outputs:
            try:
                contribution = self._contribution(output, rows, [Window(0, 1)], [])
                found[output.table] = plain_schema(self.alone(output, contribution).drop_columns([SHARD_COLUMN]).schema)
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)
        return found

    def alone(self, output: MergedOutput, contribution: Rows) -> pa.Table:
        """Return what the table would hold if each shard were the only one: `_shard` and the columns of the table."""
        assert output.merge is not None
        columns = [name for name in contribution.schema.names if name != SHARD_COLUMN]
        with self._sandboxes.borrow() as connection:
            connection.register(_CONTRIBUTION, scannable(contribution))
            try:
                table = connection.sql(merged_sql(output.merge, _CONTRIBUTION, columns, by=[SHARD_COLUMN])).to_arrow_table()
            except duckdb.OutOfMemoryException:
                raise  # of the shard, which is then done in another way
            except duckdb.Error as error:
                raise TransformFailed(f"outputs.{output.table}: {reason(error)}") from error
            connection.unregister(_CONTRIBUTION)
        return plain_table(table)

    def united(self, output: MergedOutput, pieces: pa.RecordBatchReader, shard: Window, space: SpoolSpace) -> Rows:
        """Return one contribution of a shard, made of those of pieces of its time; it has their columns and types."""
        assert output.merge is not None
        with self._sandboxes.borrow() as connection:
            connection.register(_CONTRIBUTION, pieces)
            connection.execute(f"CREATE TEMP TABLE pieces AS FROM {_CONTRIBUTION}")
            connection.unregister(_CONTRIBUTION)
            connection.execute("CREATE TEMP TABLE united AS FROM pieces LIMIT 0")
            one = f"SELECT *, make_timestamp({shard.start_us}) AS {SHARD_COLUMN}"
            connection.execute(f"INSERT INTO united BY NAME {one} FROM ({one_contribution_sql(output.merge, 'pieces')})")
            connection.execute("DROP TABLE pieces")
            reader = connection.sql("FROM united").to_arrow_reader(READ_ROWS)
            whole = space.gathered(reader.schema, reader)
            connection.execute("DROP TABLE united")
        return whole

    def _contribution(
        self, output: MergedOutput, rows: FrameSpool, windows: Sequence[Window], uris: Sequence[str], space: SpoolSpace = IN_MEMORY
    ) -> Rows:
        starts = pl.Series([one.start_us for one in windows], dtype=pl.Int64).cast(pl.Datetime("us"))
        sources = pl.Series(uris, dtype=pl.String)
        if isinstance(output, RowsOutput):
            tables = self._keyed(output, rows, windows, starts, sources)
            first = next(tables)
            return space.gathered(first.schema, (batch for table in chain([first], tables) for batch in table.to_batches()))
        return self._combined(output, rows, windows, starts, sources, space)

    # ---- keyed ---------------------------------------------------------------------------------------------

    def _keyed(
        self, output: RowsOutput, rows: FrameSpool, windows: Sequence[Window], starts: pl.Series, uris: pl.Series
    ) -> Iterator[pa.Table]:
        """Yield the newest row of each key of each shard: older ones can never be the newest of all."""
        where = f"outputs.{output.table}"
        step = DeduplicateStep(Deduplicate(key=output.key, latest_by=output.latest_by), where=where)
        books = Books(Tally(windows), Quarantine(windows, list(uris), 0))  # what a newer row replaces was loaded all the same
        batches = (Batch(_fit_for(output, frame)) for frame in rows)
        for batch in step.stream(batches, books, memory_bytes=self._memory_bytes, spill=self._spill):
            frame = batch.frame
            shard = starts.gather(frame[SHARD_INDEX]).alias(SHARD_COLUMN)
            shown = frame.select(user_columns(frame)).with_columns(*tie_columns(frame, uris), _deleted(output, frame), shard)
            yield shown.to_arrow(compat_level=pl.CompatLevel.newest())

    # ---- combined ------------------------------------------------------------------------------------------

    def _combined(
        self,
        output: GroupByOutput,
        rows: FrameSpool,
        windows: Sequence[Window],
        starts: pl.Series,
        uris: pl.Series,
        space: SpoolSpace,
    ) -> Rows:
        first = next(iter(rows))
        partials = compile_partials(output, pl.Schema({name: first.schema[name] for name in user_columns(first)}))
        tables = (narrow(partials, frame, starts, frame[SHARD_INDEX], uris) for frame in rows)
        with self._sandboxes.borrow() as connection:
            try:
                with hold(connection, _input(tables, in_memory=rows.in_memory)) as held:
                    shardwise = ShardwiseSql(connection, partials.sql(), held, groupable=True)
                    if len(windows) > 1 or held.in_memory:
                        return plain_table(shardwise.run(windows))
                    with shardwise.reading(windows[0]) as reader:
                        return space.gathered(*marked(reader, windows[0]))
            except duckdb.OutOfMemoryException as error:
                raise OutOfMemory(f"outputs.{output.table}: {reason(error)}; raise run.memory or make shards smaller") from error
            except duckdb.Error as error:
                raise TransformFailed(f"outputs.{output.table}: {reason(error)}") from error


def _input(tables: Iterator[pa.Table], *, in_memory: bool) -> RowsInput:
    if in_memory:
        return pa.concat_tables(list(tables))
    first = next(tables)
    return RowStream(first.schema, (batch for table in (first, *tables) for batch in table.to_batches()))


def _fit_for(output: RowsOutput, frame: pl.DataFrame) -> pl.DataFrame:
    where, columns = f"outputs.{output.table}", user_columns(frame)
    refuse_unfit(where, columns)
    taken = [name for name in columns if name in RESERVED_NAMES or name.lower() == DELETED_COLUMN]
    if taken:
        raise ConfigurationError(f"{where}: {taken[0]!r} is a name that raypipe keeps for itself: rename it")
    require_columns(f"{where}.key", [*output.key, *output.latest_by], {name: frame.schema[name] for name in columns})
    return frame


def _deleted(output: RowsOutput, frame: pl.DataFrame) -> pl.Series:
    if output.delete_when is None:
        return pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True).alias(DELETED_COLUMN)
    schema = pl.Schema({name: frame.schema[name] for name in user_columns(frame)})
    condition = compile_conditions({"delete_when": output.delete_when}, schema, where=f"outputs.{output.table}")
    return condition.evaluate(frame)["delete_when"].fill_null(value=False).alias(DELETED_COLUMN)
