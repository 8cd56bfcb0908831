"""The tree of a row expression: operations that print themselves as Polars SQL, every precedence in parentheses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from raypipe.engine.expression_words import Refused, Token
from raypipe.lazy_dataclass import dataclass

Kind = Literal[
    "column", "integer", "number", "string", "bytes", "null", "boolean", "interval", "moment", "arithmetic", "division",
    "comparison", "logic", "test", "match", "concat", "bits", "choice", "call", "cast", "try_cast", "part", "element",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: its SQL is `pieces` with the SQL of `children` between them.

    `name` is the operator, the function or the target type; `conditions` are the children of a choice that decide and
    are not its value.
    """

    kind: Kind
    position: int
    pieces: tuple[str, ...]
    children: tuple[Node, ...] = ()
    name: str = ""
    conditions: frozenset[int] = frozenset()

    def sql(self) -> str:
        """Print the operation as it was written, with parentheses."""
        return self.printed([child.sql() for child in self.children])

    def printed(self, children: Sequence[str]) -> str:
        """Print the operation around other texts of its children."""
        return self.pieces[0] + "".join(text + piece for text, piece in zip(children, self.pieces[1:], strict=True))

    @property
    def literal(self) -> bool:
        """Tell whether this is a constant as written."""
        return self.kind in ("integer", "number", "string", "bytes", "null", "boolean", "interval", "moment")


def column_sql(path: Sequence[str]) -> str:
    """Print a column, or a field of a struct column, in quotes."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in path)


def leaf(kind: Kind, token: Token, sql: str, name: str = "") -> Node:
    """Make a column, a constant or a word."""
    return Node(kind, token.position, (sql,), name=name)


def infix(kind: Kind, sign: Token, left: Node, right: Node, name: str) -> Node:
    """Make an operation of two operands."""
    return Node(kind, sign.position, ("(", f" {name} ", ")"), (left, right), name)


def called(kind: Kind, token: Token, function: str, arguments: Sequence[Node]) -> Node:
    """Make a call."""
    if not arguments:
        return Node(kind, token.position, (f"{function}()",), (), function)
    pieces = (f"{function}(", *[", "] * (len(arguments) - 1), ")")
    return Node(kind, token.position, pieces, tuple(arguments), function)


def negated(sign: Token, node: Node) -> Node:
    """Make NOT."""
    return Node("logic", sign.position, ("(NOT ", ")"), (node,), "NOT")


def matched(token: Token, node: Node, pattern: Node, name: str) -> Node:
    """Make a comparison with a pattern, which must be a constant."""
    if pattern.kind != "string":
        raise Refused(pattern.position, f"the pattern of {name} must be a text in single quotes")
    return infix("match", token, node, pattern, name)


def case_of(token: Token, children: Sequence[Node]) -> Node:
    """Make CASE of conditions and values in turns, and the value otherwise."""
    pairs = len(children) // 2
    pieces = ("(CASE WHEN ", *([" THEN ", " WHEN "] * pairs)[:-1], " ELSE ", " END)")
    return Node("choice", token.position, pieces, tuple(children), "CASE", frozenset(range(0, 2 * pairs, 2)))


_FIXED_ARGUMENTS = {"abs": 1, "mod": 2, "div": 2, "if": 3, "nullif": 2, "ifnull": 2}


def translated(token: Token, arguments: list[Node]) -> Node:
    """Translate a call: some functions are other spellings of an operator or of CASE."""
    word = token.word
    wanted = _FIXED_ARGUMENTS.get(word)
    if wanted is not None and len(arguments) != wanted:
        raise Refused(token.position, f"{word} takes {wanted} argument{'s' * (wanted > 1)}, got {len(arguments)}")
    match word:
        case "abs":
            return called("arithmetic", token, "ABS", arguments)
        case "mod" | "div":
            return infix("division", token, arguments[0], arguments[1], "%" if word == "mod" else "//")
        case "if":
            return case_of(token, arguments)
        case "nullif":
            return case_of(
                token, [infix("comparison", token, arguments[0], arguments[1], "="), leaf("null", token, "NULL"), arguments[0]]
            )
        case "coalesce" | "ifnull" | "greatest" | "least":
            return called("choice", token, "COALESCE" if word == "ifnull" else word.upper(), arguments)
    return called("call", token, word.upper(), arguments)
