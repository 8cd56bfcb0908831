"""The main job on real data: its tables equal what DuckDB alone computes from the same file, under daily and hourly shards."""

from __future__ import annotations

from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

import raypipe
from raypipe.core.window import Window, to_us

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def by_duckdb(tmp_path_factory):
    spec = spec_from_file_location("flights_by_duckdb", Path(__file__).parent / "flights_by_duckdb.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compute(tmp_path_factory.mktemp("by_duckdb"))


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
