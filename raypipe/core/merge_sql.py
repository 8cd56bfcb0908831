"""The merge of contributions as the text of one SQL query, the same wherever DuckDB's SQL is spoken.

Nothing in it depends on the order of rows: floating sums are added in the order of their ranges' starts, ties are settled by
event time, source and position, and sketches are sets and counts of integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from raypipe.core.digest import quote
from raypipe.core.merge import (
    BUCKET_BITS,
    DELETED_COLUMN,
    RANKS,
    REGISTERS,
    TIE_COLUMNS,
    Combined,
    Keyed,
    Measure,
    Merge,
    keys_of,
)
from raypipe.lazy_dataclass import dataclass

RANGE_COLUMN = "_shard"  # of contributions: the start of the range that a row belongs to
_EXPONENT_BIAS, _EXPONENT_TOP = 1023, 2047  # of a double
_SIGMA_TERMS = 26  # of the series below: with 2048 registers the 18th term is already nothing


def merged_sql(merge: Merge, contributions: str, columns: Sequence[str], *, by: Sequence[str] = ()) -> str:
    """Return a SELECT of the table that contributions make.

    `contributions` is a relation or a query in parentheses, `columns` are the columns that it has. With `by`, there is a
    table for each value of these columns, which come first.
    """
    if isinstance(merge, Keyed):
        return _keyed(merge, contributions, columns, by)
    return _combined(merge, contributions, by)


def same_keys(merge: Merge, left: str, right: str) -> str:
    """Return the condition that two relations have the same key or group; null is a value like others."""
    return " AND ".join(f"{left}.{quote(name)} IS NOT DISTINCT FROM {right}.{quote(name)}" for name in keys_of(merge))


def _keyed(merge: Keyed, contributions: str, columns: Sequence[str], by: Sequence[str]) -> str:
    hidden = (*TIE_COLUMNS, DELETED_COLUMN, RANGE_COLUMN)
    shown = ", ".join(quote(name) for name in (*by, *(name for name in columns if name not in hidden)))
    return f"SELECT {shown} FROM (SELECT * FROM {contributions} QUALIFY {newest_row(merge, by=by)}) WHERE NOT {DELETED_COLUMN}"


def newest_row(merge: Keyed, *, by: Sequence[str] = ()) -> str:
    """Return the condition that a row of contributions is the newest of its key."""
    order = ", ".join(f"{quote(name)} DESC NULLS LAST" for name in (*merge.latest_by, *TIE_COLUMNS))
    return f"row_number() OVER (PARTITION BY {', '.join(map(quote, (*by, *merge.key)))} ORDER BY {order}) = 1"


# ---- combined tables --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stages:
    """A measure in three stages: aggregates over the partials of a group, values made of them, and the result."""

    result: str
    gathered: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)


def _combined(merge: Combined, contributions: str, by: Sequence[str]) -> str:
    names = (*by, *merge.groups)
    keys = [f"_key_{place}" for place in range(len(names))]
    stages = {measure: _FUNCTIONS[measure.function](measure) for measure in merge.measures}
    columns = [f"{quote(name)} AS {key}" for name, key in zip(names, keys, strict=True)]
    partials = [quote(name) for measure in merge.measures for name in measure.partials]
    gathered = [f"{sql} AS {quote(name)}" for one in stages.values() for name, sql in one.gathered.items()]
    derived = [f"{sql} AS {quote(name)}" for one in stages.values() for name, sql in one.derived.items()]
    results = [f"{key} AS {quote(name)}" for name, key in zip(names, keys, strict=True)]
    results += [f"{one.result} AS {quote(measure.name)}" for measure, one in stages.items()]
    apart = [(measure, _APART[measure.function](measure, keys)) for measure in merge.measures if measure.function in _APART]
    steps = [  # lists are read again where they are needed, and never kept
        f"_parts AS NOT MATERIALIZED (SELECT {', '.join([*columns, *partials, RANGE_COLUMN])} FROM {contributions})",
        f"_gathered AS MATERIALIZED (SELECT {', '.join([*keys, *gathered])} FROM _parts GROUP BY {', '.join(keys)})",
        f"_derived AS (SELECT {', '.join(['*', *derived])} FROM _gathered)",
        *(f"{_apart(measure)} AS ({sql})" for measure, sql in apart),
    ]
    joins = "".join(f" LEFT JOIN {_apart(measure)} ON {_same('_derived', _apart(measure), keys)}" for measure, _ in apart)
    return f"WITH {', '.join(steps)} SELECT {', '.join(results)} FROM _derived{joins}"


def _apart(measure: Measure) -> str:
    return quote(f"_apart {measure.name}")


def _same(left: str, right: str, keys: Sequence[str]) -> str:
    return " AND ".join(f"{left}.{key} IS NOT DISTINCT FROM {right}.of{key}" for key in keys)


def _counted_apart(measure: Measure, keys: Sequence[str]) -> str:
    """Return a SELECT of how many values there are, for each group that several ranges have values of.

    What a single range has of a group need not be looked at: its values are distinct.
    """
    of = ", ".join(f"of{key}" for key in keys)
    several = f"SELECT {', '.join(f'{key} AS of{key}' for key in keys)} FROM _gathered WHERE {_ranges(measure)} > 1"
    values = f"unnest({quote(measure.partial('values'))}) AS value"
    listed = f"SELECT {of}, {values} FROM _parts JOIN ({several}) AS several ON {_same('_parts', 'several', keys)}"
    return f"SELECT {of}, count(DISTINCT value) AS {quote(measure.partial('distinct'))} FROM ({listed}) GROUP BY {of}"


def _ranked(measure: Measure, keys: Sequence[str]) -> str:
    """Return a SELECT of the bucket that holds the row of the wanted rank, for each group that has any."""
    of = [f"of{key}" for key in keys]
    entries = (
        f"SELECT {', '.join(f'{key} AS of{key}' for key in keys)}, unnest({quote(measure.partial('buckets'))}) AS entry FROM _parts"
    )
    counted = f"SELECT {', '.join(of)}, entry.key AS bucket, sum(entry.value) AS rows FROM ({entries}) GROUP BY ALL"
    within = f"PARTITION BY {', '.join(of)}"
    reached = f"SELECT *, sum(rows) OVER ({within} ORDER BY bucket) AS reached, sum(rows) OVER ({within}) AS total FROM ({counted})"
    share = measure.share
    rank = f"greatest(1, (total * {share.numerator} + {share.denominator - 1}) // {share.denominator})"
    bucket = quote(measure.partial("bucket"))
    return f"SELECT {', '.join(of)}, min(bucket) AS {bucket} FROM ({reached}) WHERE reached >= {rank} GROUP BY {', '.join(of)}"


def in_order(column: str) -> str:
    """Add in the order of ranges, so that a floating sum has the same bits whatever the order of commits."""
    return f"sum({column} ORDER BY {RANGE_COLUMN})"


def _simple(aggregate: str, part: str) -> Callable[[Measure], _Stages]:
    def stages(measure: Measure) -> _Stages:
        column = quote(measure.partial(part))
        return _Stages(column, {measure.partial(part): aggregate.format(column)})

    return stages


def _sum(measure: Measure) -> _Stages:
    name = measure.partial("sum")
    return _Stages(quote(name), {name: in_order(quote(name))})


def _avg(measure: Measure) -> _Stages:
    total, count = measure.partial("sum"), measure.partial("count")
    gathered = {total: in_order(quote(total)), count: f"sum({quote(count)})"}
    return _Stages(f"CAST({quote(total)} AS DOUBLE) / nullif({quote(count)}, 0)", gathered)


def _variance(measure: Measure) -> _Stages:
    spread = measure.partial("spread")
    n, m2 = f"{quote(spread)}.n", f"{quote(spread)}.m2"
    variance = f"CASE WHEN {n} > 1 THEN {m2} / ({n} - 1) END"
    result = f"sqrt({variance})" if measure.function == "stddev" else variance
    return _Stages(result, {spread: folded_spread(measure)})


def folded_spread(measure: Measure) -> str:
    """Combine squared distances from the means of the ranges, one range after the other (Chan, Golub and LeVeque).

    What the first ranges amount to is a spread like any other: put in their place, it leads to the same bits.
    """
    count, mean, m2 = (quote(measure.partial(part)) for part in ("count", "mean", "m2"))
    one = f"{{'n': {count}::DOUBLE, 'mean': {mean}, 'm2': {m2}}}"
    listed = f"list({one} ORDER BY {RANGE_COLUMN}) FILTER ({count} > 0)"
    both = (
        "{'n': a.n + b.n, 'mean': (a.n * a.mean + b.n * b.mean) / (a.n + b.n), "
        "'m2': a.m2 + b.m2 + (a.mean - b.mean) * (a.mean - b.mean) * (a.n * b.n / (a.n + b.n))}"
    )
    return f"list_reduce({listed}, lambda a, b: {both})"


def _first(measure: Measure) -> _Stages:
    value, *ties = (quote(measure.partial(part)) for part in ("value", "time", "source", "position"))
    choose = "arg_min" if measure.function == "first" else "arg_max"
    return _Stages(value, {measure.partial("value"): f"{choose}({value}, ({', '.join(ties)}))"})


def _count_distinct(measure: Measure) -> _Stages:
    values, listed = quote(measure.partial("values")), measure.partial("listed")
    result = f"CAST(CASE WHEN {_ranges(measure)} > 1 THEN {quote(measure.partial('distinct'))} ELSE {quote(listed)} END AS BIGINT)"
    gathered = {listed: f"coalesce(sum(len({values})), 0)", measure.partial("ranges"): f"count({values})"}
    return _Stages(result, gathered)


def _ranges(measure: Measure) -> str:
    return quote(measure.partial("ranges"))


def highest_ranks(entries: str) -> str:
    """Return the entry with the highest rank of each register, of sorted entries: all that HyperLogLog remembers."""
    following = f"{entries}[place + 1] // {RANKS} <> entry // {RANKS}"
    return f"list_filter({entries}, lambda entry, place: place = len({entries}) OR {following})"


def _approx_count_distinct(measure: Measure) -> _Stages:
    """Estimate by Ertl's improved estimator (arXiv 1702.01284), which needs no correction for small or middling counts."""
    entries, kept = measure.partial("registers"), measure.partial("kept")
    empty = f"(({REGISTERS} - len({quote(kept)})) / {REGISTERS}.0)"
    terms = f"list_transform(range(1, {_SIGMA_TERMS}), lambda k: pow({empty}, pow(2.0, k)) * pow(2.0, k - 1))"
    ranks = f"list_sum(list_transform({quote(kept)}, lambda entry: pow(2.0, -(entry % {RANKS}))))"
    scale = REGISTERS * REGISTERS / (2 * math.log(2))
    estimate = f"round({scale!r} / ({ranks} + {REGISTERS} * ({empty} + list_sum({terms}))))"
    return _Stages(
        f"CASE WHEN len({quote(kept)}) = 0 THEN 0 ELSE CAST({estimate} AS BIGINT) END",
        {entries: f"list_sort(list_distinct(flatten(list({quote(entries)}))))"},
        {kept: highest_ranks(quote(entries))},
    )


def _approx_quantile(measure: Measure) -> _Stages:
    """Return the middle of a bucket, which is an exponent and the first bits of a mantissa; see engine.quantile_buckets."""
    bucket, per_octave = quote(measure.partial("bucket")), 2**BUCKET_BITS
    infinite = _EXPONENT_TOP * per_octave
    exponent, within = f"(abs({bucket}) // {per_octave})", f"((abs({bucket}) % {per_octave} + 0.5) / {per_octave}.0)"
    normal = f"(1 + {within}) * pow(2.0, {exponent} - {_EXPONENT_BIAS})"
    small = f"{within} * pow(2.0, {1 - _EXPONENT_BIAS})"  # below the least exponent a double has no leading 1
    cases = (
        f"WHEN {bucket} = 0 THEN 0.0 WHEN {bucket} > {infinite} THEN 'nan' "
        f"WHEN abs({bucket}) = {infinite} THEN sign({bucket}) * 'inf'::DOUBLE "
        f"WHEN {exponent} = 0 THEN sign({bucket}) * {small} WHEN {bucket} IS NOT NULL THEN sign({bucket}) * {normal}"
    )
    return _Stages(f"CAST(CASE {cases} END AS DOUBLE)")


_APART: Mapping[str, Callable[[Measure, Sequence[str]], str]] = {"approx_quantile": _ranked, "count_distinct": _counted_apart}
"""Measures that are looked at value by value, in a relation of their own that is joined to the groups."""

_FUNCTIONS: Mapping[str, Callable[[Measure], _Stages]] = {
    "count": _simple("CAST(sum({}) AS BIGINT)", "count"),
    "count_distinct": _count_distinct,
    "sum": _sum,
    "avg": _avg,
    "min": _simple("min({})", "min"),
    "max": _simple("max({})", "max"),
    "variance": _variance,
    "stddev": _variance,
    "bool_and": _simple("bool_and({})", "all"),
    "bool_or": _simple("bool_or({})", "any"),
    "first": _first,
    "last": _first,
    "approx_count_distinct": _approx_count_distinct,
    "approx_quantile": _approx_quantile,
}
