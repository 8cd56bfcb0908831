"""Split a block of CSV text into records: where each begins, and which lines cannot be part of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.ports import Reject
from raypipe.sources.csv_syntax import CsvSyntax, complaint
from raypipe.sources.lines import raw_text

RECORD_BYTES_MAX = 1024**2  # how far a quote may stay open with `multiline`: beyond, it was never closed


@dataclass(frozen=True, slots=True)
class Records:
    """Well-formed records, blank lines among them, of any number of values."""

    data: bytes
    lines: Sequence[int]
    """The number of the first line of each record or blank line in `data`, ascending."""
    rejects: tuple[Reject, ...]
    spans: bool
    """Whether some record spans lines."""
    rest: bytes = b""
    """What follows and cannot be judged without the next block."""


def split_records(data: bytes, first_line: int, syntax: CsvSyntax, uri: str, *, last: bool) -> Records:
    """Split a block. What is malformed is rejected line by line, so that no broken quote can hide the lines after it."""
    data, lines_count, rejects = _only_utf8(data, first_line, syntax, uri)
    numbers: Sequence[int] = lines_count
    if not _has_quotes_or_returns(data, syntax):
        return Records(data, numbers, rejects, spans=False)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    matches = pc.match_substring_regex(pa.array(lines, pa.binary()), syntax.line)
    if pc.all(matches).as_py() is not False:
        return Records(data, numbers, rejects, spans=False)
    broken = list(compress(range(len(lines)), pc.invert(matches).to_pylist()))
    if syntax.dialect.multiline:
        joined = _join_lines(lines, broken, syntax, last=last)
    else:
        joined = _Joined(frozenset(broken), frozenset(), len(lines))
    bad = tuple(_malformed(lines[index], numbers[index], syntax, uri) for index in sorted(joined.malformed))
    kept = [index for index in range(joined.end) if index not in joined.malformed]
    return Records(
        data=b"".join(lines[index] + b"\n" for index in kept),
        lines=[numbers[index] for index in kept if index not in joined.continued],
        rejects=tuple(sorted(rejects + bad, key=lambda reject: reject.position)),
        spans=bool(joined.continued),
        rest=b"\n".join(lines[joined.end :]),
    )
