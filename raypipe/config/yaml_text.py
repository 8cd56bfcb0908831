"""YAML text to a tree of nodes: YAML 1.2 words, a line for every value, and nothing that can surprise or explode.

Tags, duplicate keys, merge keys, aliases that multiply, deep nesting and commas that split a value are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

import yaml

from raypipe.config.problems import Told, dotted, printable
from raypipe.config.tree import Node, Path, Place, Scalar
from raypipe.lazy_dataclass import dataclass

TEXT_BYTES_MAX = 1_000_000  # a configuration is written by people; a larger text is a mistake or an attack
DEPTH_MAX = 32  # twice what any key of ours needs; the builder recurses
ALIASED_NODES_MAX = 1_000  # what all aliases together may add; a handful of repeated contracts fits
VALUES_MAX = 50_000  # a contract of ten thousand columns fits; more would take seconds to judge
LISTED_MAX = 50  # problems of form that are told at once

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER_CHARACTERS_MAX = 64  # beyond any number of ours; int() of a megabyte of digits would take long
_WORDS: tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
_HINTS = {
    "mapping values": 'quote a value that holds ": "',
    "cannot start any token": "indent with spaces, not tabs; quote a value that starts with @ ` % & * ! | > or a tab",
    "could not find expected ':'": "a key needs a colon and a space behind it",
    "did not find expected": "a bracket, quote or indentation is wrong here or just above; quote a value that holds , : # [ ] { }",
    "expected <block end>": "the indentation is wrong here or just above",
}


class TextRefused(Exception):
    """The text cannot be read any further; the message is the whole problem."""


@dataclass(slots=True)
class Parsed:
    """What a text holds: its tree, and the problems of form that did not keep it from being read."""

    root: Node
    problems: list[Told] = field(default_factory=list)


def parse(text: str, place_of: Callable[[int], Place]) -> Parsed:
    """Parse one document. `place_of` gives the place of a line, counted from 1. Raises TextRefused."""
    return _Builder(text.removeprefix("\ufeff"), place_of).document()


def resolve(text: str) -> Scalar:
    """Return what an unquoted word means in YAML 1.2: `on`, `no` and dates are text."""
    if len(text) > _NUMBER_CHARACTERS_MAX:
        return text
    for pattern, read in _WORDS:
        if pattern.fullmatch(text):
            return read(text)
    return text


@dataclass(slots=True)
class _Entry:
    """One entry of a mapping while it is read; `end` is where its text ends in the file."""

    node: Node
    key_place: Place
    start: int
    end: int
    is_text: bool
    split: bool = False


class _Builder:
    """Builds nodes from the parser's events, which come one by one: a hostile text is refused before it is held."""

    def __init__(self, text: str, place_of: Callable[[int], Place]) -> None:
        self._text = text
        self._place_of = place_of
        self._events: Iterator[Any] = self._read_events()
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._aliased = 0
        self._problems: list[Told] = []

    def document(self) -> Parsed:
        """Return the only document of the text."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise TextRefused(
                f"{self._place_of(0).origin}: nothing stands here; expected keys and values (raypipe init writes an example)"
            )
        root = self._node(next(self._events), (), in_flow=False)
        next(self._events)
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise TextRefused(f"{self._at(following)}: a second document starts here; expected one pipeline a file")
        return Parsed(root, self._problems[:LISTED_MAX])

    def _read_events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._place_of(mark.line + 1 if mark else 1)
            raise TextRefused(f"{place}: this is not YAML: {_reason(error)}") from None
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position if error.position >= 0 else 0) + 1
            raise TextRefused(
                f"{self._place_of(line)}: this is not YAML: it holds a character that may not stand in text"
            ) from None

    def _node(self, event: Any, path: Path, *, in_flow: bool) -> Node:
        if len(path) > DEPTH_MAX:
            raise TextRefused(f"{self._at(event)}: nested deeper than {DEPTH_MAX} levels; no key needs that")
        if self._nodes > VALUES_MAX:
            raise TextRefused(f"{self._at(event)}: more than {VALUES_MAX} values; no configuration needs that")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            self._problem(event, path, f"got the tag {printable(event.tag)}; tags are not used here, write the plain value")
        before = self._nodes
        self._nodes += 1
        place = self._at(event)
        if isinstance(event, yaml.MappingStartEvent):
            node = Node(self._mapping(event, path), place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._sequence(event, path), place)
        else:
            is_word = event.implicit[0] and not event.style
            if in_flow and is_word and _opened(event.value) > 0:
                self._problem(event, path, f'got "{printable(event.value)}", cut at a comma; quote a value that holds a comma')
            node = Node(resolve(event.value) if is_word else event.value, place)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._nodes - before)
        return node

    def _alias(self, event: Any) -> Node:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise TextRefused(f"{self._at(event)}: the alias *{printable(event.anchor)} has no anchor before it")
        node, size = found
        self._aliased += size
        self._nodes += size
        if self._aliased > ALIASED_NODES_MAX:
            raise TextRefused(f"{self._at(event)}: aliases multiply to more than {ALIASED_NODES_MAX} values; write them out")
        return node

    def _sequence(self, start: Any, path: Path) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), in_flow=start.flow_style))
        return items

    def _mapping(self, start: Any, path: Path) -> dict[str, Node]:
        entries: dict[str, _Entry] = {}
        last: _Entry | None = None
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise TextRefused(f"{self._at(key)}: {dotted(path)}: a key must be a word, not a list, a mapping or an alias")
            value = next(self._events)
            if start.flow_style and self._stands_alone(key, value):
                self._extend(last, key, path)
                continue
            last = self._entry(key, value, path, in_flow=start.flow_style)
            self._keep(entries, key, last, path)
        for name, entry in entries.items():
            if entry.split:
                self._restore(name, entry, path)
        return {name: entry.node for name, entry in entries.items()}

    def _entry(self, key: Any, value: Any, path: Path, *, in_flow: bool) -> _Entry:
        is_text = isinstance(value, yaml.ScalarEvent) and not value.style
        # A cut value is told of in `_restore` where the rest of it is known.
        node = self._node(value, (*path, key.value), in_flow=in_flow and not is_text)
        place = self._at(key)
        entry = _Entry(Node(node.value, place), place, value.start_mark.index, value.end_mark.index, is_text)
        if in_flow and is_text and _opened(value.value) > 0:
            entry.split = True
        return entry

    def _keep(self, entries: dict[str, _Entry], key: Any, entry: _Entry, path: Path) -> None:
        name = key.value
        if key.tag is not None:
            self._problem(key, path, f"got the tag {printable(key.tag)} on a key; tags are not used here")
        if name == "<<":
            self._problem(key, path, "merge keys (<<) are not YAML 1.2; use profiles, or write the keys out")
        elif name in entries:
            first = entries[name].key_place
            self._problem(key, (*path, name), f"the key stands twice; the first is at {first}")
        elif not name:
            self._problem(key, path, "a key is empty")
        else:
            entries[name] = entry

    def _stands_alone(self, key: Any, value: Any) -> bool:
        """Tell whether a flow entry has no colon, as what follows a comma inside a value has not."""
        between = self._text[key.end_mark.index : value.end_mark.index]
        return isinstance(value, yaml.ScalarEvent) and not value.value and not value.style and ":" not in between

    def _extend(self, last: _Entry | None, key: Any, path: Path) -> None:
        if last is None or not last.is_text:
            self._problem(
                key, (*path, key.value), "the key has no value; a list is written in [ ], and a value that holds a comma in quotes"
            )
            return
        last.end = key.end_mark.index
        last.split = True

    def _restore(self, name: str, entry: _Entry, path: Path) -> None:
        whole = " ".join(self._text[entry.start : entry.end].split())
        quote = "'" if '"' in whole else '"'
        message = f"a comma splits the value; quote it: {printable(name)}: {quote}{printable(whole)}{quote}"
        self._tell(entry.key_place, (*path, name), message)
        entry.node = Node(whole, entry.key_place)

    def _problem(self, event: Any, path: Path, message: str) -> None:
        self._tell(self._at(event), path, message)

    def _tell(self, place: Place, path: Path, message: str) -> None:
        self._problems.append(Told(place, ": ".join(part for part in (str(place), dotted(path), message) if part)))

    def _at(self, event: Any) -> Place:
        return self._place_of(event.start_mark.line + 1)


def _opened(word: str) -> int:
    return word.count("(") - word.count(")")


def _reason(error: yaml.MarkedYAMLError) -> str:
    reason = printable(str(error.problem or error.context or "the text breaks off"))
    hint = next((hint for part, hint in _HINTS.items() if part in reason), None)
    return f"{reason}; {hint}" if hint else reason
