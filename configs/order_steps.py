"""The Python steps of python_step.yaml."""

import polars as pl


def without_cancelled(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Drop cancelled orders."""
    return rows.filter(pl.col("status") != "cancelled")


def with_size(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Add a word for the amount of an order."""
    amount = pl.col("amount")
    return rows.with_columns(
        size=pl.when(amount < 20).then(pl.lit("small")).when(amount < 100).then(pl.lit("medium")).otherwise(pl.lit("large"))
    )
