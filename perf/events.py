"""Made-up events, the same for the same number of rows: thirty daily Parquet files, 2 % of the rows dirty."""

from __future__ import annotations

from pathlib import Path

import duckdb

DAYS = 30
COUNTRIES = 250


def make_events(folder: Path, rows: int) -> Path:
    """Write the events and their dimension into a folder once; return the folder."""
    done = folder / "complete"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for day in range(DAYS):
        target = folder / f"events-{day + 1:02}.parquet"
        connection.execute(_EVENTS.format(first=rows * day // DAYS, last=rows * (day + 1) // DAYS, day=day, target=target))
    connection.execute(_DIMENSION.format(countries=COUNTRIES, target=folder / "countries.csv"))
    connection.close()
    done.touch()
    return folder


def pipeline_text(folder: Path, destination: Path) -> str:
    """Return the canonical pipeline over such a folder."""
    return _PIPELINE.format(folder=folder, destination=destination)


# hash() makes the events a function of their number alone. Users follow a skewed distribution over a million.
_EVENTS = """
COPY (
    SELECT
        i AS event_id,
        TIMESTAMP '2026-01-01' + INTERVAL {day} DAY + to_microseconds((hash(i) % 86400000000)::BIGINT) AS ts,
        floor(1000000 * pow((hash(i, 1) % 1000000) / 1000000.0, 3))::BIGINT AS user_id,
        'C' || lpad((hash(i, 2) % 250)::VARCHAR, 3, '0') AS country,
        ['view', 'click', 'cart', 'buy', 'leave'][1 + (hash(i, 3) % 5)::INT] AS event_type,
        CASE hash(i, 4) % 100 WHEN 0 THEN NULL WHEN 1 THEN -1.0 ELSE (hash(i, 5) % 100000) / 64.0 END AS amount,
        'https://host' || (hash(i, 6) % 40) || '.example/path/' || (hash(i, 7) % 1000) AS url
    FROM range({first}, {last}) numbers(i)
) TO '{target}' (FORMAT parquet, COMPRESSION zstd)
"""

_DIMENSION = """
COPY (SELECT 'C' || lpad(i::VARCHAR, 3, '0') AS country, 'R' || (i % 7) AS region FROM range({countries}) numbers(i))
TO '{target}' (FORMAT csv, HEADER)
"""

_PIPELINE = """
name: canonical
description: Events an hour, region and type, with distinct users
time: {{column: ts, start: 2026-01-01, end: 2026-01-31, shard: 1d}}
source: {{kind: files, path: "{folder}/events-*.parquet"}}
quality:
  max_quarantined: {{share: 5%, at_least: 10}}
  rules:
    - {{name: valid_amount, expect: "amount >= 0", nulls: fail, otherwise: drop}}
transform:
  - derive: {{hour: "date_trunc('hour', ts)", host: "split_part(url, '/', 3)"}}
  - lookup: {{path: "{folder}/countries.csv", on: country, columns: [region]}}
outputs:
  - table: hourly
    sql: >-
      SELECT hour, region, event_type, count(*) AS events, sum(amount) AS amount, count(DISTINCT user_id) AS users
      FROM rows GROUP BY ALL
destination: {{kind: duckdb, path: "{destination}"}}
"""
