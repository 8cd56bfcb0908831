"""Calendar: where shards are cut. Days and longer follow the calendar of a zone; shorter widths are fixed durations."""

from __future__ import annotations

import itertools
import math
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from raypipe.core.window import Window, from_us, to_us
from raypipe.lazy_dataclass import dataclass

_WIDTH = re.compile(r"(\d+)(m|h|d|w|mo)")
FIRST_US = to_us(datetime(1, 1, 1, tzinfo=UTC))
LAST_US = to_us(datetime(9999, 12, 31, tzinfo=UTC))
_FIXED_US = {"m": 60_000_000, "h": 3_600_000_000}


@dataclass(frozen=True, slots=True)
class Width:
    """The width of a shard, such as `15m`, `1h`, `1d`, `1w`, `1mo`."""

    count: int
    unit: str

    def __post_init__(self) -> None:
        if self.count < 1 or self.unit not in ("m", "h", "d", "w", "mo"):
            raise ValueError(f"got {self.count}{self.unit}, expected a width such as 15m, 1h, 1d, 1w or 1mo")

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


def parse_width(text: str) -> Width:
    """Parse a shard width; raises ValueError that says what is expected."""
    match = _WIDTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"got {text!r}, expected a width such as 15m, 1h, 1d, 1w or 1mo")
    return Width(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class Calendar:
    """Cuts all of time into cells of one width, counted from `start_us`; the same instant is always in the same cell."""

    start_us: int
    width: Width
    zone: str = "UTC"

    def cells(self, window: Window) -> Iterator[Window]:
        """Yield the cells that meet the window, in order, whole (they may stick out of it at both ends)."""
        for start_us, end_us in itertools.pairwise(self._boundaries(window)):
            yield Window(start_us, end_us)

    def _boundaries(self, window: Window) -> Iterable[int]:
        """Return where the cells that meet the window start, and where the last one ends."""
        index = self.index_of(window.start_us)
        fixed = _FIXED_US.get(self.width.unit)
        if fixed is not None:  # a history has 100,000 of them
            width_us = self.width.count * fixed
            return range(self.start_us + index * width_us, window.end_us + width_us, width_us)
        return _until(window.end_us, map(self.boundary, itertools.count(index)))

    def boundary(self, index: int) -> int:
        """Return where cell `index` starts (cell 0 starts at `start_us`; negative ones lie before it)."""
        fixed = _FIXED_US.get(self.width.unit)
        if fixed is not None:
            return self.start_us + index * self.width.count * fixed
        if index == 0:  # also where the wall clock shows this time twice and history begins at the second
            return self.start_us
        local = from_us(self.start_us).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        try:
            return to_us(localise(_advance(local, self.width, index), ZoneInfo(self.zone)))
        except (OverflowError, ValueError):  # beyond the years that there are: the last cell ends, the first one starts, there
            return LAST_US if index > 0 else FIRST_US

    def index_of(self, instant_us: int) -> int:
        """Return the index of the cell that holds an instant."""
        fixed = _FIXED_US.get(self.width.unit)
        if fixed is not None:
            return (instant_us - self.start_us) // (self.width.count * fixed)
        days = {"d": 1, "w": 7, "mo": 30.436875}[self.width.unit] * self.width.count
        index = int((instant_us - self.start_us) // (days * 86_400_000_000))
        while self.boundary(index) > instant_us:
            index -= 1
        while self.boundary(index + 1) <= instant_us:
            index += 1
        return index


def instant_before(instant_us: int, span: Width, zone: str) -> int:
    """Return the instant that lies so long before another; days and longer are counted on the zone's calendar."""
    fixed = _FIXED_US.get(span.unit)
    if fixed is not None:
        return max(FIRST_US, instant_us - span.count * fixed)
    return Calendar(instant_us, span, zone).boundary(-1)


def instant_after(instant_us: int, span: Width, zone: str) -> int:
    """Return the instant that lies so long after another; days and longer are counted on the zone's calendar."""
    fixed = _FIXED_US.get(span.unit)
    if fixed is not None:
        return min(LAST_US, instant_us + span.count * fixed)
    return Calendar(instant_us, span, zone).boundary(1)


def common_width(one: Width, other: Width) -> Width:
    """Return a width whose cells, counted from one start, have a boundary wherever cells of either have one."""
    if one.unit == other.unit:
        return Width(math.gcd(one.count, other.count), one.unit)
    minutes, days = ({"m": 1, "h": 60}, {"d": 1, "w": 7})
    for scale, unit in ((minutes, "m"), (days, "d")):
        if one.unit in scale and other.unit in scale:
            return Width(math.gcd(one.count * scale[one.unit], other.count * scale[other.unit]), unit)
    finer = min((one, other), key=lambda width: "mhdwmo".index(width.unit))
    if finer.unit in minutes:  # clocks change by half an hour or a multiple, and with them the start of a day
        return Width(math.gcd(finer.count * minutes[finer.unit], 30), "m")
    return Width(1, "d")


def _until(end_us: int, instants: Iterable[int]) -> Iterator[int]:
    """Yield instants in order, up to the first that is not before the end, with it."""
    for one in instants:
        yield one
        if one >= end_us:
            return


def _advance(local: datetime, width: Width, index: int) -> datetime:
    if width.unit == "mo":
        months = local.year * 12 + local.month - 1 + index * width.count
        year, month = months // 12, months % 12 + 1
        return local.replace(year=year, month=month, day=min(local.day, monthrange(year, month)[1]))
    return local + timedelta(days=index * width.count * (7 if width.unit == "w" else 1))


def localise(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a wall-clock time: the first where it occurs twice, the end of the gap where it never does."""
    first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset() or timedelta(), second.utcoffset() or timedelta()
    if after <= before:
        return first
    # In a gap the old offset leads to an instant behind the change of clocks, the new one to an instant before it.
    early_us, late_us = to_us(second), to_us(first)
    while late_us - early_us > 1:
        middle_us = (early_us + late_us) // 2
        if from_us(middle_us).astimezone(zone).utcoffset() == after:
            late_us = middle_us
        else:
            early_us = middle_us
    return from_us(late_us).astimezone(zone)
