"""What the harness finds, as values: series of runs, figures and their ratios, and scenarios made of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from perf.measure import Measured

Measure = Literal["wall_s", "cpu_s", "peak_bytes"]
MEASURES: tuple[Measure, ...] = ("wall_s", "cpu_s", "peak_bytes")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """How much there is to do."""

    rows: int = 0
    size_bytes: int = 0
    shards: int = 0

    @property
    def label(self) -> str:
        """The rows in short: 300k, 1M, 100M."""
        return short_count(self.rows)


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one contender over the same work."""

    contender: str
    work: Work
    runs: tuple[Measured, ...]

    def median(self, measure: Measure) -> float:
        """Return the median of one measure over the runs."""
        return statistics.median(self.each(measure))

    def each(self, measure: Measure) -> list[float]:
        """Return one measure of every run, in order."""
        return [getattr(run, measure) for run in self.runs]

    @property
    def rows_per_s(self) -> float:
        """Rows of the input by the median wall."""
        return self.work.rows / self.median("wall_s")

    @property
    def bytes_per_s(self) -> float:
        """Bytes of the input, as it stands on disk, by the median wall."""
        return self.work.size_bytes / self.median("wall_s")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a budget may be set for; `low` and `high` are its extremes over the rounds."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What one scenario found at one size."""

    scenario: str
    title: str
    question: str
    series: tuple[Series, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    noise: tuple[float, ...] = ()
    """Seconds of the yardstick between the runs."""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer that is not installed, and the command that installs it."""

    name: str
    command: str = field(default="")


def ratio_figure(name: str, ours: Series, theirs: Series, measure: Measure = "wall_s", *, less: float = 0.0) -> Figure:
    """Return the median over the rounds of ours / theirs; `less` is taken off ours first, for a fixed cost that is allowed."""
    pairs = zip(ours.each(measure), theirs.each(measure), strict=True)
    ratios = [max(0.0, mine - less) / other for mine, other in pairs]
    return Figure(name, statistics.median(ratios), "times", min(ratios), max(ratios))


def median_figure(name: str, series: Series, measure: Measure) -> Figure:
    """Return the median of a measure: seconds, or MiB of memory."""
    scale, unit = (MIB, "MiB") if measure == "peak_bytes" else (1, "s")
    values = [one / scale for one in series.each(measure)]
    return Figure(name, statistics.median(values), unit, min(values), max(values))


def spread(seconds: Sequence[float]) -> float:
    """Return how far apart the extremes are, as a share of the median; 0 for fewer than two."""
    return (max(seconds) - min(seconds)) / statistics.median(seconds) if len(seconds) > 1 else 0.0


def middle_spread(seconds: Sequence[float]) -> float:
    """Return how far apart the quartiles are, as a share of the median; 0 for fewer than two."""
    if len(seconds) < 2:
        return 0.0
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return (upper - lower) / median


def fastest(series: Sequence[Series]) -> Series:
    """Return the one with the least median wall."""
    return min(series, key=lambda one: one.median("wall_s"))


def short_count(number: int) -> str:
    """Write a count as people do: 950, 300k, 1M, 2.5M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)
