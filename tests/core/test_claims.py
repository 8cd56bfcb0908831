"""Who may start what, while others work on the same ranges."""

from __future__ import annotations

from raypipe.core.claims import Claim, Claimant, Refusal, decide_claim
from raypipe.core.window import Window

MINE = Claimant("mine", "here:1:1.0")
THEIRS = Claimant("theirs", "here:2:1.0")
ATOMIC = Claimant("backfill", "here:3:1.0", atomic=True)
DAYS = {Window(day, day + 1): 5 for day in range(4)}


def windows(*days: int) -> frozenset[Window]:
    return frozenset(Window(day, day + 1) for day in days)


def test_what_nobody_holds_is_free():
    assert decide_claim(MINE, DAYS, []) is None
    assert decide_claim(MINE, DAYS, [Claim(Window(4, 9), THEIRS)]) is None


def test_shards_that_meet_a_claim_of_another_run_are_held_and_the_others_are_free():
    assert decide_claim(MINE, DAYS, [Claim(Window(1, 3), THEIRS)]) == Refusal(windows(1, 2), frozenset(), THEIRS)


def test_what_was_finished_after_the_plan_is_to_be_planned_again_and_what_was_finished_before_is_not():
    assert decide_claim(MINE, DAYS, [Claim(Window(0, 1), THEIRS, done=5)]) is None
    assert decide_claim(MINE, DAYS, [Claim(Window(0, 1), THEIRS, done=6)]) == Refusal(frozenset(), windows(0), THEIRS)


def test_a_shard_that_is_held_and_partly_finished_is_waited_for():
    others = [Claim(Window(0, 1), THEIRS, done=6), Claim(Window(0, 2), ATOMIC)]
    assert decide_claim(MINE, DAYS, others) == Refusal(windows(0, 1), frozenset(), ATOMIC)


def test_an_atomic_run_waits_for_other_atomic_runs_alone_so_that_nobody_waits_in_a_circle():
    wanted = {Window(0, 4): 0}
    assert decide_claim(ATOMIC, wanted, [Claim(Window(1, 2), THEIRS), Claim(Window(2, 3), THEIRS, done=9)]) is None
    other = Claimant("other", "here:4:1.0", atomic=True)
    assert decide_claim(ATOMIC, wanted, [Claim(Window(3, 9), other)]) == Refusal(frozenset(wanted), frozenset(), other)
