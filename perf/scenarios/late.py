"""A few rows that come late: one shard of many is done again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb

from perf.bench import Bench, Contender
from perf.canonical import WrongAnswer, pipeline_text, run_command
from perf.contenders import CONFIG, DESTINATION, INLINE, canonical, raypipe, restore
from perf.events import Events
from perf.measure import measure
from perf.values import Found, Work, median_figure, ratio_figure, short_count

QUESTION = "What does a file of late rows cost, beside the whole history?"


def run(bench: Bench) -> Iterator[Found]:
    """Measure the first run of all, and the run after the late file on copies of what it left."""
    rows = bench.size(10_000_000, quick=300_000)
    events = bench.events(rows)
    state = _history(bench, events)
    late = raypipe("late_file", lambda folder: _text(events, folder), *INLINE, prepare=restore(state))
    all_of_it: Contender = canonical("whole_history", events)
    work = Work(rows, events.size_bytes, events.shape.days)
    series = bench.in_turn([all_of_it, late], work, check=lambda folders: _require_late(events, folders["late_file"]))
    whole, after = series
    figures = (
        median_figure("late.wall", after, "wall_s"),
        ratio_figure("late.wall.late_file/whole_history", after, whole),
    )
    yield Found("late", f"late {short_count(rows)}", QUESTION, tuple(series), figures, noise=bench.taken_yardsticks())


def _text(events: Events, folder: Path) -> str:
    return pipeline_text(events, folder / DESTINATION, files="*-*")


def _history(bench: Bench, events: Events) -> Path:
    state = bench.data / f"committed-{events.shape.rows}"
    if not (state / "complete").exists():
        state.mkdir(exist_ok=True)
        (state / CONFIG).write_text(pipeline_text(events, state / DESTINATION))
        measure(run_command(state / CONFIG, *INLINE))
        (state / "complete").touch()
    return state


def _require_late(events: Events, folder: Path) -> None:
    """Exactly one shard was committed again, and its rows are there."""
    with duckdb.connect(str(folder / DESTINATION), read_only=True) as connection:
        commits, rows = connection.execute(
            "SELECT (SELECT count(*) FROM _raypipe.shards), (SELECT sum(events) FROM hourly)"
        ).fetchone() or (0, 0)
    with duckdb.connect() as connection:
        expected = connection.execute(
            f"SELECT count(DISTINCT event_id) FROM '{events.folder}/*-*.parquet' WHERE amount >= 0"
        ).fetchone()
    if commits != events.shape.days + 1 or (rows,) != expected:
        raise WrongAnswer(f"late rows: {commits} commits and {rows} rows, expected {events.shape.days + 1} and {expected}")
