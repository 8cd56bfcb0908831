"""Output tables in a DuckDB file: made, widened, and their replaced contributions taken out and new ones put in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.window import Window
from raypipe.destinations.contributions import READ_ROWS, Contribution
from raypipe.destinations.duckdb_engine import WRITER_THREADS
from raypipe.destinations.duckdb_file import use_threads
from raypipe.destinations.duckdb_state import changed, columns_of, query
from raypipe.destinations.duckdb_types import UNKNOWN, widened
from raypipe.destinations.sql_statements import statements
from raypipe.destinations.stored import Stored
from raypipe.errors import ShardError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN

_SQL = statements("commit")
Columns = Mapping[str, str]

INSERTING_THREADS = 2  # of many rows one takes in a row group while the other compresses one; each more would hold another


@dataclass(frozen=True, slots=True)
class Typed:
    """A contribution and its columns in DuckDB's types, without `_shard`."""

    contribution: Contribution
    columns: Columns


def typed(connection: duckdb.DuckDBPyConnection, contribution: Contribution) -> Typed:
    """Ask DuckDB what it makes of the columns."""
    connection.register("described_in", contribution.schema.empty_table())
    try:
        rows = query(connection, "DESCRIBE SELECT * FROM described_in")
    finally:
        connection.unregister("described_in")
    columns = {name: "VARCHAR" if kind.startswith("ENUM") else kind for name, kind, *_ in rows}
    columns.pop(SHARD_COLUMN, None)
    return Typed(contribution, columns)


def fit_table(connection: duckdb.DuckDBPyConnection, stored: Stored, pieces: Sequence[Typed]) -> bool:
    """Create the table, or add and widen columns, so that all contributions fit; tell whether anything was changed.

    Raises ShardError where they cannot fit.
    A column whose type is not known yet (only nulls so far) waits until it is.
    """
    have = columns_of(connection, stored.output, stored.relation) if stored.created else {}
    want = dict(have)
    spelled = {name.lower(): name for name in want}
    for piece in pieces:
        for name, kind in piece.columns.items():
            if kind != UNKNOWN:
                known = spelled.setdefault(name.lower(), name)
                want[known] = _fitting(stored.output, known, want.get(known, kind), kind)
    if not stored.created:
        body = ", ".join(f"{quote(name)} {kind}" for name, kind in [*want.items(), (SHARD_COLUMN, "TIMESTAMP NOT NULL")])
        query(connection, f"CREATE TABLE {stored.relation} ({body})")
        return True
    for name, kind in want.items():
        if name not in have:
            query(connection, f"ALTER TABLE {stored.relation} ADD COLUMN {quote(name)} {kind}")
        elif have[name] != kind:
            query(connection, f"ALTER TABLE {stored.relation} ALTER COLUMN {quote(name)} SET DATA TYPE {kind}")
    return want != have


def delete_ranges(connection: duckdb.DuckDBPyConnection, stored: Stored, ranges: Sequence[Window]) -> int:
    """Delete what the shards that start in these ranges contributed; return the number of rows."""
    sql = (
        f"DELETE FROM {stored.relation} AS target USING replaced_in "
        f"WHERE target._shard >= make_timestamp($lo) AND target._shard < make_timestamp($hi) "
        f"AND target._shard >= replaced_in.lo AND target._shard < replaced_in.hi"
    )
    return changed(connection, sql, {"lo": ranges[0].start_us, "hi": ranges[-1].end_us})


def insert_rows(connection: duckdb.DuckDBPyConnection, stored: Stored, piece: Typed) -> int:
    """Insert a contribution by name; return the number of rows."""
    names = [name for name, kind in piece.columns.items() if kind != UNKNOWN]
    columns = ", ".join(quote(name) for name in (*names, SHARD_COLUMN))
    rows = piece.contribution.scannable()
    if isinstance(rows, pa.Table) and rows.num_rows > READ_ROWS:
        rows = _row_groups(rows)
    # Not set back: to take a thread away costs 5 ms, and what comes after many rows are a few of the ledger.
    use_threads(connection, WRITER_THREADS if isinstance(rows, pa.Table) else INSERTING_THREADS)
    connection.register("rows_in", rows)
    try:
        return changed(connection, f"INSERT INTO {stored.relation} BY NAME SELECT {columns} FROM rows_in")
    except duckdb.DataError as error:
        raise ShardError(f"table {stored.output}: a value of the contribution does not fit its column: {error}") from error
    finally:
        with contextlib.suppress(duckdb.TransactionException):  # after an error the transaction takes nothing more
            connection.unregister("rows_in")


def _row_groups(rows: pa.Table) -> pa.RecordBatchReader:
    """Return rows in batches of a row group each, which threads take in at once and the engine puts in order."""
    groups = (rows.slice(at, READ_ROWS).combine_chunks() for at in range(0, rows.num_rows, READ_ROWS))
    return pa.RecordBatchReader.from_batches(rows.schema, (batch for group in groups for batch in group.to_batches()))


def schema_number(connection: duckdb.DuckDBPyConnection, pipeline: str, output: str, columns: Columns) -> int:
    """Return the number under which a column set is remembered, so that digests stay provable when columns are added."""
    text = json.dumps(sorted(columns.items()))
    values = {"pipeline": pipeline, "output": output}
    known = {found: int(number) for number, found in query(connection, _SQL["schemas_of"], values)}
    if text not in known:
        known[text] = len(known) + 1
        query(connection, _SQL["add_schema"], {**values, "number": known[text], "columns": text})
    return known[text]


def _fitting(table: str, column: str, have: str, came: str) -> str:
    wide = widened(have, came)
    if wide is None:
        raise ShardError(
            f"table {table}, column {column}: the table has {have}, this contribution brings {came}, and no type holds "
            f"both safely. Cast the column in the pipeline (a `cast` step, or CAST in the output's SQL), or rename the output, "
            f"or drop the table and run again"
        )
    return wide
