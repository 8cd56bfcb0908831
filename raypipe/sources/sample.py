"""Sample: the columns of a file and their types in the words of a contract, from its footer or its first block."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from raypipe.pipeline import FilesSource
from raypipe.ports import POSITION_COLUMN
from raypipe.sources.parquet_open import open_parquet
from raypipe.sources.route_file import first_block

_WORDS = {
    "halffloat": "float32", "float": "float32", "double": "float64", "large_string": "string", "string_view": "string",
    "large_binary": "binary", "binary_view": "binary", "date32[day]": "date", "date64[ms]": "date", "null": "string",
    "time32[s]": "time", "time32[ms]": "time", "time64[us]": "time", "time64[ns]": "time",
}  # fmt: skip


def sample_columns(config: FilesSource, time_path: str, uri: str) -> Mapping[str, str]:
    """Return the names and types of a file's columns."""
    if config.format == "parquet":
        with open_parquet(uri) as parquet:
            return {field.name: type_word(field.type) for field in parquet.schema_arrow}
    with first_block(config, time_path, uri) as block:
        hidden = {POSITION_COLUMN, *([time_path] if "." in time_path and time_path not in config.columns else [])}
        fields = () if block is None else block.rows.schema
        return {field.name: type_word(field.type) for field in fields if field.name not in hidden}


def type_word(kind: pa.DataType) -> str:
    """Return the word that a contract has for an Arrow type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{type_word(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{field.name}: {type_word(field.type)}" for field in kind) + ">"
    return _WORDS.get(str(kind), str(kind))
