"""Small neighbours go together, large shards alone; none is lost and the order is kept."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.grouping import ROWS_MAX, ROWS_MIN, SHARDS_MAX, TASKS_PER_SLOT, TaskLimits, group_shards
from raypipe.core.shard import InputFile, Reason, Shard, Slice
from raypipe.core.window import Window

LIMITS = TaskLimits(slots=2, size_bytes=1_000_000)


def shard(index, rows, size_bytes=0):
    slices = (Slice(InputFile("f", 1, "v"), rows=rows, size_bytes=size_bytes),) if rows else ()
    return Shard(index, Window(index, index + 1), Reason.NEW, frozenset(), slices)


@given(st.lists(st.integers(0, 400_000), max_size=60), st.integers(1, 8))
def test_groups_hold_every_shard_once_in_order(sizes, slots):
    shards = [shard(index, rows) for index, rows in enumerate(sizes)]
    groups = list(group_shards(shards, TaskLimits(slots, 1_000_000)))
    assert [one for group in groups for one in group] == shards
    assert all(sum(one.rows for one in group) <= ROWS_MAX or len(group) == 1 for group in groups)


def test_a_year_of_tiny_hourly_shards_is_a_handful_of_tasks():
    groups = list(group_shards([shard(index, 40) for index in range(8760)], LIMITS))
    assert 4 <= len(groups) <= 16


def test_a_year_of_days_is_shared_out_evenly_without_a_small_rest():
    sizes = [900 + index % 5 for index in range(365)]
    groups = list(group_shards([shard(index, rows) for index, rows in enumerate(sizes)], LIMITS))
    rows = [sum(one.rows for one in group) for group in groups]
    assert len(rows) == LIMITS.slots * TASKS_PER_SLOT
    assert min(rows) > 0.9 * max(rows)


def test_empty_shards_are_bounded_by_their_number():
    groups = list(group_shards([shard(index, 0) for index in range(SHARDS_MAX + 1)], LIMITS))
    assert [len(group) for group in groups] == [SHARDS_MAX, 1]


def test_a_shard_over_the_limit_stands_alone():
    groups = list(group_shards([shard(0, 10), shard(1, 10 * ROWS_MAX), shard(2, 10)], LIMITS))
    assert [[one.index for one in group] for group in groups] == [[0], [1], [2]]


def test_bytes_bound_a_task_as_well_as_rows():
    groups = list(group_shards([shard(index, ROWS_MIN // 100, 600_000) for index in range(4)], LIMITS))
    assert [len(group) for group in groups] == [1, 1, 1, 1]


def test_shards_that_are_done_for_other_outputs_are_tasks_of_their_own():
    shards = [replace(shard(index, 1), outputs=outputs) for index, outputs in enumerate([(), ("a",), ("a",), ("b",), ()])]
    assert [[one.index for one in group] for group in group_shards(shards, LIMITS)] == [[0], [1, 2], [3], [4]]
