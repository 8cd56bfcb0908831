"""The text of SQL without its formatting: two texts that differ in white space and comments alone are the same."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<dollar> \$(?P<tag>[A-Za-z_]\w*|)\$ .*? \$(?P=tag)\$ )
    | (?P<escaped> [eE]'(?:[^'\\]|\\.|'')*' )
    | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" )
    | (?P<number> \d[\w.]* (?: (?<=[eE]) [+-]\d+ )? )
    | (?P<word> \w+ )
    | (?P<operator> ->> | -> | <= | >= | <> | != | == | :: | := | => | \|\| | \*\* | // | << | >> )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def normalised(sql: str) -> str:
    """Return the tokens of SQL, one a line. Quoted text stays as it is."""
    tokens: list[str] = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None  # any character is a token
        position = match.end()
        if match.lastgroup == "comment":
            position = _end_of_comment(sql, position)
        elif match.lastgroup != "space":
            tokens.append(match.group())
    return "\n".join(tokens)


def _end_of_comment(sql: str, position: int) -> int:
    """Return where a block comment ends, which may hold others, as DuckDB reads them."""
    depth = 1
    while depth and position < len(sql):
        if sql.startswith(("/*", "*/"), position):
            depth += 1 if sql[position] == "/" else -1
            position += 2
        else:
            position += 1
    return position
