"""Points: everything that can happen to a run, one at a time, by name; playing one tells what is other than after a clean run.

A name is `where@hit=what`. Where: a failpoint, the n-th `task` that ends, the `files` or the whole `run`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from raypipe import launch
from raypipe.core.events import RunClosed
from raypipe.core.shard import Task
from raypipe.errors import Fenced, RetryableError, RunIsAlive
from raypipe.failpoints import watching
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Completion
from raypipe.testing.damage import damage
from raypipe.testing.rehearsal import Rehearsal
from raypipe.testing.stepping import ELSEWHERE, Ended, dead, last

DELIVERIES_MAX = 4  # groups that many files are taken in, for the sake of time
MOVE_INPUT = ("late", "stale")
SETTLED_BY_ITSELF = {"commit.after_commit_before_ack"}
"""Where an error is the lost acknowledgement of a commit: the ledger knows, and the run that asks it goes on."""


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that happens, and what is done then."""

    name: str
    story: str
    """What happened, as a sentence for whoever sees it fail."""
    play: Callable[[], list[str]]
    """Do it and return how the outcome differs from that of a clean run."""
    moves_input: bool = False
    """Whether files come and go meanwhile, so that nothing else may be played beside it."""

    def is_meant_by(self, only: str | None) -> bool:
        """Tell whether a person named this point: whole, without what happens, without the hit too, or by what happens."""
        where, _, what = self.name.partition("=")
        return only in (None, self.name, where, where.partition("@")[0], what)


def points(bench: Rehearsal) -> Iterator[Point]:
    """Yield every point of a pipeline, after its clean run."""
    yield from _runs(bench)
    yield from _crashes(bench)
    yield from _errors(bench)
    yield from _tasks(bench)
    yield from _files(bench)


# ---- the whole run ----------------------------------------------------------------------------------------


def _runs(bench: Rehearsal) -> Iterator[Point]:
    def play(**conduct: Any) -> Callable[[], list[str]]:
        def run() -> list[str]:
            place = bench.new_place()
            return bench.differences(place, bench.run(place, **conduct))

        return run

    yield Point("run=clean", "it was run once, and its shards were computed again from the source", bench.clean_wrong)
    yield Point("run=again", "it was run once more, into another destination", play())
    yield Point("run=backward", "its tasks were done in the opposite order", play(pick=last))
    together = play(threads=2, task_shards_max=bench.shards, stage="never")
    yield Point("run=together", "its shards were done together, in threads, as `raypipe run` does", together)


# ---- a process that dies, and errors ----------------------------------------------------------------------


def _crashes(bench: Rehearsal) -> Iterator[Point]:
    outcomes: dict[Path, list[str]] = {}
    turns = {copy: threading.Lock() for copy in bench.crashes.values()}  # points side by side often left the same files

    def play(where: str) -> list[str]:
        copy = bench.crashes[where]
        with turns[copy]:
            if copy not in outcomes:  # the same files lead to the same run
                outcomes[copy] = _after_crash(bench, where)
            return outcomes[copy]

    for where in bench.crashes:
        story = f"the process died at {_ordinal(where)}, and a new one ran the pipeline"
        yield Point(f"{where}=crash", story, lambda where=where: play(where))  # type: ignore[misc]


def _after_crash(bench: Rehearsal, where: str) -> list[str]:
    place = bench.copied(bench.crashes[where])
    wrong = [f"before it ran again: {one.name}: {one.detail}" for one in launch.verify(bench.scratch.at(place)) if not one.ok]
    closed = bench.run(place, "second")
    return [*wrong, *_ended_well(closed), *bench.differences(place)]


def _errors(bench: Rehearsal) -> Iterator[Point]:
    for where in bench.crashes:
        story = f"an I/O error was raised at {_ordinal(where)}, and whatever was not done by the run itself, by another one"
        yield Point(f"{where}=error", story, lambda where=where: _error_at(bench, where))  # type: ignore[misc]


def _error_at(bench: Rehearsal, where: str) -> list[str]:
    point, _, hit = where.partition("@")
    hits = 0

    def fail(found: str) -> None:
        nonlocal hits
        hits += found == point
        if found == point and hits == int(hit):
            raise OSError(5, f"raised by raypipe.testing at {where}")

    place = bench.new_place()
    try:
        with watching(fail):
            closed = bench.run(place)
    except Exception:  # whatever it was: the run did not end, and the next one has to
        closed = None
    if closed is not None and closed.status == "done":
        return bench.differences(place, closed)
    wrong = ["the run did not settle by itself what had become of its commit"] if point in SETTLED_BY_ITSELF else []
    return [*wrong, *_ended_well(bench.run(place, "second")), *bench.differences(place)]


# ---- what becomes of one task -----------------------------------------------------------------------------


def _tasks(bench: Rehearsal) -> Iterator[Point]:
    kinds: dict[str, tuple[str, Callable[[Rehearsal, int], list[str]]]] = {
        "twice": ("the result of the {n} was lost, it was done again, and then the first result came too", _twice),
        "damaged": ("what the {n} left on disk was changed before its commit", _damaged),
        "takeover": ("another process took the run over after the {n}, ended it, and then the old owner came back", _takeover),
        "started_twice": ("the same run was started once more after the {n}", _started_twice),
        "rival": ("another run did the same work after the {n}, before its commit", _rival),
    }
    if bench.scratch.files:
        kinds["late"] = ("a file arrived after the {n}, and another run took it in before the first went on", _late)
        kinds["stale"] = ("the process died when the {n} had left its files, then a file arrived, and a new process ran", _stale)
    for what, (story, play) in kinds.items():
        moves = what in MOVE_INPUT
        for number in range(1, bench.tasks + 1):
            told = story.format(n=f"{_nth(number)} task")
            yield Point(f"task@{number}={what}", told, lambda play=play, number=number: play(bench, number), moves)  # type: ignore[misc]


def _at(number: int, do: Callable[[Task, Completion], list[Completion]]) -> Ended:
    """Return what does something when the n-th task has ended, and passes all others on."""
    return lambda found, task, completion: do(task, completion) if found == number else [completion]


def _twice(bench: Rehearsal, number: int) -> list[str]:
    lost: list[Completion] = []

    def ended(found: int, _task: Task, completion: Completion) -> list[Completion]:
        if found == number:
            lost.append(completion)
            return [Completion(completion.key, error=RetryableError("its result was lost"))]
        came = [completion, *lost]
        lost.clear()
        return came

    place = bench.new_place()
    return bench.differences(place, bench.run(place, ended=ended))


def _damaged(bench: Rehearsal, number: int) -> list[str]:
    def harm(_task: Task, completion: Completion) -> list[Completion]:
        damage(completion)
        return [completion]

    place = bench.new_place()
    return bench.differences(place, bench.run(place, ended=_at(number, harm)))


def _takeover(bench: Rehearsal, number: int) -> list[str]:
    place = bench.new_place()

    def take_over(_task: Task, completion: Completion) -> list[Completion]:
        bench.run(place, force=True)
        return [completion]

    try:
        closed = bench.run(place, owner=ELSEWHERE, ended=_at(number, take_over))
    except Fenced:
        return bench.differences(place)
    return [f"the old owner was not fenced: its run ended as {closed.status}", *bench.differences(place)]


def _started_twice(bench: Rehearsal, number: int) -> list[str]:
    place = bench.new_place()
    wrong: list[str] = []

    def start(_task: Task, completion: Completion) -> list[Completion]:
        try:
            closed = bench.run(place)
        except RunIsAlive:
            return [completion]
        wrong.append(f"the second start was let in beside the first: it ended as {closed.status}")
        return [completion]

    closed = bench.run(place, owner=ELSEWHERE, ended=_at(number, start))
    return [*wrong, *bench.differences(place, closed)]


def _rival(bench: Rehearsal, number: int) -> list[str]:
    place = bench.new_place()

    def outrun(_task: Task, completion: Completion) -> list[Completion]:
        bench.run(place, "rival")
        return [completion]

    closed = bench.run(place, ended=_at(number, outrun))
    return [*_ended_well(closed), *bench.differences(place)]


def _late(bench: Rehearsal, number: int) -> list[str]:
    place, late = bench.new_place(), _deliveries(bench)[-1]

    def arrive(_task: Task, completion: Completion) -> list[Completion]:
        bench.scratch.deliver(late)
        bench.run(place, "rival")
        return [completion]

    with bench.scratch.without(late):
        closed = bench.run(place, ended=_at(number, arrive))
    return [*_ended_well(closed), *bench.left_to_do(place), *bench.differences(place)]


def _stale(bench: Rehearsal, number: int) -> list[str]:
    place, late, left = bench.new_place(), _deliveries(bench)[-1], []

    def die(_task: Task, completion: Completion) -> list[Completion]:
        left.append(bench.copied(place))
        return [completion]

    with bench.scratch.without(late):
        bench.run(place, owner=dead(), ended=_at(number, die))
    closed = bench.run(left[0], "second")
    return [*_ended_well(closed), *bench.left_to_do(left[0]), *bench.differences(left[0])]


# ---- files that come in other orders ----------------------------------------------------------------------


def _files(bench: Rehearsal) -> Iterator[Point]:
    deliveries = _deliveries(bench)
    for delivery in deliveries:
        named = ", ".join(delivery)
        story = f"{named} arrived after a run, and another run took it in"
        yield Point(f"files={named}", story, lambda one=delivery: _one_by_one(bench, [one]), moves_input=True)  # type: ignore[misc]
    if len(deliveries) > 1:
        story = "its files arrived one by one, the last one first, with a run after each"
        yield Point("files=reversed", story, lambda: _one_by_one(bench, deliveries[-2::-1]), moves_input=True)


def _deliveries(bench: Rehearsal) -> Sequence[Sequence[str]]:
    """Share the files out over deliveries, in order."""
    files = bench.scratch.files
    count = min(DELIVERIES_MAX, len(files))
    return [files[len(files) * place // count : len(files) * (place + 1) // count] for place in range(count)]


def _one_by_one(bench: Rehearsal, later: Sequence[Sequence[str]]) -> list[str]:
    """Run without some deliveries, then let them come one after the other, with a run after each."""
    place = bench.new_place()
    with bench.scratch.without([name for delivery in later for name in delivery]):
        wrong = _ended_well(bench.run(place))
        for number, delivery in enumerate(later):
            bench.scratch.deliver(delivery)
            wrong += _ended_well(bench.run(place, f"late-{number}"))
    return [*wrong, *bench.left_to_do(place), *bench.differences(place)]


# ---- words ------------------------------------------------------------------------------------------------


def _ended_well(closed: RunClosed) -> list[str]:
    if closed.status == "done":
        return []
    return [f"the run ended as {closed.status}", *(f"{one.window}: {one.error}" for one in closed.failures)]


def _ordinal(where: str) -> str:
    point, _, hit = where.partition("@")
    return f"{point}, hit for the {_nth(int(hit))} time"


def _nth(number: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
