"""Budget: what a task may use of the memory, by the way in which it is done."""

from __future__ import annotations

from raypipe.core.room import Room
from raypipe.lazy_dataclass import dataclass

LEAN_SHARE = 9  # of the task's memory: an aggregation spills beyond it, which costs it a third of its time
ROOMY_SHARE = 2  # of the task's memory: for what cannot spill, when it has failed once
ALONE_ROWS_SHARE = 8  # of run.memory: small batches, and little held, so that the engine may have most of the rest
ALONE_ENGINE_SHARE = 2  # of run.memory: what is left is the process itself, and what it cannot give back


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one task may use."""

    rows_bytes: int
    """For rows on their way: the size of a batch, and what steps hold before they spill, are parts of it."""
    engine_bytes: int
    """For what one aggregation holds before it spills."""

    @classmethod
    def lean(cls, memory_bytes: int) -> Budget:
        """Return the budget of a task that has this memory and needs no more of it than it must."""
        return cls(memory_bytes, memory_bytes // LEAN_SHARE)


def budgets(room: Room, share_bytes: int, whole_bytes: int) -> tuple[Budget, ...]:
    """Return the budgets that a task tries one after the other, given its share of the memory and all of `run.memory`."""
    if room.is_alone:
        return (Budget(whole_bytes // ALONE_ROWS_SHARE, whole_bytes // ALONE_ENGINE_SHARE),)
    usable_bytes = share_bytes // 2 if room is Room.SPARING else share_bytes
    return (Budget.lean(usable_bytes), Budget(usable_bytes, usable_bytes // ROOMY_SHARE))
