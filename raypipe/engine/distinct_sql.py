"""Which SQL counts distinct values of columns and may be computed segment by segment, and the SQL of its parts.

Instead of `count(DISTINCT x)` a segment's query keeps a list of all values. DuckDB has a hash table of the values beside all
columns of a group; where there are several it does not fit the caches, and takes twice to three times as long as all else in such
a query. Segments and the merge of their parts give what the SQL itself gives; floating sums are added within each segment, then
segment by segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb
import pyarrow as pa

from raypipe.engine.expression_words import words
from raypipe.engine.groupable import Node, reads_once
from raypipe.engine.output_sql import aggregates_of, sql_of, walk
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS

KEYS_MIN = 2  # a value beside one column alone is small: its hash table is as fast
PART = "_raypipe_part"
PLACE = "_raypipe_place"
_MERGED: Mapping[str, Callable[[str, str], str]] = {
    "count_star": lambda x, _: f"sum({x})::BIGINT",
    "count": lambda x, _: f"sum({x})::BIGINT",
    "sum": lambda x, _: f"sum({x})",
    "avg": lambda x, rows: f"sum({x})::DOUBLE / sum({rows})::DOUBLE",
    "min": lambda x, _: f"min({x})",
    "max": lambda x, _: f"max({x})",
    "bool_and": lambda x, _: f"bool_and({x})",
    "bool_or": lambda x, _: f"bool_or({x})",
}
"""Aggregates of aggregates: of the column of a part, and of the one with the rows that its average is of."""
_PLAIN_TYPES = words(
    "boolean tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint float double decimal varchar date "
    "timestamp"
) | {"timestamp with time zone"}
"""DuckDB types that are the same after a way through Arrow."""


@dataclass(frozen=True, slots=True)
class DistinctSql:
    """The SQL of one output in parts. `segment` has a column for each of the output's, in order, then hidden ones."""

    segment: str
    counted: Mapping[int, str]
    """The columns of the segment that are lists, by place, and the column of `rows` whose values they hold."""
    merged: Mapping[int, str]
    """How the other columns of the output are made of those of the parts, by place; those that are not here are keys."""
    keys: Sequence[int]
    """The places of what rows of parts are merged by."""
    width: int
    """How many columns the output has."""

    @property
    def merges_always(self) -> bool:
        """Whether the part of a single segment has not the output's columns yet."""
        return any("/" in sql for sql in self.merged.values())

    def merge(self, parts: str) -> str:
        """Return the SELECT of the output from its parts, whose columns are named by `part_column` and PLACE.

        In place of what is counted it has nothing; the last column is the first place of each group.
        """
        shown = [self.merged.get(one, part_column(one)) for one in range(self.width) if one not in self.counted]
        return f"SELECT {', '.join([*shown, f'min({PLACE})'])} FROM {parts}{self._grouped}"

    def places(self, parts: str) -> str:
        """Return the SELECT of the first place of each group, and of all."""
        return f"SELECT min({PLACE}) AS first, list({PLACE}) AS places FROM {parts}{self._grouped}"

    @property
    def _grouped(self) -> str:
        return f" GROUP BY {', '.join(map(part_column, self.keys))}" if self.keys else ""

    def fits(self, connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
        """Tell whether the parts give columns of the types that the SQL itself gives, for `rows` that is registered."""
        try:
            whole, part = connection.sql(sql), connection.sql(self.segment)
            names = ", ".join([part_column(place) for place in range(len(part.columns))])
            merged = connection.sql(self.merge(f"(SELECT *, 0::BIGINT AS {PLACE} FROM ({self.segment}) AS parts({names}))"))
        except duckdb.Error:
            return False
        types = [kind for place, kind in enumerate(whole.types) if place not in self.counted]
        plain = all(kind.id in _PLAIN_TYPES for place, kind in enumerate(part.types) if place not in self.counted)
        return plain and types == merged.types[:-1] and len(whole.columns) == self.width


def part_column(place: int) -> str:
    """Return the name of a column of parts."""
    return f"c{place}"


def distinct_sql(tree: Node) -> DistinctSql | None:
    """Return the SQL in parts, if it is one aggregation of `rows`, in order, that counts distinct values of columns."""
    try:
        return _in_parts(tree)
    except (KeyError, duckdb.Error):  # a tree that another DuckDB writes otherwise: the SQL itself is always right
        return None


def _in_parts(tree: Node) -> DistinctSql | None:
    node = tree["statements"][0]["node"]
    kinds = [_kind(item) for item in node["select_list"]]
    keys = _where(kinds, "key")
    if not _is_one_aggregation(tree, node) or None in kinds or "distinct" not in kinds:
        return None
    if len(node["group_expressions"] or keys) < KEYS_MIN:
        return None
    hidden = _hidden_keys(node["group_expressions"])
    averaged = {at: len(kinds) + len(hidden) + number for number, at in enumerate(_where(kinds, "avg"))}
    items = [_of_segment(item, str(kind), place) for place, (item, kind) in enumerate(zip(node["select_list"], kinds, strict=True))]
    counts = [_aggregate(node["select_list"][at], "count", place) for at, place in averaged.items()]
    merged = {at: _MERGED[str(kind)] for at, kind in enumerate(kinds) if kind in _MERGED}
    return DistinctSql(
        segment=_with_select_list(tree, [*items, *hidden, *counts]),
        counted={at: _column(node["select_list"][at]) for at in _where(kinds, "distinct")},
        merged={at: sql(part_column(at), part_column(averaged.get(at, at))) for at, sql in merged.items()},
        keys=[*keys, *range(len(kinds), len(kinds) + len(hidden))],
        width=len(kinds),
    )


def _is_one_aggregation(tree: Node, node: Node) -> bool:
    modifiers = {one["type"] for one in node["modifiers"]} - {"ORDER_MODIFIER"}  # in what order rows of a table come means nothing
    return reads_once(tree) and node["from_table"]["type"] == "BASE_TABLE" and not (modifiers or node["having"] or node["qualify"])


def _with_select_list(tree: Node, items: Sequence[Node]) -> str:
    statement = tree["statements"][0]
    node = {**statement["node"], "select_list": items, "modifiers": []}
    return sql_of({**tree, "statements": [{**statement, "node": node}]})


def _of_segment(item: Node, kind: str, place: int) -> Node:
    return item if kind == "key" else _aggregate(item, {"distinct": "list", "avg": "sum"}.get(kind, kind), place)


def _aggregate(item: Node, name: str, place: int) -> Node:
    """Return another aggregate of the same; it loses its name, by which other items would mean what it is in a part."""
    return {**item, "function_name": name, "qualified_name": {"path": [name]}, "distinct": False, "alias": f"{PART}_{place}"}


def _where(kinds: Sequence[str | None], wanted: str) -> list[int]:
    return [place for place, kind in enumerate(kinds) if kind == wanted]


def _kind(item: Node) -> str | None:
    """Return `key`, `distinct`, the aggregate that an item of the SELECT is, or None for what cannot be merged."""
    nodes = list(walk(item))
    names = {str(one["function_name"]).lower() for one in nodes if one.get("type") == "FUNCTION"}
    if any(one.get("class") in ("STAR", "SUBQUERY", "WINDOW") for one in nodes):
        return None
    if not aggregates_of(names):
        return "key"
    if item["type"] != "FUNCTION" or (item.get("order_bys") or {}).get("orders"):
        return None
    name, arguments = str(item["function_name"]).lower(), item["arguments"]
    if name == "count" and item["distinct"]:
        return "distinct" if len(arguments) == 1 and _is_column(arguments[0]["expression"]) else None
    return name if name in _MERGED and not item["distinct"] and len(arguments) == (name != "count_star") else None


def _hidden_keys(expressions: Sequence[Node]) -> list[Node]:
    """Return the expressions of GROUP BY as items; a number there means an item that is a key already."""
    return [{**one, "alias": f"{PART}_key_{number}"} for number, one in enumerate(expressions) if one["type"] != "VALUE_CONSTANT"]


def _is_column(expression: Node) -> bool:
    return expression["type"] == "COLUMN_REF" and [str(one).lower() for one in expression["column_names"][:-1]] in ([], [ROWS])


def _column(item: Node) -> str:
    return str(item["arguments"][0]["expression"]["column_names"][-1])


def counted_columns(distinct: DistinctSql, schema: pa.Schema) -> Sequence[str]:
    """Return the columns of rows whose values are counted; none where they are not all of types whose values are small."""
    found = {name.lower(): name for name in schema.names}
    names = [found.get(name.lower(), "") for name in distinct.counted.values()]
    small = all(name and _is_small(schema.field(name).type) for name in names)
    return names if small and len(found) == len(schema.names) else ()


def _is_small(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)
