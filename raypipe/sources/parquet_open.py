"""Opening Parquet files: corrupt ones are named, and large ones are read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.errors import SourceUnreadable
from raypipe.sources.filesystem import open_file

COLUMN_BYTES_AT_ONCE = 4 * 1024**2  # of each column chunk: row groups may be larger than memory
BATCH_ROWS = 65_536  # what the engine works on at once; larger ones would only be cut
BATCH_BYTES = 32 * 1024**2
_BATCH_ROWS_MIN = 1_024


@contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """Open a file; whatever is corrupt in it is raised as SourceUnreadable that names it, also while it is read."""
    stream: IO[bytes] = open_file(uri)
    try:
        yield pq.ParquetFile(
            stream,
            buffer_size=COLUMN_BYTES_AT_ONCE,
            pre_buffer=False,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceUnreadable(f"{uri}: is not a whole Parquet file: {error}") from error
    finally:
        stream.close()


def batch_rows(parquet: pq.ParquetFile, part: int, names: Sequence[str]) -> int:
    """Return how many rows to read at once, so that a batch stays below BATCH_BYTES by the sizes in the footer."""
    row_group, roots = parquet.metadata.row_group(part), set(names)
    size_bytes = sum(
        row_group.column(number).total_uncompressed_size
        for number in range(row_group.num_columns)
        if row_group.column(number).path_in_schema.partition(".")[0] in roots
    )
    row_bytes = size_bytes // max(row_group.num_rows, 1) + 8 * len(names)
    return max(_BATCH_ROWS_MIN, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))
