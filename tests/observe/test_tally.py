from __future__ import annotations

import dataclasses

from raypipe.core.events import FileScanned, ScanStarted, StopAsked
from raypipe.core.shard import InputFile
from raypipe.observe.tally import Tally


def told(*events, clock=None):
    tally = Tally()
    for number, event in enumerate(events):
        tally.at(event, 100.0 + number)
    return tally


def test_a_shard_is_finished_when_it_is_committed_and_not_before(story):
    tally = told(story.planned(), story.started(0, 1), story.ended(0, 1))
    assert (tally.planned, tally.finished, tally.done, tally.rows) == (4, 0, 2, 200)

    tally.at(story.committed(0, 1), 110.0)
    assert (tally.planned, tally.finished, tally.done, tally.failed) == (4, 2, 2, 0)


def test_a_shard_that_lost_its_commit_is_to_be_done_again(story):
    tally = told(story.planned(), story.started(0, 1), story.ended(0, 1))
    assert tally.left_s(103.0) == 2.0

    tally.at(story.planned(shards=story.shards[:1], again=True), 104.0)
    assert (tally.planned, tally.done) == (4, 1)
    assert tally.left_s(107.0) == 18.0


def test_speed_and_time_left_follow_from_the_estimated_rows(story):
    tally = told(story.planned(), story.started(0), story.ended(0), story.committed(0))  # the work began at 101

    assert tally.rows_per_s(105.0) == 25.0
    assert tally.left_s(105.0) == 12.0


def test_nothing_is_said_of_the_time_left_before_something_is_done(story):
    assert told(story.planned(), story.started(0)).left_s(110.0) is None


def test_a_shard_that_is_tried_again_is_neither_failed_nor_finished(story):
    tally = told(story.planned(), story.ended(failures=(story.failure(0, retryable=True), story.failure(1))))

    assert (tally.failed, tally.finished, len(tally.weights)) == (1, 0, 3)


def test_shards_planned_again_are_counted_once_and_satisfied_ones_are_finished(story):
    tally = told(story.planned(), story.planned(shards=story.shards[:1], satisfied=story.shards[1:2], again=True))

    assert (tally.planned, tally.finished) == (4, 1)


def test_shards_that_cannot_be_planned_are_failed_from_the_start(story):
    tally = told(story.planned(shards=story.shards[1:], failures=(story.failure(0),)))

    assert (tally.planned, tally.failed) == (4, 1)


def test_phases_follow_each_other(story):
    tally = told(ScanStarted(2, 3000), FileScanned(InputFile("a", 1000, "1"), 1000))
    assert (tally.phase, tally.files_scanned, tally.scanned_bytes) == ("reading files", 1, 1000)

    tally.at(story.planned(), 1.0)
    assert tally.phase == "working"
    tally.at(story.committed(0, 1, 2, 3), 2.0)
    assert tally.phase == "finishing"
    tally.at(StopAsked("SIGINT"), 3.0)
    tally.at(story.started(0), 4.0)
    assert tally.phase == "stopping"


def test_the_end_of_the_run_has_the_last_word(story):
    tally = told(story.planned(), story.closed(committed=3, failed=1))

    assert (tally.planned, tally.finished, tally.failed) == (4, 3, 1)


def test_shards_of_unknown_size_still_make_progress(story):
    shards = tuple(dataclasses.replace(shard, slices=()) for shard in story.shards)
    tally = told(story.planned(shards=shards), story.started(0), story.committed(0, 1))

    assert tally.left_s(103.0) == 2.0
