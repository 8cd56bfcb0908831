"""Nested casts: lists and structs whose values are checked one by one; where one does not fit, its whole row does not."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from raypipe.core.datatype import DataType

Cast = Callable[[pl.Series, DataType], pl.Series]
"""Casts a column; what the type cannot hold becomes null."""


def cast_struct(values: pl.Series, wanted: DataType, cast: Cast) -> pl.Series:
    """Cast the fields of a struct; a row of which a field does not fit becomes null."""
    given = [values.struct.field(name) for name, _ in wanted.fields]
    typed = [cast(one, kind).alias(name) for one, (name, kind) in zip(given, wanted.fields, strict=True)]
    fits = values.is_not_null()
    for before, after in zip(given, typed, strict=True):
        fits &= before.is_null() | after.is_not_null()
    struct = pl.DataFrame(typed).to_struct(values.name)
    return pl.select(pl.when(pl.lit(fits)).then(pl.lit(struct)).alias(values.name)).to_series()


def cast_list(values: pl.Series, item: DataType, cast: Cast) -> pl.Series:
    """Cast the elements of lists; a row of which an element does not fit becomes null."""
    rows = pl.DataFrame({"row": pl.int_range(len(values), dtype=pl.UInt32, eager=True), "before": values})
    elements = rows.filter(pl.col("before").list.len() > 0).explode("before", empty_as_null=True, keep_nulls=True)
    elements = elements.with_columns(cast(elements["before"], item).alias("after"))
    unfit = pl.col("after").is_null() & pl.col("before").is_not_null()
    lists = elements.group_by("row", maintain_order=True).agg("after", unfit.any().alias("unfit"))
    found = rows.join(lists, on="row", how="left", maintain_order="left")
    empty = pl.Series([[]], dtype=lists.schema["after"])
    kept = pl.when(pl.col("before").list.len() == 0).then(pl.lit(empty).first()).when(~pl.col("unfit")).then("after")
    return found.select(kept.alias(values.name)).to_series()
