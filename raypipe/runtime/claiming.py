"""Claiming: a run's claims on the shards that it works on, so that runs at the same time share them out. Never safety."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce

from raypipe.core import events as ev
from raypipe.core.claims import Claimant, Refusal
from raypipe.core.shard import Shard, Task
from raypipe.core.window import Window
from raypipe.errors import Interrupted
from raypipe.ports import Claims
from raypipe.runtime.planner import Planned
from raypipe.runtime.stopping import Stopping

WHOLE_RUN = "run"  # the name of what an atomic run claims at once
WINDOW_WAIT_S = 0.5  # how often an atomic run asks again for its window


class Claiming:
    """The claims of one run. Shards that are held by others are left to them for a while; what they finish is planned again."""

    def __init__(self, claims: Claims, claimant: Claimant, stopping: Stopping, tell: Callable[[ev.RunEvent], None]) -> None:
        self._claims = claims
        self._claimant = claimant
        self._stopping = stopping
        self._tell = tell
        self._marks: dict[Window, int] = {}
        """By shard, how much others had finished when it was planned."""
        self._mark = 0
        self._held: set[str] = set()
        self._told = False

    def planned_within(self, asked: Window | None, plan: Callable[[], Planned]) -> Planned:
        """Plan; an atomic run holds a claim on all of its plan from before it. Raises Interrupted when told to stop.

        Live ranges may widen shards beyond what was asked for: then more is claimed, and planned again. Nothing is held
        while it waits for more, so that two such runs never wait for each other.
        """
        while True:
            if self._claimant.atomic and asked:
                self.claim_window(asked)
            self.before_planning()
            planned = plan()
            windows = [*([asked] if asked else []), *(one.window for one in planned.plan.shards)]
            widened = reduce(Window.hull, windows) if windows else None
            if not self._claimant.atomic or widened == asked:
                break
            self.release(WHOLE_RUN, done=False)
            asked = widened
        self.planned(planned.plan.shards)
        return planned

    def before_planning(self) -> None:
        """Note what others have finished; called before the destination is observed, so that nothing is missed."""
        self._mark = self._claims.mark()

    def planned(self, shards: Iterable[Shard]) -> None:
        """Take note of shards of the newest plan."""
        self._marks.update((shard.window, self._mark) for shard in shards)

    def claim_window(self, window: Window) -> None:
        """Claim all of an atomic run's window; waits for another atomic run. Raises Interrupted when told to stop."""
        while refusal := self._claims.take(self._claimant, WHOLE_RUN, {window: 0}):
            self._tell_of(refusal)
            self._stopping.sleep_s(WINDOW_WAIT_S)
            if self._stopping.signal is not None:
                raise Interrupted("stopped while another backfill of the same range was under way")
        self._held.add(WHOLE_RUN)

    def refused(self, task: Task) -> ev.TaskHeld | None:
        """Claim the shards of a task; return the event that says which of them others work on or have done."""
        if self._claimant.atomic:
            return None  # all of it is claimed
        wanted = {shard.window: self._marks.get(shard.window, 0) for shard in task.shards}
        refusal = self._claims.take(self._claimant, task.attempt_id, wanted)
        if refusal is None:
            self._held.add(task.attempt_id)
            return None
        self._tell_of(refusal)
        return ev.TaskHeld(task, refusal.held, refusal.done)

    def renew(self) -> None:
        """Say that the run goes on."""
        if self._held:
            self._claims.renew(self._claimant.run_id)

    def release(self, attempt_id: str, *, done: bool) -> None:
        """Let go of a task's shards: they are committed, or failed and may be tried by anyone."""
        if attempt_id in self._held:
            self._held.remove(attempt_id)
            self._claims.release(self._claimant.run_id, attempt_id, done=done)

    def close(self) -> None:
        """Let go of all that is held still; what an atomic run did is to be planned again by others."""
        if self._held:
            self._held.clear()
            self._claims.release(self._claimant.run_id, None, done=self._claimant.atomic)

    def _tell_of(self, refusal: Refusal) -> None:
        if not self._told and refusal.held:
            self._told = True
            by = refusal.by
            self._tell(ev.Warned(f"run {by.run_id} ({by.holder}) works on some of these shards; they are left to it"))


class NoClaims:
    """Implements `ports.Claims` for a run that is alone with its destination."""

    def mark(self) -> int:
        """Return that nobody finished anything."""
        return 0

    def take(self, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        """Refuse nothing."""
        return None

    def renew(self, run_id: str) -> None:
        """Do nothing."""

    def release(self, run_id: str, name: str | None, *, done: bool) -> None:
        """Do nothing."""
