"""Definition: what each output is made by, as fingerprints; standard library only, so that a run with nothing to do stays light."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from raypipe.core.fingerprint import fingerprint
from raypipe.core.state import Definition
from raypipe.errors import ConfigurationError
from raypipe.pipeline import Lookup, Output, Pipeline, PythonStep, Step


def definitions(pipeline: Pipeline) -> Mapping[str, Definition]:
    """Return the definition of each output, with version 0: the destination numbers them.

    What changes a fingerprint: time (but not the shard width, end or delay), source, quality, steps, the output's own
    SQL, the code of Python steps with all that they import from the pipeline's folder, and reference files. What does
    not: descriptions, run options, the destination, comments and docstrings. Where the files of a source stand
    counts only by their paths. Raises ConfigurationError for a file that cannot be read.
    """
    shared = _shared_parts(pipeline)
    return {output.table: _definition({**shared, **_output_parts(pipeline, output)}) for output in pipeline.outputs}


def _definition(parts: Mapping[str, str]) -> Definition:
    return Definition(version=0, fingerprint=fingerprint(dict(parts)), parts=parts)


def _shared_parts(pipeline: Pipeline) -> dict[str, str]:
    time = pipeline.time
    source = replace(pipeline.source, paths=tuple(_place(path, pipeline.folder) for path in pipeline.source.paths))
    # A check belongs to the output that it checks; how long texts are kept changes no table.
    quality = replace(pipeline.quality, checks=(), keep_quarantined_us=None)
    parts = {
        "source": fingerprint(_plain(source)),
        "time": fingerprint([time.column, time.format, time.zone, time.start_us, *([str(time.lookback)] if time.lookback else [])]),
        "quality": fingerprint(_plain(quality)),
        "transform": fingerprint([_plain(_without_folder(step)) for step in pipeline.transform]),
    }
    for step in pipeline.transform:
        if isinstance(step, PythonStep):
            parts[f"python:{step.function}"] = code_fingerprint(step.function, pipeline.folder)
        elif isinstance(step, Lookup):
            parts[f"lookup:{_place(step.path, pipeline.folder)}"] = _file_sha256(step.path)
    return parts


def _place(path: str, folder: Path) -> str:
    """Return a path relative to the pipeline's folder where it is inside: a moved project stays the same pipeline."""
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _without_folder(step: Step) -> Step:
    """Return a step without the place of its reference file: the content counts, in a part of its own."""
    return replace(step, path=Path(step.path).name) if isinstance(step, Lookup) else step


def _output_parts(pipeline: Pipeline, output: Output) -> dict[str, str]:
    checks = [_plain(check) for check in pipeline.quality.checks if check.table == output.table]
    return {"output": fingerprint([_plain(output), checks])}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it. Mappings keep their order, which is that of a table's columns.

    Fields that have their default are left out: an option that a later version adds makes nothing stale.
    """
    match value:
        case Mapping():
            return [[key, _plain(one)] for key, one in value.items()]
        case list() | tuple():
            return [_plain(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
    if is_dataclass(value):
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        return [type(value).__name__, {name: _plain(one) for name, one in given.items() if one != _default(value, name)}]
    return str(value)


def _default(value: Any, name: str) -> Any:
    field = next(one for one in fields(value) if one.name == name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _file_sha256(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"lookup: {path} cannot be read: {error.strerror or error}") from error


# ---- code of Python steps ---------------------------------------------------------------------------------


def code_fingerprint(function: str, folder: Path) -> str:
    """Return the hash of a step's module and of all modules of the folder that it imports, however deep.

    A module that does not stand in the folder counts by its name alone: what is installed is a matter of versions.
    """
    name = function.partition(":")[0]
    codes: dict[str, str] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        path = _module_path(module, folder)
        if module in codes or path is None:
            continue
        tree = _parsed(path)
        codes[module] = ast.dump(_without_docstrings(tree))
        waiting += _imported(tree, module, is_package=path.name == "__init__.py")
    return fingerprint([function, codes])


def _module_path(module: str, folder: Path) -> Path | None:
    place = folder.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigurationError(f"python: {path} cannot be read: {error}") from error


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return tree


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the names of modules that a module may import, wherever in it; names that are no module do no harm."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, package)
            yield from _with_parents(start)
            yield from (f"{start}.{alias.name}" if start else alias.name for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*filter(None, base), *([node.module] if node.module else [])])


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: length + 1]) for length in range(len(parts)) if parts[0])
