"""The canonical job with raypipe's engines by hand: Polars transforms, DuckDB aggregation, one day after the other.

No accounts, no quarantine, no ledger, no resume. Usage: python polars_duckdb_per_day.py FOLDER DESTINATION
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl

HOURLY = """
    SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
    FROM day GROUP BY ALL
"""


def day_of(path: Path, countries: pl.LazyFrame) -> pl.DataFrame:
    """Reject, deduplicate, derive and look up the rows of one day."""
    return (
        pl.scan_parquet(path)
        .filter(pl.col("amount") >= 0)
        .unique("event_id", keep="any")
        .with_columns(hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2))
        .join(countries, on="country", how="left")
        .select("hour", "region", "event_type", "amount", "user_id")
        .collect()
    )


def main(folder: Path, destination: Path) -> None:
    countries = pl.scan_csv(folder / "countries.csv")
    connection = duckdb.connect(str(destination))
    connection.execute("BEGIN")
    for number, path in enumerate(sorted(folder.glob("events-*.parquet"))):
        connection.register("day", day_of(path, countries).to_arrow())
        connection.execute(("INSERT INTO hourly" if number else "CREATE TABLE hourly AS") + HOURLY)
    connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
