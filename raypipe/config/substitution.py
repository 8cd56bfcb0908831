"""Substitution: `${env:NAME}` and `${file:path}` in values, the only ways to bring in what the file does not hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path as FilePath

from raypipe.config.problems import Problem, printable
from raypipe.config.tree import Node, Path, key_paths, mapped
from raypipe.lazy_dataclass import dataclass

FILE_BYTES_MAX = 65_536  # a secret or a setting; more than that is the wrong file
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Missing(Exception):
    """What a reference names is not there."""


@dataclass(slots=True)
class Substitution:
    """The tree with all references replaced, what could not be, and what must not be shown."""

    root: Node
    problems: list[Problem] = field(default_factory=list)
    unresolved: set[Path] = field(default_factory=set)
    secrets: list[tuple[str, str]] = field(default_factory=list)
    """Each value that came from outside, with the reference that stands for it in texts."""


def substituted(root: Node, *, environ: Mapping[str, str], folder: FilePath) -> Substitution:
    """Replace every reference in the values of a tree; what comes in is not looked at again."""
    done = Substitution(root)

    def read(match: re.Match[str]) -> str:
        value = _value_of(match[1], environ, folder)
        done.secrets.append((value, match[0]))
        return value

    def change(node: Node, path: Path) -> Node:
        if not isinstance(node.value, str) or not _REFERENCE.search(node.value):
            return node
        try:
            return replace(node, value=_REFERENCE.sub(read, node.value), reference=node.value)
        except _Missing as missing:
            done.problems.append(Problem(path, str(missing), unresolved=True))
            done.unresolved.add(path)
            return replace(node, reference=node.value)

    done.root = mapped(root, change)
    done.problems += (
        Problem(path, "a key cannot come from outside; expected ${...} in values only")
        for path in key_paths(root)
        if _REFERENCE.search(str(path[-1]))
    )
    return done


def _value_of(reference: str, environ: Mapping[str, str], folder: FilePath) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env" and _NAME.fullmatch(name):
        if name not in environ:
            raise _Missing(f"${{env:{name}}}: the environment variable is not set; expected a value (export {name}=...)")
        return environ[name]
    if kind == "file" and name:
        return _content(FilePath(folder, name), f"${{file:{printable(name)}}}")
    raise _Missing(f"got ${{{printable(reference)}}}, expected ${{env:NAME}} or ${{file:path}}")


def _content(path: FilePath, reference: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise _Missing(f"{reference}: {error.strerror or 'cannot be read'}; expected a file that can be read") from None
    except ValueError:
        raise _Missing(f"{reference}: the file is not UTF-8 text") from None
    if len(content) > FILE_BYTES_MAX:
        raise _Missing(f"{reference}: the file has more than {FILE_BYTES_MAX} bytes; expected a short value")
    return text.removesuffix("\n").removesuffix("\r")
