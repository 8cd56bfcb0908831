"""Split a block of CSV text into records: on which line each begins, and which lines cannot be part of one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress, pairwise

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Reject
from raypipe.sources.csv_syntax import CsvSyntax
from raypipe.sources.lines import MALFORMED, bad_encoding, raw_text

RECORD_CHARACTERS_MAX = 1024**2  # how far quotes may span lines with `multiline`: one that is open longer was never closed


@dataclass(frozen=True, slots=True)
class Records:
    """Well-formed records of any number of values, in UTF-8, each with its line end; blank lines may be among them."""

    data: bytes
    lines: Sequence[int]
    """The number of the first line of each record or blank line, ascending."""
    rejects: tuple[Reject, ...] = ()
    rest: bytes = b""
    """The block's end, from `rest_line` on, which cannot be judged without the next block."""
    rest_line: int = 0


@dataclass(frozen=True, slots=True)
class _Grouping:
    """Lines, by index: which are malformed, which go on with the record of the line before, where judgement ends."""

    malformed: frozenset[int]
    continuing: frozenset[int]
    end: int


def split_records(data: bytes, first_line: int, syntax: CsvSyntax, uri: str, *, last: bool) -> Records:
    """Split whole lines into records; `last` tells that no line follows.

    A malformed record is rejected up to its first line's end, and splitting goes on with the next line, so that a broken
    quote hides nothing behind it.
    """
    if not data:
        return Records(b"", range(0))
    if not data.endswith(b"\n"):
        data += b"\n"
    encoding, quote = syntax.dialect.encoding, syntax.dialect.quote
    text, unreadable = _decode(data, encoding)
    utf8 = data if encoding == "utf-8" and not unreadable else text.encode()
    everything = Records(utf8, range(first_line, first_line + utf8.count(b"\n")))
    suspicious = quote in text or (b"\r" in utf8 and utf8.count(b"\r") != utf8.count(b"\r\n"))
    if not suspicious and not unreadable:
        return everything
    lines = text.split("\n")[:-1]
    broken = _broken_lines(lines, syntax) if suspicious else []
    if not broken and not unreadable:
        return everything
    grouping = _group(lines, broken, syntax, last=last)
    return _collect(data.split(b"\n"), lines, first_line, grouping, unreadable, syntax, uri)


def _decode(data: bytes, encoding: str) -> tuple[str, frozenset[int]]:
    """Return the text, and the indices of the lines that hold bytes which are no characters (replaced by a mark)."""
    try:
        return data.decode(encoding), frozenset()
    except UnicodeDecodeError:
        pass
    lines = data.split(b"\n")
    texts = [line.decode(encoding, errors="replace") for line in lines]
    marked = (index for index, text in enumerate(texts) if not text.isascii() and "\ufffd" in text)
    return "\n".join(texts), frozenset(index for index in marked if not _decodes(lines[index], encoding))


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _broken_lines(lines: list[str], syntax: CsvSyntax) -> list[int]:
    """Return the indices of the lines that are no record by themselves."""
    whole = pc.match_substring_regex(pa.array(lines, pa.string()), syntax.line)
    if pc.all(whole).as_py() is not False:
        return []
    return list(compress(range(len(lines)), pc.invert(whole).to_pylist()))


def _group(lines: list[str], broken: list[int], syntax: CsvSyntax, *, last: bool) -> _Grouping:
    if not syntax.dialect.multiline or not broken:
        return _Grouping(frozenset(broken), frozenset(), len(lines))
    text = "\n".join(lines) + "\n"
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    malformed: set[int] = set()
    continuing: set[int] = set()
    following = 0
    for index in broken:
        if index < following:
            continue
        start = starts[index]
        record = syntax.record.match(text, start, start + RECORD_CHARACTERS_MAX)
        if record is not None:
            following = bisect_left(starts, record.end())
            continuing.update(range(index + 1, following))
        elif not last and len(text) - start < RECORD_CHARACTERS_MAX:
            return _Grouping(frozenset(malformed), frozenset(continuing), index)
        else:
            malformed.add(index)
    return _Grouping(frozenset(malformed), frozenset(continuing), len(lines))


def _collect(
    raw_lines: list[bytes],
    lines: list[str],
    first_line: int,
    grouping: _Grouping,
    unreadable: frozenset[int],
    syntax: CsvSyntax,
    uri: str,
) -> Records:
    encoding = syntax.dialect.encoding
    kept: list[str] = []
    numbers: list[int] = []
    rejects: list[Reject] = []
    for begin, end in _spans(grouping):
        number, raw = first_line + begin, raw_lines[begin:end]
        if not unreadable.isdisjoint(range(begin, end)):
            rejects.append(bad_encoding(uri, number, b"\n".join(raw), encoding))
        elif begin in grouping.malformed:
            complaint = syntax.complaint(lines[begin].removesuffix("\r"))
            rejects.append(Reject(uri, number, MALFORMED, complaint, raw_text(raw[0], encoding)))
        else:
            kept += lines[begin:end]
            numbers.append(number)
    rest = b"\n".join(raw_lines[grouping.end :])
    return Records("\n".join([*kept, ""]).encode(), numbers, tuple(rejects), rest, first_line + grouping.end)


def _spans(grouping: _Grouping) -> Iterable[tuple[int, int]]:
    """Yield the half-open ranges of lines that make up a record each."""
    begins = [index for index in range(grouping.end) if index not in grouping.continuing]
    return pairwise([*begins, grouping.end])
