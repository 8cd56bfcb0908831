"""Placement: the event time of each row as an instant, or the rule that says why it has none."""

from __future__ import annotations

from typing import Any, cast

import polars as pl
import pyarrow as pa
from pyarrow import compute

from raypipe.errors import SchemaDrift
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime
from raypipe.ports import RESERVED_COLUMNS
from raypipe.sources.event_text import UNITS_US, read_times, scaled

pc: Any = compute  # its stubs lack that arrays and plain numbers mix

NO_EVENT_TIME = "no_event_time"
NO_SUCH_TIME = "no_such_time"
OUT_OF_RANGE = "out_of_range"

PLACEABLE_START_US = -62_135_510_400_000_000  # 0001-01-02 UTC: a zone's clock may lie a day off, and years begin with 1
PLACEABLE_END_US = 253_370_764_800_000_000  # 9999-01-01 UTC: shards end after they begin, and years end with 9999

_SECOND_US = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True, slots=True)
class Placed:
    """Event times of rows: int64 microseconds since 1970 in UTC, null where there is none, and then `rules` says why."""

    times: pa.Array[Any]
    rules: pa.Array[Any] | None

    @property
    def untimed(self) -> int:
        """How many rows have no event time."""
        return int(self.times.null_count)


def has_column(schema: pa.Schema, path: str) -> bool:
    """Tell whether a schema has the column of event time, or the path into one."""
    return type_at(schema, path) is not None


def type_at(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Return the type at a column or path, None where there is none; a column's own name goes before a path."""
    if path in schema.names:
        return cast("pa.DataType", schema.field(path).type)
    name, _, rest = path.partition(".")
    kind: Any = schema.field(name).type if name in schema.names else None
    while kind is not None and rest:
        name, _, rest = rest.partition(".")
        place = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
        kind = kind.field(place).type if place >= 0 else None
    return cast("pa.DataType | None", kind)


def no_time_column(uri: str, schema: pa.Schema, time: EventTime) -> SchemaDrift:
    """Return the error for a file that lacks the event time column."""
    names = ", ".join(name for name in schema.names if name not in RESERVED_COLUMNS)
    return SchemaDrift(
        f"{uri}: has no event time column {time.column!r}, its columns are {names}; correct time.column, or set source.on_drift: "
        "quarantine to set the rows of such files aside"
    )


def root_of(names: list[str], path: str) -> str:
    """Return the column that holds the event time: the path itself, or its first part."""
    return path if path in names else path.partition(".")[0]


def column_at(batch: pa.RecordBatch, path: str) -> pa.Array[Any]:
    """Return the values at a column or path; null where anything above is null."""
    if path in batch.schema.names:
        return batch.column(path)
    name, *rest = path.split(".")
    values = batch.column(name)
    for part in rest:
        values = pc.struct_field(values, part)
    return values


def place(column: pa.Array[Any], time: EventTime, uri: str) -> Placed:
    """Place the rows by their event time column. Raises SchemaDrift when its type cannot hold a time."""
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if len(column) == 0 or pa.types.is_null(column.type):
        return Placed(pa.nulls(len(column), pa.int64()), pa.repeat(NO_EVENT_TIME, len(column)))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return _place_texts(column, time)
    instants, walls = _native(column, time, uri)
    return _checked(instants, walls, column.is_valid(), time)


def _place_texts(column: pa.Array[Any], time: EventTime) -> Placed:
    """Read each distinct text once: times of events repeat."""
    coded = (column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column).dictionary_encode()
    texts = pl.Series(pl.from_arrow(coded.dictionary))
    read = read_times(texts, time.format)
    distinct = _checked(read.instants, read.walls, None, time)
    times = distinct.times.take(coded.indices)
    if times.null_count == 0:
        return Placed(times, None)
    rules = distinct.rules if distinct.rules is not None else pa.nulls(len(texts), pa.string())
    return Placed(times, pc.if_else(times.is_valid(), None, pc.coalesce(rules.take(coded.indices), NO_EVENT_TIME)))


def _native(column: pa.Array[Any], time: EventTime, uri: str) -> tuple[pl.Series | None, pl.Series | None]:
    """Return instants and wall-clock times in microseconds, one of the two, of a column that is not text."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        values = _microseconds(column)
        return (values, None) if kind.tz is not None else (None, values)
    if pa.types.is_date(kind):
        days = pl.Series(pl.from_arrow(column.cast(pa.date32()).cast(pa.int32()))).cast(pl.Int64)
        return None, scaled(days, 86_400_000_000)
    if time.format in UNITS_US and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return scaled(pl.Series(pl.from_arrow(column)), UNITS_US[time.format]), None
    if time.format in UNITS_US and pa.types.is_floating(kind):
        return _of_floats(pl.Series(pl.from_arrow(column)), UNITS_US[time.format]), None
    raise SchemaDrift(
        f"{uri}: event time column {time.column!r} has type {kind} with time.format {time.format!r}, "
        "expected a timestamp, a date, text in that format, or a number with time.format epoch_s, epoch_ms or epoch_us"
    )


def _microseconds(column: pa.Array[Any]) -> pl.Series:
    """Return a timestamp column in microseconds, rounded down, never wrapped."""
    unit, values = column.type.unit, pl.Series(pl.from_arrow(column.cast(pa.int64())))
    return values // 1_000 if unit == "ns" else scaled(values, _SECOND_US[unit])


def _of_floats(values: pl.Series, unit_us: int) -> pl.Series:
    limit = float(2**62)
    finite = pl.select(pl.when(values.is_finite()).then((values * unit_us).clip(-limit, limit).round())).to_series()
    return finite.cast(pl.Int64)


def _checked(instants: pl.Series | None, walls: pl.Series | None, present: pa.Array[Any] | None, time: EventTime) -> Placed:
    """Put the wall clock's times in the zone, refuse what lies out of range, and name the rule for each null."""
    if instants is not None and walls is not None:  # texts are almost always of one kind
        instants = None if instants.null_count() == len(instants) else instants
        walls = None if instants is not None and walls.null_count() == len(walls) else walls
    located = None if walls is None else _locate(walls, time.zone)
    given = walls if instants is None else instants if walls is None else instants.zip_with(instants.is_not_null(), walls)
    times = located if instants is None else instants if located is None else instants.zip_with(instants.is_not_null(), located)
    assert given is not None
    assert times is not None
    times = _near(times)
    if times.null_count() == 0:
        return _placed(times, None)
    far = (given < PLACEABLE_START_US) | (given >= PLACEABLE_END_US)
    rule = (
        pl.when(times.is_not_null())
        .then(None)
        .when(given.is_null())
        .then(pl.lit(NO_EVENT_TIME))
        .when(far)
        .then(pl.lit(OUT_OF_RANGE))
    )
    return _placed(times, pl.select(rule.otherwise(pl.lit(NO_SUCH_TIME))).to_series())


def _locate(walls: pl.Series, zone: str) -> pl.Series:
    """Return the instants of wall-clock times: the first where one occurs twice, null where it never does."""
    if zone == "UTC":
        return walls
    local = _near(walls).cast(pl.Datetime("us")).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.epoch("us")


def _near(times: pl.Series) -> pl.Series:
    """Return times without those out of range: null stands for them."""
    earliest, latest = cast("int | None", times.min()), cast("int | None", times.max())
    if earliest is None or latest is None or (earliest >= PLACEABLE_START_US and latest < PLACEABLE_END_US):
        return times
    return times.set((times < PLACEABLE_START_US) | (times >= PLACEABLE_END_US), None)


def _placed(times: pl.Series, rules: pl.Series | None) -> Placed:
    return Placed(times.to_arrow().cast(pa.int64()), None if rules is None else rules.to_arrow().cast(pa.string()))


def in_history(times: pa.Array[Any], time: EventTime) -> pa.Array[Any]:
    """Return for each event time whether it lies in `[time.start, time.end)`; null stays null."""
    inside: pa.Array[Any] = pc.greater_equal(times, time.start_us)
    if time.end_us is not None:
        inside = pc.and_(inside, pc.less(times, time.end_us))
    return inside


def untimed_instant(earliest_us: int | None, time: EventTime) -> int:
    """Return the instant that rows without event time are accounted to: the file's earliest, or the first of the history."""
    if earliest_us is None or earliest_us < time.start_us or (time.end_us is not None and earliest_us >= time.end_us):
        return time.start_us
    return earliest_us


def explain(rule: str, value: object, time: EventTime) -> str:
    """Say why a row has no event time, for the person who looks at quarantine."""
    got = f"{time.column}: got {value!r}"
    if rule == NO_SUCH_TIME:
        return f"{got}, a time that the clocks of {time.zone} skipped"
    if rule == OUT_OF_RANGE:
        return f"{got}, expected a time in the years 1 to 9998"
    return (
        f"{got}, expected a time in the format {time.format!r}" if value is not None else f"{time.column}: there is no event time"
    )
