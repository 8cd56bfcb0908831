"""Tell which JSON lines need a look one by one: those that are not plain, or have a value of a wrong kind.

A line that is suspected wrongly only takes longer, so these patterns may be rough on one side: what they let through is
one JSON object, and Arrow refuses what does not fit its type.
"""

from __future__ import annotations

import json
import re
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

_BLANK = r"[ \t]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u(?:[0-9abcefABCEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})))*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_PLAIN_DEPTH = 2  # nested objects and arrays below the line's own; each more multiplies the pattern

# A value that begins, or goes on, in a way that no value of the type does; `n` begins null.
_WRONG_STARTS: dict[pa.DataType, str] = {
    pa.string(): r'[^"n \t]', pa.bool_(): r"[^tfn \t]",
    pa.float64(): r"[^-0-9n \t]|-?[0-9.]+[eE][-+]?[0-9]{3}|-?[0-9]{300}", pa.float32(): r"[^-0-9n \t]|-?[0-9.]+[eE]|-?[0-9]{38}",
    **{
        kind: rf"[^{sign}0-9n \t]|-?[0-9]*[.eE]|-?[0-9]{{{digits}}}"
        for sign, kinds in (("-", (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
                            ("", (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())))
        for kind, digits in zip(kinds, (3, 5, 10, 19), strict=True)
    },
}  # fmt: skip


def suspects(lines: list[bytes], schema: pa.Schema) -> list[bool]:
    """Return for each line whether it needs a look."""
    array = pa.array(lines, pa.binary())
    suspected = pc.invert(pc.match_substring_regex(array, _plain_line()))
    wrong = _wrong_kinds(schema)
    if wrong:
        suspected = pc.or_(suspected, pc.match_substring_regex(array, wrong))
    found = suspected.to_pylist()
    return [bool(one) or not (line.isascii() or _is_utf8(line)) for one, line in zip(found, lines, strict=True)]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@cache
def _plain_line() -> str:
    """Return the pattern of a line that is one object of plain depth, by the grammar of RFC 8259."""
    value = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
    for _ in range(_PLAIN_DEPTH):
        value = f"(?:{_STRING}|{_NUMBER}|true|false|null|{_object_of(value)}|{_array_of(value)})"
    return rf"^{_object_of(value)}\r?$"


def _object_of(value: str) -> str:
    member = f"{_BLANK}{_STRING}{_BLANK}:{_BLANK}{value}{_BLANK}"
    return rf"\{{(?:{member}(?:,{member})*|{_BLANK})\}}"


def _array_of(value: str) -> str:
    item = f"{_BLANK}{value}{_BLANK}"
    return rf"\[(?:{item}(?:,{item})*|{_BLANK})\]"


def _wrong_kinds(schema: pa.Schema) -> str:
    """Return the pattern of a line in which some column has a value of a wrong kind; empty when there are no columns."""
    columns = []
    for field in schema:
        nested = r"[^{n \t]" if pa.types.is_struct(field.type) else r"[^\[n \t]"
        key = re.escape(json.dumps(field.name, ensure_ascii=False).encode().decode("latin-1"))
        columns.append(f"{key}{_BLANK}:{_BLANK}(?:{_WRONG_STARTS.get(field.type, nested)})")
    return "|".join(columns)
