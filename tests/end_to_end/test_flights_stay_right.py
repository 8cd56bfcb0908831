"""A year of flights stays equal to DuckDB's own answer through all that happens to it, told step by step.

`python tests/end_to_end/test_flights_stay_right.py` prints the steps. Each counts the shards that were done: those that
were touched, and no others.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

import raypipe
from raypipe import launch
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import Window, to_us
from raypipe.observe.several import Several

ROOT = Path(__file__).parents[2]
TABLES = ("daily_airports", "flights_clean", "hourly_delays")
NEW_YORK = ZoneInfo("America/New_York")
TOTALS = "SELECT carrier, count(*), sum(dep_delay)::BIGINT FROM {table} GROUP BY ALL ORDER BY ALL"


def by_duckdb_module():
    spec = spec_from_file_location("flights_by_duckdb", Path(__file__).parent / "flights_by_duckdb.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def day(month: int, number: int) -> int:
    return to_us(datetime(2013, month, number, tzinfo=NEW_YORK))


class Year:
    """The year as a zipped CSV and a folder of CSV files beside it, the pipeline over both, and the same files for DuckDB."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.duckdb = by_duckdb_module()
        self.latest = 900  # of the rule plausible_delay
        self.width = "1d"
        (folder / "late").mkdir()
        (folder / "plain").mkdir()
        with zipfile.ZipFile(self.duckdb.DATA / "flights.csv.zip") as archive:
            self.header, *self.lines = archive.read("flights.csv").decode().splitlines(keepends=True)

    def of(self, month: int, number: int) -> list[int]:
        """The places of a day's lines."""
        return [place for place, line in enumerate(self.lines) if line.startswith(f"2013,{month},{number},")]

    def write(self) -> None:
        text = self.header + "".join(self.lines)
        with zipfile.ZipFile(self.folder / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("flights.csv", text)
        (self.folder / "plain" / "flights.csv").write_text(text)

    def write_late(self, name: str, lines: list[str]) -> None:
        for place in ("late", "plain"):
            (self.folder / place / name).write_text(self.header + "".join(lines))

    def correct(self, place: int) -> None:
        """Change the departure delay in one line."""
        cells = self.lines[place].split(",")
        cells[5] = str(int(cells[5]) + 1)
        self.lines[place] = ",".join(cells)

    @property
    def pipeline(self) -> raypipe.Pipeline:
        source = f"source.path=[{self.folder}/flights.csv.zip, {self.folder}/late/*.csv]"
        rules = f"quality.rules.0.expect=dep_delay BETWEEN -60 AND {self.latest}"
        rest = [f"destination.path={self.folder}/flights.duckdb", f"time.shard={self.width}"]
        return raypipe.load(str(ROOT / "configs/flights.yaml"), overrides=[source, rules, *rest])

    def step(self, text: str, scope: Scope = Scope.DUE, window: Window | None = None) -> int:
        """Run or backfill, compare the tables with DuckDB's answer, and return how many shards were done."""
        bounds = {"start_us": window.start_us, "end_us": window.end_us} if window else {}
        kind, publish = (RunKind.RUN, "shard") if scope is Scope.DUE else (RunKind.BACKFILL, "atomic")
        ask = launch.Ask(kind=kind, scope=scope, publish=publish, executor="inline", **bounds)
        report = launch.run(self.pipeline, ask, observer=Several([]), stop=launch.StopFlag())
        assert report.closed.status == "done", report.closed.failures
        self.say(f"{text}: {report.closed.committed} shards done in {report.closed.seconds:.1f} s; {self.compared()}")
        return report.closed.committed

    def compared(self) -> str:
        """Compare every table, and the totals by carrier, with what DuckDB computes from the same files."""
        expected = self.folder / "expected.duckdb"
        expected.unlink(missing_ok=True)
        sql = self.duckdb.BY_DUCKDB.replace("-60 AND 900", f"-60 AND {self.latest}")
        with duckdb.connect(str(expected)) as connection:
            connection.execute(sql.format(csv=self.folder / "plain" / "*.csv", data=self.duckdb.DATA))
            connection.execute(f"ATTACH '{self.folder}/flights.duckdb' AS found (READ_ONLY)")
            for table in TABLES:
                ours, theirs = f"SELECT * EXCLUDE (_shard) FROM found.{table}", f"SELECT * FROM {table}"
                for one, other in ((ours, theirs), (theirs, ours)):
                    assert connection.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})").fetchall() == [(0,)], table
            totals = connection.execute(TOTALS.format(table="flights_clean")).fetchall()
            assert connection.execute(TOTALS.format(table="found.flights_clean")).fetchall() == totals
        return f"{sum(number for _, number, _ in totals):,} flights of {len(totals)} carriers, as DuckDB has them"


def main(folder: Path, say: Callable[[str], None] = print) -> None:
    """Take a year of flights through it all."""
    year = Year(folder, say)
    late = [place for date in ((3, 5), (3, 6), (7, 4)) for place in year.of(*date)[:20]]
    late_lines = [year.lines[place] for place in late]
    year.lines = [line for place, line in enumerate(year.lines) if place not in set(late)]
    year.write()
    assert year.step("the year") == 365
    assert year.step("again") == 0

    year.write_late("late.csv", late_lines)
    assert year.step("a late file with 60 flights of three days") == 3

    gone = {*year.of(5, 1)[:7], *year.of(5, 2)[:3]}
    year.correct(year.of(9, 9)[10])
    year.lines = [line for place, line in enumerate(year.lines) if place not in gone]
    year.write()
    assert year.step("the year's file corrected: 10 flights less on two days, one changed on a third") == 3

    assert year.step("three weeks backfilled", Scope.ALL, Window(day(3, 1), day(3, 22))) == 21

    year.latest = 600
    report = launch.run(year.pipeline, launch.Ask(executor="inline"), observer=Several([]), stop=launch.StopFlag())
    assert report.closed.planned == 0
    assert "365 live ranges" in report.warnings[0]
    stale = launch.status(year.pipeline).stale
    assert (len(stale), stale[0][1]) == (365, "daily_airports (quality), flights_clean (quality), hourly_delays (quality)")
    say(f"another rule: nothing is done, and {len(stale)} ranges are stale: {stale[0][1]}")
    assert year.step("what is stale", Scope.STALE) == 365
    assert launch.status(year.pipeline).stale == ()

    year.width = "1w"
    assert year.step("shards of a week: history stays") == 0
    assert launch.status(year.pipeline).other_widths == ((Window(day(1, 1), day(12, 31)), 364),)  # the last week is a day
    year.correct(year.of(11, 20)[0])
    year.write()
    assert year.step("one flight corrected, in a range of a day") == 1
    assert year.step("the year backfilled by weeks", Scope.ALL) == 53

    year.width = "1d"
    assert year.step("shards of a day again: history stays") == 0
    year.correct(year.of(12, 24)[0])
    year.write()
    assert year.step("one flight corrected, in a range of a week") == 1
    assert year.step("a day backfilled, which widens to its week", Scope.ALL, Window(day(1, 1), day(1, 2))) == 1
    assert [one for one in launch.verify(year.pipeline) if not one.ok] == []
    say("verify: all of it holds")


@pytest.mark.slow
def test_the_tables_equal_duckdbs_answer_after_every_step(tmp_path: Path) -> None:
    told: list[str] = []
    main(tmp_path, told.append)
    assert told[-1] == "verify: all of it holds"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
