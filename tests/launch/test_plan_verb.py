"""`plan` tells what a run would do, by the stages of the run itself, and writes nothing at all."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace

import pytest

from raypipe import launch
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.errors import SourceUnreadable, UsageError
from raypipe.launch import Ask


def reasons(report):
    return [(shard.index, shard.reason) for shard in report.plan.shards]


def test_a_fresh_pipeline_is_planned_whole_with_estimates_and_nothing_is_written(place):
    before = place.bytes_of_all_files()
    report = launch.plan(place.pipeline, Ask())
    assert reasons(report) == [(day, Reason.NEW) for day in range(4)]
    assert [shard.rows for shard in report.plan.shards] == [3] * 4
    assert all(shard.size_bytes > 0 for shard in report.plan.shards)
    assert report.window == place.window(0, 4)
    assert re.fullmatch(r"4 shards, [\d.]+ k?B: inline, \d+ threads?", report.executor)
    assert report.estimated_seconds is not None
    assert report.memory_bytes == place.pipeline.run.memory_bytes
    assert place.bytes_of_all_files() == before
    assert not place.state.exists()


def test_plan_and_run_agree_and_state_stays_byte_for_byte_also_where_the_index_is_incomplete(place):
    place.run()
    place.day(1, (7, 8))
    place.day(3, (9,), name="more.parquet")
    fresh = place.day(2, (5, 6))
    os.utime(fresh)  # written this moment: its version needs its content
    before = place.bytes_of_all_files()
    report = launch.plan(place.pipeline, Ask())
    assert place.bytes_of_all_files() == before
    assert reasons(report) == [(1, Reason.LATE), (2, Reason.LATE), (3, Reason.LATE)]
    assert place.run().closed.planned == 3


def test_the_reasons_of_a_plan_are_those_of_the_ledger(place):
    place.run(Ask(end_us=place.window(1).end_us))
    place.day(0, (1,))
    report = launch.plan(place.pipeline, Ask())
    assert reasons(report) == [(0, Reason.LATE), (2, Reason.NEW), (3, Reason.NEW)]
    forced = launch.plan(place.pipeline, Ask(scope=Scope.ALL))
    assert Counter(shard.reason for shard in forced.plan.shards) == {Reason.FORCED: 2, Reason.NEW: 2}


def test_a_window_is_planned_in_whole_shards(place):
    half = Ask(start_us=place.window(1).start_us + 1, end_us=place.window(2).start_us + 1)
    assert [shard.index for shard in launch.plan(place.pipeline, half).plan.shards] == [1, 2]
    assert [shard.index for shard in launch.plan(place.pipeline, Ask(start_us=place.window(3).start_us)).plan.shards] == [3]
    by_number = launch.plan(place.pipeline, Ask(shards=(1, 3)))
    assert [shard.index for shard in by_number.plan.shards] == [1, 2]


@pytest.mark.parametrize(("ask", "text"), [(Ask(shards=(3, 3)), "--shards"), (Ask(start_us=10, end_us=10), "--end")])
def test_an_empty_window_is_refused_in_the_words_of_its_option(place, ask, text):
    with pytest.raises(UsageError, match=text):
        launch.plan(place.pipeline, ask)


def test_before_the_first_shard_is_ready_there_is_nothing_to_plan(place):
    future = replace(place.pipeline.time, start_us=4_000_000_000_000_000, end_us=None)
    report = launch.plan(replace(place.pipeline, time=future), Ask())
    assert (report.plan.shards, report.window) == ((), None)


def test_a_file_that_cannot_be_read_is_in_the_plan_by_name(place):
    broken = place.folder / "day1.parquet"
    broken.write_bytes(b"PAR1 not really")
    os.utime(broken, (10**9, 10**9))
    report = launch.plan(place.pipeline, Ask())
    assert report.plan.shards == ()
    assert {failure.code for failure in report.plan.failures} == {"source_unreadable"}
    assert str(broken) in report.plan.failures[0].error


def test_a_new_file_that_cannot_be_read_is_told_although_nothing_else_is_to_do(place):
    place.run()
    broken = place.folder / "new.parquet"
    broken.write_bytes(b"PAR1 not really")
    os.utime(broken, (10**9, 10**9))
    with pytest.raises(SourceUnreadable, match=r"new\.parquet"):
        launch.plan(place.pipeline, Ask())
    assert launch.status(place.pipeline).late == ()


def test_ray_is_named_with_its_address(place):
    report = launch.plan(place.pipeline, Ask(executor="ray", address="ray.example:6379"))
    assert report.executor.endswith(": ray, ray.example:6379")
