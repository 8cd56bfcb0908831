"""Far times: dates and timestamps beyond the years 1 to 9999, which Polars cannot hand to Python without a panic."""

from __future__ import annotations

import polars as pl

DAYS = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31
_DAY_UNITS = {"ms": 86_400_000, "us": 86_400_000_000}


def readable(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows that may be read in Python: a column with times too far away becomes text, within structs too."""
    return pl.DataFrame([_readable(column) for column in rows.iter_columns()]) if rows.columns else rows


def _readable(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if isinstance(kind, pl.Struct):
        return _readable_struct(column)
    if kind == pl.Date:
        return _texts(column, "days", *DAYS)
    if isinstance(kind, pl.Datetime) and kind.time_unit != "ns":
        day = _DAY_UNITS[kind.time_unit]
        return _texts(column, kind.time_unit, (DAYS[0] + 1) * day, DAYS[1] * day)  # a zone's clock may lie a day off
    return column


def _readable_struct(column: pl.Series) -> pl.Series:
    fields = column.struct.unnest()
    read = readable(fields)
    return column if read.schema == fields.schema else read.to_struct(column.name).set(column.is_null(), None)


def _texts(column: pl.Series, unit: str, first: int, last: int) -> pl.Series:
    counts = column.to_physical().cast(pl.Int64)
    far = ((counts < first) | (counts > last)).fill_null(False)
    if not far.any():
        return column
    texts = [None if one is None else one.isoformat() for one in column.set(far, None).to_list()]
    told = counts.cast(pl.String) + f" {unit} since 1970"
    return pl.Series(column.name, texts, dtype=pl.String).zip_with(~far, told)
