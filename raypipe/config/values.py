"""The types of single values in a configuration: how each is read, and how the JSON Schema says it."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from raypipe.config.instants import INSTANT_EXPECTED, parse_instant, zone_exists
from raypipe.config.paths import check_local_path, check_path
from raypipe.config.problems import Unfit, nearest_of
from raypipe.config.quantities import (
    parse_duration,
    parse_lookback,
    parse_positive_duration,
    parse_rate,
    parse_shard_width,
    parse_size,
)
from raypipe.config.tree import FromReference
from raypipe.core.calendar import Width
from raypipe.core.datatype import SIMPLE, DataType, parse_datatype
from raypipe.core.merge import parse_measure

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
COLUMN_CHARACTERS_MAX = 255
RAY_RESOURCES = frozenset({"cpu", "gpu", "memory", "object_store_memory"})  # reserved by options of their own
EXPRESSION_CHARACTERS_MAX = 100_000  # far above what people write, far below what hurts an SQL parser
UNLIMITED = "unlimited"
TIME_FORMATS = ("iso", "epoch_s", "epoch_ms", "epoch_us")
SHARD_COLUMN = "_shard"
_WORDS_OF_OTHERS = {
    "int": "int64", "integer": "int64", "bigint": "int64", "long": "int64", "smallint": "int16", "float": "float64",
    "double": "float64", "real": "float32", "number": "float64", "str": "string", "text": "string", "varchar": "string",
    "utf8": "string", "boolean": "bool", "datetime": "timestamp", "bytes": "binary", "blob": "binary", "decimal": "decimal(18,2)",
    "numeric": "decimal(18,2)",
}  # fmt: skip


def _identifier(text: str) -> str:
    if IDENTIFIER.fullmatch(text):
        return text
    near = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")[:63]
    raise Unfit(
        "a name of a-z, 0-9 and _ that starts with a letter and has at most 63 characters",
        nearest=near if IDENTIFIER.fullmatch(near) else None,
    )


def _column(text: str) -> str:
    if not text.strip() or len(text) > COLUMN_CHARACTERS_MAX or _CONTROL.search(text):
        raise Unfit(f"the name of a column: 1 to {COLUMN_CHARACTERS_MAX} characters on one line")
    return text


def _new_column(text: str) -> str:
    if text.lower() == SHARD_COLUMN:
        raise Unfit(f"another name: {SHARD_COLUMN} is the column that raypipe adds to tables")
    return _column(text)


def _sql(text: str) -> str:
    if not text.strip() or "\0" in text or len(text) > EXPRESSION_CHARACTERS_MAX:
        raise Unfit(f"SQL of 1 to {EXPRESSION_CHARACTERS_MAX} characters")
    return text


def _measure(text: str) -> str:
    try:
        parse_measure("", _sql(text))
    except ValueError as error:
        raise Unfit(str(error).removeprefix("expected ")) from None
    return text


def _zone(text: str) -> str:
    if zone_exists(text):
        return text
    from zoneinfo import available_timezones  # reads a folder: only where a name is wrong

    raise Unfit("a time zone such as UTC or Europe/Madrid", nearest=nearest_of(text, sorted(available_timezones())))


def _instant(text: str) -> str:
    parse_instant(text, "UTC")
    return text


def _time_format(text: str) -> str:
    if text not in TIME_FORMATS and "%" not in text:
        expected = f"one of {', '.join(TIME_FORMATS)}, or a strptime pattern such as %d.%m.%Y %H:%M"
        raise Unfit(expected, nearest=nearest_of(text, TIME_FORMATS))
    return text


def _function(text: str) -> str:
    if not _FUNCTION.fullmatch(text):
        raise Unfit("module:function, such as flights:enrich for the function enrich of flights.py beside the configuration")
    return text


def _one_character(text: str) -> str:
    if len(text) != 1 or text in "\r\n\0" or not text.isascii():
        raise Unfit('one character, such as ";" or "\\t"')
    return text


def _encoding(text: str) -> str:
    try:
        known = codecs.lookup(text)
    except (LookupError, ValueError):
        raise Unfit("an encoding that Python knows, such as utf-8 or latin-1") from None
    if not known._is_text_encoding:
        raise Unfit("an encoding of text, such as utf-8 or latin-1")
    return text


def _datatype(value: Any) -> DataType:
    if not isinstance(value, str):
        raise Unfit("a type such as int64, string, decimal(10,2) or list<string>")
    try:
        return parse_datatype(value)
    except ValueError:
        near = _WORDS_OF_OTHERS.get(value.strip().lower()) or nearest_of(value, SIMPLE)
        raise Unfit(f"a type: {', '.join(SIMPLE)}, decimal(p,s), list<T> or struct<name: T>", nearest=near) from None


def _from_reference(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Read a number or a boolean from text that came from outside; text in the file itself stays text."""

    def convert(value: Any) -> Any:
        if not isinstance(value, FromReference):
            return value
        try:
            return read(value.strip())
        except (ValueError, KeyError):
            return str(value)

    return convert


def _lateness(value: Any) -> int | None:
    if value == UNLIMITED:
        return None
    try:
        return parse_duration(value)
    except Unfit as unfit:
        raise Unfit(f"{UNLIMITED}, or {unfit.expected}", nearest=unfit.nearest or nearest_of(str(value), [UNLIMITED])) from None


def _resource_name(text: str) -> str:
    if text.lower() in RAY_RESOURCES:
        raise Unfit("the name of a custom resource; CPUs are run.cpus_per_shard, memory is run.memory")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]*", text):
        raise Unfit("the name of a custom resource, such as fast_disk")
    return text


def _file_name(text: str) -> str:
    if not text.strip() or "/" in text or text in (".", "..") or len(text) > COLUMN_CHARACTERS_MAX or _CONTROL.search(text):
        raise Unfit("the name of a file, without a folder, such as _SUCCESS")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _mapped(value: Any) -> Any:
    """Read a name, or a list of names, as a mapping of each to itself."""
    names = _listed(value)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return value
    return {name: name for name in _distinct(names)}


def _grouped(value: Any) -> Any:
    """Read names as a mapping of each to the expression that is the column itself."""
    names = _mapped(value)
    return {name: column_expression(name) for name in names} if names is not value else value


def column_expression(name: str) -> str:
    """Return the row expression that is a column, in quotes where its name is no plain word."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _constant(value: Any) -> Any:
    if isinstance(value, FromReference):
        return str(value)
    if isinstance(value, str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    raise Unfit("a constant: text, a number of at most 64 bits, true or false")


def _distinct(values: list[str]) -> list[str]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise Unfit("each once; this one stands twice", below=(index,))
    return values


def _text_schema(pattern: str | None = None, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string"} | ({"pattern": pattern} if pattern else {}) | more)


Identifier = Annotated[str, AfterValidator(_identifier), _text_schema(r"^[a-z][a-z0-9_]{0,62}$")]
ColumnName = Annotated[str, AfterValidator(_column), _text_schema(minLength=1, maxLength=COLUMN_CHARACTERS_MAX)]
NewColumnName = Annotated[str, AfterValidator(_new_column), _text_schema(minLength=1, maxLength=COLUMN_CHARACTERS_MAX)]
ColumnNames = Annotated[
    list[ColumnName],
    Field(min_length=1),
    AfterValidator(_distinct),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
Sql = Annotated[str, AfterValidator(_sql), _text_schema(minLength=1)]
Zone = Annotated[str, AfterValidator(_zone), _text_schema(examples=["UTC", "Europe/Madrid"])]
TimeFormat = Annotated[str, AfterValidator(_time_format), _text_schema(examples=[*TIME_FORMATS, "%d.%m.%Y %H:%M"])]
Instant = Annotated[
    str, AfterValidator(_instant), _text_schema(description=INSTANT_EXPECTED, examples=["2013-01-01", "2013-01-01T06:00:00Z"])
]
FunctionName = Annotated[str, AfterValidator(_function), _text_schema(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
OneCharacter = Annotated[str, AfterValidator(_one_character), _text_schema(minLength=1, maxLength=1)]
Encoding = Annotated[str, AfterValidator(_encoding), _text_schema(examples=["utf-8", "latin-1"])]
FilePath = Annotated[str, AfterValidator(check_path), _text_schema(minLength=1)]
LocalPath = Annotated[str, AfterValidator(check_local_path), _text_schema(minLength=1)]
FilePaths = Annotated[list[FilePath], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])]
TypeWord = Annotated[
    DataType, PlainValidator(_datatype), _text_schema(examples=["int64", "timestamp", "decimal(10,2)", "list<string>"])
]
Size = Annotated[int, PlainValidator(parse_size), _text_schema(r"^\d+(\.\d+)? ?([kKMGTP]i?)?B$", examples=["512MB", "2GiB"])]
Duration = Annotated[
    int, PlainValidator(parse_duration), _text_schema(r"^\d+(\.\d+)?(s|m|h|d|w|mo)$", examples=["30s", "5m", "1h", "1d"])
]
PositiveDuration = Annotated[
    int, PlainValidator(parse_positive_duration), _text_schema(r"^\d+(\.\d+)?(s|m|h|d|w|mo)$", examples=["30m"])
]
Lateness = Annotated[
    int | None,
    PlainValidator(_lateness),
    _text_schema(rf"^({UNLIMITED}|\d+(\.\d+)?(s|m|h|d|w|mo))$", examples=[UNLIMITED, "7d"]),
]
ResourceName = Annotated[str, AfterValidator(_resource_name), _text_schema(r"^[A-Za-z_][A-Za-z0-9_.:-]*$", examples=["fast_disk"])]
FileName = Annotated[str, AfterValidator(_file_name), _text_schema(minLength=1, examples=["_SUCCESS"])]
ShardWidth = Annotated[
    Width, PlainValidator(parse_shard_width), _text_schema(r"^\d+(m|h|d|w|mo)$", examples=["15m", "1h", "1d", "1w", "1mo"])
]
Lookback = Annotated[
    Width | None, PlainValidator(parse_lookback), _text_schema(r"^\d+(s|m|h|d|w|mo)$", examples=["0s", "6h", "7d"])
]
Rate = Annotated[
    float,
    PlainValidator(parse_rate),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string", "pattern": r"^\d+(\.\d+)?( ?%)?$"}]}
    ),
]
Flag = Annotated[bool, BeforeValidator(_from_reference({"true": True, "false": False}.__getitem__), json_schema_input_type=bool)]
Whole = Annotated[int, BeforeValidator(_from_reference(int), json_schema_input_type=int)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_from_reference(float), json_schema_input_type=float)]
Constant = Annotated[str | bool | int | float, PlainValidator(_constant), WithJsonSchema({"type": ["string", "number", "boolean"]})]
NameMapping = Annotated[
    dict[ColumnName, ColumnName],
    Field(min_length=1),
    BeforeValidator(_mapped, json_schema_input_type=str | list[str] | dict[str, str]),
]
NewNameMapping = Annotated[
    dict[NewColumnName, ColumnName],
    Field(min_length=1),
    BeforeValidator(_mapped, json_schema_input_type=str | list[str] | dict[str, str]),
]
MeasureText = Annotated[
    str, AfterValidator(_measure), _text_schema(minLength=1, examples=["count(*)", "avg(x)", "approx_quantile(x, 0.9)"])
]
GroupMapping = Annotated[
    dict[NewColumnName, Sql],
    Field(min_length=1),
    BeforeValidator(_grouped, json_schema_input_type=str | list[str] | dict[str, str]),
]
