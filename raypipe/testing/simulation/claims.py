"""The simulated claims: calls of one process to the table that all share, any of which may come to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from raypipe.core.claims import Claimant, Refusal
from raypipe.core.window import Window
from raypipe.destinations.file_claims import CLAIM_LIMIT_S, DONE_KEPT_S
from raypipe.lazy_dataclass import dataclass
from raypipe.runtime.claiming import WHOLE_RUN
from raypipe.testing.simulation.claim_laws import ClaimLaws
from raypipe.testing.simulation.promise import Promise, hours


@dataclass(frozen=True, slots=True)
class SimulatedClaims:
    """Implements `ports.Claims` for one process; `pause` gives way to others, and ends a process that was killed."""

    laws: ClaimLaws
    promise: Promise
    pause: Callable[[], None]

    def mark(self) -> int:
        """Return how many pieces of work were finished so far."""
        self.pause()
        return 0 if self.laws.table.comes_to_nothing() else self.laws.table.finished

    def take(self, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        """Claim windows."""
        self.pause()
        if name == WHOLE_RUN:
            self.promise.claimed = {hour for window in wanted for hour in hours(window)}
        return None if self.laws.table.comes_to_nothing() else self.laws.table.take(claimant, name, wanted)

    def renew(self, run_id: str) -> None:
        """Say that the run goes on."""
        self.pause()
        if not self.laws.table.comes_to_nothing():
            for one in self.laws.table.held_by(run_id):
                one.expires_s = self.laws.table.clock.now_s + CLAIM_LIMIT_S

    def release(self, run_id: str, name: str | None, *, done: bool) -> None:
        """Let go of what was claimed."""
        self.pause()
        table = self.laws.table
        mine = table.held_by(run_id, name)
        if table.comes_to_nothing():
            for one in mine:
                one.was_let_go = True
            return
        table.finished += done
        for one in mine:
            if done:
                one.claim, one.expires_s = replace(one.claim, done=table.finished), table.clock.now_s + DONE_KEPT_S
                continue
            if name is not None:
                self.laws.let_go(one)
            table.kept.remove(one)
