"""The merge of contributions in plain Python, for the memory destination: the second word on what the SQL of core says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from raypipe.core.merge import BUCKET_BITS, DELETED_COLUMN, RANKS, REGISTERS, TIE_COLUMNS, Combined, Keyed, Measure, Merge, keys_of
from raypipe.core.window import Window
from raypipe.ports import SHARD_COLUMN

Row = Mapping[str, Any]


def merged_rows(merge: Merge, contributions: Mapping[Window, Sequence[Row]]) -> list[Row]:
    """Return the table that contributions make; floating sums are added in the order of ranges."""
    groups: dict[Any, list[Row]] = {}
    for _, rows in sorted(contributions.items()):
        for row in rows:
            groups.setdefault(_hashable([row[name] for name in keys_of(merge)]), []).append(row)
    if isinstance(merge, Keyed):
        newest = (max(rows, key=lambda row: _age(merge, row)) for rows in groups.values())
        hidden = (*TIE_COLUMNS, DELETED_COLUMN, SHARD_COLUMN)
        return [{name: row[name] for name in row if name not in hidden} for row in newest if not row[DELETED_COLUMN]]
    return [_combined(merge, rows) for rows in groups.values()]


def _age(merge: Keyed, row: Row) -> tuple[Any, ...]:
    return tuple(_ordered(row[name]) for name in (*merge.latest_by, *TIE_COLUMNS))


def _ordered(value: Any) -> tuple[bool, bool, Any]:
    """Nulls are older than anything, and NaN is greater than any number."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return (value is not None, is_nan, 0 if value is None or is_nan else value)


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((name, _hashable(one)) for name, one in value.items())
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _combined(merge: Combined, rows: Sequence[Row]) -> Row:
    found = {name: rows[0][name] for name in merge.groups}
    for measure in merge.measures:
        parts = [[row[name] for row in rows] for name in measure.partials]
        found[measure.name] = _FUNCTIONS[measure.function](measure, *parts)
    return found


def _added(values: Iterable[Any]) -> Any:
    known = [one for one in values if one is not None]
    return sum(known[1:], known[0]) if known else None


def _least(values: Iterable[Any]) -> Any:
    return min((one for one in values if one is not None), key=_ordered, default=None)


def _greatest(values: Iterable[Any]) -> Any:
    return max((one for one in values if one is not None), key=_ordered, default=None)


def _avg(_: Measure, sums: list[Any], counts: list[int]) -> float | None:
    rows = sum(counts)
    return float(_added(sums)) / rows if rows else None


def _variance(measure: Measure, counts: list[int], means: list[float], squares: list[float]) -> float | None:
    parts = [part for part in zip(counts, means, squares, strict=True) if part[0]]
    rows = sum(n for n, _, _ in parts)
    if rows < 2:
        return None
    middle = sum(n * mean for n, mean, _ in parts) / rows
    variance = sum(m2 + n * (mean - middle) * (mean - middle) for n, mean, m2 in parts) / (rows - 1)
    return math.sqrt(variance) if measure.function == "stddev" else variance


def _first(measure: Measure, values: list[Any], *ties: list[Any]) -> Any:
    known = [(place, value) for place, value in zip(zip(*ties, strict=True), values, strict=True) if value is not None]
    choose: Callable[..., Any] = min if measure.function == "first" else max
    return choose(known, key=lambda one: one[0])[1] if known else None


def _united(lists: list[list[Any] | None]) -> list[Any]:
    return [one for values in lists for one in values or ()]


def _count_distinct(_: Measure, values: list[list[Any] | None]) -> int:
    return len({_hashable(one) for one in _united(values)})


def _approx_count_distinct(_: Measure, registers: list[list[int] | None]) -> int:
    ranks: dict[int, int] = {}
    for entry in _united(registers):
        register, rank = divmod(entry, RANKS)
        ranks[register] = max(rank, ranks.get(register, 0))
    if not ranks:
        return 0
    empty = (REGISTERS - len(ranks)) / REGISTERS
    sigma = empty + sum(empty**2.0**k * 2.0 ** (k - 1) for k in range(1, 26))
    harmonic = sum(2.0**-rank for rank in ranks.values()) + REGISTERS * sigma
    return int(REGISTERS * REGISTERS / (2 * math.log(2)) / harmonic + 0.5)


def _approx_quantile(measure: Measure, buckets: list[list[Mapping[str, int]] | None]) -> float | None:
    entries = sorted((one["key"], one["value"]) for one in _united(buckets))
    total = sum(rows for _, rows in entries)
    rank = max(1, math.ceil(total * measure.share))
    reached = 0
    for bucket, same in groupby(entries, key=lambda one: one[0]):
        reached += sum(rows for _, rows in same)
        if reached >= rank:
            return _middle(bucket)
    return None


def _middle(bucket: int) -> float:
    exponent, within = divmod(abs(bucket), 2**BUCKET_BITS)
    if bucket == 0:
        return 0.0
    if exponent == 2047:
        return math.nan if within else math.copysign(math.inf, bucket)
    fraction = (within + 0.5) / 2**BUCKET_BITS
    return math.copysign((1 + fraction) * 2.0 ** (exponent - 1023) if exponent else fraction * 2.0**-1022, bucket)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "count": lambda _, counts: sum(counts),
    "count_distinct": _count_distinct,
    "sum": lambda _, sums: _added(sums),
    "avg": _avg,
    "min": lambda _, values: _least(values),
    "max": lambda _, values: _greatest(values),
    "variance": _variance,
    "stddev": _variance,
    "bool_and": lambda _, values: _least(values),
    "bool_or": lambda _, values: _greatest(values),
    "first": _first,
    "last": _first,
    "approx_count_distinct": _approx_count_distinct,
    "approx_quantile": _approx_quantile,
}
