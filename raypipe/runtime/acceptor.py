"""Acceptor: lets live ranges stand as they are, though a definition or their input changed. One transaction, and no row changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from raypipe.core import events as ev
from raypipe.core.acceptance import acceptance, accepted_shrunk, accepted_stale
from raypipe.core.commit import ShardCommit
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.state import RunOpening, RunState
from raypipe.core.window import Window
from raypipe.errors import SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Destination
from raypipe.runtime.planner import Planned, unreadable_text
from raypipe.runtime.settling import Settler

Difference = Literal["stale", "shrunk"]
"""What is accepted: that another definition made a range, or that files are gone that it was made from."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of an acceptance."""

    run_id: str | None = None
    """None when there was nothing to accept."""
    windows: tuple[Window, ...] = ()
    conflicts: tuple[Window, ...] = ()
    """Ranges that another run committed meanwhile: they were left as they were."""


@dataclass(frozen=True, slots=True)
class Acceptor:
    """Accepts differences for one pipeline."""

    destination: Destination
    settler: Settler
    tell: Callable[[ev.RunEvent], None]

    def run(self, opening: RunOpening, planned: Planned, what: Difference) -> Accepted:
        """Accept all that a plan shows. Raises SourceUnreadable for a file that cannot be read: are its rows gone?"""
        if planned.unreadable and what == "shrunk":
            raise SourceUnreadable(unreadable_text(planned.unreadable))
        shards = _shards(opening, planned, what)
        if not shards:
            return Accepted()
        run = self.settler.settled(lambda: self.destination.open_run(opening))
        for closed in run.closed:
            self.tell(ev.Warned(f"run {closed} was left open by a process that is gone; it was closed"))
        request = acceptance(run, shards)
        receipt = self.settler.settled(lambda: self.destination.commit(request, ()))
        self.settler.settled(lambda: self.destination.close_run(run.run_id, run.epoch, RunState.DONE))
        return Accepted(run.run_id, tuple(sorted(receipt.outcomes)), receipt.conflicts)


def _shards(opening: RunOpening, planned: Planned, what: Difference) -> tuple[ShardCommit, ...]:
    live = LiveRanges.of(planned.snapshot, tuple(opening.definitions))
    if what == "stale":
        return accepted_stale(live, [window for window, _ in planned.plan.stale])
    return accepted_shrunk(live, planned.plan.shrunk)
