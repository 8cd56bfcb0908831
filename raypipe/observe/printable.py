"""How values are put before a person: control characters escaped, numbers with their units."""

from __future__ import annotations

import re
from datetime import date

# C0 and C1 controls, line and paragraph separators, marks that turn the direction of text, lone surrogates: data may
# hold any of them, and a terminal (or a person) would take them for ours.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
CELL_CHARACTERS_MAX = 200  # a cell longer than this is cut, so that one wide value does not push the others off the screen


def escape(text: str, *, keep_lines: bool = False) -> str:
    """Return text that cannot move the cursor, colour the screen or hide what follows; with `keep_lines`, line ends stay."""

    def visible(match: re.Match[str]) -> str:
        one = match[0]
        if keep_lines and one == "\n":
            return one
        named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(one)
        return named or (f"\\x{ord(one):02x}" if ord(one) < 256 else f"\\u{ord(one):04x}")

    return _UNSAFE.sub(visible, text)


def cell(value: object) -> str:
    """Return a value as one line of a table: `NULL` for none, long text cut with a mark."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.isoformat(*([" "] if hasattr(value, "hour") else [])) if isinstance(value, date) else str(value)
    shown = escape(text)
    return shown if len(shown) <= CELL_CHARACTERS_MAX else f"{shown[:CELL_CHARACTERS_MAX]}… ({len(shown):,} characters)"


def count(number: int, noun: str = "") -> str:
    """Return a number with thousands separated and, with a noun, the noun in its number."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else _plural(noun)}"


def size(size_bytes: float) -> str:
    """Return a size in the largest decimal unit that leaves a digit before the point."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    power = 0
    while size_bytes >= 999.5 and power < len(_SIZES) - 1:
        size_bytes, power = size_bytes / 1000, power + 1
    unit = _SIZES[power]
    return f"{size_bytes:.1f} {unit}" if size_bytes < 9.95 else f"{size_bytes:.0f} {unit}"


def duration(seconds: float) -> str:
    """Return a duration for a person: `0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def roughly(seconds: float) -> str:
    """Return an estimate of a duration, in whole seconds: it is no better known than that."""
    return f"{max(1, round(seconds))} s" if seconds < 60 else duration(seconds)


def rate(rows: int, seconds: float) -> str:
    """Return rows a second, or nothing to say when no time has passed."""
    return f"{rows / seconds:,.0f} rows/s" if seconds > 0 else "- rows/s"


def _plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
