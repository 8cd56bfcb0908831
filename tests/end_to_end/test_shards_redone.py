"""As many shards are redone as were touched, and no others, whatever happens to the files and however they are written."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raypipe
from raypipe import launch
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import to_us
from raypipe.observe.several import Several

pytestmark = pytest.mark.slow
DAYS = 8
CONFIG = """
name: events
time: {{column: ts, start: 2024-03-01, end: 2024-03-09, shard: {width}}}
source:
  kind: files
  path: "{folder}/in/*"
  format: {form}
  columns: {{id: int64, ts: timestamp, n: int64}}
outputs:
  - {{table: clean, rows: all}}
  - {{table: daily, sql: "SELECT date_trunc('day', ts) AS day, count(*) AS events, sum(n)::BIGINT AS total FROM rows GROUP BY ALL"}}
destination: {{kind: duckdb, path: {folder}/out.duckdb}}
"""
Row = tuple[int, datetime, int]


@dataclass
class Events:
    """A folder of files that each hold several days, and the pipeline over it."""

    folder: Path
    form: str
    files: dict[str, list[Row]] = field(default_factory=dict)
    written: int = 0

    def write(self, name: str, rows: list[Row]) -> None:
        """Write or replace a file; all of it is read again, since its modification time is another one."""
        self.files[name] = rows
        path = self.folder / "in" / (f"{name}.parquet" if self.form == "parquet" else f"{name}.csv.zip")
        path.parent.mkdir(exist_ok=True)
        part = self.folder / "part"
        if self.form == "parquet":
            columns = zip(*rows, strict=True)
            pq.write_table(pa.table(dict(zip(("id", "ts", "n"), map(list, columns), strict=True))), part, row_group_size=7)
        else:
            text = io.StringIO()
            text.write("id,ts,n\n" + "".join(f"{one},{at.isoformat()},{n}\n" for one, at, n in rows))
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"{name}.csv", text.getvalue())
        self.written += 1
        os.utime(part, (10**9, 10**9 + self.written))
        part.replace(path)

    def delete(self, name: str) -> None:
        del self.files[name]
        next((self.folder / "in").glob(f"{name}.*")).unlink()

    def pipeline(self, width: str = "1d") -> raypipe.Pipeline:
        path = self.folder / "pipeline.yaml"
        path.write_text(CONFIG.format(folder=self.folder, form="parquet" if self.form == "parquet" else "csv", width=width))
        return raypipe.load(str(path))

    def redone(self, width: str = "1d") -> list[int]:
        """Run, and return the days whose shards were committed; the tables are then what the files say."""
        report = raypipe.run(self.pipeline(width), executor="inline")
        assert report.closed.status == "done", report.closed.failures
        run = report.run_id
        days = self.query(f"SELECT day(lo) FROM _raypipe.shards WHERE run = '{run}' AND outcome <> 'superseded' ORDER BY lo")
        assert len(days) == report.closed.committed
        self.is_right()
        return [day for (day,) in days]

    def is_right(self) -> None:
        rows = sorted(row for rows in self.files.values() for row in rows)
        assert self.query("SELECT id, ts, n FROM clean ORDER BY ALL") == rows
        by_day: dict[datetime, list[int]] = {}
        for _, at, n in rows:
            by_day.setdefault(at.replace(hour=0), []).append(n)
        expected = sorted((day, len(ns), sum(ns)) for day, ns in by_day.items())
        assert self.query("SELECT day, events, total FROM daily ORDER BY ALL") == expected
        assert [one for one in launch.verify(self.pipeline()) if not one.ok] == []

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(str(self.folder / "out.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


def rows_of(*days: int, first: int = 0) -> list[Row]:
    """Three rows for each day of March, in time order."""
    times = [datetime(2024, 3, day) + timedelta(hours=hour) for day in days for hour in (1, 9, 20)]
    return [(first + place, at, 10 * place) for place, at in enumerate(times)]


@pytest.fixture(params=["parquet", "csv.zip"])
def events(request: pytest.FixtureRequest, tmp_path: Path) -> Events:
    made = Events(tmp_path, request.param)
    made.write("main", rows_of(*range(1, DAYS + 1)))
    assert made.redone() == list(range(1, DAYS + 1))
    return made


def test_as_many_shards_are_redone_as_were_touched(events: Events) -> None:
    assert events.redone() == []

    events.write("more", rows_of(2, 5, first=100))  # an added file
    assert events.redone() == [2, 5]

    events.write("more", rows_of(2, 5, 7, first=100))  # an appended one
    assert events.redone() == [7]

    rows = list(events.files["main"])
    rows[10] = (rows[10][0], rows[10][1], 777)  # one row changed, on the fourth
    events.write("main", rows)
    assert events.redone() == [4]

    events.write("main", rows[:5] + rows[6:])  # one row less, on the second
    assert events.redone() == [2]

    events.write("main", events.files["main"])  # written again as it was
    assert events.redone() == []


def test_a_deleted_file_changes_nothing_until_it_is_accepted(events: Events) -> None:
    events.write("more", rows_of(2, 5, first=100))
    assert events.redone() == [2, 5]
    before = events.query("SELECT * FROM clean ORDER BY ALL")
    kept = events.files["more"]
    events.delete("more")
    events.write("later", rows_of(6, first=200))  # an unrelated file hides no lost one

    report = raypipe.run(events.pipeline(), executor="inline")

    assert [(one.window.as_json()["start"][:10], one.code) for one in report.closed.failures] == [
        ("2024-03-02", "source_shrunk"), ("2024-03-05", "source_shrunk"),
    ]  # fmt: skip
    assert report.closed.committed == 1
    assert events.query("SELECT * FROM clean WHERE id < 200 ORDER BY ALL") == before

    accepted = launch.accept(events.pipeline(), "shrunk", launch.Ask(), observer=Several([]))
    assert len(accepted.accepted) == 2
    events.files["more"] = kept  # the rows stay
    assert events.redone() == []
    del events.files["more"]

    ask = launch.Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, publish="atomic", accept_shrunk=True)
    launch.run(events.pipeline(), ask, observer=Several([]), stop=launch.StopFlag())
    events.is_right()  # and go when a backfill reads the range from what is there


def test_the_same_count_holds_after_the_width_changed_and_changed_back(events: Events) -> None:
    assert events.redone("1w") == []
    rows = list(events.files["main"])
    rows[10] = (rows[10][0], rows[10][1], 777)  # on the fourth
    events.write("main", rows)
    assert events.redone("1w") == [4]

    week = raypipe.Window(*(to_us(datetime(2024, 3, day, tzinfo=UTC)) for day in (1, 8)))
    assert raypipe.backfill(events.pipeline("1w"), week, executor="inline").closed.committed == 1
    events.is_right()
    assert events.redone("1d") == []
    rows[20] = (rows[20][0], rows[20][1], 888)  # on the seventh, in the week's live range
    rows[22] = (rows[22][0], rows[22][1], 999)  # on the eighth
    events.write("main", rows)
    assert events.redone("1d") == [1, 8]
