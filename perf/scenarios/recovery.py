"""A run is killed in the middle; the next one finishes it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender, read_once
from perf.canonical import require_equal, run_command
from perf.contenders import CONFIG, DESTINATION, INLINE, canonical
from perf.events import Events
from perf.measure import measure
from perf.values import Found, Work, median_figure, ratio_figure, short_count

ROWS_OF_A_TASK = 500_000  # raypipe puts smaller neighbours together
QUESTION = "How long does the run take that finishes one killed (SIGKILL) when half of its tasks had begun?"


def run(bench: Bench) -> Iterator[Found]:
    """Measure whole runs and finishing runs in turn, and compare their tables."""
    rows = bench.size(10_000_000, quick=300_000)
    events = bench.events(rows)
    read_once(events.files)
    contenders = [canonical("whole_run", events), _finishing(events)]
    series = bench.in_turn(contenders, Work(rows, events.size_bytes, events.shape.days), check=_check)
    whole, finishing = series
    figures = (
        median_figure("recovery.wall", finishing, "wall_s"),
        ratio_figure("recovery.wall.finishing_run/whole_run", finishing, whole),
    )
    yield Found("recovery", f"recovery {short_count(rows)}", QUESTION, tuple(series), figures, noise=bench.taken_yardsticks())


def _finishing(events: Events) -> Contender:
    whole = canonical("finishing_run", events)
    killed = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": f"task.start=kill@{_half_of_the_tasks(events)}"}

    def prepare(folder: Path) -> None:
        whole.prepare(folder)
        measure(run_command(folder / CONFIG, *INLINE), killed, expected=-signal.SIGKILL)

    return Contender(whole.name, whole.command, prepare)


def _half_of_the_tasks(events: Events) -> int:
    days = events.shape.days
    alone = 2 * (events.shape.rows // days) > ROWS_OF_A_TASK
    return days // 2 + 1 if alone else 3  # small work makes about four tasks


def _check(folders: dict[str, Path]) -> None:
    require_equal({name: folder / DESTINATION for name, folder in folders.items()})
