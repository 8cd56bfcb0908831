"""Row bytes: each row of a text file as bytes that no other row has, for the digests that tell changed slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import compute

from raypipe.ports import POSITION_COLUMN

_joined: Callable[..., pa.Array[Any]] = compute.binary_join_element_wise  # its stubs lack that null_replacement may be bytes

_EMPTY, _VALUE, _LABEL = (pa.scalar(mark, pa.binary()) for mark in (b"", b"\xff", b"\xfd"))


def row_bytes(batch: pa.RecordBatch, *, named: bool) -> pa.Array[Any]:
    r"""Return each row as bytes that no row of other values has: every value after a `\xff`, null as `\xfe`.

    Values are valid UTF-8, in which these bytes never occur. With `named`, names stand before values and nulls are left
    out, so that a row's bytes do not depend on the columns of other rows.
    """
    columns = [
        (name, _bytes_of(column)) for name, column in zip(batch.schema.names, batch.columns, strict=True) if name != POSITION_COLUMN
    ]
    start = pa.repeat(_EMPTY, batch.num_rows)
    if not named:
        values = [column for _, column in columns]
        return _joined(start, *values, _VALUE, null_handling="replace", null_replacement=b"\xfe")
    labelled = [
        _joined(pa.scalar(name.encode(), pa.binary()), column, _LABEL) for name, column in sorted(columns, key=lambda one: one[0])
    ]
    return _joined(start, start, *labelled, _VALUE, null_handling="skip")


def _bytes_of(column: pa.Array[Any]) -> pa.Array[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_nested(kind):
        import polars as pl  # not before there is such a column: rows are decoded while this engine is being loaded

        column = pl.select(pl.struct(pl.Series("value", pl.from_arrow(column))).struct.json_encode()).to_series().to_arrow()
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)):
        column = column.cast(pa.string())
    return column.cast(pa.binary())
