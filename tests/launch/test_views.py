"""Views: SQL over a pipeline's own tables, kept beside them in the commit that completes these or in the next run."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pytest

from raypipe import launch
from raypipe.errors import ConfigurationError, UsageError
from raypipe.launch import Ask
from raypipe.pipeline import GroupByOutput, RowsOutput, SqlOutput, View

pytestmark = pytest.mark.slow  # whole runs on real files

BIG = "SELECT day, total FROM daily WHERE total > 5"


@pytest.fixture
def viewing(place):
    """Four days with the total 6 each, and a view of the days with more than 5."""
    place.pipeline = replace(place.pipeline, views=(View(name="big_days", sql=BIG),))
    return place


def changed(place, sql, name="big_days"):
    place.pipeline = replace(place.pipeline, views=(View(name=name, sql=sql),))


def test_a_view_stands_after_the_first_commit_and_shows_what_the_tables_hold_ever_after(viewing):
    viewing.run()
    assert viewing.query("SELECT count(*) FROM big_days") == [(4,)]
    viewing.day(1, (1, 2))
    viewing.run()
    assert viewing.query("SELECT day(day) FROM big_days ORDER BY ALL") == [(1,), (3,), (4,)]
    assert viewing.proven()
    assert "big_days" not in launch.status(viewing.pipeline).tables


def test_another_text_replaces_a_view_in_the_next_run_and_no_shard_is_done_again(viewing):
    viewing.run()
    changed(viewing, BIG.replace("> 5", "> 50"))
    planned = launch.plan(viewing.pipeline, Ask())
    assert (planned.plan.shards, planned.plan.stale, planned.views) == ((), (), ("big_days",))
    closed = viewing.run().closed
    assert (closed.status, closed.committed) == ("done", 0)
    assert viewing.query("SELECT count(*) FROM big_days") == [(0,)]
    assert launch.plan(viewing.pipeline, Ask()).views == ()
    runs = len(viewing.runs())
    viewing.run()
    assert len(viewing.runs()) == runs  # nothing is left to do


def test_a_view_that_is_named_no_more_goes_and_its_name_is_free_for_a_table(viewing):
    viewing.run()
    viewing.pipeline = replace(viewing.pipeline, views=(), outputs=(*viewing.pipeline.outputs, RowsOutput(table="big_days")))
    viewing.run()
    assert viewing.query("SELECT count(*) FROM big_days") == [(12,)]
    assert viewing.proven()


def test_a_view_that_a_person_dropped_stands_again_after_the_next_run_that_does_something(viewing):
    viewing.run()
    with duckdb.connect(str(viewing.out)) as connection:
        connection.execute("DROP VIEW big_days")
    viewing.day(0, (1, 2, 3, 4))
    viewing.run()
    assert viewing.query("SELECT count(*) FROM big_days") == [(4,)]


def test_a_view_waits_until_every_table_of_the_pipeline_is_there(viewing):
    """A run that commits one table alone, as one that fills an added output does, leaves the view as it is."""
    viewing.run()
    groups = GroupByOutput(table="numbers", group_by={"n": "n"}, measures={"events": "count(*)"})
    viewing.pipeline = replace(viewing.pipeline, outputs=(*viewing.pipeline.outputs, groups))
    changed(viewing, "SELECT n, events FROM numbers")
    viewing.run()
    assert viewing.query("FROM big_days ORDER BY ALL") == [(1, 4), (2, 4), (3, 4)]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM strangers", 'there is no table "strangers": this SQL sees only "clean", "daily"'),
        ("SELECT * FROM rows", 'there is no table "rows"'),
        ("SELECT * FROM _raypipe.live", 'there is no table "_raypipe.live"'),
        ("SELECT * FROM read_csv('/etc/passwd')", 'the table function "read_csv" is not allowed'),
        ("SELECT * FROM daily WHERE day < now()", "now is a clock"),
        ("DROP TABLE daily", "expected one SELECT statement, got DROP"),
    ],
)
def test_sql_that_is_not_over_the_own_tables_is_refused_by_check_and_run_alike(viewing, sql, reason):
    changed(viewing, sql)
    (problem,) = launch.check(viewing.pipeline).problems
    assert problem.startswith("outputs.big_days.view: ")
    assert reason in problem
    with pytest.raises(ConfigurationError) as caught:
        viewing.run()
    assert caught.value.problems == (problem,)
    assert not viewing.out.exists()


def test_a_view_of_columns_that_a_table_lacks_is_found_by_check_and_leaves_nothing_committed(viewing):
    changed(viewing, "SELECT events, toll FROM daily")
    (problem,) = launch.check(viewing.pipeline).problems
    assert '"toll" not found' in problem
    with pytest.raises(ConfigurationError, match=r'outputs\.big_days\.view: .*"toll" not found'):
        viewing.run()
    assert viewing.query("SELECT count(*) FROM _raypipe.live") == [(0,)]
    changed(viewing, BIG)
    viewing.run()
    assert viewing.query("SELECT count(*) FROM big_days") == [(4,)]
    assert viewing.proven()


def test_check_knows_the_columns_of_every_kind_of_table(viewing):
    keyed = RowsOutput(table="newest", key=("n",))
    groups = GroupByOutput(table="numbers", group_by={"n": "n"}, measures={"events": "count(*)"})
    viewing.pipeline = replace(viewing.pipeline, outputs=(*viewing.pipeline.outputs, keyed, groups))
    changed(viewing, "SELECT clean._shard, newest.ts, events FROM clean JOIN newest USING (n) JOIN numbers USING (n)")
    assert launch.check(viewing.pipeline).problems == ()
    changed(viewing, "SELECT _shard FROM numbers")
    assert '"_shard" not found' in launch.check(viewing.pipeline).problems[0]


def test_a_name_that_stands_for_something_else_is_refused(viewing):
    with duckdb.connect(str(viewing.out)) as connection:
        connection.execute("CREATE VIEW big_days AS SELECT 1 AS mine")
    with pytest.raises(UsageError, match="view big_days: this name is taken by a table or view that raypipe does not keep"):
        viewing.run()
    assert viewing.query("FROM big_days") == [(1,)]


def test_two_pipelines_never_keep_one_view(viewing):
    viewing.run()
    outputs = (SqlOutput(table="theirs", sql="SELECT n FROM rows"),)
    other = replace(viewing.pipeline, name="others", outputs=outputs, views=(View(name="big_days", sql="FROM theirs"),))
    with pytest.raises(UsageError, match="view big_days: this name is taken by pipeline events"):
        viewing.run(pipeline=other)
    tabled = replace(other, outputs=(RowsOutput(table="big_days"),), views=())
    with pytest.raises(UsageError, match="table big_days exists, and raypipe does not keep it for pipeline others"):
        viewing.run(pipeline=tabled)


def test_a_file_from_before_there_were_views_takes_one(viewing):
    views, viewing.pipeline = viewing.pipeline.views, replace(viewing.pipeline, views=())
    viewing.run()
    with duckdb.connect(str(viewing.out)) as connection:
        connection.execute("DROP TABLE _raypipe.views")
    assert launch.plan(viewing.pipeline, Ask()).plan.shards == ()
    viewing.pipeline = replace(viewing.pipeline, views=views)
    viewing.run()
    assert viewing.query("SELECT count(*) FROM big_days") == [(4,)]


def test_sample_shows_a_view_of_the_one_shard(viewing):
    stages = {name: rows for name, _, rows, _ in launch.sample(viewing.pipeline, at_us=viewing.window(2).start_us, rows=20)}
    assert [row[1] for row in stages["view big_days"]] == [6]
