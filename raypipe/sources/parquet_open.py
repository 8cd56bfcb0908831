"""Opening Parquet files: corrupt ones are named, and large ones are read in pieces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raypipe.errors import SourceUnreadable
from raypipe.sources.filesystem import open_for_arrow

if TYPE_CHECKING:  # text files are read without
    import pyarrow.parquet as pq

COLUMN_BYTES_AT_ONCE = 4 * 1024**2  # of each column chunk: row groups may be larger than memory
BATCH_ROWS = 131_072  # what the engine works on at once; larger ones would only be cut
BATCH_BYTES = 32 * 1024**2
_BATCH_ROWS_MIN = 1_024
_CODED_ROWS_MIN = 16_384  # of a row group: in smaller ones there is nothing to gain, nor to lose
_LENGTH_BYTES = 4  # stand before every text that is written out: a chunk with fewer bytes a row is codes of a dictionary
_DICTIONARY_BYTES_MAX = 64 * 1024  # as stored: every batch gets a copy


@contextmanager
def open_parquet(uri: str, coded: Callable[[pq.ParquetFile], Sequence[str]] = lambda _: ()) -> Iterator[pq.ParquetFile]:
    """Open a file; whatever is corrupt in it is raised as SourceUnreadable that names it, also while it is read.

    The columns that `coded` tells of it, once it is open, are read as dictionaries and codes.
    """
    stream = open_for_arrow(uri)
    try:
        parquet = _open(stream)
        names = coded(parquet)
        yield _open(stream, metadata=parquet.metadata, read_dictionary=names) if names else parquet
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceUnreadable(f"{uri}: is not a whole Parquet file: {error}") from error
    finally:
        stream.close()


def _open(stream: pa.NativeFile, **options: Any) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        stream,
        buffer_size=COLUMN_BYTES_AT_ONCE,
        pre_buffer=False,
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
        **options,
    )


def coded_texts(parquet: pq.ParquetFile, parts: Sequence[int], names: Collection[str]) -> list[str]:
    """Return the text columns, of those named, that are stored as codes of small dictionaries in all of some row groups.

    To read them as such costs a third of reading every value. Row groups of few rows, such as the last one of a file, do not count.
    """
    groups = [group for part in parts if (group := parquet.metadata.row_group(part)).num_rows >= _CODED_ROWS_MIN]
    if not groups:
        return []
    places = {parquet.schema.column(place).path: place for place in range(parquet.metadata.num_columns)}
    texts = [field.name for field in parquet.schema_arrow if field.name in names and pa.types.is_string(field.type)]
    return [name for name in texts if name in places and all(_is_coded(group, places[name]) for group in groups)]


def _is_coded(group: pq.RowGroupMetaData, place: int) -> bool:
    chunk = group.column(place)
    if chunk.dictionary_page_offset is None or chunk.total_uncompressed_size >= _LENGTH_BYTES * group.num_rows:
        return False
    return chunk.data_page_offset - chunk.dictionary_page_offset <= _DICTIONARY_BYTES_MAX


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
