"""Exact integer arithmetic: Polars wraps silently on overflow, so sums and products are computed in wider integers.

Every operation has a bound that follows from the types of its columns and from its literals. The arithmetic runs in the
narrowest of BIGINT and HUGEINT that holds the bound, and only its result is cast, strictly, to the type that Polars
would have given it: intermediate results never overflow, and a result that does not fit is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from raypipe.engine.expression_tree import Node
from raypipe.engine.expression_types import Typing
from raypipe.engine.expression_words import Refused

_SQL_TYPES: dict[type[pl.DataType], str] = {
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.Int128: "HUGEINT",
    pl.UInt8: "UTINYINT",
    pl.UInt16: "USMALLINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
}
_BITS: dict[type[pl.DataType], int] = {
    pl.Int8: 7,
    pl.Int16: 15,
    pl.Int32: 31,
    pl.Int64: 63,
    pl.Int128: 127,
    pl.UInt8: 8,
    pl.UInt16: 16,
    pl.UInt32: 32,
    pl.UInt64: 64,
}

BIGINT_BITS = 63
HUGEINT_BITS = 127

_FOLDED: dict[str, Callable[..., int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "negate": lambda a: -a,
    "ABS": abs,
}


def fold(node: Node) -> Node:
    """Return the tree with arithmetic of integer literals computed, exactly."""
    children = tuple(fold(child) for child in node.children)
    if node.kind == "arithmetic" and all(child.kind == "integer" for child in children):
        value = _FOLDED[node.name](*(int(child.name) for child in children))
        if value.bit_length() <= BIGINT_BITS and value != -(2**BIGINT_BITS):  # Polars reads larger ones as decimals
            return Node("integer", node.position, (str(value) if value >= 0 else f"({value})",), name=str(value))
    return replace(node, children=children)


def exact_sql(node: Node, typing: Typing) -> str:
    """Print an expression so that no integer can wrap; raises Refused where 127 bits might not hold a result."""
    if _widens(node, typing):
        return f"CAST({_wide(node, typing, _wide_type([node], typing))} AS {_SQL_TYPES[type(typing.dtype(node))]})"
    if node.kind == "comparison" and any(_widens(child, typing) for child in node.children) and _all_integers(node, typing):
        wide = _wide_type(node.children, typing)
        return node.printed([_wide(child, typing, wide) for child in node.children])
    return node.printed([exact_sql(child, typing) for child in node.children])


def _all_integers(node: Node, typing: Typing) -> bool:
    return all(typing.dtype(child).is_integer() for child in node.children)


def _widens(node: Node, typing: Typing) -> bool:
    """Tell whether this is integer arithmetic, or a choice between results of it."""
    if node.kind not in ("arithmetic", "choice") or not typing.dtype(node).is_integer():
        return False
    return node.kind == "arithmetic" or any(_widens(child, typing) for _, child in _values(node))


def _values(node: Node) -> list[tuple[int, Node]]:
    return [(index, child) for index, child in enumerate(node.children) if index not in node.conditions]


def _wide_type(nodes: tuple[Node, ...] | list[Node], typing: Typing) -> str:
    bound = max(_bound(node, typing) for node in nodes)
    if bound >> HUGEINT_BITS:
        raise Refused(nodes[0].position, "the result might not fit 127 bits: CAST an operand to DOUBLE or DECIMAL")
    return "HUGEINT" if bound >> BIGINT_BITS else "BIGINT"


def _bound(node: Node, typing: Typing) -> int:
    """Return a number that no absolute value of the operation, or of a part of it, exceeds."""
    if node.kind == "integer":
        return max(1, abs(int(node.name)))
    if _widens(node, typing):
        bounds = [_bound(child, typing) for _, child in _values(node)]
        if node.name == "*":
            return bounds[0] * bounds[1]
        return sum(bounds) if node.name in ("+", "-") else max(bounds)
    return 2 ** _BITS[type(typing.dtype(node))] if typing.dtype(node).is_integer() else 1


def _wide(node: Node, typing: Typing, wide: str) -> str:
    if not _widens(node, typing):
        return f"CAST({exact_sql(node, typing)} AS {wide})"
    values = {index for index, _ in _values(node)}
    texts = [
        _wide(child, typing, wide) if index in values else exact_sql(child, typing) for index, child in enumerate(node.children)
    ]
    return node.printed(texts)
