"""The syntax of row expressions: text becomes a tree that prints itself as Polars SQL with every precedence in parentheses.

Raypipe reads expressions itself, for three reasons: what is not understood is refused with its place, the types that
meet in an operator are known before a row is read, and integer arithmetic can be widened (integer_bounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raypipe.engine.expression_words import (
    CLOCKS,
    FUNCTIONS,
    RESERVED,
    SPECIAL_FORMS,
    STATEMENTS,
    TYPES,
    Refused,
    Token,
    nearest,
    refuse_word,
    tokenize,
    words,
)

Kind = Literal[
    "column", "integer", "number", "string", "bytes", "null", "boolean", "interval", "moment",
    "arithmetic", "division", "comparison", "logic", "test", "match", "concat", "bits", "choice", "call", "cast", "try_cast", "part", "element",
]  # fmt: skip

NESTING_MAX = 60  # bounds the recursion of the parser and of the engine's planner


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


def parse(text: str) -> Node:
    """Parse one expression; raises Refused with the place of what is wrong."""
    parser = _Parser(tokenize(text))
    node = parser.expression()
    parser.expect_end()
    return node


def column_sql(path: Sequence[str]) -> str:
    """Print a column, or a field of a struct column, in quotes."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in path)


def _leaf(kind: Kind, token: Token, sql: str, name: str = "") -> Node:
    return Node(kind, token.position, (sql,), name=name)


def _infix(kind: Kind, sign: Token, left: Node, right: Node, name: str) -> Node:
    return Node(kind, sign.position, ("(", f" {name} ", ")"), (left, right), name)


def _called(kind: Kind, token: Token, function: str, arguments: Sequence[Node]) -> Node:
    if not arguments:
        return Node(kind, token.position, (f"{function}()",), (), function)
    pieces = (f"{function}(", *[", "] * (len(arguments) - 1), ")")
    return Node(kind, token.position, pieces, tuple(arguments), function)


_COMPARISONS = {
    "=": "=",
    "==": "=",
    "<>": "<>",
    "!=": "<>",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
    "<=>": "IS NOT DISTINCT FROM",
}
_MATCHES = ("~", "~*", "!~", "!~*", "^@")
_PARTS = words(
    "century day dayofweek dayofyear decade dow doy epoch hour isodow isoyear microsecond microseconds millennium "
    "millisecond milliseconds minute month nanosecond nanoseconds quarter second time week year"
)


class _Parser:
    """Recursive descent over the tokens, one method a level of precedence, loosest first."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    # ---- tokens ----

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _sign(self, *signs: str) -> Token | None:
        return self._take() if self._next.is_sign(*signs) else None

    def _word(self, *words: str) -> Token | None:
        return self._take() if self._next.word in words and self._next.kind == "word" else None

    def _expect(self, mark: str) -> Token:
        token = self._sign(mark) or self._word(mark)
        if token is None:
            raise self._unexpected(f'expected "{mark.upper()}"')
        return token

    def _unexpected(self, expected: str) -> Refused:
        token = self._next
        if token.word in STATEMENTS:
            return refuse_word(token.word, token.position)
        got = "the expression ends" if token.kind == "end" else f'got "{token.text}"'
        return Refused(token.position, f"{got}, {expected}")

    def expect_end(self) -> None:
        """Refuse what is left over."""
        if self._next.kind != "end":
            raise self._unexpected("expected an operator or the end")

    # ---- operators, loosest first ----

    def expression(self) -> Node:
        """Parse an expression of any kind."""
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise Refused(self._next.position, f"more than {NESTING_MAX} levels of nesting")
        node = self._conjunction()
        while sign := self._word("or"):
            node = _infix("logic", sign, node, self._conjunction(), "OR")
        self._depth -= 1
        return node

    def _conjunction(self) -> Node:
        node = self._negation()
        while sign := self._word("and"):
            node = _infix("logic", sign, node, self._negation(), "AND")
        return node

    def _negation(self) -> Node:
        signs = []
        while sign := self._word("not"):
            signs.append(sign)
        node = self._condition()
        for sign in reversed(signs):
            node = _not(sign, node)
        return node

    def _condition(self) -> Node:
        node = self._bits()
        while True:
            token = self._next
            if token.kind == "sign" and token.text in _COMPARISONS:
                self._take()
                node = _infix("comparison", token, node, self._bits(), _COMPARISONS[token.text])
            elif token.is_sign(*_MATCHES):
                self._take()
                node = _match(token, node, self._bits(), token.text)
            elif token.word == "is":
                node = self._is(node)
            elif token.word in ("not", "in", "like", "ilike", "rlike", "regexp", "between"):
                node = self._member(node)
            else:
                return node

    def _is(self, node: Node) -> Node:
        token = self._take()
        no = "NOT " if self._word("not") else ""
        if word := self._word("null", "true", "false", "unknown"):
            kind: Kind = "test" if word.word in ("null", "unknown") else "logic"
            target = "NULL" if word.word == "unknown" else word.word.upper()
            return Node(kind, token.position, ("(", f" IS {no}{target})"), (node,), f"IS {no}{target}")
        self._expect("distinct")
        self._expect("from")
        return _infix("comparison", token, node, self._bits(), f"IS {no}DISTINCT FROM")

    def _member(self, node: Node) -> Node:
        no = self._word("not")
        token = self._take()
        if token.word == "in":
            found = self._in(token, node)
        elif token.word == "between":
            low = self._bits()
            self._expect("and")
            high = self._bits()
            found = _infix(
                "logic", token, _infix("comparison", token, node, low, ">="), _infix("comparison", token, node, high, "<="), "AND"
            )
        elif token.word in ("like", "ilike", "rlike", "regexp"):
            found = _match(token, node, self._bits(), token.word.upper())
        else:
            raise Refused(token.position, f'got "{token.text}" after NOT, expected IN, LIKE, ILIKE, REGEXP or BETWEEN')
        return _not(no, found) if no else found

    def _in(self, token: Token, node: Node) -> Node:
        self._expect("(")
        members = self._list(")")
        if not members:
            raise Refused(token.position, "IN needs at least one value")
        if all(member.literal for member in members):
            pieces = ("(", " IN (", *[", "] * (len(members) - 1), "))")
            return Node("comparison", token.position, pieces, (node, *members), "IN")
        found = _infix("comparison", token, node, members[0], "=")
        for member in members[1:]:
            found = _infix("logic", token, found, _infix("comparison", token, node, member, "="), "OR")
        return found

    def _bits(self) -> Node:
        node = self._concat()
        while sign := self._sign("&", "|"):
            node = _infix("bits", sign, node, self._concat(), sign.text)
        return node

    def _concat(self) -> Node:
        node = self._sum()
        while sign := self._sign("||"):
            node = _infix("concat", sign, node, self._sum(), "||")
        return node

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._sign("+", "-"):
            node = _infix("arithmetic", sign, node, self._product(), sign.text)
        return node

    def _product(self) -> Node:
        node = self._unary()
        while sign := self._sign("*", "/", "//", "%"):
            kind: Kind = "arithmetic" if sign.text == "*" else "division"
            node = _infix(kind, sign, node, self._unary(), sign.text)
        return node

    def _unary(self) -> Node:
        signs = []
        while sign := self._sign("+", "-"):
            signs.append(sign)
        node = self._postfix()
        for sign in reversed(signs):
            if sign.text == "-":
                node = Node("arithmetic", sign.position, ("(-", ")"), (node,), "negate")
        return node

    def _postfix(self) -> Node:
        node = self._primary()
        while True:
            if sign := self._sign("::"):
                node = self._cast_to("cast", sign, node)
            elif sign := self._sign("["):
                index = self.expression()
                self._expect("]")
                node = Node("element", sign.position, ("", "[", "]"), (node, index), "[]")
            else:
                return node

    # ---- operands ----

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "number":
                whole = token.text.isdigit()
                return _leaf("integer" if whole else "number", token, token.text, token.text)
            case "string":
                return _leaf("string", token, token.text, token.text[1:-1].replace("''", "'"))
            case "bytes":
                return _leaf("bytes", token, token.text)
            case "quoted":
                return self._column(token)
            case "word":
                return self._named(token)
        if token.is_sign("("):
            node = self.expression()
            self._expect(")")
            return node
        self._at -= token.kind != "end"
        raise self._unexpected("expected a column, a value or a function")

    def _named(self, token: Token) -> Node:
        word = token.word
        if self._next.kind == "string" and word in ("date", "time", "timestamp", "interval"):
            value = self._take()
            kind: Kind = "interval" if word == "interval" else "moment"
            return _leaf(kind, token, f"{word.upper()} {value.text}", word)
        if word == "array" and self._sign("["):
            members = self._list("]")
            return Node(
                "call",
                token.position,
                ("ARRAY[", *[", "] * (len(members) - 1), "]") if members else ("ARRAY[]",),
                tuple(members),
                "array",
            )
        if word == "null":
            return _leaf("null", token, "NULL")
        if word in ("true", "false"):
            return _leaf("boolean", token, word.upper())
        if word == "case":
            return self._case(token)
        if self._sign("("):
            return self._function(token)
        if word in ("select", "from", "exists", "with", "values") or word in CLOCKS:
            raise refuse_word(token.text, token.position)
        if word in STATEMENTS or word in RESERVED:
            raise Refused(token.position, f'"{token.text}" is a word of SQL; a column of this name stands in double quotes')
        return self._column(token)

    def _column(self, token: Token) -> Node:
        path = [token.text]
        while self._sign("."):
            field = self._take()
            if field.kind not in ("word", "quoted"):
                raise Refused(field.position, "expected the name of a field after the point")
            path.append(field.text)
        return Node("column", token.position, (column_sql(path),), name=token.text)

    def _list(self, closing: str) -> list[Node]:
        members: list[Node] = []
        if self._sign(closing):
            return members
        while True:
            members.append(self.expression())
            if not self._sign(","):
                self._expect(closing)
                return members

    def _case(self, token: Token) -> Node:
        operand = None if self._next.word == "when" else self.expression()
        children: list[Node] = []
        while when := self._word("when"):
            condition = self.expression()
            children.append(condition if operand is None else _infix("comparison", when, operand, condition, "="))
            self._expect("then")
            children.append(self.expression())
        if not children:
            raise self._unexpected('expected "WHEN"')
        otherwise = self.expression() if self._word("else") else _leaf("null", token, "NULL")
        self._expect("end")
        return _case(token, [*children, otherwise])

    def _function(self, token: Token) -> Node:
        word = token.word
        if word in ("cast", "try_cast"):
            operand = self.expression()
            as_word = self._expect("as")
            node = self._cast_to(word, as_word, operand)  # type: ignore[arg-type]
            self._expect(")")
            return node
        if word in ("extract", "position", "substring", "trim"):
            special = self._with_keywords(token)
            if special is not None:
                return special
        if word not in FUNCTIONS and word not in SPECIAL_FORMS:
            raise refuse_word(token.text, token.position)
        node = _call(token, self._list(")"))
        if self._next.word in ("over", "filter", "within"):
            raise refuse_word(self._next.word, self._next.position)
        return node

    def _with_keywords(self, token: Token) -> Node | None:
        """Parse EXTRACT(part FROM x), POSITION(x IN y), SUBSTRING(x FROM n FOR m), TRIM(BOTH x FROM y); None for commas."""
        if token.word == "extract":
            return self._extract(token)
        if token.word == "position":
            what = self._bits()
            self._expect("in")
            where = self.expression()
            self._expect(")")
            return Node("call", token.position, ("POSITION(", " IN ", ")"), (what, where), "position")
        if token.word == "trim" and (side := self._word("both", "leading", "trailing")):
            what = self.expression()
            self._expect("from")
            where = self.expression()
            self._expect(")")
            return Node("call", token.position, (f"TRIM({side.word.upper()} ", " FROM ", ")"), (what, where), "trim")
        if token.word == "trim":
            return None
        return self._substring(token)

    def _extract(self, token: Token) -> Node:
        part = self._take()
        if part.word not in _PARTS:
            raise Refused(part.position, f'unknown part "{part.text}"{nearest(part.word, sorted(_PARTS))}')
        self._expect("from")
        operand = self.expression()
        self._expect(")")
        return Node("part", token.position, (f"EXTRACT({part.word.upper()} FROM ", ")"), (operand,), "extract")

    def _substring(self, token: Token) -> Node:
        arguments = [self.expression()]
        for mark, word in ((",", "from"), (",", "for")):
            if self._sign(mark) or self._word(word):
                arguments.append(self.expression())
        self._expect(")")
        return _called("call", token, "SUBSTRING", arguments)

    def _cast_to(self, kind: Literal["cast", "try_cast"], sign: Token, operand: Node) -> Node:
        target = self._type()
        return Node(kind, sign.position, (f"{kind.upper()}(", f" AS {target})"), (operand,), target)

    def _type(self) -> str:
        token = self._take()
        if token.word in ("int8", "uint8", "int1", "int2", "int4", "float4", "float8"):
            raise Refused(token.position, f'"{token.text}" is ambiguous; write TINYINT, SMALLINT, INTEGER, BIGINT, REAL or DOUBLE')
        target = TYPES.get(token.word)
        if target is None:
            raise Refused(token.position, f'unknown type "{token.text}"{nearest(token.word, sorted(TYPES))}')
        if target == "DOUBLE":
            self._word("precision")
        if token.word in ("tinyint", "smallint", "int", "integer", "bigint") and self._word("unsigned"):
            return "U" + target
        return target + self._digits() if target == "DECIMAL" else target

    def _digits(self) -> str:
        if not self._sign("("):
            raise Refused(self._next.position, "DECIMAL needs its digits, e.g. DECIMAL(18, 2)")
        precision, scale = self._take(), None
        if self._sign(","):
            scale = self._take()
        self._expect(")")
        texts = [token.text for token in (precision, scale) if token is not None]
        numbers = [int(text) for text in texts if text.isdigit()]
        if len(numbers) != len(texts) or not 1 <= numbers[0] <= 38 or numbers[-1] > numbers[0]:
            raise Refused(precision.position, "expected DECIMAL(p, s) of 1 to 38 digits and no more behind the point")
        return f"({numbers[0]}, {numbers[1] if len(numbers) > 1 else 0})"


def _not(sign: Token, node: Node) -> Node:
    return Node("logic", sign.position, ("(NOT ", ")"), (node,), "NOT")


def _match(token: Token, node: Node, pattern: Node, name: str) -> Node:
    if pattern.kind != "string":
        raise Refused(pattern.position, f"the pattern of {name} must be a text in single quotes")
    return _infix("match", token, node, pattern, name)


def _case(token: Token, children: Sequence[Node]) -> Node:
    pairs = len(children) // 2
    pieces = ("(CASE WHEN ", *([" THEN ", " WHEN "] * pairs)[:-1], " ELSE ", " END)")
    return Node("choice", token.position, pieces, tuple(children), "CASE", frozenset(range(0, 2 * pairs, 2)))


_FIXED_ARGUMENTS = {"abs": 1, "mod": 2, "div": 2, "if": 3, "nullif": 2, "ifnull": 2}


def _call(token: Token, arguments: list[Node]) -> Node:
    """Translate a call: some functions are other spellings of an operator or of CASE."""
    word = token.word
    wanted = _FIXED_ARGUMENTS.get(word)
    if wanted is not None and len(arguments) != wanted:
        raise Refused(token.position, f"{word} takes {wanted} argument{'s' * (wanted > 1)}, got {len(arguments)}")
    match word:
        case "abs":
            return _called("arithmetic", token, "ABS", arguments)
        case "mod" | "div":
            return _infix("division", token, arguments[0], arguments[1], "%" if word == "mod" else "//")
        case "if":
            return _case(token, arguments)
        case "nullif":
            return _case(
                token, [_infix("comparison", token, arguments[0], arguments[1], "="), _leaf("null", token, "NULL"), arguments[0]]
            )
        case "coalesce" | "ifnull" | "greatest" | "least":
            return _called("choice", token, "COALESCE" if word == "ifnull" else word.upper(), arguments)
    return _called("call", token, word.upper(), arguments)
