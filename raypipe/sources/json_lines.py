"""JSON Lines files as decoded blocks: every physical line becomes exactly one row, or one Reject, or is blank.

Arrow parses a block in which nothing can be misread: it accepts several objects on a line, objects over several lines,
NaN and keys of any depth, and crashes on a lone `null`. Every other block is decoded line by line in `json_rows`, which
defines what is right; a line is bad if and only if it is bad alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from raypipe.core.datatype import DataType
from raypipe.errors import SourceUnreadable
from raypipe.pipeline import Column
from raypipe.ports import POSITION_COLUMN, RESERVED_COLUMNS
from raypipe.sources.json_rows import JsonShape, decode_rows
from raypipe.sources.json_values import DEPTH_MAX, TEXT_KINDS, JsonNumber, MalformedJson, arrow_type, parse_object
from raypipe.sources.lines import BLOCK_BYTES, Block, ByteStream, DecodedBlock, blocks

_CONSTANT = re.compile(rb"[:\[,][ \t]*-?(?:NaN|Inf)")


def decode(
    stream: ByteStream,
    uri: str,
    contract: Mapping[str, Column],
    columns: Sequence[str] | None,
    time_path: str | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[DecodedBlock]:
    """Decode a JSON Lines file into its wanted columns (None: every key) and `_position`, the line's number.

    Columns of the contract come in JSON's own types where it has them (integers, floats, bool, string, list, struct);
    decimal, binary, date and time types come as strings, numbers as their text. Other columns come as text: strings and
    numbers as they stand, all else as compact JSON. With `columns` None, a block has the extra columns whose keys occur in
    it. A missing key is null. `time_path` (`payload.ts`) comes as a column of that very name, as text, unless a column of
    the contract holds it. A key that is read and stands twice in an object is malformed; others may.
    """
    shape = JsonShape(
        uri,
        contract,
        None if columns is None else frozenset(columns),
        () if time_path is None or _is_in(contract, time_path) else tuple(time_path.split(".")),
    )
    for name in RESERVED_COLUMNS:
        if name in contract:
            raise SourceUnreadable(f"{uri}: the contract names a column {name!r}, a name that raypipe keeps for itself")
    for block in blocks(stream, uri, block_bytes=block_bytes):
        if block.rejects:
            rows = decode_rows([], block.first_line, shape).rows
            yield DecodedBlock(rows, block.rejects)
        else:
            yield _decode_quickly(block, shape) or decode_rows(block.data.split(b"\n"), block.first_line, shape)


def _is_in(contract: Mapping[str, Column], path: str) -> bool:
    """Tell whether a column of the contract is, or holds, what stands at a path."""
    if path in contract:
        return True
    name, *rest = path.split(".")
    kind: DataType | None = contract[name].type if name in contract else None
    for part in rest:
        kind = dict(kind.fields).get(part) if kind is not None else None
    return kind is not None


def _decode_quickly(block: Block, shape: JsonShape) -> DecodedBlock | None:
    """Decode a block with Arrow; None when there is anything in it that Arrow may take for something else."""
    data = block.data.rstrip(b"\r\n")
    if shape.read_keys is None or shape.extras or (shape.time_path and shape.time_path[0] in shape.contract):
        return None
    count = data.count(b"\n") + 1
    if not _is_plain(data, count) or (len(shape.time_path) > 1 and f'"{shape.time_column}"'.encode() in data):
        return None
    schema = _schema(data, shape)
    try:
        table = json.read_json(
            pa.BufferReader(data),
            read_options=json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    columns = {name: _one_chunk(table.column(name)) for name in schema.names}
    if any(pa.types.is_float32(column.type) and pc.any(pc.is_inf(column)).as_py() for column in columns.values()):
        return None  # Arrow rounds what is too large for float32 to infinity
    return DecodedBlock(_rows(columns, block.first_line, count, shape))


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
    if openings > count + DEPTH_MAX and any(line.count(b"{") + line.count(b"[") > DEPTH_MAX for line in data.split(b"\n")):
        return False
    return data.isascii() or _is_utf8(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _schema(data: bytes, shape: JsonShape) -> pa.Schema:
    """Return what Arrow shall expect. A text column may hold numbers: the first line tells which, and is checked by parsing."""
    try:
        first = parse_object(data.partition(b"\n")[0].decode().rstrip("\r"))
    except MalformedJson:
        first = {}
    fields: list[tuple[str, pa.DataType]] = []
    for name, column in shape.contract.items():
        number = column.type.kind in TEXT_KINDS - {"string"} and isinstance(first.get(name), JsonNumber)
        fields.append((name, pa.int64() if number else arrow_type(column.type)))
    if shape.time_path:
        value: object = first
        for name in shape.time_path:
            value = value.get(name) if isinstance(value, dict) else None
        kind = pa.int64() if isinstance(value, JsonNumber) else pa.string()
        for name in reversed(shape.time_path[1:]):
            kind = pa.struct([(name, kind)])
        fields.append((shape.time_path[0], kind))
    return pa.schema(fields)


def _rows(columns: dict[str, pa.Array], first_line: int, count: int, shape: JsonShape) -> pa.RecordBatch:
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
    found[POSITION_COLUMN] = pa.arange(first_line, first_line + count)
    return pa.RecordBatch.from_pydict(found)


def _as_decoded(column: pa.Array, kind: DataType) -> pa.Array:
    wanted = arrow_type(kind)
    return column if column.type == wanted else column.cast(wanted)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
