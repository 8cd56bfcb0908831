"""A slow task gets one second attempt; the first of both to end counts, once, and the other leaves no trace."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.commands import Commit, Dispatch, Finish, GiveUp, RecordFailures, Replan
from raypipe.core.commit import Receipt
from raypipe.core.coordinator import Coordinator
from raypipe.core.grouping import TaskLimits
from raypipe.core.retry import Retries
from raypipe.core.room import Room
from raypipe.core.shard import InputFile, OutputStat, Reason, Shard, ShardFailure, ShardResult, Slice
from raypipe.core.state import OpenedRun
from raypipe.core.stragglers import StragglerLimits
from raypipe.core.window import Window
from raypipe.errors import OutOfMemory

RUN = OpenedRun("run", 1, {"t": 1})
ROWS = 400_000  # such shards stand alone in their tasks
SLOW_S = 1000.0


def shard(index):
    slices = (Slice(InputFile(f"f{index}", 1, "v"), rows=ROWS),)
    return Shard(index, Window(index, index + 1), Reason.NEW, frozenset(), slices)


def ended(task):
    results = [
        ShardResult(one.window, one.observed, one.slices, Accounts(read=1, loaded=1), {"t": OutputStat(1, "0" * 32)})
        for one in task.shards
    ]
    return ev.TaskEnded(task, tuple(results), ())


def ended_badly(task, code="os_error", *, retryable=True):
    return ev.TaskEnded(task, (), tuple(ShardFailure(one.window, code, "the disk", retryable=retryable) for one in task.shards))


def failed(task, code="worker_died", *, relist=False):
    return ev.TaskFailed(task, code, "killed", relist=relist)


def held(task):
    return ev.TaskHeld(task, frozenset(one.window for one in task.shards), frozenset())


def committed(commit):
    outcomes = {one.window: one.outcome for one in commit.request.shards}
    return ev.GroupCommitted(
        Receipt(commit.request.commit_id, 1, outcomes), tuple(one.result for one in commit.request.shards), 0.1
    )


def of(kind, commands):
    return [one for one in commands if isinstance(one, kind)]


def tasks(commands):
    return [one.task for one in of(Dispatch, commands)]


def start(count, *, workers=2, limits=None, **more):
    task_limits = TaskLimits(2 * workers, 10**9, workers=more.pop("apart", workers))
    coordinator = Coordinator(
        RUN, task_limits, Retries(attempts=2, delay_s=0), atomic=False, stragglers=limits or StragglerLimits(), **more
    )
    return coordinator, tasks(coordinator.handle(ev.Planned(tuple(shard(index) for index in range(count))), 0.0))


class Slow:
    """A run of four shards of which three took a second each, and the last one takes very long: both attempts at it."""

    def __init__(self):
        self.coordinator, (*others, self.first) = start(4)
        for task in others:
            self.coordinator.handle(ended(task), 0.5)
        (commit,) = self.coordinator.decide(5.0)
        self.coordinator.handle(committed(commit), 5.0)
        (self.dispatch,) = self.coordinator.decide(SLOW_S)
        self.second = self.dispatch.task

    def tell(self, *events):
        """The commands for events that came with one look."""
        commands = [one for event in events for one in self.coordinator.handle(event, SLOW_S)]
        return commands + self.coordinator.decide(SLOW_S)

    def end(self, commands):
        """Commit to the end; return its status."""
        while not of(Finish, commands):
            (commit,) = of(Commit, commands)
            windows = [one.window for one in commit.request.shards]
            assert len(windows) == len(set(windows))
            commands = self.coordinator.handle(committed(commit), SLOW_S)
        return commands[-1].status


@pytest.fixture
def slow():
    return Slow()


def test_a_second_attempt_is_another_one_at_the_same_shards_and_says_why(slow):
    assert slow.second.shards == slow.first.shards
    assert slow.second.attempt_id != slow.first.attempt_id
    assert (slow.second.run_id, slow.second.epoch, slow.second.room) == (slow.first.run_id, slow.first.epoch, slow.first.room)
    assert slow.second.beside == slow.first.attempt_id
    assert slow.dispatch.straggler.task is slow.first
    assert slow.dispatch.straggler.times > 3


def test_a_first_attempt_has_none_beside_it(slow):
    assert slow.first.beside == ""


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_the_first_to_end_counts_and_the_other_is_given_up(slow, order):
    winner, loser = (getattr(slow, name) for name in order)
    commands = slow.tell(ended(winner))
    assert of(GiveUp, commands) == [GiveUp(loser)]
    (commit,) = of(Commit, commands)
    assert commit.attempts == (winner.attempt_id,)
    assert slow.end(commands) == "done"
    assert (slow.coordinator.counts, slow.coordinator.rows.read) == ((4, 4, 0, 0), 4)


@pytest.mark.parametrize("late", [ended, failed, ended_badly, held])
def test_what_comes_of_the_loser_is_dropped(slow, late):
    commands = slow.tell(ended(slow.second), late(slow.first))
    assert of(GiveUp, commands) == [GiveUp(slow.first)]
    assert not of((Dispatch, RecordFailures, Replan), commands)
    assert slow.end(commands) == "done"
    assert (slow.coordinator.counts, slow.coordinator.rows.read) == ((4, 4, 0, 0), 4)
    assert slow.tell(late(slow.first)) == []


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
@pytest.mark.parametrize("failure", [failed, ended_badly])
def test_where_one_attempt_fails_the_other_is_waited_for(slow, order, failure):
    loser, winner = (getattr(slow, name) for name in order)
    assert slow.tell(failure(loser)) == []
    assert slow.coordinator.awaits(winner)
    assert not slow.coordinator.awaits(loser)
    assert slow.end(slow.tell(ended(winner))) == "done"
    assert slow.coordinator.counts == (4, 4, 0, 0)


def test_where_both_fail_it_counts_as_one_failure_and_the_shard_is_tried_again(slow):
    slow.tell(failed(slow.first))
    (again,) = tasks(slow.tell(failed(slow.second)))
    assert (again.shards, again.beside) == (slow.first.shards, "")
    assert again.attempt_id not in (slow.first.attempt_id, slow.second.attempt_id)
    commands = slow.tell(failed(again))  # of two attempts that retries allow
    assert slow.coordinator.failures[0].error == "killed (after 2 attempts)"
    assert commands[-1] == Finish("failed")


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_a_second_attempt_that_is_not_started_since_another_run_holds_its_shards_is_forgotten(slow, order):
    assert slow.tell(held(slow.second)) == []
    assert slow.coordinator.next_s is None
    assert slow.end(slow.tell(ended(slow.first))) == "done"


@pytest.mark.parametrize("end", [
    lambda task: ended_badly(task, "rule_broken", retryable=False),
    lambda task: failed(task, "input_changed", relist=True),
    lambda task: failed(task, OutOfMemory.code),
    lambda task: ended_badly(task, OutOfMemory.code),
])  # fmt: skip
def test_what_would_be_wrong_with_the_other_attempt_too_is_not_waited_for(slow, end):
    commands = slow.tell(end(slow.second))
    assert of(GiveUp, commands) == [GiveUp(slow.first)]
    assert of(RecordFailures, commands) or of(Replan, commands) or tasks(commands)[0].room is Room.ALONE


def test_there_is_never_a_third_attempt_beside(slow):
    assert slow.coordinator.decide(10 * SLOW_S) == []
    slow.tell(failed(slow.first))
    assert slow.coordinator.decide(100 * SLOW_S) == []


def test_after_the_second_attempt_failed_the_first_gets_no_other(slow):
    slow.tell(failed(slow.second))
    assert slow.coordinator.decide(100 * SLOW_S) == []


def test_a_run_that_is_stopped_makes_no_second_attempt():
    coordinator, (*others, _) = start(4)
    for task in others:
        coordinator.handle(ended(task), 1.0)
    coordinator.handle(ev.StopAsked("SIGINT"), 2.0)
    assert tasks(coordinator.decide(SLOW_S)) == []


def test_the_ends_of_two_attempts_that_were_abandoned_change_nothing(slow):
    slow.coordinator.handle(ev.StopAsked("SIGINT"), SLOW_S)
    slow.coordinator.abandon()
    assert slow.tell(ended(slow.first), ended(slow.second)) == [Finish("interrupted")]


def test_no_second_attempt_is_made_while_shards_wait_for_a_worker():
    coordinator, handed_out = start(9)
    for task in handed_out[:3]:
        handed_out += tasks(coordinator.handle(ended(task), 1.0))
    assert tasks(coordinator.decide(SLOW_S)) == []


def test_no_second_attempt_is_made_while_every_worker_has_a_task():
    coordinator, (*others, _, _) = start(5, workers=3)
    for task in others:
        coordinator.handle(ended(task), 1.0)
    assert len(tasks(coordinator.decide(SLOW_S))) == 1  # of two slow ones: three workers are there
    assert tasks(coordinator.decide(2 * SLOW_S)) == []


def test_no_second_attempt_is_made_where_it_would_share_the_cores_of_the_first():
    coordinator, (*others, _) = start(4, apart=0)
    for task in others:
        coordinator.handle(ended(task), 1.0)
    assert tasks(coordinator.decide(SLOW_S)) == []


def test_a_task_is_not_slow_as_long_as_it_waits_for_a_worker():
    coordinator, (a, b, c, d) = start(4)
    for now_s, task in ((900.0, a), (950.0, b), (990.0, c)):
        coordinator.handle(ended(task), now_s)
    assert tasks(coordinator.decide(3000.0)) == []  # handed out at 0, at work since 950; others took 900 s in the median
    assert [one.shards for one in tasks(coordinator.decide(950.0 + 2701.0))] == [d.shards]


def test_events_that_came_while_the_run_was_busy_are_told_before_anything_is_slow():
    coordinator, (*others, last) = start(4)
    for task in others:
        assert tasks(coordinator.handle(ended(task), SLOW_S)) == []
    commands = coordinator.handle(ended(last), SLOW_S)
    assert tasks(commands) == []


def test_a_shard_that_is_done_alone_has_no_second_attempt():
    coordinator, handed_out = start(4, limits=StragglerLimits(finished_min=0, floor_s=1.0))
    for task in handed_out[:3]:
        coordinator.handle(ended(task), 0.1)
    (alone,) = tasks(coordinator.handle(failed(handed_out[3], OutOfMemory.code), 0.2))
    assert alone.room is Room.ALONE
    assert tasks(coordinator.decide(SLOW_S)) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 12), st.integers(1, 4))
def test_every_plan_ends_with_each_shard_committed_or_failed_once_however_attempts_end(seed, count, workers):
    rng = random.Random(seed)
    coordinator, handed_out = start(count, workers=workers, limits=StragglerLimits(finished_min=1, floor_s=0.5, times=1.0))
    pending, in_flight, committed_windows, seconds = [], list(handed_out), set(), 0
    now_s, status = 0.0, None
    while status is None:
        now_s += rng.random()
        assert now_s < 5000
        if pending:
            match pending.pop(0):
                case Dispatch(task):
                    beside = [one for one in in_flight if one.shards == task.shards]
                    assert [one.attempt_id for one in beside] == ([task.beside] if task.beside else [])
                    seconds += bool(task.beside)
                    in_flight.append(task)
                case GiveUp(task):
                    in_flight = [one for one in in_flight if one.attempt_id != task.attempt_id]
                case Commit() as commit:
                    for one in commit.request.shards:
                        assert one.window not in committed_windows
                        committed_windows.add(one.window)
                    pending += coordinator.handle(committed(commit), now_s)
                case Replan(windows):
                    again = tuple(shard(one.start_us) for one in windows)
                    pending += coordinator.handle(ev.Planned(again, again=True), now_s)
                case Finish(status):
                    assert in_flight == []
        elif in_flight and rng.random() < 0.5:
            for task in rng.sample(in_flight, rng.randint(1, len(in_flight))):
                in_flight.remove(task)
                end = rng.choice([ended, ended, ended, failed, ended_badly, lambda one: failed(one, relist=True)])
                pending += coordinator.handle(end(task), now_s)
        else:
            pending += coordinator.decide(now_s)
    lost = {failure.window for failure in coordinator.failures}
    assert committed_windows | lost == {shard(index).window for index in range(count)}
    assert not committed_windows & lost
    assert coordinator.rows.read == len(committed_windows)
