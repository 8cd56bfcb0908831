"""Read-only questions of people to a DuckDB file: table sizes, quarantine, ledger. Times are given as ISO 8601 text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from raypipe.core.digest import quote
from raypipe.core.window import Window, iso
from raypipe.destinations.duckdb_engine import beside
from raypipe.destinations.duckdb_state import existing_tables, query
from raypipe.destinations.sql_statements import statements

_SQL = statements("inspect")
_TIMES = frozenset({"first", "last", "shard", "start", "end", "committed"})

EXPORTED_ROWS = 10_000  # at once: their raw texts are up to 16 kB each

Rows = Sequence[Mapping[str, Any]]


def table_rows(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Mapping[str, int]:
    """Return the number of rows of each output table that exists."""
    outputs = [output for output, _ in query(connection, _SQL["outputs"], {"pipeline": pipeline})]
    there = existing_tables(connection, outputs)
    return {one: int(query(connection, f"SELECT count(*) FROM main.{quote(one)}")[0][0]) for one in outputs if one in there}


def quarantine_counts(connection: duckdb.DuckDBPyConnection, pipeline: str, run_id: str | None) -> Rows:
    """Return rule, rows, first and last shard, and an example's error, most rows first; of one run or of all."""
    return _rows(connection, "quarantine_counts", {"pipeline": pipeline, "run": run_id})


def quarantine_rows(
    connection: duckdb.DuckDBPyConnection, pipeline: str, *, rule: str | None, window: Window | None, limit: int
) -> Rows:
    """Return quarantined rows: shard (its start), source, position, rule, error, raw, truncated, run."""
    return _rows(connection, "quarantine_rows", {**_chosen(pipeline, rule, window), "limit": limit})


def quarantine_shards(
    connection: duckdb.DuckDBPyConnection, pipeline: str, *, rule: str | None, window: Window | None
) -> frozenset[int]:
    """Return the starts of the shards that have such rows in quarantine."""
    return frozenset(start_us for (start_us,) in query(connection, _SQL["quarantine_shards"], _chosen(pipeline, rule, window)))


def export_quarantine(
    connection: duckdb.DuckDBPyConnection, pipeline: str, path: Path, *, rule: str | None, window: Window | None
) -> int:
    """Write quarantined rows to a file, a batch at a time; return how many."""
    from raypipe.destinations.quarantine_export import export_rows  # Arrow's writers: of no use to other questions

    with beside(connection) as cursor:  # a result that was not read to its end goes with it
        found = cursor.sql(_SQL["quarantine_all"], params=dict(_chosen(pipeline, rule, window)))
        return export_rows(found.to_arrow_reader(EXPORTED_ROWS), path)


def _chosen(pipeline: str, rule: str | None, window: Window | None) -> Mapping[str, Any]:
    return {
        "pipeline": pipeline,
        "rule": rule,
        "lo": window.start_us if window else None,
        "hi": window.end_us if window else None,
    }


def ledger(connection: duckdb.DuckDBPyConnection, pipeline: str, limit: int) -> Rows:
    """Return the newest ledger entries."""
    return _rows(connection, "ledger", {"pipeline": pipeline, "limit": limit})


def _rows(connection: duckdb.DuckDBPyConnection, statement: str, values: Mapping[str, Any]) -> Rows:
    found = query(connection, _SQL[statement], values)
    columns = [name for name, *_ in connection.description or ()]
    return [
        {name: iso(value) if name in _TIMES and value is not None else value for name, value in zip(columns, row, strict=True)}
        for row in found
    ]
