"""Which shards one worker does at once: small neighbours together, since each task has a fixed cost; large ones alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raypipe.core.shard import Shard
from raypipe.lazy_dataclass import dataclass

ROWS_MIN = 20_000  # below this a task costs more to start than to do
ROWS_MAX = 500_000  # above this a task gains nothing from more rows, and a retry loses more
SHARDS_MAX = 2_000  # bounds the size of one task's description and of its manifests
TASKS_PER_SLOT = 2  # each slot is handed two tasks at a time: enough tasks that the last ones leave no worker idle for long


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """How many tasks are handed out, and how much one may hold: `size_bytes` of input follow from the memory of a task."""

    slots: int
    size_bytes: int
    shards: int = SHARDS_MAX
    workers: int = 0
    """How many tasks are at work at once, where a second attempt at a slow one may end before it; else 0."""


def group_shards(shards: Sequence[Shard], limits: TaskLimits) -> Iterator[tuple[Shard, ...]]:
    """Yield groups of neighbouring shards that are done for the same outputs, in order. One that is over the limits stands alone.

    Where the rows make up less than full tasks, they are shared out evenly, with a shard's worth of slack: a group
    ends before its limit, and the shards left over so would make one more task.
    """
    sizes = [one.rows for one in shards]
    total = sum(sizes)
    rows_max = min(ROWS_MAX, max(ROWS_MIN, total // (limits.slots * TASKS_PER_SLOT) + total // max(1, len(shards))))
    group: list[Shard] = []
    rows = size_bytes = 0
    for shard, shard_rows in zip(shards, sizes, strict=True):
        shard_bytes = shard.size_bytes
        full = rows + shard_rows > rows_max or size_bytes + shard_bytes > limits.size_bytes or len(group) >= limits.shards
        if group and (full or shard.outputs != group[0].outputs):
            yield tuple(group)
            group, rows, size_bytes = [], 0, 0
        group.append(shard)
        rows += shard_rows
        size_bytes += shard_bytes
    if group:
        yield tuple(group)
