"""Quantities as people write them: sizes `512MiB`, durations `5m`, widths `1mo`, rates `0.1%`; and back to text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from raypipe.config.problems import Unfit
from raypipe.core.calendar import Width

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGTP]i?)?B")
_UNIT_BYTES = {
    "": 1,
    **{letter: 1000 ** (n + 1) for n, letter in enumerate("kMGTP")},
    **{f"{letter}i": 1024 ** (n + 1) for n, letter in enumerate("KMGTP")},
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d|w|mo)")
_UNIT_US = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
    "mo": 31 * 86_400_000_000,
}
_WIDTH = re.compile(r"([0-9]+)(m|h|d|w|mo)")
_LOOSE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")
_WORDS = {
    "s": ("sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
    "w": ("wk", "wks", "week", "weeks"),
    "mo": ("mon", "mons", "month", "months"),
}
SIZE_BYTES_MAX = 2**63 - 1  # what the engines take
DURATION_US_MAX = 36_525 * 86_400_000_000  # a century: beyond it the calendar ends and somebody mistyped
_DIGITS_MAX = 30  # a longer number is no quantity, and costs time to read

SIZE_EXPECTED = "a size such as 512MB or 2GiB"
DURATION_EXPECTED = "a duration such as 30s, 5m, 1h, 1d, 1w or 1mo"
WIDTH_EXPECTED = "a width such as 15m, 1h, 1d, 1w or 1mo"
RATE_EXPECTED = "a share between 0 and 1, such as 0.1% or 0.001"


def parse_size(value: Any) -> int:
    """Return the bytes of `512MB` (decimal) or `512MiB` (binary)."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) and len(value) <= _DIGITS_MAX else None
    if match is None:
        raise Unfit(SIZE_EXPECTED, nearest=_near_size(value))
    unit = match[2] or ""
    size_bytes = int(Decimal(match[1]) * _UNIT_BYTES["k" if unit == "K" else unit])
    if not 0 < size_bytes <= SIZE_BYTES_MAX:
        raise Unfit(f"{SIZE_EXPECTED}, more than 0B and less than 8EiB")
    return size_bytes


def parse_duration(value: Any) -> int:
    """Return the microseconds of `30s 5m 1h 1d 1w 1mo`; a month of a duration has 31 days, the longest it can have."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= _DIGITS_MAX else None
    if match is None:
        raise Unfit(DURATION_EXPECTED, nearest=_near_duration(value))
    duration_us = int(Decimal(match[1]) * _UNIT_US[match[2]])
    if duration_us > DURATION_US_MAX:
        raise Unfit(f"{DURATION_EXPECTED}, at most 36525d")
    return duration_us


def parse_positive_duration(value: Any) -> int:
    """Return the microseconds of a duration that is more than nothing."""
    duration_us = parse_duration(value)
    if duration_us == 0:
        raise Unfit(f"{DURATION_EXPECTED}, more than 0s")
    return duration_us


def parse_shard_width(value: Any) -> Width:
    """Return the width of a shard: a whole number of minutes, hours, days, weeks or months."""
    match = _WIDTH.fullmatch(value) if isinstance(value, str) and len(value) <= _DIGITS_MAX else None
    if match is None:
        near = _near_duration(value)
        raise Unfit(WIDTH_EXPECTED, nearest=near if near is not None and _WIDTH.fullmatch(near) else None)
    count = int(match[1])
    if count < 1 or count * _UNIT_US[match[2]] > DURATION_US_MAX:
        raise Unfit(f"{WIDTH_EXPECTED}, at least 1m and at most 100 years")
    return Width(count, match[2])


def parse_lookback(value: Any) -> Width | None:
    """Return how far SQL looks back or ahead: whole minutes, hours, days, weeks or months, or None for nothing (`0s`)."""
    if isinstance(value, str) and len(value) <= _DIGITS_MAX and (match := _DURATION.fullmatch(value)) and not float(match[1]):
        return None
    try:
        return parse_shard_width(value)
    except Unfit as unfit:
        raise Unfit("a time such as 30m, 6h or 7d, in whole minutes or more, or 0s for none", nearest=unfit.nearest) from None


def parse_rate(value: Any) -> float:
    """Return the share of `0.1%` or `0.001`, between 0 and 1."""
    share = _share(value)
    if share is None or not 0 <= share <= 1:
        raise Unfit(RATE_EXPECTED)
    return float(share)


def size_text(size_bytes: int) -> str:
    """Return a size as `parse_size` reads it."""
    return f"{size_bytes}B"


def duration_text(duration_us: int) -> str:
    """Return a duration as `parse_duration` reads it, exactly."""
    return f"{Decimal(duration_us) / 1_000_000:f}s"


def _share(value: Any) -> Decimal | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value)) if value == value else None  # NaN is no share
    if isinstance(value, str) and len(value) <= _DIGITS_MAX and (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)( ?%)?", value)):
        return Decimal(match[1]) / 100 if match[2] else Decimal(match[1])
    return None


def _near_duration(value: Any) -> str | None:
    match = _LOOSE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _DIGITS_MAX else None
    if match is None:
        return None
    word = match[2].lower()
    unit = next((unit for unit, words in _WORDS.items() if word == unit or word in words), None)
    return match[1] + unit if unit else None


def _near_size(value: Any) -> str | None:
    match = _LOOSE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _DIGITS_MAX else None
    if match is None:
        return None
    unit = match[2].lower().removesuffix("b")
    unit = unit[:1].upper() + unit[1:]
    if unit in _UNIT_BYTES or unit == "K":
        return f"{match[1]}{'k' if unit == 'K' else unit}B"
    return None
