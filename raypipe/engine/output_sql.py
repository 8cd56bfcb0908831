"""What SQL an output may use: one SELECT over `rows`, of pure functions; and what of it depends on the order of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence, Set
from functools import lru_cache
from typing import Any

import duckdb

from raypipe.engine.expression_words import words
from raypipe.pipeline import ROWS

_TABLE_FUNCTIONS = frozenset(
    {"unnest", "range", "generate_series", "generate_subscripts", "json_each", "json_tree", "regexp_split_to_table"}
)
_MACROS = re.compile(
    r"(array|list|map|json)_.*|md5_number_(lower|upper)|json|if|nullif|split_part|fmod|fdiv|days_in_month|date_add"
    r"|wavg|weighted_avg|geomean|geometric_mean|generate_subscripts|regexp_split_to_table"
)
_REFUSED_MACROS = frozenset({"json_execute_serialized_sql", "array_to_string_comma_default"})
_CLOCK_WORDS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
_IMPURE_TOO = frozenset(
    {"reservoir_quantile", "current_localtime", "current_localtimestamp", "version"}
)  # DuckDB calls them consistent
_NODES_REFUSED = {
    "SHOW_REF": "DESCRIBE, SHOW and SUMMARIZE are no SELECT over rows",
    "VALUE_PARAMETER": "a placeholder has no value here",
    "INSERT_QUERY_NODE": "INSERT has no place in a SELECT",
    "UPDATE_QUERY_NODE": "UPDATE has no place in a SELECT",
    "DELETE_QUERY_NODE": "DELETE has no place in a SELECT",
    "MERGE_QUERY_NODE": "MERGE has no place in a SELECT",
}
_ORDERED_AGGREGATES = words(
    "any_value arbitrary array_agg first group_concat last list listagg string_agg json_group_array json_group_object "
    "arg_max arg_min argmax argmin max_by min_by"
)
_TIES = words("arg_max arg_min argmax argmin max_by min_by mode")
_ORDERED_WINDOWS = words(
    "WINDOW_ROW_NUMBER WINDOW_NTILE WINDOW_LEAD WINDOW_LAG WINDOW_FIRST_VALUE WINDOW_LAST_VALUE WINDOW_NTH_VALUE WINDOW_FILL"
)
_USUAL_AGGREGATES = words("avg bool_and bool_or count count_star first last list max median min sum")
_USUAL_SCALARS = words(
    "* + - / // % || ~~ !~~ abs ceil concat contains date_diff date_part date_trunc day floor greatest hour least length "
    "lower make_date make_timestamp month quarter replace round second split_part sqrt starts_with strftime substring trim upper "
    "week year minute dayofweek"
)
_USUAL = _USUAL_AGGREGATES | _USUAL_SCALARS
"""To ask the catalogue for all its functions takes 15 ms, a twentieth of a short run: of these it is known."""


class SqlRefused(Exception):
    """The SQL of an output is not one that a pipeline may run; the text says why."""


def parse_select(sql: str, tables: Sequence[str] | None = (ROWS,)) -> tuple[str, dict[str, Any]]:
    """Return the statement without its semicolon, and its syntax tree.

    Raises SqlRefused if it is not one pure SELECT over these tables (None: any).
    """
    with _parser().cursor() as connection:
        return _parsed(connection, sql, tables)


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """Return the DuckDB that parses, and holds nothing: to open one for each text takes 20 ms."""
    return duckdb.connect(":memory:", config={"threads": 1})


def sql_of(tree: object) -> str:
    """Return the statement that a syntax tree stands for."""
    with _parser().cursor() as connection:
        found = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchone()
    return str(found[0]) if found else ""


def order_dependence(sql: str) -> list[str]:
    """Return a warning for each part of the SQL whose result depends on the order of rows.

    Within raypipe that order is fixed (source, then position), so runs repeat; the warning is for those who expect
    the same result from files that were cut or sorted otherwise.
    """
    _, tree = parse_select(sql, None)
    warnings: dict[str, None] = {}
    for node in walk(tree):
        if (found := _depends_on_order(node)) is not None:
            warnings[found] = None
    return list(warnings)


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str, tables: Sequence[str] | None) -> tuple[str, dict[str, Any]]:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise SqlRefused(str(error).split("\n\nLINE ")[0]) from error
    if len(statements) != 1:
        raise SqlRefused(f"expected one SELECT statement, got {len(statements)} statements")
    kind = str(statements[0].type).rpartition(".")[2]
    if kind != "SELECT":
        raise SqlRefused(f"expected one SELECT statement, got {'PIVOT' if kind == 'MULTI' else kind}")
    text = statements[0].query.strip().rstrip(";").rstrip()
    found = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
    tree = json.loads(found[0]) if found else {"error": True, "error_message": "no answer"}
    if tree.get("error"):
        raise SqlRefused(tree["error_message"])
    _check_tree(tree, tables)
    return text, tree


def walk(tree: object) -> Iterator[dict[str, Any]]:
    """Yield all objects of a syntax tree."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def tables_read(tree: object) -> set[str]:
    """Return the tables that SQL names, in lower case: those that it sees, and its common table expressions."""
    return {str(node["table_name"]).lower() for node in walk(tree) if node.get("type") == "BASE_TABLE"}


def _check_tree(tree: dict[str, Any], tables: Sequence[str] | None) -> None:
    nodes = list(walk(tree))
    named = None if tables is None else {*map(str.lower, tables), *_cte_names(nodes)}
    shown = ", ".join(f'"{one}"' for one in tables or ())
    for node in nodes:
        kind = node.get("type")
        if kind in _NODES_REFUSED:
            raise SqlRefused(_NODES_REFUSED[str(kind)])
        if node.get("sample"):
            raise SqlRefused("a sample is random: a result must be a pure function of the rows")
        if kind == "BASE_TABLE":
            _check_table(node, named, shown)
        elif kind == "TABLE_FUNCTION":
            _check_table_function(node, shown)
        elif kind == "FUNCTION":
            _check_function(str(node["function_name"]).lower(), len(node.get("arguments") or []))
        elif kind == "COLUMN_REF" and _is_clock(node):
            raise SqlRefused(f"{node['column_names'][0]} is a clock: a result must be a pure function of the rows")


def _cte_names(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        for entry in (node.get("cte_map") or {}).get("map", []):
            yield str(entry["key"]).lower()


def _check_table(node: dict[str, Any], tables: set[str] | None, shown: str) -> None:
    if tables is None:
        return
    path = node["qualified_name"]["path"] if "qualified_name" in node else [node["table_name"]]
    if len(path) != 1 or str(path[0]).lower() not in tables:
        raise SqlRefused(f'there is no table "{".".join(map(str, path))}": this SQL sees only {shown}')


def _check_table_function(node: dict[str, Any], shown: str) -> None:
    name = str(node["function"].get("function_name", "")).lower()
    if name not in _TABLE_FUNCTIONS:
        raise SqlRefused(f'the table function "{name}" is not allowed: this SQL sees only {shown}')


def _check_function(name: str, arguments: int) -> None:
    if name == "age" and arguments == 1:
        raise SqlRefused("age of one argument reads the clock: write age(until, since)")
    if name not in _USUAL and name in _impure_names():
        raise SqlRefused(f"{name} is a clock, random or a setting: a result must be a pure function of the rows")


def _is_clock(node: dict[str, Any]) -> bool:
    names = node.get("column_names", [])
    return len(names) == 1 and str(names[0]).lower() in _CLOCK_WORDS


@lru_cache(maxsize=1)
def _functions() -> tuple[tuple[str, str, str], ...]:
    """Return name, kind and stability of the functions of this DuckDB, from its own catalogue."""
    with _parser().cursor() as connection:
        found = connection.execute("SELECT DISTINCT function_name, function_type, stability FROM duckdb_functions()").fetchall()
    return tuple((str(name), str(kind), str(stability)) for name, kind, stability in found)


def aggregates_of(names: Set[str]) -> frozenset[str]:
    """Return those of some functions, in lower case, that are aggregates."""
    return frozenset(names) & (_USUAL_AGGREGATES if names <= _USUAL else _aggregate_names())


@lru_cache(maxsize=1)
def _aggregate_names() -> frozenset[str]:
    return frozenset(name for name, kind, _ in _functions() if kind == "aggregate")


@lru_cache(maxsize=1)
def _impure_names() -> frozenset[str]:
    """Return the functions that are clocks, random, settings or anything but a function of their arguments."""
    pure = {name for name, kind, stability in _functions() if _pure(name, kind, stability)}
    volatile = {name for name, kind, stability in _functions() if kind == "scalar" and stability != "CONSISTENT"}
    return frozenset({name for name, _, _ in _functions()} - pure | volatile | _IMPURE_TOO)


def _pure(name: str, kind: str, stability: str) -> bool:
    if kind in ("aggregate", "window") or name in _TABLE_FUNCTIONS:
        return True
    if kind == "macro":
        return _MACROS.fullmatch(name) is not None and name not in _REFUSED_MACROS
    return kind == "scalar" and stability == "CONSISTENT"


def _depends_on_order(node: dict[str, Any]) -> str | None:
    kind = str(node.get("type", ""))
    if kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        ordered = bool((node.get("order_bys") or {}).get("orders"))
        if name in _TIES:
            return f"{name} takes any of equal values where several come first"
        if name in _ORDERED_AGGREGATES and not ordered:
            return f"{name} without ORDER BY depends on the order of rows: write {name}(... ORDER BY ...)"
    if kind in _ORDERED_WINDOWS and not node.get("orders"):
        return f"{node['function_name']} without ORDER BY in OVER depends on the order of rows"
    modifiers = node.get("modifiers") or []
    kinds = [one.get("type") for one in modifiers]
    if ("LIMIT_MODIFIER" in kinds or "LIMIT_PERCENT_MODIFIER" in kinds) and "ORDER_MODIFIER" not in kinds:
        return "LIMIT without ORDER BY depends on the order of rows"
    if (
        any(one.get("type") == "DISTINCT_MODIFIER" and one.get("distinct_on_targets") for one in modifiers)
        and "ORDER_MODIFIER" not in kinds
    ):
        return "DISTINCT ON without ORDER BY depends on the order of rows"
    return None
