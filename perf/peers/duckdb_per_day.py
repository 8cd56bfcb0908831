"""The canonical job in DuckDB alone, day by day. Usage: python duckdb_per_day.py FOLDER DESTINATION"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

HOURLY = """
    WITH valid AS (SELECT DISTINCT ON (event_id) * FROM read_parquet('{files}') WHERE amount >= 0),
    derived AS (
        SELECT date_trunc('hour', ts) AS hour, split_part(url, '/', 3) AS host, event_type, amount, user_id, region
        FROM valid LEFT JOIN countries USING (country)
    )
    SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
    FROM derived GROUP BY ALL
"""


def main(folder: Path, destination: Path) -> None:
    with duckdb.connect(str(destination)) as connection:
        connection.execute(f"CREATE TEMP TABLE countries AS FROM read_csv('{folder}/countries.csv')")
        connection.execute("BEGIN")
        for number, path in enumerate(sorted(folder.glob("events-*.parquet"))):
            connection.execute(("INSERT INTO hourly" if number else "CREATE TABLE hourly AS") + HOURLY.format(files=path))
        connection.execute("COMMIT")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
