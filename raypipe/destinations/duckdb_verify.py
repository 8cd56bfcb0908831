"""Proving a DuckDB destination: the laws of the ledger, and that each table holds what its live ranges say, row for row."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from raypipe.core.digest import digest_of_sums, digest_sums_sql, quote
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window, iso
from raypipe.destinations.duckdb_snapshot import read_tables
from raypipe.destinations.duckdb_state import columns_of, existing_tables, query
from raypipe.destinations.duckdb_types import UNKNOWN
from raypipe.destinations.sql_statements import statements
from raypipe.ports import SHARD_COLUMN, Check

SHOWN_MAX = 5  # a check names the first few of what is wrong

_SQL = statements("inspect")


def verify(connection: duckdb.DuckDBPyConnection, pipeline: str) -> list[Check]:
    """Check everything, inside the caller's transaction."""
    query(connection, "SET TimeZone = 'UTC'")  # the text of a TIMESTAMPTZ, and so its digest, depends on it
    values = {"pipeline": pipeline}
    outputs = [output for (output,) in query(connection, _SQL["outputs"], values)]
    checks = [_law(connection, values, *law) for law in _LAWS]
    checks += _sequence(connection, values), _coverage(connection, pipeline), _watermark(connection, pipeline, outputs)
    there = existing_tables(connection, outputs)
    checks += [_digests(connection, pipeline, output, exists=output in there) for output in outputs]
    return checks


def _check(name: str, wrong: Sequence[str], good: str) -> Check:
    more = f" (and {len(wrong) - SHOWN_MAX} more)" if len(wrong) > SHOWN_MAX else ""
    return Check(name, not wrong, "; ".join(wrong[:SHOWN_MAX]) + more if wrong else good)


# ---- laws of the ledger: statements that find what breaks them ---------------------------------------------

_LAWS: tuple[tuple[str, str, str, Callable[..., str]], ...] = (
    ("accounts", "unbalanced", "every row read is loaded, filtered, duplicate or quarantined",
     lambda seq, lo, hi: f"commit {seq}, shard {Window(lo, hi)} does not balance"),
    ("live_disjoint", "overlapping", "no two live ranges of an output share time",
     lambda output, lo, hi: f"{output}: {Window(lo, hi)} overlaps an earlier live range"),
    ("live_in_ledger", "unledgered", "every live range is one entry of the ledger",
     lambda output, lo, hi, found: f"{output}: {Window(lo, hi)} has {found} entries in the ledger"),
    ("commit_ids", "shared_numbers", "every commit has one number and one id",
     lambda what: f"{what} is used twice"),
    ("fences", "after_end", "no run committed after its end",
     lambda run, seq: f"commit {seq} is of run {run}, which had ended, has no such epoch or does not exist"),
    ("quarantine", "quarantine_differs", "the quarantined rows are those of the accounts",
     lambda lo, said, found: f"shard {iso(lo)}: the accounts say {said} quarantined rows, there are {found}"),
)  # fmt: skip


def _law(
    connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any], name: str, statement: str, good: str, tell: Callable[..., str]
) -> Check:
    return _check(name, [tell(*row) for row in query(connection, _SQL[statement], values)], good)


def _sequence(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> Check:
    ((numbers, first, last, commit_seq),) = query(connection, _SQL["sequence"], values)
    wrong = [] if (first, last, numbers) == (1, commit_seq, commit_seq) or commit_seq is None else [
        f"the pipeline counts {commit_seq} commits, the ledger holds {numbers}, numbered {first} to {last}"
    ]  # fmt: skip
    return _check("commit_seq", wrong, f"{commit_seq or 0} commits, numbered without a gap")


def _coverage(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Check:
    live, covered = read_tables(connection, pipeline)
    wrong = [
        f"{output}: covered {_ranges(covered.get(output, ()))}, but the live ranges make {_ranges(live.get(output, ()))}"
        for output in sorted({*live, *covered})
        if covered.get(output, ()) != live.get(output, ())
    ]
    return _check("coverage", wrong, "coverage is the union of the live ranges")


def _watermark(connection: duckdb.DuckDBPyConnection, pipeline: str, outputs: Sequence[str]) -> Check:
    row = query(
        connection,
        "SELECT epoch_us(start), epoch_us(watermark) FROM _raypipe.pipeline WHERE pipeline = $pipeline",
        {"pipeline": pipeline},
    )
    if not row:
        return _check("watermark", [], "there is no such pipeline here yet")
    start_us, said = row[0]
    live, _ = read_tables(connection, pipeline)
    marks = [low_watermark(live.get(output, ()), start_us) for output in outputs]
    due = None if None in marks else min((mark for mark in marks if mark is not None), default=None)
    wrong = [] if said == due else [f"it says {_moment(said)}, the live ranges give {_moment(due)}"]
    return _check("watermark", wrong, _moment(due))


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
    """Values in columns that the contribution did not have."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One output table and the live ranges that it should be made of."""

    connection: duckdb.DuckDBPyConnection
    output: str
    live: Sequence[tuple[int, int, int, str, int | None]]
    found: dict[int, _Found] = field(default_factory=dict)

    def range_of(self, shard_us: int | None) -> int | None:
        """Return the start of the live range that holds an instant."""
        position = -1 if shard_us is None else bisect.bisect_right(self.live, shard_us, key=lambda one: one[0]) - 1
        if shard_us is None or position < 0 or shard_us >= self.live[position][1]:
            return None
        return self.live[position][0]


def _digests(connection: duckdb.DuckDBPyConnection, pipeline: str, output: str, *, exists: bool) -> Check:
    """Compare rows and multiset digest of each live range with what the table holds."""
    values = {"pipeline": pipeline, "output": output}
    table = _Table(connection, output, query(connection, _SQL["live_digests"], values))
    name = f"table {output}"
    if not exists:
        wrong = (
            [f"it does not exist, and should hold {sum(one[2] for one in table.live)} rows"]
            if any(one[2] for one in table.live)
            else []
        )
        return _check(name, wrong, "nothing was committed to it yet")
    columns = columns_of(connection, output)
    wrong = _count_rows(table)
    schemas = {number: json.loads(text) for number, text in query(connection, _SQL["schemas"], values)}
    for number, recorded in schemas.items():
        _add_digests(table, columns, dict(recorded), {**values, "number": number})
    wrong += [text for live in table.live if (text := _difference(table.found.get(live[0], _Found()), *live[:4]))]
    return _check(name, wrong, f"{sum(one[2] for one in table.live)} rows in {len(table.live)} live ranges, as committed")


def _count_rows(table: _Table) -> list[str]:
    """Count the rows of each live range; return what lies outside of all."""
    wrong = []
    counts = query(
        table.connection,
        f"SELECT epoch_us(_shard) AS shard, count(*) FROM main.{quote(table.output)} GROUP BY shard ORDER BY shard",
    )
    for shard_us, rows in counts:
        start_us = table.range_of(shard_us)
        if start_us is None:
            wrong.append(f"{rows} rows of shard {_moment(shard_us)}, which is in no live range")
        else:
            table.found.setdefault(start_us, _Found()).rows += rows
    return wrong


def _add_digests(table: _Table, columns: Mapping[str, str], recorded: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Add the hashes of the rows that were committed with these columns, as they were then."""
    names = {name.lower(): name for name in columns}
    picked = [f"{_as_recorded(name, kind, names)} AS {quote(name)}" for name, kind in recorded.items()]
    added = [quote(name) for lower, name in names.items() if lower not in {one.lower() for one in recorded}]
    strays = " + ".join(f"({name} IS NOT NULL)::BIGINT" for name in added) or "0"
    inner = ", ".join([f"epoch_us({SHARD_COLUMN}) AS shard", f"{strays} AS strays", *picked])
    rows = query(
        table.connection,
        f"SELECT shard, {digest_sums_sql(list(recorded))}, sum(strays) FROM ("
        f"SELECT {inner} FROM main.{quote(table.output)} WHERE {SHARD_COLUMN} IN ("
        f"SELECT lo FROM _raypipe.live WHERE pipeline = $pipeline AND output = $output AND schema_number = $number"
        f")) GROUP BY shard",
        values,
    )
    for shard_us, low, high, stray in rows:
        found = table.found.setdefault(shard_us, _Found())
        found.low, found.high, found.strays = found.low + int(low), found.high + int(high), found.strays + int(stray)


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
