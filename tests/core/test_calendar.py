"""Shards follow the calendar of the zone: days of 23 and 25 hours, months of 28 to 31 days."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.calendar import Calendar, Width, common_width, instant_before, parse_width
from raypipe.core.window import Window, from_us, to_us

HOUR_US = 3_600_000_000
ZONES = ["UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
widths = st.sampled_from(
    [Width(15, "m"), Width(1, "h"), Width(1, "d"), Width(3, "d"), Width(1, "w"), Width(1, "mo"), Width(5, "mo")]
)


def utc_us(*parts):
    return to_us(datetime(*parts, tzinfo=UTC))


def local_us(zone, *parts):
    return to_us(datetime(*parts, tzinfo=ZoneInfo(zone)))


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 7, 1), 24)])
def test_a_day_has_the_hours_of_its_zone(day, hours):
    calendar = Calendar(local_us("Europe/Madrid", 2026, 1, 1), Width(1, "d"), "Europe/Madrid")
    start_us = local_us("Europe/Madrid", *day)
    (cell,) = calendar.cells(Window(start_us, start_us + HOUR_US))
    assert cell.start_us == start_us
    assert cell.end_us - cell.start_us == hours * HOUR_US


def test_hours_are_all_of_one_length_across_a_change_of_clocks():
    calendar = Calendar(local_us("Europe/Madrid", 2026, 1, 1), Width(1, "h"), "Europe/Madrid")
    day = Window(local_us("Europe/Madrid", 2026, 10, 25), local_us("Europe/Madrid", 2026, 10, 26))
    cells = list(calendar.cells(day))
    assert len(cells) == 25
    assert {cell.end_us - cell.start_us for cell in cells} == {HOUR_US}


def test_months_are_months():
    calendar = Calendar(utc_us(2024, 1, 1), Width(1, "mo"))
    cells = list(calendar.cells(Window(utc_us(2024, 1, 1), utc_us(2024, 4, 1))))
    assert [from_us(cell.end_us).date().isoformat() for cell in cells] == ["2024-02-01", "2024-03-01", "2024-04-01"]


def test_a_boundary_that_the_clocks_jump_over_is_the_end_of_the_gap():
    zone = "America/Santiago"  # clocks go forward at midnight: 2024-09-08 00:00 never occurs there
    calendar = Calendar(local_us(zone, 2024, 9, 1), Width(1, "d"), zone)
    seventh = next(iter(calendar.cells(Window(local_us(zone, 2024, 9, 7), local_us(zone, 2024, 9, 7) + 1))))
    assert seventh.end_us == local_us(zone, 2024, 9, 8, 1)


@given(st.sampled_from(ZONES), widths, st.integers(-400, 400), st.integers(0, 23))
def test_every_instant_is_in_exactly_one_cell(zone, width, days, hour):
    calendar = Calendar(local_us(zone, 2026, 1, 1), width, zone)
    instant_us = utc_us(2026, 1, 1) + days * 24 * HOUR_US + hour * HOUR_US + 1
    index = calendar.index_of(instant_us)
    assert calendar.boundary(index) <= instant_us < calendar.boundary(index + 1)


@given(st.sampled_from(ZONES), widths, st.integers(0, 300), st.integers(1, 60))
def test_cells_tile_a_window_without_hole_or_overlap(zone, width, first_day, days):
    calendar = Calendar(local_us(zone, 2026, 1, 1), width, zone)
    start_us = utc_us(2026, 1, 1) + first_day * 24 * HOUR_US
    window = Window(start_us, start_us + days * 24 * HOUR_US)
    cells = list(calendar.cells(window))
    assert cells[0].start_us <= window.start_us < cells[0].end_us
    assert cells[-1].start_us < window.end_us <= cells[-1].end_us
    assert all(a.end_us == b.start_us for a, b in pairwise(cells))


def test_the_first_cell_starts_where_history_starts():
    calendar = Calendar(utc_us(2013, 1, 1, 5), Width(1, "w"))
    assert calendar.boundary(0) == utc_us(2013, 1, 1, 5)
    assert calendar.index_of(utc_us(2013, 1, 8, 4, 59)) == 0
    assert calendar.index_of(utc_us(2013, 1, 8, 5)) == 1
    assert calendar.index_of(utc_us(2013, 1, 1, 4)) == -1


@pytest.mark.parametrize("text", ["5 mins", "0d", "1y", "d", "-1h", "1.5h"])
def test_a_width_that_makes_no_sense_says_what_is_expected(text):
    with pytest.raises(ValueError, match="expected a width such as 15m, 1h, 1d, 1w or 1mo"):
        parse_width(text)


def test_a_month_that_starts_on_the_31st_is_cut_at_the_last_day_of_short_months():
    calendar = Calendar(utc_us(2025, 1, 31), Width(1, "mo"))
    assert from_us(calendar.boundary(1)).date().isoformat() == "2025-02-28"
    assert from_us(calendar.boundary(2)).date().isoformat() == "2025-03-31"


def test_history_may_start_at_the_second_of_two_equal_wall_clock_times():
    start_us = utc_us(2026, 10, 25, 1, 30)  # the second 02:30 of that night in Madrid
    calendar = Calendar(start_us, Width(1, "d"), "Europe/Madrid")
    assert calendar.boundary(0) == start_us
    assert calendar.index_of(start_us) == 0
    assert calendar.boundary(1) == local_us("Europe/Madrid", 2026, 10, 26, 2, 30)


def test_a_midnight_that_never_occurs_starts_the_day_at_the_end_of_the_gap():
    zone = "America/Sao_Paulo"  # clocks went from 00:00 to 01:00 on 2018-11-04
    calendar = Calendar(local_us(zone, 2018, 11, 1), Width(1, "d"), zone)
    assert calendar.boundary(3) == utc_us(2018, 11, 4, 3)


def test_the_last_cell_ends_where_years_end():
    calendar = Calendar(utc_us(2000, 1, 1), Width(1000, "w"))
    cells = list(calendar.cells(Window(utc_us(9990, 1, 1), utc_us(9998, 12, 31))))
    assert cells[0].end_us == cells[1].start_us
    assert from_us(cells[-1].end_us).year == 9999


@pytest.mark.parametrize(
    ("after", "span", "before"),
    [
        ((2026, 3, 30, 12), "1w", (2026, 3, 23, 12)),  # 167 hours
        ((2026, 10, 26), "7d", (2026, 10, 19)),  # 169 hours
        ((2026, 3, 30, 2, 30), "1d", (2026, 3, 29, 3)),  # 2:30 does not occur: the clocks show 3:00 next
        ((2026, 10, 26, 2, 30), "1d", (2026, 10, 25, 2, 30)),  # it occurs twice: the first
        ((2026, 3, 31), "1mo", (2026, 2, 28)),
    ],
)
def test_a_time_before_is_told_by_the_clocks_of_the_zone(after, span, before):
    zone = "Europe/Madrid"
    assert instant_before(local_us(zone, *after), parse_width(span), zone) == local_us(zone, *before)


def test_hours_before_are_real_hours():
    after_us = local_us("Europe/Madrid", 2026, 10, 26)
    assert instant_before(after_us, parse_width("168h"), "Europe/Madrid") == after_us - 168 * HOUR_US


@given(one=widths, other=widths, zone=st.sampled_from(ZONES[:4]), days=st.integers(0, 900))
def test_a_common_width_has_a_boundary_wherever_either_width_has_one(one, other, zone, days):
    start_us = local_us(zone, 2025, 1, 1)
    common = Calendar(start_us, common_width(one, other), zone)
    for width in (one, other):
        calendar = Calendar(start_us, width, zone)
        boundary_us = calendar.boundary(calendar.index_of(start_us + days * 24 * HOUR_US))
        assert common.boundary(common.index_of(boundary_us)) == boundary_us
