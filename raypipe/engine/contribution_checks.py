"""Checks on contributions: a DuckDB condition over what a shard adds to a table, before any of it is visible.

A condition with aggregates (`sum(flights) > 0`) is computed over the shard's rows; one without (`flights > 0`) must
hold for each of them. A null result counts as broken. Empty contributions pass unless `on_empty` is `check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.window import Window
from raypipe.engine.output_sql import ROWS, SqlRefused, aggregate_names, parse_select, walk
from raypipe.engine.sandbox import reason
from raypipe.pipeline import Check
from raypipe.ports import SHARD_COLUMN

_CHECKED = "_raypipe_checked"


@dataclass(frozen=True, slots=True)
class BrokenCheck:
    """One shard whose contribution breaks a check; `check.otherwise` says whether that fails the shard or warns."""

    window: Window
    check: Check
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A check whose text is understood; `sql` is a boolean aggregate."""

    check: Check
    sql: str
    each_row: bool

    def value_sql(self, columns: Sequence[str], *, by: str, where: str) -> str:
        """Return a SELECT of group and value over the contribution."""
        source = f"SELECT {', '.join(map(quote, columns))}, {by} AS _raypipe_part FROM {_CHECKED} WHERE {where}"
        return f"SELECT _raypipe_part, {self.sql} FROM ({source}) AS {ROWS} GROUP BY _raypipe_part"


def parse_check(check: Check) -> Condition:
    """Understand the text of a check; raises SqlRefused."""
    _, tree = parse_select(f"SELECT (\n{check.expect}\n) FROM {ROWS}")
    select = tree["statements"][0]["node"]
    nodes = list(walk(select.get("select_list")))
    if len(select.get("select_list") or []) != 1 or any(one.get("class") in ("SUBQUERY", "WINDOW", "STAR") for one in nodes):
        raise SqlRefused("expected one condition over the rows of a contribution, without subqueries and windows")
    names = {str(one["function_name"]).lower() for one in nodes if one.get("type") == "FUNCTION"}
    each_row = names.isdisjoint(aggregate_names())
    sql = f"coalesce(bool_and(coalesce((\n{check.expect}\n), false)), true)" if each_row else f"(\n{check.expect}\n)"
    return Condition(check, sql, each_row)


def describe_check(connection: duckdb.DuckDBPyConnection, check: Check, schema: pa.Schema) -> None:
    """Refuse a check that does not fit the columns of its table, or is no condition; raises SqlRefused."""
    condition = parse_check(check)
    connection.register(ROWS, schema.empty_table())
    try:
        text = check.expect if condition.each_row else condition.sql
        found = (
            connection.sql(f"SELECT typeof((\n{text}\n)), (\n{text}\n) AS x FROM {ROWS} LIMIT 0")
            .to_arrow_table()
            .schema.field("x")
            .type
        )
    except duckdb.Error as error:
        raise SqlRefused(reason(error)) from error
    finally:
        connection.unregister(ROWS)
    if not pa.types.is_boolean(found):
        raise SqlRefused(f"expected a condition (bool), got {found}")


def broken_checks(
    connection: duckdb.DuckDBPyConnection,
    condition: Condition,
    table: pa.Table,
    rows: Mapping[Window, int],
    shards: Sequence[Window],
) -> list[BrokenCheck]:
    """Return the shards whose contribution breaks a check, in order."""
    columns = [name for name in table.schema.names if name != SHARD_COLUMN]
    connection.register(_CHECKED, table)
    try:
        sql = condition.value_sql(columns, by=f"epoch_us({SHARD_COLUMN})", where="true")
        values = dict(connection.execute(sql).fetchall())
        empty = _of_no_rows(connection, condition, columns)
    finally:
        connection.unregister(_CHECKED)
    broken = []
    for shard in sorted(shards):
        if not rows.get(shard, 0) and condition.check.on_empty == "pass":
            continue
        value = values.get(shard.start_us, empty) if rows.get(shard, 0) else empty
        if value is not True:
            broken.append(BrokenCheck(shard, condition.check, _text(condition, shard, rows.get(shard, 0), value)))
    return broken


def _of_no_rows(connection: duckdb.DuckDBPyConnection, condition: Condition, columns: Sequence[str]) -> object:
    source = f"SELECT {', '.join(map(quote, columns))} FROM {_CHECKED} WHERE false"
    found = connection.execute(f"SELECT {condition.sql} FROM ({source}) AS {ROWS}").fetchone()
    return found[0] if found else None


def _text(condition: Condition, shard: Window, rows: int, value: object) -> str:
    check = condition.check
    got = "null" if value is None else "false"
    each = "for every row" if condition.each_row else "over the contribution"
    return f"quality.checks: {check.table}: expected {check.expect!r} {each} of {shard}, got {got} ({rows} rows)"
