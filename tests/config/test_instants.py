from __future__ import annotations

import pytest

from raypipe.config.instants import parse_instant, zone_exists
from raypipe.core.window import iso


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2013-01-01", "UTC", "2013-01-01T00:00:00Z"),
        ("2013-01-01", "Europe/Madrid", "2012-12-31T23:00:00Z"),
        ("2013-01-01T06:00", "UTC", "2013-01-01T06:00:00Z"),
        ("2013-01-01 06:00:30", "UTC", "2013-01-01T06:00:30Z"),
        ("2013-01-01T06:00:00.25Z", "Europe/Madrid", "2013-01-01T06:00:00.250000Z"),
        ("2013-01-01T06:00+02:00", "Asia/Tokyo", "2013-01-01T04:00:00Z"),
        ("2013-01-01T06:00-0530", "UTC", "2013-01-01T11:30:00Z"),
        # A wall-clock time that occurs twice is the first one; one that never occurs, and a date whose midnight never
        # occurs, is the end of the gap.
        ("2026-10-25T02:30", "Europe/Madrid", "2026-10-25T00:30:00Z"),
        ("2026-03-29T02:30", "Europe/Madrid", "2026-03-29T01:00:00Z"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00Z"),
    ],
)
def test_times_have_these_instants(text, zone, instant):
    assert iso(parse_instant(text, zone)) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2013",
        "2013-1-1",
        "20130101",
        "2013-W01-1",
        "01/02/2013",
        "2013-01-01T",
        "2013-01-01T25:00",
        "now",
        "2013-02-29",
        "2013-01-01T06:00:00.1234567",
        " 2013-01-01",
        "٢٠١٣-01-01",
        "9999-01-01",
    ],
)
def test_other_texts_are_refused_with_what_is_expected(text):
    with pytest.raises(ValueError, match=r"^expected a date such as 2013-01-01 or a time such as 2013-01-01T06:00"):
        parse_instant(text, "UTC")


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("UTC", True),
        ("Europe/Madrid", True),
        ("Mars/Base", False),
        ("", False),
        ("../x", False),
        ("/etc", False),
        ("a\0", False),
        ("Europe", False),
    ],
)
def test_zones_are_those_of_the_database(name, exists):
    assert zone_exists(name) is exists
