"""Comparing a table of two DuckDB files as multisets of rows: all values equal, floats within a tolerance, `_shard` aside."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from raypipe.core.digest import quote, row_hash_sql
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN

FLOAT_TOLERANCE = 1e-9
"""Floats are equal when they differ by at most this, times the larger of them where that is more than 1."""
DIFFERING_ROWS_MAX = 200  # looked through for the counterpart of the first one that differs
_FLOATS = ("DOUBLE", "FLOAT")
_SHARD = "_raypipe_shard_us"


@dataclass(frozen=True, slots=True)
class TableDifference:
    """Where two versions of a table differ first, by time of shard: a row of each, None where there is no counterpart."""

    table: str
    left: Mapping[str, Any] | None
    right: Mapping[str, Any] | None
    left_shard_us: int | None = None
    right_shard_us: int | None = None
    """Start of the shard that wrote the row; None also where the table does not tell."""
    columns: str = ""
    """How the columns differ; the rows are not compared then."""


def table_difference(left: str, right: str, table: str) -> TableDifference | None:
    """Compare a table of two files; None when it holds the same in both. A table that is missing is one without rows."""
    with contextlib.closing(duckdb.connect(":memory:", config={"threads": 1})) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        for name, path in (("a", left), ("b", right)):
            connection.execute(f"ATTACH '{path.replace(chr(39), chr(39) * 2)}' AS {name} (READ_ONLY)")
        columns = [_columns(connection, name, table) for name in ("a", "b")]
        if not columns[0] or not columns[1]:
            return _only_one(connection, table, columns)
        user = [{name: kind for name, kind in one.items() if name != SHARD_COLUMN} for one in columns]
        if user[0] != user[1]:
            names = [name for name in {**user[0], **user[1]} if user[0].get(name) != user[1].get(name)]
            texts = [f"{name}: {user[0].get(name, 'missing')} and {user[1].get(name, 'missing')}" for name in names]
            return TableDifference(table, None, None, columns=", ".join(texts))
        return _first(table, *_differing(connection, table, columns[0]))


def _columns(connection: duckdb.DuckDBPyConnection, database: str, table: str) -> dict[str, str]:
    found = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = $database AND schema_name = 'main' "
        "AND table_name = $table ORDER BY column_index",
        {"database": database, "table": table},
    ).fetchall()
    return dict(found)


def _only_one(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Mapping[str, str]]) -> TableDifference | None:
    """Compare a table with one that no shard ever wrote to."""
    for place, name in enumerate(("a", "b")):
        if columns[place] and (row := next(_rows(connection, f"{name}.main.{quote(table)}", columns[place], "true"), None)):
            shard_us, values = row
            return (
                TableDifference(table, values, None, shard_us)
                if place == 0
                else TableDifference(table, None, values, None, shard_us)
            )
    return None


@dataclass(frozen=True, slots=True)
class _Odd:
    """A row of one side that the other side lacks."""

    shard_us: int | None
    row: Mapping[str, Any]


def _differing(connection: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> tuple[list[_Odd], list[_Odd]]:
    """Return the rows of each side that have no equal one on the other, the earliest shards first."""
    floats = [name for name, kind in columns.items() if kind in _FLOATS]
    for name in ("a", "b"):
        connection.execute(f"CREATE TEMP TABLE rows_{name} AS {_numbered(f'{name}.main.{quote(table)}', columns, floats)}")
    close = " AND ".join(_close(place) for place in range(len(floats))) or "true"
    connection.execute(
        f"CREATE TEMP TABLE odd AS SELECT a.id AS a, b.id AS b FROM rows_a AS a FULL JOIN rows_b AS b USING (hash, place) "
        f"WHERE a.id IS NULL OR b.id IS NULL OR NOT ({close})"
    )
    sides = []
    for name in ("a", "b"):
        which = f"rowid IN (SELECT {name} FROM temp.odd WHERE {name} IS NOT NULL)"
        sides.append([_Odd(*one) for one in _rows(connection, f"{name}.main.{quote(table)}", columns, which)])
    return sides[0], sides[1]


def _numbered(relation: str, columns: Mapping[str, str], floats: Sequence[str]) -> str:
    """Select each row's hash without its floats, the floats, and its place among those of one hash.

    They are put in order as 32-bit floats first, so that the noise of two ways to add up does not pair them otherwise.
    """
    exact = {name: kind for name, kind in columns.items() if name not in floats and name != SHARD_COLUMN}
    values = [f"{_exact(name, kind)} AS {quote(name)}" for name, kind in exact.items()]
    values += [f"{quote(name)}::DOUBLE AS float_{place}" for place, name in enumerate(floats)]
    order = [f"TRY_CAST(float_{place} AS FLOAT)" for place in range(len(floats))] + [f"float_{one}" for one in range(len(floats))]
    ordered = f" ORDER BY {', '.join(order)}" if order else ""
    picked = ", ".join(["id", "hash", *(f"float_{place}" for place in range(len(floats)))])
    hashed = f"SELECT *, {row_hash_sql(list(exact))} AS hash FROM (SELECT {', '.join(['rowid AS id', *values])} FROM {relation})"
    return f"SELECT {picked}, row_number() OVER (PARTITION BY hash{ordered}) AS place FROM ({hashed})"


def _exact(name: str, kind: str) -> str:
    """Floats inside of lists and structs are compared to seven digits."""
    return f"TRY_CAST({quote(name)} AS {kind.replace('DOUBLE', 'FLOAT')})" if "DOUBLE" in kind else quote(name)


def _close(place: int) -> str:
    a, b = f"a.float_{place}", f"b.float_{place}"
    bound = f"{FLOAT_TOLERANCE} * greatest(1, abs({a}), abs({b}))"
    near = f"isfinite({a}) AND isfinite({b}) AND abs({a} - {b}) <= {bound}"
    return f"({a} IS NOT DISTINCT FROM {b} OR coalesce({near}, false))"


def _rows(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], which: str
) -> Iterator[tuple[int | None, Mapping[str, Any]]]:
    """Yield rows with the start of their shard, as JSON knows their values; the first by time of shard."""
    names = [name for name in columns if name != SHARD_COLUMN]
    shard = f"epoch_us({SHARD_COLUMN})" if SHARD_COLUMN in columns else "NULL"
    row = f"CAST(json_array({', '.join(map(quote, names))}) AS VARCHAR)"
    found = connection.execute(
        f"SELECT {shard} AS {_SHARD}, {row} AS row FROM {relation} WHERE {which} ORDER BY ALL LIMIT {DIFFERING_ROWS_MAX}"
    ).fetchall()
    for shard_us, text in found:
        yield shard_us, dict(zip(names, json.loads(text), strict=True))


def _first(table: str, left: Sequence[_Odd], right: Sequence[_Odd]) -> TableDifference | None:
    """Take the row that differs first, and the row of the other side that is most like it."""
    if not left and not right:
        return None
    first: tuple[_Odd | None, _Odd | None]
    if left and (not right or (left[0].shard_us or 0) <= (right[0].shard_us or 0)):
        first = left[0], _most_alike(left[0], right)
    else:
        first = _most_alike(right[0], left), right[0]
    one, other = first
    return TableDifference(
        table,
        one.row if one else None,
        other.row if other else None,
        one.shard_us if one else None,
        other.shard_us if other else None,
    )


def _most_alike(one: _Odd, others: Sequence[_Odd]) -> _Odd | None:
    """Return the row with the most values in common, if it has any."""

    def alike(other: _Odd) -> int:
        return sum(other.row[name] == value for name, value in one.row.items())

    best = max(others, key=alike, default=None)
    return best if best is not None and alike(best) else None
