"""Merged outputs: what shards contribute to keyed and combined tables, and what the tables of one shard alone would hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from raypipe.engine.batches import RESERVED_NAMES, SHARD_INDEX, Batch, shard_column, shard_starts, user_columns, with_series
from raypipe.engine.column_names import refuse_unfit, require_columns
from raypipe.engine.combined import narrowed, of_one_shard, of_several_shards
from raypipe.engine.deduplicate import DeduplicateStep
from raypipe.engine.expressions import Compiled, compile_conditions
from raypipe.engine.partials import Partials, compile_partials, tie_columns
from raypipe.engine.per_columns import PerColumns
from raypipe.engine.quality import Books
from raypipe.engine.quarantine import Quarantine
from raypipe.engine.sandbox import Sandboxes, reason
from raypipe.engine.spool import FrameSpool
from raypipe.engine.table_spool import IN_MEMORY, READ_ROWS, Rows, SpoolSpace, chained, scannable
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

    def __init__(
        self,
        outputs: Sequence[MergedOutput],
        sandboxes: Sandboxes,
        *,
        memory_bytes: int,
        held_bytes: int,
        spill_folder: Path,
    ) -> None:
        self.outputs = tuple(outputs)
        self._memory_bytes = memory_bytes
        self._held_bytes = held_bytes
        self._spill = spill_folder
        self._sandboxes = sandboxes
        self._partials: dict[str, PerColumns[Partials]] = {one.table: PerColumns() for one in self.outputs}
        self._deletes: dict[str, PerColumns[Compiled]] = {one.table: PerColumns() for one in self.outputs}

    def spool(self) -> FrameSpool:
        """Return a place where rows pass on their way to several outputs."""
        return FrameSpool(self._spill, self._memory_bytes // SPOOL_SHARE)

    def contributions(
        self,
        rows: Iterable[pl.DataFrame],
        windows: Sequence[Window],
        uris: Sequence[str],
        alone: Sequence[str] = (),
        space: SpoolSpace = IN_MEMORY,
    ) -> Iterator[tuple[MergedOutput, Rows]]:
        """Yield the contributions of the shards to each output (or to these alone); nothing where no columns are known.

        Each output reads the rows once. Raises ConfigurationError for an output that does not fit them, TransformFailed for a
        value that cannot be computed.
        """
        for output in self.wanted(alone):
            frames = iter(rows)
            first = next(frames, None)
            if first is not None:
                yield output, self._contribution(output, chain([first], frames), windows, uris, space)

    def wanted(self, alone: Sequence[str]) -> list[MergedOutput]:
        """Return the outputs that are computed when these alone are asked for, or all."""
        return [output for output in self.outputs if not alone or output.table in alone]

    def described(self, frame: pl.DataFrame) -> dict[str, pa.Schema]:
        """Return the columns of each table for rows like those of a frame without rows.

        Raises ConfigurationError that names all that does not fit.
        """
        found: dict[str, pa.Schema] = {}
        problems: list[str] = []
        for output in self.outputs:
            try:
                contribution = self._contribution(output, iter([frame]), [Window(0, 1)], [])
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
        self,
        output: MergedOutput,
        rows: Iterator[pl.DataFrame],
        windows: Sequence[Window],
        uris: Sequence[str],
        space: SpoolSpace = IN_MEMORY,
    ) -> Rows:
        if isinstance(output, RowsOutput):
            tables = self._keyed(output, rows, windows, uris)
            first = next(tables)
            return space.gathered(first.schema, (batch for table in chain([first], tables) for batch in table.to_batches()))
        return self._combined(output, rows, windows, uris, space)

    # ---- keyed ---------------------------------------------------------------------------------------------

    def _keyed(
        self, output: RowsOutput, rows: Iterator[pl.DataFrame], windows: Sequence[Window], uris: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the newest row of each key of each shard: older ones can never be the newest of all."""
        starts, sources = shard_starts(windows), pl.Series(uris, dtype=pl.String)
        where = f"outputs.{output.table}"
        step = DeduplicateStep(Deduplicate(key=output.key, latest_by=output.latest_by), where=where)
        books = Books(Tally(windows), Quarantine(windows, list(uris), 0))  # what a newer row replaces was loaded all the same
        batches = (Batch(_fit_for(output, frame)) for frame in rows)
        for batch in step.stream(batches, books, memory_bytes=self._memory_bytes, spill=self._spill):
            frame = batch.frame
            added = [*tie_columns(frame, sources), self._deleted(output, frame), shard_column(starts, frame[SHARD_INDEX])]
            shown = with_series(frame[user_columns(frame)], *added)
            yield shown.to_arrow(compat_level=pl.CompatLevel.newest())

    def _deleted(self, output: RowsOutput, frame: pl.DataFrame) -> pl.Series:
        if output.delete_when is None:
            return pl.Series(DELETED_COLUMN, [False]).new_from_index(0, frame.height)
        when, where = {"delete_when": output.delete_when}, f"outputs.{output.table}"
        condition = self._deletes[output.table].of(frame, lambda schema: compile_conditions(when, schema, where=where))
        return condition.evaluate(frame)["delete_when"].fill_null(value=False).alias(DELETED_COLUMN)

    # ---- combined ------------------------------------------------------------------------------------------

    def _combined(
        self, output: GroupByOutput, rows: Iterator[pl.DataFrame], windows: Sequence[Window], uris: Sequence[str], space: SpoolSpace
    ) -> Rows:
        first = next(rows)
        partials = self._partials[output.table].of(first, lambda schema: compile_partials(output, schema))
        tables = narrowed(partials, chain([first], rows), windows, uris)
        with self._sandboxes.borrow() as connection:
            try:
                if len(windows) > 1:
                    return plain_table(of_several_shards(connection, partials, tables, windows, self._held_bytes))
                segments = of_one_shard(connection, partials, tables, windows[0], space)
            except duckdb.OutOfMemoryException as error:
                raise OutOfMemory(f"outputs.{output.table}: {reason(error)}; raise run.memory or make shards smaller") from error
            except duckdb.Error as error:
                raise TransformFailed(f"outputs.{output.table}: {reason(error)}") from error
        return segments[0] if len(segments) == 1 else self.united(output, chained(segments), windows[0], space)


def _fit_for(output: RowsOutput, frame: pl.DataFrame) -> pl.DataFrame:
    where, columns = f"outputs.{output.table}", user_columns(frame)
    refuse_unfit(where, columns)
    taken = [name for name in columns if name in RESERVED_NAMES or name.lower() == DELETED_COLUMN]
    if taken:
        raise ConfigurationError(f"{where}: {taken[0]!r} is a name that raypipe keeps for itself: rename it")
    require_columns(f"{where}.key", [*output.key, *output.latest_by], {name: frame.schema[name] for name in columns})
    return frame
