"""Parquet files: reads the row groups, columns and times that are wanted, with the position of each row in its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.shard import Slice
from raypipe.core.window import Window
from raypipe.pipeline import EventTime
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, SourceBatch
from raypipe.sources.parquet_open import batch_rows, coded_texts, open_parquet
from raypipe.sources.placement import Placed, column_at, has_column, place, root_of
from raypipe.sources.routing import rejects_of
from raypipe.sources.slices import within


class ParquetReader:
    """Reads one file for the windows of a task; `path` is where it stands, if not at its URI."""

    def __init__(
        self,
        slices: Sequence[Slice],
        ranges: Sequence[Window],
        columns: Sequence[str] | None,
        time: EventTime,
        path: str | None = None,
    ) -> None:
        self._uri = slices[0].file.uri
        self._path = path or self._uri
        self._parts = sorted({part for one in slices for part in one.parts})
        self._exact = {part for one in slices if one.exact for part in one.parts}
        self._untimed = any(one.untimed for one in slices)
        self._ranges = ranges
        self._columns = columns
        self._time = time

    def batches(self) -> Iterator[SourceBatch]:
        """Yield the rows in order, with `_position` and `_time`, and those without event time where they are wanted."""
        with open_parquet(self._path, self._coded) as parquet:
            metadata = parquet.metadata
            starts = [0]
            for number in range(metadata.num_row_groups):
                starts.append(starts[-1] + metadata.row_group(number).num_rows)
            names = self._names(parquet.schema_arrow)
            for part in self._parts:
                position = starts[part]
                for batch in parquet.iter_batches(
                    batch_rows(parquet, part, names), row_groups=[part], columns=names, use_threads=False
                ):
                    yield self._placed(batch, position, exact=part in self._exact)
                    position += batch.num_rows
                    del batch  # not held while the next is decoded

    def _names(self, schema: pa.Schema) -> list[str]:
        """Return the columns to read; all of them where whole rows may go to quarantine."""
        if self._columns is None or self._untimed:
            return list(schema.names)
        wanted = {*self._columns, root_of(schema.names, self._time.column)}
        return [name for name in schema.names if name in wanted]

    def _coded(self, parquet: pq.ParquetFile) -> list[str]:
        """Return the columns to read as dictionaries and codes; event times are looked at as they stand."""
        schema = parquet.schema_arrow
        return coded_texts(parquet, self._parts, {*self._names(schema)} - {root_of(schema.names, self._time.column)})

    def _placed(self, batch: pa.RecordBatch, position: int, *, exact: bool) -> SourceBatch:
        positions = pl.int_range(position, position + batch.num_rows, dtype=pl.Int64, eager=True).to_arrow()
        placed = self._place(batch)
        rows = batch.append_column(POSITION_COLUMN, positions)
        rejects = tuple(rejects_of(rows, placed, self._uri, self._time)) if placed.untimed and self._untimed else ()
        rows = rows.append_column(TIME_COLUMN, placed.times)
        if not exact:
            rows = rows.filter(within(placed.times, self._ranges))
        return SourceBatch(rows, rejects)

    def _place(self, batch: pa.RecordBatch) -> Placed:
        if not has_column(batch.schema, self._time.column):
            return place(pa.nulls(batch.num_rows), self._time, self._uri)
        return place(column_at(batch, self._time.column), self._time, self._uri)
