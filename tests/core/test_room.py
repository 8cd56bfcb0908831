"""Room: what ran out of memory is done in another way, until none is left."""

from __future__ import annotations

import pytest

from raypipe.core.room import Room, next_room
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
