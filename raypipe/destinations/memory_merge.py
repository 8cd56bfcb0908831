"""The merge of contributions in plain Python, for the memory destination: the second word on what the SQL of core says."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from raypipe.core.merge import BUCKET_BITS, DELETED_COLUMN, RANKS, REGISTERS, TIE_COLUMNS, Combined, Keyed, Measure, Merge, keys_of
from raypipe.core.window import Window
from raypipe.ports import SHARD_COLUMN

Row = Mapping[str, Any]


def merged_rows(merge: Merge, contributions: Mapping[Window, Sequence[Row]]) -> list[Row]:
    """Return the table that contributions make; floating sums are added in the order of ranges."""
    groups = _groups(merge, (row for _, rows in sorted(contributions.items()) for row in rows))
    if isinstance(merge, Keyed):
        hidden = (*TIE_COLUMNS, DELETED_COLUMN, SHARD_COLUMN)
        newest = (_newest(merge, rows) for rows in groups)
        return [{name: row[name] for name in row if name not in hidden} for row in newest if not row[DELETED_COLUMN]]
    return [_combined(merge, rows) for rows in groups]


def one_contribution(merge: Merge, rows: Iterable[Row]) -> list[Row]:
    """Return contributions of several ranges, in their order, as those of one; the rows keep the range of one of them."""
    if isinstance(merge, Keyed):
        return [_newest(merge, same) for same in _groups(merge, rows)]
    return [_one_of_group(merge, same) for same in _groups(merge, rows)]


def _one_of_group(merge: Combined, rows: Sequence[Row]) -> Row:
    found = dict(rows[0])
    for measure in merge.measures:
        parts = [[row[name] for row in rows] for name in measure.partials]
        found.update(zip(measure.partials, _PARTIALS[measure.function](measure, *parts), strict=True))
    return found


def _groups(merge: Merge, rows: Iterable[Row]) -> Iterable[list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(_hashable([row[name] for name in keys_of(merge)]), []).append(row)
    return groups.values()


def _newest(merge: Keyed, rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: _age(merge, row))


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


def _variance(measure: Measure, *parts: list[Any]) -> float | None:
    rows, _, squares = _spread(*parts)
    if not rows or rows < 2:
        return None
    variance = squares / (rows - 1)
    return math.sqrt(variance) if measure.function == "stddev" else variance


def _spread(counts: list[int], means: list[float], squares: list[float]) -> tuple[int, Any, Any]:
    """Add one range after the other to count, mean and squared distances from it."""
    parts = [part for part in zip(counts, means, squares, strict=True) if part[0]]
    return functools.reduce(_both_spreads, parts) if parts else (0, None, None)


def _both_spreads(one: tuple[int, float, float], other: tuple[int, float, float]) -> tuple[int, float, float]:
    (n, mean, m2), (more, middle, squares) = one, other
    apart = (mean - middle) * (mean - middle) * (n * more / (n + more))
    return n + more, (n * mean + more * middle) / (n + more), m2 + squares + apart


def _first(measure: Measure, values: list[Any], *ties: list[Any]) -> Any:
    return _first_of(measure, values, *ties)[0]


def _first_of(measure: Measure, values: list[Any], *ties: list[Any]) -> tuple[Any, ...]:
    known = [(value, *place) for place, value in zip(zip(*ties, strict=True), values, strict=True) if value is not None]
    choose: Callable[..., Any] = min if measure.function == "first" else max
    return choose(known, key=lambda one: one[1:]) if known else (None,) * (1 + len(ties))


def _united(lists: list[list[Any] | None]) -> list[Any]:
    return [one for values in lists for one in values or ()]


def _count_distinct(_: Measure, values: list[list[Any] | None]) -> int:
    return len({_hashable(one) for one in _united(values)})


def _approx_count_distinct(_: Measure, registers: list[list[int] | None]) -> int:
    ranks = _ranks(registers)
    if not ranks:
        return 0
    empty = (REGISTERS - len(ranks)) / REGISTERS
    sigma = empty + sum(empty**2.0**k * 2.0 ** (k - 1) for k in range(1, 26))
    harmonic = sum(2.0**-rank for rank in ranks.values()) + REGISTERS * sigma
    return int(REGISTERS * REGISTERS / (2 * math.log(2)) / harmonic + 0.5)


def _ranks(registers: list[list[int] | None]) -> Mapping[int, int]:
    """Return the highest rank of each register that any list has."""
    ranks: dict[int, int] = {}
    for entry in _united(registers):
        register, rank = divmod(entry, RANKS)
        ranks[register] = max(rank, ranks.get(register, 0))
    return ranks


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


def _known_together(_: Measure, lists: list[list[Any] | None]) -> tuple[list[Any] | None]:
    """Return the distinct values of lists; None where there is none."""
    found = {_hashable(one): one for one in _united(lists)}
    return ([*found.values()] or None,)


def _registers(_: Measure, registers: list[list[int] | None]) -> tuple[list[int] | None]:
    ranks = _ranks(registers)
    return ([register * RANKS + rank for register, rank in sorted(ranks.items())] or None,)


def _buckets(_: Measure, buckets: list[list[Mapping[str, int]] | None]) -> tuple[list[Mapping[str, int]] | None]:
    rows: Counter[int] = Counter()
    for one in _united(buckets):
        rows[one["key"]] += one["value"]
    return ([{"key": key, "value": value} for key, value in sorted(rows.items())] or None,)


_PARTIALS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "count": lambda _, counts: (sum(counts),),
    "count_distinct": _known_together,
    "sum": lambda _, sums: (_added(sums),),
    "avg": lambda _, sums, counts: (_added(sums), sum(counts)),
    "min": lambda _, values: (_least(values),),
    "max": lambda _, values: (_greatest(values),),
    "variance": lambda _, *parts: _spread(*parts),
    "stddev": lambda _, *parts: _spread(*parts),
    "bool_and": lambda _, values: (_least(values),),
    "bool_or": lambda _, values: (_greatest(values),),
    "first": _first_of,
    "last": _first_of,
    "approx_count_distinct": _registers,
    "approx_quantile": _buckets,
}
"""The partials of several ranges as those of one, in the order of `PARTIALS`."""
