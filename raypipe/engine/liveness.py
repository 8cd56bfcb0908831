"""Liveness: which columns an output can mean, so that no other is computed, nor anything read for it, nor kept on the way.

`check` and `sample` look at all of them; a run leaves out what nothing uses, as an SQL engine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raypipe.engine.batches import HIDDEN, RAW_COLUMN, SHARD_INDEX
from raypipe.engine.columns import ANY, Words, named_columns, words_of_outputs, words_of_step
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import (
    Cast,
    Derive,
    Drop,
    FillNull,
    Filter,
    Flatten,
    Lookup,
    Pipeline,
    PythonStep,
    Rename,
    Select,
    SqlOutput,
    Step,
)
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN, TIME_COLUMN

_ORIGIN = frozenset((TIME_COLUMN, SOURCE_COLUMN, POSITION_COLUMN))


def without_unused(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline without the derived columns that no later step and no output can mean."""
    steps = _live_steps(pipeline.transform, words_of_outputs(pipeline.outputs))
    return pipeline if steps == pipeline.transform else replace(pipeline, transform=steps)


def _live_steps(steps: Sequence[Step], used: Words) -> tuple[Step, ...]:
    """Go through the steps backwards, with the words of all that comes after."""
    kept: list[Step] = []
    for step in reversed(steps):
        if isinstance(step, Derive):
            step = Derive(columns={name: text for name, text in step.columns.items() if used.can_mean(name)})
            if not step.columns:
                continue
        used = ANY if isinstance(step, PythonStep) else used | words_of_step(step)
        kept.append(step)
    return tuple(reversed(kept))


@dataclass(frozen=True, slots=True)
class LaterUse:
    """What is used of rows that are held, once all of them were seen."""

    words: Words = ANY
    origin: bool = True
    """Also when and where each row was, for rows that are set aside or ordered by it."""

    def of(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that are used, in their order, of the user's one at least: a table has a column."""
        users = [name for name in columns if name not in HIDDEN]
        used = {name for name in users if self.words.can_mean(name)} or set(users[:1])
        used |= {SHARD_INDEX, RAW_COLUMN} | (_ORIGIN if self.origin else frozenset())
        return [name for name in columns if name in used]


def later_use(pipeline: Pipeline, place: int) -> LaterUse:
    """Return what the steps behind one, and the outputs, use of its rows. None tells a row's place in the batch as read."""
    later = pipeline.transform[place + 1 :]
    words = words_of_outputs(pipeline.outputs)
    for step in later:
        words |= _words_around(step)
    merged = any(not isinstance(one, SqlOutput) and one.merge for one in pipeline.outputs)
    return LaterUse(words, merged or not all(map(_minds_columns_alone, later)))


def _words_around(step: Step) -> Words:
    """Return the words of a step and of the names that it makes, which it refuses where the rows have one already."""
    match step:
        case PythonStep() | Flatten():  # what names a struct has, none can tell
            return ANY
        case Rename():
            return words_of_step(step) | Words.of(step.columns.values())
        case Lookup():
            return words_of_step(step) | Words.of(step.columns)
    return words_of_step(step)


def _minds_columns_alone(step: Step) -> bool:
    if isinstance(step, Lookup):
        return step.missing == "keep" and step.as_of is None
    return isinstance(step, (Filter, Derive, Drop, FillNull, Flatten, Rename, Select))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Columns of a source: those to `read`, None for all, and which of them only the text of rows that are set aside needs."""

    read: Sequence[str] | None
    only_for_text: frozenset[str] = frozenset()


def wanted_columns(pipeline: Pipeline, computed: Pipeline, have: Sequence[str]) -> Wanted:
    """Return the columns to read of those that the source has, where of the pipeline this is `computed`.

    Where rows may be set aside, also what only an unused column was to be made of: the raw row is kept for a person.
    """
    used = named_columns(computed, have)
    if used is None or not _sets_aside(pipeline):
        return Wanted(used)
    named = named_columns(pipeline, have)
    return Wanted(named, frozenset(have if named is None else named).difference(used))


def _sets_aside(pipeline: Pipeline) -> bool:
    by_rule = any(rule.otherwise == "quarantine" for rule in pipeline.quality.rules)
    by_step = any(
        isinstance(step, Cast) or (isinstance(step, Lookup) and step.missing == "quarantine") for step in pipeline.transform
    )
    return by_rule or by_step
