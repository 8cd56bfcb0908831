"""Claims in a file: shared among runs, free again when their holder is dead, silent or done, and never in anybody's way."""

from __future__ import annotations

import os
import socket

import psutil
import pytest

from raypipe.core.claims import Claimant
from raypipe.core.window import Window
from raypipe.destinations.file_claims import CLAIM_LIMIT_S, DONE_KEPT_S, FileClaims

ALIVE = f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"
DEAD = f"{socket.gethostname()}:{2**22 + 1}:1.0"
A, B = Claimant("a", ALIVE), Claimant("b", ALIVE)
FIRST, SECOND = Window(0, 10), Window(10, 20)


@pytest.fixture
def claims(still_clock, tmp_path):
    return FileClaims(str(tmp_path / "claims.sqlite"), "p", still_clock)


def test_what_one_run_claimed_is_held_for_another_until_it_lets_go(claims):
    assert claims.take(A, "1", {FIRST: 0}) is None
    refusal = claims.take(B, "1", {FIRST: 0, SECOND: 0})
    assert (refusal.held, refusal.done, refusal.by) == ({FIRST}, frozenset(), A)
    assert claims.take(B, "2", {SECOND: 0}) is None  # with the refusal nothing was claimed
    claims.release("a", "1", done=False)
    assert claims.take(B, "3", {FIRST: 0}) is None


def test_a_run_is_never_in_its_own_way(claims):
    assert claims.take(A, "1", {FIRST: 0}) is None
    assert claims.take(A, "2", {FIRST: 0}) is None


def test_what_was_finished_is_planned_again_by_who_planned_it_before(claims):
    mark = claims.mark()
    claims.take(A, "1", {FIRST: 0})
    claims.release("a", "1", done=True)
    assert claims.take(B, "1", {FIRST: mark}).done == {FIRST}
    assert claims.mark() == mark + 1
    assert claims.take(B, "1", {FIRST: claims.mark()}) is None


def test_a_run_lets_go_of_all_that_it_holds_at_once(claims):
    claims.take(A, "1", {FIRST: 0})
    claims.take(A, "2", {SECOND: 0})
    claims.release("a", None, done=False)
    assert claims.take(B, "1", {FIRST: 0, SECOND: 0}) is None


def test_the_claim_of_a_dead_holder_counts_for_nothing(claims):
    claims.take(Claimant("dead", DEAD), "1", {FIRST: 0})
    assert claims.take(B, "1", {FIRST: 0}) is None


def test_the_claim_of_a_holder_that_stands_still_ends_by_itself_unless_it_is_renewed(claims, still_clock):
    claims.take(A, "1", {FIRST: 0})
    still_clock.now += int((CLAIM_LIMIT_S - 1) * 1e6)
    claims.renew("a")
    still_clock.now += int((CLAIM_LIMIT_S - 1) * 1e6)
    assert claims.take(B, "1", {FIRST: 0}) is not None
    still_clock.now += int(2e6)
    assert claims.take(B, "1", {FIRST: 0}) is None


def test_what_was_finished_is_forgotten_after_a_while(claims, still_clock):
    claims.take(A, "1", {FIRST: 0})
    claims.release("a", "1", done=True)
    still_clock.now += int((DONE_KEPT_S + 1) * 1e6)
    assert claims.take(B, "1", {FIRST: 0}) is None


def test_pipelines_do_not_meet(claims, still_clock):
    claims.take(A, "1", {FIRST: 0})
    assert FileClaims(claims.path, "q", still_clock).take(B, "1", {FIRST: 0}) is None


def test_looking_alone_makes_no_file(claims, tmp_path):
    assert claims.mark() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_damaged_or_missing_hinders_nobody(claims, still_clock, tmp_path):
    (tmp_path / "claims.sqlite").write_bytes(b"a diary\n" * 1000)
    assert claims.take(A, "1", {FIRST: 0}) is None
    assert claims.take(A, "1", {FIRST: 0}) is None
    assert claims.take(B, "1", {FIRST: 0}) is not None  # made anew
    nowhere = FileClaims(str(tmp_path / "no" / "where.sqlite"), "p", still_clock)
    assert nowhere.take(A, "1", {FIRST: 0}) is None
    nowhere.renew("a")
    nowhere.release("a", "1", done=True)
