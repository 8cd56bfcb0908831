"""TableSpool: a contribution on its way to be staged, in memory up to a limit and in a Parquet file beyond it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from raypipe.engine.arrow_types import plain_schema
from raypipe.errors import SchemaDrift
from raypipe.lazy_dataclass import dataclass

if TYPE_CHECKING:  # it loads all of Arrow's file systems: 13 ms, for what is seldom large enough
    import pyarrow.parquet as pq

READ_ROWS = 65_536  # of a file at once
SLICE_BYTES = 1024**2  # of rows that become texts at once, lists and all, which are several times as large
WRITTEN_BYTES = 8 * 1024**2  # a row group: each is in memory whole while it is written


@dataclass(frozen=True, slots=True)
class TableFile:
    """A contribution too large for memory, as the file that will be staged."""

    path: Path
    schema: pa.Schema
    num_rows: int
    nbytes: int
    """About what it would take in memory."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(READ_ROWS):
                yield batch.cast(self.schema)


Rows = pa.Table | TableFile


def scannable(rows: Rows) -> pa.Table | pa.RecordBatchReader:
    """Return rows as an engine can scan them, a file once."""
    return rows if isinstance(rows, pa.Table) else pa.RecordBatchReader.from_batches(rows.schema, rows.batches())


def in_slices(rows: Rows) -> pa.RecordBatchReader:
    """Return rows as a stream of small batches: an engine that makes a text of each row does so for all of a batch at once."""
    batches = rows.to_batches() if isinstance(rows, pa.Table) else rows.batches()
    return pa.RecordBatchReader.from_batches(rows.schema, (part for batch in batches for part in _sliced(batch)))


def _sliced(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    step = max(1, batch.num_rows * SLICE_BYTES // max(1, batch.nbytes))
    return (batch.slice(start, step) for start in range(0, batch.num_rows, step))


def in_memory(rows: Rows) -> pa.Table:
    """Return rows as a table, read where they are in a file."""
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches(rows.batches(), rows.schema)


def chained(parts: Sequence[Rows]) -> pa.RecordBatchReader:
    """Return the rows of several contributions, with the columns of the first, as one stream. Raises SchemaDrift."""
    schema = parts[0].schema
    require_same_columns(schema, (part.schema for part in parts))
    batches = (batch for part in parts for batch in (part.to_batches() if isinstance(part, pa.Table) else part.batches()))
    return pa.RecordBatchReader.from_batches(schema, batches)


def require_same_columns(expected: pa.Schema, found: Iterable[pa.Schema]) -> None:
    """Raise SchemaDrift where rows of one shard have other columns than those before: files without a contract may."""
    for schema in found:
        if not schema.equals(expected):
            differing = sorted({str(field) for field in schema}.symmetric_difference(str(field) for field in expected))
            raise SchemaDrift(
                f"the files of this shard have different columns ({', '.join(differing)}): name them in source.columns"
            )


def parquet_writer(path: Path | IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for rows that are staged: pages carry checksums.

    Values in lists are seldom the same ones: to look for a dictionary of them takes more than half of the time of writing.
    """
    import pyarrow.parquet as pq

    repeating = [field.name for field in schema if not pa.types.is_nested(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True, use_dictionary=repeating)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class SpoolSpace:
    """Where contributions go that are too large for memory; without a folder none is."""

    folder: Path | None = None
    limit_bytes: int = 0

    def gathered(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Rows:
        """Take all rows in, with plain types."""
        schema = plain_schema(schema)
        held: list[pa.RecordBatch] = []
        size_bytes = 0
        rest = iter(batches)
        for batch in rest:
            held.append(batch.cast(schema))
            size_bytes += held[-1].nbytes
            if self.folder is not None and size_bytes > self.limit_bytes:
                return self._written(self.folder, schema, held, rest)
        return pa.Table.from_batches(held, schema)

    def _written(self, folder: Path, schema: pa.Schema, held: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch]) -> TableFile:
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix="contribution-", dir=folder)) / "rows.parquet"
        rows = total_bytes = held_bytes = 0
        held.reverse()  # so that what is written can be let go of
        with parquet_writer(path, schema) as file:
            group: list[pa.RecordBatch] = []
            while (batch := held.pop() if held else next(rest, None)) is not None:
                group.append(batch.cast(schema))
                rows += batch.num_rows
                held_bytes += group[-1].nbytes
                if held_bytes >= WRITTEN_BYTES:
                    total_bytes += held_bytes
                    file.write_table(pa.Table.from_batches(group, schema))
                    group, held_bytes = [], 0
            if group:
                file.write_table(pa.Table.from_batches(group, schema))
        return TableFile(path, schema, rows, total_bytes + held_bytes)


IN_MEMORY = SpoolSpace()
