"""Windows are half open, never empty, and printed in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from raypipe.core.window import Window, from_us, iso, to_us

DAY_US = 86_400_000_000


@pytest.mark.parametrize("end_us", [5, 4])
def test_an_empty_or_inverted_window_is_refused(end_us):
    with pytest.raises(ValueError, match="must end after it starts"):
        Window(5, end_us)


def test_windows_that_only_touch_do_not_meet():
    assert not Window(0, 5).meets(Window(5, 9))
    assert Window(0, 6).meets(Window(5, 9))


def test_a_window_is_printed_half_open_in_utc():
    start_us = to_us(datetime(2013, 1, 1, tzinfo=UTC))
    assert str(Window(start_us, start_us + DAY_US)) == "[2013-01-01T00:00:00Z, 2013-01-02T00:00:00Z)"


def test_instants_survive_the_way_to_microseconds_and_back():
    moment = datetime(1905, 6, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    assert from_us(to_us(moment)) == moment
    assert iso(to_us(moment)) == "1905-06-30T23:59:59.999999Z"
