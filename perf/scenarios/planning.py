"""What a plan costs as shards and files grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender
from perf.canonical import run_command
from perf.contenders import CONFIG, DESTINATION, INLINE, python, restore
from perf.measure import measure
from perf.ticks import HOURS_A_FILE, make_ticks, pipeline_text
from perf.values import Found, Work, median_figure

QUESTION = "How long does `raypipe plan` take, and what memory, when every shard is new?"


def run(bench: Bench) -> Iterator[Found]:
    """Plan with an index that knows all files, as every plan after the first does."""
    for hours in bench.sizes(1_000, 10_000, 100_000, quick=1_000):
        ticks = make_ticks(bench.data, hours // HOURS_A_FILE)
        state = _indexed(bench, ticks, hours)

        def prepare(folder: Path, ticks: Path = ticks, hours: int = hours, state: Path = state) -> None:
            (folder / CONFIG).write_text(pipeline_text(ticks, folder / DESTINATION, hours=hours))
            restore(state)(folder)

        one = Contender("plan", lambda folder: python("-m", "raypipe", "plan", str(folder / CONFIG), "-q"), prepare)
        series = bench.in_turn([one], Work(shards=hours))
        figures = [median_figure(f"planning.{hours}.{what}", series[0], measured) for what, measured in _WHAT]
        title = f"planning {hours:,} shards of {hours // HOURS_A_FILE:,} files"
        yield Found("planning", title, QUESTION, tuple(series), tuple(figures), noise=bench.taken_yardsticks())


_WHAT = (("wall", "wall_s"), ("peak", "peak_bytes"))


def _indexed(bench: Bench, ticks: Path, hours: int) -> Path:
    """Return a folder with a destination in which one shard is committed, and the index of all files beside it."""
    state = bench.data / f"indexed-{hours}"
    if not (state / "complete").exists():
        state.mkdir(exist_ok=True)
        (state / CONFIG).write_text(pipeline_text(ticks, state / DESTINATION, hours=hours))
        took = measure(run_command(state / CONFIG, *INLINE, "--start", "2000-01-01", "--end", "2000-01-01T01:00"))
        measure(run_command(state / CONFIG, *INLINE, "--start", "2000-01-01", "--end", "2000-01-01T01:00"))  # files have settled
        bench.say(f"  read {hours // HOURS_A_FILE:,} files for the index and committed a shard in {took.wall_s:.1f} s")
        (state / "complete").touch()
    return state
