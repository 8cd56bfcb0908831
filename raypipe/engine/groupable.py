"""Which SQL gives each of many shards, in one query, bit for bit what it gives a shard alone.

Integers and texts always do; floating sums depend on the order in which rows are added. DuckDB keeps that order from a
scan through filters and projections into one aggregation (one thread, no caching operators), so SQL of that shape may
be shared. Joins, windows, subqueries in expressions, LIMIT and grouping sets run once a shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raypipe.engine.expression_words import words
from raypipe.engine.output_sql import aggregates_of, walk
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a relation: `shared` may be computed for many shards at once; `ordered` keeps the order of rows."""

    shared: bool
    ordered: bool


_ALONE = Shape(shared=False, ordered=False)

_ADDED_IN_ORDER = words(
    "any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min argmax argmin array_agg avg bit_and bit_or "
    "bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp favg first fsum group_concat "
    "histogram kahan_sum kurtosis kurtosis_pop last list listagg mad max max_by mean median min min_by product "
    "quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx "
    "regr_sxy regr_syy sem skewness stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop var_samp variance"
)
"""Aggregates that look at the rows of a group in order and at nothing else; `entropy` and `mode` do not."""


def groupable(tree: Node) -> bool:
    """Tell whether the SQL may be run for many shards at once."""
    try:
        return _query(tree["statements"][0]["node"], {ROWS: Shape(shared=True, ordered=True)}).shared
    except KeyError:  # a tree that another DuckDB writes otherwise: a query a shard is always right
        return False


def reads_once(tree: Node) -> bool:
    """Tell whether the SQL may be run over rows that come by once: it is groupable and names `rows` in a single place.

    A common table expression is read wherever it is named, and so is a view; neither has a place here.
    """
    nodes = list(walk(tree))
    tables = [str(node["table_name"]).lower() for node in nodes if node.get("type") == "BASE_TABLE"]
    named = any((node.get("cte_map") or {}).get("map") for node in nodes)
    return groupable(tree) and tables == [ROWS] and not named


def _query(node: Node, known: Mapping[str, Shape]) -> Shape:
    scope = dict(known)
    for entry in (node.get("cte_map") or {}).get("map", []):
        scope[str(entry["key"]).lower()] = _query(entry["value"]["query_node"], scope)
    if node["type"] == "SET_OPERATION_NODE":
        return _set_operation(node, scope)
    if node["type"] != "SELECT_NODE" or not _plain_modifiers(node):
        return _ALONE
    return _select(node, _relation(node["from_table"], scope))


def _set_operation(node: Node, scope: Mapping[str, Shape]) -> Shape:
    """UNION ALL puts the rows of one side after those of the other; the others are joins or aggregations."""
    parts = [_query(part, scope) for part in node["children"]]
    if node["setop_type"] != "UNION" or not node["setop_all"] or node["modifiers"]:
        return _ALONE
    return Shape(all(part.shared for part in parts), all(part.ordered for part in parts))


def _plain_modifiers(node: Node) -> bool:
    """Tell whether nothing is cut off: ORDER BY is without effect on what a table holds, plain DISTINCT is an aggregation."""
    allowed = {"ORDER_MODIFIER", "DISTINCT_MODIFIER"}
    return all(one["type"] in allowed and not one.get("distinct_on_targets") for one in node["modifiers"])


def _relation(node: Node, scope: Mapping[str, Shape]) -> Shape:
    match node["type"]:
        case "BASE_TABLE":
            return scope.get(str(node["table_name"]).lower(), _ALONE)
        case "SUBQUERY":
            return _query(node["subquery"]["node"], scope)
        case "EMPTY":
            return Shape(shared=True, ordered=True)
    return _ALONE


def _select(node: Node, source: Shape) -> Shape:
    expressions = [node["select_list"], node["where_clause"], node["group_expressions"], node["having"], node["qualify"]]
    found = [one for expression in expressions for one in walk(expression)]
    if len(node["group_sets"]) > 1 or any(one.get("class") in ("SUBQUERY", "WINDOW") for one in found):
        return _ALONE
    names = {str(one["function_name"]).lower() for one in found if one.get("type") == "FUNCTION"}
    aggregates = aggregates_of(names)
    grouped = node["group_expressions"] or node["having"] or node["aggregate_handling"] != "STANDARD_HANDLING"
    grouped = bool(grouped or aggregates) or any(one["type"] == "DISTINCT_MODIFIER" for one in node["modifiers"])
    if grouped and not aggregates <= _ADDED_IN_ORDER:
        return _ALONE
    if grouped:
        return Shape(shared=source.shared and source.ordered, ordered=False)
    return Shape(source.shared, source.ordered and not node["modifiers"])
