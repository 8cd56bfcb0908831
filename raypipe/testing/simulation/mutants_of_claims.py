"""Mistakes in how runs share out work by claims: none of them costs a row, and each makes runs do what others do."""

from __future__ import annotations

from typing import Any

from raypipe.runtime.claiming import WHOLE_RUN
from raypipe.testing.simulation.mutant import Mutant, always

_CLAIMING = "raypipe.runtime.claiming:Claiming"
_DECIDE = "raypipe.testing.simulation.claim_table:decide_claim"


def _finished_is_free(real: Any) -> Any:
    """Look only at what others work on, not at what they finished."""
    return lambda claimant, wanted, others: real(claimant, wanted, [one for one in others if not one.done])


def _is_never_refused(real: Any) -> Any:
    """Let an atomic run begin beside another one."""

    def decide(claimant: Any, wanted: Any, others: Any) -> Any:
        return None if claimant.atomic else real(claimant, wanted, others)

    return decide


def _marks_at_the_end(real: Any) -> Any:
    """Note what others have finished when the plan stands, not before it is observed."""

    def planned(self: Any, shards: Any) -> None:
        self._mark = self._claims.mark()
        real(self, shards)

    return planned


def _says_nothing(real: Any) -> Any:
    """Let go of what is done as of what failed."""
    return lambda self, attempt_id, *, done: real(self, attempt_id, done=False)


def _never_asked_again(real: Any) -> Any:
    """Leave a shard to the other run for good."""

    def held(self: Any, event: Any, now_s: float) -> None:
        real(self, event, now_s)
        self._held = type(self._held)()

    return held


def _as_asked(real: Any) -> Any:
    """Claim what was asked for, whatever shards it meets."""
    return property(lambda self: self.window or real.fget(self))


def _not_widened(real: Any) -> Any:
    """Claim once, and plan within it whatever live ranges add."""

    def planned_within(self: Any, asked: Any, plan: Any) -> Any:
        if self._claimant.atomic and asked:
            self.claim_window(asked)
        self.before_planning()
        found = plan()
        self.planned(found.plan.shards)
        return found

    return planned_within


def _keeps_tasks(real: Any) -> Any:
    """Let go at the end of what was claimed at once, and of no task."""
    return lambda self: real(self) if WHOLE_RUN in self._held else None


MUTANTS = (
    Mutant("claims_refuse_nothing", "a run begins what another works on", ((_DECIDE, always(None)),)),
    Mutant("finished_work_is_free", "a run does again what another finished since its plan", ((_DECIDE, _finished_is_free),)),
    Mutant("atomic_runs_meet", "two atomic backfills of the same range work at once", ((_DECIDE, _is_never_refused),)),
    Mutant(
        "marks_after_observing",
        "what others finish between the observation and the plan is not planned again",
        ((f"{_CLAIMING}.planned", _marks_at_the_end),),
    ),
    Mutant("done_is_not_said", "others are not told what a run has done", ((f"{_CLAIMING}.release", _says_nothing),)),
    Mutant(
        "held_shards_are_dropped",
        "a shard that another run works on is left to it for good",
        (("raypipe.core.coordinator:Coordinator._task_held", _never_asked_again),),
    ),
    Mutant(
        "atomic_runs_claim_nothing",
        "an atomic backfill begins without a claim, so that it may lose again and again",
        ((f"{_CLAIMING}.claim_window", always(None)),),
    ),
    Mutant(
        "atomic_runs_claim_what_is_asked",
        "shards that reach beyond the window are not claimed",
        (("raypipe.runtime.planner:Planner.asked", _as_asked), (f"{_CLAIMING}.planned_within", _not_widened)),
    ),
    Mutant(
        "atomic_runs_claim_no_live_ranges",
        "what live ranges add to the shards of an atomic backfill is not claimed",
        ((f"{_CLAIMING}.planned_within", _not_widened),),
    ),
    Mutant("claims_outlive_their_run", "a run that fails keeps what it claimed", ((f"{_CLAIMING}.close", _keeps_tasks),)),
)
