"""Node: a piece of configuration that knows where it was written, and the operations that lay one tree over another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raypipe.lazy_dataclass import dataclass

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]
"""Keys and list indices from the root of a document to a node."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a file and its line, or the text of a `--set`."""

    origin: str
    line: int = 0
    """Counted from 1; 0 where there are no lines."""
    note: str = ""
    """What the key path does not show, such as the profile."""

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}" if self.line else self.origin


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; children are nodes."""

    value: dict[str, Node] | list[Node] | Scalar
    place: Place
    reference: str | None = None
    """The text as written (`${env:NAME}`) where the value came from outside; only this may be shown."""


class FromReference(str):
    """Text that came from `${env:}` or `${file:}`: it may stand where a number or a boolean is expected."""

    __slots__ = ()


def plain(node: Node) -> Any:
    """Return dicts, lists and scalars without places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return FromReference(node.value) if node.reference is not None else node.value


def grown(value: Any, place: Place) -> Node:
    """Return the tree of plain dicts, lists and scalars, all written at one place."""
    if isinstance(value, Mapping):
        return Node({str(key): grown(child, place) for key, child in value.items()}, place)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node([grown(child, place) for child in value], place)
    return Node(value, place)


def deepest(root: Node, path: Path) -> tuple[Node, Path]:
    """Return the node at a path, or the last one on the way that exists, and its path."""
    node = root
    for depth, part in enumerate(path):
        child = _child(node, part)
        if child is None:
            return node, path[:depth]
        node = child
    return node, path


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part]
    return None


def mapped(node: Node, change: Callable[[Node, Path], Node], path: Path = ()) -> Node:
    """Return the tree with every scalar node changed."""
    if isinstance(node.value, dict):
        return replace(node, value={key: mapped(child, change, (*path, key)) for key, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[mapped(child, change, (*path, index)) for index, child in enumerate(node.value)])
    return change(node, path)


def key_paths(node: Node, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key of every mapping in the tree."""
    children = node.value.items() if isinstance(node.value, dict) else enumerate(node.value) if isinstance(node.value, list) else ()
    for part, child in children:
        if isinstance(part, str):
            yield (*path, part)
        yield from key_paths(child, (*path, part))


def noted(node: Node, note: str) -> Node:
    """Return the tree with a note at every place."""
    place = replace(node.place, note=note)
    if isinstance(node.value, dict):
        return replace(node, place=place, value={key: noted(child, note) for key, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, place=place, value=[noted(child, note) for child in node.value])
    return replace(node, place=place)


def merged(base: Node, over: Node) -> Node:
    """Lay one tree over another: mappings merge key by key, lists and scalars are replaced."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    children = dict(base.value)
    for key, child in over.value.items():
        children[key] = merged(children[key], child) if key in children else child
    return replace(base, value=children)


def with_node(root: Node, path: Path, node: Node) -> Node:
    """Return the tree with a node put at a path; missing mappings are made. Raises LookupError with the reason."""
    if not path:
        return node
    part, rest = path[0], path[1:]
    if isinstance(root.value, dict):
        child = root.value.get(str(part), Node({}, node.place))
        return replace(root, value={**root.value, str(part): with_node(child, rest, node)})
    if isinstance(root.value, list):
        index = _index(root.value, part)
        children = list(root.value)
        children[index] = with_node(children[index], rest, node)
        return replace(root, value=children)
    raise LookupError(f"{part!r} lies below a value that holds no keys")


def _index(items: list[Node], part: str | int) -> int:
    if not str(part).isdecimal():
        raise LookupError(f"{part!r} lies in a list: expected an index from 0 to {len(items) - 1}")
    if int(part) >= len(items):
        raise LookupError(f"the list has {len(items)} items, counted from 0; got index {part}")
    return int(part)
