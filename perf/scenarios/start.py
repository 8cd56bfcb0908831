"""What a run costs that has nothing to do, or one small shard, on a destination with a long history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench
from perf.canonical import run_command
from perf.contenders import CONFIG, DESTINATION, INLINE, raypipe, restore
from perf.measure import measure
from perf.ticks import HOURS_A_FILE, hour_text, make_ticks, pipeline_text
from perf.values import Found, Work, median_figure

QUESTION = "How long does a run take, as a whole process, when there is nothing or next to nothing to do?"
FILES, QUICK_FILES = 1_000, 50


def run(bench: Bench) -> Iterator[Found]:
    """Commit a history once, then measure runs on copies of it: the first that finds nothing to do, and those after it."""
    files = QUICK_FILES if bench.quick else FILES
    hours = files * HOURS_A_FILE
    ticks = make_ticks(bench.data, files)
    state = _history(bench, ticks, hours)

    def settle(folder: Path) -> None:
        restore(state)(folder)
        measure(run_command(folder / CONFIG, *_until(hours)))

    first, nothing = (
        raypipe(name, lambda folder: pipeline_text(ticks, folder / DESTINATION, hours=hours + 1), *_until(hours), prepare=prepare)
        for name, prepare in (("nothing_to_do_first", restore(state)), ("nothing_to_do", settle))
    )
    one = raypipe(
        "one_new_shard",
        lambda folder: pipeline_text(ticks, folder / DESTINATION, hours=hours + 1, new=True),
        prepare=restore(state),
    )
    series = bench.in_turn([nothing, first, one], Work(shards=hours))
    figures = [median_figure(f"start.{hours}.wall.{each.contender}", each, "wall_s") for each in series]
    figures += [median_figure(f"start.{hours}.peak.{each.contender}", each, "peak_bytes") for each in series]
    title = f"start, {files:,} files, {hours:,} committed shards"
    yield Found("start", title, QUESTION, tuple(series), tuple(figures), noise=bench.taken_yardsticks())


def _history(bench: Bench, ticks: Path, hours: int) -> Path:
    """Return a folder with a destination in which all hours are committed, made once."""
    state = bench.data / f"history-{hours}"
    if not (state / "complete").exists():
        state.mkdir(exist_ok=True)
        (state / CONFIG).write_text(pipeline_text(ticks, state / DESTINATION, hours=hours + 1))
        took = measure(run_command(state / CONFIG, *_until(hours)))
        bench.say(f"  committed {hours:,} shards in {took.wall_s:.1f} s")
        (state / "complete").touch()
    return state


def _until(hours: int) -> tuple[str, ...]:
    """Leave the last hour of the history out: with another `time.end` instead, all files would be read again for the index."""
    return (*INLINE, "--end", hour_text(hours))
