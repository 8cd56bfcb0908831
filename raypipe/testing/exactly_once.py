"""assert_exactly_once: a user's pipeline through every crash, retry and duplicate, one after the other, the same every time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from raypipe.errors import RaypipeError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline, PythonStep, RowsOutput
from raypipe.testing.points import Point, points
from raypipe.testing.rehearsal import Rehearsal
from raypipe.testing.scratch import Input, scratch

PLAYERS = 2  # more would wait for one another: much of a small run is Python's
SHOWN_MAX = 20  # differences that a failure names
TELLING = ("run=clean", "run=again", "run=backward", "task@1=twice")  # where a step shows that uses more than its rows


class NotExactlyOnce(AssertionError):
    """What a pipeline leaves depends on what happens to it on the way; `point` names what happened, `differences` tell how."""

    def __init__(self, pipeline: str, point: str, story: str, differences: Sequence[str], cause: str = "") -> None:
        self.point = point
        self.differences = tuple(differences)
        self.cause = cause
        more = [f"and {len(differences) - SHOWN_MAX} more differences"] if len(differences) > SHOWN_MAX else []
        told = [*differences[:SHOWN_MAX], *more, *([cause] if cause else [])]
        lines = "".join(f"\n  {line}" for line in told)
        super().__init__(
            f"pipeline {pipeline} is not exactly once at {point}: {story}. Other than after a clean run:{lines}\n"
            f'  alone: assert_exactly_once(..., only="{point}")'
        )


@dataclass(frozen=True, slots=True)
class ExactlyOnceReport:
    """What was gone through without a difference."""

    points: tuple[str, ...]
    """The names of all points, in order."""
    crashes_apart: int
    """How many of the crash points leave files that no other one leaves: each of these was run again by itself."""
    shards: int
    seconds: float


def assert_exactly_once(
    pipeline: Pipeline | str | Path,
    input: Input | None = None,  # noqa: A002 (the word of the field)
    *,
    only: str | None = None,
    tasks: int = 2,
) -> ExactlyOnceReport:
    """Run a pipeline through every crash, retry and duplicate-delivery point; raise NotExactlyOnce at the first that matters.

    `pipeline` is a Pipeline, a YAML file or `module:attribute`. It works on a copy of its input, in a scratch folder: neither its
    source nor its destination is touched. `input` stands for its source: files (a path, a folder, globs), or rows (dicts, an
    Arrow table, or a mapping from file names to either), which are written in the source's format.

    A clean run is made first, in `tasks` tasks, each committed by itself, and proven by the oracle. Then, one at a time: the
    process dies at each point that the clean run passed (`commit.after_ledger@2=crash`), an error is raised there (`=error`,
    among them the lost acknowledgement of a commit), a task is done twice, its files are damaged, another process takes the run
    over and the old one comes back, the run is started twice, another run does the same work, a file arrives meanwhile; and
    files arrive in other orders. Each time the pipeline is run until it is done; then tables, accounts, quarantine, coverage
    and watermark must be those of the clean run, and the laws of the ledger hold. A small pipeline takes half a minute; more
    tasks hit each point more often.

    `only` names one point, as a failure does; `commit.after_ledger@2`, `commit.after_ledger` and `crash` name all that match.
    """
    started_s = time.monotonic()
    with scratch(pipeline, input) as one:
        bench = Rehearsal(one, tasks=tasks)
        bench.begin()
        played = []
        for point, found in _outcomes(_chosen(bench, only)):
            if found:
                raise NotExactlyOnce(one.pipeline.name, point.name, point.story, found, _cause(bench, point))
            played.append(point.name)
        return ExactlyOnceReport(tuple(played), len(set(bench.crashes.values())), bench.shards, time.monotonic() - started_s)


def _chosen(bench: Rehearsal, only: str | None) -> Iterator[Point]:
    found = [point for point in points(bench) if point.is_meant_by(only)]
    if not found:
        raise ValueError(f"there is no point {only!r}; there are {', '.join(point.name for point in points(bench))}")
    yield from found


def _outcomes(points: Iterator[Point]) -> Iterator[tuple[Point, list[str]]]:
    """Play points, several at a time where they do not meet; yield them in order, whichever is done first."""
    for alone, group in itertools.groupby(points, key=lambda point: point.moves_input):
        with ThreadPoolExecutor(1 if alone else PLAYERS) as players:
            playing = [(point, players.submit(_played, point)) for point in group]
            try:
                yield from ((point, outcome.result()) for point, outcome in playing)
            finally:
                players.shutdown(cancel_futures=True)


def _played(point: Point) -> list[str]:
    try:
        return point.play()
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


# ---- whose mistake it is ----------------------------------------------------------------------------------


def _cause(bench: Rehearsal, point: Point) -> str:
    """Name the first Python step with which the pipeline fails so: without it, it does not."""
    for place, step in enumerate(bench.scratch.pipeline.transform):
        if isinstance(step, PythonStep) and _fails_up_to(bench, place, point):
            return (
                f"the cause is the Python step {step.function} (transform[{place}]): done again, it gives other rows for the same "
                "ones. A step may use nothing but its rows: no clock, no random numbers, nothing kept between calls"
            )
    return ""


def _fails_up_to(bench: Rehearsal, place: int, point: Point) -> bool:
    """Tell whether the pipeline fails that ends behind a step, by the same point or by one at which such a step shows."""
    whole = bench.scratch.pipeline
    part = replace(
        whole,
        quality=replace(whole.quality, checks=()),
        transform=whole.transform[: place + 1],
        outputs=(RowsOutput(table="rows_so_far"),),
    )
    tried = Rehearsal(replace(bench.scratch, pipeline=part), now_us=bench.now_us, tasks=bench.tasks, places=bench.places)
    try:
        tried.begin()
    except (AssertionError, ValueError, RaypipeError):
        return False
    return any(_played(one) for one in points(tried) if one.name in (point.name, *TELLING))
