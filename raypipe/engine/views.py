"""Views: SQL over a pipeline's own tables, checked to see nothing else, and bound to the columns that these have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from raypipe.engine.merged import union_outputs
from raypipe.engine.output_sql import SqlRefused, parse_select
from raypipe.engine.sandbox import MEMORY_BYTES_MIN, Sandboxes, reason
from raypipe.errors import ConfigurationError, TransformFailed
from raypipe.pipeline import Pipeline
from raypipe.ports import SHARD_COLUMN


def view_selects(pipeline: Pipeline) -> dict[str, str]:
    """Return the SQL of each view as one statement. Raises ConfigurationError that names each that is not over the tables alone."""
    tables = [output.table for output in pipeline.outputs]
    found: dict[str, str] = {}
    problems: list[str] = []
    for view in pipeline.views:
        try:
            found[view.name] = parse_select(view.sql, tables)[0]
        except SqlRefused as refused:
            problems.append(f"outputs.{view.name}.view: {refused}")
    if problems:
        raise ConfigurationError(problems)
    return found


def view_problems(pipeline: Pipeline, columns: Mapping[str, pa.Schema], folder: Path) -> list[str]:
    """Return what of the views does not fit tables of these columns, `_shard` aside."""
    united = {output.table for output in union_outputs(pipeline.outputs)}
    shard = pa.field(SHARD_COLUMN, pa.timestamp("us"))
    tables = {name: (one.append(shard) if name in united else one).empty_table() for name, one in columns.items()}
    try:
        selects = view_selects(pipeline)
    except ConfigurationError as error:
        return list(error.problems)
    if len(tables) < len(pipeline.outputs):
        return []  # what is wrong with those that are missing is told already
    problems = []
    for name, sql in selects.items():
        try:
            list(view_rows({name: sql}, tables, folder))
        except TransformFailed as error:
            problems.append(str(error))
    return problems


def view_rows(selects: Mapping[str, str], tables: Mapping[str, pa.Table], folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield each view and what it shows of these tables. Raises TransformFailed with DuckDB's reason."""
    if not selects:
        return
    with contextlib.closing(Sandboxes(MEMORY_BYTES_MIN, folder)) as sandboxes, sandboxes.borrow() as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        for name, sql in selects.items():
            try:
                yield name, connection.sql(f"SELECT * FROM (\n{sql}\n)").to_arrow_table()
            except duckdb.Error as error:
                raise TransformFailed(f"outputs.{name}.view: {reason(error)}") from error
