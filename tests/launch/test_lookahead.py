"""time.lookahead: SQL sees the time after its shard, which waits for it, and late input there reopens its readers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.window import from_us
from raypipe.engine.definition import definitions
from raypipe.launch import Ask
from raypipe.launch.parts import Parts
from raypipe.pipeline import Deduplicate, RowsOutput, SqlOutput
from raypipe.testing import FrozenClock

NEXT = """
SELECT ts, n, sum(n) OVER w::BIGINT AS total, count(*) OVER w AS events FROM rows
WINDOW w AS (ORDER BY ts RANGE BETWEEN CURRENT ROW AND INTERVAL 2 DAY FOLLOWING) QUALIFY _in_shard
"""
DAY_US = 86_400_000_000


@pytest.fixture
def looking(place):
    """Four days with events 1, 2 and 3 at 6:00; each day's shard sees the two days after it."""
    time = replace(place.pipeline.time, lookahead=parse_width("2d"))
    place.pipeline = replace(place.pipeline, time=time, outputs=(RowsOutput(table="clean"), SqlOutput(table="coming", sql=NEXT)))
    return place


def totals(place):
    return place.query("SELECT day(ts), total, events FROM coming GROUP BY ALL ORDER BY ALL")


@pytest.mark.slow
def test_sql_sees_the_time_after_its_shard_which_is_accounted_to_others(looking):
    report = looking.run()
    assert totals(looking) == [(1, 18, 9), (2, 18, 9), (3, 12, 6), (4, 6, 3)]
    assert (report.closed.rows.read, report.closed.rows.loaded) == (12, 12)
    assert looking.query("SELECT read, loaded FROM _raypipe.shards ORDER BY lo") == [(3, 3)] * 4
    assert looking.query("SELECT count(*) FROM clean") == [(12,)]
    assert looking.proven()
    assert all(one.ok for one in launch.recompute(looking.pipeline))


@pytest.mark.slow
def test_late_input_in_the_lookahead_reopens_the_shards_that_read_it_and_these_only(looking):
    looking.run()
    looking.day(3, (1, 2, 3, 40))
    shards = launch.plan(looking.pipeline, Ask()).plan.shards
    assert [(one.window, one.reason) for one in shards] == [(looking.window(day), Reason.LATE) for day in (1, 2, 3)]
    looking.run()
    assert totals(looking) == [(1, 18, 9), (2, 58, 10), (3, 52, 7), (4, 46, 4)]
    assert launch.plan(looking.pipeline, Ask()).plan.shards == ()


@pytest.mark.slow
def test_what_is_doubled_in_the_lookahead_is_so_in_its_own_shard_alone_and_both_ways_may_be_looked(looking):
    time = replace(looking.pipeline.time, lookback=parse_width("1d"))
    looking.day(1, (1, 1, 1))
    looking.pipeline = replace(looking.pipeline, time=time, transform=(Deduplicate(key=("n",)),))
    looking.run()
    assert looking.query("SELECT read, duplicate FROM _raypipe.shards ORDER BY lo") == [(3, 0), (3, 2), (3, 0), (3, 0)]
    sql = "SELECT count(*) FILTER (NOT _in_shard) AS around, count(*) FILTER (_in_shard) AS own FROM rows"
    looking.pipeline = replace(looking.pipeline, transform=(), outputs=(SqlOutput(table="seen", sql=sql),))
    looking.run()
    assert looking.query("SELECT around, own FROM seen ORDER BY _shard") == [(6, 3), (9, 3), (6, 3), (3, 3)]


@pytest.mark.slow
def test_a_shard_whose_lookahead_cannot_be_loaded_fails_instead_of_seeing_less(looking):
    from raypipe.pipeline import Quality, Rule

    looking.day(2, (1, 666))
    looking.pipeline = replace(looking.pipeline, quality=Quality(rules=(Rule(name="sane", expect="n < 600", otherwise="fail"),)))
    report = looking.run()
    assert [one.window for one in report.closed.failures] == [looking.window(0), looking.window(1), looking.window(2)]
    assert "in the time after it, to which it looks ahead: rule sane was broken" in report.closed.failures[0].error


@pytest.mark.slow
def test_a_backfill_of_one_shard_computes_it_with_its_lookahead(looking):
    looking.run()
    before = looking.query("FROM coming ORDER BY ALL")
    looking.run(Ask(scope=Scope.ALL, start_us=looking.window(1).start_us, end_us=looking.window(2).start_us, publish="atomic"))
    assert looking.query("FROM coming ORDER BY ALL") == before
    assert looking.proven()


def test_a_shard_is_ready_once_all_that_it_sees_and_the_delay_have_passed(looking):
    open_ended = replace(looking.pipeline.time, end_us=None, delay_us=DAY_US // 24)

    def ready_after(days, hours, **changes):
        clock = FrozenClock(from_us(looking.window(0).start_us + days * DAY_US + hours * DAY_US // 24))
        return Parts(replace(looking.pipeline, time=replace(open_ended, **changes)), clock).ready.window

    assert ready_after(3, 0) is None
    assert ready_after(3, 1) == looking.window(0)
    assert ready_after(5, 0) == looking.window(0, 2)
    assert ready_after(5, 1) == looking.window(0, 3)
    assert ready_after(3, 1, lookahead=None) == looking.window(0, 3)
    assert ready_after(2, 1, lookahead=parse_width("90m")) == looking.window(0, 1)


def test_another_lookahead_is_another_definition_and_none_is_as_before(looking):
    def time_part(**changes):
        pipeline = replace(looking.pipeline, time=replace(looking.pipeline.time, **changes))
        return definitions(pipeline)["clean"].parts["time"]

    two, none, back = parse_width("2d"), None, parse_width("2d")
    parts = {
        time_part(lookahead=two),
        time_part(lookahead=none),
        time_part(lookahead=none, lookback=back),
        time_part(lookback=back),
    }
    assert len(parts) == 4


def test_sql_that_never_asks_which_rows_are_the_shards_own_is_refused(looking):
    looking.pipeline = replace(looking.pipeline, outputs=(SqlOutput(table="made", sql="SELECT n FROM rows"),))
    (problem,) = launch.check(looking.pipeline).problems
    assert "with time.lookback or time.lookahead, `rows` also holds rows of the time around the shard" in problem
