"""Rows in memory as the files that a pipeline's source would read."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe.core.window import to_us
from raypipe.pipeline import CsvDialect, EventTime, Pipeline

SETTLED_S = 60  # older than the coarsest modification time: the file is read once, not again as one that is just being written
_UNITS_US = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}

Rows = Iterable[Mapping[str, Any]] | pa.Table


def write_rows(pipeline: Pipeline, rows: Rows, path: Path | str) -> Path:
    """Write rows as one file in the format of a pipeline's source, and return its path.

    Rows are dicts of Python values, or an Arrow table. Datetimes in the event time's column are written as `time.format`
    says; in Parquet, the types are those of the contract, else those that Arrow finds.
    """
    target = Path(path)
    given = rows.to_pylist() if isinstance(rows, pa.Table) and pipeline.source.format != "parquet" else rows
    match pipeline.source.format:
        case "parquet":
            _write_parquet(pipeline, given, target)
        case "csv":
            _write_csv(pipeline, list(_plain_rows(given)), target)
        case "jsonl":
            lines = (json.dumps(_with_time(row, pipeline.time), ensure_ascii=False, default=_text) for row in _plain_rows(given))
            target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    settle(target)
    return target


def settle(path: Path) -> None:
    """Make a file at least so old that nobody takes it for one that is just being written."""
    written_s = min(path.stat().st_mtime, time.time() - SETTLED_S)
    os.utime(path, (written_s, written_s))


def _plain_rows(rows: Rows) -> Iterable[Mapping[str, Any]]:
    assert not isinstance(rows, pa.Table)
    return rows


def _write_parquet(pipeline: Pipeline, rows: Rows, path: Path) -> None:
    import polars as pl
    import pyarrow.parquet as pq

    from raypipe.engine.text_types import polars_type

    if isinstance(rows, pa.Table):
        table = rows
    elif pipeline.source.columns:
        schema = {name: polars_type(column.type) for name, column in pipeline.source.columns.items()}
        table = pl.DataFrame(list(rows), schema=schema, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())
    else:
        table = pa.Table.from_pylist(list(rows))
    pq.write_table(table, path)


# ---- text -------------------------------------------------------------------------------------------------


def _write_csv(pipeline: Pipeline, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    dialect = pipeline.source.csv
    names = list(pipeline.source.columns) or list(dict.fromkeys(name for row in rows for name in row))
    names += [name for name in dict.fromkeys(name for row in rows for name in row) if name not in names]
    lines = [[_quoted(name, dialect) for name in names]] if dialect.header else []
    lines += [[_cell(row.get(name), dialect) for name in names] for row in (_with_time(one, pipeline.time) for one in rows)]
    text = "".join(dialect.delimiter.join(cells) + "\n" for cells in lines)
    path.write_text(text, encoding=dialect.encoding, newline="")


def _cell(value: Any, dialect: CsvDialect) -> str:
    return (dialect.nulls[0] if dialect.nulls else "") if value is None else _quoted(_text(value), dialect)


def _quoted(text: str, dialect: CsvDialect) -> str:
    if not any(mark in text for mark in (dialect.delimiter, dialect.quote, "\n", "\r")):
        return text
    return dialect.quote + text.replace(dialect.quote, dialect.quote * 2) + dialect.quote


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return value.decode()
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=_text)
        case _:
            return str(value)


def _with_time(row: Mapping[str, Any], time: EventTime) -> Mapping[str, Any]:
    """Return a row whose event time, where it is a datetime, is written as `time.format` says."""
    if time.format == "iso":
        return row
    return _replaced(row, time.column if time.column in row else time.column.split("."), time.format)


def _replaced(row: Mapping[str, Any], path: str | Sequence[str], form: str) -> Mapping[str, Any]:
    name, *rest = [path] if isinstance(path, str) else path
    value = row.get(name)
    if rest:
        return {**row, name: _replaced(value, rest, form)} if isinstance(value, Mapping) else row
    return {**row, name: _formatted(value, form)} if isinstance(value, datetime) else row


def _formatted(moment: datetime, form: str) -> Any:
    if form not in _UNITS_US:
        return moment.strftime(form)
    return to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) // _UNITS_US[form]
