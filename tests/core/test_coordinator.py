"""The coordinator finishes every plan, whatever fails on the way; its decisions need no cluster and no clock."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core import events as ev
from raypipe.core.accounts import Accounts
from raypipe.core.commands import Commit, Dispatch, Finish, RecordFailures, Replan
from raypipe.core.commit import Receipt
from raypipe.core.coordinator import (
    COMMIT_INTERVAL_MAX_S,
    COMMIT_INTERVAL_S,
    CONFLICTS_MAX,
    HELD_WAIT_MAX_S,
    HELD_WAIT_S,
    Coordinator,
)
from raypipe.core.grouping import TaskLimits
from raypipe.core.retry import Retries
from raypipe.core.room import Room
from raypipe.core.shard import InputFile, Outcome, OutputStat, Reason, Shard, ShardFailure, ShardResult, Slice
from raypipe.core.state import OpenedRun
from raypipe.core.waiting import BUFFERED_BYTES_MAX, BUFFERED_ROWS_MAX
from raypipe.core.window import Window

RUN = OpenedRun("run", 1, {"t": 1})
BIG = 400_000  # rows: such shards stand alone in their tasks


def shard(index, rows=BIG):
    slices = (Slice(InputFile(f"f{index}", 1, "v"), rows=rows),)
    return Shard(index, Window(index, index + 1), Reason.NEW, frozenset(), slices)


def result(one, rows=1):
    return ShardResult(one.window, one.observed, one.slices, Accounts(read=rows, loaded=rows), {"t": OutputStat(rows, "0" * 32)})


def ended(task, failures=()):
    failed = {failure.window for failure in failures}
    return ev.TaskEnded(task, tuple(result(one) for one in task.shards if one.window not in failed), tuple(failures))


def receipt_of(commit, conflicts=()):
    outcomes = {one.window: one.outcome for one in commit.request.shards if one.window not in conflicts}
    return ev.GroupCommitted(
        Receipt(commit.request.commit_id, 1, outcomes, tuple(conflicts)), tuple(s.result for s in commit.request.shards), 0.1
    )


def start(shards, *, slots=2, atomic=False, retries=None, divisible=()):
    limits = TaskLimits(slots, 10**9)
    coordinator = Coordinator(RUN, limits, retries or Retries(delay_s=0), atomic=atomic, divisible=frozenset(divisible))
    return coordinator, coordinator.handle(ev.Planned(tuple(shards)), 0.0)


def tasks(commands):
    return [command.task for command in commands if isinstance(command, Dispatch)]


def test_no_more_tasks_are_in_flight_than_there_are_slots():
    coordinator, commands = start([shard(index) for index in range(9)], slots=3)
    assert len(tasks(commands)) == 3
    commands = coordinator.handle(ended(tasks(commands)[0]), 0.1)
    assert len(tasks(commands)) == 1


def committed_by(coordinator, now_s):
    """The numbers of shards in the commits that are begun at a time by itself."""
    return [len(command.request.shards) for command in coordinator.decide(now_s) if isinstance(command, Commit)]


def test_finished_shards_are_committed_together_after_a_while_and_at_once_at_the_end():
    coordinator, commands = start([shard(index) for index in range(4)], slots=2)
    first, second = tasks(commands)
    commands = coordinator.handle(ended(first), 0.1)
    assert not any(isinstance(command, Commit) for command in commands)
    (third,) = tasks(commands)
    (commit,) = [c for c in coordinator.decide(0.1 + COMMIT_INTERVAL_S) if isinstance(c, Commit)]
    assert [one.window for one in commit.request.shards] == [Window(0, 1)]
    coordinator.handle(receipt_of(commit), 1.2)
    (fourth,) = tasks(coordinator.handle(ended(second), 1.3))
    assert not [c for c in coordinator.handle(ended(third), 1.4) if isinstance(c, Commit)]
    (commit,) = [c for c in coordinator.handle(ended(fourth), 1.5) if isinstance(c, Commit)]
    assert len(commit.request.shards) == 3
    assert coordinator.handle(receipt_of(commit), 1.6) == [Finish("done")]


def test_what_is_finished_waits_a_little_longer_for_the_last_tasks_and_no_longer_than_that():
    coordinator, commands = start([shard(0), shard(1), shard(2)], slots=2)
    coordinator.handle(ended(tasks(commands)[0]), 0.1)
    assert committed_by(coordinator, 0.1 + COMMIT_INTERVAL_S) == []
    assert coordinator.next_s == pytest.approx(0.1 + 2 * COMMIT_INTERVAL_S)
    assert committed_by(coordinator, coordinator.next_s) == [1]


@pytest.mark.parametrize(
    ("more", "committed"),
    [
        ({"rows": BUFFERED_ROWS_MAX - 2}, []),
        ({"rows": BUFFERED_ROWS_MAX - 1}, [2]),
        ({"size_bytes": BUFFERED_BYTES_MAX - 2}, []),
        ({"size_bytes": BUFFERED_BYTES_MAX - 1}, [2]),
    ],
)
def test_what_is_finished_waits_no_longer_once_it_is_much_for_memory_and_then_it_is_little_again(more, committed):
    coordinator, commands = start([shard(index) for index in range(6)], slots=3)
    first, second, third = tasks(commands)
    ends = [replace(ended(first), size_bytes=1), ended(second)]
    if "rows" in more:
        ends[1] = replace(ends[1], results=(result(second.shards[0], more["rows"]),))
    else:
        ends[1] = replace(ends[1], **more)
    commands = [command for end in ends for command in coordinator.handle(end, 0.1)]
    commits = [command for command in commands if isinstance(command, Commit)]
    assert [len(one.request.shards) for one in commits] == committed
    for commit in commits:
        coordinator.handle(receipt_of(commit), 0.2)
        assert not any(isinstance(command, Commit) for command in coordinator.handle(ended(third), 0.2))


def test_a_failed_group_is_halved_until_the_poison_shard_stands_alone():
    coordinator, commands = start([shard(index, rows=1) for index in range(8)], slots=8, retries=Retries(attempts=2, delay_s=0))
    sizes, done, pending = [], 0, list(commands)
    while not isinstance(pending[0], Finish):
        match pending.pop(0):
            case Dispatch(task):
                sizes.append(len(task.shards))
                poisoned = any(one.index == 5 for one in task.shards)
                event = ev.TaskFailed(task, "crash", "worker died") if poisoned else ended(task)
                pending += coordinator.handle(event, 1.0)
            case Commit() as commit:
                done += len(commit.request.shards)
                pending += coordinator.handle(receipt_of(commit), 1.0)
        pending += coordinator.decide(1.0)
    assert done == 7
    assert [failure.window for failure in coordinator.failures] == [Window(5, 6)]
    assert coordinator.failures[0].error == "worker died (after 2 attempts)"
    assert max(sizes) == 8
    assert min(sizes) == 1


def short_of_memory(task):
    return ev.TaskFailed(task, "out_of_memory", "too little")


@pytest.mark.parametrize(("divisible", "rooms"), [((), [0, 2]), (("t",), [0, 2, 3, 4])])
def test_no_way_is_repeated_where_memory_ran_out_and_at_the_end_the_shard_fails(divisible, rooms):
    coordinator, commands = start([shard(0)], retries=Retries(attempts=2, delay_s=9.0), divisible=divisible)
    tried = []
    while found := tasks(commands):
        tried += found
        commands = coordinator.handle(short_of_memory(found[0]), 1.0)
    assert [task.room for task in tried] == [Room(room) for room in rooms]
    assert len({task.attempt_id for task in tried}) == len(rooms)
    (failure,) = coordinator.failures
    assert failure.error == f"too little (after {len(rooms)} attempts, each in another way with memory)"


def test_a_group_that_ran_out_of_memory_is_tried_again_as_single_shards():
    coordinator, commands = start([shard(index, rows=1) for index in range(5)], slots=9)
    (group,) = tasks(commands)
    again = tasks(coordinator.handle(short_of_memory(group), 1.0))
    assert [(len(task.shards), task.room) for task in again] == [(1, Room.SHARED)] * 5


def test_a_shard_that_needs_all_of_the_memory_waits_for_the_others_and_they_for_it():
    coordinator, commands = start([shard(index) for index in range(4)], slots=2)
    first, second = tasks(commands)
    (third,) = tasks(coordinator.handle(short_of_memory(first), 0.0))
    (fourth,) = tasks(coordinator.handle(ended(second), 0.0))
    assert tasks(coordinator.handle(short_of_memory(third), 0.0)) == []
    (alone,) = tasks(coordinator.handle(ended(fourth), 0.0))
    assert alone.room is Room.ALONE
    assert tasks(coordinator.decide(0.0)) == []
    (other,) = tasks(coordinator.handle(ended(alone), 0.0))
    assert (other.room, {*alone.shards, *other.shards}) == (Room.ALONE, {*first.shards, *third.shards})


def test_nothing_is_handed_out_beside_a_shard_that_has_all_of_the_memory():
    coordinator, commands = start([shard(0), shard(1)], retries=Retries(delay_s=9.0))
    first, second = tasks(commands)
    coordinator.handle(short_of_memory(first), 0.0)
    (alone,) = tasks(coordinator.handle(ev.TaskFailed(second, "os_error", "the disk"), 1.0))
    assert alone.room is Room.ALONE
    assert tasks(coordinator.decide(11.0)) == []
    (again,) = tasks(coordinator.handle(ended(alone), 12.0))
    assert (again.shards, again.room) == (second.shards, Room.SHARED)


def test_a_shard_whose_worker_died_is_tried_again_with_less_memory_and_as_often_as_retries_say():
    coordinator, commands = start([shard(0)])
    tried = []
    while found := tasks(commands):
        tried += found
        commands = coordinator.handle(ev.TaskFailed(found[0], "worker_died", "killed"), 1.0)
    assert [task.room for task in tried] == [Room.SHARED, Room.SPARING, Room.ALONE]
    assert coordinator.failures[0].error == "killed (after 3 attempts)"


def test_a_shard_that_cannot_be_loaded_fails_alone_and_is_recorded():
    coordinator, commands = start([shard(0), shard(1)])
    first, second = tasks(commands)
    bad = ShardFailure(first.shards[0].window, "rule_broken", "rule r")
    commands = coordinator.handle(ended(first, [bad]), 0.0)
    assert RecordFailures((bad,)) in commands
    (commit,) = [c for c in coordinator.handle(ended(second), 0.0) if isinstance(c, Commit)]
    assert coordinator.handle(receipt_of(commit), 0.0) == [Finish("failed")]
    assert coordinator.counts == (2, 1, 1, 0)


def test_a_conflict_is_planned_again_and_may_turn_out_satisfied():
    coordinator, commands = start([shard(0)])
    (commit,) = [c for c in coordinator.handle(ended(tasks(commands)[0]), 0.0) if isinstance(c, Commit)]
    (replan,) = coordinator.handle(receipt_of(commit, [Window(0, 1)]), 0.0)
    assert isinstance(replan, Replan)
    (commit,) = coordinator.handle(ev.Planned((), (shard(0),), again=True), 0.0)
    assert commit.request.shards[0].outcome is Outcome.SATISFIED
    assert coordinator.handle(receipt_of(commit), 0.0) == [Finish("done")]
    assert coordinator.counts == (1, 0, 0, 1)


def test_a_shard_that_was_planned_again_while_it_was_at_work_is_counted_once():
    coordinator, commands = start([shard(0), shard(1)], slots=4)
    first, other = tasks(commands)
    coordinator.handle(ev.TaskFailed(other, "input_changed", "f1 changed", relist=True), 0.0)
    again, other = tasks(coordinator.handle(ev.Planned((shard(0), shard(1)), again=True), 0.0))
    assert again.shards == first.shards
    for task in (first, again):
        coordinator.handle(ended(task), 0.0)
    (commit,) = [c for c in coordinator.handle(ended(other), 0.0) if isinstance(c, Commit)]
    assert commit.attempts == (first.attempt_id, other.attempt_id)
    (commit,) = coordinator.handle(receipt_of(commit), 0.1)
    assert commit.attempts == (again.attempt_id,)
    coordinator.handle(receipt_of(commit), 0.2)  # it is the same commit, which the ledger tells again
    assert coordinator.rows.read == 2


def test_a_changed_input_is_listed_again_and_not_just_read_again():
    coordinator, commands = start([shard(0)])
    commands = coordinator.handle(ev.TaskFailed(tasks(commands)[0], "input_changed", "f0 changed", relist=True), 0.0)
    assert [type(command) for command in commands] == [Replan]


def test_a_range_that_never_stops_conflicting_fails_with_the_reason():
    coordinator, commands = start([shard(0)])
    for _ in range(CONFLICTS_MAX + 1):
        task = tasks(commands)[0]
        (commit,) = [c for c in coordinator.handle(ended(task), 0.0) if isinstance(c, Commit)]
        commands = coordinator.handle(receipt_of(commit, [Window(0, 1)]), 0.0)
        if isinstance(commands[0], Replan):
            commands = coordinator.handle(ev.Planned((shard(0),), again=True), 0.0)
    assert coordinator.failures[0].code == "conflict"


def test_an_atomic_backfill_commits_once_and_only_when_all_succeeded():
    coordinator, commands = start([shard(index) for index in range(3)], slots=3, atomic=True)
    first, second, third = tasks(commands)
    assert coordinator.handle(ended(first), 0.0) == []
    assert coordinator.decide(100.0) == []
    assert coordinator.handle(ended(second), 100.0) == []
    (commit,) = coordinator.handle(ended(third), 100.0)
    assert commit.request.atomic
    assert len(commit.request.shards) == 3


def test_an_atomic_backfill_with_a_failed_shard_commits_nothing():
    coordinator, commands = start([shard(0), shard(1), shard(2)], slots=2, atomic=True)
    first, second = tasks(commands)
    failure = ShardFailure(first.shards[0].window, "shard", "x")
    commands = coordinator.handle(ended(first, [failure]), 0.0)
    assert tasks(commands) == []
    assert coordinator.handle(ended(second), 0.0) == [Finish("failed")]
    assert coordinator.counts == (3, 0, 1, 2)


@pytest.mark.parametrize(("signal", "status"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
def test_a_signal_stops_dispatch_keeps_what_is_finished_and_ends_resumable(signal, status):
    coordinator, commands = start([shard(index) for index in range(5)], slots=2)
    first, second = tasks(commands)
    (third,) = tasks(coordinator.handle(ended(first), 0.0))
    assert coordinator.handle(ev.StopAsked(signal), 0.1) == []
    assert coordinator.handle(ended(second), 0.2) == []
    (commit,) = coordinator.handle(ended(third), 0.2)
    assert len(commit.request.shards) == 3
    assert coordinator.handle(receipt_of(commit), 0.3) == [Finish(status)]


def test_what_is_abandoned_after_a_signal_does_not_hold_the_run_open():
    coordinator, commands = start([shard(0), shard(1)], slots=2)
    coordinator.handle(ended(tasks(commands)[0]), 0.0)
    coordinator.handle(ev.StopAsked("SIGINT"), 0.1)
    coordinator.abandon()
    (commit,) = coordinator.decide(0.2)
    assert coordinator.handle(receipt_of(commit), 0.3) == [Finish("interrupted")]


def test_adopted_work_is_committed_without_being_done_again():
    coordinator = Coordinator(RUN, TaskLimits(2, 10**9), Retries(), atomic=False)
    other, _ = start([shard(0)])
    task = tasks(start([shard(0)])[1])[0]
    (commit,) = coordinator.handle(ev.Planned((), adopted=(ended(task),)), 0.0)
    assert commit.attempts == (task.attempt_id,)
    assert coordinator.handle(receipt_of(commit), 0.1) == [Finish("done")]
    assert other is not coordinator


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 25), st.integers(1, 4), st.booleans())
def test_every_plan_ends_with_each_shard_committed_or_failed_once(seed, count, slots, atomic):
    rng = random.Random(seed)
    shards = [shard(index, rows=rng.choice([1, BIG])) for index in range(count)]
    coordinator = Coordinator(RUN, TaskLimits(slots, 10**9), Retries(attempts=3, delay_s=0.5), atomic=atomic)
    pending = coordinator.handle(ev.Planned(tuple(shards)), 0.0)
    in_flight, committed, now_s, status = [], {}, 0.0, None
    for _ in range(5000):
        now_s += rng.random()
        if pending:
            command = pending.pop(0)
            match command:
                case Dispatch(task):
                    in_flight.append(task)
                    assert len(in_flight) <= slots
                case Commit():
                    conflicts = tuple(one.window for one in command.request.shards if rng.random() < 0.1)
                    conflicts = tuple(s.window for s in command.request.shards) if atomic and conflicts else conflicts
                    event = receipt_of(command, conflicts)
                    for window in event.receipt.outcomes:
                        assert window not in committed
                        committed[window] = True
                    pending += coordinator.handle(event, now_s)
                case Replan(windows):
                    again = tuple(one for one in shards if one.window in windows)
                    pending += coordinator.handle(ev.Planned(again, again=True), now_s)
                case Finish(status):
                    break
        elif in_flight and rng.random() < 0.8:
            task = in_flight.pop(rng.randrange(len(in_flight)))
            roll = rng.random()
            if roll < 0.1:
                event = ev.TaskFailed(task, "crash", "died")
            elif roll < 0.15:
                event = ev.TaskFailed(task, "input_changed", "changed", relist=True)
            else:
                event = ended(task)
            pending += coordinator.handle(event, now_s)
        else:
            pending += coordinator.decide(now_s)
    assert status in ("done", "failed")
    assert pending == []
    failed = {failure.window for failure in coordinator.failures}
    if atomic:
        assert bool(failed) != (len(committed) == count)
    else:
        assert set(committed) | failed == {one.window for one in shards}
        assert not set(committed) & failed


def refused(error="does not fit", **more):
    return ev.GroupRefused((), "shard", error, **more)


def test_a_group_that_is_refused_is_halved_until_the_shard_that_does_not_fit_stands_alone():
    coordinator, commands = start([shard(index, rows=1) for index in range(8)], slots=8)
    (task,) = tasks(commands)
    pending, sizes = coordinator.handle(ended(task), 0.0), []
    while not isinstance(pending[0], Finish):
        commit = pending.pop(0)
        if isinstance(commit, Commit):
            windows = [one.window for one in commit.request.shards]
            sizes.append(len(windows))
            assert commit.attempts == (task.attempt_id,)
            pending += coordinator.handle(refused() if Window(5, 6) in windows else receipt_of(commit), 0.0)
        pending += coordinator.decide(0.0)
    assert [failure.window for failure in coordinator.failures] == [Window(5, 6)]
    assert coordinator.counts == (8, 7, 1, 0)
    assert sizes == [8, 4, 4, 2, 2, 1, 1]


def test_an_atomic_group_that_is_refused_fails_whole():
    coordinator, commands = start([shard(0), shard(1)], atomic=True)
    coordinator.handle(ended(tasks(commands)[0]), 0.0)
    coordinator.handle(ended(tasks(commands)[1]), 0.0)
    record, *_ = coordinator.handle(refused(), 0.0)
    assert [failure.error for failure in record.failures] == ["does not fit"] * 2
    assert coordinator.decide(0.0) == [Finish("failed")]


def test_a_group_whose_files_were_damaged_is_planned_again():
    coordinator, commands = start([shard(0)])
    coordinator.handle(ended(tasks(commands)[0]), 0.0)
    (replan,) = coordinator.handle(refused(relist=True), 0.0)
    assert (replan.windows, replan.reasons) == ((Window(0, 1),), {Window(0, 1): Reason.NEW})


def test_a_run_that_is_stopped_while_it_plans_again_is_interrupted_and_not_done():
    coordinator, commands = start([shard(0)])
    (replan,) = coordinator.handle(ev.TaskFailed(tasks(commands)[0], "input_changed", "f0 changed", relist=True), 0.0)
    assert isinstance(replan, Replan)
    assert coordinator.handle(ev.StopAsked("SIGINT"), 0.1) == [Finish("interrupted")]
    assert coordinator.counts == (1, 0, 0, 1)


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.01, COMMIT_INTERVAL_S), (2.0, 16.0), (600.0, COMMIT_INTERVAL_MAX_S)])
def test_a_commit_is_followed_by_a_rest_of_some_times_its_duration(took_s, rest_s):
    coordinator, commands = start([shard(index) for index in range(4)], slots=1)
    following = coordinator.handle(ended(tasks(commands)[0]), 0.0)
    (commit,) = [command for command in coordinator.decide(100.0) if isinstance(command, Commit)]
    coordinator.handle(replace(receipt_of(commit), seconds=took_s), 100.0)
    coordinator.handle(ended(tasks(following)[0]), 100.0)
    assert coordinator.next_s == 100.0 + rest_s
    assert not any(isinstance(command, Commit) for command in coordinator.decide(100.0 + rest_s - 0.01))
    assert any(isinstance(command, Commit) for command in coordinator.decide(100.0 + rest_s))


def test_waits_end_in_their_order_and_the_soonest_is_told():
    coordinator, commands = start([shard(0), shard(1)], slots=2, retries=Retries(attempts=3, delay_s=2, factor=5))
    first, second = tasks(commands)
    coordinator.handle(ev.TaskFailed(first, "x", "died"), 0.0)
    coordinator.handle(ev.TaskFailed(second, "x", "died"), 1.0)
    assert coordinator.next_s == 2.0
    assert coordinator.decide(1.9) == []
    assert [one.shards for one in tasks(coordinator.decide(2.0))] == [first.shards]
    assert [one.shards for one in tasks(coordinator.decide(3.5))] == [second.shards]


def test_the_story_of_a_shard_is_told_from_start_to_end():
    coordinator, commands = start([shard(index) for index in range(4)], slots=3)
    one, two, _ = tasks(commands)
    bad = ShardFailure(Window(1, 2), "rule_broken", "rule r")
    coordinator.handle(ended(one), 0.0)
    coordinator.handle(ended(two, [bad]), 0.0)
    stories = [coordinator.story(Window(index, index + 1)).partition("): ")[2] for index in range(4)]
    assert stories == [
        "finished, waits for its commit", "failed: rule r", "being worked on, attempt 1", "being worked on, attempt 1"
    ]  # fmt: skip
    (commit,) = [c for c in coordinator.decide(10.0) if isinstance(c, Commit)]
    coordinator.handle(receipt_of(commit), 10.0)
    assert coordinator.story(Window(0, 1)).endswith("): loaded")
    assert coordinator.story(Window(8, 9)).endswith("): waits")


def test_shards_that_are_done_for_other_outputs_are_commits_of_their_own():
    run = OpenedRun("run", 1, {"t": 1, "u": 4})
    coordinator = Coordinator(run, TaskLimits(4, 10**9), Retries(delay_s=0), atomic=False)
    shards = [replace(shard(0), outputs=("u",)), shard(1), shard(2)]
    commands = coordinator.handle(ev.Planned(tuple(shards), satisfied=(shard(3),)), 0.0)
    stat, committed = OutputStat(1, "0" * 32), []
    for task in tasks(commands):
        results = [replace(result(one), outputs=dict.fromkeys(one.outputs or ("t", "u"), stat)) for one in task.shards]
        commands = coordinator.handle(ev.TaskEnded(task, tuple(results), ()), 0.0)
    while not any(isinstance(one, Finish) for one in commands):
        (commit,) = [one for one in commands if isinstance(one, Commit)]
        committed.append((dict(commit.request.definitions), sorted(one.window.start_us for one in commit.request.shards)))
        commands = coordinator.handle(receipt_of(commit), 1.0)
    assert sorted(committed, key=str) == [({"t": 1, "u": 4}, [1, 2, 3]), ({"u": 4}, [0])]
    assert coordinator.counts[1] == 3


# ---- shards that others work on ---------------------------------------------------------------------------


def held(task, *places, done=()):
    windows = [one.window for one in task.shards]
    return ev.TaskHeld(task, frozenset(windows[place] for place in places), frozenset(windows[place] for place in done))


def test_what_others_work_on_is_left_to_them_and_the_next_shards_are_taken():
    coordinator, commands = start([shard(index) for index in range(4)], slots=1)
    (first,) = tasks(commands)
    commands = coordinator.handle(held(first, 0), 0.0)
    assert [one.shards[0].index for one in tasks(commands)] == [1]
    assert coordinator.next_s == HELD_WAIT_S


def test_the_free_part_of_a_task_is_started_and_what_is_done_is_planned_again_at_once():
    coordinator, commands = start([shard(index, rows=1) for index in range(3)])
    (task,) = tasks(commands)
    commands = coordinator.handle(held(task, 0, done=[2]), 0.0)
    assert [[one.index for one in each.shards] for each in tasks(commands)] == [[1]]
    assert [one.windows for one in commands if isinstance(one, Replan)] == [(Window(2, 3),)]


def test_a_held_shard_is_planned_again_less_and_less_often_and_satisfied_in_the_end():
    coordinator, commands = start([shard(0)])
    now_s, waits = 0.0, []
    for _ in range(7):
        coordinator.handle(held(tasks(commands)[0], 0), now_s)
        waits.append(coordinator.next_s - now_s)
        now_s = coordinator.next_s
        assert coordinator.decide(now_s) == [Replan((Window(0, 1),), {Window(0, 1): Reason.NEW})]
        commands = coordinator.handle(ev.Planned((shard(0),), again=True), now_s)
    assert waits == [HELD_WAIT_S * factor for factor in (1, 2, 4, 8)] + [HELD_WAIT_MAX_S] * 3
    coordinator.handle(held(tasks(commands)[0], 0), now_s)
    assert coordinator.decide(coordinator.next_s) == [Replan((Window(0, 1),), {Window(0, 1): Reason.NEW})]
    (commit,) = coordinator.handle(ev.Planned((), satisfied=(shard(0),), again=True), now_s)
    assert coordinator.handle(receipt_of(commit), now_s) == [Finish("done")]


def test_a_run_that_is_stopped_does_not_wait_for_others():
    coordinator, commands = start([shard(0)])
    coordinator.handle(held(tasks(commands)[0], 0), 0.0)
    assert coordinator.handle(ev.StopAsked("SIGINT"), 0.1) == [Finish("interrupted")]
