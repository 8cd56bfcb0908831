"""The canonical job with raypipe's engines by hand, two days at once: one DuckDB thread a day, the engines side by side.

Usage: python polars_duckdb_threads.py FOLDER DESTINATION
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
from polars_duckdb_per_day import HOURLY, day_of


def main(folder: Path, destination: Path) -> None:
    countries = pl.scan_csv(folder / "countries.csv")

    def hourly(path: Path) -> pa.Table:
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.register("day", day_of(path, countries).to_arrow())
            return connection.sql(HOURLY).to_arrow_table()

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, duckdb.connect(str(destination)) as connection:
        connection.execute("BEGIN")
        for number, table in enumerate(pool.map(hourly, sorted(folder.glob("events-*.parquet")))):
            connection.register("contribution", table)
            connection.execute(("INSERT INTO hourly " if number else "CREATE TABLE hourly AS ") + "SELECT * FROM contribution")
        connection.execute("COMMIT")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
