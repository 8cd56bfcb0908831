"""The ledger, made again commit by commit, gives what is live and late."""

from __future__ import annotations

from raypipe.core.replay import CommittedShard, forgotten, replay
from raypipe.core.shard import Observed, Outcome
from raypipe.core.window import Window


def entry(seq: int, start: int, end: int, outcome: Outcome = Outcome.LOADED) -> CommittedShard:
    return CommittedShard(seq, Window(start, end), outcome)


def test_a_later_commit_replaces_whole_ranges_that_it_meets_and_no_others() -> None:
    entries = [entry(1, 0, 2), entry(1, 2, 4), entry(1, 4, 6), entry(2, 2, 6), entry(3, 0, 2, Outcome.EMPTY)]
    assert replay(entries).live == [Observed(0, 2, 3), Observed(2, 6, 2)]


def test_the_order_in_which_entries_are_given_does_not_matter() -> None:
    entries = [entry(1, 0, 4), entry(2, 0, 2), entry(3, 6, 8)]
    assert replay(reversed(entries)) == replay(entries)


def test_satisfied_and_superseded_shards_replace_nothing() -> None:
    entries = [entry(1, 0, 2), entry(2, 0, 2, Outcome.SATISFIED), entry(3, 0, 2, Outcome.SUPERSEDED)]
    assert replay(entries).live == [Observed(0, 2, 1)]


def test_a_superseded_range_is_late_until_a_commit_takes_all_of_it_in() -> None:
    superseded = entry(2, 0, 4, Outcome.SUPERSEDED)
    assert replay([entry(1, 0, 4), superseded]).late == [Observed(0, 4, 2)]
    assert replay([superseded, entry(3, 0, 2)]).late == [Observed(0, 4, 2)]
    assert replay([superseded, entry(3, 0, 2), entry(3, 2, 4)]).late == []
    assert replay([superseded, entry(3, 0, 4, Outcome.SATISFIED)]).late == [Observed(0, 4, 2)]
    assert replay([entry(3, 0, 4), entry(3, 6, 8, Outcome.SUPERSEDED)]).late == [Observed(6, 8, 3)]


def test_what_an_output_forgot_is_older_than_all_that_it_has() -> None:
    old, older, new = Observed(0, 2, 3), Observed(2, 4, 2), Observed(4, 6, 5)
    assert forgotten([old, older, new], [new]) == ([], [])
    assert forgotten([old, older, new], [old, new]) == ([], [])
    assert forgotten([old, older, new], [older, new]) == ([], [old])
    assert forgotten([old, older, new], []) == ([], [])
    assert forgotten([old], [old, new]) == ([new], [])
