"""Named inputs: SQL joins the rows with further inputs, each with a time around the shard; every row of each is accounted for."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.shard import Reason
from raypipe.core.window import from_us
from raypipe.engine.definition import definitions
from raypipe.launch import Ask
from raypipe.launch.parts import Parts
from raypipe.pipeline import SqlOutput
from raypipe.testing import FrozenClock


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
        (
            "SELECT of FROM clicks",
            "with inputs.clicks.time.lookback or inputs.clicks.time.lookahead, `clicks` also holds rows of the",
        ),
        ("SELECT n, of FROM clicks LEFT JOIN rows ON of = n", "`clicks` also holds rows of the time around the shard"),
        ("SELECT n FROM rows UNION ALL SELECT of FROM clicks", "`clicks` also holds rows of the time around the shard"),
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


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT of FROM clicks WHERE _in_shard",
        "SELECT n, of FROM clicks RIGHT JOIN rows ON of = n",
        "WITH c AS (SELECT of, min(at_time) AS first FROM clicks GROUP BY ALL) SELECT n, first FROM rows LEFT JOIN c ON of = n",
        "SELECT n FROM rows UNION ALL SELECT of FROM clicks WHERE clicks._in_shard",
    ],
)
def test_sql_that_means_the_rows_of_the_shard_is_accepted(clicks, sql):
    assert launch.check(replace(clicks.place.pipeline, outputs=(SqlOutput(table="made", sql=sql),))).problems == ()


def test_an_input_is_part_of_the_definition_and_travels_to_workers(clicks):
    pipeline = clicks.place.pipeline
    parts = definitions(pipeline)["joined"].parts
    other = definitions(replace(pipeline, inputs=(replace(clicks.input, lookahead=parse_width("2d")),)))["joined"].parts
    assert {name for name in parts if parts[name] != other[name]} == {"input:clicks"}
    source = Parts(pipeline, FrozenClock("2026-01-09T00:00Z")).source
    assert pickle.loads(pickle.dumps(source)).list() == source.list()
