"""The canonical job in DuckDB alone, day by day. Usage: python duckdb_per_day.py FOLDER DESTINATION [SUFFIX]

Reads Parquet, or with another suffix the same rows as text: csv, csv.gz, jsonl or jsonl.gz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

COLUMNS = """{'event_id': 'BIGINT', 'ts': 'TIMESTAMP', 'user_id': 'BIGINT', 'country': 'VARCHAR', 'event_type': 'VARCHAR',
    'amount': 'DOUBLE', 'url': 'VARCHAR'}"""
READERS = {
    "parquet": "read_parquet('{files}')",
    "csv": "read_csv('{files}', header = true, columns = {columns})",
    "jsonl": "read_json('{files}', format = 'newline_delimited', columns = {columns})",
}
HOURLY = """
    WITH valid AS (SELECT DISTINCT ON (event_id) * FROM {rows} WHERE amount >= 0),
    derived AS (
        SELECT date_trunc('hour', ts) AS hour, split_part(url, '/', 3) AS host, event_type, amount, user_id, region
        FROM valid LEFT JOIN countries USING (country)
    )
    SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
    FROM derived GROUP BY ALL
"""


def hourly_sql(files: Path, suffix: str = "parquet") -> str:
    """Return the query over one file or a pattern of files."""
    reader = READERS[suffix.removesuffix(".gz")]
    return HOURLY.format(rows=reader.format(files=files, columns=COLUMNS))


def main(folder: Path, destination: Path, suffix: str = "parquet") -> None:
    with duckdb.connect(str(destination)) as connection:
        connection.execute(f"CREATE TEMP TABLE countries AS FROM read_csv('{folder}/countries.csv')")
        connection.execute("BEGIN")
        for number, path in enumerate(sorted(folder.glob(f"events-*.{suffix}"))):
            connection.execute(("INSERT INTO hourly" if number else "CREATE TABLE hourly AS") + hourly_sql(path, suffix))
        connection.execute("COMMIT")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
