"""decide_commit: every branch, and its laws over random groups against random live ranges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.core.accounts import Accounts
from raypipe.core.commit import (
    Accept,
    Already,
    CommitFacts,
    CommitPermit,
    CommitRequest,
    Conflict,
    FencedOff,
    LiveFact,
    Receipt,
    ShardCommit,
    decide_commit,
)
from raypipe.core.shard import Observed, Outcome, OutputStat, ShardResult
from raypipe.core.window import Window


def shard(window: Window, observed: frozenset[Observed] = frozenset(), outcome: Outcome = Outcome.LOADED) -> ShardCommit:
    result = ShardResult(window, observed, (), Accounts(), {"a": OutputStat(0, "0" * 32)})
    return ShardCommit(result, outcome, "1", "in")


def request(*shards: ShardCommit, definition: int = 1, atomic: bool = False) -> CommitRequest:
    return CommitRequest(run_id="r", epoch=1, commit_id="c", shards=shards, definitions={"a": definition}, atomic=atomic)


def facts(*live: LiveFact, **changes: object) -> CommitFacts:
    return replace(CommitFacts(fenced=False, already=None, commit_seq=7, live=live), **changes)


def live(start: int, end: int, seq: int = 1, definition: int = 1) -> LiveFact:
    return LiveFact(Observed(start, end, seq), {"a": definition})


def permit(asked: CommitRequest, known: CommitFacts) -> CommitPermit:
    decision = decide_commit(asked, known)
    assert isinstance(decision, Accept)
    return decision.permit


def seen(*facts_seen: LiveFact) -> frozenset[Observed]:
    return frozenset(one.observed for one in facts_seen)


def test_a_fenced_owner_gets_nothing_even_when_its_commit_is_known() -> None:
    known = facts(fenced=True, already={Window(0, 1): Outcome.LOADED})
    assert decide_commit(request(shard(Window(0, 1))), known) == FencedOff()


def test_a_commit_that_is_in_the_ledger_gets_its_receipt_again() -> None:
    asked = request(shard(Window(5, 6)), shard(Window(3, 4)), shard(Window(0, 1)))
    known = facts(already={Window(0, 1): Outcome.EMPTY}, commit_seq=3)
    assert decide_commit(asked, known) == Already(Receipt("c", 3, {Window(0, 1): Outcome.EMPTY}, (Window(3, 4), Window(5, 6))))


def test_a_permit_cannot_be_made_by_anybody_else() -> None:
    with pytest.raises(TypeError, match="only decide_commit"):
        CommitPermit(object(), request(), 1, None)  # type: ignore[arg-type]


def test_an_older_definition_of_any_output_supersedes() -> None:
    old = live(0, 1, definition=2)
    given_up = permit(request(shard(Window(0, 1), seen(old)), shard(Window(1, 2)), definition=1), facts(old))
    assert [one.window for one in given_up.superseded] == [Window(0, 1)]
    assert [one.window for one in given_up.loaded] == [Window(1, 2)]
    assert given_up.replaced == ()
    assert given_up.receipt.outcomes == {Window(0, 1): Outcome.SUPERSEDED, Window(1, 2): Outcome.LOADED}


def test_an_atomic_group_is_superseded_whole_with_its_satisfied_shards() -> None:
    newer, same = live(0, 1, definition=2), live(1, 2, definition=1)
    asked = request(
        shard(Window(0, 1), seen(newer)), shard(Window(1, 2), seen(same), Outcome.SATISFIED), shard(Window(2, 3)), atomic=True
    )
    given_up = permit(asked, facts(newer, same))
    assert [one.window for one in given_up.superseded] == [Window(0, 1), Window(1, 2), Window(2, 3)]
    assert (given_up.loaded, given_up.satisfied, given_up.replaced) == ((), (), ())


@pytest.mark.parametrize(
    ("known", "accepted"),
    [
        ([live(0, 4)], True), ([live(0, 4, definition=2)], True), ([live(0, 2), live(2, 4, 2)], True),
        ([live(0, 4, definition=0)], False), ([live(0, 2), live(3, 4)], False), ([], False),
        ([LiveFact(Observed(0, 4, 1), {})], False), ([live(0, 5)], False),
    ],
)  # fmt: skip
def test_satisfied_needs_live_ranges_of_no_older_definition_all_over_the_shard(known: list[LiveFact], accepted: bool) -> None:
    asked = request(shard(Window(0, 4), seen(*known), Outcome.SATISFIED))
    decision = decide_commit(asked, facts(*known))
    assert isinstance(decision, Accept) is accepted
    if isinstance(decision, Conflict):
        assert decision.windows == (Window(0, 4),)


# ---- laws -------------------------------------------------------------------------------------------------

_INSTANTS = st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True).map(sorted)


@st.composite
def _lives(draw: st.DrawFn) -> tuple[LiveFact, ...]:
    cuts = draw(_INSTANTS)
    pairs = list(itertools.pairwise(cuts))
    kept = draw(st.lists(st.sampled_from(pairs), unique=True))
    return tuple(live(start, end, draw(st.integers(1, 3)), draw(st.integers(1, 3))) for start, end in sorted(kept))


@st.composite
def _groups(draw: st.DrawFn, known: Sequence[LiveFact]) -> CommitRequest:
    shards = []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 29))
        window = Window(start, draw(st.integers(start + 1, 31)))
        truth = frozenset(one.observed for one in known if one.window.meets(window))
        observed = draw(st.sampled_from([truth, truth, truth, frozenset(), frozenset({Observed(0, 1, 9)})]))
        shards.append(shard(window, observed, draw(st.sampled_from([Outcome.LOADED, Outcome.EMPTY, Outcome.SATISFIED]))))
    return request(*shards, definition=draw(st.integers(1, 3)), atomic=draw(st.booleans()))


_CASES = _lives().flatmap(lambda known: st.tuples(_groups(known), st.just(known)))


@settings(max_examples=400, deadline=None)
@given(_CASES)
def test_what_is_applied_keeps_live_ranges_whole_disjoint_and_never_older(case: tuple[CommitRequest, Sequence[LiveFact]]) -> None:
    asked, known = case
    decision = decide_commit(asked, facts(*known))
    if not isinstance(decision, Accept):
        return
    given_permit = decision.permit
    gone = set(given_permit.replaced)
    after = [one.window for one in known if one.window not in gone] + [one.window for one in given_permit.loaded]
    assert sum(one.end_us - one.start_us for one in after) == len(
        {instant for one in after for instant in range(one.start_us, one.end_us)}
    )
    for one in given_permit.loaded:
        met = [fact for fact in known if fact.window.meets(one.window)]
        assert frozenset(fact.observed for fact in met) == one.result.observed
        assert all(one.window.contains(fact.window) for fact in met)
        assert all(fact.definitions["a"] <= asked.definitions["a"] for fact in met)
    before = {instant for one in known for instant in range(one.window.start_us, one.window.end_us)}
    assert before <= {instant for one in after for instant in range(one.start_us, one.end_us)}


@settings(max_examples=400, deadline=None)
@given(_CASES)
def test_every_shard_gets_one_answer_and_atomic_groups_one_for_all(case: tuple[CommitRequest, Sequence[LiveFact]]) -> None:
    asked, known = case
    decision = decide_commit(asked, facts(*known))
    if isinstance(decision, Conflict):
        assert decision.windows
        assert asked.atomic or sorted(decision.windows) == sorted(one.window for one in asked.shards)
        return
    assert isinstance(decision, Accept)
    receipt = decision.permit.receipt
    answered = [*receipt.outcomes, *receipt.conflicts]
    assert sorted(answered) == sorted(one.window for one in asked.shards)
    if asked.atomic:
        assert receipt.conflicts == ()
        assert Outcome.SUPERSEDED not in receipt.outcomes.values() or set(receipt.outcomes.values()) == {Outcome.SUPERSEDED}


@settings(max_examples=200, deadline=None)
@given(_CASES)
def test_asking_after_the_commit_with_what_was_observed_before_is_a_conflict(
    case: tuple[CommitRequest, Sequence[LiveFact]],
) -> None:
    asked, known = case
    decision = decide_commit(asked, facts(*known))
    if not isinstance(decision, Accept):
        return
    gone = set(decision.permit.replaced)
    after = [one for one in known if one.window not in gone]
    after += [live(one.window.start_us, one.window.end_us, 7, asked.definitions["a"]) for one in decision.permit.loaded]
    again = decide_commit(replace(asked, commit_id="other"), facts(*after, commit_seq=8))
    for one in decision.permit.loaded:
        if isinstance(again, Accept):
            assert one.window not in [other.window for other in again.permit.loaded]


# ---- outputs done alone, and accepted differences ----------------------------------------------------------


def made(window: Window, seq: int, **definitions: int) -> LiveFact:
    return LiveFact(Observed(window.start_us, window.end_us, seq), definitions)


def alone(window: Window, *observed: LiveFact, outcome: Outcome = Outcome.LOADED, **definitions: int) -> CommitRequest:
    one = shard(window, seen(*observed), outcome)
    return replace(request(one), definitions=definitions or {"a": 1})


def test_an_output_alone_may_stand_where_the_others_have_the_same_range_and_nowhere_else() -> None:
    other = made(Window(0, 2), 3, b=1)
    given_permit = permit(alone(Window(0, 2), other), facts(other))
    assert [one.window for one in given_permit.loaded] == [Window(0, 2)]
    assert given_permit.replaced == (Window(0, 2),)
    assert decide_commit(alone(Window(0, 4), other), facts(other)) == Conflict((Window(0, 4),))
    mine, beside = made(Window(0, 2), 5, a=1), made(Window(2, 4), 6, a=1)
    assert permit(alone(Window(0, 4), mine, beside), facts(mine, beside)).replaced == (Window(0, 2), Window(2, 4))


def test_ranges_that_several_commits_made_are_satisfied_together() -> None:
    parts = made(Window(0, 2), 3, b=1), made(Window(0, 2), 9, a=2)
    done = alone(Window(0, 2), *parts, outcome=Outcome.SATISFIED, a=2, b=1)
    assert [one.window for one in permit(done, facts(*parts)).satisfied] == [Window(0, 2)]
    assert decide_commit(replace(done, definitions={"a": 2, "b": 2}), facts(*parts)) == Conflict((Window(0, 2),))


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED_STALE, Outcome.ACCEPTED_SHRUNK])
def test_a_difference_is_accepted_of_exactly_the_live_range_that_was_seen(outcome: Outcome) -> None:
    one = live(0, 2, seq=4, definition=1)
    taken = permit(alone(Window(0, 2), one, outcome=outcome, a=2), facts(one))
    assert [part.window for part in taken.accepted] == [Window(0, 2)]
    assert (taken.loaded, taken.replaced) == ((), ())
    assert taken.receipt.outcomes == {Window(0, 2): outcome}
    for known in (facts(live(0, 2, seq=5)), facts(), facts(live(0, 2, seq=4, definition=3))):
        assert decide_commit(alone(Window(0, 2), one, outcome=outcome, a=2), known) == Conflict((Window(0, 2),))
    assert decide_commit(alone(Window(0, 3), one, outcome=outcome, a=2), facts(one)) == Conflict((Window(0, 3),))
