from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.config.problems import Unfit
from raypipe.config.quantities import (
    DURATION_US_MAX,
    SIZE_BYTES_MAX,
    duration_text,
    parse_duration,
    parse_positive_duration,
    parse_rate,
    parse_shard_width,
    parse_size,
    size_text,
)
from raypipe.core.calendar import Width

ANYTHING = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(), max_size=2))


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1),
        ("512MB", 512_000_000),
        ("512MiB", 512 * 1024**2),
        ("2 GiB", 2 * 1024**3),
        ("1.5kB", 1500),
        ("1KB", 1000),
        ("1KiB", 1024),
    ],
)
def test_sizes_are_decimal_and_with_an_i_binary(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("0s", 0),
        ("30s", 30_000_000),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        ("1w", 604_800_000_000),
        ("1mo", 31 * 86_400_000_000),
        ("0.5s", 500_000),
    ],
)
def test_durations_have_these_lengths(text, duration_us):
    assert parse_duration(text) == duration_us


@pytest.mark.parametrize(
    ("value", "share"), [("0.1%", 0.001), ("0.001", 0.001), (0.001, 0.001), (0, 0.0), (1, 1.0), ("100%", 1.0), ("5 %", 0.05)]
)
def test_rates_are_percentages_or_shares(value, share):
    assert parse_rate(value) == share


@pytest.mark.parametrize(
    ("text", "width"), [("15m", Width(15, "m")), ("1h", Width(1, "h")), ("2w", Width(2, "w")), ("1mo", Width(1, "mo"))]
)
def test_widths_are_whole(text, width):
    assert parse_shard_width(text) == width


@pytest.mark.parametrize(
    ("parse", "value", "nearest"),
    [
        (parse_shard_width, "5 mins", "5m"),
        (parse_shard_width, "1 day", "1d"),
        (parse_shard_width, "2 Months", "2mo"),
        (parse_shard_width, "30s", None),
        (parse_duration, "10 sec", "10s"),
        (parse_duration, "1 fortnight", None),
        (parse_size, "512mb", "512MB"),
        (parse_size, "2 gib", "2GiB"),
        (parse_size, "4g", "4GB"),
        (parse_size, "4 kb", "4kB"),
    ],
)
def test_what_was_probably_meant_is_named_and_would_be_right(parse, value, nearest):
    with pytest.raises(Unfit) as caught:
        parse(value)
    assert caught.value.nearest == nearest
    if nearest is not None:
        parse(nearest)


@pytest.mark.parametrize(
    "value", ["0B", "9999999EB", "9000PB" + "0" * 30, 512, "1.5.5MB", "-1MB", "MB", "", "1 k", "１MB", True, None]
)
def test_other_sizes_are_refused(value):
    with pytest.raises(Unfit):
        parse_size(value)


@pytest.mark.parametrize("value", ["-1s", "1", 0, "1y", "s", "36526d", "1_0s", "1e3s", None, True, "9" * 40 + "s"])
def test_other_durations_are_refused(value):
    with pytest.raises(Unfit):
        parse_duration(value)


def test_a_time_out_of_nothing_is_refused():
    assert parse_positive_duration("1s") == 1_000_000
    with pytest.raises(Unfit, match="more than 0s"):
        parse_positive_duration("0s")


@pytest.mark.parametrize("value", ["0d", "1.5d", "1s", "1300mo", "99999999999d", 15, None])
def test_other_widths_are_refused(value):
    with pytest.raises(Unfit):
        parse_shard_width(value)


@pytest.mark.parametrize("value", ["101%", 1.5, -0.1, float("nan"), float("inf"), True, None, "a", "1e-3", [], "1%%"])
def test_other_rates_are_refused(value):
    with pytest.raises(Unfit):
        parse_rate(value)


@given(st.integers(1, SIZE_BYTES_MAX))
def test_every_size_survives_being_written(size_bytes):
    assert parse_size(size_text(size_bytes)) == size_bytes


@given(st.integers(0, DURATION_US_MAX))
def test_every_duration_survives_being_written(duration_us):
    assert parse_duration(duration_text(duration_us)) == duration_us


@given(st.sampled_from([parse_size, parse_duration, parse_shard_width, parse_rate]), ANYTHING)
def test_anything_is_a_quantity_or_unfit(parse, value):
    with contextlib.suppress(Unfit):
        assert parse(value) is not None
