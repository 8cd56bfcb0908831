"""The driver does what the coordinator commands, and ends every run in a way that the next one can build on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from raypipe.core import events as ev
from raypipe.core.plan import Scope
from raypipe.core.shard import Outcome, ShardFailure
from raypipe.core.state import RunState
from raypipe.errors import (
    CommitUnknown,
    ConfigurationError,
    DestinationBusy,
    Fenced,
    InDoubt,
    InputChanged,
    Interrupted,
    RetryableError,
    RuleBroken,
    ShardError,
    SourceUnreadable,
    StagedDamaged,
)
from raypipe.ports import Completion
from raypipe.runtime.driver import HEARTBEAT_S
from raypipe.runtime.planner import LISTINGS_MAX
from raypipe.runtime.settling import SETTLE_ATTEMPTS
from raypipe.runtime.stopping import STOP_GRACE_S

ALL = dict.fromkeys(range(4), "v1")


# ---- a run that goes well ---------------------------------------------------------------------------------


def test_a_run_commits_every_shard_once_and_closes(bench):
    closed = bench.run()
    assert (closed.status, closed.planned, closed.committed, closed.failed, closed.skipped) == ("done", 4, 4, 0, 0)
    assert bench.versions() == ALL
    assert bench.record().state is RunState.DONE
    assert closed.watermark_us == bench.ready.window.end_us
    assert closed.window == bench.ready.window
    assert bench.executor.in_flight_max == 2
    assert bench.executor.closed == [True]
    assert bench.told.events[-1] == closed


def test_every_attempt_is_released_once_its_shards_are_committed(bench):
    bench.run()
    assert sorted(bench.stages.released) == [task.task.attempt_id for task in bench.told.of(ev.TaskStarted)]


def test_with_nothing_to_do_no_run_is_opened_and_nothing_is_written(bench):
    bench.run()
    before = bench.plain.snapshot()
    bench.told.events.clear()
    closed = bench.run("r2")
    assert (closed.status, closed.planned) == ("done", 0)
    assert closed.watermark_us == before.watermark_us
    assert bench.plain.snapshot() == before
    assert [type(event) for event in bench.told.events] == [ev.Planned, ev.RunClosed]


def test_runs_that_a_dead_process_left_open_are_named(bench, monkeypatch):
    driver = bench.driver()
    bench.destination.open_run(replace(driver._opening, run_id="r0", holder="dead"))
    monkeypatch.setattr("raypipe.destinations.memory.is_dead", lambda holder: holder == "dead")
    driver.run()
    assert bench.told.of(ev.Warned)[0].text == "run r0 was left open by a process that is gone; it was closed"


def test_a_mistake_that_only_an_engine_finds_is_told_before_a_run_is_opened(bench):
    def prepare():
        raise ConfigurationError("no such column")

    with pytest.raises(ConfigurationError):
        bench.run(prepare=prepare)
    assert bench.record() is None
    assert bench.executor.closed == [True]


# ---- plans that fail --------------------------------------------------------------------------------------


def test_a_plan_of_failures_only_is_recorded_and_commits_nothing(bench):
    bench.run()
    del bench.source.versions[2]
    closed = bench.run("r2")
    assert (closed.status, closed.planned, closed.committed, closed.failed) == ("failed", 1, 0, 1)
    assert [failure.code for failure in closed.failures] == ["source_shrunk"]
    assert bench.versions() == ALL
    assert [failed.run_id for failed in bench.plain.snapshot().failed] == ["r2"]
    assert bench.record("r2").state is RunState.FAILED


def test_a_file_that_cannot_be_read_fails_all_that_was_planned_by_name_and_nothing_is_committed(bench):
    bench.source.scan_errors = {1: [SourceUnreadable("f01 is truncated")], 2: [SourceUnreadable("f02 too")]}
    closed = bench.run()
    assert (closed.status, closed.committed, closed.failed) == ("failed", 0, 4)
    assert {failure.code for failure in closed.failures} == {"source_unreadable"}
    assert closed.failures[0].error.startswith("f01 is truncated (and 1 more file); its rows may belong to any shard")
    assert bench.versions() == {}
    assert bench.run("r2").status == "done"
    assert bench.versions() == ALL


def test_a_new_file_that_cannot_be_read_does_not_fail_what_is_done_but_is_told(bench):
    bench.run()
    bench.source.versions[9] = "v1"
    bench.source.scan_errors = {9: [SourceUnreadable("f09 is truncated")]}
    with pytest.raises(SourceUnreadable, match=r"^f09 is truncated; its rows may belong to any shard"):
        bench.run("r2")
    assert bench.plain.snapshot().failed == ()
    assert bench.record("r2") is None


def test_a_file_that_is_being_written_is_listed_again_until_it_stands_still(bench):
    bench.source.scan_errors = {3: [InputChanged("f03 changed"), InputChanged("f03 changed")]}
    started_s = bench.clock.now_s
    assert bench.run().status == "done"
    assert bench.source.listings == 3
    assert bench.source.scans.count("f03") == 3
    assert bench.source.scans.count("f00") == 1
    assert bench.clock.now_s - started_s >= 0.75


def test_a_file_that_never_stands_still_fails_what_was_planned(bench):
    bench.source.scan_errors = {3: [InputChanged("f03 changed")] * LISTINGS_MAX}
    closed = bench.run()
    assert (closed.status, closed.failed) == ("failed", 4)
    assert {failure.code for failure in closed.failures} == {"input_changed"}


def test_a_scan_whose_worker_died_is_done_again(bench):
    bench.source.scan_errors = {0: [RetryableError("worker died"), MemoryError()]}
    assert bench.run().status == "done"
    assert bench.source.scans.count("f00") == 3


def test_a_scan_that_never_succeeds_names_its_file(bench):
    bench.source.scan_errors = {0: [OSError("disk")] * 3}
    closed = bench.run()
    assert closed.failures[0].error.startswith("f00 could not be read for the index: OSError: disk; its rows")


def test_a_scan_that_finds_the_configuration_wrong_ends_the_run_before_it_opens(bench):
    bench.source.scan_errors = {0: [ConfigurationError("no such time format")]}
    with pytest.raises(ConfigurationError):
        bench.run()
    assert bench.record() is None
    assert bench.executor.closed == [True]


# ---- work that fails --------------------------------------------------------------------------------------


def test_a_task_is_tried_again_after_growing_waits(bench):
    bench.executor.script = {2: [RetryableError("disk full"), OSError("cut off")]}
    assert bench.run().status == "done"
    times = [at_s - 1000.0 for at_s, task in bench.executor.attempts if task == [2]]
    assert times[0] == 0.0
    assert times[1] == pytest.approx(1.0, abs=0.3)
    assert times[2] == pytest.approx(times[1] + 4.0, abs=0.3)
    assert bench.versions() == ALL
    assert [event.error for event in bench.told.of(ev.TaskFailed)] == ["disk full", "OSError: cut off"]


def test_a_task_that_never_succeeds_fails_its_shard_and_the_others_are_committed(bench):
    bench.executor.script = {2: [RetryableError("disk full")] * 3}
    closed = bench.run()
    assert (closed.status, closed.committed) == ("failed", 3)
    assert [(failure.code, failure.error) for failure in closed.failures] == [("retryable", "disk full (after 3 attempts)")]
    assert [failed.error for failed in bench.plain.snapshot().failed] == ["disk full (after 3 attempts)"]
    assert bench.record().state is RunState.FAILED
    bench.told.events.clear()
    assert bench.run("r2").status == "done"
    assert [(shard.index, shard.reason) for shard in bench.told.of(ev.Planned)[0].shards] == [(2, "failed")]
    assert bench.plain.snapshot().failed == ()


def test_what_doing_again_would_not_help_is_not_done_again(bench):
    bench.executor.script = {2: [ConfigurationError("the step changed")]}
    closed = bench.run()
    assert [(failure.code, failure.error) for failure in closed.failures] == [("configuration", "the step changed")]
    assert len([task for _, task in bench.executor.attempts if task == [2]]) == 1


def test_data_that_breaks_a_rule_fails_its_shard_and_is_not_read_again(bench, leave):
    def broken(task):
        return replace(leave(task, ()), failures=(ShardFailure(task.shards[0].window, "rule_broken", "r"),))

    bench.executor.script = {1: [broken]}
    closed = bench.run()
    assert (closed.committed, [failure.code for failure in closed.failures]) == (3, ["rule_broken"])
    assert len(bench.stages.released) == 4


def test_a_file_that_changed_while_it_was_read_is_listed_and_read_again(bench):
    def changes(task):
        bench.source.versions[1] = "v2"
        raise InputChanged("f01 changed")

    bench.executor.script = {1: [changes]}
    assert bench.run().status == "done"
    assert bench.versions() == {**ALL, 1: "v2"}
    assert bench.source.listings == 2
    assert [event.again for event in bench.told.of(ev.Planned)] == [False, True]


def test_an_overdue_task_is_given_up_and_its_late_result_is_ignored(bench, leave):
    bench.executor.script = {0: ["hang"]}

    def finish_late(event):
        bench.executor.late = [Completion(key, leave(task)) for key, task in bench.executor.hanging]

    bench.told.when(ev.TaskFailed, finish_late)
    assert bench.run().status == "done"
    assert [(event.code, event.error) for event in bench.told.of(ev.TaskFailed)] == [
        ("timeout", "it took longer than run.shard_timeout (60 s)")
    ]
    assert bench.executor.given_up == [key for key, _ in bench.executor.hanging]
    assert len(bench.told.of(ev.TaskEnded)) == 4
    assert bench.versions() == ALL


def test_a_task_that_waits_for_workers_is_not_overdue_however_long_others_have_them(bench):
    bench.executor.script = {0: ["hang"]}
    bench.executor.others_s = bench.clock.monotonic_s() + 3_600
    assert bench.run().status == "done"
    assert [event.code for event in bench.told.of(ev.TaskFailed)] == ["timeout"]
    assert bench.clock.monotonic_s() > bench.executor.others_s


def test_an_end_that_nobody_planned_for_closes_run_and_executor(bench, wrap):
    def breaks(commit, request, staged):
        raise KeyError("a bug")

    wrap(commit=breaks)
    with pytest.raises(KeyError):
        bench.run()
    assert bench.record().state is RunState.FAILED
    assert bench.executor.closed == [True]


# ---- other runs -------------------------------------------------------------------------------------------


def test_a_run_that_loses_a_race_finds_its_shards_satisfied(bench):
    bench.told.when(ev.TaskEnded, lambda event: bench.other_run())
    closed = bench.run()
    assert (closed.status, closed.planned, closed.committed, closed.skipped) == ("done", 4, 0, 4)
    assert bench.versions() == ALL
    outcomes = [entry.outcome for entry in bench.plain.store.pipelines["p"].ledger if entry.run_id == "r1"]
    assert outcomes == [Outcome.SATISFIED] * 4


def test_a_run_that_loses_a_race_reads_again_what_the_other_read_before_it_changed(bench):
    def other(event):
        bench.other_run()
        bench.source.versions[2] = "v2"

    bench.told.when(ev.TaskEnded, other)
    closed = bench.run()
    assert (closed.status, closed.committed, closed.skipped) == ("done", 1, 3)
    assert bench.versions() == {**ALL, 2: "v2"}


def test_a_run_that_is_cancelled_is_fenced_and_nothing_more_lands(bench):
    bench.told.when(ev.TaskEnded, lambda event: bench.plain.cancel(None))
    with pytest.raises(Fenced) as raised:
        bench.run()
    assert raised.value.exit_code == 3
    assert bench.versions() == {}
    assert bench.record().state is RunState.CANCELLED
    assert bench.executor.closed == [True]


def test_a_run_that_is_cancelled_before_its_failures_are_recorded_is_fenced(bench):
    bench.executor.script = {hour: [ConfigurationError("wrong")] for hour in range(4)}
    bench.told.when(ev.TaskEnded, lambda event: bench.plain.cancel(None))
    with pytest.raises(Fenced):
        bench.run()
    assert bench.plain.snapshot().failed == ()


def test_the_owner_says_that_it_is_alive_while_it_waits(bench, wrap):
    bench.executor.script = {0: ["hang"]}
    beats = []
    wrap(heartbeat=lambda beat, *who: (beats.append(bench.clock.now_s), beat(*who)))
    bench.run()
    assert len(beats) >= 3
    assert all(later - earlier < HEARTBEAT_S + 1 for earlier, later in itertools.pairwise(beats))


def test_a_heartbeat_that_is_fenced_ends_a_run_that_only_waits(bench):
    bench.executor.script = {hour: ["hang"] for hour in range(4)}
    bench.clock.at = [(1005.0, lambda: bench.plain.cancel(None))]
    with pytest.raises(Fenced):
        bench.run()
    assert bench.clock.now_s < 1000 + HEARTBEAT_S + 2


def test_a_heartbeat_that_finds_the_destination_busy_is_let_go(bench, wrap):
    bench.executor.script = {0: ["hang"]}

    def busy(beat, *who):
        raise DestinationBusy("held by process 7")

    wrap(heartbeat=busy)
    assert bench.run().status == "done"


# ---- commits that do not answer ---------------------------------------------------------------------------


def test_a_commit_whose_answer_was_lost_is_settled_by_the_ledger(bench, wrap):
    lost = []

    def loses_one(commit, request, staged):
        receipt = commit(request, staged)
        if not lost:
            lost.append(receipt)
            raise CommitUnknown("connection reset")
        return receipt

    wrap(commit=loses_one)
    closed = bench.run()
    assert (closed.status, closed.committed, closed.rows.read) == ("done", 4, 4)
    assert bench.versions() == ALL
    assert bench.plain.snapshot().commit_seq == 1
    assert [event.text for event in bench.told.of(ev.Warned)] == ["connection reset; trying again"]


def test_a_commit_that_is_never_known_is_in_doubt_and_the_next_run_settles_it(bench, wrap):
    asked = []

    def loses_all(commit, request, staged):
        asked.append(request.commit_id)
        commit(request, staged)
        raise CommitUnknown("connection reset")

    wrap(commit=loses_all)
    with pytest.raises(InDoubt, match="connection reset") as raised:
        bench.run()
    assert raised.value.exit_code == 4
    assert asked == asked[:1] * SETTLE_ATTEMPTS
    assert bench.record().state is RunState.OPEN
    bench.destination = bench.plain
    assert bench.run("r2").planned == 0
    assert bench.versions() == ALL


def test_a_destination_that_is_busy_for_a_while_is_asked_again(bench, wrap):
    answers = [DestinationBusy("held by process 7")] * 3

    def busy(commit, request, staged):
        if answers:
            raise answers.pop()
        return commit(request, staged)

    wrap(commit=busy)
    started_s = bench.clock.now_s
    assert bench.run().status == "done"
    assert bench.clock.now_s - started_s == pytest.approx(1 + 2 + 4, abs=0.5)
    assert [event.text for event in bench.told.of(ev.Warned)] == ["held by process 7; trying again"] * 3


def test_a_destination_that_stays_busy_ends_the_run_with_its_own_words(bench, wrap):
    def busy(commit, request, staged):
        raise DestinationBusy("held by process 7")

    wrap(commit=busy)
    with pytest.raises(DestinationBusy, match="held by process 7"):
        bench.run()
    assert 100 < bench.clock.now_s - 1000 < 180
    assert bench.executor.closed == [True]


@pytest.mark.parametrize("method", ["close_run", "record_failures", "snapshot"])
def test_every_question_to_the_destination_of_an_open_run_is_asked_again(bench, wrap, method):
    answers = [DestinationBusy("held"), CommitUnknown("reset")]

    def busy(ask, *arguments):
        if answers and bench.told.of(ev.RunOpened):
            raise answers.pop()
        return ask(*arguments)

    bench.executor.script = {0: [ConfigurationError("wrong")], 1: [InputChanged("changed")]}
    wrap(**{method: busy})
    closed = bench.run()
    assert (closed.committed, closed.failed) == (3, 1)
    assert answers == []


def test_a_stop_ends_the_waiting_for_a_busy_destination(bench, wrap):
    def busy(commit, request, staged):
        bench.stop.signal = "SIGTERM"
        raise DestinationBusy("held by process 7")

    wrap(commit=busy)
    with pytest.raises(Interrupted, match="held by process 7"):
        bench.run()
    assert bench.clock.now_s - 1000 < STOP_GRACE_S + 2


def test_a_second_stop_while_the_outcome_is_unknown_leaves_it_in_doubt(bench, wrap):
    def unknown(commit, request, staged):
        bench.stop.signal, bench.stop.at_once = "SIGINT", True
        raise CommitUnknown("reset")

    wrap(commit=unknown)
    with pytest.raises(InDoubt):
        bench.run()


def test_a_group_with_a_shard_that_the_destination_refuses_commits_the_others(bench, wrap):
    def refuses(commit, request, staged):
        if any(shard.window.start_us == 0 for shard in request.shards):
            raise ShardError("column amount: the table has BIGINT, this brings VARCHAR")
        return commit(request, staged)

    wrap(commit=refuses)
    closed = bench.run()
    assert (closed.status, closed.committed, closed.failed) == ("failed", 3, 1)
    assert closed.failures[0].error == "column amount: the table has BIGINT, this brings VARCHAR"
    assert bench.versions() == dict.fromkeys(range(1, 4), "v1")
    assert len(bench.stages.released) == 4


def test_staged_files_that_were_damaged_are_made_again(bench, wrap):
    damaged = [StagedDamaged("t.parquet was damaged")]

    def damages(commit, request, staged):
        if damaged:
            raise damaged.pop()
        return commit(request, staged)

    wrap(commit=damages)
    assert bench.run().status == "done"
    assert bench.versions() == ALL
    assert len(bench.executor.attempts) == 8
    assert [event.text for event in bench.told.of(ev.Warned)] == ["t.parquet was damaged; the work is done again"]


def test_files_that_are_damaged_while_an_outcome_is_unknown_do_not_make_it_a_refusal(bench, wrap):
    answers = [CommitUnknown("reset"), StagedDamaged("t.parquet was damaged")]

    def commits_and_loses_the_answer(commit, request, staged):
        if len(answers) == 2:
            commit(request, staged)
        raise answers.pop(0)

    wrap(commit=commits_and_loses_the_answer)
    with pytest.raises(InDoubt, match="parquet was damaged"):
        bench.run()
    assert bench.versions() == ALL
    assert len(bench.executor.attempts) == 4


# ---- atomic -----------------------------------------------------------------------------------------------


def test_an_atomic_backfill_with_a_failing_shard_commits_nothing(bench):
    bench.run()
    bench.source.versions.update(dict.fromkeys(range(4), "v2"))
    bench.executor.script = {3: [RuleBroken("r")]}
    closed = bench.run("r2", scope=Scope.ALL, atomic=True)
    assert (closed.status, closed.committed, closed.failed, closed.skipped) == ("failed", 0, 1, 3)
    assert bench.versions() == ALL


def test_an_atomic_backfill_is_committed_in_one_transaction(bench):
    bench.run()
    bench.source.versions.update(dict.fromkeys(range(4), "v2"))
    closed = bench.run("r2", scope=Scope.ALL, atomic=True)
    assert (closed.status, closed.committed) == ("done", 4)
    assert bench.plain.snapshot().commit_seq == 2
    assert bench.versions() == dict.fromkeys(range(4), "v2")


def test_a_conflict_of_one_shard_plans_all_of_an_atomic_backfill_again(bench):
    bench.run()
    bench.source.versions.update(dict.fromkeys(range(4), "v2"))

    def other(event):
        bench.source.versions[3] = "v3"
        bench.other_run()

    bench.told.when(ev.TaskEnded, other)
    closed = bench.run("r2", scope=Scope.ALL, atomic=True)
    assert closed.status == "done"
    assert [sorted(window.start_us for window in (s.window for s in event.shards)) for event in bench.told.of(ev.Planned)][-1] == []
    assert bench.versions() == {**dict.fromkeys(range(4), "v2"), 3: "v3"}


def test_an_atomic_backfill_that_is_refused_fails_whole(bench, wrap):
    def refuses(commit, request, staged):
        raise ShardError("does not fit")

    wrap(commit=refuses)
    closed = bench.run(scope=Scope.ALL, atomic=True)
    assert (closed.status, closed.failed) == ("failed", 4)
    assert bench.versions() == {}


# ---- adopted work -----------------------------------------------------------------------------------------


def test_adopted_work_is_told_committed_and_not_done_again(bench, leave):
    bench.stages.left = [leave, leave]
    closed = bench.run()
    assert (closed.status, closed.planned, closed.committed, closed.rows.read) == ("done", 4, 4, 4)
    assert bench.versions() == ALL
    assert sorted(task for _, task in bench.executor.attempts) == [[2], [3]]
    (adopted,) = bench.told.of(ev.Adopted)
    assert [result.window.start_us for one in adopted.ended for result in one.results] == [
        0,
        bench.ready.cells(bench.ready.window)[1].start_us,
    ]
    assert "900000-1-0" in bench.stages.released


def test_an_atomic_backfill_commits_adopted_work_with_the_rest(bench, leave):
    bench.stages.left = [leave]
    assert bench.run(scope=Scope.ALL, atomic=True).committed == 4
    assert bench.plain.snapshot().commit_seq == 1


@pytest.mark.parametrize("atomic", [False, True])
def test_work_of_an_earlier_run_that_the_destination_refuses_is_done_again(bench, leave, atomic):
    def unbalanced(task):
        left = leave(task)
        (result,) = left.results
        return replace(left, results=(replace(result, accounts=replace(result.accounts, read=9)),))

    bench.stages.left = [unbalanced]
    closed = bench.run(scope=Scope.ALL, atomic=atomic)
    assert (closed.status, closed.committed, closed.failed) == ("done", 4, 0)
    assert bench.versions() == ALL
    assert {hour for _, hours in bench.executor.attempts for hour in hours} == {0, 1, 2, 3}


# ---- stopping ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signal", "status"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
def test_a_stop_while_files_are_scanned_opens_no_run(bench, signal, status):
    bench.told.when(ev.FileScanned, lambda event: setattr(bench.stop, "signal", signal))
    closed = bench.run()
    assert (closed.status, closed.committed) == (status, 0)
    assert bench.record() is None
    assert bench.executor.closed == [True]


def test_a_stop_when_all_is_planned_opens_no_run(bench):
    bench.told.when(ev.Planned, lambda event: setattr(bench.stop, "signal", "SIGINT"))
    closed = bench.run()
    assert (closed.status, closed.planned, closed.skipped) == ("interrupted", 4, 4)
    assert bench.record() is None


def test_a_stop_when_nothing_is_to_do_is_a_run_that_is_done(bench):
    bench.run()
    bench.told.when(ev.Planned, lambda event: setattr(bench.stop, "signal", "SIGINT"))
    assert bench.run("r2").status == "done"


def test_a_stop_while_work_goes_on_commits_what_ends_and_starts_nothing(bench):
    bench.told.when(ev.TaskStarted, lambda event: setattr(bench.stop, "signal", "SIGINT"))
    closed = bench.run()
    assert (closed.status, closed.planned, closed.committed, closed.skipped) == ("interrupted", 4, 2, 2)
    assert bench.record().state is RunState.FAILED
    assert [event.signal for event in bench.told.of(ev.StopAsked)] == ["SIGINT"]
    bench.stop.signal = None
    assert bench.run("r2").committed == 2
    assert bench.versions() == ALL


def test_work_that_does_not_end_within_the_grace_is_left(bench):
    bench.executor.script = {0: ["hang"]}
    bench.told.when(ev.TaskStarted, lambda event: setattr(bench.stop, "signal", "SIGINT"))
    closed = bench.run()
    assert closed.status == "interrupted"
    assert closed.committed >= 1
    assert 0 not in bench.versions()
    assert STOP_GRACE_S < bench.clock.now_s - 1000 < STOP_GRACE_S + 2


def test_a_stop_while_a_group_is_committed_lets_the_commit_end(bench, wrap):
    def stopped(commit, request, staged):
        bench.stop.signal = "SIGINT"
        return commit(request, staged)

    wrap(commit=stopped)
    closed = bench.run()
    assert (closed.status, closed.committed) == ("done", 4)


def test_a_stop_while_files_are_listed_again_ends_the_run_resumable(bench):
    def changes(task):
        bench.source.versions[1] = "v2"
        raise InputChanged("f01 changed")

    bench.executor.script = {1: [changes]}
    bench.told.when(ev.ScanStarted, lambda event: None)
    bench.told.when(ev.ScanStarted, lambda event: setattr(bench.stop, "signal", "SIGTERM"))
    closed = bench.run()
    assert (closed.status, closed.planned) == ("terminated", 4)
    assert 1 not in bench.versions()
    bench.stop.signal = None
    assert bench.run("r2").status == "done"
    assert bench.versions() == {**ALL, 1: "v2"}


def test_a_task_that_was_to_follow_when_a_stop_came_is_not_started(bench, leave):
    """The first of two tasks that end at once makes the run list the source again, and meanwhile it is told to stop."""
    bench.executor.script = {0: ["hang"], 1: ["hang"]}

    def end_both():
        (first, _), (second, task) = bench.executor.hanging
        bench.source.versions[0] = "v2"
        bench.executor.late = [Completion(first, error=InputChanged("f00 changed")), Completion(second, leave(task))]

    bench.clock.at = [(bench.clock.now_s + 1, end_both)]
    bench.told.when(ev.ScanStarted, lambda event: None)
    bench.told.when(ev.ScanStarted, lambda event: setattr(bench.stop, "signal", "SIGINT"))
    assert bench.run().status == "interrupted"
    assert [hours for _, hours in bench.executor.attempts] == [[0], [1], [2]]
    assert bench.versions() == {1: "v1", 2: "v1"}


def test_a_second_stop_ends_at_once_and_leaves_the_run_for_the_next_to_close(bench):
    bench.executor.script = {0: ["hang"]}

    def twice(event):
        bench.stop.signal, bench.stop.at_once = "SIGINT", True

    bench.told.when(ev.TaskStarted, twice)
    with pytest.raises(Interrupted):
        bench.run()
    assert bench.clock.now_s - 1000 < 1
    assert bench.executor.closed == [True]
    assert bench.record().state is RunState.OPEN


def test_a_second_stop_while_files_are_scanned_ends_at_once(bench):
    def twice(event):
        bench.stop.signal, bench.stop.at_once = "SIGINT", True

    bench.told.when(ev.FileScanned, twice)
    with pytest.raises(Interrupted):
        bench.run()
    assert bench.executor.closed == [True]


def test_a_run_that_was_cancelled_while_it_stopped_is_interrupted_all_the_same(bench, wrap):
    bench.told.when(ev.TaskStarted, lambda event: setattr(bench.stop, "signal", "SIGINT"))

    def cancelled(close, *who):
        bench.plain.cancel(None)
        return close(*who)

    wrap(close_run=cancelled)
    assert bench.run().status == "interrupted"
