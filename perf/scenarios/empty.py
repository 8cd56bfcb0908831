"""Shards without rows, up to 100,000: what a shard costs by itself, inline and on Ray, in time, memory and ledger."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import duckdb

from perf.bench import Bench
from perf.canonical import WrongAnswer
from perf.contenders import DESTINATION, INLINE, raypipe
from perf.ticks import make_ticks, pipeline_text
from perf.values import MIB, Figure, Found, Series, Work, median_figure

QUESTION = "What does a shard without rows cost, and does it cost the same when there are 100,000 of them?"
FILES = 1  # of ten hours: all other shards are empty


def run(bench: Bench) -> Iterator[Found]:
    """Run the pipeline over histories of more and more hours in which nothing happened."""
    ticks = make_ticks(bench.data, FILES)
    for hours in bench.sizes(1_000, 10_000, 100_000, quick=1_000):
        ledger_bytes: list[int] = []

        def check(folders: dict[str, Path], hours: int = hours, ledger_bytes: list[int] = ledger_bytes) -> None:
            for folder in folders.values():
                _require_done(folder / DESTINATION, hours)
                ledger_bytes.append((folder / DESTINATION).stat().st_size)

        def text(folder: Path, hours: int = hours) -> str:
            return pipeline_text(ticks, folder / DESTINATION, hours=hours)

        contenders = [raypipe("inline", text, *INLINE), raypipe("ray", text, "--executor", "ray")]
        series = bench.in_turn(contenders, Work(shards=hours), check=check)
        figures = [figure for one in series for figure in _figures(one, hours)]
        figures.append(Figure(f"empty.{hours}.ledger", statistics.median(ledger_bytes) / MIB, "MiB"))
        yield Found(
            "empty", f"{hours:,} shards without rows", QUESTION, tuple(series), tuple(figures), noise=bench.taken_yardsticks()
        )


def _figures(series: Series, hours: int) -> Iterator[Figure]:
    yield Figure(f"empty.{hours}.shards_a_second.{series.contender}", hours / series.median("wall_s"), "shards/s")
    yield median_figure(f"empty.{hours}.peak.{series.contender}", series, "peak_bytes")


def _require_done(path: Path, hours: int) -> None:
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT count(*) FROM _raypipe.shards").fetchall()
    if found != [(hours,)]:
        raise WrongAnswer(f"{path}: the ledger has {found} shards, expected {hours}")
