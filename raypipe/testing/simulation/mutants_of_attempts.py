"""Mistakes in second attempts: the compare refuses what is done twice, so that none costs a row, but work and waiting."""

from __future__ import annotations

from typing import Any

from raypipe.core.events import TaskHeld
from raypipe.testing.simulation.mutant import Mutant, always

_COORDINATOR = "raypipe.core.coordinator:Coordinator"
_FLIGHTS = "raypipe.core.flights:Flights"


def _loser_lands(real: Any) -> Any:
    return lambda self, event, now_s: event.task.attempt_id not in self._flights or real(self, event, now_s)


def _held_is_an_end(real: Any) -> Any:
    return lambda self, event, now_s: real(self, event, now_s) or isinstance(event, TaskHeld)


def _forgets_the_other(real: Any) -> Any:
    """Take an attempt that failed for the only one at its shards."""
    return lambda self, event, now_s: real(self, event, now_s) or True


def _also_after_a_stop(real: Any) -> Any:
    def decide(self: Any, now_s: float) -> Any:
        slow = self._flights.stragglers(now_s) if self._stopping else ()
        return [*real(self, now_s), *(self._second_attempt(one, now_s) for one in slow)]

    return decide


def _keeps_what_lost(real: Any) -> Any:
    def give_up(self: Any, task: Any) -> None:
        if task.attempt_id in self._deadlines:
            real(self, task)

    return give_up


def _by_claims_alone(real: Any) -> Any:
    return lambda self, task: self._claiming.refused(task)


MUTANTS = (
    Mutant(
        "losers_count_too",
        "what the slower of two attempts leaves is taken like that of the faster one",
        ((f"{_COORDINATOR}.awaits", always(True)), (f"{_FLIGHTS}.land", _loser_lands)),
    ),
    Mutant(
        "losers_go_on",
        "nobody gives up the attempt that lost",
        (
            (
                f"{_FLIGHTS}.take_given_up",
                always(()),
            ),
        ),
    ),
    Mutant(
        "losers_leave_files",
        "what an attempt staged that lost by a moment stays",
        (("raypipe.runtime.driver:Driver._give_up", _keeps_what_lost),),
    ),
    Mutant(
        "failures_end_both_attempts",
        "the failure of one attempt gives up the other",
        (("raypipe.core.flights:settles", always(True)),),
    ),
    Mutant(
        "failures_forget_the_other_attempt",
        "the failure of one attempt counts while the other is at work",
        ((f"{_FLIGHTS}.land", _forgets_the_other),),
    ),
    Mutant(
        "ends_are_not_enough",
        "an attempt that did its shards waits for the other",
        (("raypipe.core.flights:settles", always(False)),),
    ),
    Mutant(
        "held_second_attempts_count",
        "a second attempt that another run keeps from starting is waited for like a first one",
        ((f"{_FLIGHTS}.land", _held_is_an_end),),
    ),
    Mutant("third_attempts", "a second attempt has another one beside it", ((f"{_FLIGHTS}._may_have_second", always(True)),)),
    Mutant(
        "second_attempts_with_all_of_the_memory",
        "a task that is done alone has a second attempt beside it",
        (
            (
                f"{_FLIGHTS}._may_have_second",
                lambda real: lambda self, attempt, task: not task.beside and attempt not in self._second,
            ),
        ),
    ),
    Mutant(
        "second_attempts_after_a_stop",
        "a run that was stopped begins second attempts",
        ((f"{_COORDINATOR}.decide", _also_after_a_stop), ("raypipe.runtime.driver:Driver._kept_from_starting", _by_claims_alone)),
    ),
)
