"""Mistakes in `accept`: what a person says of some live ranges must hold of them, of nothing else, and hide nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from raypipe.core.commit import ACCEPTED
from raypipe.core.shard import Outcome
from raypipe.testing.simulation.mutant import Mutant, always

_ACCEPTANCE = "raypipe.core.acceptance"
_COMMIT = "raypipe.core.commit"
_MEMORY = "raypipe.destinations.memory"
_PLAN = "raypipe.core.plan"


def _accepted_as_both(outcome: Outcome, other: Outcome) -> Callable[[Any], Any]:
    """Let what was accepted for one reason be accepted for the other one too: today's definition, or today's input."""

    def mistaken(real: Any) -> Any:
        def accept(state: Any, shard: Any, definitions: Any) -> None:
            real(state, shard, definitions)
            if shard.outcome is outcome:
                real(state, replace(shard, outcome=other), definitions)

        return accept

    return mistaken


_stale_as_shrunk = _accepted_as_both(Outcome.ACCEPTED_STALE, Outcome.ACCEPTED_SHRUNK)
_shrunk_as_stale = _accepted_as_both(Outcome.ACCEPTED_SHRUNK, Outcome.ACCEPTED_STALE)


def _not_compared(real: Any) -> Any:
    return lambda shard, met: shard.outcome in ACCEPTED or real(shard, met)


def _proven(real: Any) -> Any:
    return lambda shard, ours, met: shard.outcome not in ACCEPTED and real(shard, ours, met)


def _parts_forgotten(real: Any) -> Any:
    """Let a compacted range stand for its input as if it had been read at once."""
    return lambda live, whole, now: replace(real(live, whole, now), parts=())


def _all_that_is_late(real: Any) -> Any:
    """Accept of all late ranges that they stand for the input as it is now, whether it shrank or grew."""

    def shrunk(late: Any, known: Any, slices: Any, ready: Any) -> Any:
        counted, type(slices).shrunk = type(slices).shrunk, lambda self, inputs: dict.fromkeys(inputs, 0)
        try:
            return real(late, known, slices, ready)
        finally:
            type(slices).shrunk = counted

    return shrunk


def _for_no_input(real: Any) -> Any:
    def accepted(live: Any, window: Any, slices: Any, outcome: Any, input_fp: str) -> Any:
        return real(live, window, slices, outcome, "" if outcome is Outcome.ACCEPTED_SHRUNK else input_fp)

    return accepted


MUTANTS = (
    Mutant(
        "accepting_hides_late_input", "a stale range that is accepted is late no more", ((f"{_MEMORY}:_accept", _stale_as_shrunk),)
    ),
    Mutant(
        "accepting_hides_definitions",
        "a shrunk range that is accepted is stale no more",
        ((f"{_MEMORY}:_accept", _shrunk_as_stale),),
    ),
    Mutant(
        "accepted_unseen",
        "what another run put there meanwhile is accepted",
        ((f"{_COMMIT}:_as_observed", _not_compared),),
    ),
    Mutant(
        "accepted_for_an_older_definition",
        "what a newer definition made is accepted for an older one",
        ((f"{_COMMIT}:_is_unproven", _proven),),
    ),
    Mutant(
        "accepting_forgets_parts",
        "of a compacted range all parts stand for what was said of one",
        ((f"{_ACCEPTANCE}:_stands_for", _parts_forgotten),),
    ),
    Mutant("accepting_all_that_is_late", "late input is accepted as if it were gone", ((f"{_PLAN}:_shrunk", _all_that_is_late),)),
    Mutant(
        "accepted_for_no_input",
        "a shrunk range that is accepted stands for no input, and fails as before",
        ((f"{_ACCEPTANCE}:_accepted", _for_no_input),),
    ),
    Mutant("accepting_changes_nothing", "an acceptance is in the ledger alone", ((f"{_MEMORY}:_accept", always(None)),)),
)
