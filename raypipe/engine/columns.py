"""Columns: which of the source's columns a pipeline needs, so that no others are read."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from raypipe.engine.output_sql import parse_select
from raypipe.lazy_dataclass import dataclass
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


@dataclass(frozen=True, slots=True)
class Words:
    """The words of SQL texts and names, in lower case: the columns that these can mean. None: any column."""

    found: frozenset[str] | None = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """Return the words of some texts."""
        return cls(frozenset(word.lower() for text in texts for word in _WORD.findall(text)))

    def __or__(self, other: Words) -> Words:
        return ANY if self.found is None or other.found is None else Words(self.found | other.found)

    def can_mean(self, column: str) -> bool:
        """Tell whether a column may be meant; one whose name is no word may always be, for SQL writes it in quotes."""
        return self.found is None or column.lower() in self.found or not _WORD.fullmatch(column)


ANY = Words(None)


def named_columns(pipeline: Pipeline, have: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns that a pipeline names, of those that the source has; None for all of them.

    With a contract all of its columns are needed, because all are checked. Without one, those are needed whose names
    occur in a rule, a step or an output: a superset that costs little when a word is no column; one at least. Where a Python step,
    a `rows` output or a star in SQL may see any column, all are.
    """
    source = pipeline.source
    if source.columns:
        return tuple(source.columns) if source.extra_columns == "ignore" else None
    if _sees_all(pipeline):
        return None
    words = Words.of(rule.expect for rule in pipeline.quality.rules)
    words = functools.reduce(operator.or_, map(words_of_step, pipeline.transform), words)
    words |= Words.of(text for one in pipeline.outputs for text in _texts_of(one))
    named = tuple(name for name in have if words.can_mean(name))
    return named or ((pipeline.time.column,) if pipeline.time.column in have else tuple(have[:1]))  # a table has a column


def columns_of_outputs(outputs: Sequence[Output], have: Sequence[str]) -> list[str]:
    """Return the columns of the transformed rows that an output can mean, one at least, in their order."""
    words = words_of_outputs(outputs)
    return [name for name in have if words.can_mean(name)] or list(have[:1])


def words_of_outputs(outputs: Sequence[Output]) -> Words:
    """Return the words by which outputs mean columns of the transformed rows."""
    if any(map(_means_all_columns, outputs)):
        return ANY
    return Words.of(text for one in outputs for text in _texts_of(one))


def words_of_step(step: Step) -> Words:
    """Return the words by which a step means columns of the rows before it."""
    match step:
        case Filter():
            return Words.of([step.condition])
        case Derive():
            return Words.of(step.columns.values())
        case Deduplicate():
            return Words.of([*step.key, *step.latest_by])
        case Lookup():
            return Words.of(step.on)
        case PythonStep():
            return Words()  # it may see all: asked before
        case _:
            return Words.of(step.columns)


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
    nodes = list(_nodes(parse_select(sql, None)[1]))
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
