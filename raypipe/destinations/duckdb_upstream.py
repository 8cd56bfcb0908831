"""DuckDBTable: a table of another pipeline in a DuckDB file, for those who read it; held only while rows are fetched."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from raypipe.core.digest import quote
from raypipe.core.fingerprint import fingerprint
from raypipe.core.intervals import normalise
from raypipe.core.upstream import TablePart, UpstreamTable
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import columns_of, existing_tables, inspecting, query
from raypipe.destinations.sql_statements import statements
from raypipe.errors import InputChanged, UsageError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN, Clock

if TYPE_CHECKING:
    import pyarrow as pa

_SQL = statements("upstream")
FETCHED_ROWS = 65_536  # at once: a batch of Arrow


@dataclass(frozen=True, slots=True)
class DuckDBTable:
    """Implements `ports.Upstream`: one table of a DuckDB file that holds raypipe's state. Picklable."""

    path: str
    name: str
    clock: Clock

    def table(self) -> UpstreamTable | None:
        """Return the table as it stands; None while no pipeline writes it."""
        with inspecting(self.path, self.clock) as connection:
            return _table(connection, self.path, self.name) if connection else None

    def others(self) -> Sequence[str]:
        """Return the other tables that pipelines write there."""
        with inspecting(self.path, self.clock) as connection:
            outputs = query(connection, _SQL["outputs"]) if connection else []
            return [output for (output,) in outputs if output != self.name]

    def schema(self) -> pa.Schema | None:
        """Return the columns of the table, without those that raypipe adds; None while nothing is committed to it."""
        with inspecting(self.path, self.clock) as connection:
            found = _table(connection, self.path, self.name) if connection else None
            if connection is None or found is None or not found.columns:
                return None
            return _rows(connection, self.name, list(found.columns), found.columns, ()).schema

    def copy(self, chosen: Callable[[UpstreamTable], Mapping[TablePart, Path]], columns: Sequence[str] | None, first: str) -> None:
        """Copy parts of the table into Parquet files: fetched in one snapshot, and put in order when the file is free again."""
        from raypipe.destinations.table_copies import Copies

        with inspecting(self.path, self.clock) as connection:
            found = _table(connection, self.path, self.name) if connection else None
            if connection is None or found is None:
                raise InputChanged(f"{self.path}: no pipeline writes a table {self.name} there any more")
            parts = chosen(found)
            if not parts:
                return
            names = [name for name in found.columns if columns is None or name in columns]
            copies = Copies(parts, first)
            copies.fetch(_rows(connection, self.name, names, found.columns, list(parts)))
        copies.finish()


def _table(connection: duckdb.DuckDBPyConnection, path: str, name: str) -> UpstreamTable | None:
    found = query(connection, _SQL["writer"], {"table": name})
    if not found:
        _refuse_stranger(connection, path, name)
        return None
    pipeline, merge, created, start_us = found[0]
    values = {"pipeline": pipeline, "table": name}
    coverage = [Window(lo, hi) for lo, hi in query(connection, _SQL["coverage"], values)]
    live = query(connection, _SQL["live"], values)
    return UpstreamTable(
        pipeline=pipeline,
        watermark_us=low_watermark(coverage, start_us),
        columns=columns_of(connection, name) if created else {},
        parts=_parts(live) if merge is None else _whole(connection, name, merge, live, created=created),
    )


def _parts(live: Sequence[tuple[Any, ...]]) -> tuple[TablePart, ...]:
    return tuple(TablePart(Window(lo, hi), version, rows) for lo, hi, version, rows in live if rows)


def _whole(
    connection: duckdb.DuckDBPyConnection, name: str, merge: str, live: Sequence[tuple[Any, ...]], *, created: bool
) -> tuple[TablePart, ...]:
    """Return a table that is merged of contributions as one part: any commit may change any row of it."""
    rows = int(query(connection, f"SELECT count(*) FROM main.{quote(name)}")[0][0]) if created else 0
    return (TablePart(None, fingerprint([merge, [list(one) for one in live]]), rows),) if rows else ()


def _refuse_stranger(connection: duckdb.DuckDBPyConnection, path: str, name: str) -> None:
    """Raise UsageError for a table of somebody else: nobody would tell when its rows change."""
    if not existing_tables(connection, [name]):
        return
    outputs = [output for (output,) in query(connection, _SQL["outputs"])]
    near = difflib.get_close_matches(name, outputs, n=1)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    raise UsageError(
        f"source.table: {name} of {path} is not written by a pipeline, so nobody tells when its rows change; expected one of "
        f"{', '.join(outputs) or 'the outputs of a pipeline, of which there are none'}{meant}"
    )


def _rows(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], kinds: Mapping[str, str], parts: Sequence[TablePart]
) -> pa.RecordBatchReader:
    """Return the rows of parts, with the start of the shard that wrote each where the table has it."""
    if any("WITH TIME ZONE" in kinds[column] for column in columns):
        query(connection, "SET TimeZone = 'UTC'")  # else the type of a column would depend on the machine
    windows = normalise(part.window for part in parts if part.window is not None)
    wanted = ", ".join(map(quote, [*columns, *([SHARD_COLUMN] if windows else [])]))
    sql = f"SELECT {wanted} FROM main.{quote(name)}"
    if windows:
        sql += f" WHERE {' OR '.join(map(_within, windows))}"
    reader: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(FETCHED_ROWS)
    return reader


def _within(window: Window) -> str:
    return f"({SHARD_COLUMN} >= make_timestamp({window.start_us}) AND {SHARD_COLUMN} < make_timestamp({window.end_us}))"
