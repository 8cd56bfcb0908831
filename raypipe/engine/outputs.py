"""Outputs: a task's transformed rows become each shard's contribution to every table, with rows and digest of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.digest import digest_of_sums, digest_sums_sql
from raypipe.core.shard import OutputStat, Shard
from raypipe.engine.batches import SHARD_INDEX, user_columns
from raypipe.engine.transform import Resources
from raypipe.pipeline import Pipeline, SqlOutput
from raypipe.ports import SHARD_COLUMN

EMPTY = OutputStat(0, digest_of_sums(0, 0))


@dataclass(frozen=True, slots=True)
class Contributions:
    shards: Sequence[Shard]
    tables: Mapping[str, pa.Table]
    stat: Mapping[str, Mapping[int, OutputStat]]
    failed: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def of_shards(self, places: Sequence[int]) -> dict[str, pa.Table]:
        if len(places) == len(self.shards):
            return dict(self.tables)
        starts = pa.array([self.shards[p].window.start_us for p in places], pa.int64()).cast(pa.timestamp("us"))
        return {name: table.filter(pc.is_in(table[SHARD_COLUMN], starts)) for name, table in self.tables.items()}

    def stats(self, place: int) -> dict[str, OutputStat]:
        start = self.shards[place].window.start_us
        return {name: found.get(start, EMPTY) for name, found in self.stat.items()}


@dataclass(frozen=True, slots=True)
class Outputs:
    pipeline: Pipeline

    def contributions(self, rows: Iterator[pl.DataFrame], shards: Sequence[Shard], resources: Resources) -> Contributions:
        frames = list(rows)
        tables: dict[str, pa.Table] = {}
        stats: dict[str, dict[int, OutputStat]] = {}
        starts = pl.Series([one.window.start_us for one in shards], dtype=pl.Int64).cast(pl.Datetime("us"))
        con = duckdb.connect()
        con.execute("SET TimeZone='UTC'; SET threads=1")
        whole = pl.concat(frames) if frames else None
        for output in self.pipeline.outputs:
            stats[output.table] = {}
            if whole is None or whole.is_empty():
                continue
            if isinstance(output, SqlOutput):
                parts = []
                for part in whole.partition_by(SHARD_INDEX, maintain_order=True):
                    con.register("rows", part.select(user_columns(part)).to_arrow())
                    made = con.sql(output.sql).to_arrow_table()
                    start = pa.array([shards[part[SHARD_INDEX][0]].window.start_us] * made.num_rows, pa.int64()).cast(pa.timestamp("us"))
                    parts.append(made.append_column(SHARD_COLUMN, start))
                table = pa.concat_tables(parts)
            else:
                table = whole.select(*user_columns(whole), starts.gather(whole[SHARD_INDEX]).alias(SHARD_COLUMN)).to_arrow()
            tables[output.table] = table
            con.register("made", table)
            columns = [one for one in table.column_names if one != SHARD_COLUMN]
            query = f"SELECT epoch_us({SHARD_COLUMN}), count(*), {digest_sums_sql(columns)} FROM made GROUP BY 1"
            for start_us, count, low, high in con.execute(query).fetchall():
                stats[output.table][start_us] = OutputStat(count, digest_of_sums(low, high))
        con.close()
        return Contributions(shards, tables, stats)
