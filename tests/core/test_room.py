"""Room: what ran out of memory is done in another way, until none is left."""

from __future__ import annotations

import pytest

from raypipe.core.room import COMMIT_SHARE, TASK_BYTES_MIN, Room, next_room, share_in_process, slots_in_process
from raypipe.errors import OutOfMemory, WorkerDied


@pytest.mark.parametrize("divisible", [True, False])
@pytest.mark.parametrize("room", list(Room))
def test_the_same_way_never_follows_a_lack_of_memory(room, divisible):
    after = next_room(room, OutOfMemory.code, divisible=divisible)
    assert after is None or after > room
    assert after is None or after.is_alone


def test_a_shard_is_cut_only_where_that_changes_nothing():
    ways = {divisible: [Room.SHARED] for divisible in (True, False)}
    for divisible, found in ways.items():
        while (after := next_room(found[-1], OutOfMemory.code, divisible=divisible)) is not None:
            found.append(after)
    assert ways[False] == [Room.SHARED, Room.ALONE]
    assert ways[True] == [Room.SHARED, Room.ALONE, Room.IN_PIECES, Room.IN_SMALL_PIECES]
    assert [room.pieces for room in ways[True]] == [1, 1, 8, 64]


def test_a_worker_that_died_is_first_suspected_of_little():
    assert next_room(Room.SHARED, WorkerDied.code, divisible=False) is Room.SPARING
    assert not Room.SPARING.is_alone
    assert next_room(Room.SPARING, WorkerDied.code, divisible=False) is Room.ALONE
    assert next_room(Room.ALONE, WorkerDied.code, divisible=False) is Room.ALONE


def test_other_errors_change_no_way():
    assert [next_room(room, "os_error", divisible=True) for room in Room] == list(Room)


@pytest.mark.parametrize("memory_mib", [1, 32, 384, 1024, 4096])
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_tasks_and_commit_and_the_process_itself_fit_in_the_memory(memory_mib, slots):
    memory_bytes = memory_mib * 1024**2
    share_bytes = share_in_process(memory_bytes, slots)
    assert 0 < share_bytes * slots <= memory_bytes - memory_bytes // COMMIT_SHARE - min(128 * 1024**2, memory_bytes // 2)
    assert slots_in_process(memory_bytes, slots) in (1, min(slots, share_in_process(memory_bytes, 1) // TASK_BYTES_MIN))


def test_fewer_tasks_are_done_at_once_where_there_is_little_memory():
    assert [slots_in_process(memory_mib * 1024**2, 2) for memory_mib in (32, 384, 512, 2048)] == [1, 1, 2, 2]
