"""The syntax of row expressions: text becomes a tree, and what is not understood is refused with its place.

Raypipe reads expressions itself, for three reasons: what is not understood is refused with its place, the types that
meet in an operator are known before a row is read, and integer arithmetic can be widened (integer_bounds).
"""

from __future__ import annotations

from typing import Literal

from raypipe.engine.expression_tree import Kind, Node, called, case_of, column_sql, infix, leaf, matched, negated, translated
from raypipe.engine.expression_words import (
    CLOCKS,
    FUNCTIONS,
    RESERVED,
    SPECIAL_FORMS,
    STATEMENTS,
    Refused,
    Token,
    nearest,
    refuse_word,
    tokenize,
    words,
)
from raypipe.engine.token_cursor import Cursor

NESTING_MAX = 60  # bounds the recursion of the parser and of the engine's planner


def parse(text: str) -> Node:
    """Parse one expression; raises Refused with the place of what is wrong."""
    parser = _Parser(tokenize(text))
    node = parser.expression()
    parser.expect_end()
    return node


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


class _Parser(Cursor):
    """Recursive descent over the tokens, one method a level of precedence, loosest first."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        super().__init__(tokens)
        self._depth = 0

    # ---- operators, loosest first ----

    def expression(self) -> Node:
        """Parse an expression of any kind."""
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise Refused(self.next.position, f"more than {NESTING_MAX} levels of nesting")
        node = self._conjunction()
        while sign := self.word("or"):
            node = infix("logic", sign, node, self._conjunction(), "OR")
        self._depth -= 1
        return node

    def _conjunction(self) -> Node:
        node = self._negation()
        while sign := self.word("and"):
            node = infix("logic", sign, node, self._negation(), "AND")
        return node

    def _negation(self) -> Node:
        signs = []
        while sign := self.word("not"):
            signs.append(sign)
        node = self._condition()
        for sign in reversed(signs):
            node = negated(sign, node)
        return node

    def _condition(self) -> Node:
        node = self._bits()
        while True:
            token = self.next
            if token.kind == "sign" and token.text in _COMPARISONS:
                self.take()
                node = infix("comparison", token, node, self._bits(), _COMPARISONS[token.text])
            elif token.is_sign(*_MATCHES):
                self.take()
                node = matched(token, node, self._bits(), token.text)
            elif token.word == "is":
                node = self._is(node)
            elif token.word in ("not", "in", "like", "ilike", "rlike", "regexp", "between"):
                node = self._member(node)
            else:
                return node

    def _is(self, node: Node) -> Node:
        token = self.take()
        no = "NOT " if self.word("not") else ""
        if word := self.word("null", "true", "false", "unknown"):
            kind: Kind = "test" if word.word in ("null", "unknown") else "logic"
            target = "NULL" if word.word == "unknown" else word.word.upper()
            return Node(kind, token.position, ("(", f" IS {no}{target})"), (node,), f"IS {no}{target}")
        self.expect("distinct")
        self.expect("from")
        return infix("comparison", token, node, self._bits(), f"IS {no}DISTINCT FROM")

    def _member(self, node: Node) -> Node:
        no = self.word("not")
        token = self.take()
        if token.word == "in":
            found = self._in(token, node)
        elif token.word == "between":
            low = self._bits()
            self.expect("and")
            high = self._bits()
            found = infix(
                "logic", token, infix("comparison", token, node, low, ">="), infix("comparison", token, node, high, "<="), "AND"
            )
        elif token.word in ("like", "ilike", "rlike", "regexp"):
            found = matched(token, node, self._bits(), token.word.upper())
        else:
            raise Refused(token.position, f'got "{token.text}" after NOT, expected IN, LIKE, ILIKE, REGEXP or BETWEEN')
        return negated(no, found) if no else found

    def _in(self, token: Token, node: Node) -> Node:
        self.expect("(")
        members = self._list(")")
        if not members:
            raise Refused(token.position, "IN needs at least one value")
        if all(member.literal for member in members):
            pieces = ("(", " IN (", *[", "] * (len(members) - 1), "))")
            return Node("comparison", token.position, pieces, (node, *members), "IN")
        found = infix("comparison", token, node, members[0], "=")
        for member in members[1:]:
            found = infix("logic", token, found, infix("comparison", token, node, member, "="), "OR")
        return found

    def _bits(self) -> Node:
        node = self._concat()
        while sign := self.sign("&", "|"):
            node = infix("bits", sign, node, self._concat(), sign.text)
        return node

    def _concat(self) -> Node:
        node = self._sum()
        while sign := self.sign("||"):
            node = infix("concat", sign, node, self._sum(), "||")
        return node

    def _sum(self) -> Node:
        node = self._product()
        while sign := self.sign("+", "-"):
            node = infix("arithmetic", sign, node, self._product(), sign.text)
        return node

    def _product(self) -> Node:
        node = self._unary()
        while sign := self.sign("*", "/", "//", "%"):
            kind: Kind = "arithmetic" if sign.text == "*" else "division"
            node = infix(kind, sign, node, self._unary(), sign.text)
        return node

    def _unary(self) -> Node:
        signs = []
        while sign := self.sign("+", "-"):
            signs.append(sign)
        node = self._postfix()
        for sign in reversed(signs):
            if sign.text == "-":
                node = Node("arithmetic", sign.position, ("(-", ")"), (node,), "negate")
        return node

    def _postfix(self) -> Node:
        node = self._primary()
        while True:
            if sign := self.sign("::"):
                node = self._cast_to("cast", sign, node)
            elif sign := self.sign("["):
                index = self.expression()
                self.expect("]")
                node = Node("element", sign.position, ("", "[", "]"), (node, index), "[]")
            else:
                return node

    # ---- operands ----

    def _primary(self) -> Node:
        token = self.take()
        match token.kind:
            case "number":
                whole = token.text.isdigit()
                return leaf("integer" if whole else "number", token, token.text, token.text)
            case "string":
                return leaf("string", token, token.text, token.text[1:-1].replace("''", "'"))
            case "bytes":
                return leaf("bytes", token, token.text)
            case "quoted":
                return self._column(token)
            case "word":
                return self._named(token)
        if token.is_sign("("):
            node = self.expression()
            self.expect(")")
            return node
        self._at -= token.kind != "end"
        raise self.unexpected("expected a column, a value or a function")

    def _named(self, token: Token) -> Node:
        word = token.word
        if self.next.kind == "string" and word in ("date", "time", "timestamp", "interval"):
            value = self.take()
            kind: Kind = "interval" if word == "interval" else "moment"
            return leaf(kind, token, f"{word.upper()} {value.text}", word)
        if word == "array" and self.sign("["):
            members = self._list("]")
            return Node(
                "call",
                token.position,
                ("ARRAY[", *[", "] * (len(members) - 1), "]") if members else ("ARRAY[]",),
                tuple(members),
                "array",
            )
        if word in ("null", "true", "false"):
            return leaf("null" if word == "null" else "boolean", token, word.upper())
        if word == "case":
            return self._case(token)
        if self.sign("("):
            return self._function(token)
        return self._bare(token)

    def _bare(self, token: Token) -> Node:
        """Read a word that stands alone: a column, unless it means something else in SQL."""
        if token.word in ("select", "from", "exists", "with", "values") or token.word in CLOCKS:
            raise refuse_word(token.text, token.position)
        if token.word in STATEMENTS or token.word in RESERVED:
            raise Refused(token.position, f'"{token.text}" is a word of SQL; a column of this name stands in double quotes')
        return self._column(token)

    def _column(self, token: Token) -> Node:
        path = [token.text]
        while self.sign("."):
            field = self.take()
            if field.kind not in ("word", "quoted"):
                raise Refused(field.position, "expected the name of a field after the point")
            path.append(field.text)
        return Node("column", token.position, (column_sql(path),), name=token.text)

    def _list(self, closing: str) -> list[Node]:
        members: list[Node] = []
        if self.sign(closing):
            return members
        while True:
            members.append(self.expression())
            if not self.sign(","):
                self.expect(closing)
                return members

    def _case(self, token: Token) -> Node:
        operand = None if self.next.word == "when" else self.expression()
        children: list[Node] = []
        while when := self.word("when"):
            condition = self.expression()
            children.append(condition if operand is None else infix("comparison", when, operand, condition, "="))
            self.expect("then")
            children.append(self.expression())
        if not children:
            raise self.unexpected('expected "WHEN"')
        otherwise = self.expression() if self.word("else") else leaf("null", token, "NULL")
        self.expect("end")
        return case_of(token, [*children, otherwise])

    def _function(self, token: Token) -> Node:
        word = token.word
        if word in ("cast", "try_cast"):
            operand = self.expression()
            as_word = self.expect("as")
            node = self._cast_to(word, as_word, operand)  # type: ignore[arg-type]
            self.expect(")")
            return node
        if word in ("extract", "position", "substring", "trim"):
            special = self._with_keywords(token)
            if special is not None:
                return special
        if word not in FUNCTIONS and word not in SPECIAL_FORMS:
            raise refuse_word(token.text, token.position)
        node = translated(token, self._list(")"))
        if self.next.word in ("over", "filter", "within"):
            raise refuse_word(self.next.word, self.next.position)
        return node

    def _with_keywords(self, token: Token) -> Node | None:
        """Parse EXTRACT(part FROM x), POSITION(x IN y), SUBSTRING(x FROM n FOR m), TRIM(BOTH x FROM y); None for commas."""
        if token.word == "extract":
            return self._extract(token)
        if token.word == "position":
            what = self._bits()
            self.expect("in")
            where = self.expression()
            self.expect(")")
            return Node("call", token.position, ("POSITION(", " IN ", ")"), (what, where), "position")
        if token.word == "trim" and (side := self.word("both", "leading", "trailing")):
            what = self.expression()
            self.expect("from")
            where = self.expression()
            self.expect(")")
            return Node("call", token.position, (f"TRIM({side.word.upper()} ", " FROM ", ")"), (what, where), "trim")
        if token.word == "trim":
            return None
        return self._substring(token)

    def _extract(self, token: Token) -> Node:
        part = self.take()
        if part.word not in _PARTS:
            raise Refused(part.position, f'unknown part "{part.text}"{nearest(part.word, sorted(_PARTS))}')
        self.expect("from")
        operand = self.expression()
        self.expect(")")
        return Node("part", token.position, (f"EXTRACT({part.word.upper()} FROM ", ")"), (operand,), "extract")

    def _substring(self, token: Token) -> Node:
        arguments = [self.expression()]
        for mark, word in ((",", "from"), (",", "for")):
            if self.sign(mark) or self.word(word):
                arguments.append(self.expression())
        self.expect(")")
        return called("call", token, "SUBSTRING", arguments)

    def _cast_to(self, kind: Literal["cast", "try_cast"], sign: Token, operand: Node) -> Node:
        target = self.type_name()
        return Node(kind, sign.position, (f"{kind.upper()}(", f" AS {target})"), (operand,), target)
