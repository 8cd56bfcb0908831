"""A derived column as an expression, as a Python step in Polars, and as a Python step that calls a function a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender, read_once
from perf.canonical import pipeline_text, require_equal
from perf.contenders import DESTINATION, INLINE, raypipe
from perf.events import Events
from perf.values import Found, Work, ratio_figure, short_count

QUESTION = "What does a Python step cost, vectorised and row by row, and does Ray help?"
MODULE = '''
"""Steps of the harness."""

import polars as pl


def vectorised(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(hour=pl.col("ts").dt.truncate("1h"))


def row_by_row(rows: pl.LazyFrame) -> pl.LazyFrame:
    hour = pl.col("ts").map_elements(lambda ts: ts.replace(minute=0, second=0, microsecond=0), return_dtype=pl.Datetime("us"))
    return rows.with_columns(hour=hour)
'''
DERIVED = """  - derive: {hour: "date_trunc('hour', ts)", host: "split_part(url, '/', 3)"}"""
STEP = """  - python: harness_steps:{name}
    rows: same
  - derive: {{host: "split_part(url, '/', 3)"}}"""
EXECUTORS = {"vectorised": INLINE, "row_by_row": INLINE, "row_by_row_on_ray": ("--executor", "ray")}


def run(bench: Bench) -> Iterator[Found]:
    """Measure all forms in turn; their tables must be the same."""
    rows = bench.size(3_000_000, quick=100_000)
    events = bench.events(rows)
    read_once(events.files)
    contenders = [raypipe("expression", lambda folder: pipeline_text(events, folder / DESTINATION), *INLINE)]
    contenders += [_stepping(events, name, options) for name, options in EXECUTORS.items()]
    work = Work(rows, events.size_bytes, events.shape.days)
    base, *others = bench.in_turn(contenders, work, check=_check)
    figures = tuple(ratio_figure(f"python_steps.wall.{one.contender}/expression", one, base) for one in others)
    title = f"python steps, {short_count(rows)} rows"
    yield Found("python_steps", title, QUESTION, (base, *others), figures, noise=bench.taken_yardsticks())


def _stepping(events: Events, name: str, options: tuple[str, ...]) -> Contender:
    def text(folder: Path) -> str:
        whole = pipeline_text(events, folder / DESTINATION)
        assert DERIVED in whole
        return whole.replace(DERIVED, STEP.format(name=name.removesuffix("_on_ray")))

    return raypipe(name, text, *options, prepare=_write_module)


def _write_module(folder: Path) -> None:
    (folder / "harness_steps.py").write_text(MODULE)


def _check(folders: dict[str, Path]) -> None:
    require_equal({name: folder / DESTINATION for name, folder in folders.items()})
