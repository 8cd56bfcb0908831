"""The laws of claims: where they stand, nobody does what another does, or has done since. Safety never rests on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field

from raypipe.core.commit import CommitRequest
from raypipe.core.shard import Outcome, Task
from raypipe.core.state import LiveRange
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.runtime.claiming import WHOLE_RUN
from raypipe.testing.simulation.claim_table import ClaimTable, Kept
from raypipe.testing.simulation.promise import Promise, require


@dataclass
class ClaimLaws:
    """Judges what begins, and what is let go of, by the claims that stand; a claim that was lost says nothing."""

    table: ClaimTable
    _proof: dict[int, list[Kept]] = field(default_factory=dict)
    """By commit, the claims under which it was made."""

    def committed(self, request: CommitRequest, seq: int, outcomes: Collection[Window]) -> None:
        """A run wrote ranges: note the claims that say so."""
        names = {WHOLE_RUN, *(_name(one.window, one.outcome, one.attempt_id) for one in request.shards if one.window in outcomes)}
        self._proof[seq] = [one for one in self.table.held_by(request.run_id) if one.name in names and self.table.counts(one)]

    def began(self, task: Task, promise: Promise, live: Collection[LiveRange]) -> None:
        """A run begins a task, while this is live."""
        atomic = promise.atomic
        require(not atomic or promise.plan <= promise.claimed, "an atomic backfill works on what it has not claimed")
        name = WHOLE_RUN if atomic else task.attempt_id
        if not any(self.table.counts(one) for one in self.table.held_by(task.run_id, name)):
            return
        others = [one for one in self.table.standing() if one.run_id != task.run_id]
        for shard in task.shards:
            for one in others:
                if one.claim.claimant.atomic or not atomic:
                    require(not one.claim.window.meets(shard.window), "two runs work on the same range")
            for there in live if not atomic else ():
                if there.window.meets(shard.window) and there.observed not in shard.observed and there.run_id != task.run_id:
                    said = any(
                        self.table.counts(one) and one.claim.window.meets(shard.window) for one in self._proof.get(there.seq, ())
                    )
                    require(not said, "a task does again what another run has done since its plan")

    def let_go(self, one: Kept) -> None:
        """A run let go of a task's claim and did not say that its work is done. Of a compaction that may not be known."""
        if one.name not in (WHOLE_RUN, str(one.claim.window)):
            require(not any(one in proof for proof in self._proof.values()), "a run does not tell others what it has done")

    def ended(self, run_id: str, holder: str) -> None:
        """A process ended, and was not killed."""
        left = [one for one in self.table.held_by(run_id) if one.claim.claimant.holder == holder and not one.was_let_go]
        require(not left, "a run that has ended holds claims")


def _name(window: Window, outcome: Outcome, attempt_id: str) -> str:
    """Return the name of the claim under which a range was written."""
    return str(window) if outcome is Outcome.COMPACTED else attempt_id
