"""Counting the records of a file from the outside: lines, or the footer. No decoder, no index, nothing that a run reads by."""

from __future__ import annotations

from collections.abc import Iterator

from raypipe.pipeline import FilesSource
from raypipe.sources.compressed import open_text
from raypipe.sources.lines import ByteStream
from raypipe.sources.transcode import codec_name, splits_at_newline_bytes

_READ_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


def count_records(source: FilesSource, uri: str) -> int | None:
    """Return how many records a file holds, well formed or not; None where line ends do not tell (see `countable`)."""
    if source.format == "parquet":
        from raypipe.sources.parquet_open import open_parquet

        with open_parquet(uri) as parquet:
            return int(parquet.metadata.num_rows)
    if not countable(source):
        return None
    stream = open_text(uri)
    try:
        return _count_json(_lines(stream)) if source.format == "jsonl" else _count_csv(_lines(stream), source)
    finally:
        stream.close()


def _count_json(lines: Iterator[bytes]) -> int:
    return sum(1 for line in lines if line.strip(b" \t\r"))


def _count_csv(lines: Iterator[bytes], source: FilesSource) -> int:
    """Count lines after the header; a blank line is a record where a record is one value."""
    one_value = len(source.columns) == 1
    if source.csv.header:
        one_value = source.csv.delimiter.encode(codec_name(source.csv.encoding)) not in next(lines, b"")
    return sum(1 for line in lines if one_value or line.removesuffix(b"\r"))


def countable(source: FilesSource) -> bool:
    """Tell whether a line is a record: not where values hold line breaks, nor in encodings whose line ends are other bytes."""
    return source.format != "csv" or (not source.csv.multiline and splits_at_newline_bytes(codec_name(source.csv.encoding)))


def _lines(stream: ByteStream) -> Iterator[bytes]:
    held = stream.read(_READ_BYTES).removeprefix(_BOM)
    while data := stream.read(_READ_BYTES):
        *lines, held = (held + data).split(b"\n")
        yield from lines
    *lines, held = held.split(b"\n")
    yield from lines
    if held:
        yield held
