"""Digests of the rows of a Parquet file by cell, so that a file that is replaced makes late only the shards that changed."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute

from raypipe.pipeline import EventTime
from raypipe.sources.cells import Cells, Cutter
from raypipe.sources.parquet_open import batch_rows
from raypipe.sources.placement import column_at, in_history, place
from raypipe.sources.row_bytes import row_bytes

pc: Any = compute  # its stubs lack that arrays and plain numbers mix


def parquet_cells(
    parquet: pq.ParquetFile, uri: str, time: EventTime, cutter: Cutter, untimed_us: int, *, named: bool = False
) -> dict[str, Any]:
    """Read a file and return its cells in history, with rows and a digest of all columns each.

    The digest covers rows in order, and neither row groups nor encodings. Rows without event time count to their cell. With
    `named`, columns that are null count as little as those that are not there.
    """
    cells, untimed = Cells(cutter), hashlib.blake2b(digest_size=16)
    names = list(parquet.schema_arrow.names)
    if not named:
        cells.name_columns([f"{field.name} {field.type}" for field in parquet.schema_arrow])
    found_untimed = False
    for part in range(parquet.metadata.num_row_groups):
        for batch in parquet.iter_batches(batch_rows(parquet, part, names), row_groups=[part], use_threads=False):
            times = place(column_at(batch, time.column), time, uri).times
            texts = row_bytes(pa.RecordBatch.from_arrays([_plain(column) for column in batch.columns], names=names), named=named)
            if times.null_count:
                found_untimed = True
                untimed.update(b"".join(text.as_buffer() for text in texts.filter(times.is_null())))
            inside = pc.fill_null(in_history(times, time), False)
            _take(cells, times.filter(inside), texts.filter(inside))
    if found_untimed:
        cells.add_rejects(untimed_us, untimed.digest())
    return cells.content()


def _take(cells: Cells, times: pa.Array[Any], texts: pa.Array[Any]) -> None:
    if not len(times):
        return
    located = cells.ordinals(times)
    order = pc.sort_indices(located.ordinals.to_arrow())
    counts = located.ordinals.value_counts(sort=False).sort(located.ordinals.name)["count"].to_list()
    cells.take(located.starts, counts, texts.take(order))


def _plain(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return a column whose values have a text, each another one: bytes may be no UTF-8, and some types have no cast."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pl.Series("bytes", pl.from_arrow(column.cast(pa.large_binary()))).bin.encode("hex").to_arrow().cast(pa.string())
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    return column
