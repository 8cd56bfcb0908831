from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.observe.printable import cell, count, duration, escape, rate, roughly, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ñ 日本", "plain ñ 日本"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J\x00\x7f", "\\x9b2J\\x00\\x7f"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text, shown):
    assert escape(text) == shown


@given(st.text())
def test_no_text_brings_a_control_character_through(text):
    assert all(one >= " " and not "\x7f" <= one <= "\x9f" for one in cell(text))
    assert "\x1b" not in escape(text, keep_lines=True)


def test_line_ends_of_our_own_texts_are_kept_and_nothing_else():
    assert escape("one\ntwo\r\x1b", keep_lines=True) == "one\ntwo\\r\\x1b"


def test_a_long_cell_is_cut_and_says_how_long_it_was():
    assert cell("x" * 5000) == "x" * 200 + "… (5,000 characters)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "NULL"),
        (True, "true"),
        (1.5, "1.5"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3), "2024-01-02 03:00:00"),
    ],
)
def test_values_are_shown_in_one_form(value, shown):
    assert cell(value) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (31_053_850, "31 MB"), (999_600, "1.0 MB"), (2**31, "2.1 GB"),
     (5e15, "5.0 PB")],
)  # fmt: skip
def test_sizes_have_the_unit_that_leaves_a_digit(size_bytes, shown):
    assert size(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.424, "0.42 s"), (12.34, "12.3 s"), (245, "4 min 05 s"), (7800, "2 h 10 min"), (273_600, "3 d 4 h")]
)
def test_durations_are_read_at_a_glance(seconds, shown):
    assert duration(seconds) == shown


def test_estimates_are_whole_seconds_and_never_nothing():
    assert [roughly(0.01), roughly(5.4), roughly(100)] == ["1 s", "5 s", "1 min 40 s"]


def test_nouns_follow_their_number():
    assert [count(1, "shard"), count(2000, "shard"), count(2, "entry"), count(1_000_000)] == [
        "1 shard",
        "2,000 shards",
        "2 entries",
        "1,000,000",
    ]


def test_a_rate_needs_time():
    assert [rate(1000, 0.5), rate(5, 0)] == ["2,000 rows/s", "- rows/s"]
