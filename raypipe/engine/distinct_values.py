"""Distinct values: lists of all values of a group become lists of each once, in order, which is what a contribution holds.

To sort them here takes a third of what DuckDB takes for list(DISTINCT x), whose hash tables do not fit the caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

SLICE_VALUES = 1 << 18  # of long lists at once: bounds the copies that are made meanwhile
LONG = 128  # values of a list on the average: an engine call for each list then costs less than to sort all values together


def is_settled_here(dtype: pl.DataType) -> bool:
    """Tell whether Polars and DuckDB agree on which values of a type are equal, and on their order and their type in Arrow."""
    return dtype.is_integer() or isinstance(dtype, (pl.Float32, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Datetime))


def each_once(batch: pa.RecordBatch, columns: frozenset[str]) -> pa.RecordBatch:
    """Return a batch in which the lists of these columns hold each value once, ascending; null lists stay."""
    arrays = [_settled(batch.column(name)) if name in columns else batch.column(name) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _settled(column: pa.Array[Any]) -> pa.Array[Any]:
    lists = pl.from_arrow(column)
    assert isinstance(lists, pl.Series)
    reached = lists.list.len().fill_null(0).cum_sum()
    is_long = len(lists) > 0 and reached[-1] >= LONG * len(lists)
    found = pl.concat(part.list.unique().list.sort() for part in slices(lists, reached)) if is_long else _together(lists)
    return found.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(column.type)


def slices(lists: pl.Series, reached: pl.Series) -> Iterator[pl.Series]:
    """Yield neighbouring lists together; `reached` tells how many values there are up to the end of each."""
    start = 0
    while start < len(lists):
        before = reached[start - 1] if start else 0
        stop = max(start + 1, int(reached.search_sorted(before + SLICE_VALUES, side="right")))
        yield lists.slice(start, stop - start)
        start = stop


def _together(lists: pl.Series) -> pl.Series:
    """Sort the values of all lists at once, each beside the number of its list."""
    numbered = pl.DataFrame({"list": pl.int_range(len(lists), dtype=pl.UInt32, eager=True), "value": lists})
    values = numbered.drop_nulls("value").explode("value").sort("list", "value")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in ("list", "value"))
    found = values.filter(differs).group_by("list", maintain_order=True).agg("value")
    return numbered.select("list").join(found, on="list", how="left", maintain_order="left")["value"]
