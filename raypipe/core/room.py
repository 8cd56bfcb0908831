"""Room: how a task deals with memory. What ran out of it is done again in another way, never the same way twice."""

from __future__ import annotations

import enum

from raypipe.errors import OutOfMemory, WorkerDied

PROCESS_BYTES = 128 * 1024**2  # a process that has loaded its engines, before it holds a row
COMMIT_SHARE = 4  # of run.memory, for a commit beside the tasks at work; a larger one spills
TASK_BYTES_MIN = 128 * 1024**2  # below this the engines of a task overrun it by what they need in any case
TRIM_BYTES = 4 * 1024**2  # of freed memory that glibc keeps in each of its heaps
APART_BYTES = 8 * 1024**2  # a block from which on it is given back at once: a file's blocks of text are smaller
CORES_AN_ARENA = 2  # of an allocator: enough that threads seldom wait for one, few enough that they use what others let go of


def engines_memory(cores: int) -> dict[str, str]:
    """Return what is set before Arrow and Polars are loaded, where a person has not: how they take memory and give it back.

    Both take it by jemalloc, with few arenas, so that what one thread let go of is the next one's. With four a core, as is
    usual, or with the system's allocator, a tenth of a run goes into fresh pages. Arrow moves whole columns then: its pages
    go back after 30 ms, and no thread keeps any. Polars' go back after 0.5 s, not 1.2: 30 MiB at the peak of a run. DuckDB has
    much from the C library, which keeps up to twice the largest block that was freed, 50 MiB at the peak, if not told otherwise.
    """
    arenas = max(1, cores // CORES_AN_ARENA)
    return {
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        "JE_ARROW_MALLOC_CONF": f"narenas:{arenas},tcache:false,dirty_decay_ms:30",
        "_RJEM_MALLOC_CONF": f"narenas:{arenas},muzzy_decay_ms:0",
        "MALLOC_TRIM_THRESHOLD_": str(TRIM_BYTES),
        "MALLOC_MMAP_THRESHOLD_": str(APART_BYTES),
    }


def slots_in_process(memory_bytes: int, slots_max: int) -> int:
    """Return how many tasks one process does at once within `run.memory`, up to a number."""
    return max(1, min(slots_max, _for_tasks(memory_bytes) // TASK_BYTES_MIN))


def share_in_process(memory_bytes: int, slots: int) -> int:
    """Return what each of so many tasks may use of `run.memory` in one process, which also commits."""
    return max(1, _for_tasks(memory_bytes) // slots)


def _for_tasks(memory_bytes: int) -> int:
    return memory_bytes - min(PROCESS_BYTES, memory_bytes // 2) - memory_bytes // COMMIT_SHARE


class Room(enum.IntEnum):
    """The ways to do a task. Each needs less memory than the one before it, or has more."""

    SHARED = 0
    """Within its share of `run.memory`, beside other tasks."""
    SPARING = 1
    """Within half of it: smaller batches, and engines that spill sooner."""
    ALONE = 2
    """With all of `run.memory` and nothing beside it; batches stay small, and most is the engines'."""
    IN_PIECES = 3
    """The same, and the shard's time in pieces, one after the other, that make up one contribution."""
    IN_SMALL_PIECES = 4

    @property
    def is_alone(self) -> bool:
        """Whether no other task of the run may be at work meanwhile."""
        return self >= Room.ALONE

    @property
    def pieces(self) -> int:
        """In how many pieces of time the shard is computed."""
        return {Room.IN_PIECES: 8, Room.IN_SMALL_PIECES: 64}.get(self, 1)


def next_room(failed: Room, code: str, *, divisible: bool) -> Room | None:
    """Return how a single shard is done after it failed in one way by an error with this code; None where no way is left.

    Where memory ran out, that is known to have been too little. A worker that died may have been killed for its memory, or
    not: so it is first given less of it to use, and at the end the same again, as often as retries allow.
    `divisible` tells that the shard may be computed in pieces of its time.
    """
    last = Room.IN_SMALL_PIECES if divisible else Room.ALONE
    match code:
        case OutOfMemory.code:
            return None if failed >= last else Room(max(failed + 1, Room.ALONE))
        case WorkerDied.code:
            return Room(min(failed + 1, last))
        case _:
            return failed
