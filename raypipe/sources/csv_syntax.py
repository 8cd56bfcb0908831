"""The syntax of one CSV record (RFC 4180), as patterns for each engine, and what is wrong with a line that breaks it.

A quote may stand around a whole value, or doubled inside one; anywhere else it makes the line malformed. Engines read
such lines differently, and the tail of a value that was broken over two lines looks just like it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from raypipe.pipeline import CsvDialect


@dataclass(frozen=True, slots=True)
class CsvSyntax:
    """What a dialect's records look like."""

    dialect: CsvDialect
    line: str
    """RE2: a whole single-line record, with or without its carriage return."""
    record: re.Pattern[bytes]
    """A record with its line end, over as many lines as its quotes need."""
    value: re.Pattern[str]
    """One value and the delimiter behind it."""


def csv_syntax(dialect: CsvDialect) -> CsvSyntax:
    """Compile the patterns of a dialect."""
    delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    bare = rf"[^{quote}{delimiter}\r\n]*"
    closed = rf"{quote}(?:[^{quote}]|{quote}{quote})*{quote}"
    eager_bare, eager_closed = f"{bare}+", rf"{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}"
    return CsvSyntax(
        dialect,
        line=rf"^(?:{closed}|{bare})(?:{delimiter}(?:{closed}|{bare}))*\r?$",
        record=re.compile(rf"(?:{eager_closed}|{eager_bare})(?:{delimiter}(?:{eager_closed}|{eager_bare}))*+\r?\n".encode()),
        value=re.compile(rf"({eager_closed}|{eager_bare}){delimiter}"),
    )


def split_record(syntax: CsvSyntax, record: str) -> list[str] | None:
    """Return the unquoted values of a record without its line end; None when it is malformed."""
    values, at = [], 0
    text, quote = record + syntax.dialect.delimiter, syntax.dialect.quote
    while at < len(text):
        match = syntax.value.match(text, at)
        if match is None:
            return None
        value = match[1]
        values.append(value[1:-1].replace(quote * 2, quote) if value.startswith(quote) else value)
        at = match.end()
    return values


def complaint(syntax: CsvSyntax, line: str) -> str:
    """Say what is wrong with a malformed line: what was got, what was expected, what to do."""
    quote, at, text = syntax.dialect.quote, 0, line + syntax.dialect.delimiter
    while match := syntax.value.match(text, at):
        at = match.end()
    rest = line[at:]
    if rest.startswith(quote):
        closing = _closing_quote(rest, quote)
        if closing:
            got = rest[closing : closing + 20]
            return f"got {got!r} after a closing quote at character {at + closing + 1}, expected {syntax.dialect.delimiter!r} or the line's end"
        return (
            f"the quote at character {at + 1} is not closed on its line, expected {quote!r} before the line's end; "
            "set source.csv.multiline: true if values hold line breaks"
        )
    bare = re.match(rf"[^{re.escape(quote + syntax.dialect.delimiter)}\r]*", rest)
    at += bare.end() if bare else 0
    if line[at : at + 1] == "\r":
        return f"got a carriage return at character {at + 1}, expected it only before the line's end or in quotes"
    return (
        f"got {quote!r} inside an unquoted value at character {at + 1}, expected quotes around the whole value; "
        "set source.csv.quote to another character if the file does not quote"
    )


def _closing_quote(text: str, quote: str) -> int:
    """Return the place behind the quote that closes the value at the text's start, 0 when none does."""
    match = re.match(rf"{re.escape(quote)}(?:[^{re.escape(quote)}]++|{re.escape(quote)}{re.escape(quote)})*+{re.escape(quote)}", text)
    return match.end() if match else 0
