"""Problem: one mistake in a configuration, and its text: where, key path, got, expected, what to do."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

from raypipe.config.tree import Node, Path, Place, deepest
from raypipe.lazy_dataclass import dataclass

SHOWN_CHARACTERS_MAX = 80  # a longer value is cut: the place is named, the person can look
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
SECRET_CHARACTERS_MIN = 4  # a shorter value is not looked for in texts: it would be found everywhere


class Unfit(ValueError):
    """A value is not what its key takes. `expected` never holds the value, so that secrets stay unsaid."""

    def __init__(self, expected: str, *, nearest: str | None = None, below: Path = ()) -> None:
        super().__init__(f"expected {expected}" + did_you_mean(nearest))
        self.expected = expected
        self.nearest = nearest
        """A value that was probably meant; it is left out where the value came from outside."""
        self.below = below
        """The rest of the path where the culprit lies below the value that was looked at."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: `message` is shown behind the place and the key path."""

    path: Path
    message: str
    show_got: bool = False
    """Put `got <value>, ` before the message."""
    nearest: str | None = None
    unresolved: bool = False
    """The value comes from outside and is not there."""


@dataclass(frozen=True, slots=True)
class Told:
    """A problem as its whole text, with the place that orders it among others."""

    place: Place
    text: str


def did_you_mean(nearest: str | None) -> str:
    """Return the end of a sentence that names what was probably meant."""
    return f'; did you mean "{nearest}"?' if nearest is not None else ""


def nearest_of(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that looks most like this one, if any does."""
    known = list(known)
    by_case = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    return by_case[found[0]] if found else None


def either(words: Iterable[str]) -> str:
    """Return `one of a, b, c`, or the word alone."""
    words = list(words)
    return words[0] if len(words) == 1 else "one of " + ", ".join(words)


def dotted(path: Path) -> str:
    """Return a key path as `--set` takes it, without control characters."""
    return ".".join(printable(str(part)) for part in path)


def printable(text: str) -> str:
    """Return text with control characters escaped, cut where it is long."""
    safe = escaped(text)
    return safe if len(safe) <= SHOWN_CHARACTERS_MAX else safe[:SHOWN_CHARACTERS_MAX] + "..."


def escaped(text: str) -> str:
    """Return text with control characters escaped: whole, as for the path of a file, which an editor opens."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shown(node: Node) -> str:
    """Return a value as an error shows it; one that came from outside by its reference alone."""
    value = node.reference if node.reference is not None else node.value
    match value:
        case dict():
            return "keys and values"
        case list():
            return "a list"
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{printable(json.dumps(value, ensure_ascii=False)[1:-1])}"'
        case _:
            return str(value)


def text_of(root: Node, problem: Problem) -> str:
    """Return the line that a person reads."""
    node, found = deepest(root, problem.path)
    message = problem.message
    if problem.show_got:
        message = f"got {shown(node)}, {message}"
    if node.reference is None:
        message += did_you_mean(problem.nearest)
    path = problem.path if not problem.show_got else found
    return ": ".join(part for part in (str(node.place), dotted(path) + node.place.note, message) if part)


def told(root: Node, problem: Problem) -> Told:
    """Return the place of the culprit and the line that a person reads."""
    return Told(deepest(root, problem.path)[0].place, text_of(root, problem))


def in_order(problems: Iterable[Told]) -> list[str]:
    """Return the texts in the order of the file, each once, and behind them those without a line."""
    ordered = sorted(problems, key=lambda one: (one.place.line == 0, one.place.line))
    return list(dict.fromkeys(one.text for one in ordered))


def redacted(texts: Iterable[str], secrets: Iterable[tuple[str, str]]) -> list[str]:
    """Return texts in which no value from outside stands, only its reference."""
    longest_first = sorted({pair for pair in secrets if len(pair[0]) >= SECRET_CHARACTERS_MIN}, key=lambda pair: -len(pair[0]))
    result = []
    for text in texts:
        for secret, reference in longest_first:
            text = text.replace(secret, reference)
        result.append(text)
    return result


def located(root: Node, problem: Problem) -> Path:
    """Return the path of the node that a problem is about, or of the last one on the way to it."""
    return deepest(root, problem.path)[1]


def place_of(root: Node, problem: Problem) -> Place:
    """Return where the culprit was written."""
    return deepest(root, problem.path)[0].place
