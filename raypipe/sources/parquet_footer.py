"""Parquet footers: where the event times of each row group lie, from its statistics, or from its time column where they lack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute

from raypipe.core.calendar import LAST_US
from raypipe.core.shard import InputFile
from raypipe.errors import SchemaDrift
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime
from raypipe.ports import RESERVED_COLUMNS
from raypipe.sources.cells import Cutter
from raypipe.sources.parquet_cells import parquet_cells
from raypipe.sources.parquet_open import open_parquet
from raypipe.sources.placement import column_at, has_column, in_history, no_time_column, place, type_at, untimed_instant

pc: Any = compute  # its stubs lack that arrays and plain numbers mix

_DAY_US = 86_400_000_000
_UNITS: dict[str, Any] = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_TEXT_FOOTER_BYTES = 8  # length and magic word at the end of every file


@dataclass(slots=True)
class Group:
    """One row group: `first_us` and `last_us` bound its event times, both inclusive; None where it has none."""

    rows: int
    first_us: int | None
    last_us: int | None
    untimed: int
    outside: int
    size_bytes: int

    def as_json(self) -> list[int | None]:
        """Return the group for the index."""
        return [self.rows, self.first_us, self.last_us, self.untimed, self.outside, self.size_bytes]


def index_parquet(
    file: InputFile, time: EventTime, cutter: Cutter, *, time_required: bool, path: str | None = None, named: bool = False
) -> tuple[dict[str, Any], int]:
    """Return what the index keeps of a file, and the bytes that were read for it: all of them where it is cut.

    A file that lies in one cell is identified by its version: only its footer is read, and where that does not tell, its
    time column. `path` is where it stands, if not at its URI; with `named`, digests do not tell a null from a column that
    is not there.
    """
    with open_parquet(path or file.uri) as parquet:
        metadata = parquet.metadata
        schema = parquet.schema_arrow
        _refuse_reserved(file.uri, schema)
        if has_column(schema, time.column):
            groups, read_bytes = _groups(parquet, file.uri, time)
        elif time_required and metadata.num_rows:
            raise no_time_column(file.uri, schema, time)
        else:
            groups, read_bytes = [_untimed(metadata.row_group(n)) for n in range(metadata.num_row_groups)], 0
        earliest_us = min((one.first_us for one in groups if one.first_us is not None), default=None)
        untimed_us = untimed_instant(earliest_us, time)
        is_cut = len({cutter.index_of(instant_us) for instant_us in _ends_in_history(groups, time)}) > 1
        content = {
            "kind": "parquet",
            "groups": [group.as_json() for group in groups],
            "untimed": sum(group.untimed for group in groups),
            "untimed_us": untimed_us,
            "outside": sum(group.outside for group in groups),
            "cells": _cells(parquet, file.uri, time, cutter, untimed_us, named=named) if is_cut else None,
        }
        return content, file.size_bytes if is_cut else read_bytes + metadata.serialized_size + _TEXT_FOOTER_BYTES


def _cells(
    parquet: pq.ParquetFile, uri: str, time: EventTime, cutter: Cutter, untimed_us: int, *, named: bool
) -> dict[str, Any] | None:
    """Return the cells of a file; None where a page is damaged, or a value may have no text.

    Then the file is identified by its version, and a damaged page fails the shards that read it, and no others. Times inside
    of nested values have none for Polars where they are far away.
    """
    if any(pa.types.is_nested(field.type) and _holds_times(field.type) for field in parquet.schema_arrow):
        return None
    try:
        return parquet_cells(parquet, uri, time, cutter, untimed_us, named=named)
    except (OSError, pa.ArrowException):
        return None


def _holds_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_times(kind.field(number).type) for number in range(kind.num_fields))
    return bool(pa.types.is_temporal(kind))


def _ends_in_history(groups: Sequence[Group], time: EventTime) -> Iterator[int]:
    """Yield the first and the last instant of each row group that meets the history, cut to it."""
    end_us = LAST_US if time.end_us is None else time.end_us
    for group in groups:
        if group.first_us is not None and group.last_us is not None and group.last_us >= time.start_us and group.first_us < end_us:
            yield from (max(group.first_us, time.start_us), min(group.last_us, end_us - 1))


def _refuse_reserved(uri: str, schema: pa.Schema) -> None:
    taken = [name for name in schema.names if name in RESERVED_COLUMNS]
    if taken:
        raise SchemaDrift(
            f"{uri}: has a column named {taken[0]!r}, which raypipe needs for itself; rename it where the file is written"
        )


def _untimed(metadata: Any) -> Group:
    return Group(metadata.num_rows, None, None, metadata.num_rows, 0, metadata.total_byte_size)


def _groups(parquet: pq.ParquetFile, uri: str, time: EventTime) -> tuple[list[Group], int]:
    metadata = parquet.metadata
    leaf = next(n for n in range(metadata.num_columns) if parquet.schema.column(n).path == time.column)
    kind = _statistics_type(parquet, leaf, time)
    groups, read_bytes = [], 0
    for number in range(metadata.num_row_groups):
        row_group = metadata.row_group(number)
        column = row_group.column(leaf)
        group = None if kind is None else _from_statistics(row_group, column, kind, time, uri)
        if group is None:
            group = _from_column(parquet, number, time, uri)
            read_bytes += column.total_compressed_size
        groups.append(group)
    return groups, read_bytes


def _statistics_type(parquet: pq.ParquetFile, leaf: int, time: EventTime) -> pa.DataType | None:
    """Return the type that raw statistics have, None where their order is not that of time (text)."""
    kind: Any = type_at(parquet.schema_arrow, time.column)
    column = parquet.schema.column(leaf)
    if pa.types.is_timestamp(kind) and column.physical_type == "INT64":
        unit = json.loads(column.logical_type.to_json()).get("timeUnit")
        return pa.timestamp(_UNITS[unit], kind.tz) if unit in _UNITS else None
    if pa.types.is_date32(kind) or pa.types.is_int64(kind) or pa.types.is_int32(kind):
        return kind
    return None


def _from_statistics(row_group: Any, column: Any, kind: pa.DataType, time: EventTime, uri: str) -> Group | None:
    """Return the group by its statistics, None where they do not tell all: the column must be looked at."""
    statistics = column.statistics
    if statistics is None or not statistics.has_null_count:
        return None
    rows, nulls = row_group.num_rows, statistics.null_count
    if nulls == rows:
        return _untimed(row_group)
    if not statistics.has_min_max:
        return None
    raw = pa.array([statistics.min_raw, statistics.max_raw], _integers_of(kind)).cast(kind)
    first_us, last_us = place(raw, time, uri).times.to_pylist()
    if first_us is None or last_us is None or first_us > last_us or _may_skip(raw, time, first_us, last_us):
        return None
    before, after = last_us < time.start_us, time.end_us is not None and first_us >= time.end_us
    inside = first_us >= time.start_us and (time.end_us is None or last_us < time.end_us)
    if not (before or after or inside):
        return None
    return Group(rows, first_us, last_us, nulls, 0 if inside else rows - nulls, row_group.total_byte_size)


def _integers_of(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if pa.types.is_date32(kind) or pa.types.is_int32(kind) else pa.int64()


def _may_skip(raw: pa.Array[Any], time: EventTime, first_us: int, last_us: int) -> bool:
    """Tell whether the clocks of the zone skip a time in a range of wall-clock times: a row may stand there."""
    naive = pa.types.is_date(raw.type) or (pa.types.is_timestamp(raw.type) and raw.type.tz is None)
    if not naive or time.zone == "UTC":
        return False
    zone = ZoneInfo(time.zone)
    day = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=first_us - 2 * _DAY_US)
    end = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=last_us + 2 * _DAY_US)
    offset = day.astimezone(zone).utcoffset() or timedelta()
    while day < end:
        day += timedelta(days=1)
        later = day.astimezone(zone).utcoffset() or timedelta()
        if later > offset:
            return True
        offset = later
    return False


def _from_column(parquet: pq.ParquetFile, number: int, time: EventTime, uri: str) -> Group:
    metadata = parquet.metadata.row_group(number)
    group = Group(metadata.num_rows, None, None, 0, 0, metadata.total_byte_size)
    for batch in parquet.iter_batches(row_groups=[number], columns=[time.column], use_threads=False):
        times = place(column_at(batch, time.column), time, uri).times
        group.untimed += times.null_count
        found = pc.min_max(times).as_py()
        if found["min"] is None:
            continue
        group.first_us = found["min"] if group.first_us is None else min(group.first_us, found["min"])
        group.last_us = found["max"] if group.last_us is None else max(group.last_us, found["max"])
        group.outside += len(times) - times.null_count - int(pc.sum(in_history(times, time)).as_py() or 0)
    return group
