"""Settling: a destination that is busy, failing or of unknown mind is asked again until it answers. The ledger knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from raypipe.core import events as ev
from raypipe.errors import CommitUnknown, InDoubt, Interrupted, RetryableError, StagedDamaged
from raypipe.failpoints import hit
from raypipe.runtime.stopping import Stopping

SETTLE_ATTEMPTS = 12  # with the waits some two minutes in which a destination may come back
SETTLE_WAIT_S = 1.0
SETTLE_WAIT_MAX_S = 15.0

_T = TypeVar("_T")


class Settler:
    """Asks a destination with patience. Every call that it is given may be repeated without harm."""

    def __init__(self, stopping: Stopping, tell: Callable[[ev.RunEvent], None]) -> None:
        self._stopping = stopping
        self._tell = tell

    def settled(self, ask: Callable[[], _T]) -> _T:
        """Return the answer.

        Raises InDoubt when an outcome stays unknown, the last error when the destination stays busy, and Interrupted when
        a signal ends the waiting. StagedDamaged is raised as it comes: asking again would not mend a file; but of a commit
        that may have happened before its files were damaged, only the ledger can tell.
        """
        unknown: CommitUnknown | None = None
        last: RetryableError
        for attempt in range(SETTLE_ATTEMPTS):
            try:
                if attempt:
                    hit("settle.before_ask")
                return ask()
            except StagedDamaged as error:
                if unknown is None:
                    raise
                last = error
                break
            except RetryableError as error:
                last = error
            if isinstance(last, CommitUnknown):
                unknown = last
            if attempt + 1 == SETTLE_ATTEMPTS or not self._wait(attempt, last, unknown):
                break
        if unknown is not None:
            raise InDoubt(f"the outcome of the last commit is not known ({last}); run again: the ledger settles it") from last
        raise last

    def _wait(self, attempt: int, error: RetryableError, unknown: CommitUnknown | None) -> bool:
        """Wait until the destination is asked again; False when there is no time for it and the outcome is unknown."""
        self._tell(ev.Warned(f"{error}; trying again"))
        try:
            self._stopping.sleep_s(min(SETTLE_WAIT_MAX_S, SETTLE_WAIT_S * 2**attempt))
            if not self._stopping.grace_is_over:
                return True
            raise Interrupted(
                f"stopped while the destination did not answer ({error}); what is staged is kept: run again to resume"
            )
        except Interrupted:
            if unknown is None:
                raise
            return False
