"""Several contributions to a keyed or combined table as one, as the text of one SQL query.

The table that is made with the one is bit for bit that which is made with the several, as long as what is added in the order
of ranges stays in it: see `added_in_order`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from raypipe.core.digest import quote
from raypipe.core.merge import Combined, Keyed, Measure, Merge
from raypipe.core.merge_sql import RANGE_COLUMN, folded_spread, highest_ranks, in_order, newest_row

_Parts = Callable[[Measure], Mapping[str, str]]


def added_in_order(merge: Merge) -> tuple[str, ...]:
    """Return the columns of contributions that are added up in the order of ranges.

    Where they hold floats, only contributions before which there is no other may become one: additions are not associative.
    """
    if isinstance(merge, Keyed):
        return ()
    return tuple(
        measure.partial(part)
        for measure in merge.measures
        for part in {"sum": ("sum",), "avg": ("sum",), "variance": ("mean",), "stddev": ("mean",)}.get(measure.function, ())
    )


def one_contribution_sql(merge: Merge, contributions: str) -> str:
    """Return a SELECT of one contribution, without its range. A deletion stays: it hides older versions in other ranges."""
    if isinstance(merge, Keyed):
        return f"SELECT * EXCLUDE ({RANGE_COLUMN}) FROM {contributions} QUALIFY {newest_row(merge)}"
    return _combined(merge, contributions)


def _combined(merge: Combined, contributions: str) -> str:
    groups = [quote(name) for name in merge.groups]
    parts = [
        f"{sql} AS {quote(measure.partial(part))}"
        for measure in merge.measures
        for part, sql in _PARTS[measure.function](measure).items()
    ]
    bucketed = [measure for measure in merge.measures if measure.function == "approx_quantile"]
    counted = f"SELECT {', '.join([*groups, *parts])} FROM {contributions} GROUP BY {', '.join(groups)}"
    sketches = [quote(one.partial("registers")) for one in merge.measures if one.function == "approx_count_distinct"]
    fewer = f" REPLACE ({', '.join(f'{highest_ranks(one)} AS {one}' for one in sketches)})" if sketches else ""
    shown = ", ".join([f"counted.*{fewer}", *(f"{_alias(one)}.entries AS {quote(one.partial('buckets'))}" for one in bucketed)])
    joins = "".join(
        f" LEFT JOIN ({_buckets(one, groups, contributions)}) AS {_alias(one)} ON {_same(one, groups)}" for one in bucketed
    )
    return f"SELECT {shown} FROM ({counted}) AS counted{joins}"


def _alias(measure: Measure) -> str:
    return quote(f"buckets of {measure.name}")


def _same(measure: Measure, groups: Sequence[str]) -> str:
    return " AND ".join(f"counted.{one} IS NOT DISTINCT FROM {_alias(measure)}.{one}" for one in groups)


def _buckets(measure: Measure, groups: Sequence[str], contributions: str) -> str:
    """Return a SELECT of the buckets of each group, each once, with the rows of all ranges."""
    entries = f"SELECT {', '.join(groups)}, unnest({quote(measure.partial('buckets'))}) AS entry FROM {contributions}"
    added = f"SELECT {', '.join(groups)}, entry.key AS bucket, sum(entry.value) AS rows FROM ({entries}) GROUP BY ALL"
    listed = "list({'key': bucket, 'value': rows} ORDER BY bucket) AS entries"
    return f"SELECT {', '.join(groups)}, {listed} FROM ({added}) GROUP BY {', '.join(groups)}"


# ---- the partials of each measure, of those of several ranges ----------------------------------------------


def _each(aggregate: str, *parts: str) -> _Parts:
    return lambda measure: {part: aggregate.format(quote(measure.partial(part))) for part in parts}


def _sums(*counts: str) -> _Parts:
    return lambda measure: {
        "sum": in_order(quote(measure.partial("sum"))),
        **{part: f"sum({quote(measure.partial(part))})" for part in counts},
    }


def _spread(measure: Measure) -> Mapping[str, str]:
    folded = folded_spread(measure)
    return {"count": f"sum({quote(measure.partial('count'))})", "mean": f"({folded}).mean", "m2": f"({folded}).m2"}


def _chosen(aggregate: str) -> _Parts:
    def parts(measure: Measure) -> Mapping[str, str]:
        value, *ties = (quote(measure.partial(part)) for part in ("value", "time", "source", "position"))
        place = f"({', '.join(ties)})"
        return {
            part: f"{aggregate}({quote(measure.partial(part))}, {place}) FILTER ({value} IS NOT NULL)"
            for part in ("value", "time", "source", "position")
        }

    return parts


_UNITED = "list_sort(list_distinct(flatten(list({0}) FILTER ({0} IS NOT NULL))))"

_PARTS: Mapping[str, _Parts] = {
    "count": _each("sum({})", "count"),
    "count_distinct": _each(_UNITED, "values"),
    "sum": _sums(),
    "avg": _sums("count"),
    "min": _each("min({})", "min"),
    "max": _each("max({})", "max"),
    "variance": _spread,
    "stddev": _spread,
    "bool_and": _each("bool_and({})", "all"),
    "bool_or": _each("bool_or({})", "any"),
    "first": _chosen("arg_min"),
    "last": _chosen("arg_max"),
    "approx_count_distinct": _each(_UNITED, "registers"),
    "approx_quantile": lambda measure: {},
}
