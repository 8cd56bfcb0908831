"""Rehearsal: a pipeline in a scratch folder, run cleanly once; every later run is compared with that one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from raypipe import launch
from raypipe.core.events import RunClosed
from raypipe.core.shard import Task
from raypipe.core.window import Window
from raypipe.failpoints import watching
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline
from raypipe.ports import Completion
from raypipe.runtime.system_clock import SystemClock
from raypipe.testing import oracle
from raypipe.testing.clock import SteppedClock
from raypipe.testing.crash_copies import CrashCopies
from raypipe.testing.held import Held, content, differences, held, table_names
from raypipe.testing.scratch import Scratch
from raypipe.testing.stepping import Conduct, dead, step_run

SHARDS_MAX = 60  # beyond, only the part of history is run in which the input has rows


@dataclass(slots=True)
class Rehearsal:
    """A pipeline in a scratch folder, and what a clean run of it gave."""

    scratch: Scratch
    now_us: int = field(default_factory=lambda: SystemClock().now_us())
    tasks: int = 2
    """Into how many the shards are shared out; after the clean run, how many there were."""
    ask: Ask = field(default_factory=Ask)
    shards: int = 0
    task_shards_max: int = 1
    crashes: dict[str, Path] = field(default_factory=dict)
    """By point and hit of the clean run, in order, what a crash there leaves."""
    places: Iterator[int] = field(default_factory=itertools.count)
    """Numbers the folders for destinations; those who share a scratch folder share it."""
    _clean: Held | None = None
    _clean_place: str = ""
    _closed: RunClosed | None = None
    _tables: tuple[str, ...] = ()
    _good: set[bytes] = field(default_factory=set)
    """What destinations held that do not differ."""

    def begin(self) -> None:
        """Run once, cleanly, and take note of everything. Raises ValueError where there is nothing to prove anything with."""
        self._choose_window()
        place = self._clean_place = self.new_place()

        def count(number: int, _task: Task, completion: Completion) -> list[Completion]:
            self.tasks = number
            return [completion]

        copies = CrashCopies(self.scratch.folder / place, self.scratch.folder / f"{place}-copies")
        with watching(copies):
            closed = self.run(place, owner=dead(), ended=count)
        self.crashes = copies.found
        if closed.status != "done" or not closed.committed:
            failures = "; ".join(f"{one.window}: {one.error}" for one in closed.failures) or f"{closed.committed} shards committed"
            raise ValueError(
                f"the pipeline does not end well on this input even when nothing happens ({closed.status}; {failures}): "
                "give an input on which it does"
            )
        self._closed, self._clean = closed, held(self.scratch.at(place), self.clock)
        self._tables = table_names(self.scratch.at(place), self.clock)

    @property
    def clock(self) -> SteppedClock:
        """A clock that stands where all runs of this rehearsal take place."""
        return SteppedClock(self.now_us)

    def new_place(self) -> str:
        """Return the name of an empty folder for a destination."""
        name = f"place-{next(self.places)}"
        (self.scratch.folder / name).mkdir()
        return name

    def copied(self, folder: str | Path) -> str:
        """Return the name of a new folder that holds what another one does now: what is left where a process dies."""
        name = f"place-{next(self.places)}"
        shutil.copytree(self.scratch.folder / folder, self.scratch.folder / name)
        return name

    def run(self, place: str, run_id: str = "first", **conduct: Any) -> RunClosed:
        """Run the pipeline into a place, as a new process would."""
        shares = {"task_shards_max": self.task_shards_max}
        return step_run(self.scratch.at(place), self.ask, self.now_us, Conduct(run_id=run_id, **{**shares, **conduct}))

    def differences(self, place: str, closed: RunClosed | None = None) -> list[str]:
        """Compare a place, and what a run told of itself, with the clean run; the place is removed."""
        found = self._differences(self.scratch.at(place))
        if closed is not None:
            found += self._report_differences(closed)
        shutil.rmtree(self.scratch.folder / place)
        return found

    def _differences(self, pipeline: Pipeline) -> list[str]:
        assert self._clean is not None
        now = content(pipeline, self.clock, self._tables)
        if now in self._good:
            return []
        found = differences(self._clean, pipeline, self.clock)
        if not found and now is not None:
            self._good.add(now)
        return found

    def clean_wrong(self) -> list[str]:
        """Prove the clean run by the oracle, which computes it again; all others are compared with it."""
        try:
            oracle.check(self.scratch.at(self._clean_place), finished=False)
        except oracle.NotExact as error:
            return [*(f"{one.name}: {one.detail}" for one in error.checks), *map(str, error.rows)]
        return []

    def left_to_do(self, place: str) -> list[str]:
        """Return the shards that a run would still do."""
        made = launch.plan(self.scratch.at(place), self.ask, self.clock).plan
        return [f"shard {one.window} is still to be done ({one.reason})" for one in made.shards]

    def _report_differences(self, closed: RunClosed) -> list[str]:
        assert self._closed is not None
        names = ("status", "planned", "committed", "failed", "skipped", "rows", "watermark_us")
        return [
            f"the run reports {name} {getattr(closed, name)}, expected {getattr(self._closed, name)}"
            for name in names
            if getattr(closed, name) != getattr(self._closed, name)
        ]

    def _choose_window(self) -> None:
        """Plan once. History without rows of the input teaches nothing, and may be long. Its end is fixed: time goes on."""
        time = self.scratch.pipeline.time
        ready = Parts(self.scratch.pipeline, self.clock).ready.window
        if time.end_us is None and ready is not None:
            ended = replace(self.scratch.pipeline, time=replace(time, end_us=ready.end_us))
            self.scratch = replace(self.scratch, pipeline=ended)
        planned = launch.plan(self.scratch.at(self.new_place()), Ask(), self.clock).plan.shards
        if len(planned) > SHARDS_MAX:
            planned = tuple(one for one in planned if one.slices)
            if planned:
                window = Window(planned[0].window.start_us, planned[-1].window.end_us)
                self.ask = Ask(start_us=window.start_us, end_us=window.end_us)
                planned = launch.plan(self.scratch.at(self.new_place()), self.ask, self.clock).plan.shards
        self.shards = len(planned)
        self.task_shards_max = max(1, -(-self.shards // self.tasks))
