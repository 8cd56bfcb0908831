"""Plain values: Arrow data as Python values that JSON can hold, for the raw text of rows that are set aside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def plain_values(column: pa.Array[Any]) -> list[Any]:
    """Return the values of a column: times as ISO text, or as a count where they lie beyond what Python can hold."""
    if _plain(column.type):
        return column.to_pylist()
    return [_plain_value(value) for value in column]


def _plain(kind: pa.DataType) -> bool:
    """Tell whether Python holds every value of a type: not so for times, whose years end with 9999 there."""
    return not (pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_dictionary(kind))


def _plain_value(value: Any) -> Any:
    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_timestamp(kind):
        return _time(value.value, kind)
    if pa.types.is_struct(kind):
        return {name: _plain_value(one) for name, one in value.items()}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind) or pa.types.is_fixed_size_list(kind):
        return [_plain_value(one) for one in value.values]
    try:
        found = value.as_py()
    except (OverflowError, ValueError):
        return f"{value.value} days since 1970" if pa.types.is_date32(kind) else str(value.value)
    return found.isoformat() if hasattr(found, "isoformat") else found


def _time(count: int, kind: Any) -> str:
    at_us = count // 1_000 if kind.unit == "ns" else count * _UNITS[kind.unit]
    try:
        text = (_EPOCH + timedelta(microseconds=at_us)).replace(tzinfo=None).isoformat()
    except OverflowError:
        return f"{count} {kind.unit} since 1970"
    return f"{text}Z" if kind.tz else text
