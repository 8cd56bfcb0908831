"""Ahead: items of an iterator, made by a thread of their own while the one before is worked on; their order stays."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from raypipe.lazy_dataclass import dataclass
from raypipe.sources.lines import BLOCK_BYTES, ByteStream

AHEAD_MAX = 2  # items made and not yet taken: enough that neither side waits for the other's hiccups, and memory is bounded
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _Maker(Generic[_T]):
    """The thread that makes the items, and what it made."""

    def __init__(self, items: Iterator[_T]) -> None:
        self._items = items
        self._made: queue.SimpleQueue[tuple[_T] | _Failed | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(AHEAD_MAX)
        self._stopped = False
        self._thread = threading.Thread(target=self._make, name="raypipe-ahead", daemon=True)

    def start(self) -> None:
        """Begin to make items."""
        self._thread.start()

    def taken(self) -> Iterator[_T]:
        """Yield the items; what making one raises is raised in its place."""
        while (made := self._made.get()) is not None:
            self._free.release()
            if isinstance(made, _Failed):
                raise made.error
            yield made[0]

    def stop(self) -> None:
        """Wait until nothing is made any more."""
        self._stopped = True
        self._free.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _make(self) -> None:
        try:
            while self._free.acquire() and not self._stopped:
                self._made.put((next(self._items),))
        except StopIteration:
            self._made.put(None)
        except BaseException as error:  # raised where the item is wanted
            self._made.put(_Failed(error))


@contextmanager
def ahead(items: Iterator[_T], is_long: Callable[[_T], bool], *, at_once: bool = False) -> Iterator[Iterator[_T]]:
    """Give the items, made ahead by a thread where one tells that they go on for long; it has ended on leaving.

    `at_once`: that they do is known before the first is made.
    """
    maker = _Maker(items)
    if at_once:
        maker.start()

    def given() -> Iterator[_T]:
        if at_once:
            yield from maker.taken()
            return
        for item in items:
            if is_long(item):
                maker.start()  # before it is handed on: whoever takes it may have much to do first
                yield item
                yield from maker.taken()
                return
            yield item

    try:
        yield given()
    finally:
        maker.stop()


class _Pieces:
    """A byte stream over pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty only at the end."""
        data = self._rest or next(self._pieces, b"")
        self._rest = data[size:]
        return data[:size] if self._rest else data


@contextmanager
def read_ahead(stream: ByteStream, *, at_once: bool = False) -> Iterator[ByteStream]:
    """Give a stream whose bytes are read, and decompressed, by a thread where they are many."""
    pieces: Iterator[Any] = iter(lambda: stream.read(BLOCK_BYTES), b"")
    with ahead(pieces, lambda piece: len(piece) == BLOCK_BYTES, at_once=at_once) as made:
        yield _Pieces(made)
