"""Row differences: which rows of a table are lost, doubled, changed or unexpected, against rows that should be there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.window import Window, iso
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SHARD_COLUMN

ROWS_MAX = 200  # named by one comparison: enough to see a pattern
ALIKE_SHARE = 0.5  # of a row's columns: with fewer in common, it is another row and not a changed one


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that is there too often, too seldom, or with another value."""

    table: str
    shard_us: int | None
    """Start of the shard that wrote the row, or should have; None where the expected rows do not tell."""
    what: str
    """`lost`, `doubled`, `changed` or `unexpected`."""
    row: Mapping[str, Any]
    """The row as it should be; as it is, where it should not be at all."""
    detail: str

    def __str__(self) -> str:
        shard = "" if self.shard_us is None else f", shard {iso(self.shard_us)}"
        text = json.dumps(self.row, ensure_ascii=False, default=str)
        return f"table {self.table}{shard}: row {self.what}: {text} ({self.detail})"


@dataclass(frozen=True, slots=True)
class _Odd:
    """A row that is there `have` times and should be there `due` times."""

    row: Mapping[str, Any]
    have: int
    due: int
    shard_us: int | None


def row_differences(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    expected: Any,
    *,
    relation: str | None = None,
    window: Window | None = None,
    key: Sequence[str] = (),
) -> list[RowDifference]:
    """Compare a table, or what the shards of a window wrote to it, with rows: dicts, or an Arrow table.

    `relation` is where these rows stand, in SQL, when it is not the table itself: contributions, of a keyed or combined table.
    Rows count: two equal ones are another thing than one. `key` names columns that tell which row is which; without it,
    a lost and an unexpected row of one shard that are alike are taken for a changed one.
    """
    odd = _odd_rows(connection, relation or f"main.{quote(table)}", _arrow(expected), window)
    found = [
        RowDifference(table, one.shard_us, "doubled", one.row, f"it is there {one.have} times, expected {one.due}")
        for one in odd
        if one.have > one.due > 0
    ]
    lost = [one for one in odd if one.have < one.due]
    unexpected = [one for one in odd if one.due == 0]
    for one in lost:
        other = _counterpart(one, unexpected, key)
        if other is None:
            found.append(
                RowDifference(table, one.shard_us, "lost", one.row, f"it is there {one.have} times, expected {one.due}")
            )  # fmt: skip
        else:
            unexpected.remove(other)
            found.append(RowDifference(table, other.shard_us, "changed", one.row, _changes(other.row, one.row)))
    found += [
        RowDifference(table, one.shard_us, "unexpected", one.row, f"it is there {one.have} times, expected 0") for one in unexpected
    ]
    return found


def _arrow(rows: Any) -> pa.Table:
    return rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))


def _odd_rows(connection: duckdb.DuckDBPyConnection, relation: str, expected: pa.Table, window: Window | None) -> list[_Odd]:
    kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {relation}").fetchall()}
    columns = [name for name in kinds if name != SHARD_COLUMN]
    row = f"CAST(json_array({', '.join(quote(name) for name in columns)}) AS VARCHAR)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE due AS SELECT * FROM {relation} LIMIT 0")
    if SHARD_COLUMN in kinds:
        connection.execute(f"ALTER TABLE due ALTER COLUMN {SHARD_COLUMN} DROP NOT NULL")
    if expected.num_columns:
        connection.register("expected_rows", expected)
        connection.execute("INSERT INTO due BY NAME SELECT * FROM expected_rows")
        connection.unregister("expected_rows")
    start = f"epoch_us({SHARD_COLUMN})" if SHARD_COLUMN in kinds else "NULL::BIGINT"  # keyed and combined tables have none
    within = "true" if window is None else f"{start} >= {window.start_us} AND {start} < {window.end_us}"

    def counted(rows: str) -> str:
        return f"(SELECT {row} AS row, count(*) AS n, min({start}) AS shard FROM {rows} WHERE {within} GROUP BY row)"

    found = connection.execute(
        f"SELECT row, coalesce(have.n, 0), coalesce(due.n, 0), coalesce(have.shard, due.shard) "
        f"FROM {counted(relation)} AS have FULL JOIN {counted('temp.due')} AS due USING (row) "
        f"WHERE have.n IS DISTINCT FROM due.n ORDER BY row LIMIT {ROWS_MAX}"
    ).fetchall()
    return [_Odd(dict(zip(columns, json.loads(text), strict=True)), have, due, shard) for text, have, due, shard in found]


def _counterpart(lost: _Odd, unexpected: Iterable[_Odd], key: Sequence[str]) -> _Odd | None:
    """Return the unexpected row that the lost one became."""
    best: tuple[float, _Odd] | None = None
    for one in unexpected:
        if key:
            if all(one.row[name] == lost.row[name] for name in key):
                return one
            continue
        if lost.shard_us is not None and lost.shard_us != one.shard_us:
            continue
        alike = sum(one.row[name] == value for name, value in lost.row.items()) / len(lost.row)
        if alike >= ALIKE_SHARE and (best is None or alike > best[0]):
            best = (alike, one)
    return best[1] if best else None


def _changes(have: Mapping[str, Any], due: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} is {have[name]!r}, expected {value!r}" for name, value in due.items() if have[name] != value)
