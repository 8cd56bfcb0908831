"""Columns: which of the source's columns a pipeline needs, so that no others are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from raypipe.engine.output_sql import parse_select
from raypipe.pipeline import (
    Deduplicate,
    Derive,
    Filter,
    GroupByOutput,
    Lookup,
    Output,
    Pipeline,
    PythonStep,
    RowsOutput,
    Select,
    SqlOutput,
    Step,
)

_WORD = re.compile(r"[^\W\d]\w*")


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


def columns_of_outputs(outputs: Sequence[Output], have: Sequence[str]) -> list[str]:
    """Return the columns of the transformed rows that an output can mean, one at least, in their order."""
    if any(map(_means_all_columns, outputs)):
        return list(have)
    words = {word.lower() for one in outputs for text in _texts_of(one) for word in _WORD.findall(text)}
    return [name for name in have if name.lower() in words or not _WORD.fullmatch(name)] or list(have[:1])


def _sees_all(pipeline: Pipeline) -> bool:
    if any(isinstance(step, PythonStep) for step in pipeline.transform):
        return True
    narrowed = any(isinstance(step, Select) for step in pipeline.transform)
    return not narrowed and any(map(_means_all_columns, pipeline.outputs))


def _means_all_columns(output: Output) -> bool:
    return isinstance(output, RowsOutput) or (isinstance(output, SqlOutput) and sql_sees_all(output.sql))


def _texts_of(output: Output) -> Iterator[str]:
    match output:
        case SqlOutput():
            yield output.sql
        case GroupByOutput():
            yield from (*output.group_by.values(), *output.measures.values())
        case RowsOutput():
            yield from (*output.key, *output.latest_by, output.delete_when or "")


@lru_cache(maxsize=64)
def sql_sees_all(sql: str) -> bool:
    """Tell whether SQL means columns of `rows` that it does not name: a star, a whole row as a value, a natural join."""
    nodes = list(_nodes(parse_select(sql)[1]))
    tables = {str(node.get("alias") or node.get("table_name")).lower() for node in nodes if node.get("type") == "BASE_TABLE"}
    return any(_means_all(node, tables) for node in nodes)


def _means_all(node: Mapping[str, Any], tables: set[str]) -> bool:
    match node.get("type"):
        case "STAR" | "POSITIONAL_REFERENCE":
            return True
        case "JOIN":
            return node.get("ref_type") in ("NATURAL", "POSITIONAL")
        case "COLUMN_REF":
            names = node["column_names"]
            return len(names) == 1 and str(names[0]).lower() in tables
    return False


def _nodes(tree: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for one in tree:
            yield from _nodes(one)


def _texts(pipeline: Pipeline) -> Iterator[str]:
    yield from (rule.expect for rule in pipeline.quality.rules)
    for step in pipeline.transform:
        if isinstance(step, Filter):
            yield step.condition
        elif isinstance(step, Derive):
            yield from step.columns.values()
    yield from (text for one in pipeline.outputs for text in _texts_of(one))


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
