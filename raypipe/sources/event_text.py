"""Event time in text: ISO 8601, seconds since 1970 or a strptime pattern, read with Polars and, where that gives up, by Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import polars as pl

from raypipe.lazy_dataclass import dataclass

UNITS_US = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}

FEW_TEXTS = 256  # below, Python reads them sooner than Polars has made its plan: folders of ten thousand small files are common

_ISO = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(?:\.\d{1,9})?"  # the common forms; no leap second, which Polars would carry over
_NAIVE_START = datetime(1970, 1, 1)  # noqa: DTZ001 (the wall clock's zero)
_AWARE_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """Microseconds since 1970, one of the two per text, or none where it is unreadable: an instant, or a wall clock's time."""

    instants: pl.Series
    walls: pl.Series


def read_times(texts: pl.Series, form: str) -> ReadTimes:
    """Read texts by a format of `time.format`; null stays null."""
    if form == "iso":
        return _read_iso(texts)
    if form in UNITS_US:
        return ReadTimes(_read_numbers(texts, UNITS_US[form]), _none(len(texts)))
    return _read_pattern(texts, form)


def _none(length: int) -> pl.Series:
    return pl.Series(values=[None] * length, dtype=pl.Int64) if length < 1 else pl.repeat(None, length, dtype=pl.Int64, eager=True)


def _read_numbers(texts: pl.Series, unit_us: int) -> pl.Series:
    numbers = texts.str.strip_chars().cast(pl.Decimal(38, 6), strict=False)
    return scaled(numbers, unit_us)


def scaled(values: pl.Series, unit_us: int) -> pl.Series:
    """Return whole or decimal numbers times a unit, rounded down; what would overflow becomes a number far out of range."""
    if unit_us == 1 and values.dtype == pl.Int64:
        return values
    limit = 2**62 // unit_us
    if values.dtype.is_decimal():
        unit = pl.lit(unit_us).cast(pl.Decimal(38, 0))
        return pl.select((pl.lit(values).clip(-limit, limit) * unit).floor().cast(pl.Int64)).to_series()
    if values.dtype == pl.UInt64:
        values = values.clip(0, limit)
    return values.cast(pl.Int64).clip(-limit, limit) * unit_us


def _read_iso(texts: pl.Series) -> ReadTimes:
    if len(texts) <= FEW_TEXTS:
        return ReadTimes(*_parse_each(texts.to_list(), datetime.fromisoformat))
    spaced = pl.lit(texts).str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
    frame = pl.select(text=pl.when(~spaced.str.starts_with("0000")).then(spaced))  # Polars has a year 0, Python has none
    aware, naive = _ISO + r"(?:Z|[+-]\d{2}:?\d{2})$", _ISO + "$"
    form = "%Y-%m-%dT%H:%M:%S%.f"
    common = frame.select(
        instant=pl.when(pl.col("text").str.contains(aware))
        .then("text")
        .str.to_datetime(form + "%#z", time_unit="us", strict=False)
        .dt.epoch("us"),
        wall=pl.when(pl.col("text").str.contains(naive))
        .then("text")
        .str.to_datetime(form, time_unit="us", strict=False)
        .dt.epoch("us"),
    )
    return _with_rest(texts, ReadTimes(common["instant"], common["wall"]), datetime.fromisoformat)


def _read_pattern(texts: pl.Series, pattern: str) -> ReadTimes:
    try:
        times = texts.str.to_datetime(pattern, time_unit="us", strict=False, ambiguous="earliest")
    except pl.exceptions.PolarsError:  # a pattern that only Python knows, such as hours without minutes
        nothing = ReadTimes(_none(len(texts)), _none(len(texts)))
        return _with_rest(texts, nothing, lambda text: datetime.strptime(text, pattern))  # noqa: DTZ007 (naive is a wall clock)
    values = _without_leap_seconds(texts, times, pattern).dt.epoch("us")
    aware = isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
    return ReadTimes(values, _none(len(texts))) if aware else ReadTimes(_none(len(texts)), values)


def _without_leap_seconds(texts: pl.Series, times: pl.Series, pattern: str) -> pl.Series:
    """Make second 60 unreadable, which Polars carries over into the next minute."""
    doubtful = (texts.str.contains("60", literal=True) & (times.dt.second() == 0)).fill_null(value=False)
    if not doubtful.any():
        return times

    def is_leap(text: str) -> bool:
        # Where putting 59 for a 60 makes the seconds 59, that 60 was the seconds.
        tries = pl.Series([text[: at.start()] + "59" + text[at.end() :] for at in re.finditer("60", text)])
        seconds = tries.str.to_datetime(pattern, time_unit="us", strict=False, ambiguous="earliest").dt.second()
        return bool((seconds == 59).any())

    places = [place for place in doubtful.arg_true() if is_leap(texts[place])]
    return times.scatter(places, None) if places else times


def _with_rest(texts: pl.Series, read: ReadTimes, parse: Callable[[str], datetime]) -> ReadTimes:
    """Read by Python what Polars could not: rare forms and what is no time at all."""
    rest = (texts.is_not_null() & read.instants.is_null() & read.walls.is_null()).arg_true()
    if rest.is_empty():
        return read
    instants, walls = _parse_each(texts.gather(rest), parse)
    return ReadTimes(read.instants.scatter(rest, instants), read.walls.scatter(rest, walls))


def _parse_each(texts: Iterable[str | None], parse: Callable[[str], datetime]) -> tuple[pl.Series, pl.Series]:
    instants: list[int | None] = []
    walls: list[int | None] = []
    for text in texts:
        try:
            time = None if text is None else parse(text)
        except ValueError:
            time = None
        aware = time is not None and time.tzinfo is not None
        instants.append((time - _AWARE_START) // _MICROSECOND if time is not None and aware else None)
        walls.append((time - _NAIVE_START) // _MICROSECOND if time is not None and not aware else None)
    return pl.Series(instants, dtype=pl.Int64), pl.Series(walls, dtype=pl.Int64)
