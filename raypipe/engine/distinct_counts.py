"""DistinctCounts: how many different values there are in lists that are gathered by group at the end.

The lists are in memory up to a limit; beyond it DuckDB has them, and spills.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from raypipe.engine.distinct_values import slices

_LISTS = "_raypipe_lists"
_GROUPS = "_raypipe_groups"


def counts_of(lists: pa.Array[Any]) -> pl.Series:
    """Return how many different values each list holds, int64; nulls are no values."""
    series = pl.Series(pl.from_arrow(lists))
    given = series.list.drop_nulls() if lists.values.null_count else series  # type: ignore[attr-defined]
    return given.list.n_unique().fill_null(0).cast(pl.Int64)


class DistinctCounts:
    """The lists of one column of many parts; `table` is a name for them in DuckDB, if they go there."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, limit_bytes: int) -> None:
        self._connection = connection
        self._table = table
        self._limit_bytes = limit_bytes
        self._held: list[tuple[int, pa.Array[Any]]] = []
        """The lists of each part, and the place of its first one."""
        self._held_bytes = 0
        self._spilled = False

    def add(self, first: int, lists: pa.Array[Any]) -> None:
        """Take the lists of a part, whose places begin with `first`."""
        self._held.append((first, lists))
        self._held_bytes += lists.nbytes
        if self._held_bytes > self._limit_bytes or self._spilled:
            self._spill()

    def of(self, groups: pl.Series) -> pl.Series:
        """Return how many different values there are in the lists at the places of each group, int64."""
        if groups.is_empty():
            return pl.Series([], dtype=pl.Int64)
        if self._spilled:
            return self._of_spilled(groups)
        return pl.concat([counts_of(self._joined(some)) for some in self._sliced(groups)])

    def close(self) -> None:
        """Let go of all."""
        self._held.clear()
        if self._spilled:
            self._connection.execute(f"DROP TABLE {self._table}")

    def _sliced(self, groups: pl.Series) -> Iterator[pl.Series]:
        """Yield neighbouring groups together that have about as many values as may be copied at once."""
        lengths = pl.concat([pl.Series(pl.from_arrow(lists.value_lengths())) for _, lists in self._held])  # type: ignore[attr-defined]
        reached = lengths[groups.explode()].fill_null(0).cast(pl.Int64).cum_sum()
        return slices(groups, reached[groups.list.len().cum_sum() - 1])

    def _joined(self, groups: pl.Series) -> pa.Array[Any]:
        """Return one list for each group, of the values of all its lists."""
        places = groups.explode()
        taken, order = [], []
        for first, lists in self._held:
            here = places.is_between(first, first + len(lists), closed="left").arg_true()
            taken.append(lists.take((places[here] - first).to_arrow()))
            order.append(here)
        joined: Any = pa.concat_arrays(taken).take(pl.concat(order).arg_sort().to_arrow())
        ends = pl.concat([pl.Series([0], dtype=pl.Int64), groups.list.len().cum_sum().cast(pl.Int64)])
        return pa.ListArray.from_arrays(joined.offsets.take(ends.to_arrow()), joined.values)

    def _spill(self) -> None:
        for first, lists in self._held:
            places = pl.int_range(first, first + len(lists), eager=True).to_arrow()
            self._connection.register(_LISTS, pa.table({"place": places, "value": lists}))
            into = f"INSERT INTO {self._table}" if self._spilled else f"CREATE TEMP TABLE {self._table} AS"
            self._connection.execute(f"{into} SELECT place, unnest(value) AS value FROM {_LISTS}")
            self._connection.unregister(_LISTS)
            self._spilled = True
        self._held.clear()

    def _of_spilled(self, groups: pl.Series) -> pl.Series:
        numbered = pl.DataFrame({"number": pl.int_range(len(groups), eager=True), "place": groups}).explode("place")
        self._connection.register(_GROUPS, numbered.to_arrow())
        sql = f"SELECT number, count(DISTINCT value) FROM {self._table} JOIN {_GROUPS} USING (place) GROUP BY number"
        found = self._connection.execute(sql).fetchall()
        self._connection.unregister(_GROUPS)
        counts = pl.Series([0], dtype=pl.Int64).new_from_index(0, len(groups))
        return counts.scatter([number for number, _ in found], [count for _, count in found])
