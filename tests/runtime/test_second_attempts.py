"""The driver starts second attempts, gives up those that lost, and keeps neither files nor claims of them."""

from __future__ import annotations

import pytest

from raypipe.core import events as ev
from raypipe.core.claims import Claimant
from raypipe.core.state import RunState
from raypipe.destinations.file_claims import FileClaims
from raypipe.ports import Completion
from raypipe.runtime.stopping import STOP_GRACE_S

ALL = dict.fromkeys(range(4), "v1")
OTHER = Claimant("other", "elsewhere:2:1.0")
SLOW = 3  # the hour whose first attempt takes long


@pytest.fixture
def bench(bench):
    bench.executor.slots = 2
    bench.executor.has_workers_apart = True
    bench.executor.script = {SLOW: ["hang"]}
    return bench


def attempts(bench):
    """The names of the first attempt at the slow hour and of the second."""
    (second,) = [one.task for one in bench.told.of(ev.TaskStarted) if one.task.beside]
    return second.beside, second.attempt_id


def when_second(bench, kind, act):
    """Act on the first event of a kind that is about the second attempt."""

    def look(event):
        if event.task.beside:
            act(event)
        else:
            bench.told.when(kind, look)

    bench.told.when(kind, look)


def end_hanging(bench, leave, *, backwards=False):
    """Let the attempts that hang end in one moment."""
    found = [Completion(key, leave(task)) for key, task in bench.executor.hanging]
    bench.executor.late = found[::-1] if backwards else found


def test_a_run_with_a_task_that_never_ends_is_done_by_a_second_attempt(bench):
    closed = bench.run()
    first, second = attempts(bench)
    assert (closed.status, closed.committed, closed.rows.read) == ("done", 4, 4)
    assert bench.versions() == ALL
    assert bench.record().state is RunState.DONE
    assert bench.executor.given_up == [first]
    assert {one.task.attempt_id for one in bench.told.of(ev.TaskEnded)} == {*bench.stages.released}
    assert second in bench.stages.released
    assert bench.clock.now_s < 1030


def test_who_watches_is_told_what_the_second_attempt_is_for(bench):
    bench.run()
    (slow,) = [one.straggler for one in bench.told.of(ev.TaskStarted) if one.straggler]
    assert slow.task.attempt_id == attempts(bench)[0]
    assert slow.seconds > 10


@pytest.mark.parametrize("before", [True, False])
def test_of_two_attempts_that_end_at_once_one_counts_and_the_files_of_the_other_are_removed(bench, leave, before):
    bench.executor.script[SLOW].append("hang")

    def both(event):
        bench.clock.at = [(bench.clock.now_s + 1, lambda: end_hanging(bench, leave, backwards=not before))]

    when_second(bench, ev.TaskStarted, both)
    closed = bench.run()
    winner, loser = attempts(bench) if before else reversed(attempts(bench))
    assert (closed.status, closed.committed, closed.rows.read) == ("done", 4, 4)
    assert bench.versions() == ALL
    ended = [one.task.attempt_id for one in bench.told.of(ev.TaskEnded)]
    assert winner in ended
    assert loser not in ended
    assert {winner, loser} <= {*bench.stages.released}
    entries = bench.plain.store.pipelines["p"].ledger
    assert winner in [entry.shard.attempt_id for entry in entries]
    assert loser not in [entry.shard.attempt_id for entry in entries]


def test_a_second_attempt_that_fails_leaves_the_first_at_work(bench, leave):
    bench.executor.script[SLOW].append(OSError("disk"))
    bench.told.when(ev.TaskFailed, lambda _: end_hanging(bench, leave))
    assert bench.run().status == "done"
    assert bench.versions() == ALL
    assert bench.executor.given_up == []
    assert len([one for one in bench.executor.attempts if one[1] == [SLOW]]) == 2


def test_the_time_limit_of_shards_holds_for_both_attempts(bench):
    bench.executor.script[SLOW].append("hang")
    closed = bench.run()
    assert (closed.status, closed.committed) == ("done", 4)
    first, second = attempts(bench)
    assert bench.executor.given_up == [first, second]
    assert [one.code for one in bench.told.of(ev.TaskFailed)] == ["timeout"] * 2
    assert len([one for one in bench.executor.attempts if one[1] == [SLOW]]) == 3


def test_a_run_that_is_stopped_leaves_both_attempts_after_the_grace(bench):
    bench.executor.script[SLOW].append("hang")
    when_second(bench, ev.TaskStarted, lambda _: setattr(bench.stop, "signal", "SIGINT"))
    assert bench.run().status == "interrupted"
    assert len(bench.executor.hanging) == 2
    assert bench.versions() == {hour: "v1" for hour in range(4) if hour != SLOW}
    assert bench.clock.now_s < 1030 + STOP_GRACE_S


class TestClaims:
    @pytest.fixture(autouse=True)
    def claims(self, bench, tmp_path):
        bench.claims = FileClaims(str(tmp_path / "claims.sqlite"), "p", bench.clock)
        return bench.claims

    def test_the_run_is_not_kept_from_its_own_shards_and_holds_none_of_them_afterwards(self, bench, claims, window_of):
        assert bench.run().status == "done"
        assert bench.told.of(ev.TaskHeld) == []
        assert bench.told.of(ev.Warned) == []
        assert claims.take(OTHER, "1", {window_of(hour): claims.mark() for hour in range(4)}) is None

    def test_what_the_attempt_that_lost_held_is_free_once_the_other_is_committed(self, bench, claims, window_of):
        free = []
        bench.told.when(ev.RunClosed, lambda _: free.append(claims.take(OTHER, "1", {window_of(SLOW): claims.mark()})))
        bench.run()
        assert free == [None]

    def test_others_hear_that_the_shard_is_done_when_it_is_committed_and_not_before(self, bench, claims, window_of):
        heard = []
        when_second(bench, ev.TaskEnded, lambda _: heard.append(claims.take(OTHER, "1", {window_of(SLOW): claims.mark()})))
        bench.run()
        assert heard[0].held == {window_of(SLOW)}
        assert claims.take(OTHER, "1", {window_of(SLOW): 0}).done == {window_of(SLOW)}

    def test_a_shard_that_another_run_took_meanwhile_has_no_second_attempt(self, bench, claims, window_of, leave):
        """The run's own claim was lost."""

        def lose(_event):
            claims.release("r1", None, done=False)
            claims.take(OTHER, "1", {window_of(SLOW): 0})
            bench.clock.at = [(1040.0, lambda: end_hanging(bench, leave))]

        bench.told.when(ev.TaskEnded, lambda _: bench.told.when(ev.GroupCommitted, lose))
        assert bench.run().status == "done"
        assert len(bench.told.of(ev.TaskHeld)) == 1
        assert [one for one in bench.told.of(ev.TaskStarted) if one.task.beside] == []
        assert bench.versions() == ALL
