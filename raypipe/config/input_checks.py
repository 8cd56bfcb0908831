"""What must hold of the further files and inputs of a configuration: a format that is known, columns where SQL needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import Any

from raypipe.config.paths import PACKAGE, absolute, format_of, formats, is_path
from raypipe.config.problems import Problem, Unfit
from raypipe.config.tree import Path

_TEXT = ("csv", "jsonl")


def input_checks(data: Any) -> Iterator[Problem]:
    """Yield the problems of named inputs, and of the files that stand under `also` of any source."""
    source = data.get("source") if isinstance(data, dict) else None
    inputs = data.get("inputs") if isinstance(data, dict) else None
    if isinstance(source, dict):
        yield from _also(("source",), source)
    if inputs and isinstance(inputs, dict):
        yield from _seen_by_sql(data)
    for name, one in inputs.items() if isinstance(inputs, dict) else ():
        if name == "rows":
            yield Problem(("inputs", name), "expected another name: `rows` are the rows of the source")
        given = one.get("source") if isinstance(one, dict) else None
        if isinstance(given, dict):
            yield from _input(("inputs", name, "source"), given)


def _seen_by_sql(data: Any) -> Iterator[Problem]:
    """Nothing but the SQL of `sql` outputs sees an input; and what a table lost of its own accord is not told from lost files."""
    source, outputs = data.get("source"), data.get("outputs")
    if isinstance(source, dict) and source.get("kind") == "table":
        yield Problem(
            ("inputs",), "expected a source of kind files beside them: a pipeline that reads a table has no further inputs"
        )
    kinds = [one.keys() for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    if kinds and not any("sql" in keys for keys in kinds):
        yield Problem(("inputs",), "expected an output with `sql`: no other kind of output sees them")


def _input(path: Path, source: dict[str, Any]) -> Iterator[Problem]:
    yield from _format(path, source)
    if source.get("extra_columns") == "keep":
        expected = "expected ignore or fail: SQL sees the columns that the contract names"
        yield Problem((*path, "extra_columns"), expected, show_got=True)
    if not source.get("columns"):
        yield Problem((*path, "columns"), "missing, expected the columns that SQL sees of the input, and their types")
    yield from _also(path, source)


def _also(path: Path, source: dict[str, Any]) -> Iterator[Problem]:
    more = source.get("also")
    for place, one in enumerate(more if isinstance(more, list) else ()):
        if not isinstance(one, dict):
            continue
        where = (*path, "also", place)
        yield from _format(where, one)
        if _format_of(one) in _TEXT and not source.get("columns"):
            text = f"missing, expected the columns that are read and their types: {_format_of(one)} files do not tell them"
            yield Problem((*path, "columns"), text)


def unknown_packages(named: Iterable[tuple[Path, str]]) -> Iterator[Problem]:
    """Yield the problems of paths into installed packages."""
    for path, text in named:
        if text.startswith(PACKAGE) and is_path(text):
            try:
                absolute(text, FilePath())
            except Unfit as unfit:
                yield Problem(path, f"expected {unfit.expected}", show_got=True, nearest=unfit.nearest)


def _format(path: Path, section: dict[str, Any]) -> Iterator[Problem]:
    yield from unknown_packages(((*path, "path"), text) for text in _paths(section))
    kind = _format_of(section)
    if kind is None and section.get("format") is None and _paths(section):
        expected = f"a suffix that tells the one format of the files ({formats()}), or the key format beside it"
        yield Problem((*path, "path"), f"expected {expected}", show_got=True)
    if kind not in ("csv", None) and section.get("csv") is not None:
        yield Problem((*path, "csv"), f"the files are {kind}; expected this key for csv files only")


def _format_of(section: dict[str, Any]) -> str | None:
    named = section.get("format")
    if isinstance(named, str):
        return named
    found = {format_of(text) for text in _paths(section)}
    return found.pop() if len(found) == 1 else None


def _paths(section: dict[str, Any]) -> list[str]:
    given = section.get("path")
    return [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str)]
