"""Row text: rows of a source as JSON objects, made column by column; what JSON has no word for stands as text, binary as base64."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import compute

from raypipe.engine.arrow_types import is_text
from raypipe.engine.far_times import DAYS, readable

pc: Any = compute  # its stubs lack that arrays and plain texts mix
_joined: Callable[..., pa.Array[Any]] = compute.binary_join_element_wise

_ESCAPED = bytes(range(0x20)) + b'"\\'  # what JSON does not let stand in a text as it is
_PLAIN_FLOATS = (1e-4, 1e10)  # between them Arrow writes a float as Python does, without an exponent
_SECONDS = {"s": 1, "ms": 1_000, "us": 1_000_000}
_DAY_S = 86_400


def json_rows(rows: pa.Table, places: pa.Array[Any]) -> pa.Array[Any]:
    """Return the rows at some places, each as the text that `json.dumps` writes of it."""
    if not rows.num_columns:
        return pa.array(["{}"] * len(places), pa.string())
    parts: list[Any] = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        parts += [f"{', ' if parts else '{'}{encode_basestring(name)}: ", _texts(column, places)]
    return _joined(*parts, "}", "", null_handling="replace", null_replacement="null")


def _texts(column: pa.ChunkedArray[Any], places: pa.Array[Any]) -> pa.Array[Any]:
    """Return the values at some places of a column as JSON, by Arrow where it writes what Python does; null stays null."""
    kind = column.type
    tell = next((tell for is_kind, tell in _TELLERS if is_kind(kind)), None)
    texts = None if tell is None else tell(column.take(places).combine_chunks())
    return _by_python(column, places) if texts is None else texts


def _number(values: pa.Array[Any]) -> pa.Array[Any]:
    return values.cast(pa.string())


def _float(values: pa.Array[Any]) -> pa.Array[Any] | None:
    values = values.cast(pa.float64())
    least, end = _PLAIN_FLOATS
    sizes = pc.abs(values)
    plain = pc.or_(pc.equal(sizes, 0), pc.and_(pc.greater_equal(sizes, least), pc.less(sizes, end)))
    if not pc.all(plain).as_py():
        return None
    texts = values.cast(pa.string())
    told: pa.Array[Any] = pc.if_else(pc.match_substring(texts, "."), texts, _joined(texts, "0", "."))
    return told


def _string(values: pa.Array[Any]) -> pa.Array[Any]:
    texts = values.cast(pa.string())
    data = texts.buffers()[2]
    if data is not None and len(data.to_pybytes().translate(None, _ESCAPED)) < data.size:
        return pa.array([None if one is None else encode_basestring(one) for one in texts.to_pylist()], pa.string())
    return _quoted(texts)


def _decimal(values: pa.Array[Any]) -> pa.Array[Any]:
    return _quoted(values.cast(pa.string()))


def _date(values: pa.Array[Any]) -> pa.Array[Any] | None:
    return _quoted(values.cast(pa.string())) if _within(values.cast(pa.int32()), *DAYS) else None


def _timestamp(values: pa.Array[Any]) -> pa.Array[Any] | None:
    unit, zone = values.type.unit, values.type.tz
    if unit not in _SECONDS or zone not in (None, "UTC"):
        return None
    day = _SECONDS[unit] * _DAY_S
    if not _within(values.cast(pa.int64()), (DAYS[0] + 1) * day, DAYS[1] * day):
        return None
    texts = values.cast(pa.timestamp(unit)).cast(pa.timestamp("us")).cast(pa.string())
    texts = pc.replace_substring(pc.replace_substring(texts, " ", "T"), ".000000", "")
    return _quoted(texts, "+00:00" if zone else "")


def _within(counts: pa.Array[Any], first: int, last: int) -> bool:
    found = pc.min_max(counts).as_py()
    return found["min"] is None or (found["min"] >= first and found["max"] <= last)


def _quoted(texts: pa.Array[Any], behind: str = "") -> pa.Array[Any]:
    return _joined('"', texts, behind + '"', "")


def _coded(values: pa.Array[Any]) -> pa.Array[Any]:
    return _string(values.cast(values.type.value_type))


def _is_text(kind: pa.DataType) -> bool:
    return is_text(kind) and not pa.types.is_string_view(kind)  # views cannot be taken


_TELLERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array[Any]], pa.Array[Any] | None]], ...] = (
    (lambda kind: pa.types.is_integer(kind) or pa.types.is_boolean(kind), _number),
    (lambda kind: pa.types.is_float32(kind) or pa.types.is_float64(kind), _float),
    (_is_text, _string),
    (lambda kind: pa.types.is_dictionary(kind) and _is_text(kind.value_type), _coded),
    (pa.types.is_decimal128, _decimal),
    (pa.types.is_date32, _date),
    (pa.types.is_timestamp, _timestamp),
)


def _by_python(column: pa.ChunkedArray[Any], places: pa.Array[Any]) -> pa.Array[Any]:
    values = pl.DataFrame(pl.Series("", pl.from_arrow(column)).gather(pl.Series(pl.from_arrow(places))))
    return pa.array([_text(one) for one in readable(values).to_series().to_list()], pa.string())


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f'"{value}"'  # JSON has no word for NaN and infinity
    return _ENCODER.encode(value)


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_as_text)
