"""What must hold between keys: unique names, tables that exist, an end after the start, a contract where one is needed.

All checks read plain data that may be wrong in any other way, so that these mistakes are told with the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from raypipe.config.input_checks import input_checks, unknown_packages
from raypipe.config.instants import parse_instant, zone_exists
from raypipe.config.paths import format_of, formats, is_path
from raypipe.config.problems import Problem, Unfit, dotted, either, nearest_of
from raypipe.config.tree import Path

Found = list[tuple[Path, Any]]


def cross_checks(data: Any) -> Iterator[Problem]:
    """Yield the problems between the keys of a document."""
    yield from _twice(_texts(data, "outputs", "*", "table"), "table")
    named = [*_texts(data, "quality", "rules", "*", "name"), *_texts(data, "transform", "*", "name")]
    yield from _twice(named, "rule or filter")
    yield from _unnamed_filters(data, named)
    yield from _unknown_tables(data)
    yield from _end_before_start(data)
    yield from _format(data)
    yield from _contract(data)
    yield from _renamed_twice(data)
    yield from _outputs(data)
    yield from _nothing_but_views(data)
    yield from _packages(data)
    yield from _own_table(data)
    yield from input_checks(data)


def source_format(data: Any) -> str | None:
    """Return the format of the source's files: as named, or as the suffixes of all paths say."""
    named = _text(data, "source", "format")
    if named is not None:
        return named
    found = {format_of(text) for _, text in _source_paths(data)}
    return found.pop() if len(found) == 1 else None


def filter_name(position: int) -> str:
    """Return the name of a filter without one; positions count the filters of a pipeline from 1."""
    return f"filter_{position}"


def _twice(named: Found, noun: str) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    for path, name in named:
        if name in first:
            yield Problem(path, f"expected another name: a {noun} has this one already, at {dotted(first[name])}", show_got=True)
        first.setdefault(name, path)


def _unnamed_filters(data: Any, named: Found) -> Iterator[Problem]:
    taken = {name: path for path, name in reversed(named)}
    filters = [(path, item) for path, item in _found(data, "transform", "*") if isinstance(item, dict) and "filter" in item]
    for position, (path, item) in enumerate(filters, start=1):
        name = filter_name(position)
        if item.get("name") is None and name in taken:
            message = f'without a name it is called "{name}", which is taken by {dotted(taken[name])}; expected a name'
            yield Problem((*path, "filter"), message)


def _unknown_tables(data: Any) -> Iterator[Problem]:
    views = {path for path, _ in _found(data, "outputs", "*", "view")}
    tables = [name for path, name in _texts(data, "outputs", "*", "table") if (*path[:-1], "view") not in views]
    for path, name in _texts(data, "quality", "checks", "*", "table"):
        if tables and name not in tables:
            yield Problem(
                path, f"expected a table of the outputs: {either(tables)}", show_got=True, nearest=nearest_of(name, tables)
            )


def _end_before_start(data: Any) -> Iterator[Problem]:
    start, end, zone = _text(data, "time", "start"), _text(data, "time", "end"), _text(data, "time", "zone") or "UTC"
    if start is None or end is None or not zone_exists(zone):
        return
    try:
        ends_before = parse_instant(end, zone) <= parse_instant(start, zone)
    except Unfit:
        return
    if ends_before:
        yield Problem(("time", "end"), "expected a time after time.start", show_got=True)


def _format(data: Any) -> Iterator[Problem]:
    if not _source_paths(data) or _value(data, "source", "format") is not None:
        return
    for path, text in _source_paths(data):
        if format_of(text) is None and is_path(text):
            expected = f"a suffix that tells the format ({formats()}, with or without .gz, .zst, .zip), or the key source.format"
            yield Problem(path, f"expected {expected}", show_got=True)
    found = {format_of(text) for _, text in _source_paths(data)} - {None}
    if len(found) > 1:
        names = ", ".join(sorted(str(one) for one in found))
        yield Problem(
            ("source", "path"), f"the files have several formats ({names}); expected files of one format, or the key source.format"
        )


def _contract(data: Any) -> Iterator[Problem]:
    if _is_table(data):
        return
    kind = source_format(data)
    columns = _value(data, "source", "columns")
    if kind in ("csv", "jsonl") and (columns is None or columns == {}):
        yield Problem(
            ("source", "columns"), f"missing, expected the columns that are read and their types: {kind} files do not tell them"
        )
    if kind in ("parquet", "jsonl") and _value(data, "source", "csv") is not None:
        yield Problem(("source", "csv"), f"the files are {kind}; expected this key for csv files only")
    yield from _dialect(data, columns)


def _dialect(data: Any, columns: Any) -> Iterator[Problem]:
    event_time = _text(data, "time", "column")
    headless = _value(data, "source", "csv", "header") is False
    if headless and isinstance(columns, dict) and columns and event_time is not None and event_time not in columns:
        expected = f"expected {either(columns)}: a file without a header has the columns of the contract"
        yield Problem(("time", "column"), expected, show_got=True)
    delimiter, quote = _text(data, "source", "csv", "delimiter") or ",", _text(data, "source", "csv", "quote") or '"'
    if delimiter == quote:
        yield Problem(("source", "csv", "quote"), "expected another character than the delimiter", show_got=True)


def _renamed_twice(data: Any) -> Iterator[Problem]:
    for path, names in _found(data, "transform", "*", "rename"):
        if isinstance(names, dict):
            yield from _twice([((*path, old), new) for old, new in names.items() if isinstance(new, str)], "column")


def _outputs(data: Any) -> Iterator[Problem]:
    for path, output in _found(data, "outputs", "*"):
        if isinstance(output, dict) and "rows" in output and output.get("key") is None:
            for word in ("latest_by", "delete_when"):
                if output.get(word) is not None:
                    yield Problem((*path, word), "expected the key `key` beside it: without one, all rows stay")
        if isinstance(output, dict):
            yield from _twice([*_names(path, output, "group_by"), *_names(path, output, "measures")], "group or measure")
            yield from _unique(path, output)


def _unique(path: Path, output: dict[str, Any]) -> Iterator[Problem]:
    """A table that is merged over all of history holds each key once; nothing is known of other columns before all is."""
    word = next((word for word in ("key", "group_by") if output.get(word) is not None), None)
    columns = output.get("columns")
    if word is None or not isinstance(columns, dict):
        return
    alone = output[word] if isinstance(output[word], str) else [name for _, name in _names(path, output, word)]
    for name, column in columns.items():
        if isinstance(column, dict) and column.get("unique") is True and alone not in (name, [name.lower()]):
            expected = (
                f"expected false, or `{word}: {name}` alone: over all of history a table of this kind is unique by its {word}"
            )
            yield Problem((*path, "columns", name, "unique"), expected, show_got=True)


def _nothing_but_views(data: Any) -> Iterator[Problem]:
    outputs = [output for _, output in _found(data, "outputs", "*") if isinstance(output, dict)]
    if outputs and all("view" in output for output in outputs):
        yield Problem(("outputs",), "expected an output beside the views: a view is SQL over the tables of the others")


def _names(path: Path, output: dict[str, Any], word: str) -> Found:
    """Return the columns that a section names; tables do not tell upper from lower case."""
    found = output.get(word)
    if not isinstance(found, (list, dict)):
        return []
    places = found if isinstance(found, dict) else range(len(found))
    return [((*path, word, place), name.lower()) for place, name in zip(places, found, strict=True) if isinstance(name, str)]


def _packages(data: Any) -> Iterator[Problem]:
    yield from unknown_packages([*_source_paths(data), *_texts(data, "transform", "*", "lookup", "path")])


def _own_table(data: Any) -> Iterator[Problem]:
    """Refuse a pipeline that reads what it writes itself."""
    read, out = _text(data, "source", "path"), _text(data, "destination", "path")
    elsewhere = read is not None and out is not None and os.path.normpath(read) != os.path.normpath(out)
    written = [one for _, one in _texts(data, "outputs", "*", "table")]
    if _is_table(data) and not elsewhere and _text(data, "source", "table") in written:
        yield Problem(("source", "table"), "expected a table of another pipeline: this one writes it itself", show_got=True)


def _is_table(data: Any) -> bool:
    return _text(data, "source", "kind") == "table"


def _source_paths(data: Any) -> Found:
    """Return the paths of a source of files."""
    if _is_table(data):
        return []
    return [*_texts(data, "source", "path"), *_texts(data, "source", "path", "*")]


def _texts(data: Any, *pattern: str) -> Found:
    return [(path, value) for path, value in _found(data, *pattern) if isinstance(value, str)]


def _text(data: Any, *path: str) -> str | None:
    value = _value(data, *path)
    return value if isinstance(value, str) else None


def _value(data: Any, *path: str) -> Any:
    found = _found(data, *path)
    return found[0][1] if found else None


def _found(data: Any, *pattern: str) -> Found:
    """Return what stands at a path, with `*` for each item of a list; nothing where the data has another shape."""
    found: Found = [((), data)]
    for part in pattern:
        if part == "*":
            found = [((*path, index), item) for path, items in found if isinstance(items, list) for index, item in enumerate(items)]
        else:
            found = [((*path, part), value[part]) for path, value in found if isinstance(value, dict) and part in value]
    return found
