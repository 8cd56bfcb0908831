"""One SQL over the rows of each of many shards: small shards share a query, so that 8760 hours do not cost 8760 queries.

A group of shards runs as a correlated lateral join, which gives each shard the result that its own query would give.
Where DuckDB refuses the correlation, and for large shards, every shard has a query of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.window import Window
from raypipe.ports import SHARD_COLUMN

GROUPED_ROWS_MAX = 50_000  # hash tables stay in memory whole: no partial aggregates are merged, so sums keep their bits
GROUPED_SHARDS_MAX = 4_096  # bounds the width of one query's plan
_SHARDS = "_raypipe_shards"
_START = "_raypipe_start"


@dataclass(frozen=True, slots=True)
class ShardRows:
    """Where the rows stand: a relation with the user's columns and `_shard`, and the rows of each shard by its start."""

    relation: str
    columns: tuple[str, ...]
    counts: Mapping[int, int]

    @property
    def selected(self) -> str:
        """The user's columns, quoted."""
        return ", ".join(map(quote, self.columns))


class GroupedSql:
    """The SQL of one output over the rows of one task."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, select: str, rows: ShardRows) -> None:
        self._connection = connection
        self._select = select
        self._rows = rows

    def run(self, shards: Sequence[Window]) -> pa.Table:
        """Return the results of all shards in order of time, with `_shard`."""
        tables = []
        for group in self._groups(sorted(shards)):
            if len(group) == 1:
                tables.append(self._alone(group[0]))
                continue
            together = self._together(group)
            tables.extend([self._alone(shard) for shard in group] if together is None else [together])
        return pa.concat_tables(tables)

    def _groups(self, shards: Sequence[Window]) -> Iterator[list[Window]]:
        group: list[Window] = []
        rows = 0
        for shard in shards:
            count = self._rows.counts.get(shard.start_us, 0)
            if group and (rows + count > GROUPED_ROWS_MAX or len(group) == GROUPED_SHARDS_MAX):
                yield group
                group, rows = [], 0
            group.append(shard)
            rows += count
        if group:
            yield group

    def _alone(self, shard: Window) -> pa.Table:
        rows = f"SELECT {self._rows.selected} FROM {self._rows.relation} WHERE {SHARD_COLUMN} = make_timestamp({shard.start_us})"
        found = self._connection.sql(f"WITH rows AS ({rows}) SELECT * FROM (\n{self._select}\n)").to_arrow_table()
        starts = pa.repeat(pa.scalar(shard.start_us, pa.timestamp("us")), found.num_rows)
        return found.append_column(SHARD_COLUMN, starts)

    def _together(self, group: Sequence[Window]) -> pa.Table | None:
        """Run the group as one query; None where DuckDB cannot correlate it."""
        starts = pa.array([shard.start_us for shard in group], pa.timestamp("us"))
        self._connection.register(_SHARDS, pa.table({_START: starts}))
        rows = f"SELECT {self._rows.selected} FROM {self._rows.relation} WHERE {SHARD_COLUMN} = {_SHARDS}.{_START}"
        lateral = f"WITH rows AS ({rows}) SELECT * FROM (\n{self._select}\n)"
        try:
            return self._connection.sql(f"SELECT q.*, {_SHARDS}.{_START} AS {SHARD_COLUMN} FROM {_SHARDS}, LATERAL ({lateral}) q").to_arrow_table()
        except (duckdb.BinderException, duckdb.NotImplementedException, duckdb.InternalException):
            return None
        finally:
            self._connection.unregister(_SHARDS)
