"""Decode JSON lines with Arrow, where it cannot take one thing for another.

Arrow accepts several objects on a line, objects over several lines, NaN, any depth and bytes that are not UTF-8, and
crashes on a lone `null`. Lines in which any of this may be are decoded in `json_rows`, which defines what is right, and the
others go through Arrow together: a line is bad if and only if it is bad alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from raypipe.core.datatype import DataType
from raypipe.ports import POSITION_COLUMN
from raypipe.sources.json_rows import JsonShape, decode_rows
from raypipe.sources.json_suspects import suspects
from raypipe.sources.json_values import DEPTH_MAX, TEXT_KINDS, JsonNumber, MalformedJson, arrow_type, parse_object
from raypipe.sources.lines import Block, DecodedBlock, one_chunk, position_array

SUSPECTS_SHARE_MAX = 0.5  # beyond, one slow pass over all lines is cheaper than a slow and a fast one

_CONSTANT = re.compile(rb"[:\[,][ \t]*-?(?:NaN|Inf)")


def decode_with_arrow(block: Block, shape: JsonShape) -> DecodedBlock | None:
    """Decode a block; None when Arrow cannot help."""
    if shape.read_keys is None or shape.extras or (shape.time_path and shape.time_path[0] in shape.contract):
        return None
    if len(shape.time_path) > 1 and f'"{shape.time_column}"'.encode() in block.data:
        return None
    data = block.data.rstrip(b"\r\n")
    count = data.count(b"\n") + 1
    if _is_plain(data, count):
        numbers = range(block.first_line, block.first_line + count)
        rows = _parse(data, numbers, shape, _schema(data.partition(b"\n")[0], shape))
        if rows is not None:
            return DecodedBlock(rows)
    return _decode_apart(block.lines(), block.numbers(), shape)


def _decode_apart(lines: list[bytes], numbers: range, shape: JsonShape) -> DecodedBlock | None:
    """Decode suspicious lines one by one, and the others with Arrow."""
    schema = _schema(next(filter(_is_object, lines), b""), shape)
    suspected = suspects(lines, schema)
    if sum(suspected) > len(lines) * SUSPECTS_SHARE_MAX:
        return None
    good = [not one for one in suspected]
    rows = _parse(b"\n".join(compress(lines, good)), list(compress(numbers, good)), shape, schema)
    if rows is None:
        return None
    apart = decode_rows(list(compress(lines, suspected)), list(compress(numbers, suspected)), shape)
    if apart.rows.num_rows:
        rows = pa.concat_batches(  # type: ignore[attr-defined]  # newer than the stubs
            [rows, apart.rows.select(rows.schema.names)]
        )
        rows = rows.take(pc.sort_indices(rows.column(POSITION_COLUMN)))
    return DecodedBlock(rows, apart.rejects)


def _is_object(line: bytes) -> bool:
    try:
        parse_object(line.decode().strip(" \t\r"))
    except (MalformedJson, UnicodeDecodeError):
        return False
    return True


def _parse(data: bytes, numbers: Sequence[int], shape: JsonShape, schema: pa.Schema) -> pa.RecordBatch | None:
    """Parse lines of one object each; None when a value does not fit, or not every line became a row."""
    try:
        table = json.read_json(
            io.BytesIO(data),
            read_options=json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(numbers):
        return None
    columns = {name: one_chunk(table.column(name)) for name in schema.names}
    if any(map(_has_infinity, columns.values())):
        return None  # Arrow rounds numbers that are too large to infinity, and not all of these are refused
    return _rows(columns, numbers, shape)


def _has_infinity(column: pa.Array[Any]) -> bool:
    if isinstance(column, pa.StructArray):
        return any(map(_has_infinity, column.flatten()))
    if isinstance(column, pa.ListArray):
        return _has_infinity(column.flatten())
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_inf(column)).as_py())


def _is_plain(data: bytes, count: int) -> bool:
    r"""Tell whether lines begin with `{` and end with `}`, in valid UTF-8, none of them deep, without NaN and Infinity.

    Between two such lines no value can go on: in an array or object a comma would have to stand there. So an object
    never spans lines, and when there are as many objects as lines, each line is one object.
    """
    if not (data.startswith(b"{") and data.endswith(b"}") and count - 1 in (data.count(b"}\n{"), data.count(b"}\r\n{"))):
        return False
    if (b"NaN" in data or b"Inf" in data) and _CONSTANT.search(data):
        return False
    openings = data.count(b"{") + data.count(b"[")
    if openings >= count + DEPTH_MAX and any(line.count(b"{") + line.count(b"[") > DEPTH_MAX for line in data.split(b"\n")):
        return False
    return data.isascii() or _is_utf8(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _schema(line: bytes, shape: JsonShape) -> pa.Schema:
    """Return what Arrow shall expect. Text columns may hold numbers: a line tells which do, and Arrow refuses all others."""
    try:
        first = parse_object(line.decode().strip(" \t\r"))
    except (MalformedJson, UnicodeDecodeError):
        first = {}
    fields: list[tuple[str, pa.DataType]] = []
    for name, column in shape.contract.items():
        number = column.type.kind in TEXT_KINDS - {"string"} and isinstance(first.get(name), JsonNumber)
        fields.append((name, pa.int64() if number else arrow_type(column.type)))
    if shape.time_path:
        value: object = first
        for name in shape.time_path:
            value = value.get(name) if isinstance(value, dict) else None
        kind: pa.DataType = pa.int64() if isinstance(value, JsonNumber) else pa.string()
        for name in reversed(shape.time_path[1:]):
            kind = pa.struct([(name, kind)])
        fields.append((shape.time_path[0], kind))
    return pa.schema(fields)


def _rows(columns: dict[str, pa.Array[Any]], numbers: Sequence[int], shape: JsonShape) -> pa.RecordBatch:
    found = {
        name: _as_decoded(columns[name], column.type)
        for name, column in shape.contract.items()
        if shape.wanted is None or name in shape.wanted
    }
    if shape.time_path:
        leaf = columns[shape.time_path[0]]
        for name in shape.time_path[1:]:
            leaf = pc.struct_field(leaf, name)
        found[shape.time_column] = leaf.cast(pa.string())
    found[POSITION_COLUMN] = position_array(numbers)
    return pa.RecordBatch.from_pydict(found)


def _as_decoded(column: pa.Array[Any], kind: DataType) -> pa.Array[Any]:
    wanted = arrow_type(kind)
    return column if column.type == wanted else column.cast(wanted)
