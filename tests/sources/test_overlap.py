from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raypipe.sources.overlap import Spans

ranges = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=12)


@given(ranges, st.integers(0, 30), st.integers(1, 10))
def test_meeting_gives_what_comparing_all_gives(spans: list[tuple[int, int]], start: int, length: int) -> None:
    end = start + length
    expected = [number for number, (a, b) in enumerate(spans) if a < end and start < b]
    assert sorted(Spans(spans).meeting(start, end)) == expected
