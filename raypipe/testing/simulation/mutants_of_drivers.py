"""Mistakes in the driver and its coordinator: what is done about doubt, conflicts, failures, stops and damaged files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from raypipe.core.commit import CommitRequest, Receipt
from raypipe.errors import CommitUnknown, ShardError, StagedDamaged
from raypipe.testing.simulation.mutant import Mutant, always

_COORDINATOR = "raypipe.core.coordinator:Coordinator"
_DRIVER = "raypipe.runtime.driver:Driver"
_SETTLER = "raypipe.runtime.settling:Settler"
_STAGE = "raypipe.testing.simulation.stage"


def _unknown_is_failed(real: Any) -> Any:
    def settled(self: Any, ask: Any) -> Any:
        def once() -> Any:
            try:
                return ask()
            except CommitUnknown as error:
                raise ShardError(str(error)) from error

        return real(self, once)

    return settled


def _unknown_is_done(real: Any) -> Any:
    def commit(self: Any, request: CommitRequest, staged: Any) -> Receipt:
        try:
            return real(self, request, staged)  # type: ignore[no-any-return]
        except CommitUnknown:
            return Receipt(request.commit_id, 0, {shard.window: shard.outcome for shard in request.shards})

    return commit


class _Damaged(Exception):
    """Carries damage past the settler."""

    def __init__(self, error: StagedDamaged) -> None:
        self.error = error
        super().__init__()


def _damage_ends_doubt(real: Any) -> Any:
    def settled(self: Any, ask: Any) -> Any:
        def once() -> Any:
            try:
                return ask()
            except StagedDamaged as error:
                raise _Damaged(error) from error

        try:
            return real(self, once)
        except _Damaged as error:
            raise error.error from None

    return settled


def _observes_at_the_commit(real: Any) -> Any:
    """Compare with what is live when the commit is sent, not with what was before the listing."""

    def commit(self: Any, command: Any, coordinator: Any) -> Any:
        live = self._destination.snapshot().live
        shards = tuple(
            replace(one, result=replace(one.result, observed=frozenset(x.observed for x in live if x.window.meets(one.window))))
            for one in command.request.shards
        )
        return real(self, replace(command, request=replace(command.request, shards=shards)), coordinator)

    return commit


def _conflicts_are_dropped(real: Any) -> Any:
    return lambda self, receipt: real(self, replace(receipt, conflicts=()))


def _no_refusal_is_planned_again(real: Any) -> Any:
    def plan_again(self: Any, windows: Any, code: str, error: str) -> None:
        if code != "staged_damaged":
            real(self, windows, code, error)

    return plan_again


def _tasks_are_not_waited_for(real: Any) -> Any:
    def nothing_left(self: Any) -> bool:
        flights, self._flights = self._flights, ()
        try:
            return bool(real.fget(self))
        finally:
            self._flights = flights

    return property(nothing_left)


def _atomic_in_parts(real: Any) -> Any:
    def due(self: Any, now_s: float) -> bool:
        atomic, self._atomic = self._atomic, False
        try:
            return bool(real(self, now_s))
        finally:
            self._atomic = atomic

    return due


def _atomic_goes_on(real: Any) -> Any:
    return property(lambda self: self._stopping is not None)


def _released_at_once(real: Any) -> Any:
    def keep(self: Any, staged: Any) -> None:
        real(self, staged)
        self._stages.release(staged)

    return keep


def _adopted_is_our_own(real: Any) -> Any:
    def adopted(self: Any, run: Any, planned: Any) -> Any:
        found = real(self, run, planned)
        self._by_others.clear()
        return found

    return adopted


def _nothing_is_retried(real: Any) -> Any:
    return lambda self, shards, code, error, now_s: None


def _taken_by_reference(real: Any) -> Any:
    return lambda self, found, task: found


MUTANTS = (
    Mutant("unknown_is_failed", "a commit without an answer is reported as failed", ((f"{_SETTLER}.settled", _unknown_is_failed),)),
    Mutant(
        "unknown_is_done",
        "a commit without an answer is taken for made",
        (("raypipe.testing.simulation.destination:SimulatedDestination.commit", _unknown_is_done),),
    ),
    Mutant(
        "damage_ends_doubt",
        "staged files that were damaged after a lost answer make it a refusal",
        ((f"{_SETTLER}.settled", _damage_ends_doubt),),
    ),
    Mutant(
        "observed_at_the_commit",
        "live ranges are observed after the input was read",
        ((f"{_DRIVER}._commit", _observes_at_the_commit),),
    ),
    Mutant("checksums_not_checked", "staged files are committed as they are found", ((f"{_STAGE}:find_damage", always(None)),)),
    Mutant(
        "conflicts_are_dropped",
        "a shard in conflict is not planned again",
        ((f"{_COORDINATOR}._committed", _conflicts_are_dropped),),
    ),
    Mutant(
        "damaged_work_is_dropped",
        "a group whose files were damaged is not done again",
        ((f"{_COORDINATOR}._plan_again", _no_refusal_is_planned_again),),
    ),
    Mutant(
        "tasks_are_not_waited_for",
        "a run closes while tasks are at work",
        ((f"{_COORDINATOR}._nothing_left", _tasks_are_not_waited_for),),
    ),
    Mutant(
        "failed_attempts_are_dropped",
        "a task that failed is not tried again",
        ((f"{_COORDINATOR}._try_again", _nothing_is_retried),),
    ),
    Mutant(
        "failures_count_as_done",
        "a run with failed shards ends as done",
        ((f"{_COORDINATOR}._status", lambda real: property(lambda self: "done")),),
    ),
    Mutant("atomic_in_parts", "an atomic backfill commits what is ready", ((f"{_COORDINATOR}._commit_due", _atomic_in_parts),)),
    Mutant(
        "atomic_goes_on_after_a_failure",
        "an atomic backfill commits without its failed shards",
        ((f"{_COORDINATOR}._giving_up", _atomic_goes_on),),
    ),
    Mutant(
        "released_before_the_commit", "staged files are removed when the task has ended", ((f"{_DRIVER}._keep", _released_at_once),)
    ),
    Mutant(
        "refused_work_of_others_fails",
        "work of an earlier run that the destination refuses fails its shard, in every run again",
        ((f"{_DRIVER}._adopted", _adopted_is_our_own),),
    ),
    Mutant(
        "adopted_by_reference",
        "another run's files are used where they stand, and removed afterwards",
        ((f"{_STAGE}:SimulatedStage.take_over", _taken_by_reference),),
    ),
)
