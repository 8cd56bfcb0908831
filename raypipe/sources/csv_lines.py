"""CSV files as decoded blocks: every physical line becomes exactly one row of strings, or one Reject, or is blank.

Arrow parses; what it would misread (broken quotes, wrong bytes, lone carriage returns) is set aside before, and what
comes out is counted against what went in. A block for which the count does not hold is parsed again, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

import pyarrow as pa
from pyarrow import csv

from raypipe.errors import ConfigurationError, SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import CsvDialect
from raypipe.ports import POSITION_COLUMN, RESERVED_COLUMNS, Reject
from raypipe.sources.csv_records import Records, split_records
from raypipe.sources.csv_syntax import CsvSyntax
from raypipe.sources.lines import (
    BLOCK_BYTES,
    MALFORMED,
    Block,
    ByteStream,
    DecodedBlock,
    blocks,
    cut,
    one_chunk,
    position_array,
    raw_text,
)
from raypipe.sources.transcode import Utf8Stream, codec_name, splits_at_newline_bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is known of a file before its first row."""

    uri: str
    syntax: CsvSyntax
    names: tuple[str, ...]
    """The file's columns, in order."""
    wanted: tuple[str, ...]
    """Those to return, in the file's order."""


def decode(
    stream: ByteStream, dialect: CsvDialect, uri: str, columns: Sequence[str] | None, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[DecodedBlock]:
    """Decode a CSV file into its wanted columns as strings (None: all) and `_position`, the line that a record begins on.

    Wanted columns that the file lacks do not come: whether that is drift, the caller knows. A value is null where it is
    one of `dialect.nulls`, in quotes or not. Without a header, `columns` name the file's columns in order. At least one
    block comes, if only an empty one that tells the columns. Raises SourceUnreadable for a header that cannot be used.
    """
    encoding = codec_name(dialect.encoding)
    if not splits_at_newline_bytes(encoding):
        stream, encoding = Utf8Stream(stream, encoding, uri), "utf-8"
    syntax = CsvSyntax.of(replace(dialect, encoding="utf-8" if encoding in ("utf-8-sig", "ascii") else encoding))
    source = blocks(stream, uri, block_bytes=block_bytes)
    if dialect.header:
        first = next(source, None)
        names, rest = _header(first, syntax, uri)
        layout = _Layout(uri, syntax, names, _wanted(names, columns, uri))
        yield from _decode_blocks(chain([rest], source), layout)
        return
    if columns is None:
        raise ConfigurationError(f"{uri}: source.csv.header is false, expected source.columns to name the file's columns in order")
    names = tuple(columns)
    yield from _decode_blocks(chain([Block(b"", 1)], source), _Layout(uri, syntax, names, _wanted(names, None, uri)))


def _header(first: Block | None, syntax: CsvSyntax, uri: str) -> tuple[tuple[str, ...], Block]:
    """Read the column names off the first line; return them and the block without that line."""
    if first is None:
        raise SourceUnreadable(f"{uri}: is empty, expected a header line; set source.csv.header: false if it has none")
    if first.rejects:
        raise SourceUnreadable(f"{uri}: line 1 (the header): {first.rejects[0].error}")
    line, _, rest = first.data.partition(b"\n")
    try:
        text = line.decode(syntax.dialect.encoding).removesuffix("\r")
    except UnicodeDecodeError as error:
        utf16 = "; this looks like UTF-16: set source.csv.encoding: utf-16" if line[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise SourceUnreadable(
            f"{uri}: line 1 (the header): expected {syntax.dialect.encoding} text: {error.reason}{utf16}"
        ) from error
    names = syntax.split(text)
    if names is None:
        raise SourceUnreadable(f"{uri}: line 1 (the header): {syntax.complaint(text)}")
    for index, name in enumerate(names):
        if not name:
            raise SourceUnreadable(f"{uri}: line 1 (the header): column {index + 1} has no name, got {raw_text(line)!r}")
        if name in names[:index]:
            raise SourceUnreadable(
                f"{uri}: line 1 (the header): columns {names.index(name) + 1} and {index + 1} are both named {name!r}"
            )
    return tuple(names), Block(rest, 2)


def _wanted(names: Sequence[str], columns: Sequence[str] | None, uri: str) -> tuple[str, ...]:
    wanted = tuple(name for name in names if columns is None or name in columns)
    for name in wanted:
        if name in RESERVED_COLUMNS:
            raise SourceUnreadable(f"{uri}: has a column {name!r}, a name that raypipe keeps for itself; rename it or leave it out")
    return wanted


def _decode_blocks(source: Iterator[Block], layout: _Layout) -> Iterator[DecodedBlock]:
    held, held_line = b"", 0
    for block in source:
        if block.rejects:  # a line that is not there any more: no record spans it
            if held:
                yield _decode_block(split_records(held, held_line, layout.syntax, layout.uri, last=True), layout)
            held = b""
            yield DecodedBlock(_no_rows(layout), block.rejects)
            continue
        first_line = held_line if held else block.first_line
        records = split_records(held + block.data, first_line, layout.syntax, layout.uri, last=False)
        yield _decode_block(records, layout)
        held, held_line = records.rest, records.rest_line
    if held:
        yield _decode_block(split_records(held, held_line, layout.syntax, layout.uri, last=True), layout)


def _decode_block(records: Records, layout: _Layout) -> DecodedBlock:
    if not records.data:
        return DecodedBlock(_no_rows(layout), records.rejects)
    rows, ragged = _parse(records, layout) or _parse_strictly(records, layout)
    rejects = sorted((*records.rejects, *ragged), key=lambda reject: reject.position) if ragged else records.rejects
    return DecodedBlock(rows, tuple(rejects))


def _parse(records: Records, layout: _Layout) -> tuple[pa.RecordBatch, list[Reject]] | None:
    """Parse with Arrow; None when Arrow cannot, or when rows and ragged records are not all that there were."""
    dialect, ragged = layout.syntax.dialect, list[csv.InvalidRow]()
    if not (dialect.delimiter.isascii() and dialect.quote.isascii()):
        return None

    def set_aside(row: csv.InvalidRow) -> Literal["skip"]:
        ragged.append(row)
        return "skip"

    try:
        # The streaming reader starts no threads, which for a small file would take ten times as long as parsing it.
        data: Any = pa.BufferReader(records.data)  # which the stubs do not know to be read without copying
        reader = csv.open_csv(
            data,
            read_options=csv.ReadOptions(use_threads=False, block_size=len(records.data), column_names=list(layout.names)),
            parse_options=csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                newlines_in_values=dialect.multiline,
                ignore_empty_lines=len(layout.names) > 1,
                invalid_row_handler=set_aside,
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=False,  # the block was decoded as a whole
                column_types=dict.fromkeys(layout.names, pa.string()),
                include_columns=list(layout.wanted),
                null_values=list(dialect.nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        table = reader.read_all()
    except pa.ArrowInvalid:
        return None
    lines = _without_blanks(records, table.num_rows + len(ragged), layout)
    if lines is None:
        return None
    rejects: list[Reject] = []
    if ragged:
        places = [row.number - 1 for row in ragged if row.number is not None]  # None comes with threads only
        rejects = [_ragged(layout, lines[place], row.actual_columns, row.text) for place, row in zip(places, ragged, strict=True)]
        left_out = frozenset(places)
        lines = [line for place, line in enumerate(lines) if place not in left_out]
    arrays = [one_chunk(table.column(name)) for name in layout.wanted]
    return _rows(layout, arrays, lines), rejects


def _without_blanks(records: Records, count: int, layout: _Layout) -> Sequence[int] | None:
    """Return the line numbers of the `count` records that are not blank; None when there are not so many."""
    if len(records.lines) == count:
        return records.lines
    texts = _record_texts(records, layout.syntax)
    lines = [line for line, text in zip(records.lines, texts, strict=True) if text or len(layout.names) == 1]
    return lines if len(lines) == count else None


def _record_texts(records: Records, syntax: CsvSyntax) -> Iterator[str]:
    """Yield the text of each record without its line end."""
    text, at = records.data.decode(), 0
    while at < len(text):
        match = syntax.record.match(text, at)
        assert match is not None, "split_records lets through well-formed records only"
        yield match[0][:-1].removesuffix("\r")
        at = match.end()


def _parse_strictly(records: Records, layout: _Layout) -> tuple[pa.RecordBatch, list[Reject]]:
    """Parse record by record: for dialects that Arrow does not take, and for any block that it gave too little of."""
    nulls = frozenset(layout.syntax.dialect.nulls)
    kept: list[int] = []
    columns: list[list[str | None]] = [[] for _ in layout.names]
    rejects: list[Reject] = []
    for line, text in zip(records.lines, _record_texts(records, layout.syntax), strict=True):
        if not text and len(layout.names) > 1:
            continue
        values = layout.syntax.split(text) or []
        if len(values) != len(layout.names):
            rejects.append(_ragged(layout, line, len(values), text))
            continue
        kept.append(line)
        for column, value in zip(columns, values, strict=True):
            column.append(None if value in nulls else value)
    arrays = [pa.array(column, pa.string()) for name, column in zip(layout.names, columns, strict=True) if name in layout.wanted]
    return _rows(layout, arrays, kept), rejects


def _ragged(layout: _Layout, line: int, got: int, text: str) -> Reject:
    return Reject(layout.uri, line, MALFORMED, f"got {got} values, expected {len(layout.names)}", cut(text))


def _rows(layout: _Layout, arrays: Sequence[pa.Array[Any]], lines: Sequence[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([*arrays, position_array(lines)], names=[*layout.wanted, POSITION_COLUMN])


def _no_rows(layout: _Layout) -> pa.RecordBatch:
    return _rows(layout, [pa.array([], pa.string()) for _ in layout.wanted], [])
