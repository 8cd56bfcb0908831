"""The canonical job by hand, as a careful engineer would write it: Polars transforms, DuckDB aggregation, day by day.

No accounts, no quarantine, no ledger, no resume. Usage: python perf/by_hand.py FOLDER DESTINATION
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl

_HOURLY = """
    SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
    FROM day GROUP BY ALL
"""


def main(folder: Path, destination: Path) -> None:
    countries = pl.scan_csv(folder / "countries.csv")
    connection = duckdb.connect(str(destination))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("BEGIN")
    for number, path in enumerate(sorted(folder.glob("events-*.parquet"))):
        day = (
            pl.scan_parquet(path)
            .filter(pl.col("amount") >= 0)
            .with_columns(hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2))
            .join(countries, on="country", how="left")
            .select("hour", "region", "event_type", "amount", "user_id")
            .collect()
        )
        connection.register("day", day.to_arrow())
        connection.execute(("INSERT INTO hourly" if number else "CREATE TABLE hourly AS") + _HOURLY)
    connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
