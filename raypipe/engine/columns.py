"""Columns: which of the source's columns a pipeline needs, so that no others are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from raypipe.pipeline import (
    Deduplicate,
    Derive,
    Filter,
    Lookup,
    Pipeline,
    PythonStep,
    RowsOutput,
    Select,
    SqlOutput,
    Step,
)

_WORD = re.compile(r"[^\W\d]\w*")
_COUNT_STAR = re.compile(r"\(\s*\*\s*\)")
# A star that stands where a list of columns may stand; between two operands it multiplies.
_STAR = re.compile(r"(\bselect|\bdistinct|\ball|,|\.|\()\s*\*", re.IGNORECASE)
# Forms of DuckDB's SQL that mean all columns, or columns by other ways than their names.
_OPAQUE = re.compile(
    r"\b(columns|pivot|unpivot|summarize|describe|show|natural|table|positional|exclude|replace)\b|#\d|(^|\(|\bas)\s*from\b",
    re.IGNORECASE,
)
_ROWS_AS_VALUE = re.compile(r"(?<!from )(?<!join )\brows\b(?!\s*(\.|between|unbounded|current|\d))", re.IGNORECASE)
_ALIAS = re.compile(r"\b(?:from|join)\s+rows\s+(?:as\s+)?([^\W\d]\w*)", re.IGNORECASE)
_CLAUSES = frozenset(
    [
        "where",
        "group",
        "order",
        "limit",
        "join",
        "left",
        "right",
        "inner",
        "full",
        "cross",
        "qualify",
        "window",
        "having",
        "union",
        "except",
        "intersect",
        "using",
        "on",
        "sample",
        "tablesample",
        "asof",
        "semi",
        "anti",
        "offset",
        "as",
    ]
)


def needed_columns(pipeline: Pipeline, have: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns to read of those that the source has; None for all of them.

    With a contract all of its columns are needed, because all are checked. Without one, those are needed whose names
    occur in a rule, a step or an output: a superset that costs little when a word is no column. Where a Python step,
    a `rows` output or a star in SQL may see any column, all are.
    """
    source = pipeline.source
    if source.columns:
        return tuple(source.columns) if source.extra_columns == "ignore" else None
    if _sees_all(pipeline):
        return None
    words = {word.lower() for text in _texts(pipeline) for word in _WORD.findall(text)}
    words |= {name.lower() for step in pipeline.transform for name in _names(step)}
    return tuple(name for name in have if name.lower() in words or not _WORD.fullmatch(name))


def _sees_all(pipeline: Pipeline) -> bool:
    if any(isinstance(step, PythonStep) for step in pipeline.transform):
        return True
    narrowed = any(isinstance(step, Select) for step in pipeline.transform)
    return not narrowed and any(isinstance(one, RowsOutput) or sql_sees_all(one.sql) for one in pipeline.outputs)


def sql_sees_all(sql: str) -> bool:
    """Tell whether SQL may mean columns of `rows` that it does not name; in doubt it may."""
    text = " ".join(_COUNT_STAR.sub("()", sql).split())
    if _STAR.search(text) or _OPAQUE.search(text) or _ROWS_AS_VALUE.search(text):
        return True
    aliases = {one.lower() for one in _ALIAS.findall(text)} - _CLAUSES
    return any(re.search(rf"(?<!rows )(?<!rows as )\b{alias}\b(?!\s*\.)", text, re.IGNORECASE) for alias in aliases)


def _texts(pipeline: Pipeline) -> Iterator[str]:
    yield from (rule.expect for rule in pipeline.quality.rules)
    for step in pipeline.transform:
        if isinstance(step, Filter):
            yield step.condition
        elif isinstance(step, Derive):
            yield from step.columns.values()
    yield from (one.sql for one in pipeline.outputs if isinstance(one, SqlOutput))


def _names(step: Step) -> Iterator[str]:
    if isinstance(step, (Filter, Derive, PythonStep)):
        return
    if isinstance(step, Deduplicate):
        yield from (*step.key, *step.latest_by)
    elif isinstance(step, Lookup):
        yield from step.on
    else:
        columns: Mapping[str, object] | Sequence[str] = step.columns
        yield from columns
