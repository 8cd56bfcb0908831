"""Sets of time: proven against sets of integers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.intervals import covers, gaps, intersect, meeting, normalise, subtract
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window

windows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda pair: Window(pair[0], pair[0] + pair[1])), max_size=8
)


def points(ranges):
    return {instant for one in ranges for instant in range(one.start_us, one.end_us)}


def is_normal(ranges):
    return all(a.end_us < b.start_us for a, b in itertools.pairwise(ranges))


@given(windows)
def test_normalised_ranges_hold_the_same_instants_sorted_and_apart(some):
    result = normalise(some)
    assert points(result) == points(some)
    assert is_normal(result)
    assert normalise(result) == result


@given(windows, windows)
def test_union_does_not_depend_on_order(left, right):
    assert normalise([*left, *right]) == normalise([*right, *left]) == normalise([*normalise(left), *right])


@given(windows, windows)
def test_subtract_leaves_what_is_only_on_the_left(left, right):
    result = subtract(normalise(left), normalise(right))
    assert points(result) == points(left) - points(right)
    assert is_normal(result) or all(a.end_us <= b.start_us for a, b in itertools.pairwise(result))


@given(windows, windows)
def test_intersect_keeps_what_is_on_both_sides(left, right):
    assert points(intersect(normalise(left), normalise(right))) == points(left) & points(right)


@given(windows)
def test_gaps_are_the_holes_between_first_and_last(some):
    ranges = normalise(some)
    hull = set(range(ranges[0].start_us, ranges[-1].end_us)) if ranges else set()
    assert points(gaps(ranges)) == hull - points(ranges)


@given(windows, st.integers(0, 40))
def test_the_low_watermark_is_the_end_of_the_contiguous_coverage(some, start_us):
    mark = low_watermark(normalise(some), start_us)
    covered = points(some)
    expected = next(instant for instant in range(start_us, 100) if instant not in covered)
    assert mark == (expected if expected > start_us else None)


@given(windows, st.tuples(st.integers(0, 40), st.integers(1, 9)))
def test_a_set_covers_a_window_when_it_holds_every_instant_of_it(some, pair):
    window = Window(pair[0], pair[0] + pair[1])
    assert covers(normalise(some), window) == (points([window]) <= points(some))


@given(windows, st.tuples(st.integers(0, 40), st.integers(1, 9)))
def test_the_windows_that_meet_one_are_found_among_disjoint_ones(some, pair):
    window, ranges = Window(pair[0], pair[0] + pair[1]), normalise(some)
    assert list(meeting(ranges, window)) == [one for one in ranges if one.meets(window)]
