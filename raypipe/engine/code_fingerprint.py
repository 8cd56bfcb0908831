"""The fingerprint of a Python step: its function, what that calls in the modules of the pipeline's folder, and their constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from raypipe.core.fingerprint import fingerprint
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass

_NAME = re.compile(r"[^\W\d]\w*")
_TEXT_MAX = 1_000  # a longer text is data


def code_fingerprint(function: str, folder: Path) -> str:
    """Return the hash of a step's function and of all that it may mean in the modules of the folder, however deep.

    A definition counts when its name is mentioned by what counts, in any of these modules: as a name, an attribute, or in
    a text that is a name (getattr). What a module does when it is imported always counts. Comments, docstrings and
    formatting do not. A module that does not stand in the folder counts by its name alone: what is installed is a matter
    of versions.
    """
    module, _, name = function.partition(":")
    statements = [one for tree, path in _modules(module, folder) for one in _statements(tree, path)]
    mentioned, counted = {name}, set[int]()
    grew = True
    while grew:
        grew = False
        for place, one in enumerate(statements):
            if place not in counted and (one.defines is None or one.defines & mentioned):
                counted.add(place)
                mentioned |= one.mentions
                grew = True
    return fingerprint([function, [[statements[place].module, statements[place].code] for place in sorted(counted)]])


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement at the top of a module."""

    module: str
    code: str
    defines: frozenset[str] | None
    """The names that it gives a meaning and nothing else; None for one that does more, and so always counts."""
    mentions: frozenset[str]


def _modules(first: str, folder: Path) -> Iterator[tuple[ast.Module, str]]:
    """Yield a module of the folder and all that it imports from there, by name."""
    found: dict[str, ast.Module] = {}
    waiting = [first]
    while waiting:
        module = waiting.pop()
        path = _module_path(module, folder)
        if module in found or path is None:
            continue
        tree = found[module] = _parsed(path)
        waiting += _imported(tree, module, is_package=path.name == "__init__.py")
    for module in sorted(found):
        yield _without_docstrings(found[module]), module


def _statements(tree: ast.Module, module: str) -> Iterator[_Statement]:
    for node in tree.body:
        yield _Statement(module, ast.dump(node), _defined(node), frozenset(_mentioned(node)))


def _defined(node: ast.stmt) -> frozenset[str] | None:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return None if node.decorator_list else frozenset([node.name])  # a decorator may register what it gets
        case ast.Assign() if all(isinstance(one, ast.Name) for one in node.targets):
            return frozenset(one.id for one in node.targets if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            return frozenset([name])
        case ast.Import():
            return frozenset(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case ast.ImportFrom() if all(alias.name != "*" for alias in node.names):
            return frozenset(alias.asname or alias.name for alias in node.names)
        case _:
            return None


def _mentioned(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")
            case ast.Constant(value=str(text)):
                yield from _NAME.findall(text) if len(text) < _TEXT_MAX else ()


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
