"""Arrow's memory: whose allocator Arrow takes it from while a task is at work, by the size of its shards."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa

from raypipe.core.room import engines_memory
from raypipe.core.shard import Shard

LARGE_ROWS = 1_000_000  # of a shard: its columns are so long that to keep their memory gains nothing and costs 40 MiB at the peak


def choose_arrow_memory(shards: Sequence[Shard]) -> None:
    """Take the system's memory for a task with a large shard, that of jemalloc for others; what is held stays as it is.

    Only where raypipe chose jemalloc for this process: not where a person did otherwise, nor in somebody else's process.
    """
    usual = engines_memory(os.cpu_count() or 1)
    if any(os.environ.get(name) != value for name, value in usual.items() if "ARROW" in name):
        return
    large = any(shard.rows >= LARGE_ROWS for shard in shards)
    pa.set_memory_pool(pa.system_memory_pool() if large else pa.jemalloc_memory_pool())
