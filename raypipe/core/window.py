"""Window: a half-open range of event time in UTC microseconds, the one way that raypipe speaks of time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_IN_UTC = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """Return the microseconds since 1970 in UTC of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def iso(us: int) -> str:
    """Return ISO 8601 in UTC ending in `Z`, with fractions only where there are any."""
    return f"{(_EPOCH_IN_UTC + timedelta(microseconds=us)).isoformat()}Z"  # without a zone it takes half the time


class _Bounds(NamedTuple):
    """What a window is made of: a tuple is hashed and compared without Python, half a million times in a run of 10,000 shards."""

    start_us: int
    end_us: int


class Window(_Bounds):
    """A half-open range `[start_us, end_us)` of event time, in microseconds since 1970 in UTC; never empty."""

    __slots__ = ()

    def __new__(cls, start_us: int, end_us: int) -> Window:
        """Make a window. Raises ValueError for an empty one."""
        if start_us >= end_us:
            raise ValueError(f"a window must end after it starts, got [{iso(start_us)}, {iso(end_us)})")
        return tuple.__new__(cls, (start_us, end_us))

    def meets(self, other: Window) -> bool:
        """Tell whether the two share an instant."""
        return self.start_us < other.end_us and other.start_us < self.end_us

    def contains(self, other: Window) -> bool:
        """Tell whether the other lies wholly inside."""
        return self.start_us <= other.start_us and other.end_us <= self.end_us

    def intersection(self, other: Window) -> Window | None:
        """Return what the two share, or None."""
        if other.contains(self):
            return self
        start, end = max(self.start_us, other.start_us), min(self.end_us, other.end_us)
        return Window(start, end) if start < end else None

    def hull(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        if self.contains(other):
            return self
        return Window(min(self.start_us, other.start_us), max(self.end_us, other.end_us))

    def pieces(self, number: int) -> list[Window]:
        """Return it cut into so many windows of about one length, in order; fewer where it has not as many microseconds."""
        number = min(number, self.end_us - self.start_us)
        cuts = [self.start_us + (self.end_us - self.start_us) * place // number for place in range(number + 1)]
        return [Window(start, end) for start, end in itertools.pairwise(cuts)]

    def __str__(self) -> str:
        return f"[{iso(self.start_us)}, {iso(self.end_us)})"

    def as_json(self) -> dict[str, str]:
        """Return `{"start": ..., "end": ...}` in ISO 8601 UTC, as all JSON of the interface."""
        return {"start": iso(self.start_us), "end": iso(self.end_us)}
