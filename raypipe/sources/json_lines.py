"""JSON Lines files as decoded blocks: every physical line becomes exactly one row, or one Reject, or is blank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from raypipe.core.datatype import DataType
from raypipe.errors import SourceUnreadable
from raypipe.pipeline import Column
from raypipe.ports import RESERVED_COLUMNS
from raypipe.sources.json_arrow import decode_with_arrow
from raypipe.sources.json_rows import JsonShape, decode_rows
from raypipe.sources.lines import BLOCK_BYTES, ByteStream, DecodedBlock, blocks


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
        decoded = decode_with_arrow(block, shape) or decode_rows(block.lines(), block.numbers(), shape)
        yield replace(decoded, rejects=block.rejects) if block.rejects else decoded


def _is_in(contract: Mapping[str, Column], path: str) -> bool:
    """Tell whether a column of the contract is, or holds, what stands at a path."""
    if path in contract:
        return True
    name, *rest = path.split(".")
    kind: DataType | None = contract[name].type if name in contract else None
    for part in rest:
        kind = dict(kind.fields).get(part) if kind is not None else None
    return kind is not None
