"""Blocks of lines: no line is lost, doubled or torn, whatever the sizes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.sources.lines import RAW_CHARS_MAX, Block, blocks, raw_text


def cut(data: bytes, **sizes: int) -> list[Block]:
    return list(blocks(io.BytesIO(data), "f.csv", **sizes))


@given(st.lists(st.binary(max_size=12).filter(lambda one: b"\n" not in one)), st.booleans(), st.integers(3, 30))
def test_every_line_comes_once_with_its_number_whatever_the_block_size(lines: list[bytes], ended: bool, block_bytes: int) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    if data.startswith(b"\xef\xbb\xbf"):
        return
    found = [pair for block in cut(data, block_bytes=block_bytes) for pair in zip(block.numbers(), block.lines(), strict=True)]
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == list(enumerate(expected, 1))


def test_blocks_end_at_line_ends() -> None:
    found = cut(b"11\n22\n33\n44", block_bytes=7)
    assert found == [Block(b"11\n22\n", 1), Block(b"33\n", 3), Block(b"44", 4)]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert cut(b"\xef\xbb\xbfa,b\n\xef\xbb\xbfc") == [Block(b"a,b\n", 1), Block(b"\xef\xbb\xbfc", 2)]


def test_an_empty_file_has_no_block() -> None:
    assert cut(b"") == []


@pytest.mark.parametrize("block_bytes", [3, 7, 1000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nlast"])
def test_a_line_that_is_too_long_is_one_reject_and_its_neighbours_stay(block_bytes: int, end: bytes) -> None:
    found = cut(b"a\n" + b"x" * 50 + b"\n" + b"b" * 20 + b"\n" + b"y" * 21 + end, block_bytes=block_bytes, line_bytes_max=20)
    lines = [pair for block in found for pair in zip(block.numbers(), block.lines(), strict=True)]
    rejects = [reject for block in found for reject in block.rejects]
    assert lines == [(1, b"a"), (3, b"b" * 20), *([(5, b"last")] if end == b"\nlast" else [])]
    assert [(one.position, one.rule, one.error) for one in rejects] == [
        (2, "line_too_long", "line 2 has 50 bytes, expected at most 20"),
        (4, "line_too_long", "line 4 has 21 bytes, expected at most 20"),
    ]
    assert rejects[0].uri == "f.csv"
    assert set(rejects[0].raw) == {"x"}


class Endless:
    """A line of a gigabyte that never was in memory; it remembers the most that was asked for at once."""

    def __init__(self, size_bytes: int) -> None:
        self.left_bytes = size_bytes

    def read(self, size: int, /) -> bytes:
        taken = min(size, self.left_bytes)
        self.left_bytes -= taken
        return b"z" * taken


def test_a_line_of_a_gigabyte_takes_no_more_memory_than_the_limit() -> None:
    import tracemalloc

    tracemalloc.start()
    found = list(blocks(Endless(10**9), "f.csv", block_bytes=10**6, line_bytes_max=4 * 10**6))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one.error for one in found[0].rejects] == ["line 1 has 1,000,000,000 bytes, expected at most 4,000,000"]
    assert len(found) == 1
    assert peak_bytes < 20 * 10**6
    assert len(found[0].rejects[0].raw) == RAW_CHARS_MAX + 1


def test_raw_text_shows_bytes_that_are_no_characters_and_one_character_more_where_it_was_cut() -> None:
    assert raw_text(b"a\xff\0b\r") == "a\\xff\0b"
    assert raw_text("é".encode() * RAW_CHARS_MAX) == "é" * RAW_CHARS_MAX
    assert raw_text(b"x" * (RAW_CHARS_MAX + 9)) == "x" * (RAW_CHARS_MAX + 1)
