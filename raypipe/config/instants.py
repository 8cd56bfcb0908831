"""Instants: dates and times as people write them, to microseconds in UTC."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from raypipe.config.problems import Unfit
from raypipe.core.calendar import localise
from raypipe.core.window import to_us

INSTANT_EXPECTED = "a date such as 2013-01-01 or a time such as 2013-01-01T06:00 or 2013-01-01T06:00:00Z"
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9][0-9]-[0-9][0-9]([T ][0-9][0-9]:[0-9][0-9](:[0-9][0-9](\.[0-9]{1,6})?)?(Z|[+-][0-9][0-9](:?[0-9][0-9])?)?)?"
)
_YEARS = range(2, 9999)  # every zone and every width stays within the calendar


def parse_instant(text: str, zone: str) -> int:
    """Return the microseconds since 1970 of an ISO 8601 date or time; a date means its first instant in the zone.

    A time without an offset is wall clock in the zone: the first one where it occurs twice, the end of the gap where it
    never does. Raises ValueError that says what is expected.
    """
    if not _INSTANT.fullmatch(text):
        raise Unfit(INSTANT_EXPECTED)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unfit(f"{INSTANT_EXPECTED} ({error})") from None
    if moment.year not in _YEARS:
        raise Unfit(f"{INSTANT_EXPECTED}, between the years {_YEARS.start} and {_YEARS.stop - 1}")
    if moment.tzinfo is not None:
        return to_us(moment)
    return to_us(localise(moment, ZoneInfo(zone)))


def zone_exists(name: str) -> bool:
    """Tell whether the time zone database knows a zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return bool(name)
