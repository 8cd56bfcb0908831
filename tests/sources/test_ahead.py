from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest

from raypipe.sources.ahead import AHEAD_MAX, ahead, read_ahead
from raypipe.sources.lines import BLOCK_BYTES


def makers() -> list[str]:
    """Return the names of the threads that make items now."""
    return [thread.name for thread in threading.enumerate() if thread.name == "raypipe-ahead"]


def test_items_come_in_order_made_by_a_thread_once_one_is_long() -> None:
    by: list[threading.Thread] = []

    def made() -> Iterator[int]:
        for number in range(50):
            by.append(threading.current_thread())
            yield number

    with ahead(made(), lambda number: number == 2) as items:
        assert list(items) == list(range(50))
    assert [thread is threading.current_thread() for thread in by] == [True] * 3 + [False] * 47
    assert makers() == []


def test_more_items_are_made_while_the_first_long_one_is_worked_on() -> None:
    second = threading.Event()

    def made() -> Iterator[int]:
        yield 0
        second.set()
        yield 1

    with ahead(made(), lambda _: True) as items:
        assert next(items) == 0
        assert second.wait(120)
        assert list(items) == [1]


def test_few_short_items_start_no_thread() -> None:
    with ahead(iter([1, 2, 3]), lambda _: False) as items:
        assert [(item, makers()) for item in items] == [(1, []), (2, []), (3, [])]


def test_what_making_an_item_raises_comes_after_the_items_before_it() -> None:
    def made() -> Iterator[int]:
        yield from range(5)
        raise ValueError("broken at 5")

    seen: list[int] = []
    with pytest.raises(ValueError, match="broken at 5"), ahead(made(), lambda _: True) as items:
        seen.extend(items)
    assert seen == [0, 1, 2, 3, 4]
    assert makers() == []


def test_no_more_than_a_few_items_are_made_ahead_and_none_after_leaving() -> None:
    made: list[int] = []
    enough = threading.Event()

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            if len(made) == 2 + AHEAD_MAX:
                enough.set()
            yield made[-1]

    with ahead(endless(), lambda _: True) as items:
        assert [next(items), next(items)] == [0, 1]
        assert enough.wait(120)
        assert len(made) <= 3 + AHEAD_MAX
    count = len(made)
    assert count <= 3 + AHEAD_MAX
    assert makers() == []


@pytest.mark.parametrize("size_bytes", [0, 10, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("read_bytes", [BLOCK_BYTES, 1_000_003])
def test_a_stream_read_ahead_gives_the_same_bytes(size_bytes: int, read_bytes: int) -> None:
    data = bytes(range(251)) * (size_bytes // 251 + 1)
    with read_ahead(io.BytesIO(data[:size_bytes])) as stream:
        read = list(iter(lambda: stream.read(read_bytes), b""))
        assert stream.read(read_bytes) == b""
    assert b"".join(read) == data[:size_bytes]
    assert max(map(len, read), default=0) <= read_bytes
