"""Exporting quarantined rows to a Parquet or CSV file that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pyarrow import compute

from raypipe.errors import RetryableError

pc: Any = compute  # its stubs lack that arrays and plain texts mix

_RISKY = "^[=+@\\-\t\r]"  # a spreadsheet takes such a text for a formula


def export_rows(reader: pa.RecordBatchReader, path: Path) -> int:
    """Write all rows to a file by its suffix, .parquet or .csv; return how many. The file is replaced when it is complete.

    Raises RetryableError where the disk is full or fails.

    In CSV, texts that a spreadsheet would run as a formula get an apostrophe before them.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        rows = _write_csv(reader, part) if path.suffix == ".csv" else _write_parquet(reader, part)
        part.replace(path)
    except OSError as error:
        raise RetryableError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _write_parquet(reader: pa.RecordBatchReader, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_csv(reader: pa.RecordBatchReader, path: Path) -> int:
    rows = 0
    with pacsv.CSVWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(pa.record_batch(list(_harmless(batch)), schema=batch.schema))
            rows += batch.num_rows
    return rows


def _harmless(batch: pa.RecordBatch) -> Iterator[pa.Array[Any]]:
    for column in batch.columns:
        if not pa.types.is_string(column.type):
            yield column
            continue
        risky = pc.match_substring_regex(column, _RISKY)
        yield pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
