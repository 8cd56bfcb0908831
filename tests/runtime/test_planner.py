"""The stages that `plan` and `run` share keep their order, and say what could not be read."""

from __future__ import annotations

import gc

import pytest

from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.errors import InputChanged, SourceUnreadable
from raypipe.runtime.planner import LISTING_WAIT_S, LISTINGS_MAX, UnreadableFile


def scan_of(source):
    def scan(files):
        for file in files:
            try:
                yield source.scan(file)
            except (InputChanged, SourceUnreadable) as error:
                yield UnreadableFile(file, error)

    return scan


def test_the_destination_is_observed_before_the_source_is_listed(bench, wrap):
    order = []
    wrap(snapshot=lambda snapshot: (order.append("observed"), snapshot())[1])
    listed = bench.source.list
    bench.source.list = lambda: (order.append("listed"), listed())[1]
    planner = bench.planner()
    planner.first(scan_of(bench.source))
    planner.again([bench.ready.window], {}, {"t": 1}, scan_of(bench.source))
    assert order == ["observed", "listed"] * 2


def test_a_plan_tells_what_it_was_made_from(bench):
    planned = bench.planner().first(scan_of(bench.source))
    assert [shard.index for shard in planned.plan.shards] == [0, 1, 2, 3]
    assert len(planned.listing.files) == 4
    assert planned.bytes_read == 40
    assert planned.unreadable == ()


def test_the_collector_rests_while_it_is_planned_and_not_while_files_are_read(bench):
    collected = []
    scan, slices = bench.source.scan, bench.source.slices
    bench.source.scan = lambda file: (collected.append(("scan", gc.isenabled())), scan(file))[1]
    bench.source.slices = lambda *asked: (collected.append(("slices", gc.isenabled())), slices(*asked))[1]
    bench.planner().first(scan_of(bench.source))
    assert set(collected) == {("scan", True), ("slices", False)}


def test_files_that_are_indexed_are_not_read_again(bench):
    bench.planner().first(scan_of(bench.source))
    again = bench.planner().first(scan_of(bench.source))
    assert again.bytes_read == 0
    assert bench.source.scans == ["f00", "f01", "f02", "f03"]


def test_files_that_could_be_read_are_remembered_although_another_could_not(bench):
    bench.source.scan_errors = {1: [SourceUnreadable("f01 is corrupt")]}
    planned = bench.planner().first(scan_of(bench.source))
    assert planned.plan.shards == ()
    assert [failure.window for failure in planned.plan.failures] == bench.ready.cells(bench.ready.window)
    assert sorted(bench.source.indexed) == ["f00", "f02", "f03"]


def test_a_committed_range_whose_file_cannot_be_read_any_more_fails_and_the_others_do_not(bench):
    bench.run()
    bench.source.versions[1] = "v2"
    bench.source.scan_errors = {1: [SourceUnreadable("f01 is corrupt")]}
    planned = bench.planner().first(scan_of(bench.source))
    assert [(failure.window.start_us, failure.code) for failure in planned.plan.failures] == [
        (bench.ready.cells(bench.ready.window)[1].start_us, "source_unreadable")
    ]


def test_the_waits_for_a_changing_file_grow_and_end(bench):
    bench.source.scan_errors = {0: [InputChanged("f00 changed")] * 100}
    waits = []
    bench.clock.sleep_s = waits.append
    planned = bench.planner().first(scan_of(bench.source))
    assert waits == [LISTING_WAIT_S * 2**place for place in range(LISTINGS_MAX - 1)]
    assert {failure.code for failure in planned.plan.failures} == {"input_changed"}


def test_planning_again_keeps_the_reasons_and_fails_what_cannot_be_read(bench, window_of):
    planner = bench.planner()
    reasons = {window_of(1): Reason.LATE, window_of(2): Reason.FAILED}
    made = planner.again([window_of(1), window_of(2)], reasons, {"t": 1}, scan_of(bench.source))
    assert [(shard.window, shard.reason) for shard in made.shards] == list(reasons.items())
    bench.source.versions[2] = "v2"
    bench.source.scan_errors = {2: [SourceUnreadable("f02 is corrupt")]}
    made = planner.again([window_of(1), window_of(2)], reasons, {"t": 1}, scan_of(bench.source))
    assert made.shards == ()
    assert [failure.window for failure in made.failures] == [window_of(1), window_of(2)]


@pytest.mark.parametrize("scope", list(Scope))
def test_an_unreadable_file_leaves_no_shard_of_any_scope_to_do(bench, scope):
    bench.run()
    bench.source.versions[3] = "v2"
    bench.source.scan_errors = {3: [SourceUnreadable("f03 is corrupt")]}
    assert bench.planner(scope).first(scan_of(bench.source)).plan.shards == ()
