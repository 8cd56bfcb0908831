"""Proving a DuckDB destination: the laws of the ledger, and that each table holds what its live ranges say, row for row."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import duckdb

from raypipe.core.digest import digest_of_sums, digest_sums_sql, quote
from raypipe.core.merge import Merge
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window, iso
from raypipe.destinations.duckdb_laws import SHOWN_MAX, check_laws, check_of, check_readable
from raypipe.destinations.duckdb_merged import unlike_its_merge
from raypipe.destinations.duckdb_snapshot import read_tables
from raypipe.destinations.duckdb_state import columns_of, existing_tables, query
from raypipe.destinations.duckdb_types import UNKNOWN
from raypipe.destinations.sql_statements import statements
from raypipe.destinations.stored import Stored
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN, Check

_SQL = statements("inspect")


def verify(connection: duckdb.DuckDBPyConnection, pipeline: str) -> list[Check]:
    """Check everything, inside the caller's transaction."""
    query(connection, "SET TimeZone = 'UTC'")  # the text of a TIMESTAMPTZ, and so its digest, depends on it
    readable = check_readable(connection, pipeline)
    if not readable.ok:
        return [readable]
    values = {"pipeline": pipeline}
    stored = [Stored.of_state(output, merge) for output, merge in query(connection, _SQL["outputs"], values)]
    outputs = [one.output for one in stored]
    checks = [readable, *check_laws(connection, pipeline)]
    checks += _sequence(connection, values), _coverage(connection, pipeline), _watermark(connection, pipeline, outputs)
    there = existing_tables(connection, outputs)
    checks += [_digests(connection, pipeline, one, exists=one.output in there) for one in stored]
    checks += [_merged(connection, one, one.merge) for one in stored if one.merge and one.output in there]
    return checks


def _sequence(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> Check:
    ((numbers, first, last, commit_seq),) = query(connection, _SQL["sequence"], values)
    wrong = [] if (first, last, numbers) == (1, commit_seq, commit_seq) or commit_seq is None else [
        f"the pipeline counts {commit_seq} commits, the ledger holds {numbers}, numbered {first} to {last}"
    ]  # fmt: skip
    return check_of("commit_seq", wrong, f"{commit_seq or 0} commits, numbered without a gap")


def _coverage(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Check:
    live, covered = read_tables(connection, pipeline)
    wrong = [
        f"{output}: covered {_ranges(covered.get(output, ()))}, but the live ranges make {_ranges(live.get(output, ()))}"
        for output in sorted({*live, *covered})
        if covered.get(output, ()) != live.get(output, ())
    ]
    return check_of("coverage", wrong, "coverage is the union of the live ranges")


def _watermark(connection: duckdb.DuckDBPyConnection, pipeline: str, outputs: Sequence[str]) -> Check:
    row = query(
        connection,
        "SELECT epoch_us(start), epoch_us(watermark) FROM _raypipe.pipeline WHERE pipeline = $pipeline",
        {"pipeline": pipeline},
    )
    if not row:
        return check_of("watermark", [], "there is no such pipeline here yet")
    start_us, said = row[0]
    live, _ = read_tables(connection, pipeline)
    marks = [low_watermark(live.get(output, ()), start_us) for output in outputs]
    due = None if None in marks else min((mark for mark in marks if mark is not None), default=None)
    wrong = [] if said == due else [f"it says {_moment(said)}, the live ranges give {_moment(due)}"]
    return check_of("watermark", wrong, _moment(due))


def _ranges(windows: Sequence[Window]) -> str:
    return ", ".join(map(str, windows[:SHOWN_MAX])) or "nothing"


def _moment(us: int | None) -> str:
    return "none" if us is None else iso(us)


# ---- tables against live ranges ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What a table holds within one live range."""

    rows: int = 0
    low: int = 0
    high: int = 0
    strays: int = 0
    """Values in columns that the contribution did not have, or that its type cannot hold."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One output table and the live ranges that it should be made of."""

    connection: duckdb.DuckDBPyConnection
    stored: Stored
    live: Sequence[tuple[int, int, int, str, int | None]]
    found: dict[int, _Found] = field(default_factory=dict)

    def range_of(self, shard_us: int | None) -> int | None:
        """Return the start of the live range that holds an instant."""
        position = -1 if shard_us is None else bisect.bisect_right(self.live, shard_us, key=lambda one: one[0]) - 1
        if shard_us is None or position < 0 or shard_us >= self.live[position][1]:
            return None
        return self.live[position][0]


def _merged(connection: duckdb.DuckDBPyConnection, stored: Stored, merge: Merge) -> Check:
    """Compare a keyed or combined table with the merge of all contributions to it."""
    differing = unlike_its_merge(connection, stored, merge)
    wrong = [f"{differing} rows are not what the contributions make"] if differing else []
    return check_of(f"merge {stored.output}", wrong, "the table is the merge of the contributions of its live ranges")


def _digests(connection: duckdb.DuckDBPyConnection, pipeline: str, stored: Stored, *, exists: bool) -> Check:
    """Compare rows and multiset digest of each live range with what the table, or its contributions, hold."""
    values = {"pipeline": pipeline, "output": stored.output}
    table = _Table(connection, stored, query(connection, _SQL["live_digests"], values))
    name = f"table {stored.output}"
    if not exists:
        wrong = (
            [f"it does not exist, and should hold {sum(one[2] for one in table.live)} rows"]
            if any(one[2] for one in table.live)
            else []
        )
        return check_of(name, wrong, "nothing was committed to it yet")
    columns = columns_of(connection, stored.output, stored.relation)
    wrong = _count_rows(table)
    schemas = {number: json.loads(text) for number, text in query(connection, _SQL["schemas"], values)}
    for number, recorded in schemas.items():
        _add_digests(table, columns, dict(recorded), [live[0] for live in table.live if live[4] == number])
    wrong += [text for live in table.live if (text := _difference(table.found.get(live[0], _Found()), *live[:4]))]
    return check_of(name, wrong, f"{sum(one[2] for one in table.live)} rows in {len(table.live)} live ranges, as committed")


def _count_rows(table: _Table) -> list[str]:
    """Count the rows of each live range; return what lies outside of all."""
    wrong = []
    counts = query(
        table.connection,
        f"SELECT epoch_us(_shard) AS shard, count(*) FROM {table.stored.relation} GROUP BY shard ORDER BY shard",
    )
    for shard_us, rows in counts:
        start_us = table.range_of(shard_us)
        if start_us is None:
            wrong.append(f"{rows} rows of shard {_moment(shard_us)}, which is in no live range")
        else:
            table.found.setdefault(start_us, _Found()).rows += rows
    return wrong


def _add_digests(table: _Table, columns: Mapping[str, str], recorded: Mapping[str, str], starts: Sequence[int]) -> None:
    """Add the hashes of the rows that were committed with these columns, as they were then."""
    names = {name.lower(): name for name in columns}
    picked = [f"{_as_recorded(name, kind, names)} AS {quote(name)}" for name, kind in recorded.items()]
    strays = " + ".join(_strays(columns, recorded, names)) or "0"
    inner = ", ".join([f"epoch_us({SHARD_COLUMN}) AS shard", f"{strays} AS strays", *picked])
    rows = query(
        table.connection,
        f"SELECT shard, {digest_sums_sql(list(recorded))}, sum(strays) FROM ("
        f"SELECT {inner} FROM {table.stored.relation} WHERE {SHARD_COLUMN} IN ("
        f"SELECT make_timestamp(unnest($starts::BIGINT[])))) GROUP BY shard",
        {"starts": list(starts)},
    )
    for shard_us, low, high, stray in rows:
        found = table.found.setdefault(shard_us, _Found())
        found.low, found.high, found.strays = found.low + int(low), found.high + int(high), found.strays + int(stray)


def _strays(columns: Mapping[str, str], recorded: Mapping[str, str], names: Mapping[str, str]) -> Iterator[str]:
    """Yield what counts the values of a row that were not committed, whatever the digest says of the others."""
    kinds = {names[name.lower()]: kind for name, kind in recorded.items() if name.lower() in names}
    for name, kind in columns.items():
        column = quote(name)
        if name not in kinds:
            yield f"({column} IS NOT NULL)::BIGINT"
        elif kinds[name] not in (kind, UNKNOWN):  # the column was widened since: a value must fit its former type
            yield f"({column} IS DISTINCT FROM TRY_CAST(TRY_CAST({column} AS {kinds[name]}) AS {kind}))::BIGINT"


def _as_recorded(name: str, kind: str, names: Mapping[str, str]) -> str:
    actual = names.get(name.lower())
    if actual is None:
        return "NULL"
    return quote(actual) if kind == UNKNOWN else f"TRY_CAST({quote(actual)} AS {kind})"


def _difference(found: _Found, lo: int, hi: int, rows: int, digest: str) -> str | None:
    if found.rows != rows:
        return f"{Window(lo, hi)} should hold {rows} rows and holds {found.rows}"
    if found.strays or (rows and digest_of_sums(found.low, found.high) != digest):
        return f"{Window(lo, hi)} holds {rows} rows, but not those that were committed"
    return None
