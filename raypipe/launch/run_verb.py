"""`run` and `backfill`: build the parts, choose the executor, start the driver, report."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

from raypipe.core import events as ev
from raypipe.core.executor_choice import Choice, WorkSize, choose_executor, phrase
from raypipe.core.grouping import SHARDS_MAX
from raypipe.core.plan import Scope
from raypipe.core.room import share_in_process, slots_in_process
from raypipe.core.state import RunOpening
from raypipe.core.window import from_us
from raypipe.destinations.holder import own_start_s
from raypipe.errors import UsageError
from raypipe.launch.inspect_verbs import versions
from raypipe.launch.late_worker import LateWorker
from raypipe.launch.listing_warnings import warnings_of
from raypipe.launch.parts import Parts, cores
from raypipe.launch.plan_verb import planner
from raypipe.launch.reports import Ask, RunReport, work_phrase
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Pipeline, PythonStep
from raypipe.ports import Clock, Executor, Listing, Observer, StopFlag
from raypipe.runtime import surroundings
from raypipe.runtime.driver import Driver, DriverSettings
from raypipe.runtime.inline import InlineExecutor
from raypipe.runtime.system_clock import SystemClock

ROW_BYTES = 25  # of a source file, to guess rows before anything is read; only the choice of the executor rests on it


def run(
    pipeline: Pipeline, ask: Ask, *, observer: Observer, stop: StopFlag, clock: Clock | None = None, own_process: bool = False
) -> RunReport:
    """Run or backfill a pipeline to its end, or until it is stopped; `clock` is this machine's unless another is given.

    `own_process`: the process is raypipe's own, as that of a command is.
    """
    clock = clock or SystemClock()
    parts = Parts(pipeline, clock, slices_in_memory=True, given=ask.given, own_process=own_process)
    _require_folder(parts)
    listing = parts.source.list()
    choice = _choice(parts, ask, listing)
    tally = _Tally(observer)
    for warning in warnings_of(parts, listing):
        tally.warn(warning)
    run_id = new_run_id(clock)
    if choice.executor == "ray":
        from raypipe.launch.ray_run import run_on_ray

        closed = run_on_ray(Parts(pipeline, clock, given=ask.given), ask, choice, run_id, tally, stop)
    else:
        slots = slots_in_process(pipeline.run.memory_bytes, choice.slots)  # each holds its share of the memory
        choice = replace(choice, slots=slots)
        share_bytes = share_in_process(pipeline.run.memory_bytes, slots)
        worker = LateWorker(lambda: parts.worker(share_bytes), parts.scan, slots, parts.destination.make_ready)
        driver = make_driver(parts, ask, choice, run_id, InlineExecutor(worker, slots), tally, stop, prepare=worker.made)
        try:
            closed = driver.run()
        except BaseException:
            worker.close()
            raise
        with _meanwhile(worker.close):  # engines take a hundredth of a second to give back what they hold
            return _report(parts, choice, run_id, closed, tally)
    return _report(parts, choice, run_id, closed, tally)


@contextlib.contextmanager
def _meanwhile(do: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=do, name="raypipe-beside")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def make_driver(
    parts: Parts,
    ask: Ask,
    choice: Choice,
    run_id: str,
    executor: Executor,
    observer: Observer,
    stop: StopFlag,
    *,
    force: bool = False,
    prepare: Callable[[], object] = lambda: None,
    owner: str | None = None,
    task_shards_max: int = SHARDS_MAX,
) -> Driver:
    """Build the driver of a run around an executor; the same for every executor.

    `prepare` is called when there is work, before the run opens; with `force` the run is taken over from whoever holds it.
    `owner` is who holds the run, this process where none is named.
    """
    pipeline = parts.pipeline
    settings = DriverSettings(
        pipeline=pipeline.name,
        executor=phrase(choice),
        memory_bytes=pipeline.run.memory_bytes,
        atomic=ask.publish == "atomic",
        retries=pipeline.run.retries,
        task_timeout_s=pipeline.run.shard_timeout_s,
        task_shards_max=task_shards_max,
        divisible=pipeline.divisible_outputs,
    )
    opening = replace(opening_of(parts, ask, run_id), force=force, holder=owner or holder())
    wanted = planner(parts, ask)
    if ask.scope is Scope.DUE and parts.given is None:  # what is asked for again and again
        wanted = replace(wanted, pipeline=pipeline, settled=parts.settled(opening.versions))
    return Driver(
        settings, opening, wanted, parts.destination, executor, parts.stages, observer, parts.clock, stop, prepare, parts.claims
    )


def opening_of(parts: Parts, ask: Ask, run_id: str) -> RunOpening:
    """Return what a run of this process says of itself."""
    return RunOpening(
        run_id=run_id,
        kind=ask.kind,
        window=planner(parts, ask).window,
        start_us=parts.pipeline.time.start_us,
        holder=holder(),
        definitions=parts.definitions,
        versions=versions(),
        merges=parts.merges,
        views=parts.views,
    )


def new_run_id(clock: Clock) -> str:
    """Return an id that sorts by time and is unique even when two runs start in the same microsecond."""
    return f"{from_us(clock.now_us()):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def holder() -> str:
    """Return who owns a run: host, process and its start, so that a dead owner on this host can be told."""
    return f"{socket.gethostname()}:{os.getpid()}:{own_start_s():.2f}"


def _require_folder(parts: Parts) -> None:
    folder = Path(parts.pipeline.destination.path).parent
    if not folder.is_dir():
        raise UsageError(f"destination.path: the folder {folder} does not exist: create it, or name another path")


def _choice(parts: Parts, ask: Ask, listing: Listing) -> Choice:
    pipeline = parts.pipeline
    size_bytes = sum(file.size_bytes for file in listing.files)
    python_steps = any(isinstance(step, PythonStep) for step in pipeline.transform)
    size = WorkSize(shards=0, rows=size_bytes // ROW_BYTES, size_bytes=size_bytes, python_steps=python_steps)
    return choose_executor(
        ask.executor or pipeline.run.executor, ask.address or pipeline.run.address, os.environ, cores(), size,
        surroundings.surrounding_address(),
    )  # fmt: skip


@dataclass
class _Tally:
    """Adds up what the report needs, and passes every event on."""

    observer: Observer
    filtered: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    size_bytes: int = 0
    bytes_read: int = 0
    bytes_input: int = 0

    def on(self, event: ev.RunEvent) -> None:
        """Take note of an event."""
        match event:
            case ev.FileScanned(file, bytes_read):
                self.bytes_read += bytes_read
                self.bytes_input += file.size_bytes
            case ev.Planned(shards=shards, again=False, remarks=remarks):
                self.warnings.extend(remarks)
                self.shards = len(shards)
                self.size_bytes = sum(shard.size_bytes for shard in shards)
            case ev.GroupCommitted(results=results, receipt=receipt):
                for result in results:
                    if (result.filtered or result.warnings or result.broken) and result.window in receipt.outcomes:
                        self._add(result.filtered, result.warnings)
                        for rule, rows in result.broken.items():
                            self.broken[rule] = self.broken.get(rule, 0) + rows
            case ev.TaskFailed(error=error, relist=True):
                self.warnings.append(f"{error}; its shards were planned again, from what is there now")
            case _:
                pass
        self.observer.on(event)

    def warn(self, text: str) -> None:
        """Tell something now and in the report."""
        self.warnings.append(text)
        self.observer.on(ev.Warned(text))

    def _add(self, filtered: Mapping[str, int], warnings: tuple[str, ...]) -> None:
        for name, rows in filtered.items():
            self.filtered[name] = self.filtered.get(name, 0) + rows
        self.warnings.extend(warnings)


def _report(parts: Parts, choice: Choice, run_id: str, closed: ev.RunClosed, tally: _Tally) -> RunReport:
    quarantine, tables = parts.destination.outcome_of(run_id) if closed.planned else ((), {})
    return RunReport(
        pipeline=parts.pipeline,
        run_id=run_id,
        executor=work_phrase(tally.shards, tally.size_bytes, choice),
        closed=closed,
        quarantine=quarantine,
        filtered=tally.filtered,
        tables=tables,
        bytes_input=tally.bytes_input,
        bytes_read=tally.bytes_read,
        warnings=(*_warned(parts.pipeline, tally.broken), *dict.fromkeys(tally.warnings)),
    )


def _warned(pipeline: Pipeline, broken: Mapping[str, int]) -> Iterator[str]:
    """Tell of rules that only warn: their rows were kept."""
    for rule in pipeline.quality.rules:
        rows = broken.get(rule.name, 0)
        if rule.otherwise == "warn" and rows:
            yield f"{rule.name}: " + ("1 row breaks it and was kept" if rows == 1 else f"{rows:,} rows break it and were kept")
