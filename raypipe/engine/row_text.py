"""Row text: rows of a source as JSON objects, made column by column; what JSON has no word for stands as text, binary as base64."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
from pyarrow import compute

from raypipe.engine.arrow_types import is_text
from raypipe.engine.far_times import DAYS, readable

pc: Any = compute  # its stubs lack that arrays and plain texts mix
_joined: Callable[..., pa.Array[Any]] = compute.binary_join_element_wise

_CONTROL_END = 0x20  # below it, no character may stand in a text of JSON as it is
_UNLIKE_PYTHON = (b"e", b"N", b"n", b"0.0000")  # in Polars' text of floats: exponents, NaN and inf, what Python has exponents for
_SECONDS = {"s": 1, "ms": 1_000, "us": 1_000_000}
_DAY_S = 86_400


class _Told(NamedTuple):
    """Values as texts, and what stands around each that is not null."""

    texts: pa.Array[Any]
    before: str = ""
    behind: str = ""


def json_rows(rows: pa.Table, places: pa.Array[Any]) -> pa.Array[Any]:
    """Return the rows at some places, each as the text that `json.dumps` writes of it."""
    if not rows.num_columns:
        return pa.array(["{}"] * len(places), pa.string())
    parts: list[Any] = []
    between = "{"
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        told = _without_nulls_within(_told(column, places))
        parts += [f"{between}{encode_basestring(name)}: {told.before}", told.texts]
        between = f"{told.behind}, "
    return _joined(*parts, between.removesuffix(", ") + "}", "", null_handling="replace", null_replacement="null")


def _without_nulls_within(told: _Told) -> _Told:
    """Return the same with what is around each value as part of it, where a null has nothing around it."""
    if not told.texts.null_count or not told.before + told.behind:
        return told
    return _Told(_joined(told.before, told.texts, told.behind, ""))


def _told(column: pa.ChunkedArray[Any], places: pa.Array[Any]) -> _Told:
    """Return the values at some places of a column as JSON, by an engine where it writes what Python does; null stays null."""
    kind = column.type
    tell = next((tell for is_kind, tell in _TELLERS if is_kind(kind)), None)
    told = None if tell is None else tell(column.take(places).combine_chunks())
    return _by_python(column, places) if told is None else told


def _number(values: pa.Array[Any]) -> _Told:
    return _Told(values.cast(pa.string()))


def _float(values: pa.Array[Any]) -> _Told | None:
    texts = pl.Series(pl.from_arrow(values.cast(pa.float64()))).cast(pl.String).to_arrow().cast(pa.string())
    return None if any(mark in _data(texts) for mark in _UNLIKE_PYTHON) else _Told(texts)


def _string(values: pa.Array[Any]) -> _Told:
    texts = values.cast(pa.string())
    if _is_plain(_data(texts)):
        return _quoted(texts)
    return _Told(pa.array([None if one is None else encode_basestring(one) for one in texts.to_pylist()], pa.string()))


def _is_plain(text: bytes) -> bool:
    """Tell whether all of a text stands in JSON as it is."""
    least = pc.min(pa.Array.from_buffers(pa.uint8(), len(text), [None, pa.py_buffer(text)])).as_py()
    return (least is None or least >= _CONTROL_END) and b'"' not in text and b"\\" not in text


def _data(texts: pa.Array[Any]) -> bytes:
    """Return texts one behind the other."""
    data = texts.buffers()[2]
    return b"" if data is None else data.to_pybytes()


def _decimal(values: pa.Array[Any]) -> _Told:
    return _quoted(values.cast(pa.string()))


def _date(values: pa.Array[Any]) -> _Told | None:
    return _quoted(values.cast(pa.string())) if _within(values.cast(pa.int32()), *DAYS) else None


def _timestamp(values: pa.Array[Any]) -> _Told | None:
    unit, zone = values.type.unit, values.type.tz
    if unit not in _SECONDS or zone not in (None, "UTC"):
        return None
    day = _SECONDS[unit] * _DAY_S
    if not _within(values.cast(pa.int64()), (DAYS[0] + 1) * day, DAYS[1] * day):
        return None
    texts = values.cast(pa.timestamp(unit)).cast(pa.timestamp("us")).cast(pa.string())
    if pc.any(pc.ends_with(texts, ".000000")).as_py():
        texts = pc.replace_substring(texts, ".000000", "")
    return _quoted(pc.replace_substring(texts, " ", "T"), "+00:00" if zone else "")


def _within(counts: pa.Array[Any], first: int, last: int) -> bool:
    found = pc.min_max(counts).as_py()
    return found["min"] is None or (found["min"] >= first and found["max"] <= last)


def _quoted(texts: pa.Array[Any], behind: str = "") -> _Told:
    return _Told(texts, '"', behind + '"')


def _coded(values: pa.Array[Any]) -> _Told:
    return _string(values.cast(values.type.value_type))


def _is_text(kind: pa.DataType) -> bool:
    return is_text(kind) and not pa.types.is_string_view(kind)  # views cannot be taken


_TELLERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array[Any]], _Told | None]], ...] = (
    (lambda kind: pa.types.is_integer(kind) or pa.types.is_boolean(kind), _number),
    (lambda kind: pa.types.is_float32(kind) or pa.types.is_float64(kind), _float),
    (_is_text, _string),
    (lambda kind: pa.types.is_dictionary(kind) and _is_text(kind.value_type), _coded),
    (pa.types.is_decimal128, _decimal),
    (pa.types.is_date32, _date),
    (pa.types.is_timestamp, _timestamp),
)


def _by_python(column: pa.ChunkedArray[Any], places: pa.Array[Any]) -> _Told:
    values = pl.DataFrame(pl.Series("", pl.from_arrow(column)).gather(pl.Series(pl.from_arrow(places))))
    return _Told(pa.array([_text(one) for one in readable(values).to_series().to_list()], pa.string()))


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
