"""A place in the tokens of a row expression, and the words that are read without recursion: signs, names and types."""

from __future__ import annotations

from raypipe.engine.expression_words import STATEMENTS, TYPES, Refused, Token, nearest, refuse_word


class Cursor:
    """Walks over the tokens of one expression."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next(self) -> Token:
        """The token that comes next."""
        return self._tokens[self._at]

    def take(self) -> Token:
        """Return the next token and go on; the last one stays."""
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def sign(self, *signs: str) -> Token | None:
        """Take the next token if it is one of the signs."""
        return self.take() if self.next.is_sign(*signs) else None

    def word(self, *words: str) -> Token | None:
        """Take the next token if it is one of the words."""
        return self.take() if self.next.word in words and self.next.kind == "word" else None

    def expect(self, mark: str) -> Token:
        """Take a sign or word that has to come; raises Refused."""
        token = self.sign(mark) or self.word(mark)
        if token is None:
            raise self.unexpected(f'expected "{mark.upper()}"')
        return token

    def unexpected(self, expected: str) -> Refused:
        """Return the error for the next token."""
        token = self.next
        if token.word in STATEMENTS:
            return refuse_word(token.word, token.position)
        got = "the expression ends" if token.kind == "end" else f'got "{token.text}"'
        return Refused(token.position, f"{got}, {expected}")

    def expect_end(self) -> None:
        """Refuse what is left over."""
        if self.next.kind != "end":
            raise self.unexpected("expected an operator or the end")

    def type_name(self) -> str:
        """Take the target of a CAST and return it as Polars SQL writes it."""
        token = self.take()
        if token.word in ("int8", "uint8", "int1", "int2", "int4", "float4", "float8"):
            raise Refused(token.position, f'"{token.text}" is ambiguous; write TINYINT, SMALLINT, INTEGER, BIGINT, REAL or DOUBLE')
        target = TYPES.get(token.word)
        if target is None:
            raise Refused(token.position, f'unknown type "{token.text}"{nearest(token.word, sorted(TYPES))}')
        if target == "DOUBLE":
            self.word("precision")
        if token.word in ("tinyint", "smallint", "int", "integer", "bigint") and self.word("unsigned"):
            return "U" + target
        return target + self._digits() if target == "DECIMAL" else target

    def _digits(self) -> str:
        if not self.sign("("):
            raise Refused(self.next.position, "DECIMAL needs its digits, e.g. DECIMAL(18, 2)")
        precision, scale = self.take(), None
        if self.sign(","):
            scale = self.take()
        self.expect(")")
        texts = [token.text for token in (precision, scale) if token is not None]
        numbers = [int(text) for text in texts if text.isdigit()]
        if len(numbers) != len(texts) or not 1 <= numbers[0] <= 38 or numbers[-1] > numbers[0]:
            raise Refused(precision.position, "expected DECIMAL(p, s) of 1 to 38 digits and no more behind the point")
        return f"({numbers[0]}, {numbers[1] if len(numbers) > 1 else 0})"
