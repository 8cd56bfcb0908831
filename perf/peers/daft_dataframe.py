"""The canonical job with Daft's DataFrame, and the result into DuckDB. Usage: python daft_dataframe.py FOLDER DESTINATION"""

from __future__ import annotations

import sys
from pathlib import Path

import daft
import duckdb
from daft import col


def main(folder: Path, destination: Path) -> None:
    countries = daft.read_csv(f"{folder}/countries.csv")
    hourly = (
        daft.read_parquet(f"{folder}/events-*.parquet")
        .where(col("amount") >= 0)
        .distinct("event_id")
        .with_columns({"hour": col("ts").date_trunc("1 hour"), "host": col("url").split("/").get(2)})
        .join(countries, on="country", how="left")
        .groupby("hour", "region", "event_type")
        .agg(
            col("event_id").count().alias("events"),
            col("amount").sum().alias("amount"),
            col("user_id").count_distinct().alias("users"),
        )
        .to_arrow()
    )
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", hourly)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
