"""The syntax of one CSV record (RFC 4180) as patterns, and what is wrong with a line that breaks it.

A quote may stand around a whole value, or doubled inside one; anywhere else it makes the line malformed. Engines read
such lines differently, and the tail of a value that was broken over two lines looks just like it.
"""

from __future__ import annotations

import re

from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import CsvDialect


@dataclass(frozen=True, slots=True)
class CsvSyntax:
    """What the records of a dialect look like."""

    dialect: CsvDialect
    line: str
    """RE2: a record on one line, with or without its carriage return."""
    record: re.Pattern[str]
    """A record with its line end, over as many lines as its quotes need."""
    value: re.Pattern[str]
    """One value and the delimiter behind it."""
    quoted: re.Pattern[str]
    """One value in quotes."""
    bare: re.Pattern[str]
    """One value without."""

    @classmethod
    def of(cls, dialect: CsvDialect) -> CsvSyntax:
        """Compile the patterns of a dialect."""
        delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
        bare = rf"[^{quote}{delimiter}\r\n]*"
        quoted = rf"{quote}(?:[^{quote}]|{quote}{quote})*{quote}"
        # Python's engine backtracks, RE2 does not: possessive quantifiers keep a hostile line linear.
        swift_bare, swift_quoted = f"{bare}+", rf"{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}"
        swift = f"(?:{swift_quoted}|{swift_bare})"
        return cls(
            dialect,
            line=rf"^(?:{quoted}|{bare})(?:{delimiter}(?:{quoted}|{bare}))*\r?$",
            record=re.compile(rf"{swift}(?:{delimiter}{swift})*+\r?\n"),
            value=re.compile(rf"({swift}){delimiter}"),
            quoted=re.compile(swift_quoted),
            bare=re.compile(swift_bare),
        )

    def split(self, record: str) -> list[str] | None:
        """Return the values of a record without its line end, unquoted; None when it is malformed."""
        values, at, quote, text = [], 0, self.dialect.quote, record + self.dialect.delimiter
        while at < len(text):
            match = self.value.match(text, at)
            if match is None:
                return None
            value = match[1]
            values.append(value[1:-1].replace(quote * 2, quote) if value.startswith(quote) else value)
            at = match.end()
        return values

    def complaint(self, line: str) -> str:
        """Say what is wrong with a malformed line without its line end: what was got, what is expected, what to do."""
        quote, at, text = self.dialect.quote, 0, line + self.dialect.delimiter
        while match := self.value.match(text, at):
            at = match.end()
        if not line.startswith(quote, at):
            bare = self.bare.match(line, at)
            return self._bare_complaint(line, bare.end() if bare else at)
        closed = self.quoted.match(line, at)
        if closed is not None:
            got = line[closed.end() : closed.end() + 20]
            return (
                f"got {got!r} after the closing quote at character {closed.end()}, "
                f"expected {self.dialect.delimiter!r} or the line's end"
            )
        return (
            f"the quote at character {at + 1} is not closed, expected {quote!r} before the line's end; "
            "set source.csv.multiline: true if values hold line breaks"
        )

    def _bare_complaint(self, line: str, at: int) -> str:
        if line.startswith("\r", at):
            return f"got a carriage return at character {at + 1}, expected it only at the line's end or in quotes"
        return (
            f"got {self.dialect.quote!r} inside an unquoted value at character {at + 1}, expected quotes around the whole value; "
            "set source.csv.quote to another character if the file does not quote"
        )
