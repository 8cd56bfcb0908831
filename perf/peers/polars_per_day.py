"""The canonical job in Polars alone, day by day, and the result into DuckDB. Usage: python polars_per_day.py FOLDER DESTINATION"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl


def main(folder: Path, destination: Path) -> None:
    countries = pl.scan_csv(folder / "countries.csv")
    days = [hourly_of(path, countries).collect() for path in sorted(folder.glob("events-*.parquet"))]
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", pl.concat(days).to_arrow())
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


def hourly_of(path: Path, countries: pl.LazyFrame) -> pl.LazyFrame:
    """Return the query of one day."""
    return (
        pl.scan_parquet(path)
        .filter(pl.col("amount") >= 0)
        .unique("event_id", keep="any")
        .with_columns(hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2))
        .join(countries, on="country", how="left")
        .group_by("hour", "region", "event_type")
        .agg(events=pl.len(), amount=pl.col("amount").sum(), users=pl.col("user_id").n_unique())
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
