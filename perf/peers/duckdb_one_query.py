"""The canonical job as one DuckDB query over all files. Usage: python duckdb_one_query.py FOLDER DESTINATION"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
from duckdb_per_day import hourly_sql


def main(folder: Path, destination: Path) -> None:
    with duckdb.connect(str(destination)) as connection:
        connection.execute(f"CREATE TEMP TABLE countries AS FROM read_csv('{folder}/countries.csv')")
        connection.execute("CREATE TABLE hourly AS" + hourly_sql(folder / "events-*.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
