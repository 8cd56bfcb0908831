"""Column types of DuckDB: which one holds the values of two others without loss."""

from __future__ import annotations

import re

UNKNOWN = '"NULL"'  # DuckDB's name for the type of a column that only ever held nulls

_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_DECIMAL_DIGITS_MAX = 38
_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19, "UTINYINT": 3, "USMALLINT": 5, "UINTEGER": 10, "UBIGINT": 20}
_EXACT_IN_DOUBLE = {"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE"}
_EXACT_IN_FLOAT = {"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT", "FLOAT"}


def widened(left: str, right: str) -> str | None:
    """Return the least type that holds every value of both, or None where there is none that is safe."""
    if left == right:
        return left
    pair = {left, right}
    if pair <= {*_SIGNED, *_UNSIGNED}:
        return _wider_integer(left, right)
    if "FLOAT" in pair and pair <= _EXACT_IN_FLOAT:
        return "FLOAT"
    if pair & {"FLOAT", "DOUBLE"}:
        return "DOUBLE" if pair <= _EXACT_IN_DOUBLE else None
    return _wider_decimal(left, right)


def _wider_integer(left: str, right: str) -> str:
    for family in (_SIGNED, _UNSIGNED):
        if left in family and right in family:
            return max(left, right, key=family.index)
    signed, unsigned = (left, right) if left in _SIGNED else (right, left)
    return _SIGNED[max(_SIGNED.index(signed), _UNSIGNED.index(unsigned) + 1)]


def _wider_decimal(left: str, right: str) -> str | None:
    one, other = _decimal(left), _decimal(right)
    if one is None or other is None:
        return None
    scale = max(one[1], other[1])
    whole = max(one[0] - one[1], other[0] - other[1])
    return f"DECIMAL({whole + scale},{scale})" if whole + scale <= _DECIMAL_DIGITS_MAX else None


def _decimal(name: str) -> tuple[int, int] | None:
    match = _DECIMAL.fullmatch(name)
    if match:
        return int(match[1]), int(match[2])
    return (_DIGITS[name], 0) if name in _DIGITS else None
