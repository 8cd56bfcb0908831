"""Joined rows: of which tables a query's rows surely are, as its joins say: an outer join keeps rows that have no partner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Tables = frozenset[str]
_Known = Mapping[str, tuple[Tables, ...]]


def joined_rows(tree: object) -> tuple[Tables, ...]:
    """Return the fewest tables that rows of a query may be of, for each way in which it joins them: one of each is in the row.

    Subqueries in FROM and common table expressions are followed. `tree` is a syntax tree of DuckDB, or a part of it.
    """
    return tuple(dict.fromkeys(_of_query(_query(tree), {})))


def _query(tree: Any) -> Any:
    """Return the query within a serialised statement."""
    while isinstance(tree, dict) and "type" not in tree:
        tree = tree["statements"][0] if "statements" in tree else tree.get("node")
    return tree


def _of_query(node: Any, known: _Known) -> Iterator[Tables]:
    if not isinstance(node, dict):
        return
    for entry in (node.get("cte_map") or {}).get("map", ()):
        known = {**known, str(entry["key"]).lower(): tuple(_of_query(_query(entry["value"].get("query_node")), known))}
    for child in node.get("children") or (node.get("left"), node.get("right")):  # of UNION and its like
        yield from _of_query(child, known)
    yield from _of_table(node.get("from_table"), known)


def _of_table(table: Any, known: _Known) -> Iterator[Tables]:
    match table:
        case {"type": "BASE_TABLE", "table_name": name}:
            yield from known.get(str(name).lower(), (frozenset({str(name).lower()}),))
        case {"type": "SUBQUERY", "subquery": query}:
            yield from _of_query(_query(query), known)
        case {"type": "JOIN", "join_type": kind, "left": left, "right": right}:
            yield from _of_join(str(kind), tuple(_of_table(left, known)), tuple(_of_table(right, known)))


def _of_join(kind: str, left: tuple[Tables, ...], right: tuple[Tables, ...]) -> Iterator[Tables]:
    match kind:
        case "LEFT" | "SEMI" | "ANTI" | "MARK" | "SINGLE":
            yield from left
        case "RIGHT":
            yield from right
        case "OUTER" | "FULL":
            yield from (*left, *right)
        case _:
            yield from (one | other for one in left or (frozenset(),) for other in right or (frozenset(),))
