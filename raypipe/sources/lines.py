"""Blocks of whole physical lines, and what decoding makes of them: every line becomes one row or one Reject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from raypipe.lazy_dataclass import dataclass
from raypipe.ports import RAW_CHARS_MAX, Reject
from raypipe.sources.compressed import ByteStream, TextStream, open_text

__all__ = [
    "BLOCK_BYTES",
    "LINE_BYTES_MAX",
    "Block",
    "ByteStream",
    "DecodedBlock",
    "TextStream",
    "blocks",
    "open_text",
    "raw_text",
]

BLOCK_BYTES = 4 * 1024**2  # large enough that the engines' cost per call vanishes, small enough to hold several
LINE_BYTES_MAX = 16 * 1024**2  # bounds the memory that one line can take; a line this long is a lost line end or an attack

MALFORMED = "malformed_line"
BAD_ENCODING = "bad_encoding"
TOO_LONG = "line_too_long"

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive whole lines; the last line of a file may lack its line end. Rejected lines are not in `data`."""

    data: bytes
    first_line: int
    """Number of the first physical line, from 1."""
    rejects: tuple[Reject, ...] = ()

    def lines(self) -> list[bytes]:
        r"""Return the lines without their `\n`."""
        return self.data.removesuffix(b"\n").split(b"\n") if self.data else []

    def numbers(self) -> range:
        """Return the number of each line."""
        count = self.data.count(b"\n") + (not self.data.endswith(b"\n")) if self.data else 0
        return range(self.first_line, self.first_line + count)


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """Rows of a block with their `_position`, ascending, and what could not be decoded, ascending by position."""

    rows: pa.RecordBatch
    rejects: tuple[Reject, ...] = ()


def blocks(
    stream: ByteStream, uri: str, *, block_bytes: int = BLOCK_BYTES, line_bytes_max: int = LINE_BYTES_MAX
) -> Iterator[Block]:
    r"""Cut a stream at line ends (`\n`) into blocks of about `block_bytes`; a byte order mark at its start is left out.

    A line longer than `line_bytes_max` becomes a reject in a block without data; no more than that and one block are
    held in memory.
    """
    block_bytes = min(block_bytes, line_bytes_max)
    line, held = 1, stream.read(block_bytes).removeprefix(_BOM)
    while held:
        end = held.rfind(b"\n") + 1
        first_end = held.find(b"\n") if end else len(held)
        if first_end > line_bytes_max:
            # Only the first line can have come from more than one read, so it alone can be too long.
            size_bytes, rest = _skip_line(stream, held, block_bytes)
            yield Block(b"", line, (_too_long(uri, line, held, size_bytes, line_bytes_max),))
            line, held = line + 1, rest or stream.read(block_bytes)
            continue
        if end:
            yield Block(held[:end], line)
            line += held.count(b"\n")
        more = stream.read(block_bytes)
        held = held[end:] + more
        if not more:
            break
    if held:
        yield Block(held, line)


def _skip_line(stream: ByteStream, held: bytes, block_bytes: int) -> tuple[int, bytes]:
    """Read past the end of the line that `held` begins with; return its length and what follows."""
    size_bytes = 0
    while held:
        end = held.find(b"\n")
        if end >= 0:
            return size_bytes + end, held[end + 1 :]
        size_bytes += len(held)
        held = stream.read(block_bytes)
    return size_bytes, b""


def _too_long(uri: str, line: int, held: bytes, size_bytes: int, line_bytes_max: int) -> Reject:
    error = f"line {line} has {size_bytes:,} bytes, expected at most {line_bytes_max:,}"
    return Reject(uri, line, TOO_LONG, error, raw_text(held[: RAW_CHARS_MAX * 4 + 4]))


def raw_text(line: bytes, encoding: str = "utf-8") -> str:
    r"""Return a line for people to read: bytes that are no characters as `\xff`, cut (see `cut`)."""
    return cut(line[: RAW_CHARS_MAX * 4 + 4].removesuffix(b"\r").decode(encoding, errors="backslashreplace"))


def cut(text: str) -> str:
    """Cut a text so that one character beyond RAW_CHARS_MAX tells that there was more."""
    return text[: RAW_CHARS_MAX + 1]


def bad_encoding(uri: str, line: int, raw: bytes, encoding: str) -> Reject:
    """Return the reject of a line whose bytes are not the text they should be."""
    try:
        raw.decode(encoding)
        got = "bytes"
    except UnicodeDecodeError as error:
        got = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line ({error.reason})"
    return Reject(uri, line, BAD_ENCODING, f"got {got}, expected {encoding} text", raw_text(raw, encoding))


def position_array(lines: Sequence[int]) -> pa.Array[Any]:
    """Return line numbers as a `_position` column."""
    if isinstance(lines, range):
        return pa.arange(lines.start, lines.stop)  # type: ignore[attr-defined, no-any-return]  # newer than the stubs
    return pa.array(lines, pa.int64())


def one_chunk(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Return a column that Arrow read from one block as an array."""
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
