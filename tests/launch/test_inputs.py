"""Named inputs: SQL joins the rows with further inputs, each with a time around the shard; every row of each is accounted for."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace

import duckdb
import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.shard import Reason
from raypipe.core.window import from_us
from raypipe.engine.definition import definitions
from raypipe.errors import UsageError
from raypipe.launch import Ask
from raypipe.launch.parts import Parts
from raypipe.pipeline import Column, FilesSource, MoreFiles, NamedInput, RowsOutput, SqlOutput
from raypipe.testing import FrozenClock

JOIN = """
SELECT rows.ts, rows.n, count(clicks.of) AS clicked FROM rows
LEFT JOIN clicks ON clicks.of = rows.n AND clicks.at_time BETWEEN rows.ts AND rows.ts + INTERVAL 1 DAY GROUP BY ALL
"""
DAY_US = 86_400_000_000


class Clicks:
    """The place with a second input: clicks on the event n of a day, 20 hours later, that is on the next day."""

    def __init__(self, place):
        self.place, self.folder = place, place.folder / "clicks"
        self.folder.mkdir()
        for day in range(3):
            self.write(day, [f"{day % 3 + 1},2026-01-0{day + 2}T02:00:00"])
        columns = {"of": Column(type=parse_datatype("int64")), "at_time": Column(type=parse_datatype("timestamp"))}
        source = FilesSource(paths=(f"{self.folder}/*.csv",), format="csv", columns=columns)
        self.input = NamedInput(name="clicks", source=source, column="at_time", lookahead=parse_width("1d"))
        outputs = (RowsOutput(table="clean"), SqlOutput(table="joined", sql=JOIN))
        place.pipeline = replace(place.pipeline, inputs=(self.input,), outputs=outputs)

    def write(self, day, lines):
        path = self.folder / f"{day}.csv"
        path.write_text("\n".join(["of,at_time", *lines]) + "\n")
        os.utime(path, (10**9, 10**9 + len(lines)))

    def joined(self):
        return self.place.query("SELECT day(ts), n, clicked FROM joined ORDER BY ALL")

    def by_duckdb(self):
        sql = JOIN.replace("clicks", "marks").replace("rows", "events")
        with duckdb.connect() as connection:
            connection.execute(f"CREATE VIEW events AS SELECT * FROM '{self.place.folder}/*.parquet'")
            connection.execute(f"CREATE VIEW marks AS SELECT * FROM '{self.folder}/*.csv'")
            return connection.execute(f"SELECT day(ts), n, clicked FROM ({sql}) ORDER BY ALL").fetchall()


@pytest.fixture
def clicks(place):
    return Clicks(place)


@pytest.mark.slow
def test_rows_are_joined_with_what_comes_after_their_shard_and_all_of_both_inputs_is_accounted_for(clicks):
    place = clicks.place
    report = place.run()
    assert clicks.joined() == clicks.by_duckdb()
    assert [row for row in clicks.joined() if row[2]] == [(1, 1, 1), (2, 2, 1), (3, 3, 1)]
    assert (report.closed.rows.read, report.closed.rows.loaded) == (15, 15)
    assert place.query("SELECT read, loaded FROM _raypipe.shards ORDER BY lo") == [(3, 3), (4, 4), (4, 4), (4, 4)]
    assert place.query("SELECT count(*) FROM clean") == [(12,)]
    assert place.proven()
    assert [one for one in launch.recompute(place.pipeline) if not one.ok] == []
    assert launch.plan(place.pipeline, Ask()).plan.shards == ()


@pytest.mark.slow
def test_late_input_reopens_the_shards_that_see_it_and_these_only(clicks):
    place = clicks.place
    place.run()
    clicks.write(0, ["1,2026-01-02T02:00:00", "2,2026-01-02T03:00:00"])
    shards = launch.plan(place.pipeline, Ask()).plan.shards
    assert [(one.window, one.reason) for one in shards] == [(place.window(day), Reason.LATE) for day in (0, 1)]
    place.run()
    assert clicks.joined() == clicks.by_duckdb()
    assert (1, 2, 1) in clicks.joined()
    place.day(3, (1, 2, 3, 4))  # of the rows, which look nowhere
    assert [one.window for one in launch.plan(place.pipeline, Ask()).plan.shards] == [place.window(3)]


@pytest.mark.slow
def test_a_row_that_is_no_good_is_set_aside_once_in_its_own_shard_with_its_file(clicks):
    place = clicks.place
    clicks.write(1, ["2,2026-01-03T02:00:00", "many,2026-01-03T02:00:00", "2,2026-01-02T01:00:00,"])
    place.run()
    aside = place.query("SELECT day(shard), parse_filename(source), rule FROM _raypipe.quarantine ORDER BY ALL")
    assert aside == [(3, "1.csv", "malformed_line"), (3, "1.csv", "type_of")]
    assert place.query("SELECT sum(read), sum(quarantined) FROM _raypipe.shards") == [(17, 2)]
    assert (2, 2, 1) in clicks.joined()
    assert place.proven()


@pytest.mark.slow
def test_sample_shows_what_is_seen_of_an_input(clicks):
    place = clicks.place
    stages = {name: rows for name, _, rows, _ in launch.sample(place.pipeline, at_us=place.window(1).start_us, rows=20)}
    assert [(row[0], row[2]) for row in stages["input clicks"]] == [(1, True), (2, False)]
    assert [row[2] for row in stages["output joined"]] == [0, 1, 0]


def test_a_shard_waits_until_what_it_sees_of_every_input_has_passed(clicks):
    place = clicks.place
    open_ended = replace(place.pipeline, time=replace(place.pipeline.time, end_us=None))

    def ready_after(days, pipeline=open_ended):
        return Parts(pipeline, FrozenClock(from_us(place.window(days).start_us))).ready.window

    assert ready_after(1) is None
    assert ready_after(2) == place.window(0)
    assert ready_after(2, replace(open_ended, inputs=(replace(clicks.input, lookahead=None),))) == place.window(0, 2)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT of FROM clicks", "with a lookback or lookahead, a table also holds rows of the time around the shard"),
        ("SELECT n FROM rows JOIN marks ON true", 'there is no table "marks": this SQL sees only "rows", "clicks"'),
        ("SELECT toll FROM rows JOIN clicks ON true", '"toll" not found'),
        ("SELECT clicks.* FROM rows JOIN clicks ON true", "_in_shard would become a column of the table"),
    ],
)
def test_sql_that_does_not_fit_the_inputs_is_found_by_check(clicks, sql, reason):
    pipeline = replace(clicks.place.pipeline, outputs=(SqlOutput(table="made", sql=sql),))
    (problem,) = launch.check(pipeline).problems
    assert problem.startswith("outputs.made.sql: ")
    assert reason in problem
    good = "SELECT of FROM clicks WHERE _in_shard"
    assert launch.check(replace(pipeline, outputs=(SqlOutput(table="made", sql=good),))).problems == ()


def test_an_input_is_part_of_the_definition_and_travels_to_workers(clicks):
    pipeline = clicks.place.pipeline
    parts = definitions(pipeline)["joined"].parts
    other = definitions(replace(pipeline, inputs=(replace(clicks.input, lookahead=parse_width("2d")),)))["joined"].parts
    assert {name for name in parts if parts[name] != other[name]} == {"input:clicks"}
    source = Parts(pipeline, FrozenClock("2026-01-09T00:00Z")).source
    assert pickle.loads(pickle.dumps(source)).list() == source.list()


# ---- files put together -----------------------------------------------------------------------------------


@pytest.fixture
def together(place):
    """The four files of Parquet, of which two are CSV and JSON Lines instead."""
    (place.folder / "day1.parquet").unlink()
    (place.folder / "day2.parquet").unlink()
    (place.folder / "more.csv").write_text("ts;n\n" + "".join(f"2026-01-02T06:00:00;{n}\n" for n in (1, 2, 3)) + "x;4\n")
    lines = "".join(f'{{"ts": "2026-01-03T06:00:00", "n": {n}}}\n' for n in (1, 2, 3))
    (place.folder / "more.jsonl").write_text(lines)
    csv, jsonl = (MoreFiles(paths=(f"{place.folder}/more.{kind}",), format=kind) for kind in ("csv", "jsonl"))
    csv = replace(csv, csv=replace(csv.csv, delimiter=";"))
    columns = {"ts": Column(type=parse_datatype("timestamp")), "n": Column(type=parse_datatype("int64"))}
    place.pipeline = replace(place.pipeline, source=replace(place.pipeline.source, columns=columns, also=(csv, jsonl)))
    return place


@pytest.mark.slow
def test_files_of_several_formats_are_read_as_one_source(together):
    report = together.run()
    assert [row[1:] for row in together.totals()] == [(3, 6)] * 4
    assert (report.closed.rows.read, report.closed.rows.quarantined) == (13, 1)
    assert together.query("SELECT rule, parse_filename(source) FROM _raypipe.quarantine") == [("no_event_time", "more.csv")]
    assert together.proven()
    assert [one for one in launch.recompute(together.pipeline) if not one.ok] == []
    (together.folder / "more.jsonl").write_text('{"ts": "2026-01-03T06:00:00", "n": 7}\n')
    assert [one.window for one in launch.plan(together.pipeline, Ask()).plan.shards] == [together.window(2)]


def test_a_file_that_is_named_twice_is_refused(together):
    twice = (*together.pipeline.source.also, MoreFiles(paths=(f"{together.folder}/*.csv",), format="csv"))
    pipeline = replace(together.pipeline, source=replace(together.pipeline.source, also=twice))
    with pytest.raises(UsageError, match=r"more\.csv is named by two sources that are put together"):
        launch.plan(pipeline, Ask())
