"""Liveness: which derived columns an output can mean, so that no other is computed, nor anything read for it.

`check` and `sample` look at all of them; a run leaves out what nothing uses, as an SQL engine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raypipe.engine.columns import ANY, Words, named_columns, words_of_outputs, words_of_step
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Cast, Derive, Lookup, Pipeline, PythonStep, Step


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
