"""Views in a DuckDB file: SQL over a pipeline's own tables, made in the transaction that completes these or brings other SQL."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from raypipe.core.digest import quote
from raypipe.destinations.duckdb_state import existing_tables, has_views, query
from raypipe.destinations.sql_statements import statements
from raypipe.errors import ConfigurationError, UsageError

_SQL = statements("runs")


def recorded_views(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Mapping[str, str]:
    """Return the views that the pipeline keeps, and their SQL."""
    if not has_views(connection):
        return {}
    return {view: sql for view, owner, sql in query(connection, _SQL["view_owners"]) if owner == pipeline}


def drop_views(connection: duckdb.DuckDBPyConnection, pipeline: str, wanted: Mapping[str, str]) -> set[str]:
    """Drop the pipeline's views that are wanted no more; return their names, which are free from now on."""
    dropped = set(recorded_views(connection, pipeline)) - set(wanted)
    for view in dropped:
        query(connection, f"DROP VIEW IF EXISTS main.{quote(view)}")
        query(connection, _SQL["forget_view"], {"pipeline": pipeline, "view": view})
    return dropped


def claim_views(connection: duckdb.DuckDBPyConnection, pipeline: str, wanted: Mapping[str, str]) -> None:
    """Note the views that the pipeline keeps from now on; those that are new, changed or gone are to be made.

    Raises UsageError for a name that stands for something that is not a view of this pipeline.
    """
    query(connection, statements("schema")["create_views"])
    owners = {view: (owner, sql) for view, owner, sql in query(connection, _SQL["view_owners"])}
    tables = {output.lower() for output, *_ in query(connection, _SQL["owners"])}
    existing = existing_tables(connection, wanted)
    for view, sql in wanted.items():
        owner, before = owners.get(view, (None, None))
        if owner not in (None, pipeline) or view in tables or (owner is None and view in existing):
            holder = f"pipeline {owner}" if owner else "a table or view that raypipe does not keep"
            raise UsageError(f"view {view}: this name is taken by {holder}: give it another name, or drop what stands there")
        if before != sql or view not in existing:
            query(connection, _SQL["forget_view"], {"pipeline": pipeline, "view": view})
            query(connection, _SQL["add_view"], {"pipeline": pipeline, "view": view, "sql": sql})


def make_views(connection: duckdb.DuckDBPyConnection, pipeline: str) -> None:
    """Create or replace the views that do not stand yet, once all tables of the pipeline are there.

    Raises ConfigurationError with DuckDB's reason; the caller's transaction is lost then.
    """
    due = query(connection, _SQL["views_to_make"], {"pipeline": pipeline})
    for view, sql in due:
        try:
            query(connection, f"CREATE OR REPLACE VIEW main.{quote(view)} AS\n{sql}")
        except duckdb.Error as error:
            reason = str(error).split("\n", 1)[0]
            raise ConfigurationError(f"outputs.{view}.view: {reason}; `raypipe check` finds such mistakes") from error
    if due:
        query(connection, _SQL["views_made"], {"pipeline": pipeline})
