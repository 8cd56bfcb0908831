"""The canonical job on a local Ray: beside inline, beside a bare Ray script, and on one worker and two."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

from perf.bench import Bench, Contender, read_once
from perf.canonical import require_equal
from perf.contenders import DESTINATION, canonical, python
from perf.events import Events
from perf.values import MIB, Figure, Found, Series, Work, median_figure, ratio_figure, short_count

QUESTION = "What does the job cost on Ray, how soon does its first task run, and what does a second worker bring?"
RAY = ("--executor", "ray")
BARE = Path(__file__).parent.parent / "bare_ray.py"
IDLE_S = 1.0
STARTED, FIRST_TASK = "started", "0-task.start.fired"


def run(bench: Bench) -> Iterator[Found]:
    """Measure inline, Ray and the bare script in turn; then Ray on one core."""
    rows = bench.size(10_000_000, quick=300_000)
    events = bench.events(rows)
    read_once(events.files)
    first_s: dict[str, list[float]] = {"ray": [], "bare_ray": []}

    def check(folders: dict[str, Path]) -> None:
        require_equal({name: folders[name] / DESTINATION for name in folders if name != "bare_ray"})
        for name, seconds in first_s.items():
            seconds.append((folders[name] / FIRST_TASK).stat().st_mtime - (folders[name] / STARTED).stat().st_mtime)

    contenders = [canonical("inline", events), _on_ray(events), _bare(), *_on_one_core(events)]
    series = bench.in_turn(contenders, Work(rows, events.size_bytes, events.shape.days), check=check)
    figures = tuple(_figures({one.contender: one for one in series}, first_s))
    yield Found("workers", f"workers, {short_count(rows)} rows", QUESTION, tuple(series), figures, noise=bench.taken_yardsticks())


def _figures(series: dict[str, Series], first_s: dict[str, list[float]]) -> Iterator[Figure]:
    label = series["inline"].work.label
    inline, ray, bare = series["inline"], series["ray"], series["bare_ray"]
    start_s = bare.median("wall_s") - IDLE_S
    yield ratio_figure(f"workers.{label}.wall_less_start.ray/inline", ray, inline, less=start_s)
    yield ratio_figure(f"workers.{label}.wall.ray/inline", ray, inline)
    first = [ours / theirs for ours, theirs in zip(first_s["ray"], first_s["bare_ray"], strict=True)]
    yield Figure("workers.first_task.ray/bare_ray", statistics.median(first), "times", min(first), max(first))
    yield Figure("workers.first_task_s.bare_ray", statistics.median(first_s["bare_ray"]), "s")
    yield median_figure(f"workers.{label}.peak.ray", ray, "peak_bytes")
    cores = len(os.sched_getaffinity(0))
    above = (ray.median("peak_bytes") - bare.median("peak_bytes")) / MIB / cores
    yield Figure(f"workers.{label}.peak_above_idle_a_worker.ray", above, "MiB")
    if "ray_on_one_core" in series:
        yield ratio_figure(f"workers.{label}.wall.ray_on_one_core/ray", series["ray_on_one_core"], ray)


def _on_ray(events: Events) -> Contender:
    """Return the run on Ray that leaves a file when its first task starts."""
    whole = canonical("ray", events, *RAY)

    def prepare(folder: Path) -> None:
        whole.prepare(folder)
        (folder / STARTED).touch()

    def command(folder: Path) -> list[str]:
        points = {"RAYPIPE_TESTING": "1", "RAYPIPE_FAILPOINTS": "task.start=sleep:0", "RAYPIPE_FP_DIR": str(folder)}
        return ["env", *(f"{name}={value}" for name, value in points.items()), *whole.command(folder)]

    return Contender(whole.name, command, prepare)


def _bare() -> Contender:
    return Contender(
        "bare_ray",
        lambda folder: python(str(BARE), str(folder / FIRST_TASK), str(IDLE_S)),
        lambda folder: (folder / STARTED).touch(),
    )


def _on_one_core(events: Events) -> list[Contender]:
    """Return the run with one worker, where this machine has a way to say so."""
    if shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2:
        return []
    whole = canonical("ray_on_one_core", events, *RAY)
    core = str(min(os.sched_getaffinity(0)))
    return [Contender(whole.name, lambda folder: ["taskset", "-c", core, *whole.command(folder)], whole.prepare)]
