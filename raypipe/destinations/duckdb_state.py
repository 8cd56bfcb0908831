"""The schema `_raypipe` of a DuckDB file: made once, its format version checked ever after."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from raypipe.core.digest import quote
from raypipe.destinations.duckdb_engine import beside
from raypipe.destinations.duckdb_file import reading
from raypipe.destinations.sql_statements import statements
from raypipe.errors import ShardError, StateFormat
from raypipe.ports import SHARD_COLUMN, Clock

FORMAT_VERSION = 3

_PARAMETER = re.compile(r"\$(\w+)")


def query(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run a statement with the values that it names, and fetch all: an open result would own the connection.

    Values that the statement does not name are left out, so that one mapping serves a group of statements.
    """
    named = _named(sql)
    bound = {name: value for name, value in (values or {}).items() if name in named}
    return connection.execute(sql, bound).fetchall()


@functools.cache
def _named(sql: str) -> frozenset[str]:
    return frozenset(_PARAMETER.findall(sql))


def changed(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None) -> int:
    """Run an INSERT, UPDATE or DELETE and return the number of rows that it changed."""
    return int(query(connection, sql, values)[0][0])


def has_state(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether raypipe was here; raises StateFormat when it was another format version."""
    runs = statements("runs")
    if not query(connection, runs["has_schema"])[0][0]:
        return False
    found = [version for (version,) in query(connection, runs["format_version"])]
    if found != [FORMAT_VERSION]:
        raise StateFormat(
            f"the schema _raypipe of this file has format version {found}, this raypipe knows {FORMAT_VERSION}: "
            f"use the version of raypipe that wrote it, or another file"
        )
    return True


@contextlib.contextmanager
def inspecting(path: str, clock: Clock, *, brief: bool = False) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """Open a file in one read transaction; None where raypipe never was. Raises DestinationBusy."""
    if not Path(path).exists():
        yield None
        return
    with reading(path, clock, brief=brief) as connection:
        connection.begin()
        try:
            yield connection if has_state(connection) else None
        finally:
            connection.rollback()


def create_state(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the schema `_raypipe`, inside the caller's transaction."""
    for sql in statements("schema").values():
        query(connection, sql, {"version": FORMAT_VERSION})


def has_views(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether the file knows of views; one of an earlier version without any does not."""
    with beside(connection) as probe:
        return _is_there(probe, "_raypipe.views")


def existing_tables(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> set[str]:
    """Return those of the names that are tables or views of the user's schema.

    Each is tried in a connection of its own, since a miss would abort the transaction; listing the engine's catalogue
    takes 40 ms in a fresh connection.
    """
    with beside(connection) as probe:
        return {name for name in names if _is_there(probe, f"main.{quote(name)}")}


def _is_there(probe: duckdb.DuckDBPyConnection, relation: str) -> bool:
    try:
        query(probe, f"DESCRIBE {relation}")
    except duckdb.CatalogException:
        return False
    except duckdb.BinderException:  # a view of something that has changed
        return True
    return True


def columns_of(connection: duckdb.DuckDBPyConnection, table: str, relation: str | None = None) -> dict[str, str]:
    """Return the columns of a table and their types, `_shard` aside; of another relation where its contributions stand."""
    try:
        found = {name: kind for name, kind, *_ in query(connection, f"DESCRIBE {relation or f'main.{quote(table)}'}")}
    except duckdb.CatalogException as error:
        raise ShardError(f"table {table} was dropped by another program: run again, and all of it is computed again") from error
    found.pop(SHARD_COLUMN, None)
    return found
