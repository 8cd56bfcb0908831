"""Every deliberate mistake is seen: by the simulation, or, where other guards hide it there, by the test that is named here."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from raypipe.core.commit import decide_commit
from raypipe.core.shard import Outcome
from raypipe.testing.simulation.mutant import Mutant, always, patched
from raypipe.testing.simulation.mutants import FIRST_SEEDS, MUTANTS, NOT_HERE, REDUNDANT, SEEDS_MAX
from raypipe.testing.simulation.play import first_violation

TESTS = Path(__file__).parent.parent
COMMIT = "raypipe.core.commit"


def _not_compared(real):
    return lambda shard, met: shard.outcome is Outcome.SATISFIED or real(shard, met)


def _cut(real):
    return lambda shard, met: {live.observed for live in met} == shard.result.observed


def _ledger_not_asked(real):
    return lambda request, facts: real(request, replace(facts, already=None))


ELSEWHERE = (
    (Mutant("overlaps_not_refused", "", ((f"{COMMIT}:_overlaps", always(False)),)),
     "core/test_commit.py::test_the_later_of_two_shards_of_a_group_that_overlap_is_left_out"),
    (Mutant("cut_range_not_refused", "", ((f"{COMMIT}:_as_observed", _cut),)),
     "core/test_commit.py::test_a_live_range_is_never_cut_even_where_it_was_observed"),
    (Mutant("satisfied_unproven", "", ((f"{COMMIT}:_is_unproven", always(False)),)),
     "core/test_commit.py::test_a_shard_that_others_are_said_to_have_done_is_no_more_done_than_the_ledger_shows"),
    (Mutant("satisfied_not_compared", "", ((f"{COMMIT}:_as_observed", _not_compared),)),
     "core/test_commit.py::test_a_satisfied_shard_is_compared_with_what_was_observed"),
    (Mutant("ledger_not_asked", "", ((f"{COMMIT}:decide_commit", _ledger_not_asked),)),
     "core/test_commit.py::test_a_commit_that_is_in_the_ledger_gets_its_receipt_again"),
)  # fmt: skip
"""Mistakes that the simulation cannot see alone, and the test that sees each."""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mistake_is_seen(mutant):
    found = first_violation(mutant, (FIRST_SEEDS[mutant.name], *range(SEEDS_MAX)))
    assert found is not None, f"{mutant.mistake}: no seed below {SEEDS_MAX} shows it"


@pytest.mark.parametrize(("mutant", "test"), ELSEWHERE, ids=lambda one: getattr(one, "name", ""))
def test_a_mistake_that_other_guards_hide_is_seen_by_its_own_test(mutant, test):
    path, _, name = test.partition("::")
    _function(path, name)()
    with mutant.applied(), pytest.raises(AssertionError):
        _function(path, name)()


def test_mistakes_have_names_of_their_own_and_known_seeds():
    names = [one.name for one in MUTANTS]
    assert len(names) == len({*names, *REDUNDANT, *NOT_HERE}) - len(REDUNDANT) - len(NOT_HERE)
    assert sorted(FIRST_SEEDS) == sorted(names)
    assert {one.name for one, _ in ELSEWHERE} <= REDUNDANT.keys()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mistake_changes_what_is_there_and_is_taken_back(mutant):
    before = [_value(target) for target, _ in mutant.changes]
    with mutant.applied():
        assert all(_value(target) is not real for (target, _), real in zip(mutant.changes, before, strict=True))
    assert [_value(target) for target, _ in mutant.changes] == before


def test_a_patch_is_taken_back_when_the_block_raises():
    with pytest.raises(KeyError), patched(f"{COMMIT}:decide_commit", always(None)):
        raise KeyError
    assert importlib.import_module(COMMIT).decide_commit is decide_commit


def _value(target):
    module, _, path = target.partition(":")
    owner = importlib.import_module(module)
    *owners, name = path.split(".")
    for one in owners:
        owner = getattr(owner, one)
    return vars(owner)[name]


def _function(path, name):
    """Load a test file anew, so that it sees the code as it is now, and return one of its tests."""
    spec = importlib.util.spec_from_file_location("seen_again", TESTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
