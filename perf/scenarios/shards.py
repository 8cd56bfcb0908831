"""The canonical job at a fixed number of rows, cut into more and more shards."""

from __future__ import annotations

from collections.abc import Iterator

from perf.bench import Bench, Contender, read_once
from perf.canonical import table_options
from perf.contenders import INLINE, canonical
from perf.events import Events
from perf.values import Figure, Found, Series, Work

QUESTION = "What do shards cost at a fixed number of rows?"
WIDTHS = {"1d": 1, "6h": 4, "1h": 24, "15m": 96}
"""Widths, and the shards of a day."""


def run(bench: Bench) -> Iterator[Found]:
    """Measure all widths in turn, over the same files of a day each."""
    rows = bench.size(1_000_000, quick=100_000)
    events = bench.events(rows)
    read_once(events.files)
    contenders = [_cut(events, width) for width in WIDTHS]
    measured = bench.in_turn(contenders, Work(rows, events.size_bytes))
    series = [_with_shards(one, events.shape.days * WIDTHS[one.contender]) for one in measured]
    base = series[0].median("wall_s")
    figures = [Figure(f"shards.{one.work.shards}.over_daily", one.median("wall_s") / base, "times") for one in series[1:]]
    one_name = [Series("raypipe", one.work, one.runs) for one in series]
    yield Found("shards", f"shards of {events.shape.rows:,} rows", QUESTION, tuple(one_name), tuple(figures),
                noise=bench.taken_yardsticks())  # fmt: skip


def _cut(events: Events, width: str) -> Contender:
    return canonical(width, events, *INLINE, *table_options({"time.shard": width}))


def _with_shards(series: Series, shards: int) -> Series:
    return Series(series.contender, Work(series.work.rows, series.work.size_bytes, shards), series.runs)
