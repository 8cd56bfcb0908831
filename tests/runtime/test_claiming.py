"""Runs at the same time share out their shards, wait for each other, and do nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe.core import events as ev
from raypipe.core.calendar import Calendar, Width
from raypipe.core.claims import Claimant
from raypipe.core.plan import Scope
from raypipe.core.shard import Outcome
from raypipe.destinations.file_claims import FileClaims
from raypipe.errors import CommitUnknown
from raypipe.ports import StopFlag
from raypipe.runtime.claiming import Claiming

ALL = dict.fromkeys(range(4), "v1")
OTHER = Claimant("other", "elsewhere:2:1.0")


@pytest.fixture
def claims(bench, tmp_path):
    bench.claims = FileClaims(str(tmp_path / "claims.sqlite"), "p", bench.clock)
    return bench.claims


def run_in_wider_shards(bench):
    """Fill the table with live ranges of two hours; shards are of one hour again afterwards."""
    narrow = bench.ready
    bench.ready = replace(narrow, calendar=Calendar(0, Width(2, "h")))
    assert bench.run("wide").committed == 2
    bench.ready = narrow


def test_a_shard_that_another_run_works_on_is_left_to_it_and_is_satisfied(bench, claims, window_of):
    other = window_of(1)
    claims.take(OTHER, "1", {other: 0})

    def finish(_):
        claims.release("other", "1", done=False)
        bench.other_run("r2")

    bench.told.when(ev.TaskHeld, finish)
    closed = bench.run()
    assert (closed.status, closed.planned, closed.failed) == ("done", 4, 0)
    assert bench.versions() == ALL
    done = [entry.outcome for entry in bench.plain.store.pipelines["p"].ledger]
    assert done.count(Outcome.LOADED) == 4
    assert done.count(Outcome.SATISFIED) == 4 - closed.committed
    assert bench.told.of(ev.Warned)[0].text.startswith("run other (elsewhere:2:1.0) works on some of these shards")


def test_what_another_run_finished_since_the_plan_is_not_done_again(bench, claims):
    bench.told.when(ev.RunOpened, lambda _: bench.other_run("r2"))
    closed = bench.run()
    assert (closed.status, closed.committed, closed.skipped) == ("done", 0, 4)
    assert bench.executor.attempts == []
    assert bench.versions() == ALL


def test_a_run_holds_nothing_after_its_end(bench, claims, window_of):
    bench.run()
    assert claims.take(OTHER, "1", {window_of(0): claims.mark()}) is None


def test_a_task_that_fails_lets_go_of_its_shards(bench, claims, window_of):
    bench.executor.script[0] = [OSError("disk")]
    taken = []
    bench.told.when(ev.TaskFailed, lambda event: taken.append(claims.take(OTHER, "1", {event.task.shards[0].window: 10})))
    bench.told.when(ev.TaskHeld, lambda _: claims.release("other", "1", done=False))
    assert bench.run().status == "done"
    assert taken == [None]


def test_an_atomic_run_waits_for_another_one_and_plans_afterwards(bench, claims):
    whole = bench.ready.window
    claims.take(Claimant("other", "elsewhere:2:1.0", atomic=True), "run", {whole: 0})
    bench.told.when(ev.Warned, lambda _: (claims.release("other", None, done=True), bench.other_run("r2")))
    closed = bench.run(scope=Scope.DUE, atomic=True)
    assert (closed.status, closed.planned) == ("done", 0)
    assert bench.versions() == ALL


def test_an_atomic_run_that_is_stopped_while_it_waits_opens_nothing(bench, claims):
    claims.take(Claimant("other", "elsewhere:2:1.0", atomic=True), "run", {bench.ready.window: 0})
    bench.told.when(ev.Warned, lambda _: setattr(bench.stop, "signal", "SIGINT"))
    closed = bench.run(atomic=True)
    assert closed.status == "interrupted"
    assert bench.record() is None


def test_shards_of_an_atomic_run_are_left_to_it_by_others(bench, claims):
    """The other run holds its window as long as it works; what it did is satisfied."""
    found = []

    def look(_):
        wanted = {shard.window: 0 for shard in bench.told.of(ev.Planned)[0].shards}
        found.append(claims.take(OTHER, "1", wanted))

    bench.told.when(ev.RunOpened, look)
    assert bench.run(atomic=True).status == "done"
    assert len(found[0].held) == 4
    later = dict.fromkeys(found[0].held, 0)
    assert claims.take(OTHER, "1", later).done == found[0].held


def test_an_atomic_run_claims_the_whole_shards_that_its_window_meets_and_plans_once(bench, claims, window_of):
    bench.ready = replace(bench.ready, calendar=Calendar(0, Width(2, "h")))
    found = []
    bench.told.when(ev.RunOpened, lambda _: found.append(claims.take(OTHER, "1", {window_of(0): 9, window_of(2): 9})))
    assert bench.run(scope=Scope.ALL, window=window_of(1), atomic=True).committed == 1
    assert (found[0].held, bench.source.listings) == ({window_of(0)}, 1)


def test_an_atomic_run_claims_all_that_live_ranges_widen_it_to(bench, claims, window_of):
    run_in_wider_shards(bench)
    found = []
    bench.told.when(ev.RunOpened, lambda _: found.append(claims.take(OTHER, "1", {window_of(0): 9, window_of(2): 9})))
    assert bench.run("narrow", scope=Scope.ALL, window=window_of(1), atomic=True).committed == 1
    assert found[0].held == {window_of(0)}


def test_an_atomic_run_holds_nothing_while_it_waits_for_what_live_ranges_add(bench, claims, window_of):
    run_in_wider_shards(bench)
    atomic = Claimant("other", "elsewhere:2:1.0", atomic=True)
    claims.take(atomic, "run", {window_of(0): 0})
    taken = []

    def look(_):
        taken.append(claims.take(Claimant("third", "elsewhere:3:1.0", atomic=True), "run", {window_of(1): 0}))
        claims.release("third", None, done=False)
        claims.release("other", None, done=False)

    bench.told.when(ev.Warned, look)
    assert bench.run("narrow", scope=Scope.ALL, window=window_of(1), atomic=True).committed == 1
    assert taken == [None]


def test_an_answer_to_opening_that_is_lost_is_asked_for_again(bench, wrap):
    lost = [CommitUnknown("the answer was lost")]

    def open_run(real, opening):
        opened = real(opening)
        if lost:
            raise lost.pop()
        return opened

    wrap(open_run=open_run)
    closed = bench.run()
    assert (closed.status, bench.record().epoch) == ("done", 3)  # opened, taken over by its own holder, closed
    assert bench.versions() == ALL


def test_a_run_without_work_takes_no_claims(bench, claims):
    claiming = Claiming(claims, OTHER, StopFlag(), bench.told.on)
    claiming.renew()
    claiming.close()
    assert claims.mark() == 0
