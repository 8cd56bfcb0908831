"""Transform: the stages of a pipeline in their order, shared by the run, `sample` and `check` so that they cannot drift apart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import field
from functools import partial
from pathlib import Path

import polars as pl

from raypipe.engine.batches import RAW_COLUMN, Batch, with_series
from raypipe.engine.contract import Contract
from raypipe.engine.deduplicate import DeduplicateStep
from raypipe.engine.explode import ExplodeStage
from raypipe.engine.liveness import LaterUse, later_use
from raypipe.engine.lookup import Reference, read_reference
from raypipe.engine.per_columns import PerColumns
from raypipe.engine.python_step import UserFunction, load_function
from raypipe.engine.quality import Books
from raypipe.engine.quarantine import raw_rows
from raypipe.engine.steps import BoundStep, RowStep, StepBinder, bind_rules, describe
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Cast, Deduplicate, Explode, FillNull, Filter, Lookup, Pipeline, PythonStep

Binder = Callable[[pl.Schema], BoundStep]


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task may use beside its rows."""

    books: Books
    memory_bytes: int
    spill: Path
    """A folder of the task's own; made when it is needed."""
    rows_expected: int = 0
    """How many the index counted or estimated; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class RowStage:
    """A stage that works batch by batch, bound once to each set of columns that reaches it."""

    title: str
    binder: Binder
    keeps_columns: bool = False
    """What comes out has the columns of what came in."""
    calls_user: bool = False
    """It calls a function of the user's."""
    _bound: PerColumns[BoundStep] = field(default_factory=PerColumns, compare=False)

    def stream(self, batches: Iterator[Batch], resources: Resources) -> Iterator[Batch]:
        """Pass each batch through the stage. Raises ConfigurationError where it does not fit the columns."""

        def passed(batch: Batch) -> Batch:
            return self._bound.of(batch.frame, self.binder)(batch, resources.books)

        return map(passed, batches)  # a loop would hold what came in while others work on what goes out


@dataclass(frozen=True, slots=True)
class DeduplicateStage:
    """The one stage that sees all rows of a task before it hands on the first."""

    title: str
    step: DeduplicateStep
    keeps_raw: bool
    """A later step may set rows aside, which then need their source row."""

    def stream(self, batches: Iterator[Batch], resources: Resources) -> Iterator[Batch]:
        """Pass all batches through the stage, from disk where they are more than its share of memory."""
        given = map(_with_raw, batches) if self.keeps_raw else batches
        return self.step.stream(
            given,
            resources.books,
            memory_bytes=resources.memory_bytes,
            spill=resources.spill,
            rows_expected=resources.rows_expected,
        )


Stage = RowStage | DeduplicateStage | ExplodeStage


def _with_raw(batch: Batch) -> Batch:
    if RAW_COLUMN in batch.frame.columns:
        return batch
    raws = raw_rows(batch, pl.int_range(batch.frame.height, dtype=pl.UInt32, eager=True))
    return batch.with_frame(with_series(batch.frame, pl.Series(RAW_COLUMN, pl.from_arrow(raws), dtype=pl.String)))


@dataclass(slots=True)
class Transform:
    """All stages of one pipeline. Reference files and Python functions are read once, when a batch first needs them."""

    pipeline: Pipeline
    keeps_unused: bool = True
    """Columns that no later step and no output can mean are shown all the same."""
    stages: tuple[Stage, ...] = ()
    _references: dict[str, pl.DataFrame] = field(default_factory=dict)
    _functions: dict[str, UserFunction] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.stages = tuple(self._stages())

    def stream(self, batches: Iterator[Batch], resources: Resources) -> Iterator[Batch]:
        """Pass batches through all stages; a failed shard's rows go no further than the stage that failed it."""
        for stage in self.stages:
            batches = stage.stream(_alive(batches, resources), resources)
        return _alive(batches, resources)

    def _stages(self) -> Iterator[Stage]:
        pipeline = self.pipeline
        zone = pipeline.time.zone
        contracts = [Contract(part, zone) for part in pipeline.source.parts]  # by origin: those of the rows come first
        yield RowStage("contract", lambda _: lambda batch, books: contracts[batch.origin].apply(batch, books))
        if pipeline.quality.rules:
            yield RowStage("rules", lambda schema: bind_rules(pipeline.quality.rules, schema), keeps_columns=True)
        binder = StepBinder(zone, pipeline.folder, self._reference, self._function)
        for place, step in enumerate(pipeline.transform):
            where = f"transform[{place}]"
            if isinstance(step, Deduplicate):
                later = LaterUse() if self.keeps_unused else later_use(pipeline, place)
                keeps_raw = any(map(_sets_aside, pipeline.transform[place + 1 :]))
                yield DeduplicateStage(describe(step), DeduplicateStep(step, where, later), keeps_raw)
            elif isinstance(step, Explode):
                yield ExplodeStage(describe(step), step, where)
            else:
                yield RowStage(
                    describe(step),
                    partial(_bind, binder, step, where),
                    keeps_columns=isinstance(step, (Filter, FillNull)),
                    calls_user=isinstance(step, PythonStep),
                )

    def _reference(self, lookup: Lookup) -> Reference:
        with self._lock:
            if lookup.path not in self._references:
                self._references[lookup.path] = read_reference(lookup.path, self.pipeline.source.csv)
            return Reference(lookup, self._references[lookup.path], self.pipeline.time.zone)

    def _function(self, function: str) -> UserFunction:
        with self._lock:
            if function not in self._functions:
                self._functions[function] = load_function(function, self.pipeline.folder)
            return self._functions[function]


def _bind(binder: StepBinder, step: RowStep, where: str, schema: pl.Schema) -> BoundStep:
    return binder.bind(step, schema, where)


def _sets_aside(step: object) -> bool:
    return isinstance(step, Cast) or (isinstance(step, Lookup) and step.missing != "keep")


def _alive(batches: Iterator[Batch], resources: Resources) -> Iterator[Batch]:
    def alive(batch: Batch) -> Batch:
        return batch.with_frame(resources.books.tally.alive(batch.frame))

    return map(alive, batches)
