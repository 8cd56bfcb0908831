from __future__ import annotations

import pytest

from raypipe.core.calendar import Calendar, Width
from raypipe.core.plan import Horizon, horizon
from raypipe.core.readiness import as_far_as, beyond
from raypipe.core.window import Window, from_us

HOUR_US = 3_600_000_000
CALENDAR = Calendar(0, Width(1, "h"), "UTC")


def hours(start: float, end: float) -> Window:
    return Window(round(start * HOUR_US), round(end * HOUR_US))


@pytest.mark.parametrize(
    ("watermark", "ready"),
    [(None, None), (0, None), (0.9, None), (1, (0, 1)), (2.5, (0, 2)), (9.9, (0, 9)), (10, (0, 10)), (50, (0, 10))],
)
def test_whole_shards_are_ready_that_end_before_the_watermark(watermark, ready):
    by_time = Horizon(CALENDAR, hours(0, 10))

    found = as_far_as(by_time, None if watermark is None else round(watermark * HOUR_US))

    assert found.window == (None if ready is None else hours(*ready))


def test_the_last_shard_of_a_closed_history_is_ready_when_the_watermark_reaches_its_end_although_it_is_cut_short():
    by_time = horizon(CALENDAR, 0, round(2.5 * HOUR_US), 0, now_us=0)

    assert as_far_as(by_time, round(2.5 * HOUR_US)).window == hours(0, 2.5)
    assert as_far_as(by_time, round(2.4 * HOUR_US)).window == hours(0, 2)


@pytest.mark.parametrize(
    ("watermark", "ready"), [(1, None), (2.4, None), (2.5, (0, 1)), (4, (0, 2)), (8.7, (0, 7)), (8.75, (0, 8.75)), (50, (0, 8.75))]
)
def test_a_shard_that_looks_ahead_waits_until_all_that_it_sees_is_complete(watermark, ready):
    """Each sees an hour and a half beyond its end, but not beyond the history, which ends within the ninth hour."""
    by_time = horizon(CALENDAR, 0, round(8.75 * HOUR_US), 0, now_us=0)

    found = as_far_as(by_time, round(watermark * HOUR_US), lambda end_us: min(end_us + round(1.5 * HOUR_US), round(8.75 * HOUR_US)))

    assert found.window == (None if ready is None else hours(*ready))


def test_nothing_more_becomes_ready_than_the_time_allows():
    assert as_far_as(Horizon(CALENDAR, None), 5 * HOUR_US).window is None


def test_days_end_where_the_clocks_of_the_zone_say():
    calendar = Calendar(1_711_753_200_000_000, Width(1, "d"), "Europe/Madrid")  # 2024-03-30; the 31st has 23 hours
    by_time = Horizon(calendar, Window(calendar.start_us, calendar.boundary(10)))

    ready = as_far_as(by_time, calendar.boundary(2) + HOUR_US).window

    assert ready is not None
    assert from_us(ready.end_us).isoformat() == "2024-03-31T22:00:00+00:00"


def test_what_waits_is_what_the_time_allows_and_the_watermark_does_not():
    by_time = Horizon(CALENDAR, hours(0, 10))

    assert beyond(by_time, as_far_as(by_time, 4 * HOUR_US)) == hours(4, 10)
    assert beyond(by_time, as_far_as(by_time, None)) == hours(0, 10)
    assert beyond(by_time, as_far_as(by_time, 10 * HOUR_US)) is None
    assert beyond(Horizon(CALENDAR, None), Horizon(CALENDAR, None)) is None
